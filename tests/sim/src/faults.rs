//! What the world does to hosts and daemons: power, crashes, freezing, partitions.

use crate::sim::{Ev, HostEv, Sim, WorldEv};
use belay_engine::node::Event;
use belay_proto::NodeId;
use belay_proto::entry::GoneReason;

impl Sim {
    pub(crate) fn world_event(&mut self, event: WorldEv) {
        match event {
            WorldEv::Reform(host) => self.reform(host),
            WorldEv::PowerOn(host) => self.power_on(host),
            // What was to go wrong later does not, once everything works.
            WorldEv::PowerOff(..) | WorldEv::Split(..) | WorldEv::Asks(..) | WorldEv::BroughtBack(..)
                if self.healed => {}
            WorldEv::PowerOff(host, why) => {
                self.power_off(host, why);
                let delay = self.rng.range(5000, 30_000);
                self.after(delay, Ev::World(WorldEv::PowerOn(host)));
            }
            WorldEv::Thaw(host) => self.thaw(host),
            WorldEv::ThawDaemon(host, life) => self.thaw_daemon(host, life),
            WorldEv::CorosyncUp(host, boot) => self.corosync_up(host, boot),
            WorldEv::AgentUp(host, life) => self.agent_up(host, life),
            WorldEv::Rejoin => self.rejoin(),
            WorldEv::Split(one, other) => self.partition(&[&one, &other]),
            WorldEv::ConfigArrives(host) => self.config_arrives(host),
            WorldEv::BroughtBack(host, name) => self.starts_by_hand(host, &name),
            WorldEv::Asks(host, request) => self.ask_anew(host, &request),
            WorldEv::Moment => {}
            WorldEv::Chaos => self.chaos_strikes(),
            WorldEv::Ask => self.admin_asks(),
        }
    }

    /// Switches a host on. Its corosync and its daemon come up after a while.
    pub fn power_on(&mut self, host: NodeId) {
        let Some(h) = self.hosts.get_mut(&host).filter(|h| !h.powered) else { return };
        h.powered = true;
        h.boots += 1;
        h.corosync = true;
        h.group = None;
        h.verdict = None;
        h.waits_for_all = true;
        self.trace.fault(self.now, &format!("node{host} is powered on"));
        let delay = self.rng.range(0, 800);
        self.host_after(host, delay, HostEv::StartDaemon);
        self.connectivity_changed();
    }

    /// Cuts a host's power.
    pub fn power_off(&mut self, host: NodeId, why: &str) {
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered) else { return };
        (h.powered, h.corosync, h.frozen, h.dies_in) = (false, false, None, None);
        h.hyper = crate::hypervisor::Hypervisor::default();
        self.trace.fault(self.now, &format!("node{host} {why}"));
        self.lose_daemon(host);
        self.truth.host_off(host);
        self.connectivity_changed();
    }

    /// Kills a daemon with what it has in memory; its domains live on.
    pub fn kill_daemon(&mut self, host: NodeId) {
        if self.daemon(host).is_none() {
            return;
        }
        self.trace.fault(self.now, &format!("the daemon of node{host} is killed"));
        self.lose_daemon(host);
        let delay = self.rng.range(100, 2000);
        self.host_after(host, delay, HostEv::StartDaemon);
    }

    /// A daemon that was told to leave is gone.
    pub(crate) fn daemon_left(&mut self, host: NodeId) {
        self.trace.note(self.now, host, || "daemon leaves".into());
        self.lose_daemon(host);
        let delay = self.rng.range(8000, 45_000);
        self.host_after(host, delay, HostEv::StartDaemon);
    }

    fn lose_daemon(&mut self, host: NodeId) {
        let Some(h) = self.hosts.get_mut(&host) else { return };
        let Some(daemon) = h.daemon.take() else { return };
        // Onto a full disk nothing gets.
        let room = if h.disk.full_until > self.now { (0, 0) } else { (h.disk.pending.len() as u64, 3) };
        let kept = usize::try_from(self.rng.range(0, room.0)).unwrap_or(0);
        let torn = usize::try_from(self.rng.range(0, room.1)).unwrap_or(0);
        if let Err(reason) = h.disk.crash(kept, torn) {
            self.violated("the store", format!("node{host}: {reason}"));
        }
        self.asker_lost(host);
        self.detached(host, daemon);
    }

    /// Stops everything on a host, as a hung kernel does, for so long.
    pub fn freeze(&mut self, host: NodeId, for_ms: u64) {
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered && h.frozen.is_none()) else { return };
        h.frozen = Some(Vec::new());
        self.trace.fault(self.now, &format!("node{host} freezes for {for_ms} ms"));
        self.connectivity_changed();
        self.after(for_ms, Ev::World(WorldEv::Thaw(host)));
    }

    pub(crate) fn thaw(&mut self, host: NodeId) {
        let Some(waiting) = self.hosts.get_mut(&host).and_then(|h| h.frozen.take()) else { return };
        self.trace.fault(self.now, &format!("node{host} thaws"));
        for event in waiting {
            self.after(0, event);
        }
        self.connectivity_changed();
    }

    /// Stops only a daemon; its corosync goes on.
    pub fn freeze_daemon(&mut self, host: NodeId, for_ms: u64) {
        let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.frozen.is_none()) else { return };
        daemon.frozen = Some(Vec::new());
        let life = daemon.life;
        self.trace.fault(self.now, &format!("the daemon of node{host} freezes for {for_ms} ms"));
        self.after(for_ms, Ev::World(WorldEv::ThawDaemon(host, life)));
    }

    pub(crate) fn thaw_daemon(&mut self, host: NodeId, life: u64) {
        let waiting =
            self.daemon_mut(host).filter(|daemon| daemon.life == life).and_then(|daemon| daemon.frozen.take());
        for event in waiting.unwrap_or_default() {
            self.after(0, event);
        }
    }

    /// A guest's process dies.
    pub fn kill_guest(&mut self, host: NodeId, name: &str) {
        self.truth.domain_died(host, name);
        self.end_domain(host, name, GoneReason::Died);
    }

    /// Tells a daemon to end.
    pub fn leave(&mut self, host: NodeId, stop_vms: bool) {
        if self.daemon(host).is_some_and(|daemon| daemon.frozen.is_none()) {
            self.trace.fault(self.now, &format!("the daemon of node{host} is told to leave (stop: {stop_vms})"));
            self.node_event(host, Event::Leave { stop_vms });
        }
    }

    /// Everything works again: power, network, disks; nothing fails any more.
    pub fn heal(&mut self) {
        self.trace.fault(self.now, "from here on everything works");
        self.odds = crate::swarm::Odds::default();
        (self.chaos, self.healed) = (None, true);
        self.rejoin();
        self.persons_switch_on();
        for host in self.ids() {
            let now = self.now;
            let Some(h) = self.hosts.get_mut(&host) else { continue };
            h.disk.full_until = h.disk.full_until.min(now);
            h.hyper.silent_until = h.hyper.silent_until.min(now);
            h.hyper.wedged.clear();
            h.dies_in = None;
            self.thaw(host);
            if let Some(life) = self.daemon(host).map(|daemon| daemon.life) {
                self.thaw_daemon(host, life);
            }
        }
    }

    /// Whoever finds a host off switches it on, unless the cluster says that it is about to.
    pub(crate) fn persons_switch_on(&mut self) {
        for host in self.ids() {
            let cares = |daemon: &crate::sim::Daemon| {
                let state = daemon.node.state();
                state.is_being_switched_on(host) || state.victims().any(|(id, victim)| id == host && !victim.no_method)
            };
            let quorate = self.hosts.values().filter_map(|h| h.daemon.as_ref()).filter(|daemon| daemon.node.quorate());
            if !quorate.into_iter().any(cares) {
                self.power_on(host);
            }
        }
    }

    /// Brings up all hosts at once.
    pub fn power_on_all(&mut self) {
        for host in self.ids() {
            self.power_on(host);
        }
    }

    /// A daemon dies after so many more of its actions.
    pub fn daemon_dies_in(&mut self, host: NodeId, actions: u32) {
        if let Some(h) = self.hosts.get_mut(&host) {
            h.dies_in = Some(actions);
        }
    }

    /// A host's disk is full for so long.
    pub fn fill_disk(&mut self, host: NodeId, for_ms: u64) {
        let until = self.now + for_ms;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.disk.full_until = until;
        }
    }

    /// A host's libvirt answers nothing for so long.
    pub fn silence_libvirt(&mut self, host: NodeId, for_ms: u64) {
        let until = self.now + for_ms;
        if let Some(h) = self.hosts.get_mut(&host) {
            h.hyper.silent_until = until;
        }
    }

    /// How many hosts were fenced or vouched for.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        self.truth.fenced
    }

    /// How many starts were begun.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.truth.starts
    }

    /// A host's calendar jumps.
    pub fn shift_clock(&mut self, host: NodeId, by_ms: i64) {
        self.trace.fault(self.now, &format!("the clock of node{host} jumps by {by_ms} ms"));
        if let Some(h) = self.hosts.get_mut(&host) {
            h.wall_skew += by_ms;
        }
        self.truth.clock_jumped = true;
    }
}
