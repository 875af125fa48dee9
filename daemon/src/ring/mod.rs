//! The ring: the ordered stream that members share, behind one trait with two implementations (the third lives in the
//! simulator).
//!
//! The contract, which one test holds against every implementation: members of the same view deliver the same messages
//! in the same order; a view change is delivered in that order too; what was proposed by a member that died is delivered
//! to all survivors or to none; messages of one sender arrive in the order it proposed them, each once.

pub mod corosync;
mod desk;
mod held;
pub mod local;

use belay_proto::NodeId;
use belay_proto::ring::RingId;
use std::sync::Arc;

/// What a ring delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEvent {
    /// The membership from here on. Also sent when only the ring id or the hosts changed.
    View {
        /// The ring it stands on.
        ring: RingId,
        /// Members whose daemon takes part, ascending, this one included.
        members: Vec<NodeId>,
        /// Hosts that the ring's own membership contains, daemon or not, ascending: a host that is here but whose
        /// daemon is no member is alive.
        hosts: Vec<NodeId>,
    },
    /// A proposal, one's own included.
    Message {
        /// Who proposed it.
        from: NodeId,
        /// What.
        bytes: Vec<u8>,
    },
    /// What the quorum service says of a ring. Not ordered with the other events.
    Quorum {
        /// The ring it speaks of.
        ring: RingId,
        /// Its verdict.
        quorate: bool,
    },
    /// The ring is gone: nothing proposed since the last view is certain. The implementation comes back by itself,
    /// with a new view.
    Down {
        /// Why, for the log.
        reason: String,
    },
}

/// Why a proposal was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// There is no ring at the moment.
    #[error("the ring is down: {0}")]
    Down(String),
    /// The message is larger than the ring can carry.
    #[error("message of {size} bytes is larger than the ring's limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Asks whether this host is quorate right now.
pub type QuorumProbe = Arc<dyn Fn() -> bool + Send + Sync>;

/// A ring, as the daemon sees it.
#[async_trait::async_trait]
pub trait Ring: Send {
    /// The next thing it delivers. Cancel-safe.
    async fn next(&mut self) -> RingEvent;

    /// Sends to all members, this one included. Queued in order behind what was proposed before; under load it waits
    /// in the queue, it is never dropped while the ring is up.
    ///
    /// # Errors
    /// When the ring is down or the message is too large.
    fn propose(&self, bytes: Vec<u8>) -> Result<(), RingError>;

    /// A way to ask, from anywhere, whether the quorum service calls this host quorate at this moment. Executors ask
    /// right before they act: a process that was frozen and wakes must not act on what it knew before.
    fn quorum_probe(&self) -> QuorumProbe;

    /// Leaves in good order: peers see the member go at once.
    async fn leave(&mut self);
}
