//! What the daemon holds of a ring: the thread that does the work, and the way to it and from it.
//!
//! Both rings are a thread of their own, since both have to wait in ways that an asynchronous program must not. The daemon
//! takes events from it and lays proposals on its desk. All that is the same for both of them is here; what a ring is made
//! of, and whether its thread is waited for at the end, each one knows itself.

use super::desk::Desk;
use super::{QuorumProbe, RingError, RingEvent};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long leaving may take before the others find out by themselves.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// The last event of a ring whose thread has ended.
pub(super) const LEFT: &str = "this member left the ring";

/// A ring's thread.
#[derive(Debug)]
pub(super) struct Held {
    desk: Arc<Desk>,
    events: mpsc::Receiver<RingEvent>,
    thread: Option<JoinHandle<()>>,
    /// The end of the thread was reported.
    over: bool,
}

impl Held {
    pub(super) fn new(desk: Arc<Desk>, events: mpsc::Receiver<RingEvent>, thread: JoinHandle<()>) -> Self {
        Self { desk, events, thread: Some(thread), over: false }
    }

    /// The next event. After the thread's end it is down once, and then nothing comes any more.
    pub(super) async fn next(&mut self) -> RingEvent {
        match self.events.recv().await {
            Some(event) => {
                self.desk.made_room();
                event
            }
            None if self.over => std::future::pending().await,
            None => {
                self.over = true;
                RingEvent::Down { reason: LEFT.to_owned() }
            }
        }
    }

    /// Hands a message to the thread, if a ring with this limit can carry it.
    pub(super) fn propose(&self, bytes: Vec<u8>, limit: usize) -> Result<(), RingError> {
        if bytes.len() > limit {
            return Err(RingError::TooLarge { size: bytes.len(), limit });
        }
        self.desk.propose(bytes)
    }

    pub(super) fn quorum_probe(&self) -> QuorumProbe {
        let desk = Arc::clone(&self.desk);
        Arc::new(move || desk.quorate())
    }

    /// Has the thread leave the ring, for as long as that may take.
    pub(super) async fn leave(&mut self) {
        self.desk.leave();
        // Nobody waits for these events any more, but the thread must get to the end of what it has.
        let emptied = async {
            while self.events.recv().await.is_some() {
                self.desk.made_room();
            }
        };
        let _ = tokio::time::timeout(LEAVE_WITHIN, emptied).await;
    }

    /// Tells the thread to end, and hands it out for whoever may wait for that.
    pub(super) fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.desk.stop();
        // The thread may be waiting for room.
        self.events.close();
        self.thread.take()
    }
}
