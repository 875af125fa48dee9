//! What the rest of the daemon holds of an agent: a handle to call it, and to know whether it is there.

use belay_driver::vm::Listing;
use belay_proto::agent::{Answer, CallKind, Fault, FaultKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Whether an agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none at the moment.
    Down {
        /// Why.
        reason: String,
    },
    /// It takes calls.
    Up {
        /// Which connection to libvirt it has, counted over all its processes; none before its first `Connected` and
        /// after a `Disconnected`.
        connection: Option<u64>,
    },
}

/// A call on its way to the supervisor.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) what: CallKind,
    pub(super) deadline: Duration,
    pub(super) answer: oneshot::Sender<Result<Answer, Fault>>,
}

/// A handle to the agent of one hypervisor URI. The agent ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Agent {
    uri: Arc<str>,
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
}

impl Agent {
    pub(super) fn new(uri: Arc<str>, orders: mpsc::Sender<Order>, status: watch::Receiver<Status>) -> Self {
        Self { uri, orders, status }
    }

    /// The hypervisor it serves.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether it can be asked now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until it can be asked, at most this long; tells whether it can.
    pub async fn up_within(&self, patience: Duration) -> bool {
        let mut status = self.status.clone();
        let up = status.wait_for(|status| matches!(status, Status::Up { .. }));
        tokio::time::timeout(patience, up).await.is_ok_and(|found| found.is_ok())
    }

    /// Calls the agent, which has until `deadline` to answer.
    ///
    /// # Errors
    /// What the agent answered; [`FaultKind::Unreachable`] when there is none, or when it ended, hung or talked
    /// nonsense before it answered. After `Deadline` and `Unreachable` the call may or may not have had its effect.
    pub async fn call(&self, what: CallKind, deadline: Duration) -> Result<Answer, Fault> {
        let (answer, answered) = oneshot::channel();
        let gone = || unreachable(&self.uri, "was ended");
        self.orders.send(Order { what, deadline, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// All domains that run.
    ///
    /// # Errors
    /// As for [`Agent::call`].
    pub async fn list(&self, deadline: Duration) -> Result<Listing, Fault> {
        let before = self.status();
        match self.call(CallKind::List, deadline).await? {
            Answer::Domains(domains) => {
                // The same connection before and after: a list made just before it came, without libvirt, may arrive
                // just after.
                let connected = matches!(before, Status::Up { connection: Some(_) });
                Ok(Listing { domains, complete: connected && self.status() == before })
            }
            other => Err(self.nonsense(&other)),
        }
    }

    /// An answer to another question than was asked.
    fn nonsense(&self, answer: &Answer) -> Fault {
        let what = format!("gave an answer that does not fit the call ({answer:?})");
        unreachable(&self.uri, &what)
    }
}

/// The fault of every call whose outcome nobody can know.
pub(super) fn unreachable(uri: &str, what: &str) -> Fault {
    Fault {
        kind: FaultKind::Unreachable,
        message: format!("the agent for {uri} {what}; whether the call had an effect is unknown"),
    }
}

/// Whole milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
