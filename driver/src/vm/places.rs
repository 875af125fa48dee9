//! Places for what may run side by side only so many times: whoever finds none waits, and is served in turn.

use belay_proto::ServiceName;
use std::collections::{BTreeSet, VecDeque};

/// Some places.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: BTreeSet<ServiceName>,
    waiting: VecDeque<ServiceName>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), taken: BTreeSet::new(), waiting: VecDeque::new() }
    }

    /// Asks for a place; [`Places::next`] gives it.
    pub(super) fn ask(&mut self, service: ServiceName) {
        self.waiting.push_back(service);
    }

    /// Whose turn it is, if there is a place.
    pub(super) fn next(&mut self) -> Option<ServiceName> {
        if self.taken.len() >= self.limit {
            return None;
        }
        let service = self.waiting.pop_front()?;
        self.taken.insert(service.clone());
        Some(service)
    }

    /// It needs its place, or its turn, no more.
    pub(super) fn leave(&mut self, service: &ServiceName) {
        if !self.taken.remove(service) {
            self.waiting.retain(|other| other != service);
        }
    }
}
