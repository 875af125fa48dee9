//! Writing down what happens and why, while an entry is applied.
//!
//! Every event names the event that caused it. A service keeps the chain that led to its present state, so that
//! `belay why` can tell it even when the causes are long gone from the general history.

use super::State;
use super::service::ServiceRecord;
use belay_proto::history::{EventId, EventKind, HistoryEvent, Severity};
use belay_proto::{Index, NodeId, ServiceName, Timestamp};

/// How many events the state keeps to look causes up in.
const RECENT_KEPT: usize = 256;
/// How many links a service's chain keeps.
const CHAIN_KEPT: usize = 16;
/// How many links of a foreign cause are copied into a service's chain.
const FOREIGN_LINKS: usize = 6;

/// What an event follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// From nothing that was recorded: it begins a chain.
    Root,
    /// From what last happened to the same service.
    Before,
    /// From this event.
    Event(EventId),
}

impl From<Option<EventId>> for Cause {
    fn from(id: Option<EventId>) -> Self {
        id.map_or(Self::Root, Self::Event)
    }
}

/// An event before it has a number, a time and a cause.
pub(crate) fn event(kind: EventKind, severity: Severity, text: impl Into<String>) -> HistoryEvent {
    HistoryEvent {
        id: EventId { index: Index(0), part: 0 },
        time: Timestamp(0),
        kind,
        severity,
        node: None,
        service: None,
        text: text.into(),
        cause: None,
    }
}

/// An event that is about a node.
pub(crate) fn node_event(kind: EventKind, severity: Severity, node: NodeId, text: impl Into<String>) -> HistoryEvent {
    HistoryEvent { node: Some(node), ..event(kind, severity, text) }
}

impl State {
    /// Records an event that is not about one service.
    pub(crate) fn note(&mut self, mut event: HistoryEvent, cause: Option<EventId>) -> EventId {
        event.cause = cause;
        let event = self.journal.write(event);
        let id = event.id;
        self.remember(event);
        id
    }

    /// Records an event about a service and adds it to the service's chain.
    pub(crate) fn note_service(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        mut event: HistoryEvent,
        cause: Cause,
    ) -> EventId {
        event.service = Some(name.clone());
        event.cause = match cause {
            Cause::Root => None,
            Cause::Before => record.chain.last().map(|last| last.id),
            Cause::Event(id) => Some(id),
        };
        let event = self.journal.write(event);
        let id = event.id;
        self.link(record, &event);
        self.remember(event);
        id
    }

    /// Appends an event to a service's chain, with its causes in front where the chain does not have them.
    fn link(&self, record: &mut ServiceRecord, event: &HistoryEvent) {
        match event.cause {
            None => record.chain.clear(),
            Some(cause) if !record.chain.iter().any(|link| link.id == cause) => {
                record.chain = self.causes_of(cause);
            }
            Some(_) => {}
        }
        record.chain.push(event.clone());
        if record.chain.len() > CHAIN_KEPT {
            // The first link is the root cause: keep it, drop what followed it.
            record.chain.remove(1);
        }
    }

    /// The chain that ends in this event, oldest first, as far as it is still known: the root cause, and what came last.
    fn causes_of(&self, last: EventId) -> Vec<HistoryEvent> {
        let mut chain = Vec::new();
        let mut next = Some(last);
        // A cause is older than its effect, so this ends; the bound is for a state that was tampered with.
        while let Some(event) = next.and_then(|id| self.recent_event(id)).filter(|_| chain.len() < RECENT_KEPT) {
            chain.push(event.clone());
            next = event.cause;
        }
        // A host that took ten attempts to be fenced was lost first of all, which is what a reader has to know.
        if chain.len() > FOREIGN_LINKS {
            chain.drain(FOREIGN_LINKS - 1..chain.len() - 1);
        }
        chain.reverse();
        chain
    }

    fn remember(&mut self, event: HistoryEvent) {
        self.recent.push_back(event);
        while self.recent.len() > RECENT_KEPT {
            self.recent.pop_front();
        }
    }

    /// The newest events, oldest first.
    pub fn remembered(&self) -> impl Iterator<Item = &HistoryEvent> {
        self.recent.iter()
    }

    fn recent_event(&self, id: EventId) -> Option<&HistoryEvent> {
        let position = self.recent.binary_search_by_key(&id, |event| event.id).ok()?;
        self.recent.get(position)
    }

    /// Ends the entry and hands out its events.
    pub(crate) fn close_journal(&mut self) -> Vec<HistoryEvent> {
        self.journal.close()
    }
}
