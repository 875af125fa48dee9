//! What the daemon's tasks and the ring's thread share: proposals on their way out, and whether the ring is there.

use crate::ring::RingError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The shared part.
#[derive(Debug)]
pub(super) struct Desk {
    tray: Mutex<Tray>,
    bell: UnixStream,
    quorate: AtomicBool,
    /// The consumer is behind and the thread wants to be told when it has caught up.
    waiting_for_room: AtomicBool,
    origin: Instant,
    /// When the thread last knew the whole log, in milliseconds after the origin.
    current_at_ms: AtomicU64,
    token: Duration,
}

#[derive(Debug)]
struct Tray {
    down: Option<String>,
    proposals: VecDeque<Vec<u8>>,
    leaving: bool,
    stop: bool,
}

/// What the thread takes from the desk.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) proposals: VecDeque<Vec<u8>>,
    /// These are the last: the member leaves once they are sent.
    pub(super) leaving: bool,
}

/// The thread's end of the bell.
#[derive(Debug)]
pub(super) struct Ear(UnixStream);

impl Desk {
    pub(super) fn new(token: Duration) -> std::io::Result<(Self, Ear)> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let down = Some("not joined yet".to_owned());
        let desk = Self {
            tray: Mutex::new(Tray { down, proposals: VecDeque::new(), leaving: false, stop: false }),
            bell,
            quorate: AtomicBool::new(false),
            waiting_for_room: AtomicBool::new(false),
            origin: Instant::now(),
            current_at_ms: AtomicU64::new(0),
            token,
        };
        Ok((desk, Ear(ear)))
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub(super) fn ring_bell(&self) {
        // A full buffer is a bell that rings already.
        let _ = (&self.bell).write(&[0]);
    }

    pub(super) fn propose(&self, bytes: Vec<u8>) -> Result<(), RingError> {
        let mut tray = self.tray();
        if let Some(reason) = &tray.down {
            return Err(RingError::Down(reason.clone()));
        }
        tray.proposals.push_back(bytes);
        let first = tray.proposals.len() == 1;
        drop(tray);
        if first {
            self.ring_bell();
        }
        Ok(())
    }

    /// What was proposed since this was last asked. Whether the member is to leave is told with it: asked apart, what was
    /// proposed in between, right before the wish to leave, would stay behind and be lost.
    pub(super) fn take_proposals(&self) -> Taken {
        let mut tray = self.tray();
        Taken { proposals: std::mem::take(&mut tray.proposals), leaving: tray.leaving }
    }

    pub(super) fn leave(&self) {
        self.tray().leaving = true;
        self.ring_bell();
    }

    pub(super) fn leaving(&self) -> bool {
        self.tray().leaving
    }

    pub(super) fn stop(&self) {
        self.tray().stop = true;
        self.ring_bell();
    }

    pub(super) fn stopping(&self) -> bool {
        self.tray().stop
    }

    /// The ring is there.
    pub(super) fn up(&self) {
        self.tray().down = None;
    }

    /// The ring is gone, and with it what was on its way. Whether it was there before.
    pub(super) fn down(&self, reason: &str) -> bool {
        self.set_quorate(false);
        let mut tray = self.tray();
        tray.proposals.clear();
        tray.down.replace(reason.to_owned()).is_none()
    }

    pub(super) fn set_quorate(&self, quorate: bool) {
        self.quorate.store(quorate, Ordering::SeqCst);
    }

    /// The thread knew the whole log at this moment.
    pub(super) fn set_current(&self, at: Instant) {
        let millis = at.saturating_duration_since(self.origin).as_millis();
        self.current_at_ms.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether the present view has the votes, as of at most the token's time ago. A process that was frozen wakes up
    /// with knowledge that is older, while the others may have gone on without it.
    pub(super) fn quorate(&self) -> bool {
        let current = Duration::from_millis(self.current_at_ms.load(Ordering::SeqCst));
        self.quorate.load(Ordering::SeqCst) && self.origin.elapsed().saturating_sub(current) <= self.token
    }

    pub(super) fn set_waiting_for_room(&self) {
        self.waiting_for_room.store(true, Ordering::SeqCst);
    }

    /// The consumer took an event.
    pub(super) fn made_room(&self) {
        if self.waiting_for_room.load(Ordering::SeqCst) && self.waiting_for_room.swap(false, Ordering::SeqCst) {
            self.ring_bell();
        }
    }
}

impl Ear {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Waits for the bell, at most this long.
    pub(super) fn wait(&mut self, at_most: Duration) {
        let millis = u16::try_from(at_most.as_millis()).unwrap_or(u16::MAX);
        // An error would only mean an earlier attempt.
        let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::from(millis));
        self.listen();
    }

    /// Silences the bell.
    pub(super) fn listen(&mut self) {
        let mut buffer = [0; 64];
        loop {
            match self.0.read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_that_was_not_confirmed_for_the_tokens_time_does_not_count() {
        for (token, counts) in [(Duration::from_secs(3600), true), (Duration::from_millis(30), false)] {
            let (desk, _ear) = Desk::new(token).unwrap();
            desk.set_quorate(true);
            desk.set_current(Instant::now());
            std::thread::sleep(Duration::from_millis(60));
            assert_eq!(desk.quorate(), counts, "{token:?}");
        }
    }

    #[test]
    fn what_was_on_its_way_goes_down_with_the_ring() {
        let (desk, _ear) = Desk::new(Duration::from_secs(1)).unwrap();
        assert!(matches!(desk.propose(vec![1]), Err(RingError::Down(_))));
        desk.up();
        desk.propose(vec![2]).unwrap();
        desk.down("frozen");
        desk.up();
        assert!(desk.take_proposals().proposals.is_empty());
    }

    #[test]
    fn the_wish_to_leave_comes_with_all_that_was_proposed_before_it() {
        let (desk, _ear) = Desk::new(Duration::from_secs(1)).unwrap();
        desk.up();
        let desk = std::sync::Arc::new(desk);
        let daemon = std::thread::spawn({
            let desk = std::sync::Arc::clone(&desk);
            move || {
                (0..10_000).for_each(|_| desk.propose(vec![1]).unwrap());
                desk.leave();
            }
        });
        let mut taken = 0;
        loop {
            let Taken { proposals, leaving } = desk.take_proposals();
            taken += proposals.len();
            if leaving {
                break;
            }
        }
        daemon.join().unwrap();
        assert_eq!(taken, 10_000);
    }
}
