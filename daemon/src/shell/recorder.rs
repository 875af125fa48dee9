//! The newest events in memory, for everybody who follows the history, and the older ones from the store.

use crate::control::EventFeed;
use crate::store::{HistoryFilter, StoreHandle};
use belay_proto::control::EventsParameters;
use belay_proto::history::{EventFilter, EventId, HistoryEvent};
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
        let filter = HistoryFilter { events: EventFilter::default(), last: u32::try_from(AT_HAND).unwrap_or(u32::MAX) };
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

    /// Takes in what a peer's state remembers of the time in which this host was away. Whoever follows gets it late, but
    /// gets it; the journal does not, because it would say that it happened now.
    pub(super) fn learn(&mut self, remembered: Vec<HistoryEvent>) {
        let known: BTreeMap<EventId, &Arc<HistoryEvent>> = self.recent.iter().map(|event| (event.id, event)).collect();
        let news = |event: &HistoryEvent| known.get(&event.id).is_none_or(|known| ***known != *event);
        let missed: Vec<HistoryEvent> = remembered.into_iter().filter(news).collect();
        if !missed.is_empty() {
            // Not waited for: nothing depends on it, and what is lost of it with this daemon the next one is told again.
            drop(self.store.learn(missed.clone()));
            self.publish(missed);
        }
    }

    /// Answers with what is there, and a feed of what follows, without a gap between the two.
    pub(super) fn feed(&self, parameters: EventsParameters, answer: oneshot::Sender<EventFeed>) {
        let feed = self.followers.subscribe();
        let last = parameters.last.unwrap_or(LAST);
        let filter = parameters.filter();
        let mut events: BTreeMap<EventId, HistoryEvent> = self
            .recent
            .iter()
            .filter(|event| filter.wants(event))
            .map(|event| (event.id, HistoryEvent::clone(event)))
            .collect();
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            if events.len() < last as usize {
                let filter = HistoryFilter { events: filter, last };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use belay_proto::history::{EventKind, Severity};
    use belay_proto::{Index, NodeId, Timestamp};

    fn event(index: u64, text: &str) -> HistoryEvent {
        HistoryEvent {
            id: EventId { index: Index(index), part: 0 },
            time: Timestamp(index),
            kind: EventKind::Member,
            severity: Severity::Notice,
            node: Some(NodeId(1)),
            service: None,
            text: text.to_owned(),
            cause: None,
        }
    }

    #[tokio::test]
    async fn who_was_away_learns_what_happened_once_and_tells_whoever_follows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(StoreHandle::spawn(Store::open(dir.path()).unwrap().0).unwrap());
        let mut recorder = Recorder::new(Arc::clone(&store)).await;
        recorder.publish(vec![event(1, "seen"), event(2, "seen, but given up")]);
        let mut follower = recorder.followers.subscribe();
        let remembered = vec![event(1, "seen"), event(2, "missed"), event(3, "missed too")];
        recorder.learn(remembered.clone());
        recorder.learn(remembered.clone());
        let mut told = Vec::new();
        while let Ok(event) = follower.try_recv() {
            told.push(event.text.clone());
        }
        assert_eq!(told, ["missed", "missed too"]);
        let (answer, answered) = oneshot::channel();
        recorder.feed(EventsParameters::default(), answer);
        assert_eq!(answered.await.unwrap().0, remembered);
        // It outlives this daemon, too.
        drop(store.learn(Vec::new()).await);
        let filter = HistoryFilter { events: EventFilter::default(), last: 9 };
        assert_eq!(store.history(filter).await.unwrap(), remembered[1..]);
    }
}
