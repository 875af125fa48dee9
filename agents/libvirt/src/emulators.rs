//! The QEMU processes of one hypervisor, found without libvirt's help: through the pid files that its driver writes,
//! each checked against the process's own command line, because a pid file can outlive its process.
//!
//! Never is a process taken for a domain by its pid alone, and never is one looked for outside the hypervisor's own run
//! directory: several embedded hypervisors, with domains of the same names, may share one machine.

use crate::pidfd::Process;
use belay_agent_libvirt::emulator::{embed_root, identity};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file by whose lock libvirt's driver keeps a second one out. An embedded driver is in this very process, and a
/// process loses its POSIX lock when it closes *any* descriptor of the file: reading it once would let a second agent in,
/// and two drivers on one set of emulators kill them.
const DRIVERS_LOCK: &str = "driver.pid";

/// Where the emulators of a hypervisor can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emulators {
    /// `None` for a hypervisor elsewhere, or one that has no processes (`test:///default`).
    run_dir: Option<PathBuf>,
}

/// An emulator that was found alive.
#[derive(Clone, Debug)]
pub(crate) struct Emulator {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) process: Arc<Process>,
}

impl Emulators {
    /// Those of the hypervisor that `uri` names.
    pub(crate) fn of(uri: &str) -> Self {
        let session = || std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("libvirt/qemu/run"));
        let (base, _) = uri.split_once('?').unwrap_or((uri, ""));
        let run_dir = match base {
            "qemu:///system" | "qemu+unix:///system" => Some(PathBuf::from("/run/libvirt/qemu")),
            "qemu:///session" | "qemu+unix:///session" => session(),
            "qemu:///embed" => embed_root(uri).map(|root| root.join("run/qemu")),
            _ => None,
        };
        Self { run_dir }
    }

    /// Whether this hypervisor's domains are processes of this machine, so that a domain without one does not run.
    pub(crate) fn are_visible(&self) -> bool {
        self.run_dir.is_some()
    }

    /// The living process of one domain.
    pub(crate) fn find(&self, name: &str, uuid: &str) -> Option<Emulator> {
        self.named(name).filter(|found| found.uuid == uuid)
    }

    /// The living process of the domain of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Emulator> {
        let dir = self.run_dir.as_deref()?;
        self.read(&dir.join(format!("{name}.pid"))).filter(|found| found.name == name)
    }

    /// The living processes of all domains but those whose names are `known`: with a thousand of them, reading what is
    /// known already would be most of the work of a list.
    pub(crate) fn all_but(&self, known: &BTreeSet<String>) -> Vec<Emulator> {
        let Some(entries) = self.run_dir.as_deref().and_then(|dir| fs::read_dir(dir).ok()) else { return Vec::new() };
        let files = entries.flatten().map(|entry| entry.path());
        let wanted = |path: &PathBuf| {
            let is_known = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|name| known.contains(name));
            path.extension().is_some_and(|e| e == "pid") && !is_known
        };
        files.filter(wanted).filter_map(|path| self.read(&path)).collect()
    }

    fn read(&self, file: &Path) -> Option<Emulator> {
        if file.file_name().is_some_and(|name| name == DRIVERS_LOCK) {
            return None;
        }
        let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        let process = Process::open(pid).ok()?;
        let (name, uuid) = identity(&fs::read(format!("/proc/{pid}/cmdline")).ok()?)?;
        let named_so = file.file_stem().is_some_and(|stem| stem.to_str() == Some(&name));
        (named_so && !process.is_dead()).then(|| Emulator { name, uuid, process: Arc::new(process) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_pid_file_whose_pid_belongs_to_another_program_is_not_believed() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("run/qemu"))?;
        fs::write(dir.path().join("run/qemu/web1.pid"), std::process::id().to_string())?;
        let emulators = Emulators::of(&format!("qemu:///embed?root={}", dir.path().display()));
        assert!(emulators.find("web1", UUID).is_none() && emulators.all_but(&BTreeSet::new()).is_empty());
        Ok(())
    }

    #[test]
    fn only_processes_of_this_machine_are_visible() {
        assert!(!Emulators::of("test:///default").are_visible());
        assert!(!Emulators::of("qemu+ssh://other/system").are_visible());
        assert!(Emulators::of("qemu:///system").are_visible());
    }
}
