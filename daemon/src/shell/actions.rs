//! Carrying out what the node says.

use super::{Shell, journal};
use crate::store::{Pending, Record, SnapshotSource};
use belay_engine::node::{Action, Event, History, PersistRecord};
use belay_proto::Index;
use belay_proto::ring::RingMessage;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// After this many entries the store gets a snapshot, so that a start replays few.
const SNAPSHOT_EVERY: u64 = 512;

impl Shell {
    pub(super) fn carry_out(&mut self, actions: Vec<Action>) {
        let mut records = Vec::new();
        let mut of = self.node.history();
        for action in actions {
            match action {
                Action::Persist(more) => {
                    of = more.last().map_or(of, |record| record.history);
                    records.extend(more.into_iter().map(record));
                    continue;
                }
                // Entries go to the store together, but before a snapshot that replaces them.
                Action::PersistSnapshot { history, index, term, json, events } => {
                    self.persist(of, std::mem::take(&mut records));
                    let pending = self.store.put_snapshot(index, term, json, SnapshotSource::Peer);
                    self.since_snapshot = 0;
                    self.tell_when_written(pending, move |index| Event::Persisted { history, index });
                    self.recorder.learn(events);
                }
                Action::Promise(term) => {
                    self.persist(of, std::mem::take(&mut records));
                    let pending = self.store.promise(term);
                    self.tell_when_written(pending, move |_| Event::Promised(term));
                }
                Action::Propose(message) => self.propose(&message),
                Action::Assign(assignments) => {
                    self.fencing.assign(&assignments);
                    self.vms.assign(assignments);
                }
                Action::Quorate(quorate) => self.may_act.store(quorate, Ordering::SeqCst),
                Action::Reply { id, verdict } => {
                    for asker in self.askers.remove(&id).unwrap_or_default() {
                        // The asker may have gone; it can ask again with the same id.
                        let _ = asker.send(verdict.clone());
                    }
                }
                Action::Publish(events) => {
                    for event in &events {
                        journal::write(&self.node, event);
                    }
                    self.recorder.publish(events);
                }
                Action::WakeAt(mono_ms) => {
                    let in_ms = mono_ms.saturating_sub(super::now().mono_ms);
                    self.wake = Instant::now() + Duration::from_millis(in_ms);
                }
                Action::LeaveRing => self.over = true,
                Action::Log(severity, text) => journal::log(severity, &text),
            }
        }
        self.persist(of, records);
        self.snapshot_if_due();
    }

    fn propose(&self, message: &RingMessage) {
        if let Err(error) = self.ring.propose(message.encode()) {
            // What matters is proposed again in the next view.
            tracing::debug!("not proposed: {error}");
        }
    }

    fn persist(&mut self, of: History, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        self.since_snapshot += records.len() as u64;
        let pending = self.store.append(records);
        self.tell_when_written(pending, move |index| Event::Persisted { history: of, index });
    }

    fn tell_when_written(&self, pending: Pending, event: impl FnOnce(Index) -> Event + Send + 'static) {
        let persisted = self.persisted.clone();
        tokio::spawn(async move {
            match pending.await {
                // The loop may have ended: then nobody needs to know.
                Ok(index) => drop(persisted.send(event(index))),
                Err(error) => tracing::error!("the store did not take an entry: {error}"),
            }
        });
    }

    fn snapshot_if_due(&mut self) {
        if self.since_snapshot < SNAPSHOT_EVERY {
            return;
        }
        self.since_snapshot = 0;
        let state = self.node.state();
        let pending = self.store.put_snapshot(state.index(), state.term(), state.snapshot(), SnapshotSource::Own);
        let history = self.node.history();
        self.tell_when_written(pending, move |index| Event::Persisted { history, index });
    }
}

fn record(from: PersistRecord) -> Record {
    Record { index: from.index, term: from.term, hash: from.chain, entry: from.entry, events: from.events }
}
