//! Fence agents do not outlive the daemon that runs them: whoever takes over would have one beside its own.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

const CONF: &str = r#"<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/>
<fence_daemon post_join_delay="0"/>
<clusternodes><clusternode name="one" nodeid="1"/><clusternode name="two" nodeid="2"><fence><method name="m">
<device name="d" action="off"/></method></fence></clusternode></clusternodes>
<fencedevices><fencedevice name="d" agent="fence_endless"/></fencedevices></cluster>"#;

/// Begins a program of its own, as agents do, and waits for it. Each time it says who they are.
const AGENT: &str = "#!/bin/sh\ncat > /dev/null\nsleep 1000 &\necho \"$$ $!\" >> RUNS\nwait\n";

/// A daemon that is killed when the test is over, however it ends.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_belayd"));
        command.args([
            "--node",
            "one",
            "--ring",
            "local",
            "--log",
            "stderr",
            "--agent",
            "/bin/false",
            "--boot-id",
            "b1",
        ]);
        for (option, file) in
            [("--config", "cluster.conf"), ("--ring-dir", "ring"), ("--state-dir", "state"), ("--socket", "socket")]
        {
            command.arg(option).arg(dir.join(file));
        }
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        command.env("PATH", format!("{}:/usr/bin:/bin", dir.display()));
        Self(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until it is so.
fn until(dir: &Path, what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "{what}; the daemon said:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The agent and its own program, of each run.
fn runs(dir: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join("RUNS")).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_daemon_that_is_killed_takes_its_fence_agents_along_and_the_next_one_ends_what_those_had_begun() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("cluster.conf"), CONF).unwrap();
    let agent = dir.join("fence_endless");
    fs::write(&agent, AGENT.replace("RUNS", &dir.join("RUNS").display().to_string())).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();

    let daemon = Daemon::start(dir);
    until(dir, "nobody fences the host that was never seen", || !runs(dir).is_empty());
    let (agent, its_own) = runs(dir)[0].clone();
    assert!(alive(&agent) && alive(&its_own));
    daemon.kill();
    until(dir, "the agent outlives its daemon", || !alive(&agent));

    let daemon = Daemon::start(dir);
    until(dir, "the new daemon does not fence", || runs(dir).len() > 1);
    assert!(!alive(&its_own), "what the first agent had begun goes on beside the second");
    let (second, its_own) = runs(dir)[1].clone();
    daemon.kill();
    until(dir, "the second agent outlives its daemon", || !alive(&second));
    // Nobody follows this one.
    let _ = Command::new("kill").args(["-9", &its_own]).status();
}
