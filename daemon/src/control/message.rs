//! Varlink's messages as JSON: what a call looks like, and how replies and errors are written.

use belay_proto::control::ControlError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A call as it arrives.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) method: String,
    #[serde(default)]
    pub(super) parameters: Value,
    /// The caller wants every reply of a stream.
    #[serde(default)]
    pub(super) more: bool,
    /// The caller wants no reply at all.
    #[serde(default)]
    pub(super) oneway: bool,
}

/// The errors that every Varlink service has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
pub(super) enum ServiceError {
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    #[error("no interface {interface}")]
    InterfaceNotFound { interface: String },
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    #[error("no method {method}")]
    MethodNotFound { method: String },
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    #[error("parameter {parameter} is missing or wrong")]
    InvalidParameter { parameter: String },
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(untagged)]
pub(super) enum CallError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl CallError {
    /// An error of ours with a sentence in it.
    pub(super) fn unavailable(reason: &str) -> Self {
        Self::Control(ControlError::Unavailable { reason: reason.to_owned() })
    }

    /// The error for bytes that are no call.
    pub(super) fn invalid_message(reason: &str) -> Self {
        Self::Control(ControlError::InvalidMessage { reason: reason.to_owned() })
    }
}

#[derive(Serialize)]
struct Reply<'a, T> {
    parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continues: bool,
}

/// The bytes of a reply, its NUL included. JSON escapes control characters, so no NUL can lie within.
pub(super) fn reply<T: Serialize>(parameters: &T, continues: bool) -> Vec<u8> {
    bytes(&Reply { parameters, continues })
}

/// The bytes of an error.
pub(super) fn error(error: &CallError) -> Vec<u8> {
    bytes(error)
}

fn bytes<T: Serialize>(message: &T) -> Vec<u8> {
    // Serialising to memory fails only for maps with non-text keys, of which the replies have none.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_errors_are_written_as_varlink_has_them() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(reply(&[1], false)), "{\"parameters\":[1]}\0");
        assert_eq!(text(reply(&[1], true)), "{\"parameters\":[1],\"continues\":true}\0");
        let denied = CallError::from(ControlError::PermissionDenied {});
        assert_eq!(text(error(&denied)), "{\"error\":\"io.belay.Cluster.PermissionDenied\",\"parameters\":{}}\0");
        let missing = CallError::from(ServiceError::InvalidParameter { parameter: "id".into() });
        assert_eq!(
            text(error(&missing)),
            "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"id\"}}\0"
        );
    }
}
