//! The store on a thread of its own: whatever has queued up while one commit was under way goes into the next one
//! together, so that a burst of entries costs a few commits and not one each.
//!
//! While the disk is full or failing nothing is lost and nothing is answered: the thread keeps what it was given, tries
//! again, and says so in [`Health`]; whoever waits for an append waits until it is on disk. That is what "the daemon
//! stops acknowledging" means. Reading the history has a connection of its own and does not wait for writes.

use super::error::StoreError;
use super::history::{self, HistoryFilter};
use super::{Record, SnapshotSource, Store, open};
use belay_proto::history::{EventId, HistoryEvent};
use belay_proto::{Index, Term};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long the thread waits before it tries a disk again that was full.
const RETRY: Duration = Duration::from_millis(500);

/// The most entries in one commit, so that the first of a long queue does not wait for the last.
const BATCH: usize = 512;

/// Whether the store can write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It can.
    #[default]
    Writing,
    /// It cannot for now, and keeps trying; nothing is acknowledged meanwhile.
    Waiting(StoreError),
    /// It cannot any more: the error does not pass. The daemon should end and say why.
    Broken(StoreError),
}

/// Something being written. Resolves when it is on disk, or when it never will be.
#[derive(Debug)]
#[must_use = "nothing is on disk before this resolves"]
pub struct Pending(oneshot::Receiver<Result<Index, StoreError>>);

impl Future for Pending {
    type Output = Result<Index, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl Pending {
    /// Waits on a thread that may block.
    ///
    /// # Errors
    /// As for [`Store::append`], except those that pass: they are waited for.
    pub fn wait(self) -> Result<Index, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

/// The store's thread, from outside. Dropping it writes what is queued, if the disk takes it, and ends the thread.
#[derive(Debug)]
pub struct StoreHandle {
    commands: Option<Sender<Command>>,
    health: watch::Receiver<Health>,
    reader: Arc<Mutex<Connection>>,
    file: PathBuf,
    thread: Option<JoinHandle<()>>,
}

struct Command {
    write: Write,
    done: oneshot::Sender<Result<Index, StoreError>>,
}

enum Write {
    Records(Vec<Record>),
    Snapshot { index: Index, term: Term, json: String, source: SnapshotSource },
    Promise(Term),
    Events(Vec<HistoryEvent>),
}

impl Command {
    fn records(&self) -> &[Record] {
        match &self.write {
            Write::Records(records) => records,
            Write::Snapshot { .. } | Write::Promise(_) | Write::Events(_) => &[],
        }
    }
}

impl StoreHandle {
    /// Moves the store to a thread of its own.
    ///
    /// # Errors
    /// When the file cannot be opened a second time for reading, or there is no thread to be had.
    pub fn spawn(store: Store) -> Result<Self, StoreError> {
        let file = store.file().to_owned();
        let reader = Arc::new(Mutex::new(open::open_to_read(&file)?));
        let (commands, queue) = channel();
        let (tell, health) = watch::channel(Health::Writing);
        let thread = std::thread::Builder::new()
            .name("belay-store".to_owned())
            .spawn(move || Writer { store, queue, tell, waiting: VecDeque::new(), open: true }.run())
            .map_err(|e| StoreError::Refused { file: file.clone(), detail: format!("no thread: {e}") })?;
        Ok(Self { commands: Some(commands), health, reader, file, thread: Some(thread) })
    }

    /// Queues entries; the answer comes when they are on disk, and is the last entry that is.
    pub fn append(&self, records: Vec<Record>) -> Pending {
        self.send(Write::Records(records))
    }

    /// Queues a snapshot, in order with the entries.
    pub fn put_snapshot(&self, index: Index, term: Term, json: String, source: SnapshotSource) -> Pending {
        self.send(Write::Snapshot { index, term, json, source })
    }

    /// Queues a promise that no term up to this one is opened by this host again.
    pub fn promise(&self, term: Term) -> Pending {
        self.send(Write::Promise(term))
    }

    /// Queues events that a peer's state told of, for the history.
    pub fn learn(&self, events: Vec<HistoryEvent>) -> Pending {
        self.send(Write::Events(events))
    }

    /// Whether it can write, to be watched.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// The database's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The newest events that pass the filter, oldest first. Does not wait for writes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn history(&self, filter: HistoryFilter) -> Result<Vec<HistoryEvent>, StoreError> {
        self.read(move |conn, file| history::read(conn, file, &filter)).await
    }

    /// The event and what led to it, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn chain(&self, id: EventId, limit: u32) -> Result<Vec<HistoryEvent>, StoreError> {
        self.read(move |conn, file| history::chain(conn, file, id, limit)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reader, file) = (Arc::clone(&self.reader), self.file.clone());
        let reading = tokio::task::spawn_blocking(move || {
            // A reader that panicked left nothing half done: reading changes nothing.
            read(&reader.lock().unwrap_or_else(PoisonError::into_inner), &file)
        });
        reading.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, write: Write) -> Pending {
        let (done, pending) = oneshot::channel();
        if let Some(commands) = &self.commands {
            // If the thread has ended, `done` is dropped with the command and the answer is `Closed`.
            let _ = commands.send(Command { write, done });
        }
        Pending(pending)
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Writer {
    store: Store,
    queue: Receiver<Command>,
    tell: watch::Sender<Health>,
    waiting: VecDeque<Command>,
    /// Whether the handle is still there.
    open: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                match self.queue.recv() {
                    Ok(command) => self.waiting.push_back(command),
                    Err(_) => return,
                }
            }
            self.take_queued();
            match self.write_next() {
                Ok(()) => self.set_health(Health::Writing),
                Err(error) if error.passes() => {
                    if !self.wait_for_disk(error) {
                        return;
                    }
                }
                Err(error) => self.set_health(Health::Broken(error)),
            }
        }
    }

    fn take_queued(&mut self) {
        self.waiting.extend(self.queue.try_iter());
    }

    /// Writes the first commands that fit one commit, and answers them. Those that failed for a reason that passes stay.
    fn write_next(&mut self) -> Result<(), StoreError> {
        let (mut commands, mut entries) = (0, 0);
        for command in &self.waiting {
            let Write::Records(records) = &command.write else { break };
            entries += records.len();
            if commands > 0 && entries > BATCH {
                break;
            }
            commands += 1;
        }
        let result = match self.waiting.front().map(|command| &command.write) {
            Some(Write::Snapshot { index, term, json, source }) => {
                commands = 1;
                self.store.put_snapshot(*index, *term, json, *source).map(|()| self.store.last())
            }
            Some(Write::Promise(term)) => {
                commands = 1;
                self.store.promise(*term).map(|()| self.store.last())
            }
            Some(Write::Events(events)) => {
                commands = 1;
                self.store.learn(events).map(|()| self.store.last())
            }
            _ => self.store.append_all(self.waiting.iter().take(commands).flat_map(Command::records)),
        };
        if let Err(error) = &result
            && error.passes()
        {
            return Err(error.clone());
        }
        for command in self.waiting.drain(..commands) {
            // Whoever asked may have stopped waiting; what was written stays written.
            let _ = command.done.send(result.clone());
        }
        result.map(|_| ())
    }

    /// Pauses before the next try. Ends the thread when the daemon is ending: it must not hang on a full disk, and what
    /// is dropped here was never acknowledged.
    fn wait_for_disk(&mut self, error: StoreError) -> bool {
        if !self.open {
            tracing::error!(%error, unwritten = self.waiting.len(), "closing the store with entries that were not acknowledged");
            return false;
        }
        self.set_health(Health::Waiting(error));
        match self.queue.recv_timeout(RETRY) {
            Ok(command) => {
                self.waiting.push_back(command);
                std::thread::sleep(RETRY);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            // One more try, then the end.
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => self.open = false,
        }
        true
    }

    fn set_health(&mut self, health: Health) {
        let changed = self.tell.send_if_modified(|old| {
            // What is broken stays broken: something that should be on disk is not, so nothing after it can be.
            let changed = *old != health && !matches!(old, Health::Broken(_));
            if changed {
                old.clone_from(&health);
            }
            changed
        });
        match (changed, &health) {
            (false, _) => {}
            (true, Health::Writing) => tracing::info!("the store can write again"),
            (true, Health::Waiting(error) | Health::Broken(error)) => tracing::error!(%error, "the store cannot write"),
        }
    }
}
