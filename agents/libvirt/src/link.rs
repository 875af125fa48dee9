//! The connection to libvirt: opened, kept, lost and opened again, with the daemon told each time it changes.
//!
//! ```text
//!   opening ──ok──► connected ──closed, or a call finds it dead──► lost ──0.2 s, 0.4 s … 5 s──► opening
//!      └──error or 10 s of silence──► lost           connected ⇄ silent (a list got no answer)
//! ```
//!
//! Opening can hang as any call of libvirt's can, so it happens on a thread of its own; there is never more than one of
//! those. While there is no connection, calls fail with `unreachable`: what is unknown is never reported as stopped.

use crate::native::{self, Notice, Subscription};
use crate::output::Output;
use crate::sizes;
use crate::world::World;
use belay_agent_libvirt::emulator::embed_root;
use belay_proto::agent::{AgentEvent, Fault, FaultKind};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use virt::connect::Connect;

/// After this long without an answer, libvirt counts as unreachable; the attempt goes on.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// libvirtd is asked for a sign of life after this many seconds of silence, and given up after three without one.
const KEEPALIVE_S: i32 = 5;
const KEEPALIVE_COUNT: u32 = 3;

/// The exit status of an agent whose embedded hypervisor cannot be started.
pub(crate) const EXIT_EMBEDDED: i32 = 4;

/// Why there is no connection.
#[derive(Debug)]
enum Failure {
    /// It is worth another attempt.
    Passing(String),
    /// This process cannot succeed any more.
    Final(String),
}

/// An open connection.
pub(crate) struct Connection {
    number: u64,
    connect: Arc<Connect>,
    _subscription: Subscription,
}

impl Connection {
    /// The connection for libvirt calls.
    pub(crate) fn connect(&self) -> &Connect {
        &self.connect
    }
}

/// The agent's way to libvirt.
pub(crate) struct Link {
    uri: String,
    state: Mutex<State>,
    changed: Condvar,
    world: Arc<World>,
    output: Arc<Output>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// The last thing the daemon was told: `None` at first.
    told: Option<Result<(), String>>,
    silent: bool,
}

impl Link {
    /// Starts connecting, and the thread that receives what libvirt says.
    pub(crate) fn start(uri: &str, world: Arc<World>, output: Arc<Output>) -> Arc<Self> {
        let uri = uri.to_owned();
        let this = Arc::new(Self { uri, state: Mutex::default(), changed: Condvar::new(), world, output });
        let (notices, received) = mpsc::channel();
        let listener = Arc::clone(&this);
        crate::spawn("notices", move || listener.listen(&received));
        let keeper = Arc::clone(&this);
        crate::spawn("link", move || keeper.keep(&notices));
        this
    }

    /// The connection, if there is one. Only the outcome of the agent's very first attempt is waited for.
    pub(crate) fn connection(&self, patience: Duration) -> Result<Arc<Connection>, Fault> {
        let state = self.lock();
        let waiting = self.changed.wait_timeout_while(state, patience, |state| state.told.is_none());
        let state = waiting.unwrap_or_else(PoisonError::into_inner).0;
        state.connection.clone().ok_or_else(|| {
            let why = match &state.told {
                Some(Err(reason)) => reason.as_str(),
                _ => "not connected yet",
            };
            Fault { kind: FaultKind::Unreachable, message: format!("{} cannot be reached: {why}", self.uri) }
        })
    }

    /// Somebody found that this connection is dead.
    pub(crate) fn lost(&self, number: u64, reason: &str) {
        let mut state = self.lock();
        let Some(connection) = state.connection.take_if(|connection| connection.number == number) else { return };
        release(connection);
        self.tell(&mut state, Err(reason.to_owned()));
        self.changed.notify_all();
    }

    /// A call on this connection failed: was it the call, or the connection?
    pub(crate) fn check(&self, connection: &Connection) -> bool {
        let alive = connection.connect.is_alive().unwrap_or(false);
        if !alive {
            self.lost(connection.number, "the connection to libvirtd is closed");
        }
        alive
    }

    /// libvirt did not answer a list on this connection in time.
    pub(crate) fn silent(&self, connection: &Connection) {
        self.set_silent(connection, true);
    }

    /// libvirt answered a list on this connection.
    pub(crate) fn answers(&self, connection: &Connection) {
        self.set_silent(connection, false);
    }

    fn set_silent(&self, connection: &Connection, silent: bool) {
        let mut state = self.lock();
        let current = state.connection.as_ref().is_some_and(|current| current.number == connection.number);
        if current && state.silent != silent {
            state.silent = silent;
            let news = if silent { Err("libvirt does not answer".to_owned()) } else { Ok(()) };
            self.tell(&mut state, news);
        }
    }

    fn tell(&self, state: &mut State, news: Result<(), String>) {
        if state.told.as_ref() == Some(&news) {
            return;
        }
        self.output.event(match &news {
            Ok(()) => AgentEvent::Connected,
            Err(reason) => AgentEvent::Disconnected { reason: reason.clone() },
        });
        state.told = Some(news);
        self.changed.notify_all();
    }

    fn listen(&self, notices: &Receiver<Notice>) {
        for notice in notices {
            match notice {
                Notice::Domain { name, uuid, change } => self.world.libvirt_says(&name, &uuid, &change),
                Notice::Flushed { asked } => self.world.flushed(asked),
                Notice::Closed { connection, reason } => self.lost(connection, reason),
            }
        }
    }

    fn keep(&self, notices: &Sender<Notice>) {
        self.world.listens_to(notices);
        let mut backoff = BACKOFF_MIN;
        for number in 0.. {
            match self.open(number, notices) {
                Ok(connection) => {
                    if self.use_until_lost(connection) {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(Failure::Passing(reason)) => {
                    let mut state = self.lock();
                    self.tell(&mut state, Err(reason));
                }
                Err(Failure::Final(reason)) => {
                    crate::log!(
                        "error: the embedded hypervisor does not start: {reason}; only a new agent can try again"
                    );
                    let mut state = self.lock();
                    self.tell(&mut state, Err(reason));
                    drop(state);
                    self.output.flush(Duration::from_secs(1));
                    std::process::exit(EXIT_EMBEDDED);
                }
            }
            thread::sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Opens a connection, however long it takes; the daemon is told when it takes too long.
    fn open(&self, number: u64, notices: &Sender<Notice>) -> Result<Connection, Failure> {
        let (uri, notices) = (self.uri.clone(), notices.clone());
        let (done, result) = mpsc::channel();
        crate::spawn("open", move || {
            let _ = done.send(open(&uri, number, &notices));
        });
        if let Ok(result) = result.recv_timeout(OPEN_PATIENCE) {
            return result;
        }
        let mut state = self.lock();
        self.tell(&mut state, Err(format!("libvirt does not answer for {} s", OPEN_PATIENCE.as_secs())));
        drop(state);
        let stumbled = || Failure::Passing("the attempt to connect stumbled; see the agent's log".into());
        result.recv().unwrap_or_else(|_| Err(stumbled()))
    }

    /// Gives whether it was of any use.
    fn use_until_lost(&self, connection: Connection) -> bool {
        let asked = Instant::now();
        let first = self.lock().told.is_none();
        let rows = match native::active_domains(connection.connect()) {
            Ok(rows) => rows,
            Err(error) => {
                let mut state = self.lock();
                self.tell(&mut state, Err(error.message().to_owned()));
                release(Arc::new(connection));
                return false;
            }
        };
        match sizes::host(connection.connect()) {
            Ok(facts) => self.output.event(AgentEvent::Host(facts)),
            Err(error) => crate::log!("warning: libvirt does not tell how big this host is: {}", error.message()),
        }
        let connection = Arc::new(connection);
        let mut state = self.lock();
        state.connection = Some(Arc::clone(&connection));
        state.silent = false;
        self.tell(&mut state, Ok(()));
        drop(state);
        self.world.reconcile(&rows, asked, first);
        // If it was closed before it was ours, nobody will say so again.
        self.check(&connection);
        drop(connection);
        let mut state = self.lock();
        while state.connection.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock on an embedded hypervisor's directory, held from the first connection to the end of the process.
static EMBED_LOCK: OnceLock<Flock<File>> = OnceLock::new();

/// Makes sure that no other agent runs a driver on this directory. libvirt has a lock of its own, but an embedded driver
/// that has failed on it cannot be started again in the same process.
fn lock_embedded(root: &Path) -> Result<(), String> {
    if EMBED_LOCK.get().is_some() {
        return Ok(());
    }
    fs::create_dir_all(root).map_err(|error| format!("cannot create {}: {error}", root.display()))?;
    let path = root.join("belay-agent.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| format!("another agent still runs on {}; it has to go first", root.display()))?;
    let _ = EMBED_LOCK.set(lock);
    crate::unfinished::clear(root);
    Ok(())
}

fn open(uri: &str, number: u64, notices: &Sender<Notice>) -> Result<Connection, Failure> {
    let embedded = embed_root(uri);
    if let Some(root) = &embedded {
        lock_embedded(root).map_err(Failure::Passing)?;
    }
    let connect = Connect::open(Some(uri)).map_err(|error| {
        let reason = error.message().to_owned();
        if embedded.is_some() { Failure::Final(reason) } else { Failure::Passing(reason) }
    })?;
    // Drivers inside this process, and those without keepalive, refuse; they have no connection that could hang.
    let _ = connect.set_keep_alive(KEEPALIVE_S, KEEPALIVE_COUNT);
    let connect = Arc::new(connect);
    let subscription = Subscription::new(&connect, number, notices)
        .map_err(|error| Failure::Passing(format!("no events: {}", error.message())))?;
    Ok(Connection { number, connect, _subscription: subscription })
}

/// Gives a connection back on a thread of its own: saying goodbye to a hung libvirtd takes as long as it hangs.
fn release(connection: Arc<Connection>) {
    crate::spawn("close", move || drop(connection));
}
