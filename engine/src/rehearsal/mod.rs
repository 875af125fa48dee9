//! A rehearsal: what would happen, played on a copy of the state by the same engine that decides when it does happen.
//!
//! Whoever asks "what if node2 dies?" gets the engine's own answer. Everything that hosts would do (starts, stops,
//! migrations, fencing) is taken to succeed at once; what the engine would wait for passes in imagined time. The real
//! cluster is not touched, and nothing here does I/O.
//!
//! ```text
//!  copy of the state ──► what happens: a host fails, a request … ──► apply ──► work ──► imagined outcome ─┐
//!                                                                     ▲                                   │
//!                                                                     └───────────────────────────────────┘
//! ```

mod survival;
#[cfg(test)]
mod tests;
mod world;

pub use survival::{Loss, Survival, survival};

use crate::state::State;
use crate::state::service::{Phase, Wanted};
use belay_proto::control::Verdict;
use belay_proto::entry::{ENTRY_VERSION, Entry, Request, What};
use belay_proto::history::HistoryEvent;
use belay_proto::{Index, NodeId, RequestId, ServiceName, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use world::World;

/// How far into the imagined future a rehearsal looks for what waits to become due.
const HORIZON: Span = Span::seconds(3600);
/// How many rounds of work and outcomes one happening may take. More means that the engine goes in circles.
const ROUNDS: usize = 10_000;

/// Something that happens in a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// These hosts lose their power at the same moment.
    Fail(BTreeSet<NodeId>),
    /// A host comes, or comes back after a restart.
    Join(NodeId),
    /// An administrator asks for something.
    Request(Request),
    /// Another configuration comes into force.
    Configure(String),
}

/// Why a rehearsal cannot play something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RehearsalError {
    /// Nobody has ever been in the cluster.
    #[error("the cluster has not been quorate yet: there is no state to rehearse on; give a cluster.conf instead")]
    NoState,
    /// There is no such member.
    #[error("there is no member {0} in the configuration")]
    NoMember(NodeId),
    /// The host is not in the cluster, so it cannot fail.
    #[error("{0} is not online, so nothing changes when it fails")]
    NotOnline(String),
    /// The host is in the cluster already.
    #[error("{0} is online already")]
    Online(String),
    /// The configuration cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
}

/// One step of a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Imagined time since the happening.
    pub after: Span,
    /// What the engine records.
    pub event: HistoryEvent,
}

/// What came of one happening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// What the engine did, in order.
    pub steps: Vec<Step>,
    /// The answer, if it was a request that was answered.
    pub verdict: Option<Verdict>,
    /// Whether the members that are left make a quorum. Without one, nothing is decided.
    pub quorate: bool,
}

/// A copy of the cluster to try things on.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    state: State,
    world: World,
    online: BTreeSet<NodeId>,
    inventories: BTreeMap<NodeId, u64>,
    quorate: bool,
    serial: u64,
}

impl Rehearsal {
    /// A rehearsal on a copy of a running cluster. What is under way is taken to end well first.
    ///
    /// # Errors
    /// When the state has never been in force.
    pub fn of(state: State) -> Result<Self, RehearsalError> {
        if state.view().is_none() || state.config().is_none() {
            return Err(RehearsalError::NoState);
        }
        let online: BTreeSet<NodeId> = state.online().collect();
        let world = World::of(&state);
        let mut rehearsal = Self { state, world, online, inventories: BTreeMap::new(), quorate: true, serial: 1 };
        // What the members have said of what they run is in the state already.
        for node in rehearsal.online.clone() {
            if let Some(wanted) = rehearsal.state.assignments(node, Index(u64::MAX)).inventory_wanted
                && rehearsal.state.node(node).is_some_and(|record| record.ready)
            {
                rehearsal.inventories.insert(node, wanted);
            }
        }
        rehearsal.play_out(&mut Vec::new());
        Ok(rehearsal)
    }

    /// A rehearsal on a cluster of this configuration, in which all hosts but some have just been switched on.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn cold(config: &str, absent: &BTreeSet<NodeId>) -> Result<(Self, Played), RehearsalError> {
        let reading = belay_config::read("cluster.conf", config);
        let first = reading.of(belay_config::Severity::Error).next().map(ToString::to_string);
        let cluster = reading.cluster.ok_or_else(|| RehearsalError::Config(first.unwrap_or_default()))?;
        let online = cluster.nodes.keys().copied().filter(|node| !absent.contains(node)).collect();
        let mut rehearsal = Self {
            state: State::new(),
            world: World::default(),
            online,
            inventories: BTreeMap::new(),
            quorate: true,
            serial: 1,
        };
        let mut steps = Vec::new();
        rehearsal.see(&mut steps);
        rehearsal.apply(None, What::Config { text: config.to_owned() }, &mut steps);
        rehearsal.quorate = rehearsal.votes() >= cluster.quorum();
        if rehearsal.quorate {
            rehearsal.play_out(&mut steps);
        }
        let played = rehearsal.played(steps, Timestamp(0), None);
        Ok((rehearsal, played))
    }

    /// The state as it would be.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Lets something happen, and everything that follows from it.
    ///
    /// # Errors
    /// When it cannot happen in this cluster. Nothing changes then.
    pub fn play(&mut self, happening: &Happening) -> Result<Played, RehearsalError> {
        let began = self.state.time();
        let mut steps = Vec::new();
        let mut asked = None;
        match happening {
            Happening::Fail(nodes) => self.fail(nodes, &mut steps)?,
            Happening::Join(node) => self.join(*node, &mut steps)?,
            Happening::Request(request) => asked = self.ask(request, &mut steps),
            Happening::Configure(text) => self.configure(text, &mut steps)?,
        }
        if self.quorate {
            self.play_out(&mut steps);
        }
        let verdict = asked.and_then(|id| self.state.answer_to(&id).map(|(verdict, _)| verdict.clone()));
        Ok(self.played(steps, began, verdict))
    }

    fn played(&self, events: Vec<HistoryEvent>, began: Timestamp, verdict: Option<Verdict>) -> Played {
        let steps = events.into_iter().map(|event| Step { after: event.time.since(began), event }).collect();
        Played { steps, verdict, quorate: self.quorate }
    }

    fn fail(&mut self, nodes: &BTreeSet<NodeId>, steps: &mut Vec<HistoryEvent>) -> Result<(), RehearsalError> {
        for node in nodes {
            self.known(*node)?;
            if !self.online.contains(node) {
                return Err(RehearsalError::NotOnline(self.state.node_name(*node)));
            }
        }
        self.online.retain(|node| !nodes.contains(node));
        nodes.iter().for_each(|node| self.world.lose(*node));
        self.change_view(steps);
        Ok(())
    }

    fn join(&mut self, node: NodeId, steps: &mut Vec<HistoryEvent>) -> Result<(), RehearsalError> {
        self.known(node)?;
        if !self.online.insert(node) {
            return Err(RehearsalError::Online(self.state.node_name(node)));
        }
        self.world.boot(node);
        self.change_view(steps);
        Ok(())
    }

    fn known(&self, node: NodeId) -> Result<(), RehearsalError> {
        let known = self.state.config().is_some_and(|config| config.nodes.contains_key(&node));
        if known { Ok(()) } else { Err(RehearsalError::NoMember(node)) }
    }

    fn ask(&mut self, request: &Request, steps: &mut Vec<HistoryEvent>) -> Option<RequestId> {
        self.serial += 1;
        let id: RequestId = format!("rehearsal-{}", self.serial).parse().ok()?;
        if self.quorate {
            let what = What::Request { id: id.clone(), by: "you".into(), request: request.clone() };
            self.apply(None, what, steps);
        }
        Some(id)
    }

    fn configure(&mut self, text: &str, steps: &mut Vec<HistoryEvent>) -> Result<(), RehearsalError> {
        let reading = belay_config::read("cluster.conf", text);
        if reading.cluster.is_none() {
            let first = reading.of(belay_config::Severity::Error).next().map(ToString::to_string);
            return Err(RehearsalError::Config(first.unwrap_or_default()));
        }
        self.apply(None, What::Config { text: text.to_owned() }, steps);
        Ok(())
    }

    /// The membership changed: a new view, if those that are left may decide.
    fn change_view(&mut self, steps: &mut Vec<HistoryEvent>) {
        let quorum = self.state.config().map_or(1, |config| config.quorum());
        self.quorate = self.votes() >= quorum;
        if self.quorate {
            self.see(steps);
        }
    }

    fn votes(&self) -> u32 {
        let Some(config) = self.state.config() else { return 0 };
        self.online.iter().filter_map(|node| config.nodes.get(node)).map(|node| node.votes).sum()
    }

    fn see(&mut self, steps: &mut Vec<HistoryEvent>) {
        self.serial += 1;
        let view = self.world.view(&self.online, self.serial, &self.state);
        self.apply(None, What::View(view), steps);
    }

    /// Everything that follows by itself, until nothing is left to do or to become due.
    fn play_out(&mut self, steps: &mut Vec<HistoryEvent>) {
        let end = self.state.time() + HORIZON;
        for _ in 0..ROUNDS {
            if self.work(steps) {
                continue;
            }
            let Some(due) = self.state.wake_at_or_due().filter(|due| *due <= end) else { return };
            let time = due.max(self.state.time() + Span(1));
            self.apply(Some(time), What::Tick, steps);
        }
    }

    /// Has every host do what it has to do; tells whether there was anything.
    fn work(&mut self, steps: &mut Vec<HistoryEvent>) -> bool {
        let mut any = false;
        for node in self.online.clone() {
            let assignments = self.state.assignments(node, Index(u64::MAX));
            if let Some(wanted) = assignments.inventory_wanted
                && self.inventories.insert(node, wanted) != Some(wanted)
            {
                any = true;
                if let Some(what) = self.world.inventory(node, &self.state) {
                    self.apply_from(node, None, what, steps);
                }
            }
            for work in &assignments.work {
                if let Some(what) = self.world.carry_out(node, work) {
                    any = true;
                    self.apply_from(node, None, what, steps);
                }
            }
        }
        any
    }

    fn apply(&mut self, time: Option<Timestamp>, what: What, steps: &mut Vec<HistoryEvent>) {
        let from = self.online.first().copied().unwrap_or(NodeId(0));
        self.apply_from(from, time, what, steps);
    }

    fn apply_from(&mut self, from: NodeId, time: Option<Timestamp>, what: What, steps: &mut Vec<HistoryEvent>) {
        let time = time.unwrap_or(self.state.time());
        steps.extend(self.state.apply(&Entry { version: ENTRY_VERSION, from, time, what }));
    }

    /// The services that should run and would not, each with the reason.
    #[must_use]
    pub fn without_a_place(&self) -> BTreeMap<ServiceName, String> {
        let services = self.state.services().filter(|(_, record)| !record.frozen || record.died_frozen);
        let stranded = services.filter_map(|(name, record)| match &record.phase {
            Phase::Stopped { wanted: Wanted::Now } => {
                let reason = record.waiting.clone().unwrap_or_else(|| "there is no place for it".into());
                Some((name.clone(), reason))
            }
            Phase::Failed { at } => {
                Some((name.clone(), format!("it could not be stopped on {}", self.state.node_name(*at))))
            }
            phase if !self.quorate => {
                let lost = phase.owner().filter(|owner| !self.online.contains(owner))?;
                let lost = self.state.node_name(lost);
                Some((name.clone(), format!("it ran on {lost}, and the members that are left make no quorum")))
            }
            phase => {
                let owner = phase.owner().filter(|owner| !self.online.contains(owner))?;
                Some((name.clone(), self.stuck_behind(owner)))
            }
        });
        stranded.collect()
    }

    /// Why nothing happens to what a lost host ran.
    fn stuck_behind(&self, lost: NodeId) -> String {
        let name = self.state.node_name(lost);
        let no_method = self.state.victims().any(|(node, victim)| node == lost && victim.no_method);
        if no_method {
            format!("{name} has no fence method: somebody has to see that it is off (belay ack-fence {name})")
        } else if self.state.disarmed().is_some() {
            format!("it ran on {name}, and the cluster is disarmed")
        } else {
            format!("it ran on {name}, which has to be fenced first")
        }
    }

    /// Where each service runs.
    #[must_use]
    pub fn places(&self) -> BTreeMap<ServiceName, Option<NodeId>> {
        self.state.services().map(|(name, record)| (name.clone(), record.phase.owner())).collect()
    }
}
