//! Takes dead emulators off the process table at once (`--reap`).
//!
//! An embedded hypervisor's emulators are orphans: libvirt forks twice, so that they belong to the nearest subreaper.
//! After a death libvirt holds the domain until the process has left the process table, and an init that reaps once a
//! second makes every restart that much slower. With `--reap` the agent is that subreaper.
//!
//! libvirt also has children of its own in this process, and waits for them; taking one of those away would make libvirt
//! believe that its program failed. They are told apart by their session. Whatever libvirt starts as a daemon (that is
//! how it starts emulators) runs in the session of the intermediate process, which ended long ago: neither our session,
//! as libvirt's own children do, nor one that the process leads itself, as the intermediate process does. Only such
//! orphans are reaped, one by one, by their pid.

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getsid};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

/// Wakes at the end of a child, and reaps orphans.
#[derive(Debug)]
pub(crate) struct Reaper {
    deaths: SignalFd,
    session: i32,
}

impl Reaper {
    /// Makes this process a subreaper. Has to be called before any other thread is started, because SIGCHLD must be
    /// blocked in all of them to arrive here. (libvirt unblocks it in what it starts.)
    pub(crate) fn new() -> nix::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        prctl::set_child_subreaper(true)?;
        let deaths = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { deaths, session: getsid(None)?.as_raw() })
    }

    /// Reaps every orphan that is dead.
    pub(crate) fn reap(&self) {
        // One signal can stand for many deaths: all zombies are looked at, however many signals came.
        while matches!(self.deaths.read_signal(), Ok(Some(_))) {}
        let Ok(entries) = fs::read_dir("/proc") else { return };
        for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if is_orphan_zombie(&stat, pid, std::process::id(), self.session) {
                let _ = waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
            }
        }
    }
}

impl AsFd for Reaper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.deaths.as_fd()
    }
}

/// Judges by `/proc/PID/stat`: `pid (comm) state ppid pgrp session …`, where comm may contain anything.
fn is_orphan_zombie(stat: &str, pid: i32, me: u32, my_session: i32) -> bool {
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_whitespace();
    let (state, parent, session) = (fields.next(), fields.next(), fields.nth(1));
    let session = session.and_then(|s| s.parse::<i32>().ok());
    state == Some("Z")
        && parent.and_then(|p| p.parse().ok()) == Some(me)
        && session.is_some_and(|session| session != my_session && session != pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_orphans_of_ended_sessions_are_reaped() {
        let judge = |stat: &str| is_orphan_zombie(stat, 20363, 500, 400);
        assert!(judge("20363 (qemu-system-x86) Z 500 20362 20362 0 -1"));
        assert!(judge("20363 (a) S 1 2 3) Z 500 20362 20362 0 -1"), "a name with a parenthesis");
        assert!(!judge("20363 (qemu-system-x86) S 500 20362 20362 0 -1"), "it lives");
        assert!(!judge("20363 (qemu-system-x86) Z 1 20362 20362 0 -1"), "it is another's child");
        assert!(!judge("20363 (iptables) Z 500 400 400 0 -1"), "libvirt waits for it: it is in our session");
        assert!(!judge("20363 (agent) Z 500 20363 20363 0 -1"), "libvirt waits for it: the intermediate process");
        assert!(!judge("nonsense"));
    }
}
