//! A host's store: writes complete after a while and in order; a crash loses what is not complete.

use belay_engine::node::{Event, History, PersistRecord};
use belay_engine::state::State;
use belay_proto::entry::Entry;
use belay_proto::{Index, Term};
use std::collections::VecDeque;

/// After this many entries the store takes a snapshot of its own, as the daemon has it do.
const SNAPSHOT_EVERY: usize = 512;

#[derive(Debug)]
pub(crate) enum Write {
    Records(Vec<PersistRecord>),
    Snapshot(History, String),
    Promise(Term),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    base: State,
    entries: Vec<Entry>,
    /// What follows from all entries up to each of these.
    chains: Vec<u64>,
    pub(crate) promised: Term,
    /// Not on disk yet.
    pub(crate) pending: VecDeque<Write>,
    pub(crate) full_until: u64,
    pub(crate) busy: bool,
}

impl Disk {
    /// The last entry that is on disk.
    pub(crate) fn last(&self) -> Index {
        Index(self.base.index().0 + self.entries.len() as u64)
    }

    /// The first write reaches the disk; gives what the daemon is told then.
    pub(crate) fn complete_one(&mut self) -> Result<Option<Event>, String> {
        let written = match self.pending.pop_front() {
            None => return Ok(None),
            Some(Write::Promise(term)) => {
                self.promised = term;
                return Ok(Some(Event::Promised(term)));
            }
            Some(Write::Records(records)) => {
                let history = records.last().map(|record| record.history).unwrap_or_default();
                for record in records {
                    self.put(record)?;
                }
                history
            }
            Some(Write::Snapshot(history, json)) => {
                self.base = State::restore(&json).map_err(|e| format!("a snapshot that cannot be read: {e}"))?;
                self.entries.clear();
                self.chains.clear();
                history
            }
        };
        if self.entries.len() >= SNAPSHOT_EVERY {
            for entry in std::mem::take(&mut self.entries) {
                self.base.apply(&entry);
            }
            self.chains.clear();
        }
        Ok(Some(Event::Persisted { history: written, index: self.last() }))
    }

    fn put(&mut self, record: PersistRecord) -> Result<(), String> {
        if record.index != self.last().next() {
            return Err(format!("entry {} was to be stored after entry {}", record.index, self.last()));
        }
        self.entries.push(record.entry);
        self.chains.push(record.chain);
        Ok(())
    }

    /// What follows from all entries up to this one, as they are on the disk. Of one within a snapshot nothing is known.
    pub(crate) fn chain(&self, index: Index) -> Option<u64> {
        let place = index.0.checked_sub(self.base.index().0.checked_add(1)?)?;
        self.chains.get(usize::try_from(place).ok()?).copied()
    }

    /// The power or the process is gone: only the first `kept` writes made it, of the next one a part of its entries.
    pub(crate) fn crash(&mut self, kept: usize, torn: usize) -> Result<(), String> {
        for _ in 0..kept {
            self.complete_one()?;
        }
        if let Some(Write::Records(records)) = self.pending.pop_front() {
            for record in records.into_iter().take(torn) {
                self.put(record)?;
            }
        }
        self.pending.clear();
        self.busy = false;
        Ok(())
    }

    /// Somebody puts back an older copy of it.
    pub(crate) fn roll_back(&mut self, keep: usize) {
        self.entries.truncate(keep);
        self.chains.truncate(keep);
    }

    /// How many entries lie on disk after the last snapshot.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The state as a daemon finds it when it starts.
    pub(crate) fn load(&self) -> Result<State, String> {
        let mut state = State::restore(&self.base.snapshot()).map_err(|e| e.to_string())?;
        for entry in &self.entries {
            state.apply(entry);
        }
        Ok(state)
    }
}
