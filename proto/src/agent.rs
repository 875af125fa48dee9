//! The protocol between the daemon and its libvirt agent: one JSON object a line, calls on stdin, answers and events on
//! stdout. `agents/PROTOCOL.md` tells it in prose.

use crate::entry::GoneReason;
use crate::facts::{HostFacts, Size};
use serde::{Deserialize, Serialize};

/// The version of this protocol. The agent's first line carries it.
pub const AGENT_VERSION: u16 = 1;

/// The longest line either side accepts, in bytes: a domain definition of a few MiB fits.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// A call, from the daemon to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the daemon; the answer repeats it.
    pub id: u64,
    /// After this many milliseconds the agent answers [`FaultKind::Deadline`], whatever libvirt is doing.
    pub deadline_ms: u64,
    /// What to do.
    pub what: CallKind,
}

/// What the daemon can ask of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// All domains that libvirt or the process table knows to be running, in one libvirt call.
    List,
    /// Create a transient domain. A domain of this name and UUID that already runs counts as success.
    Start {
        /// The name the definition must carry.
        name: String,
        /// The definition, verbatim.
        xml: String,
    },
    /// Ask the guest to shut down, and destroy it when it has not after `grace_ms`. A domain that does not run counts
    /// as success. With a grace of 0 it is destroyed at once.
    Stop {
        /// Which domain.
        name: String,
        /// How long the guest may take, in milliseconds.
        grace_ms: u64,
        /// Whether to destroy it after that (`no_kill` unset); otherwise the call fails.
        destroy: bool,
    },
    /// Move a running domain to another host.
    Migrate {
        /// Which domain.
        name: String,
        /// Where to, a libvirt URI.
        to: String,
        /// `true` while it runs, `false` paused.
        live: bool,
        /// Through libvirt's own connection.
        tunnelled: bool,
    },
    /// Give up a migration that is under way.
    CancelMigration {
        /// Which domain.
        name: String,
    },
}

/// A line from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentLine {
    /// The first line.
    Hello {
        /// [`AGENT_VERSION`].
        version: u16,
        /// The hypervisor it serves.
        uri: String,
    },
    /// The answer to a call.
    Answer {
        /// The call's id.
        id: u64,
        /// How it went.
        result: Result<Answer, Fault>,
    },
    /// Something happened.
    Event(AgentEvent),
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`CallKind::List`].
    Domains(Vec<Domain>),
    /// To [`CallKind::Start`]: it runs.
    Started {
        /// The emulator's process.
        pid: Option<u32>,
        /// Whether it was running before the call.
        already: bool,
    },
    /// To [`CallKind::Stop`]: it does not run.
    Stopped {
        /// Whether it had to be destroyed.
        destroyed: bool,
    },
    /// To [`CallKind::Migrate`]: libvirt says it arrived.
    Migrated,
    /// To [`CallKind::CancelMigration`].
    Cancelled,
}

/// A domain that exists on this hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its UUID in the canonical form.
    pub uuid: String,
    /// What it does.
    pub state: DomainState,
    /// The emulator's process, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How big it is, where libvirt has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What a domain does. All of these have a process; a domain without one is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainState {
    /// Its CPUs run (or idle).
    Running,
    /// Its CPUs stand still.
    Paused,
    /// It is on its way down but its process is there.
    ShuttingDown,
    /// The guest crashed and libvirt keeps the process.
    Crashed,
    /// Asleep.
    Suspended,
    /// libvirt does not answer, but the process lives.
    Alive,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What sort of failure it is, for the daemon to decide by.
    pub kind: FaultKind,
    /// A sentence for a person.
    pub message: String,
}

/// The sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The definition is not XML, or not a domain.
    BadDefinition,
    /// The definition is of a domain with another name.
    WrongName,
    /// libvirt refused or failed, and the domain does not run as a result of this call.
    Failed,
    /// The call ran out of time: its outcome is unknown.
    Deadline,
    /// libvirt cannot be reached: its outcome is unknown.
    Unreachable,
    /// The hypervisor cannot do this.
    Unsupported,
    /// The call itself makes no sense.
    BadCall,
}

/// Something that happened on the hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEvent {
    /// How big this host is; told before [`AgentEvent::Connected`], each time.
    Host(HostFacts),
    /// The connection to libvirt works; call [`CallKind::List`] to know what runs.
    Connected,
    /// libvirt does not answer. Until [`AgentEvent::Connected`], nothing is known but what pidfds tell.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// A domain runs that did not before.
    Started {
        /// Which.
        name: String,
        /// Its process, where it is known.
        pid: Option<u32>,
    },
    /// A domain's process is gone.
    Gone {
        /// Which.
        name: String,
        /// Why, as far as is known at that moment.
        why: GoneReason,
        /// Which process it was, where it was known.
        pid: Option<u32>,
        /// Who noticed first.
        witness: Witness,
    },
    /// Its CPUs stand still.
    Paused {
        /// Which.
        name: String,
        /// libvirt's word (`user`, `ioerror`, `migration`, …).
        why: String,
    },
    /// Its CPUs go on.
    Resumed {
        /// Which.
        name: String,
    },
    /// The guest rebooted itself.
    Rebooted {
        /// Which.
        name: String,
    },
    /// The guest is powering itself off.
    ShuttingDown {
        /// Which.
        name: String,
    },
    /// A disk failed.
    IoError {
        /// Which.
        name: String,
        /// Disk and reason.
        detail: String,
    },
}

/// Who saw a process go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The kernel, through a pidfd.
    Pidfd,
    /// libvirt, through a lifecycle event.
    Libvirt,
    /// A list that did not contain it any more.
    List,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_the_protocol_document_shows_them() {
        let call = Call { id: 7, deadline_ms: 5000, what: CallKind::List };
        assert_eq!(serde_json::to_string(&call).ok().as_deref(), Some(r#"{"id":7,"deadline_ms":5000,"what":"list"}"#));
        let gone = AgentLine::Event(AgentEvent::Gone {
            name: "web1".into(),
            why: GoneReason::Died,
            pid: Some(42),
            witness: Witness::Pidfd,
        });
        assert_eq!(
            serde_json::to_string(&gone).ok().as_deref(),
            Some(r#"{"event":{"gone":{"name":"web1","why":"died","pid":42,"witness":"pidfd"}}}"#)
        );
        let answer = AgentLine::Answer { id: 7, result: Ok(Answer::Stopped { destroyed: true }) };
        assert_eq!(
            serde_json::to_string(&answer).ok().as_deref(),
            Some(r#"{"answer":{"id":7,"result":{"Ok":{"stopped":{"destroyed":true}}}}}"#)
        );
    }
}
