//! A world of QEMU processes of its own for each test, in a directory that goes away with it.

use crate::agent::Agent;
use crate::guest::{Guest, definition};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const PREFIX: &str = "belay-agent-test-";

pub(crate) struct Embedded {
    dir: PathBuf,
    // Held for as long as the test lives: what nobody holds is left over from a run that was killed.
    _lock: Flock<File>,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        remove(&dir);
        fs::create_dir_all(dir.join("root/etc")).expect("a directory for the test");
        let lock = File::create(dir.join("lock")).expect("a lock file");
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("nobody else has this directory");
        let configuration = "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\ncgroup_controllers = [ ]\n\
                             stdio_handler = \"file\"\n";
        fs::write(dir.join("root/etc/qemu.conf"), configuration).expect("qemu.conf can be written");
        Self { dir, _lock: lock }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn uri(&self) -> String {
        format!("qemu:///embed?root={}", self.dir.join("root").display())
    }

    /// An agent that is connected, and reaps.
    pub(crate) fn agent(&self) -> Agent {
        Agent::connected(&self.uri(), &["--reap"])
    }

    pub(crate) fn definition(&self, name: &str, guest: Guest) -> String {
        definition(name, &guest.disk(&self.dir))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Removes what killed runs left behind.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).expect("a directory for temporary files").flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let held = || {
            File::open(entry.path().join("lock"))
                .is_ok_and(|lock| Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_err())
        };
        let young =
            || entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|e| e.as_secs() < 60));
        if ours && !held() && !young() {
            remove(&entry.path());
        }
    }
}

/// Kills every emulator that was started for `dir`, and removes it.
fn remove(dir: &Path) {
    if !dir.exists() {
        return;
    }
    for _ in 0..50 {
        let living = processes_naming(dir);
        for pid in &living {
            kill(*pid, "KILL");
        }
        if living.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // What a test may have mounted.
        let _ =
            std::process::Command::new("umount").args(["-q", "-l"]).arg(entry.path()).stderr(Stdio::null()).status();
    }
    let _ = fs::remove_dir_all(dir);
}

/// The emulators of domains with files in `dir`. (libvirt also starts emulators without a domain, to learn what they can.)
pub(crate) fn emulators_of(dir: &Path) -> Vec<u32> {
    let of_domain = |pid: &u32| command_line(*pid).contains("guest=");
    processes_naming(dir).into_iter().filter(of_domain).collect()
}

fn processes_naming(dir: &Path) -> Vec<u32> {
    let needle = format!("{}/", dir.display());
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |line: String| line.contains("qemu-system") && line.contains(&needle);
    pids.filter(|pid| named(command_line(*pid))).collect()
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// Sends a signal, by its name, to one process.
pub(crate) fn kill(pid: u32, signal: &str) {
    let _ = std::process::Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
}
