//! A state as text, to be stored and sent to members that are behind, and its hash.

use super::State;
use super::chain::{FNV_START, fnv};
use super::placement::rules::Rules;
use crate::mutant::{self, Mutant};
use belay_proto::ring::Progress;

/// The version of snapshots that this build writes and reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Why a text is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what [`State::snapshot`] writes.
    #[error("not a snapshot of the cluster's state: {0}")]
    Malformed(String),
    /// Another build wrote it.
    #[error("snapshot of version {0}, but this build reads {SNAPSHOT_VERSION}: upgrade this member")]
    Version(u64),
    /// The configuration in it is not valid for this build.
    #[error("the configuration in the snapshot is not valid here: {0}")]
    Config(String),
}

#[derive(serde::Serialize)]
struct Out<'a> {
    version: u32,
    state: &'a State,
}

#[derive(serde::Deserialize)]
struct In {
    version: u64,
    state: serde_json::Value,
}

impl State {
    /// The whole state as text. The same state gives the same text on every member: all maps are ordered.
    #[must_use]
    pub fn snapshot(&self) -> String {
        let text = serde_json::to_string(&Out { version: SNAPSHOT_VERSION, state: self });
        // JSON wants texts or numbers for keys; a map with others would make every snapshot empty.
        debug_assert!(text.is_ok(), "{text:?}");
        text.unwrap_or_default()
    }

    /// Reads what [`State::snapshot`] wrote.
    ///
    /// # Errors
    /// When the text is damaged, of another version, or holds a configuration this build cannot accept.
    pub fn restore(text: &str) -> Result<Self, SnapshotError> {
        let malformed = |e: serde_json::Error| SnapshotError::Malformed(e.to_string());
        let read: In = serde_json::from_str(text).map_err(malformed)?;
        if read.version != u64::from(SNAPSHOT_VERSION) {
            return Err(SnapshotError::Version(read.version));
        }
        let mut state: Self = serde_json::from_value(read.state).map_err(malformed)?;
        if !state.config_text.is_empty() {
            let reading = belay_config::read("cluster.conf", &state.config_text);
            let refusal = reading.refusal().unwrap_or_default();
            let config = reading.cluster.ok_or(SnapshotError::Config(refusal))?;
            state.rules = Rules::of(&config);
            state.config = Some(config);
        }
        state.change_each(|record| {
            record.frozen &= !mutant::is(Mutant::SnapshotForgetsFrozen);
            if mutant::is(Mutant::SnapshotLosesRestarts) {
                record.restarts.clear();
            }
        });
        Ok(state)
    }

    /// How far this state is, to be compared with other members'.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { term: self.term, index: self.index, hash: fnv(FNV_START, self.snapshot().as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::entry::{ENTRY_VERSION, Entry, View, What};
    use belay_proto::ring::{RingId, RoundId};
    use belay_proto::{Incarnation, NodeId, Term, Timestamp};

    /// Without a text the one that joins waits for ever, and all states have the same hash.
    #[test]
    fn a_state_with_a_history_can_be_handed_to_a_member_that_joins() {
        let node = NodeId(1);
        let round = RoundId { initiator: node, incarnation: Incarnation(1), serial: 1 };
        let view = View { round, ring: RingId::default(), term: Term(0), members: vec![], hosts: vec![node] };
        let entry = Entry { version: ENTRY_VERSION, from: node, time: Timestamp(1), what: What::View(view) };
        let mut state = State::new();
        let events = state.apply(&entry);
        assert!(!events.is_empty(), "an entry without events proves nothing here");
        let restored = State::restore(&state.snapshot()).unwrap();
        assert_eq!(restored.snapshot(), state.snapshot());
        assert_ne!(restored.progress().hash, FNV_START);
    }
}
