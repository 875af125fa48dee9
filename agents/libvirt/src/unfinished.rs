//! Clears away what a start left behind that ended with its process (`kill -9`) before there was an emulator.
//!
//! libvirt notes a domain in its run directory as soon as it begins to start it, with `pid='0'`, and notes the pid before
//! it lets the emulator's process run the emulator's program. A driver that opens such a directory takes the domain for
//! active, in the middle of a start, and does not reconnect to it, since there is no process: for ever after the domain
//! can neither be started nor destroyed ("current job is (none, none, start)"). So the note goes before the driver
//! comes. Only for an embedded driver, whose directory belongs to this process alone; libvirtd does not die with its
//! clients.

use std::fs;
use std::path::Path;

/// Removes the notes of domains that were never given an emulator. The directory's lock must be held.
pub(crate) fn clear(root: &Path) {
    let Ok(entries) = fs::read_dir(root.join("run/qemu")) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if has_no_emulator(&text) {
            match fs::remove_file(&path) {
                Ok(()) => crate::log!("note: a start that never came to an end is forgotten: {}", path.display()),
                Err(error) => crate::log!("error: {} cannot be removed: {error}", path.display()),
            }
        }
    }
}

/// Judges by the first tag, `<domstatus state='paused' reason='starting up' pid='0'>`, behind libvirt's comment.
fn has_no_emulator(status: &str) -> bool {
    let Some((_, rest)) = status.split_once("\n<domstatus ") else { return false };
    let Some((tag, _)) = rest.split_once('>') else { return false };
    tag.split_whitespace().any(|attribute| attribute == "pid='0'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(tag: &str) -> String {
        format!(
            "<!--\nWARNING\n-->\n\n<domstatus {tag}>\n  <domain type='qemu' id='4'>\n    <a pid='0'/>\n</domstatus>\n"
        )
    }

    #[test]
    fn only_a_start_without_an_emulator_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run/qemu");
        fs::create_dir_all(&run).unwrap();
        let file = |name: &str, text: &str| fs::write(run.join(name), text).unwrap();
        file("begun.xml", &status("state='paused' reason='starting up' pid='0'"));
        file("launched.xml", &status("state='paused' reason='starting up' pid='4711'"));
        file("runs.xml", &status("state='running' reason='booted' pid='40'"));
        file("torn.xml", "<!--\n-->\n\n<domstatus state='paused' reason='starting up' pid='0'");
        file("begun.pid", "0\n");
        clear(root.path());
        let mut left: Vec<String> =
            fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["begun.pid", "launched.xml", "runs.xml", "torn.xml"]);
        clear(&root.path().join("nowhere"));
    }
}
