//! What a story tells a simulated world to do, beyond its faults: daemons that stay dead, new configurations, and whether
//! anything is left to do.

use crate::scenario::Sign;
use crate::shape::Shape;
use crate::sim::{Ev, HostEv, Sim, WorldEv};
use belay_engine::node::Event;
use belay_proto::agent::AgentEvent;
use belay_proto::control::Verdict;
use belay_proto::{NodeId, RequestId};

impl Sim {
    /// Nothing starts a host's daemon again, or something does.
    pub(crate) fn stays_dead(&mut self, host: NodeId, dead: bool) {
        if let Some(h) = self.hosts.get_mut(&host) {
            h.stays_dead = dead;
        }
    }

    /// Time stops there even if nothing happens: whatever a story does then is not late.
    pub(crate) fn stops_at(&mut self, moment: u64) {
        let delay = moment.saturating_sub(self.now);
        self.after(delay, Ev::World(WorldEv::Moment));
    }

    /// `systemctl start belayd`.
    pub(crate) fn start_daemon_soon(&mut self, host: NodeId) {
        self.host_after(host, 100, HostEv::StartDaemon);
    }

    /// Whether a host has power.
    pub(crate) fn powered(&self, host: NodeId) -> bool {
        self.hosts.get(&host).is_some_and(|h| h.powered)
    }

    /// Whether somebody who asks a host's daemon gets an answer.
    pub(crate) fn can_be_asked(&self, host: NodeId) -> bool {
        let runs = |h: &&crate::sim::Host| h.frozen.is_none() && h.daemon.as_ref().is_some_and(|d| d.frozen.is_none());
        self.hosts.get(&host).filter(runs).is_some()
    }

    /// A hypervisor shows something of a guest that goes on existing.
    pub(crate) fn guest_shows(&mut self, host: NodeId, name: &str, what: Sign) {
        self.trace.fault(self.now, &format!("{name}: {what:?}"));
        let name = name.to_owned();
        match what {
            Sign::Reboot => self.witness(host, AgentEvent::Rebooted { name }),
            Sign::Suspended => self.witness(host, AgentEvent::Paused { name, why: "user".into() }),
            Sign::Resumed => self.witness(host, AgentEvent::Resumed { name }),
            Sign::IoError => {
                let detail = "vda: No space left on device".into();
                self.witness(host, AgentEvent::IoError { name: name.clone(), detail });
                self.witness(host, AgentEvent::Paused { name, why: "ioerror".into() });
            }
        }
    }

    /// What somebody was told, whether by the cluster or by a host that refused.
    pub(crate) fn told(&self, id: &str) -> Option<&Verdict> {
        let id: RequestId = id.parse().ok()?;
        let asked = self.truth.requests.get(&id)?;
        asked.answer.as_ref().or(asked.refusal.as_ref())
    }

    /// Whoever was refused by a host has turned away: no answer of the cluster is due.
    pub(crate) fn forget_refused(&mut self, id: &str) {
        let refused = |asked: &crate::truth::Asked| asked.refused && asked.answer.is_none();
        if let Ok(id) = id.parse::<RequestId>()
            && self.truth.requests.get(&id).is_some_and(refused)
        {
            self.truth.requests.remove(&id);
        }
    }

    /// A new `cluster.conf` lies on every host; the daemons that run read it.
    pub(crate) fn install(&mut self, shape: Shape) {
        (self.conf, self.conf_version) = (shape.conf(), self.conf_version + 1);
        self.shape = shape;
        let text = format!("version {} of the configuration is installed", self.conf_version);
        self.trace.fault(self.now, &text);
        for host in self.ids() {
            let (version, text) = (self.conf_version, self.conf.clone());
            if let Some(h) = self.hosts.get_mut(&host) {
                h.conf = (version, text.clone());
            }
            if self.can_be_asked(host) {
                self.node_event(host, Event::ConfigFile { version, text });
            }
        }
    }

    /// What a cluster has not finished yet, as far as those say who are there.
    pub(crate) fn busy_with(&self) -> Option<String> {
        let mut first = None;
        for (id, host) in &self.hosts {
            if !host.powered {
                continue;
            }
            let Some(daemon) = &host.daemon else { return Some(format!("node{id} has no daemon")) };
            if !daemon.node.quorate() {
                return Some(format!("node{id} is not quorate"));
            }
            let index = daemon.node.state().index();
            if *first.get_or_insert(index) != index {
                return Some(format!("node{id} is behind"));
            }
        }
        let daemon = self.hosts.values().find_map(|host| host.daemon.as_ref())?;
        let state = daemon.node.state();
        if let Some((victim, _)) = state.victims().find(|(_, victim)| !victim.no_method) {
            return Some(format!("node{victim} is to be fenced"));
        }
        let rests = |record: &belay_engine::state::service::ServiceRecord| {
            let waits = !matches!(record.phase.shown(), belay_proto::ServiceState::Stopped) || record.waiting.is_some();
            record.phase.rests() && record.queue.is_empty() && waits
        };
        let busy = state.services().find(|(_, record)| !rests(record));
        busy.map(|(name, record)| format!("{name} is {}", record.phase.shown()))
    }
}
