//! What each method does: `io.belay.Cluster` by asking the main loop, `org.varlink.service` from what is known here.

use super::message::{Call, CallError, ServiceError, reply};
use super::peer::Peer;
use super::{ControlQuery, EventFeed};
use belay_proto::control::{
    ControlError, EventsParameters, EventsReply, INTERFACE, INTERFACE_NAME, SnapshotReply, SubmitParameters,
    WhyParameters,
};
use belay_proto::history::EventFilter;
use belay_proto::{NodeId, RequestId, ServiceName, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const SERVICE_INTERFACE_NAME: &str = "org.varlink.service";
const SERVICE_INTERFACE: &str = include_str!("org.varlink.service.varlink");

/// Where answers come from.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) queries: mpsc::Sender<ControlQuery>,
    /// How long it may take.
    pub(super) patience: Duration,
}

/// What a call leads to.
pub(super) enum Answer {
    /// One reply, ready to be sent.
    Once(Vec<u8>),
    /// A first reply, then one for each batch of new events that are wanted.
    Stream(EventFeed, EventFilter),
}

/// Answers a call. Dropped half-way when the caller goes away; a request that was handed on takes effect all the same.
pub(super) async fn answer(call: &Call, peer: &Peer, backend: &Backend) -> Result<Answer, CallError> {
    let Some((interface, method)) = call.method.rsplit_once('.') else {
        return Err(ServiceError::InterfaceNotFound { interface: call.method.clone() }.into());
    };
    let parameters = &call.parameters;
    match (interface, method) {
        (SERVICE_INTERFACE_NAME, "GetInfo") => Ok(Answer::Once(reply(&info(), false))),
        (SERVICE_INTERFACE_NAME, "GetInterfaceDescription") => {
            Ok(Answer::Once(reply(&description(parameters)?, false)))
        }
        (INTERFACE_NAME, "Status") => Ok(Answer::Once(reply(&backend.ask(ControlQuery::Status).await?, false))),
        (INTERFACE_NAME, "Submit") => backend.submit(parameters, peer).await,
        (INTERFACE_NAME, "Snapshot") => backend.snapshot(peer).await,
        (INTERFACE_NAME, "Why") => backend.why(parameters).await,
        (INTERFACE_NAME, "Events") => backend.events(parameters, call.more).await,
        (SERVICE_INTERFACE_NAME | INTERFACE_NAME, _) => {
            Err(ServiceError::MethodNotFound { method: call.method.clone() }.into())
        }
        _ => Err(ServiceError::InterfaceNotFound { interface: interface.to_owned() }.into()),
    }
}

fn info() -> Value {
    json!({
        "vendor": "Belay",
        "product": "belayd",
        "version": env!("CARGO_PKG_VERSION"),
        "url": env!("CARGO_PKG_REPOSITORY"),
        "interfaces": [SERVICE_INTERFACE_NAME, INTERFACE_NAME],
    })
}

fn description(parameters: &Value) -> Result<Value, ServiceError> {
    let interface: String = field(parameters, "interface")?;
    match interface.as_str() {
        INTERFACE_NAME => Ok(json!({ "description": INTERFACE })),
        SERVICE_INTERFACE_NAME => Ok(json!({ "description": SERVICE_INTERFACE })),
        _ => Err(ServiceError::InterfaceNotFound { interface }),
    }
}

impl Backend {
    async fn submit(&self, parameters: &Value, peer: &Peer) -> Result<Answer, CallError> {
        if !peer.operator {
            return Err(ControlError::PermissionDenied {}.into());
        }
        field::<RequestId>(parameters, "id")?;
        let parameters: SubmitParameters = all(parameters, "request")?;
        let (answer, verdict) = oneshot::channel();
        self.hand_over(ControlQuery::Submit { parameters, by: peer.name(), answer }).await?;
        let verdict = verdict.await.map_err(|_| {
            CallError::unavailable("the daemon stops or lost its place in the cluster: ask again with the same id")
        })?;
        Ok(Answer::Once(reply(&verdict, false)))
    }

    async fn why(&self, parameters: &Value) -> Result<Answer, CallError> {
        let WhyParameters { service } = all(parameters, "service")?;
        let name = service.to_string();
        let found = self.ask(|answer| ControlQuery::Why { service, answer }).await?;
        let found = found.ok_or(ControlError::NoSuchService { name })?;
        Ok(Answer::Once(reply(&found, false)))
    }

    /// Passwords are part of it: not for everybody who may look.
    async fn snapshot(&self, peer: &Peer) -> Result<Answer, CallError> {
        if !peer.operator {
            return Err(ControlError::PermissionDenied {}.into());
        }
        let snapshot = self.ask(ControlQuery::Snapshot).await?;
        Ok(Answer::Once(reply(&SnapshotReply { snapshot }, false)))
    }

    async fn events(&self, parameters: &Value, more: bool) -> Result<Answer, CallError> {
        field::<Option<ServiceName>>(parameters, "service")?;
        field::<Option<NodeId>>(parameters, "node")?;
        field::<Option<Timestamp>>(parameters, "since")?;
        let parameters: EventsParameters =
            if parameters.is_null() { EventsParameters::default() } else { all(parameters, "last")? };
        let filter = parameters.filter();
        let feed = self.ask(|answer| ControlQuery::Events { parameters, answer }).await?;
        if more {
            return Ok(Answer::Stream(feed, filter));
        }
        Ok(Answer::Once(reply(&EventsReply { events: feed.0 }, false)))
    }

    /// Asks, and waits no longer than the caller should.
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> ControlQuery) -> Result<T, CallError> {
        let (answer, answered) = oneshot::channel();
        self.hand_over(query(answer)).await?;
        match timeout(self.patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::unavailable("the daemon is stopping: try again when it is back")),
            Err(_) => Err(self.busy()),
        }
    }

    async fn hand_over(&self, query: ControlQuery) -> Result<(), CallError> {
        match timeout(self.patience, self.queries.send(query)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CallError::unavailable("the daemon is stopping: try again when it is back")),
            Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> CallError {
        let patience = belay_proto::Span::from(self.patience);
        CallError::unavailable(&format!(
            "the daemon did not answer within {patience}: try again, and if it stays so, look at its log with \
             journalctl -u belayd"
        ))
    }
}

/// One parameter; a missing one reads as null.
fn field<T: DeserializeOwned>(parameters: &Value, name: &str) -> Result<T, ServiceError> {
    let value = parameters.get(name).unwrap_or(&Value::Null);
    T::deserialize(value).map_err(|_| ServiceError::InvalidParameter { parameter: name.to_owned() })
}

/// All parameters of a method; `culprit` is the one to blame, the others having been looked at.
fn all<T: DeserializeOwned>(parameters: &Value, culprit: &str) -> Result<T, ServiceError> {
    T::deserialize(parameters).map_err(|_| ServiceError::InvalidParameter { parameter: culprit.to_owned() })
}
