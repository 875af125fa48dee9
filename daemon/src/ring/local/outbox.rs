//! This member's own messages between being taken from the daemon and being seen in the log.
//!
//! A message is done when the log shows it accepted, not when it is written: a write behind the end of a segment, or one
//! that the disk cut short, has no effect. Then all of them are written again from the first that is missing; copies
//! are harmless, because only the next number counts.

use super::record::Record;
use belay_proto::{Incarnation, NodeId};
use std::collections::VecDeque;

/// Enough for one `write()` to carry many messages, and little enough to be written at once.
const BATCH: usize = 256 * 1024;

/// The messages not yet accepted.
#[derive(Debug)]
pub(super) struct Outbox {
    node: NodeId,
    incarnation: Incarnation,
    /// How many of this life's messages were accepted.
    accepted: u64,
    waiting: VecDeque<Vec<u8>>,
    /// How many of the waiting have been written.
    written: usize,
}

impl Outbox {
    pub(super) fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self { node, incarnation, accepted: 0, waiting: VecDeque::new(), written: 0 }
    }

    pub(super) fn extend(&mut self, messages: VecDeque<Vec<u8>>) {
        self.waiting.extend(messages);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The log shows the first one accepted.
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
        self.waiting.pop_front();
        self.written = self.written.saturating_sub(1);
    }

    /// The whole log was read: what was written and not accepted is lost.
    pub(super) fn write_again(&mut self) {
        self.written = 0;
    }

    /// The next records to write, as one piece. Empty when all are written.
    pub(super) fn batch(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in self.waiting.iter().skip(self.written) {
            self.written += 1;
            let sequence = self.accepted + self.written as u64;
            let (node, incarnation, payload) = (self.node, self.incarnation, payload.clone());
            bytes.extend(Record::Message { node, incarnation, sequence, payload }.encode());
            if bytes.len() >= BATCH {
                break;
            }
        }
        bytes
    }
}
