//! Keeps one agent alive: starts it, and when it ended for whatever reason starts it again after a growing pause.

use super::client::{Agent, Order, Status, unreachable};
use super::life::{End, Life};
use super::{AgentSettings, Notice, NoticeKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// Calls that may wait to be written. Callers beyond that wait in `Agent::call`.
const ORDERS: usize = 256;

/// An agent for `uri`, and the task that keeps it alive until the last handle is dropped.
pub(super) fn prepare(
    uri: &str,
    settings: AgentSettings,
    notices: mpsc::Sender<Notice>,
) -> (Agent, impl Future<Output = ()> + Send + 'static) {
    let uri: Arc<str> = uri.into();
    let (orders, incoming) = mpsc::channel(ORDERS);
    let (status, watched) = watch::channel(Status::Down { reason: "is being started".to_owned() });
    let supervisor = Supervisor { uri: Arc::clone(&uri), settings, incoming, status, notices, connections: 0 };
    (Agent::new(uri, orders, watched), supervisor.run())
}

/// What outlives the agent's processes.
pub(super) struct Supervisor {
    pub(super) uri: Arc<str>,
    pub(super) settings: AgentSettings,
    pub(super) incoming: mpsc::Receiver<Order>,
    pub(super) status: watch::Sender<Status>,
    pub(super) notices: mpsc::Sender<Notice>,
    /// Connections to libvirt that agents have reported so far.
    pub(super) connections: u64,
}

impl Supervisor {
    async fn run(mut self) {
        let mut pause = self.settings.pause_first;
        loop {
            let born = Instant::now();
            let reason = match Life::start(&self.uri, &self.settings) {
                Err(error) => {
                    format!("cannot be started from {}: {error}", self.settings.program.display())
                }
                Ok(life) => match life.run(&mut self).await {
                    End::Released => return,
                    End::Died { reason } => reason,
                },
            };
            if born.elapsed() >= self.settings.healthy_after {
                pause = self.settings.pause_first;
            }
            tracing::warn!(agent = %self.uri, "the libvirt agent {reason}; the next one starts in {pause:?}");
            self.status.send_replace(Status::Down { reason: reason.clone() });
            self.tell(NoticeKind::Down { reason: reason.clone() }).await;
            if !self.refuse_orders(&reason, pause).await {
                return;
            }
            pause = (pause * 2).min(self.settings.pause_longest);
        }
    }

    /// The agent has a connection to libvirt, another one than before.
    pub(super) fn connected(&mut self) {
        self.connections += 1;
        self.status.send_replace(Status::Up { connection: Some(self.connections) });
    }

    /// Tells whoever listens. That nobody does is no reason to stop: handles may still be in use.
    pub(super) async fn tell(&self, what: NoticeKind) {
        let _ = self.notices.send(Notice { uri: Arc::clone(&self.uri), what }).await;
    }

    /// Waits for the pause to pass; who calls meanwhile learns at once that there is no agent. `false` when nobody
    /// will call any more.
    async fn refuse_orders(&mut self, reason: &str, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match timeout_at(until, self.incoming.recv()).await {
                Err(_) => return true,
                Ok(None) => return false,
                Ok(Some(order)) => {
                    let _ = order.answer.send(Err(unreachable(&self.uri, reason)));
                }
            }
        }
    }
}
