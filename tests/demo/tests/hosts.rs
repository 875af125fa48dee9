//! The demo's own machinery, with a shell script in the daemon's place: a host restarts its daemon, reaps its orphans,
//! loses its power and boots again, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

use belay_demo::layout::{Host, Run};
use belay_demo::power::PowerSupply;
use belay_demo::process;
use belay_demo::reaper::{Ended, Reaper};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One reaper waits for all children of a process.
fn reaper() -> Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| Reaper::start().unwrap()).clone()
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A run whose "belayd" notes its start, leaves an orphan behind and then lives until it is killed.
struct Stage {
    run: Run,
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("belay-t").rand_bytes(4).tempdir().unwrap();
        let run = Run::at(folder.path()).unwrap();
        let programs = folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for host in run.hosts() {
            fs::create_dir(&host.dir).unwrap();
        }
        // By another process: what a thread of this one is just starting would inherit a file that is open for writing, and
        // a program that is open for writing anywhere cannot be run.
        let (text, daemon) = (programs.join("text"), programs.join("belayd"));
        fs::write(
            &text,
            "#!/bin/sh\necho \"$*\" >> $BELAY_DEMO_HOST/arguments\n(sleep 0.05 & echo $! > $BELAY_DEMO_HOST/orphan)\n\
             echo $$ > $BELAY_DEMO_HOST/daemon\nexec sleep 1000\n",
        )
        .unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(&text).arg(&daemon);
        assert!(reaper().run(&mut install, Duration::from_secs(30)).unwrap().ok());
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_belay-demo-host"), programs.join("belay-demo-host")).unwrap();
        Self { run, programs, folder }
    }

    fn supply(&self) -> PowerSupply {
        PowerSupply::new(&self.run, &self.programs, &reaper()).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A failed assertion must not leave processes behind either.
        let _ = process::kill_below(self.folder.path(), Duration::from_secs(10));
    }
}

fn number_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn daemon_of(host: &Host) -> i32 {
    let path = host.dir.join("daemon");
    until("the daemon to start", || number_in(&path).is_some_and(|pid| process::stat(pid).is_some()));
    number_in(&path).unwrap()
}

#[test]
fn a_host_starts_its_daemon_again_reaps_orphans_and_boots_when_its_switch_says_so() {
    let stage = Stage::new();
    let supply = stage.supply();
    supply.switch_on().unwrap();
    let host = stage.run.host(2);
    let first = daemon_of(&host);
    let orphan = number_in(&host.dir.join("orphan")).unwrap();
    until("the orphan to be reaped", || process::stat(orphan).is_none());

    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("the daemon to be started again", || number_in(&host.dir.join("daemon")).is_some_and(|pid| pid != first));
    assert_eq!(supply.boots(2), 1, "the host itself went on");

    // What a fence agent does: the switch, then the processes.
    fs::write(host.power(), "off\n").unwrap();
    assert!(process::kill_below(&host.dir, Duration::from_secs(10)).unwrap() >= 2);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(process::below(&host.dir), [0; 0], "nothing of a host without power runs");
    fs::write(host.power(), "on\n").unwrap();
    until("the host to boot", || supply.boots(2) == 2);
    daemon_of(&host);

    let arguments = fs::read_to_string(host.dir.join("arguments")).unwrap();
    let boot_of = |line: &str| line.split("--boot-id ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let boots: Vec<String> = arguments.lines().map(boot_of).collect();
    assert_eq!(boots.len(), 3, "{arguments}");
    assert_eq!(boots[0], boots[1], "a restarted daemon is still on the same boot");
    assert_ne!(boots[1], boots[2], "a host that was switched off has a new boot id");

    supply.shut_down().unwrap();
    assert_eq!(process::below(&stage.run.dir), [0; 0]);
}

#[test]
fn a_switch_thrown_by_hand_cuts_the_power() {
    let stage = Stage::new();
    let supply = stage.supply();
    supply.switch_on().unwrap();
    let host = stage.run.host(1);
    let daemon = daemon_of(&host);
    fs::write(host.power(), "off\n").unwrap();
    until("the power to go", || process::stat(daemon).is_none());
    supply.shut_down().unwrap();
}

#[test]
#[allow(clippy::zombie_processes)] // The reaper waits for it.
fn hosts_do_not_outlive_the_program_that_powers_them() {
    let stage = Stage::new();
    let host = stage.run.host(1);
    let mut command = Command::new(stage.programs.join("belay-demo-host"));
    command.arg("--run").arg(&stage.run.dir).arg("--programs").arg(&stage.programs).args(["--host", "1"]);
    command.env("BELAY_DEMO_HOST", &host.dir).stdin(std::process::Stdio::piped());
    let mut child = reaper().spawn(&mut command).unwrap();
    let daemon = daemon_of(&host);
    drop(child.stdin.take());
    until("the daemon to go with the power", || process::stat(daemon).is_none());
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(reaper().wait(pid, Duration::from_secs(10)), Some(Ended::Code(0)));
}
