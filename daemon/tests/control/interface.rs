//! That the interface's description says what serde writes and reads, and that an independent implementation of
//! Varlink (zlink) can read the description and talk to the server.

use crate::support::{Server, event, status};
use belay_proto::control::{
    ControlError, EventsParameters, EventsReply, INTERFACE, MemberState, Phase, SnapshotReply, SubmitParameters,
    Verdict, WhyParameters, WhyReply,
};
use belay_proto::entry::Request;
use belay_proto::history::{EventId, EventKind, Severity};
use belay_proto::{Code, Index, NodeId, NodeMode, ServiceState, Span, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use zlink::idl::{Interface, Type};
use zlink::varlink_service::Proxy;

fn interface() -> Interface<'static> {
    Interface::try_from(INTERFACE).unwrap()
}

/// Checks a JSON value against a type of the interface, strictly: no field that is not declared, none missing but the
/// optional ones.
fn check(value: &Value, kind: &Type<'_>, interface: &Interface<'_>) -> Result<(), String> {
    let wrong = || Err(format!("{value} is no {kind}"));
    match kind {
        Type::Optional(_) if value.is_null() => Ok(()),
        Type::Optional(inner) => check(value, inner.inner(), interface),
        Type::Bool if value.is_boolean() => Ok(()),
        Type::Int if value.is_i64() => Ok(()),
        Type::String if value.is_string() => Ok(()),
        Type::Array(inner) => {
            let Some(items) = value.as_array() else { return wrong() };
            items.iter().try_for_each(|item| check(item, inner.inner(), interface))
        }
        Type::Enum(variants) => match value.as_str() {
            Some(word) if variants.iter().any(|variant| variant.name().as_str() == word) => Ok(()),
            _ => wrong(),
        },
        Type::Object(fields) => check_fields(value, fields.iter().map(|f| (f.name().as_str(), f.ty())), interface),
        Type::Custom(name) => {
            let custom = interface.custom_types().find(|custom| custom.name() == name).unwrap();
            if let Some(variants) = custom.as_enum() {
                return match value.as_str() {
                    Some(word) if variants.variants().any(|variant| variant.name().as_str() == word) => Ok(()),
                    _ => wrong(),
                };
            }
            let object = custom.as_object().unwrap();
            check_fields(value, object.fields().map(|field| (field.name().as_str(), field.ty())), interface)
        }
        _ => wrong(),
    }
}

fn check_fields<'a>(
    value: &Value,
    fields: impl Iterator<Item = (&'a str, &'a Type<'a>)>,
    interface: &Interface<'_>,
) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    let mut unknown: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    for (name, kind) in fields {
        unknown.remove(name);
        check(object.get(name).unwrap_or(&Value::Null), kind, interface).map_err(|error| format!("{name}: {error}"))?;
    }
    if unknown.is_empty() { Ok(()) } else { Err(format!("not declared: {unknown:?}")) }
}

fn parameters<T: Serialize>(method: &str, value: &T) -> Result<(), String> {
    let interface = interface();
    let method = interface.methods().find(|known| known.name().as_str() == method).unwrap();
    check_fields(&json!(value), method.inputs().map(|p| (p.name().as_str(), p.ty())), &interface)
}

fn replies<T: Serialize>(method: &str, value: &T) -> Result<(), String> {
    let interface = interface();
    let method = interface.methods().find(|known| known.name().as_str() == method).unwrap();
    check_fields(&json!(value), method.outputs().map(|p| (p.name().as_str(), p.ty())), &interface)
}

#[test]
fn replies_are_as_declared() {
    let mut status = status();
    replies("Status", &status).unwrap();
    let mut service = status.services.remove(0);
    replies("Why", &WhyReply { service: service.clone(), chain: Vec::new(), hosts: Vec::new() }).unwrap();
    service.waiting = Some("fencing".into());
    service.last_owner = Some(NodeId(2));
    let mut last = event(2, "vm:web1");
    last.cause = Some(EventId { index: Index(1), part: 0 });
    last.node = Some(NodeId(1));
    replies("Why", &WhyReply { service, chain: vec![last.clone()], hosts: Vec::new() }).unwrap();
    last.service = None;
    replies("Events", &EventsReply { events: vec![last] }).unwrap();
    replies("Snapshot", &SnapshotReply { snapshot: "a state".into() }).unwrap();
    for owner in [None, Some(NodeId(1))] {
        replies("Submit", &Verdict { code: Code::Success, reason: String::new(), owner }).unwrap();
    }
}

fn requests() -> Vec<Request> {
    let service = || "vm:web1".parse().unwrap();
    let target = Some(NodeId(2));
    vec![
        Request::Enable { service: service(), target: None, by_domain: false },
        Request::Enable { service: service(), target, by_domain: false },
        Request::Disable { service: service() },
        Request::Stop { service: service() },
        Request::Restart { service: service() },
        Request::Relocate { service: service(), target },
        Request::Migrate { service: service(), target: NodeId(2) },
        Request::Freeze { service: service() },
        Request::Unfreeze { service: service() },
        Request::Convalesce { service: service() },
        Request::Lock {},
        Request::Unlock {},
        Request::SetMode { node: NodeId(2), mode: NodeMode::Maintenance, reason: "a new fan".into() },
        Request::Disarm { span: Span::seconds(1800), reason: "a new switch".into() },
        Request::Arm {},
        Request::AcknowledgeFence { node: NodeId(3) },
    ]
}

#[test]
fn parameters_are_as_declared() {
    for request in requests() {
        parameters("Submit", &SubmitParameters { id: "1".parse().unwrap(), request }).unwrap();
    }
    parameters("Why", &WhyParameters { service: "vm:web1".parse().unwrap() }).unwrap();
    parameters("Events", &EventsParameters::default()).unwrap();
    let both = EventsParameters {
        service: Some("vm:web1".parse().unwrap()),
        node: Some(NodeId(2)),
        since: Some(Timestamp(1)),
        last: Some(5),
    };
    parameters("Events", &both).unwrap();
    assert!(parameters("Submit", &json!({"id": "1"})).is_err(), "the check itself can fail");
}

#[test]
fn every_request_that_is_declared_is_understood() {
    let interface = interface();
    let declared = interface.custom_types().find(|custom| custom.name().as_str() == "Request").unwrap();
    let declared: BTreeSet<_> = declared.as_object().unwrap().fields().map(|f| f.name().as_str().to_owned()).collect();
    let known: BTreeSet<_> =
        requests().iter().map(|request| json!(request).as_object().unwrap().keys().next().unwrap().clone()).collect();
    assert_eq!(declared, known);
}

#[test]
fn errors_are_as_declared() {
    let interface = interface();
    let reason = || "r".to_owned();
    let errors = [
        ControlError::PermissionDenied {},
        ControlError::NoSuchService { name: "vm:x".into() },
        ControlError::Unavailable { reason: reason() },
        ControlError::InvalidMessage { reason: reason() },
    ];
    assert_eq!(interface.errors().count(), errors.len());
    for error in errors {
        let written = json!(error);
        let name = written["error"].as_str().unwrap().strip_prefix("io.belay.Cluster.").unwrap().to_owned();
        let declared = interface.errors().find(|known| known.name().as_str() == name).unwrap();
        let fields = declared.fields().map(|field| (field.name().as_str(), field.ty()));
        check_fields(&written["parameters"], fields, &interface).unwrap();
    }
}

/// The words that serde knows for an enum, from its own complaint about one it does not know.
fn words<T: DeserializeOwned>() -> BTreeSet<String> {
    let complaint = serde_json::from_str::<T>("\"?\"").err().unwrap().to_string();
    complaint.split('`').skip(1).step_by(2).filter(|word| *word != "?").map(str::to_owned).collect()
}

#[test]
fn the_words_of_every_enum_are_the_declared_ones() {
    let text: String = INTERFACE.split_whitespace().collect::<Vec<_>>().join(" ");
    let declared = |before: &str| -> BTreeSet<String> {
        let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("{before}"));
        rest.split(')').next().unwrap().split(',').map(|word| word.trim().to_owned()).collect()
    };
    assert_eq!(
        declared("type Member ( id: int, name: string, online: bool, local: bool, configured: bool, state: ("),
        words::<MemberState>()
    );
    assert_eq!(declared("type Service ( name: string, state: ("), words::<ServiceState>());
    assert_eq!(declared("kind: ("), words::<EventKind>());
    assert_eq!(declared("severity: ("), words::<Severity>());
    assert_eq!(declared("type Code ( "), words::<Code>());
    assert_eq!(declared("phase: ("), words::<Phase>());
}

#[tokio::test]
async fn an_independent_implementation_of_varlink_can_talk_to_it() {
    let server = Server::start();
    let mut connection = zlink::tokio::unix::connect(&server.socket).await.unwrap();
    let info = connection.get_info().await.unwrap().unwrap();
    assert_eq!(info.product, "belayd");
    for name in ["io.belay.Cluster", "org.varlink.service"] {
        let described = connection.get_interface_description(name.try_into().unwrap()).await.unwrap().unwrap();
        let parsed = described.parse().unwrap();
        assert_eq!(parsed.name().as_str(), name);
    }
    let status = connection.status().await.unwrap().unwrap();
    assert_eq!((status.cluster.as_str(), status.quorate), ("alpha", true));
    let request = PeerRequest { enable: Some(PeerPlace { service: "vm:web1".into(), target: None }), disable: None };
    let verdict = connection.submit("peer", request).await.unwrap().unwrap();
    assert_eq!(verdict.code, "success");
    let unknown = connection.why("vm:no").await.unwrap().unwrap_err();
    assert!(matches!(unknown, PeerError::NoSuchService { name } if name == "vm:no"));
}

#[zlink::proxy("io.belay.Cluster")]
trait ClusterProxy {
    async fn status(&mut self) -> zlink::Result<Result<PeerStatus, PeerError>>;
    async fn submit(&mut self, id: &str, request: PeerRequest) -> zlink::Result<Result<PeerVerdict, PeerError>>;
    async fn why(&mut self, service: &str) -> zlink::Result<Result<Value, PeerError>>;
}

#[derive(Debug, serde::Deserialize)]
struct PeerStatus {
    cluster: String,
    quorate: bool,
}

/// With all its fields written, as a client with fixed types does.
#[derive(Debug, Serialize)]
struct PeerRequest {
    enable: Option<PeerPlace>,
    disable: Option<PeerPlace>,
}

#[derive(Debug, Serialize)]
struct PeerPlace {
    service: String,
    target: Option<i64>,
}

#[derive(Debug, serde::Deserialize)]
struct PeerVerdict {
    code: String,
}

#[derive(Debug, zlink::ReplyError)]
#[zlink(interface = "io.belay.Cluster")]
enum PeerError {
    NoSuchService { name: String },
}
