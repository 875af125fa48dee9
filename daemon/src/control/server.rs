//! The accept loop: a task for each client, as many as there are places for.

use super::ControlQuery;
use super::connection::{Ending, converse};
use super::listener::ControlListener;
use super::message::{CallError, error};
use super::methods::Backend;
use super::peer::{Peer, group_id};
use super::settings::Settings;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

/// How soon a change of the operators' group is noticed.
const GROUP_EVERY: Duration = Duration::from_secs(30);

/// How long the first look at the group may delay the start.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);

/// Serves the socket until the main loop drops its end of `queries`. Dropping the future ends every connection.
pub async fn serve(listener: ControlListener, queries: mpsc::Sender<ControlQuery>) {
    serve_with(listener, queries, Settings::default()).await;
}

/// As [`serve`], with other bounds than a running daemon has.
pub async fn serve_with(listener: ControlListener, queries: mpsc::Sender<ControlQuery>, settings: Settings) {
    let socket = match listener.socket.try_clone().and_then(UnixListener::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, path = %listener.path.display(), "the control socket cannot be served");
            return;
        }
    };
    let server = Arc::new(Server::new(queries, settings));
    let mut tasks = JoinSet::new();
    if timeout(GROUP_PATIENCE, server.look_at_group()).await.is_err() {
        tracing::warn!(
            group = server.settings.group,
            "the group is not known yet: until then only root may change things"
        );
    }
    tasks.spawn(server.clone().watch_group());
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a control connection's task failed");
                }
                continue;
            }
            () = server.backend.queries.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => server.admit(stream, &mut tasks),
            Err(error) => {
                // Out of descriptors or memory, which passes; without the pause this would spin.
                tracing::warn!(%error, "a control connection could not be taken");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Server {
    backend: Backend,
    settings: Settings,
    /// The number of the operators' group.
    operators: Mutex<Option<u32>>,
    places: Mutex<Places>,
}

impl Server {
    fn new(queries: mpsc::Sender<ControlQuery>, settings: Settings) -> Self {
        let backend = Backend { queries, patience: settings.answer };
        Self { backend, settings, operators: Mutex::default(), places: Mutex::default() }
    }

    /// Asks for the group's number on a thread of its own: a directory service may be slow.
    async fn look_at_group(&self) {
        let name = self.settings.group.clone();
        if let Ok(found) = spawn_blocking(move || group_id(&name)).await {
            *self.operators.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
    }

    async fn watch_group(self: Arc<Self>) {
        loop {
            sleep(GROUP_EVERY).await;
            self.look_at_group().await;
        }
    }

    /// Gives the client a place and a task, or tells it why not.
    fn admit(self: &Arc<Self>, stream: UnixStream, tasks: &mut JoinSet<()>) {
        let operators = *self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = match Peer::of(stream.as_fd(), operators) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "a control connection's peer could not be told");
                return;
            }
        };
        let Some(place) = Place::take(self, peer) else {
            tracing::warn!(uid = peer.uid, "too many control connections: one was turned away");
            let full = CallError::unavailable("too many connections to the daemon: try again when some have ended");
            // The buffer of a fresh connection has room; where it has not, the client learns it from the close.
            let _ = stream.try_write(&error(&full));
            return;
        };
        let server = self.clone();
        tasks.spawn(async move {
            let ending = converse(stream, peer, &server.backend, &server.settings).await;
            drop(place);
            match ending {
                Ending::Closed | Ending::Silent | Ending::Stopping => {
                    tracing::trace!(uid = peer.uid, %ending, "a control connection ended");
                }
                _ => tracing::debug!(uid = peer.uid, %ending, "a control connection was ended"),
            }
        });
    }
}

/// How many connections there are.
#[derive(Default)]
struct Places {
    operators: usize,
    others: BTreeMap<u32, usize>,
}

/// One connection's place, given back when dropped.
struct Place {
    server: Arc<Server>,
    peer: Peer,
}

impl Place {
    fn take(server: &Arc<Server>, peer: Peer) -> Option<Self> {
        let settings = &server.settings;
        let mut places = server.places.lock().unwrap_or_else(PoisonError::into_inner);
        if peer.operator {
            if places.operators >= settings.connections_of_operators {
                return None;
            }
            places.operators += 1;
        } else {
            let all: usize = places.others.values().sum();
            let own = places.others.entry(peer.uid).or_default();
            if all >= settings.connections_of_others || *own >= settings.connections_of_one_other {
                if *own == 0 {
                    places.others.remove(&peer.uid);
                }
                return None;
            }
            *own += 1;
        }
        drop(places);
        Some(Self { server: server.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.server.places.lock().unwrap_or_else(PoisonError::into_inner);
        if self.peer.operator {
            places.operators -= 1;
        } else if let Some(own) = places.others.get_mut(&self.peer.uid) {
            *own -= 1;
            if *own == 0 {
                places.others.remove(&self.peer.uid);
            }
        }
    }
}
