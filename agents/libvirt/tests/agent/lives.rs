//! What a guest does, and what happens to it, told apart: killed, powered off, rebooted, stopped by its disk.

use crate::agent::gone;
use crate::embedded::{Embedded, kill};
use crate::guest::{Guest, with_disk};
use belay_proto::agent::{AgentEvent, AgentLine, CallKind, DomainState, Witness};
use belay_proto::entry::GoneReason;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_killed_emulator_is_reported_once_and_at_once_and_can_be_started_again() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let xml = world.definition("web1", Guest::Idle);
    let mut pid = agent.start_domain("web1", &xml);
    for _ in 0..5 {
        let listed = agent.list();
        assert_eq!((listed.len(), listed[0].pid, listed[0].state), (1, Some(pid), DomainState::Running));
        let killed = Instant::now();
        kill(pid, "KILL");
        let (event, at) = agent.expect_at("end", gone);
        let expected =
            AgentEvent::Gone { name: "web1".into(), why: GoneReason::Died, pid: Some(pid), witness: Witness::Pidfd };
        assert_eq!(event, expected);
        // Far above what it takes (a few ms), far below what libvirt's own event takes (200 ms) plus a poll.
        assert!(at.duration_since(killed) < Duration::from_millis(1000), "{:?}", at.duration_since(killed));
        // Libvirt still holds the dead domain: neither is it listed, nor does it hinder the next one.
        assert!(agent.list().is_empty());
        pid = agent.start_domain("web1", &xml);
    }
    let ends = agent.events().iter().filter_map(gone).count();
    assert_eq!(ends, 5, "libvirt's late news of each end is no second end");
}

#[test]
fn a_guest_that_powers_itself_off_has_not_crashed() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::PowersOff));
    agent
        .expect("shutdown", |event| matches!(event, AgentEvent::ShuttingDown { name } if name == "web1").then_some(()));
    let end = agent.expect("end", gone);
    let AgentEvent::Gone { name, why, pid: gone_pid, .. } = end else { panic!("{end:?}") };
    assert_eq!((name.as_str(), why, gone_pid), ("web1", GoneReason::GuestShutdown, Some(pid)));
    assert!(agent.list().is_empty());
}

#[test]
fn a_guest_that_reboots_stays() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &world.definition("web1", Guest::Reboots));
    assert_eq!(agent.list()[0].size, Some(belay_proto::Size { memory_mib: 32, vcpus: 1 }));
    for _ in 0..2 {
        agent.expect("reboot", |event| matches!(event, AgentEvent::Rebooted { name } if name == "web1").then_some(()));
    }
    assert_eq!(agent.list()[0].pid, Some(pid));
    assert!(agent.events().iter().filter_map(gone).next().is_none());
}

/// A file system of 64 KiB, gone with the test.
struct TinyDisk<'a>(&'a Path);

impl Drop for TinyDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_guest_whose_disk_fails_is_paused_and_says_which_disk() {
    let world = Embedded::new();
    let mount = world.dir().join("full");
    fs::create_dir(&mount).expect("a mount point");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "belay-test"]).arg(&mount).status();
    assert!(mounted.expect("mount runs").success(), "this test needs root");
    let _unmounted_at_the_end = TinyDisk(&mount);
    let disk = mount.join("disk.img");
    let bootable = fs::read(Guest::Writes.disk(world.dir())).expect("a disk can be read");
    fs::write(&disk, &bootable[..512]).expect("a disk can be written");
    File::options().write(true).open(&disk).and_then(|file| file.set_len(1024 * 1024)).expect("a sparse disk");

    let mut agent = world.agent();
    let pid = agent.start_domain("web1", &with_disk("web1", &disk, ""));
    let detail = agent.expect("I/O error", |event| match event {
        AgentEvent::IoError { name, detail } if name == "web1" => Some(detail.clone()),
        _ => None,
    });
    assert!(detail.contains("disk.img") && detail.contains("paused"), "{detail}");
    let listed = agent.list();
    assert_eq!((listed[0].pid, listed[0].state), (Some(pid), DomainState::Paused));
    // libvirt tells of the error and of the pause separately, in either order.
    agent.wait(0, "pause", |line| match line {
        AgentLine::Event(AgentEvent::Paused { why, .. }) if why == "ioerror" => Some(()),
        _ => None,
    });
    // It cannot obey, so the stop does not wait for it.
    let stopped = agent.call(CallKind::Stop { name: "web1".into(), grace_ms: 600_000, destroy: true });
    assert_eq!(stopped, Ok(belay_proto::agent::Answer::Stopped { destroyed: true }));
}
