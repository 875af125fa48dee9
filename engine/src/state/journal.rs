//! What happens while one entry is applied, as a list: events get their numbers here.

use belay_proto::history::{EventId, HistoryEvent};
use belay_proto::{Index, Timestamp};

/// The events of the entry that is being applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    index: Index,
    time: Timestamp,
    events: Vec<HistoryEvent>,
}

/// No part of what a member knows: one that took a snapshot has none, and holds the same state.
impl PartialEq for Journal {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Journal {
    pub(crate) fn open(&mut self, index: Index, time: Timestamp) {
        self.index = index;
        self.time = time;
        self.events.clear();
    }

    /// Writes an event down, and gives it its number.
    pub(super) fn write(&mut self, mut event: HistoryEvent) -> HistoryEvent {
        let part = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        event.id = EventId { index: self.index, part };
        event.time = self.time;
        self.events.push(event.clone());
        event
    }

    pub(super) fn close(&mut self) -> Vec<HistoryEvent> {
        std::mem::take(&mut self.events)
    }
}
