//! The newest events in memory, for everybody who follows the history, and the older ones from the store.

use crate::control::EventFeed;
use crate::store::{HistoryFilter, StoreHandle};
use belay_proto::control::EventsParameters;
use belay_proto::history::{EventId, HistoryEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};

/// How many events are kept at hand.
const AT_HAND: usize = 2000;
/// How many events a follower may be behind before it misses some.
const BEHIND: usize = 4096;
/// How many events are given to whoever does not say.
const LAST: u32 = 100;

/// The keeper of recent events.
pub(super) struct Recorder {
    recent: VecDeque<Arc<HistoryEvent>>,
    followers: broadcast::Sender<Arc<HistoryEvent>>,
    store: Arc<StoreHandle>,
}

impl Recorder {
    pub(super) async fn new(store: Arc<StoreHandle>) -> Self {
        let filter = HistoryFilter { service: None, last: u32::try_from(AT_HAND).unwrap_or(u32::MAX) };
        let recent = match store.history(filter).await {
            Ok(events) => events.into_iter().map(Arc::new).collect(),
            Err(error) => {
                tracing::warn!("the history cannot be read: {error}");
                VecDeque::new()
            }
        };
        Self { recent, followers: broadcast::channel(BEHIND).0, store }
    }

    pub(super) fn publish(&mut self, events: Vec<HistoryEvent>) {
        for event in events {
            let event = Arc::new(event);
            self.recent.push_back(Arc::clone(&event));
            // Nobody may be following.
            let _ = self.followers.send(event);
        }
        while self.recent.len() > AT_HAND {
            self.recent.pop_front();
        }
    }

    /// Answers with what is there, and a feed of what follows, without a gap between the two.
    pub(super) fn feed(&self, parameters: EventsParameters, answer: oneshot::Sender<EventFeed>) {
        let feed = self.followers.subscribe();
        let last = parameters.last.unwrap_or(LAST);
        let wanted = |event: &HistoryEvent| parameters.service.is_none() || event.service == parameters.service;
        let mut events: BTreeMap<EventId, HistoryEvent> = self
            .recent
            .iter()
            .filter(|event| wanted(event))
            .map(|event| (event.id, HistoryEvent::clone(event)))
            .collect();
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            if events.len() < last as usize {
                let filter = HistoryFilter { service: parameters.service, last };
                match store.history(filter).await {
                    Ok(older) => {
                        for event in older {
                            events.entry(event.id).or_insert(event);
                        }
                    }
                    Err(error) => tracing::warn!("the history cannot be read: {error}"),
                }
            }
            while events.len() > last as usize {
                events.pop_first();
            }
            // The asker may have gone.
            let _ = answer.send((events.into_values().collect(), feed));
        });
    }
}
