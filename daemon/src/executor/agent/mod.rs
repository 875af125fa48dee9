//! The daemon's end of the agent protocol: one long-lived subprocess per hypervisor URI, which may hang, die or talk
//! nonsense at any moment without the daemon noticing more than a call whose outcome is unknown.
//!
//! ```text
//!  Agent::call ──► supervisor ──► one Life ──stdin──►  belay-agent-libvirt
//!       ▲            │  ▲             │                        │
//!       └── answer ──┘  └─ back-off ──┤◄──────stdout───────────┘
//!                                     └──► Notice: Up, Event…, Down
//! ```
//!
//! What this module must never do: guess. A call that was in flight when an agent ended fails as
//! [`FaultKind::Unreachable`](belay_proto::agent::FaultKind::Unreachable), which means "unknown", never "did not happen".
//! Ending an agent ends no VM: only the agent's own process is killed, and libvirt puts every emulator into a session
//! of its own.

mod client;
#[doc(hidden)]
pub mod fuzzing;
mod life;
mod lines;
mod supervisor;

pub use belay_driver::vm::{Listing, NoticeKind};
pub use client::{Agent, Status};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long agents that are not needed any more may take to go.
const GOODBYES: Duration = Duration::from_secs(6);

/// How agents are run.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The program; it is called with `--uri URI` first.
    pub program: PathBuf,
    /// What follows `--uri URI`.
    pub arguments: Vec<OsString>,
    /// How long a new agent may take to say hello.
    pub hello_within: Duration,
    /// An agent that has not answered this long after a call's own deadline hangs.
    pub hang_grace: Duration,
    /// The pause before the first restart; it doubles with each one.
    pub pause_first: Duration,
    /// The longest pause between restarts.
    pub pause_longest: Duration,
    /// An agent that lived this long was healthy: the next pause is a first one again.
    pub healthy_after: Duration,
}

impl AgentSettings {
    /// The usual settings for this program.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            hello_within: Duration::from_secs(10),
            hang_grace: Duration::from_secs(2),
            pause_first: Duration::from_millis(100),
            pause_longest: Duration::from_secs(5),
            healthy_after: Duration::from_secs(30),
        }
    }
}

/// Something an agent's user should know, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose agent.
    pub uri: Arc<str>,
    /// What.
    pub what: NoticeKind,
}

/// The agents of a host, one per hypervisor URI. They are killed when this is dropped; [`Agents::end`] is kinder.
#[derive(Debug)]
pub struct Agents {
    settings: AgentSettings,
    notices: mpsc::Sender<Notice>,
    by_uri: BTreeMap<String, Agent>,
    supervisors: JoinSet<()>,
}

impl Agents {
    /// No agent yet. All of them will send their notices to `notices`, which must be drained promptly: an agent whose
    /// events nobody takes is stopped from talking.
    #[must_use]
    pub fn new(settings: AgentSettings, notices: mpsc::Sender<Notice>) -> Self {
        Self { settings, notices, by_uri: BTreeMap::new(), supervisors: JoinSet::new() }
    }

    /// The agent for a URI, started at the first request. Must be called within a tokio runtime.
    pub fn get(&mut self, uri: &str) -> Agent {
        if let Some(agent) = self.by_uri.get(uri) {
            return agent.clone();
        }
        let (agent, supervisor) = supervisor::prepare(uri, self.settings.clone(), self.notices.clone());
        self.supervisors.spawn(supervisor);
        self.by_uri.insert(uri.to_owned(), agent.clone());
        agent
    }

    /// Lets the agents end in good order, once nobody else holds a handle: each gets a moment to finish what it is
    /// inside of, because half a start would leave the hypervisor half a domain.
    pub async fn end(mut self) {
        self.by_uri.clear();
        let all = async { while self.supervisors.join_next().await.is_some() {} };
        // Who is not gone by then, because it has not even said hello, is killed.
        let _ = tokio::time::timeout(GOODBYES, all).await;
    }
}
