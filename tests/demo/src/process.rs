//! The process table, read from `/proc`: what belongs to a demo host, and how to end it.
//!
//! A process is a host's when it carries the host's folder in its environment, or when it is a QEMU that works below
//! that folder (libvirt gives its QEMUs an environment of their own). Nothing else counts: a person's shell with
//! `BELAY_SOCKET` exported, or a `tail -f` on a log, must survive the power cut of a demo host.

use crate::layout::HOST_VARIABLE;
use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The program's name, cut to 15 bytes.
    pub name: String,
    /// One letter: `R` runs, `S` sleeps, `T` was stopped, `Z` is dead and waits to be reaped.
    pub state: char,
    /// When it was started, in clock ticks since boot: with the id it names a process for good.
    pub started: u64,
}

impl Stat {
    /// Whether it can still do anything.
    #[must_use]
    pub fn alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// The ids of all processes at this moment.
#[must_use]
pub fn all() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// What a process is doing; `None` if there is none.
#[must_use]
pub fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain blanks and brackets; nothing behind the last bracket does.
    let (head, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { name: head.split_once('(')?.1.to_owned(), state, started: fields.nth(18)?.parse().ok()? })
}

/// A process's arguments; none for a kernel thread or a dead process.
#[must_use]
pub fn arguments(pid: i32) -> Vec<Vec<u8>> {
    zero_separated(&format!("/proc/{pid}/cmdline"))
}

fn zero_separated(path: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Whether `text` names a path below `folder`, or the folder itself.
fn mentions(text: &[u8], folder: &Path) -> bool {
    let folder = folder.as_os_str().as_bytes();
    text.windows(folder.len()).enumerate().any(|(at, part)| {
        let after = text.get(at + folder.len());
        part == folder && after.is_none_or(|next| !(next.is_ascii_alphanumeric() || b"-_.".contains(next)))
    })
}

/// Whether a process belongs to the host (or, given a run's folder, to any of its hosts).
#[must_use]
pub fn belongs_to(pid: i32, folder: &Path) -> bool {
    carries(pid, folder) || {
        let arguments = arguments(pid);
        is_qemu(&arguments) && arguments.iter().any(|argument| mentions(argument, folder))
    }
}

/// Whether a process carries the host's folder in its environment: its supervisor, daemon, agent, but not its VMs.
#[must_use]
pub fn carries(pid: i32, folder: &Path) -> bool {
    let wanted = format!("{HOST_VARIABLE}=");
    zero_separated(&format!("/proc/{pid}/environ"))
        .iter()
        .filter_map(|variable| variable.strip_prefix(wanted.as_bytes()))
        .any(|value| mentions(value, folder) && value.starts_with(folder.as_os_str().as_bytes()))
}

/// Whether these are a QEMU's arguments.
#[must_use]
pub fn is_qemu(arguments: &[Vec<u8>]) -> bool {
    arguments.first().is_some_and(|program| {
        program.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b"qemu-system-"))
    })
}

/// Every living process below a host's or a run's folder, but the caller.
#[must_use]
pub fn below(folder: &Path) -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    all().into_iter().filter(|pid| *pid != own && belongs_to(*pid, folder)).collect()
}

/// Kills every process below the folder and returns how many there were, once none is left.
///
/// # Errors
/// When some are still there after `limit`.
pub fn kill_below(folder: &Path, limit: Duration) -> Result<usize> {
    let start = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    loop {
        // Looked at again after each round: what a process started between the look and its death must go as well.
        let there: Vec<i32> =
            below(folder).into_iter().filter(|pid| stat(*pid).is_some_and(|stat| stat.alive())).collect();
        if there.is_empty() {
            return Ok(seen.len());
        }
        if start.elapsed() > limit {
            bail!("processes {there:?} below {} do not go away", folder.display());
        }
        for pid in there {
            seen.insert(pid);
            // It may be gone already, which is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of a process in KiB.
#[must_use]
pub fn resident_kib(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU time that all threads of a process have had.
#[must_use]
pub fn cpu_time(pid: i32) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanos = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_folder_is_not_mistaken_for_its_namesake() {
        let folder = Path::new("/tmp/run/node1");
        for text in ["/tmp/run/node1", "/tmp/run/node1/lib", "file=/tmp/run/node1,x"] {
            assert!(mentions(text.as_bytes(), folder), "{text}");
        }
        for text in ["/tmp/run/node10", "/tmp/run/node1-old/lib", "/tmp/run", ""] {
            assert!(!mentions(text.as_bytes(), folder), "{text}");
        }
    }

    #[test]
    fn a_power_cut_ends_the_hosts_processes_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("node1");
        let sleep = |host: Option<&Path>| {
            let mut command = Command::new("sleep");
            command.arg("600").env("BELAY_SOCKET", folder.path().join("node1/control.sock")).stdin(Stdio::null());
            host.map(|host| command.env(HOST_VARIABLE, host));
            let child = command.spawn().unwrap();
            // For a moment after exec the kernel shows no environment yet, and nobody's mark.
            let environment = format!("/proc/{}/environ", child.id());
            while std::fs::read(&environment).unwrap().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            child
        };
        let (mut daemon, mut other, mut shell) =
            (sleep(Some(&host)), sleep(Some(&folder.path().join("node2"))), sleep(None));
        let reaper = std::thread::spawn(move || daemon.wait().unwrap());
        let killed = kill_below(&host, Duration::from_secs(10)).unwrap();
        let spared = [&mut other, &mut shell].map(|child| child.try_wait().unwrap().is_none());
        for child in [&mut other, &mut shell] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        reaper.join().unwrap();
        assert_eq!((killed, spared), (1, [true, true]));
    }

    #[test]
    fn the_table_tells_a_dead_process_from_a_living_one() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while stat(pid).unwrap().alive() {
            assert!(Instant::now() < deadline, "the child never ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert_eq!(stat(pid), None);
        assert!(stat(nix::unistd::getpid().as_raw()).unwrap().alive());
    }
}
