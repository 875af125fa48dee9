//! The ring on corosync: its process groups (CPG) for the ordered stream, its quorum service for quorum.
//!
//! ```text
//!   propose -> desk -> send ------> corosync ------> arrivals -> picture -> events -> next
//!                      (again on TRY_AGAIN)          (callbacks)  (pure)
//! ```
//!
//! One thread owns the connection, because the libraries' callbacks run in the thread that dispatches and may not do
//! anything there. When corosync dies or restarts, the ring is down; the thread connects again until it is back.

mod arrivals;
mod connection;
mod picture;

use super::desk::{Desk, Ear};
use super::held::{Held, LEAVE_WITHIN, LEFT};
use super::{QuorumProbe, Ring, RingError, RingEvent};
use belay_proto::NodeId;
use connection::{Connection, Sent};
use picture::Picture;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The largest message in bytes, where corosync does not set a lower limit.
pub const MAX_MESSAGE: usize = super::local::MAX_MESSAGE;

/// Events between the thread and the daemon. When they are not taken, corosync keeps what is to come.
const EVENTS: usize = 1024;

/// One arrival leads to at most this many events, unless it is the first ring, which comes once.
const EVENTS_PER_ARRIVAL: usize = 8;

/// The thread looks around at least this often, which also keeps the knowledge of quorum fresh.
const LOOK_ANYWAY: Duration = Duration::from_millis(250);

/// Knowledge of quorum older than this does not count: this process was asleep.
const QUORUM_FRESH: Duration = Duration::from_secs(1);

/// Messages sent between two looks at what arrived.
const SEND_AT_ONCE: usize = 64;

/// Between attempts to send what corosync could not take.
const SEND_AGAIN: Duration = Duration::from_millis(2);

/// Between attempts to connect.
const COME_BACK: Duration = Duration::from_millis(50);
const COME_BACK_AT_MOST: Duration = Duration::from_secs(1);

/// How to take part.
#[derive(Clone, Debug)]
pub struct CorosyncSettings {
    /// The process group, `belay:<cluster>`; at most 127 bytes.
    pub group: String,
    /// The node the configuration says this host is. When corosync says another, the ring stays down and says so.
    pub node: Option<NodeId>,
}

/// Why a daemon cannot take part at all.
#[derive(Debug, thiserror::Error)]
pub enum CorosyncError {
    /// The group's name is too long for corosync.
    #[error("'{0}' is no name for a process group: use a cluster name of at most 120 bytes")]
    Group(String),
    /// The machine is out of threads or descriptors.
    #[error("cannot start the ring's thread: {0}; raise the limits of belayd.service")]
    Thread(#[from] io::Error),
}

/// A ring on corosync.
#[derive(Debug)]
pub struct CorosyncRing {
    limit: Arc<AtomicUsize>,
    held: Held,
}

impl CorosyncRing {
    /// Takes part as soon as corosync answers. While it does not, the ring is down, which the first event says.
    ///
    /// # Errors
    /// When the settings cannot work, or the machine has no thread left.
    pub fn join(settings: CorosyncSettings) -> Result<Self, CorosyncError> {
        if settings.group.is_empty() || settings.group.len() > 127 || settings.group.contains('\0') {
            return Err(CorosyncError::Group(settings.group));
        }
        let (desk, ear) = Desk::new(QUORUM_FRESH)?;
        let desk = Arc::new(desk);
        let limit = Arc::new(AtomicUsize::new(MAX_MESSAGE));
        let (sender, events) = mpsc::channel(EVENTS);
        let member = Member { settings, desk: Arc::clone(&desk), limit: Arc::clone(&limit), events: sender };
        let thread = std::thread::Builder::new().name("ring-corosync".to_owned()).spawn(move || member.run(ear))?;
        Ok(Self { limit, held: Held::new(desk, events, thread) })
    }

    fn stop(&mut self) {
        // It is not waited for: it may be inside a call to a corosync that is frozen. Its process group is left when the
        // process ends at the latest.
        drop(self.held.stop());
    }
}

impl Drop for CorosyncRing {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait::async_trait]
impl Ring for CorosyncRing {
    async fn next(&mut self) -> RingEvent {
        self.held.next().await
    }

    fn propose(&self, bytes: Vec<u8>) -> Result<(), RingError> {
        self.held.propose(bytes, self.limit.load(Ordering::Relaxed))
    }

    fn quorum_probe(&self) -> QuorumProbe {
        self.held.quorum_probe()
    }

    async fn leave(&mut self) {
        self.held.leave().await;
        self.stop();
    }
}

/// Why a connection ended.
enum Ending {
    Down(String),
    Left,
    Stopped,
}

/// The thread: one connection after the other.
struct Member {
    settings: CorosyncSettings,
    desk: Arc<Desk>,
    limit: Arc<AtomicUsize>,
    events: mpsc::Sender<RingEvent>,
}

impl Drop for Member {
    fn drop(&mut self) {
        // Also when the thread panics: a ring without a thread must not look alive.
        self.desk.down(LEFT);
    }
}

impl Member {
    fn run(self, mut ear: Ear) {
        let mut pause = COME_BACK;
        let mut told = None;
        loop {
            let reason = match self.one_connection(&mut ear) {
                Ending::Left | Ending::Stopped => return,
                Ending::Down(reason) => reason,
            };
            let was_up = self.desk.down(&reason);
            if was_up {
                pause = COME_BACK;
            }
            if was_up || told.as_ref() != Some(&reason) {
                tracing::warn!(reason, "the ring is down; connecting to corosync again");
                // Waits for room; fails only when the daemon has dropped the ring, which the next step notices.
                let _ = self.events.blocking_send(RingEvent::Down { reason: reason.clone() });
                told = Some(reason);
            }
            ear.wait(pause);
            if self.desk.leaving() || self.desk.stopping() {
                return;
            }
            pause = (pause * 2).min(COME_BACK_AT_MOST);
        }
    }

    fn one_connection(&self, ear: &mut Ear) -> Ending {
        let connection = match Connection::open(&self.settings.group) {
            Ok(connection) => connection,
            Err(reason) => return Ending::Down(format!("corosync does not answer ({reason}); is it running?")),
        };
        let node = connection.node();
        if let Some(configured) = self.settings.node.filter(|configured| *configured != node) {
            let reason = "correct the nodeid in cluster.conf or corosync.conf";
            return Ending::Down(format!(
                "corosync says this is node {node}, cluster.conf says {configured}: {reason}"
            ));
        }
        self.limit.store(connection.limit().min(MAX_MESSAGE), Ordering::Relaxed);
        match self.serve(&connection, Picture::new(node), ear) {
            Ok(ending) | Err(ending) => ending,
        }
    }

    fn serve(&self, connection: &Connection, mut picture: Picture, ear: &mut Ear) -> Result<Ending, Ending> {
        let lost = |reason| Ending::Down(format!("corosync is gone ({reason})"));
        let mut waiting = VecDeque::new();
        let mut leaving = None;
        loop {
            if self.desk.stopping() || self.events.is_closed() {
                return Ok(Ending::Stopped);
            }
            let now = Instant::now();
            if self.receive(connection, &mut picture).map_err(|reason| reason.map_or(Ending::Stopped, lost))? {
                self.desk.set_current(now);
            }
            if picture.has_left() || leaving.is_some_and(|since| now.duration_since(since) > LEAVE_WITHIN) {
                return Ok(Ending::Left);
            }
            let taken = self.desk.take_proposals();
            waiting.extend(taken.proposals);
            let pause = Self::send(connection, &mut waiting).map_err(lost)?;
            if taken.leaving && waiting.is_empty() && leaving.is_none() {
                connection.leave().map_err(lost)?;
                leaving = Some(now);
            }
            connection.wait(ear.as_fd(), pause);
            ear.listen();
        }
    }

    /// Sends what corosync takes of it, in order, but not so much that receiving would have to wait long. Returns after
    /// what time to come back.
    fn send(connection: &Connection, waiting: &mut VecDeque<Vec<u8>>) -> Result<Duration, String> {
        for _ in 0..SEND_AT_ONCE {
            let Some(message) = waiting.front() else { return Ok(LOOK_ANYWAY) };
            match connection.send(message)? {
                Sent::Yes => drop(waiting.pop_front()),
                Sent::Later => return Ok(SEND_AGAIN),
            }
        }
        Ok(Duration::ZERO)
    }

    /// Hands out what arrived. `false` when the daemon must first take some of it. The error is the connection's, or
    /// nothing when the daemon dropped the ring.
    fn receive(&self, connection: &Connection, picture: &mut Picture) -> Result<bool, Option<String>> {
        loop {
            if self.events.capacity() < EVENTS_PER_ARRIVAL {
                self.desk.set_waiting_for_room();
                if self.events.capacity() < EVENTS_PER_ARRIVAL {
                    return Ok(false);
                }
            }
            let arrived = connection.receive().map_err(Some)?;
            if arrived.is_empty() {
                return Ok(true);
            }
            for event in arrived.into_iter().flat_map(|arrival| picture.take(arrival)).collect::<Vec<_>>() {
                self.desk.set_quorate(picture.quorate());
                if picture.is_up() {
                    self.desk.up();
                }
                // More than there is room for comes only with the first ring, and then waiting is right.
                self.events.blocking_send(event).map_err(|_| None)?;
            }
            self.desk.set_quorate(picture.quorate());
        }
    }
}
