//! Faults by chance: what each kind of strike does to the world. Which kinds a run has is drawn in [`crate::swarm`].

use crate::hypervisor::Origin;
use crate::rng::Rng;
use crate::sim::{Ev, Sim, WorldEv};
use crate::swarm::Chaos;
use belay_proto::entry::Request;
use belay_proto::{NodeId, ServiceName};

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

faults! {
    /// A guest's process dies.
    GuestDies,
    /// All guests of a host die.
    GuestsDie,
    /// A guest cannot be stopped for a while.
    GuestWedged,
    /// kill -9 of a daemon.
    DaemonDies,
    /// The same, at one of its next actions.
    DaemonDiesSoon,
    /// A host loses its power and comes back.
    PowerCut,
    /// All of them do.
    PowerCutAll,
    /// A host loses its power, and comes back with an older copy of its store.
    OldStore,
    /// A hung kernel.
    HostFreezes,
    /// A daemon that gets no time.
    DaemonFreezes,
    /// Two sides that do not hear each other.
    Partition,
    /// The same, again and again.
    Flapping,
    /// One host does not hear another one.
    OneWay,
    /// The ring's own process dies.
    CorosyncDies,
    /// The libvirt agent dies.
    AgentDies,
    /// libvirt answers nothing.
    LibvirtSilent,
    /// libvirtd is started anew.
    LibvirtRestarts,
    /// A full disk.
    DiskFull,
    /// The quorum service changes its mind.
    QuorumFlickers,
    /// A calendar jumps.
    ClockJumps,
    /// A daemon is told to leave.
    Leaves,
    /// `virsh start` behind Belay's back.
    StartedByHand,
    /// `virsh migrate` behind Belay's back.
    MovedByHand,
    /// Many requests at once.
    Burst,
    /// A person makes sure that a host is off, and says so.
    Vouched,
    /// A new version of the configuration.
    ConfigChanges,
}

impl Sim {
    pub(crate) fn begin_chaos(&mut self, chaos: Chaos) {
        self.trace.fault(self.now, &chaos.words(&self.odds));
        self.chaos = Some(chaos);
        for host in self.ids() {
            if self.rng.chance(self.odds.clock_off) {
                let by = i64::try_from(self.rng.range(0, 7_200_000)).unwrap_or(0) - 3_600_000;
                let drift = i64::try_from(self.rng.range(0, 3000)).unwrap_or(0) - 1500;
                if let Some(h) = self.hosts.get_mut(&host) {
                    (h.wall_skew, h.drift_ppm) = (by, drift);
                }
            }
        }
        let first = self.rng.range(0, 8000);
        self.after(first, Ev::World(WorldEv::Chaos));
        self.after(first + 500, Ev::World(WorldEv::Ask));
    }

    pub(crate) fn chaos_strikes(&mut self) {
        let Some(chaos) = &mut self.chaos else { return };
        let number = chaos.strikes;
        let (mut stroke, kind) = chaos.next_strike();
        self.after(stroke.next_ms, Ev::World(WorldEv::Chaos));
        let ids = self.ids();
        if let (true, Some(kind), Some(host)) = (stroke.counts, kind, stroke.rng.pick(&ids)) {
            self.trace.fault(self.now, &format!("strike {number}: {kind:?} on node{host}"));
            self.strike(kind, host, &mut stroke.rng);
        }
    }

    fn some_guest(&self, host: NodeId, rng: &mut Rng) -> Option<String> {
        let running: Vec<String> = self.hosts.get(&host)?.hyper.domains.keys().cloned().collect();
        rng.pick(&running)
    }

    fn strike(&mut self, kind: Fault, host: NodeId, rng: &mut Rng) {
        let (short, long) = (rng.range(200, 6000), rng.range(1000, 40_000));
        match kind {
            Fault::GuestDies => {
                if let Some(name) = self.some_guest(host, rng) {
                    self.kill_guest(host, &name);
                }
            }
            Fault::GuestsDie => {
                while let Some(name) = self.some_guest(host, rng) {
                    self.kill_guest(host, &name);
                }
            }
            Fault::GuestWedged => {
                if let Some(name) = self.some_guest(host, rng) {
                    self.wedge_guest(host, &name, long * 3);
                    self.somebody_fights_it(&name, rng);
                }
            }
            Fault::StartedByHand => self.strike_by_starting(host, rng),
            Fault::MovedByHand => {
                let ids = self.ids();
                let (to, name) = (rng.pick(&ids).filter(|to| *to != host), self.some_guest(host, rng));
                if let (Some(to), Some(name)) = (to, name) {
                    self.move_by_hand(host, &name, to);
                }
            }
            Fault::AgentDies => self.agent_dies(host),
            Fault::LibvirtSilent => self.silence_libvirt(host, long / 2),
            Fault::LibvirtRestarts => self.restart_libvirt(host, short / 2),
            Fault::Leaves => self.leave(host, short.is_multiple_of(2)),
            Fault::Burst => self.ask_many(rng),
            Fault::Vouched => self.vouch(host, rng),
            Fault::ConfigChanges => self.change_config(host, rng),
            _ => self.strike_host(kind, host, (short, long), rng),
        }
    }

    /// A person tries to get rid of a guest that cannot be stopped, and in the end to have it run again.
    fn somebody_fights_it(&mut self, name: &str, rng: &mut Rng) {
        let (ids, Ok(service)) = (self.ids(), ServiceName::vm(name)) else { return };
        if rng.chance(50) {
            return;
        }
        let disable = Request::Disable { service: service.clone() };
        let requests = [disable.clone(), disable, Request::Enable { service, target: None, by_domain: false }];
        let mut at = 0;
        for request in requests {
            at += rng.range(500, 25_000);
            let through = rng.pick(&ids).unwrap_or_default();
            self.after(at, Ev::World(WorldEv::Asks(through, Box::new(request))));
        }
    }

    fn strike_host(&mut self, kind: Fault, host: NodeId, (short, long): (u64, u64), rng: &mut Rng) {
        match kind {
            Fault::DaemonDies => self.kill_daemon(host),
            Fault::DaemonDiesSoon => self.daemon_dies_in(host, u32::try_from(rng.range(0, 60)).unwrap_or(0)),
            Fault::PowerCut => {
                self.power_off(host, "loses power");
                self.after(long, Ev::World(WorldEv::PowerOn(host)));
            }
            Fault::PowerCutAll => {
                for id in self.ids() {
                    self.power_off(id, "loses power");
                    self.after(rng.range(1000, 12_000), Ev::World(WorldEv::PowerOn(id)));
                }
            }
            Fault::OldStore => self.lose_store(host, long, rng),
            Fault::HostFreezes => self.freeze(host, long / 2),
            Fault::DaemonFreezes => self.freeze_daemon(host, long),
            Fault::Partition => {
                let (one, other) = self.draw_sides(rng);
                self.partition(&[&one, &other]);
                self.after(long, Ev::World(WorldEv::Rejoin));
            }
            Fault::Flapping => self.flap(rng),
            Fault::OneWay => {
                let ids = self.ids();
                if let Some(to) = rng.pick(&ids) {
                    self.cut_one_way(host, to);
                    self.after(long, Ev::World(WorldEv::Rejoin));
                }
            }
            Fault::CorosyncDies => self.corosync_dies(host),
            Fault::DiskFull => self.fill_disk(host, short),
            Fault::QuorumFlickers => self.quorum_flickers(host),
            Fault::ClockJumps => {
                let by = i64::try_from(rng.range(0, 7_200_000)).unwrap_or(0) - 3_600_000;
                self.shift_clock(host, by);
            }
            _ => {}
        }
    }

    fn strike_by_starting(&mut self, host: NodeId, rng: &mut Rng) {
        let names: Vec<String> = self.shape.vms.iter().map(|vm| vm.name.clone()).collect();
        if let Some(name) = rng.pick(&names)
            && self.hosts.get(&host).is_some_and(|h| h.powered && !h.hyper.present().contains_key(&name))
        {
            self.create(host, &name, Origin::Other);
        }
    }
}
