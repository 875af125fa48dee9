//! The agent as the cluster runs it, against real process trees.

// Outside of test functions clippy does not know that this is a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_fence_belay_demo");

/// What the supervisor of a host shall run.
const BODY: &str = "BELAY_TEST_BODY";

/// A directory of demo hosts. What a test started in it dies with it.
struct Demo {
    dir: TempDir,
    children: Vec<Child>,
}

impl Demo {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), children: Vec::new() }
    }

    fn host(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Starts shell text in a session of its own.
    fn start(&mut self, body: &str, host: &Path, marked: bool) -> u32 {
        let mut command = Command::new("setsid");
        command.args(["--wait", "bash", "-c", body]).current_dir(host).env_remove("BELAY_DEMO_HOST");
        if marked {
            command.env("BELAY_DEMO_HOST", host);
        }
        self.spawn(&mut command)
    }

    /// A host that is on: its supervisor runs this shell text. Waits until the text has come to its end.
    fn power_up(&mut self, name: &str, body: &str) -> PathBuf {
        let host = self.host(name);
        fs::write(host.join("power"), "on\n").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "the_supervisor_of_a_host"]).current_dir(&host);
        self.spawn(command.env(BODY, format!("{body}; echo > ready")).env("BELAY_DEMO_HOST", &host));
        wait_for(|| host.join("ready").exists());
        host
    }

    fn spawn(&mut self, command: &mut Command) -> u32 {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.process_group(0).spawn().unwrap());
        self.children.last().unwrap().id()
    }

    /// Calls the agent as the cluster does.
    fn agent(&self, action: &str, host: &str) -> Output {
        self.agent_with(&format!("action={action}\nport={host}\n"))
    }

    fn agent_with(&self, lines: &str) -> Output {
        let text =
            format!("{lines}nodename=ignored\nagent=fence_belay_demo\nstate_dir={}\n", self.dir.path().display());
        call(&mut Command::new(AGENT), &text)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        for pid in processes_of(self.dir.path()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn call(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn wait_for(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn pid_in(file: &Path) -> u32 {
    wait_for(|| fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// Everything that lives with this directory in its environment or arguments: an independent look.
fn processes_of(dir: &Path) -> Vec<u32> {
    let names = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(dir.to_str().unwrap())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && alive(*pid) && (names(*pid, "environ") || names(*pid, "cmdline")))
        .collect()
}

fn power(host: &Path) -> String {
    fs::read_to_string(host.join("power")).unwrap()
}

#[track_caller]
fn says(output: &Output, status: i32, words: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    assert!(out.contains(words) || err.contains(words), "{out}{err}");
}

/// Not a test by itself: what `power_up` starts.
#[test]
#[ignore = "started by the other tests"]
fn the_supervisor_of_a_host() {
    let Ok(body) = std::env::var(BODY) else { return };
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    fs::write("pid", format!("{}\n", std::process::id())).unwrap();
    let mut shell = Command::new("bash").args(["-c", &body]).env_remove(BODY).spawn().unwrap();
    shell.wait().unwrap();
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn its_metadata_is_what_every_fence_agent_prints() {
    let by_option = Command::new(AGENT).args(["-o", "metadata"]).output().unwrap();
    let by_input = call(&mut Command::new(AGENT), "action=metadata\n");
    assert_eq!(by_option.stdout, by_input.stdout);
    let text = String::from_utf8(by_option.stdout).unwrap();
    // The tool that reads the metadata of all agents reads this one's.
    let lint = call(Command::new("xmllint").args(["--noout", "-"]), &text);
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));
    insta::assert_snapshot!(text);
}

#[test]
fn off_leaves_nothing_of_a_host_however_it_tried_to_get_away() {
    let mut demo = Demo::new();
    let dir = demo.host("node1").display().to_string();
    let host = demo.power_up(
        "node1",
        &format!(
            "sleep 1001 & \
             (trap '' TERM HUP; sleep 1002; sleep 1003) & \
             setsid sleep 1004 & \
             (setsid env -u BELAY_DEMO_HOST sleep 1005 & echo $! > unmarked) ; \
             (env -i setsid bash -c 'exec -a \"qemu-system-x86_64 -chardev socket,path={dir}/libvirt/web1.sock\" sleep 1006' & ) ; \
             sleep 1007 & kill -STOP $! ; \
             (while :; do sleep 0.001 & done) & :"
        ),
    );
    wait_for(|| processes_of(&host).len() > 6);
    let unmarked = pid_in(&host.join("unmarked"));
    assert!(alive(unmarked));
    says(&demo.agent("status", "node1"), 0, "Status: ON");
    says(&demo.agent("off", "node1"), 0, "Success: Powered OFF");
    assert_eq!(processes_of(&host), [0u32; 0]);
    assert_eq!(power(&host), "off\n");
    says(&demo.agent("status", "node1"), 2, "Status: OFF");
    says(&demo.agent("off", "node1"), 0, "Success: Already OFF");
}

#[test]
fn a_child_without_any_mark_dies_with_its_supervisor() {
    let mut demo = Demo::new();
    let host = demo.power_up("node1", "env -i sleep 1000 & echo $! > child");
    let child = pid_in(&host.join("child"));
    says(&demo.agent("off", "node1"), 0, "Powered OFF");
    assert!(!alive(child));
}

#[test]
fn what_outlived_its_supervisor_is_found_by_its_mark_or_its_arguments() {
    let mut demo = Demo::new();
    let host = demo.host("node1");
    fs::write(host.join("power"), "on\n").unwrap();
    let marked = demo.start("exec sleep 1000", &host, true);
    let path = host.display();
    demo.start(
        &format!("exec env -i bash -c 'echo $$ > emulator; exec -a \"qemu {path}/a.sock\" sleep 1000'"),
        &host,
        false,
    );
    let emulator = pid_in(&host.join("emulator"));
    says(&demo.agent("off", "node1"), 0, "Powered OFF");
    assert!(!alive(marked) && !alive(emulator));
}

#[test]
fn a_host_of_a_similar_name_is_left_alone() {
    let mut demo = Demo::new();
    let ten = demo.host("node10");
    let path = ten.display();
    demo.power_up("node10", "sleep 1000 & :");
    demo.start(
        &format!("exec env -i bash -c 'echo $$ > emulator; exec -a \"qemu {path}/a.sock\" sleep 1000'"),
        &ten,
        false,
    );
    let emulator = pid_in(&ten.join("emulator"));
    let before = processes_of(&ten);
    demo.power_up("node1", "sleep 1000 & :");
    says(&demo.agent("off", "node1"), 0, "Powered OFF");
    assert!(alive(emulator) && alive(pid_in(&ten.join("pid"))));
    assert_eq!(processes_of(&ten), before);
}

#[test]
fn a_pid_file_left_from_an_earlier_run_hits_nobody() {
    let mut demo = Demo::new();
    let host = demo.host("node1");
    fs::write(host.join("pid"), format!("{}\n", std::process::id())).unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let write = |pid: u32| {
        fs::write(host.join("pid"), format!("{pid}\n")).unwrap();
        fs::File::options().write(true).open(host.join("pid")).unwrap().set_modified(hour_ago).unwrap();
    };
    let elsewhere = demo.host("elsewhere");
    let innocent = demo.start("exec sleep 1000", &elsewhere, false);
    write(innocent);
    says(&demo.agent("off", "node1"), 0, "Powered OFF");
    assert!(alive(innocent));
    let others = demo.start("exec sleep 1000", &elsewhere, true);
    fs::write(host.join("pid"), format!("{others}\n")).unwrap();
    says(&demo.agent("off", "node1"), 0, "Already OFF");
    assert!(alive(others));
}

#[test]
fn two_hosts_may_switch_off_a_third_at_once() {
    let mut demo = Demo::new();
    let host = demo.power_up("node1", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| says(&demo.agent("off", "node1"), 0, "Success: "));
        }
    });
    assert_eq!(processes_of(&host), [0u32; 0]);
}

#[test]
fn an_agent_never_fences_the_host_it_runs_on() {
    let mut demo = Demo::new();
    let host = demo.host("node1");
    let state_dir = demo.dir.path().display();
    let body = format!("{AGENT} -o off -n node1 --state-dir {state_dir} > said 2>&1; echo $? > status");
    demo.power_up("node1", &body);
    assert_eq!(fs::read_to_string(host.join("status")).unwrap(), "1\n");
    let said = fs::read_to_string(host.join("said")).unwrap();
    assert!(said.contains("runs on node1 itself"), "{said}");
    assert_eq!(power(&host), "on\n");
    assert!(alive(pid_in(&host.join("pid"))));
}

/// What the demo does: starts a supervisor whenever the power is on and there is none.
fn with_electricity<T>(demo: &Demo, name: &str, then: impl FnOnce() -> T) -> T {
    let (host, stop) = (demo.host(name), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || {
        let mut children: Vec<Child> = Vec::new();
        while !stopped.load(Ordering::SeqCst) {
            let running = children.last_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if !running && fs::read_to_string(host.join("power")).is_ok_and(|text| text == "on\n") {
                let mut command = Command::new("sh");
                command.args(["-c", "echo $$ > pid; sleep 1000"]).current_dir(&host).env("BELAY_DEMO_HOST", &host);
                children.push(command.process_group(0).spawn().unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        children
    });
    let result = then();
    stop.store(true, Ordering::SeqCst);
    for mut child in watcher.join().unwrap() {
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

#[test]
fn reboot_switches_off_and_on_again_and_on_waits_for_the_supervisor() {
    let demo = Demo::new();
    let host = demo.host("node1");
    with_electricity(&demo, "node1", || {
        says(&demo.agent("on", "node1"), 0, "Success: Powered ON");
        let first = pid_in(&host.join("pid"));
        assert!(alive(first));
        says(&demo.agent("on", "node1"), 0, "Success: Already ON");
        says(&demo.agent("reboot", "node1"), 0, "Success: Rebooted");
        let second = pid_in(&host.join("pid"));
        assert!(!alive(first) && alive(second) && first != second);
        // Reboot is what an agent does when it is not told what to do.
        says(&demo.agent_with("port=node1\n"), 0, "Success: Rebooted");
        assert!(!alive(second));
    });
}

#[test]
fn a_reboot_after_which_the_host_stays_off_still_counts_as_fenced() {
    let mut demo = Demo::new();
    let host = demo.power_up("node1", "sleep 1000 & :");
    let output = demo.agent_with("action=reboot\nport=node1\npower_timeout=1\n");
    says(&output, 0, "Success: Rebooted");
    says(&output, 0, "Timed out waiting to power ON");
    assert_eq!(processes_of(&host), [0u32; 0]);
    says(&demo.agent_with("action=on\nport=node1\npower_timeout=0.2\n"), 1, "Timed out waiting to power ON");
}

#[test]
fn delay_is_waited_before_switching_off() {
    let demo = Demo::new();
    demo.host("node1");
    let begun = Instant::now();
    says(&demo.agent_with("action=off\nport=node1\ndelay=0.4\n"), 0, "Powered OFF");
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn who_may_not_kill_a_host_fails_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let mut demo = Demo::new();
    let host = demo.power_up("node1", "sleep 1000 & :");
    for dir in [demo.dir.path(), &host] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // The build directory may be closed to that user, so it gets a copy.
    let agent = demo.dir.path().join("agent");
    // By another process: a file that this one has just written may be busy when a test beside this one forks.
    assert!(Command::new("cp").arg(AGENT).arg(&agent).status().unwrap().success());
    let text = format!("action=off\nport=node1\nstate_dir={}\n", demo.dir.path().display());
    let output = call(Command::new(agent).uid(65534).gid(65534), &text);
    says(&output, 1, "not allowed to kill the processes of node1");
    assert!(alive(pid_in(&host.join("pid"))));
}

#[test]
fn what_is_wrong_with_the_parameters_is_said() {
    let demo = Demo::new();
    demo.host("node1");
    says(&demo.agent("explode", "node1"), 1, "Unrecognised action 'explode'");
    for name in ["node2", "..", ".", "node1/..", "/etc"] {
        says(&demo.agent("off", name), 1, &format!("there is no demo host '{name}'"));
    }
    says(&call(&mut Command::new(AGENT), "action=off\nport=node1\n"), 1, "state_dir=");
    says(&call(&mut Command::new(AGENT), "action=off\nport=a\nstate_dir=/nowhere\n"), 1, "is the demo running?");
    says(&call(&mut Command::new(AGENT), ""), 1, "You have to enter");
    let unknown = Command::new(AGENT).arg("--explode").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn list_monitor_and_validate_all_answer() {
    let mut demo = Demo::new();
    demo.power_up("node2", ":");
    demo.power_up("node1", ":");
    demo.host("not-a-host");
    let list = demo.agent("list", "node1");
    assert_eq!(String::from_utf8_lossy(&list.stdout), "node1,\nnode2,\n");
    says(&demo.agent("monitor", "node1"), 0, "");
    says(&demo.agent("validate-all", "node1"), 0, "");
    says(&demo.agent("validate-all", "node7"), 1, "no demo host");
    says(&call(&mut Command::new(AGENT), "action=monitor\nstate_dir=/nowhere\n"), 1, "Unable to connect");
}
