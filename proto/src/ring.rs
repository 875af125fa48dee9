//! What members send each other through the ring: entries, and the synchronisation that precedes them.
//!
//! After every change of membership the member with the lowest id opens a round. Everyone answers with how far its state
//! is; the most advanced state wins, whoever is behind takes a snapshot, and only then entries apply.

use crate::entry::Entry;
use crate::ids::{BootId, Incarnation, Index, NodeId, Term};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Identifies the ring that members stand on, as corosync prints it: representative and sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingId {
    /// The node whose id the ring carries.
    pub representative: NodeId,
    /// Grows with every ring.
    pub sequence: u64,
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.representative, self.sequence)
    }
}

/// Identifies one round of synchronisation. No two rounds share one, so answers to an earlier round that arrive late
/// are recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundId {
    /// Who opened it.
    pub initiator: NodeId,
    /// Which life of the initiator's daemon.
    pub incarnation: Incarnation,
    /// The initiator's count.
    pub serial: u64,
}

impl fmt::Display for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.initiator, self.serial)
    }
}

/// How far a member's state is. Ordered: the greater one is the more advanced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// How often the state's cluster had become quorate.
    pub term: Term,
    /// How many entries it has applied.
    pub index: Index,
    /// A hash of the state, which tells two histories of the same length apart.
    pub hash: u64,
}

/// The version of the messages that this build speaks.
pub const RING_VERSION: u16 = 1;

/// A message through the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingMessage {
    /// Opens a round.
    Sync {
        /// The new round.
        round: RoundId,
        /// The ring it stands on, as the initiator knows it.
        ring: RingId,
        /// The hosts in the ring's own membership.
        hosts: Vec<NodeId>,
    },
    /// A member's answer.
    Hello(Hello),
    /// A piece of the winner's state.
    Snapshot(SnapshotPart),
    /// The quorum service told the sender that the ring of this round is quorate, and the sender has on disk that no term
    /// up to this one is ever opened by it again. Corosync tells of quorum and of membership on separate channels; this
    /// message puts quorum in order with everything else.
    Quorate {
        /// The round it speaks of; for any other round it has no effect.
        round: RoundId,
        /// The term to be opened; for any other term it has no effect.
        #[serde(default)]
        term: Term,
        /// The sender's cluster clock.
        time: Timestamp,
    },
    /// The quorum service withdrew what it said, without a new ring.
    QuorumLost {
        /// The round it speaks of.
        round: RoundId,
    },
    /// Something to apply, by members of a quorate view.
    Entry(Entry),
    /// The sender has everything up to here on its disk; also its sign of life.
    Persisted {
        /// The round this is about.
        round: RoundId,
        /// The last entry on disk.
        index: Index,
    },
}

/// What a member says of itself in a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The round it answers.
    pub round: RoundId,
    /// The life of its host.
    pub boot: BootId,
    /// The life of its daemon.
    pub incarnation: Incarnation,
    /// How far its state is.
    pub progress: Progress,
    /// The round that opened its state's term, if it ever was in a quorate view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorate_round: Option<RoundId>,
    /// The highest term that it has promised to help to open: the next one gets a higher number, whatever became of that.
    #[serde(default)]
    pub promised: Term,
    /// With `two_node`: whom its state has outlived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlived: Option<Outlived>,
    /// The version of its software, for the history.
    pub software: String,
}

/// What tells which of two hosts that were apart has survived the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlived {
    /// The life of this host in which its state was last carried on.
    pub life: BootId,
    /// The lives of other hosts that are proven to have ended, if they have not been back since.
    pub others: BTreeMap<NodeId, BootId>,
}

/// A piece of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The round it belongs to.
    pub round: RoundId,
    /// Which piece, from 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// The piece of text.
    pub data: String,
}

/// Why bytes from the ring are no message.
#[derive(Debug, thiserror::Error)]
pub enum RingMessageError {
    /// The sender speaks another version.
    #[error("message version {0}, but this build speaks {RING_VERSION}: upgrade the older member")]
    Version(u16),
    /// The bytes are too few or not what they should be.
    #[error("not a ring message: {0}")]
    Malformed(String),
}

impl RingMessage {
    /// The bytes for the ring: the version in two bytes, then JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = RING_VERSION.to_be_bytes().to_vec();
        // Serialising to memory fails only for maps with non-text keys, of which these types have none.
        if let Ok(json) = serde_json::to_vec(self) {
            bytes.extend(json);
        }
        bytes
    }

    /// Reads what [`RingMessage::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are of another version or are no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, RingMessageError> {
        let Some((version, json)) = bytes.split_first_chunk::<2>() else {
            return Err(RingMessageError::Malformed("fewer than two bytes".into()));
        };
        let version = u16::from_be_bytes(*version);
        if version != RING_VERSION {
            return Err(RingMessageError::Version(version));
        }
        serde_json::from_slice(json).map_err(|e| RingMessageError::Malformed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ENTRY_VERSION, What};
    use proptest::prelude::*;

    #[test]
    fn a_message_survives_the_ring() {
        let entry = Entry { version: ENTRY_VERSION, from: NodeId(2), time: Timestamp(7), what: What::Tick };
        let message = RingMessage::Entry(entry);
        assert_eq!(RingMessage::decode(&message.encode()).ok(), Some(message));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = RingMessage::Persisted { round: RoundId::default(), index: Index(1) }.encode();
        bytes[1] = 9;
        assert!(matches!(RingMessage::decode(&bytes), Err(RingMessageError::Version(9))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RingMessage::decode(&bytes);
        }
    }
}
