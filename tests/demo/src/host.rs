//! One demo host: what its hardware and its init would do, as one process.
//!
//! Powering on gives the host a new boot id and forgets what lay in memory (libvirt's runtime files, the control
//! socket); its disk, with the daemon's store on it, stays. Then `belayd` runs, and is started again whenever it ends,
//! as systemd does with `Restart=always`. When the power supply goes (the demo ends or is killed), so does the host:
//! nothing may be left running that nobody watches.

use crate::layout::{HOST_VARIABLE, Host, Run};
use crate::process;
use crate::reaper::{Ended, Reaper};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long after its end the daemon is started again; systemd's `RestartSec` in `systemd/belayd.service`.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// How often a host whose daemon was told to stop looks whether it may start again.
const STOPPED_LOOK: Duration = Duration::from_millis(20);

/// How long the processes of a host may take to die when its power goes.
pub const CUT_LIMIT: Duration = Duration::from_secs(10);

/// Powers the host on, boots it for as long as it is told, and runs it until the power goes. Standard input is the power line: its end is the end.
///
/// # Errors
/// When the host's folder cannot be written, or its daemon's program cannot be started.
pub fn run(run: &Run, host: &Host, programs: &Path, boot_time: Duration) -> Result<()> {
    // A session of its own: a Ctrl-C in the demo's terminal is the story-teller's affair, not the hosts'.
    let _ = nix::unistd::setsid();
    let reaper = Reaper::start()?;
    std::fs::write(host.pid(), format!("{}\n", std::process::id()))?;
    forget_what_was_in_memory(host)?;
    die_with_the_power_line(host);
    std::thread::sleep(boot_time);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up a boot id")?;
    loop {
        while host.stopped().exists() {
            std::thread::sleep(STOPPED_LOOK);
        }
        let ended = run_daemon(run, host, programs, boot.trim(), &reaper)?;
        let mut log = log_file(host)?;
        let then = if host.stopped().exists() { "it was told to stop" } else { "starting it again, as systemd would" };
        writeln!(log, "-- {}: belayd ended ({ended}); {then} --", host.name)?;
        std::thread::sleep(RESTART_DELAY);
    }
}

fn run_daemon(run: &Run, host: &Host, programs: &Path, boot: &str, reaper: &Reaper) -> Result<Ended> {
    let mut command = Command::new(programs.join("belayd"));
    command
        .arg("--config")
        .arg(host.config())
        .args(["--node", &host.name, "--ring", "local", "--ring-dir"])
        .arg(run.ring())
        .arg("--state-dir")
        .arg(host.store())
        .arg("--socket")
        .arg(host.socket())
        .args(["--hypervisor", &host.hypervisor(), "--agent"])
        .arg(programs.join("belay-agent-libvirt"))
        .args(["--boot-id", boot, "--log", "stderr"])
        .args(std::fs::read_to_string(host.options()).unwrap_or_default().lines())
        .env(HOST_VARIABLE, &host.dir)
        // Where each host has a folder of its own although they share one file system.
        .current_dir(&host.dir)
        .stdin(Stdio::null())
        .stdout(log_file(host)?)
        .stderr(log_file(host)?);
    let child = reaper.spawn(&mut command)?;
    let pid = i32::try_from(child.id())?;
    loop {
        if let Some(ended) = reaper.wait(pid, Duration::from_secs(3600)) {
            return Ok(ended);
        }
    }
}

fn log_file(host: &Host) -> Result<File> {
    let path = host.log();
    OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))
}

/// What a real host keeps below `/run` does not survive a loss of power. libvirt would look for QEMU processes by the
/// ids noted there, which may belong to others by now.
fn forget_what_was_in_memory(host: &Host) -> Result<()> {
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(std::fs::remove_dir_all(host.libvirt().join("run")))?;
    gone(std::fs::remove_file(host.socket()))?;
    Ok(())
}

fn die_with_the_power_line(host: &Host) {
    let host = host.clone();
    std::thread::spawn(move || {
        let mut byte = [0_u8; 64];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        // Without power there is nobody to tell about a process that does not die.
        let _ = process::kill_below(&host.dir, CUT_LIMIT);
        std::process::exit(0);
    });
}
