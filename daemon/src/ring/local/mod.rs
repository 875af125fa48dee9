//! The local ring: several daemons on one machine, with no corosync and no process that orders.
//!
//! The ring is a directory with an append-only log that all members write and read. The kernel puts concurrent appends
//! one behind the other, and that is the total order: it cannot die with a member. The log's records say who is a
//! member ([`book`]), sockets tell who is alive ([`peers`]), and a removal is itself a record, so that all see it in the
//! same place of the order. `docs/decisions/003-local-ring-is-a-shared-log.md` says why.
//!
//! ```text
//!   propose -> desk -> outbox -> append --> log-v1.N <-- append by the others
//!                                             |
//!   next <------- events <- session <- book <-+ read by all
//! ```
//!
//! One thread per ring does all of it. It never syncs to disk: the log matters only while a member lives, and when none
//! does the next one starts it afresh.

mod book;
mod claim;
mod log;
mod outbox;
mod peers;
mod record;
mod scanner;
mod segment;
mod session;

use super::desk::{Desk, Ear};
use super::held::{Held, LEFT};
use super::{QuorumProbe, Ring, RingError, RingEvent};
use belay_proto::{Incarnation, NodeId};
use claim::Claim;
use session::{Ending, Session};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The largest message in bytes.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The usual size at which the log goes on in a new file.
pub const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The usual time within which a member must answer.
pub const TOKEN: Duration = Duration::from_secs(1);

/// Events between the thread and the daemon. When they are not taken the thread stops reading the log, where what is to
/// come is kept anyway.
const EVENTS: usize = 256;

/// Between attempts to come back.
const COME_BACK: Duration = Duration::from_millis(20);
const COME_BACK_AT_MOST: Duration = Duration::from_secs(1);

/// How to take part.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// The ring's directory, best on a tmpfs; made if need be. All members name the same.
    pub dir: PathBuf,
    /// This member.
    pub node: NodeId,
    /// This life of its daemon. A member that comes back without a restart counts on from it.
    pub incarnation: Incarnation,
    /// Votes per node.
    pub votes: BTreeMap<NodeId, u32>,
    /// The votes a view needs to be quorate (1 for `two_node`: on one machine there is no partition).
    pub quorum: u32,
    /// A member that does not answer for this long is removed; usually [`TOKEN`].
    pub token: Duration,
    /// The log goes on in a new file after this much; usually [`SEGMENT_BYTES`].
    pub segment_bytes: u64,
}

/// Why a daemon cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The directory or what is in it cannot be used.
    #[error("cannot use the ring directory {}: {source}; check --ring-dir, its owner and free space", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// This node takes part already.
    #[error("node {node} already has a daemon on the ring in {}: stop that one, or give this one another node", dir.display())]
    Duplicate {
        /// The node.
        node: NodeId,
        /// The ring's directory.
        dir: PathBuf,
    },
    /// Another process holds the ring for itself.
    #[error("a process that sets up the ring in {} does not get on: end it (it holds ring.lock)", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
}

/// A local ring.
#[derive(Debug)]
pub struct LocalRing {
    held: Held,
}

impl LocalRing {
    /// Takes part. The first event is the view that contains this member. May wait up to a second for a lock that a
    /// former daemon of this node is about to give up.
    ///
    /// # Errors
    /// When the directory cannot be used, or the node takes part already.
    pub fn join(settings: LocalSettings) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Directory { dir: settings.dir.clone(), source };
        let claim = Claim::take(&settings.dir, settings.node)?;
        let (desk, ear) = Desk::new(settings.token).map_err(failed)?;
        let desk = Arc::new(desk);
        let (sender, events) = mpsc::channel(EVENTS);
        let member = Member { settings: settings.clone(), desk: Arc::clone(&desk), events: sender };
        let name = format!("ring-{}", settings.node);
        let thread = std::thread::Builder::new().name(name).spawn(move || member.run(claim, ear)).map_err(failed)?;
        Ok(Self { held: Held::new(desk, events, thread) })
    }

    fn stop(&mut self) {
        if let Some(thread) = self.held.stop() {
            // It looks at the flag between two steps, none of which waits.
            let _ = thread.join();
        }
    }
}

impl Drop for LocalRing {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait::async_trait]
impl Ring for LocalRing {
    async fn next(&mut self) -> RingEvent {
        self.held.next().await
    }

    fn propose(&self, bytes: Vec<u8>) -> Result<(), RingError> {
        self.held.propose(bytes, MAX_MESSAGE)
    }

    fn quorum_probe(&self) -> QuorumProbe {
        self.held.quorum_probe()
    }

    async fn leave(&mut self) {
        self.held.leave().await;
        self.stop();
    }
}

/// The thread: one session after the other.
struct Member {
    settings: LocalSettings,
    desk: Arc<Desk>,
    events: mpsc::Sender<RingEvent>,
}

impl Drop for Member {
    fn drop(&mut self) {
        // Also when the thread panics: a ring without a thread must not look alive.
        self.desk.down(LEFT);
    }
}

impl Member {
    fn run(self, claim: Claim, mut ear: Ear) {
        let mut claim = Some(claim);
        let mut incarnation = self.settings.incarnation;
        let mut pause = COME_BACK;
        loop {
            let reason = match self.one_life(claim.take(), incarnation, &mut ear) {
                Ending::Left | Ending::Stopped => return,
                Ending::Down(reason) => reason,
            };
            if self.lost(&reason) {
                pause = COME_BACK;
            }
            ear.wait(pause);
            if self.desk.leaving() || self.desk.stopping() {
                return;
            }
            pause = (pause * 2).min(COME_BACK_AT_MOST);
            incarnation = Incarnation(incarnation.0 + 1);
        }
    }

    fn one_life(&self, claim: Option<Claim>, incarnation: Incarnation, ear: &mut Ear) -> Ending {
        let claim = claim.map_or_else(|| Claim::take(&self.settings.dir, self.settings.node), Ok);
        let session =
            claim.and_then(|claim| Session::open(&self.settings, claim, incarnation, &self.desk, &self.events));
        match session {
            Ok(session) => session.run(ear),
            Err(error) => Ending::Down(error.to_string()),
        }
    }

    /// Reports the end of a life. Whether it had been one: an attempt to come back that failed is no second end.
    fn lost(&self, reason: &str) -> bool {
        let was_up = self.desk.down(reason);
        if was_up {
            tracing::warn!(reason, "the local ring is down; joining again");
            // Waits for room; fails only when the daemon has dropped the ring, which the next step notices.
            let _ = self.events.blocking_send(RingEvent::Down { reason: reason.to_owned() });
        } else {
            tracing::debug!(reason, "cannot join the local ring yet");
        }
        was_up
    }
}
