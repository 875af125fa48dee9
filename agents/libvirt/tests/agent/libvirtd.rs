//! Against a real libvirtd that is killed, stopped and restarted, and between two of them. Each has a mount namespace of its
//! own, so that it shares nothing with the machine's libvirtd or with another test's.

use crate::agent::{Agent, PATIENCE, gone, stop};
use crate::embedded::{Embedded, kill};
use crate::guest::Guest;
use belay_proto::agent::{AgentEvent, Answer, CallKind, DomainState, FaultKind, Witness};
use belay_proto::entry::GoneReason;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The libvirtd of a host: its namespaces last as long as this value, the daemon comes and goes.
struct Host {
    dir: PathBuf,
    holder: Child,
    daemon: Option<Child>,
}

impl Host {
    fn new(world: &Embedded, name: &str) -> Self {
        let dir = world.dir().join(name);
        fs::create_dir_all(dir.join("etc")).expect("a directory");
        fs::copy(world.dir().join("root/etc/qemu.conf"), dir.join("etc/qemu.conf")).expect("qemu.conf can be copied");
        fs::write(dir.join("hosts"), "127.0.0.1 localhost\n127.0.0.2 belay-a\n127.0.0.3 belay-b\n")
            .expect("a hosts file");
        let number = name.bytes().last().unwrap_or_default();
        let configuration = format!(
            "unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nlog_outputs = \"4:stderr\"\n\
             host_uuid = \"be1a0000-0000-4000-8000-0000000000{number:02x}\"\n",
            dir.display()
        );
        fs::write(dir.join("libvirtd.conf"), configuration).expect("libvirtd.conf can be written");
        let script = "set -e
            mount --make-rprivate /
            mount -t tmpfs tmpfs /run && mkdir -p /run/lock
            for d in /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do mkdir -p $d; mount -t tmpfs tmpfs $d; done
            mount --bind $1/etc /etc/libvirt
            mount --bind $1/hosts /etc/hosts
            hostname $2
            echo ready
            exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--uts", "sh", "-c", script, "sh"])
            .arg(&dir)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut ready = String::new();
        BufReader::new(holder.stdout.as_mut().expect("a pipe")).read_line(&mut ready).expect("a line");
        assert_eq!(ready, "ready\n", "this test needs root");
        let mut host = Self { dir, holder, daemon: None };
        host.start_daemon();
        host
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("libvirt-sock")
    }

    fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "--mount", "--uts", program]);
        command
    }

    fn start_daemon(&mut self) {
        let _ = fs::remove_file(self.socket());
        let mut command = self.inside("setpriv");
        command.args(["--pdeathsig", "KILL", "libvirtd", "-f"]).arg(self.dir.join("libvirtd.conf"));
        self.daemon = Some(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("libvirtd starts"));
        let until = Instant::now() + PATIENCE;
        while !self.socket().exists() {
            assert!(Instant::now() < until, "libvirtd has no socket");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        kill(self.daemon.as_ref().expect("it runs").id(), signal);
    }

    fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    fn agent(&self) -> Agent {
        let mut command = self.inside(env!("CARGO_BIN_EXE_belay-agent-libvirt"));
        command.args(["--uri", &self.uri()]);
        let mut agent = Agent::spawn(command);
        agent.expect("connection", |event| matches!(event, AgentEvent::Connected).then_some(()));
        agent
    }

    fn virsh(&self, arguments: &[&str]) {
        let output = Command::new("virsh").args(["-c", &self.uri()]).args(arguments).output().expect("virsh runs");
        assert!(output.status.success(), "virsh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_daemon();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn disconnected(event: &AgentEvent) -> Option<String> {
    if let AgentEvent::Disconnected { reason } = event { Some(reason.clone()) } else { None }
}

fn connected(event: &AgentEvent) -> Option<()> {
    matches!(event, AgentEvent::Connected).then_some(())
}

fn start(world: &Embedded, name: &str) -> CallKind {
    CallKind::Start { name: name.into(), xml: world.definition(name, Guest::Idle) }
}

#[test]
fn a_libvirtd_that_dies_takes_no_guest_with_it_and_is_found_again() {
    let world = Embedded::new();
    let mut host = Host::new(&world, "belay-a");
    let mut agent = host.agent();
    let [first, second] = ["web1", "web2"].map(|name| agent.start_domain(name, &world.definition(name, Guest::Idle)));

    host.kill_daemon();
    agent.expect("disconnection", disconnected);
    let listed = agent.list();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|domain| domain.state == DomainState::Alive), "unknown is not stopped: {listed:?}");
    assert_eq!(agent.call(start(&world, "web3")).expect_err("no libvirtd").kind, FaultKind::Unreachable);
    kill(first, "KILL");
    let end = agent.expect("end", gone);
    let expected =
        AgentEvent::Gone { name: "web1".into(), why: GoneReason::Died, pid: Some(first), witness: Witness::Pidfd };
    assert_eq!(end, expected, "the kernel tells without libvirtd");

    host.start_daemon();
    agent.expect("connection", connected);
    let listed = agent.list();
    assert_eq!((listed.len(), listed[0].pid, listed[0].state), (1, Some(second), DomainState::Running));
    agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    assert_eq!(agent.events().iter().filter_map(gone).count(), 1, "one end, one event");
    for name in ["web1", "web2"] {
        assert_eq!(agent.call(stop(name, 0, true)), Ok(Answer::Stopped { destroyed: true }));
    }
}

#[test]
fn a_libvirtd_that_hangs_makes_calls_late_and_lists_uncertain_but_stops_nothing() {
    let world = Embedded::new();
    let host = Host::new(&world, "belay-a");
    let mut agent = host.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));

    host.signal("STOP");
    let call = agent.send(start(&world, "web2"), Duration::from_secs(3));
    let listed = agent.list();
    assert_eq!((listed.len(), listed[0].pid, listed[0].state), (1, Some(pid), DomainState::Alive));
    agent.expect("silence", disconnected);
    assert_eq!(agent.answer(call).expect_err("it hangs").kind, FaultKind::Deadline);

    host.signal("CONT");
    agent.expect("answer", connected);
    let named = |domain: &belay_proto::agent::Domain| domain.name == "web1" && domain.state == DomainState::Running;
    assert!(agent.list().iter().any(named));
    // Whether the start took effect is what nobody could know; a repeated one settles it.
    assert!(matches!(agent.call(start(&world, "web2")), Ok(Answer::Started { pid: Some(_), .. })));
}

#[test]
fn what_an_administrator_does_with_virsh_is_seen() {
    let world = Embedded::new();
    let host = Host::new(&world, "belay-a");
    let mut agent = host.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    host.virsh(&["suspend", "web1"]);
    let why = agent.expect("pause", |event| match event {
        AgentEvent::Paused { name, why } if name == "web1" => Some(why.clone()),
        _ => None,
    });
    assert_eq!((why.as_str(), agent.list()[0].state), ("user", DomainState::Paused));
    host.virsh(&["resume", "web1"]);
    agent.expect("resumption", |event| matches!(event, AgentEvent::Resumed { name } if name == "web1").then_some(()));
    host.virsh(&["destroy", "web1"]);
    let end = agent.expect("end", gone);
    assert!(matches!(end, AgentEvent::Gone { why: GoneReason::Died, pid: Some(p), .. } if p == pid), "{end:?}");

    let definition = world.dir().join("web2.xml");
    fs::write(&definition, world.definition("web2", Guest::Idle)).expect("a file");
    host.virsh(&["create", path(&definition)]);
    let started = agent.expect("start", |event| match event {
        AgentEvent::Started { name, pid } if name == "web2" => Some(*pid),
        _ => None,
    });
    assert_eq!(agent.list()[0].pid, started, "a guest that somebody else started is watched as well");
    kill(started.expect("it has a process"), "KILL");
    assert!(matches!(agent.expect("end", gone), AgentEvent::Gone { witness: Witness::Pidfd, .. }));
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain letters")
}

#[test]
fn a_guest_that_migrates_is_not_dead_and_one_that_cannot_stays() {
    let world = Embedded::new();
    let (here, there) = (Host::new(&world, "belay-a"), Host::new(&world, "belay-b"));
    let (mut source, mut target) = (here.agent(), there.agent());
    let xml = world.definition("web1", Guest::Idle);
    for (live, tunnelled) in [(true, false), (false, true)] {
        let pid = source.start_domain("web1", &xml);
        let move_to = |to: String| CallKind::Migrate { name: "web1".into(), to, live, tunnelled };
        let nowhere = format!("qemu+unix:///system?socket={}/nowhere", world.dir().display());
        assert_eq!(source.call(move_to(nowhere)).expect_err("nobody there").kind, FaultKind::Failed);
        assert_eq!(source.list()[0].pid, Some(pid), "it stays where it runs");

        assert_eq!(source.call(move_to(there.uri())), Ok(Answer::Migrated));
        let end = source.expect("end", gone);
        assert!(matches!(end, AgentEvent::Gone { why: GoneReason::Migrated, .. }), "{end:?}");
        assert!(source.list().is_empty());
        target.expect("arrival", |event| {
            matches!(event, AgentEvent::Started { name, .. } if name == "web1").then_some(())
        });
        target.expect("resumption", |event| {
            matches!(event, AgentEvent::Resumed { name } if name == "web1").then_some(())
        });
        assert_eq!(target.list()[0].state, DomainState::Running);
        assert_eq!(target.call(stop("web1", 0, true)), Ok(Answer::Stopped { destroyed: true }));
        target.expect("end", gone);
    }
    source.start_domain("web1", &xml);
    let cancel = CallKind::CancelMigration { name: "web1".into() };
    assert_eq!(source.call(cancel), Ok(Answer::Cancelled), "there is none: that is what was wanted");
    // Moved by somebody else.
    here.virsh(&["migrate", "--live", "--p2p", "web1", &there.uri()]);
    let end = source.expect("end", gone);
    assert!(matches!(end, AgentEvent::Gone { why: GoneReason::Migrated, .. }), "{end:?}");
}
