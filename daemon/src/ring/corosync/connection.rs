//! One connection to corosync: the group for the ordered stream, the quorum service for the verdicts.
//!
//! Both belong together: when either breaks, corosync is gone or restarted, and both are made anew.

// `poll` needs the libraries' descriptors, which they hand out as plain numbers.
#![allow(unsafe_code)]

use super::arrivals::{self, Arrival};
use belay_proto::NodeId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rust_corosync::{CsError, DispatchFlags, TrackFlags, cpg, quorum};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How often a call is repeated that corosync cannot serve at the moment (`TRY_AGAIN`), and the pause between.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Corosync has it.
    Yes,
    /// Corosync is busy: the same message again, later.
    Later,
}

/// A connection.
pub(super) struct Connection {
    group: String,
    node: NodeId,
    limit: usize,
    cpg: cpg::Handle,
    quorum: quorum::Handle,
    descriptors: [i32; 2],
}

impl Connection {
    /// Connects and joins the group.
    pub(super) fn open(group: &str) -> Result<Self, String> {
        // What a former connection left must not be taken for this one's.
        drop(arrivals::take());
        let cpg = patiently("cpg_initialize", || cpg::initialize(&arrivals::group(), 0))?;
        let node = patiently("cpg_local_get", || cpg::local_get(&cpg))?;
        let limit = patiently("cpg_max_atomic_msgsize_get", || cpg::max_atomic_msgsize_get(&cpg))?;
        let (quorum, _) = patiently("quorum_initialize", || quorum::initialize(&arrivals::verdicts(), 0))?;
        // Changes, and the present state as the first of them.
        patiently("quorum_trackstart", || quorum::trackstart(&quorum, TrackFlags::Changes))?;
        let descriptors =
            [patiently("cpg_fd_get", || cpg::fd_get(&cpg))?, patiently("quorum_fd_get", || quorum::fd_get(&quorum))?];
        patiently("cpg_join", || cpg::join(&cpg, group))?;
        let (node, limit) = (NodeId(u32::from(node)), usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Self { group: group.to_owned(), node, limit, cpg, quorum, descriptors })
    }

    /// Which node corosync says this is.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// The largest message corosync carries in one piece.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Sends a message to the group.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<Sent, String> {
        match cpg::mcast_joined(&self.cpg, cpg::Guarantee::TypeAgreed, bytes) {
            Ok(()) => Ok(Sent::Yes),
            Err(CsError::CsErrTryAgain) => Ok(Sent::Later),
            Err(error) => Err(format!("cpg_mcast_joined: {error}")),
        }
    }

    /// Leaves the group.
    pub(super) fn leave(&self) -> Result<(), String> {
        patiently("cpg_leave", || cpg::leave(&self.cpg, &self.group))
    }

    /// The next few things that arrived; empty when there is nothing.
    pub(super) fn receive(&self) -> Result<Vec<Arrival>, String> {
        settle("cpg_dispatch", cpg::dispatch(&self.cpg, DispatchFlags::OneNonblocking))?;
        let arrived = arrivals::take();
        if !arrived.is_empty() {
            return Ok(arrived);
        }
        // The verdicts come after the changes that they are about.
        settle("quorum_dispatch", quorum::dispatch(&self.quorum, DispatchFlags::OneNonblocking))?;
        Ok(arrivals::take())
    }

    /// Waits until something arrives, the other descriptor has something, or the time is over.
    pub(super) fn wait(&self, other: BorrowedFd<'_>, at_most: Duration) {
        // SAFETY: both descriptors belong to handles that this object owns and finalizes only when it is dropped, and
        // the borrows end with this function.
        let [cpg, quorum] = self.descriptors.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        let mut waiting = [cpg, quorum, other].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let timeout = PollTimeout::from(u16::try_from(at_most.as_millis()).unwrap_or(u16::MAX));
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing sensible can be wrong with these descriptors; not spinning is what matters.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn settle(call: &str, result: Result<(), CsError>) -> Result<(), String> {
    match result {
        Ok(()) | Err(CsError::CsErrTryAgain) => Ok(()),
        Err(error) => Err(format!("{call}: {error}")),
    }
}

/// Repeats a call while corosync asks for it, as it does while its own membership settles.
fn patiently<T>(call: &str, mut attempt: impl FnMut() -> Result<T, CsError>) -> Result<T, String> {
    let mut left = ATTEMPTS;
    loop {
        match attempt() {
            Err(CsError::CsErrTryAgain) if left > 0 => left -= 1,
            result => return result.map_err(|error| format!("{call}: {error}")),
        }
        std::thread::sleep(PAUSE);
    }
}
