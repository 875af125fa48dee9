//! The control server: answers `clustat`, `clusvcadm`, `belay` and anything else that speaks Varlink over a Unix socket.
//!
//! Everybody on the host may connect and look, so nothing a client does may cost the daemon more than a little: the
//! number of connections, the length of a message, the time for half a message and the time to take a reply are all
//! bounded, and each connection lives in a task of its own, which a slow neighbour cannot hold up. Who may change
//! things is decided by the kernel's word for the caller's uid and groups ([`peer`]), never by what the caller says.
//!
//! The state belongs to the daemon's main loop. This module owns none: it turns each call into a [`ControlQuery`] and
//! waits for the answer, and when that does not come in time it says so instead of hanging.

mod connection;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
mod message;
mod methods;
mod peer;
mod server;
mod settings;

pub use listener::{ControlListenError, ControlListener, bind};
pub use server::{serve, serve_with};
pub use settings::Settings;

use belay_proto::ServiceName;
use belay_proto::control::{EventsParameters, Status, SubmitParameters, Verdict, WhyReply};
use belay_proto::history::HistoryEvent;
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};

/// What is there already, and where the rest comes from. Whoever makes the pair must subscribe and read the history in
/// one step, or an event between the two is lost.
pub type EventFeed = (Vec<HistoryEvent>, broadcast::Receiver<Arc<HistoryEvent>>);

/// What the server asks the main loop. The asker may have gone by the time of the answer: a failed send means nothing.
#[derive(Debug)]
pub enum ControlQuery {
    /// The whole picture.
    Status(oneshot::Sender<Status>),
    /// A request by somebody who may make it. Answered when it took effect or was rejected, which may take minutes.
    Submit {
        /// The request and its id.
        parameters: SubmitParameters,
        /// Who asks, for the history: `root` or `uid 1000`.
        by: String,
        /// Where the verdict goes.
        answer: oneshot::Sender<Verdict>,
    },
    /// How a service came to be in its state.
    Why {
        /// Which service.
        service: ServiceName,
        /// Where the answer goes; `None` if there is no such service.
        answer: oneshot::Sender<Option<WhyReply>>,
    },
    /// The whole state, to rehearse on.
    Snapshot(oneshot::Sender<String>),
    /// The history's newest events, and all that follow.
    Events {
        /// Which ones of those that are there; the server itself picks the right ones of those that follow.
        parameters: EventsParameters,
        /// Where they go.
        answer: oneshot::Sender<EventFeed>,
    },
}
