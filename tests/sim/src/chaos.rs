//! Faults by chance: each seed draws which kinds there are and how often, so that some runs are all partitions and
//! others all sick hypervisors.

use crate::hypervisor::Origin;
use crate::rng::Rng;
use crate::sim::{Ev, Odds, Sim, WorldEv};
use belay_proto::NodeId;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    GuestDies,
    DaemonDies,
    DaemonDiesSoon,
    PowerCut,
    PowerCutAll,
    HostFreezes,
    DaemonFreezes,
    Partition,
    CorosyncDies,
    AgentDies,
    LibvirtSilent,
    DiskFull,
    QuorumFlickers,
    ClockJumps,
    Leaves,
    StartedByHand,
    MovedByHand,
}

const KINDS: [Fault; 17] = [
    Fault::GuestDies,
    Fault::DaemonDies,
    Fault::DaemonDiesSoon,
    Fault::PowerCut,
    Fault::PowerCutAll,
    Fault::HostFreezes,
    Fault::DaemonFreezes,
    Fault::Partition,
    Fault::CorosyncDies,
    Fault::AgentDies,
    Fault::LibvirtSilent,
    Fault::DiskFull,
    Fault::QuorumFlickers,
    Fault::ClockJumps,
    Fault::Leaves,
    Fault::StartedByHand,
    Fault::MovedByHand,
];

/// Which faults a run has.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    kinds: Vec<Fault>,
    every_ms: u64,
}

impl Mix {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut kinds = Vec::new();
        for kind in KINDS {
            if rng.chance(35) {
                let weight = rng.range(1, 3);
                (0..weight).for_each(|_| kinds.push(kind));
            }
        }
        if kinds.is_empty() {
            kinds.push(Fault::PowerCut);
        }
        Self { kinds, every_ms: rng.pick(&[400, 1500, 4000, 10_000]).unwrap_or(4000) }
    }
}

impl Odds {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut some = |most: u64| if rng.chance(40) { rng.range(1, most) } else { 0 };
        Self {
            start_fails: some(40),
            call_hangs: some(20),
            stubborn_guest: some(60),
            stop_fails: some(30),
            migration_lies: some(50),
            fence_fails: some(70),
            fence_hangs: some(30),
            event_lost: some(40),
            tail_lost: some(100),
            stays_off: some(40),
        }
    }
}

impl Sim {
    pub(crate) fn begin_chaos(&mut self) {
        let mix = Mix::draw(&mut self.rng);
        self.odds = Odds::draw(&mut self.rng);
        let text = format!("chaos: {mix:?} {:?}", self.odds);
        self.trace.fault(self.now, &text);
        self.chaos = Some(mix);
        let first = self.rng.range(0, 8000);
        self.after(first, Ev::World(WorldEv::Chaos));
        self.after(first + 500, Ev::World(WorldEv::Ask));
    }

    pub(crate) fn chaos_strikes(&mut self) {
        let Some(mix) = self.chaos.clone() else { return };
        let next = self.rng.range(mix.every_ms / 4, mix.every_ms * 2);
        self.after(next, Ev::World(WorldEv::Chaos));
        let ids = self.ids();
        let (Some(kind), Some(host)) = (self.rng.pick(&mix.kinds), self.rng.pick(&ids)) else { return };
        self.strike(kind, host);
    }

    fn strike(&mut self, kind: Fault, host: NodeId) {
        let now = self.now;
        let (short, long) = (self.rng.range(200, 6000), self.rng.range(1000, 40_000));
        match kind {
            Fault::GuestDies => {
                let running: Vec<String> =
                    self.hosts.get(&host).map(|h| h.hyper.domains.keys().cloned().collect()).unwrap_or_default();
                if let Some(name) = self.rng.pick(&running) {
                    self.kill_guest(host, &name);
                }
            }
            Fault::DaemonDies => self.kill_daemon(host),
            Fault::DaemonDiesSoon => {
                let after = self.rng.range(0, 60);
                if let Some(h) = self.hosts.get_mut(&host) {
                    h.dies_in = u32::try_from(after).ok();
                }
            }
            Fault::PowerCut => {
                self.power_off(host, "loses power");
                self.after(long, Ev::World(WorldEv::PowerOn(host)));
            }
            Fault::PowerCutAll => {
                for id in self.ids() {
                    self.power_off(id, "loses power");
                    let back = self.rng.range(1000, 12_000);
                    self.after(back, Ev::World(WorldEv::PowerOn(id)));
                }
            }
            Fault::HostFreezes => self.freeze(host, long / 2),
            Fault::DaemonFreezes => self.freeze_daemon(host, long),
            Fault::Partition => {
                let ids = self.ids();
                let cut = usize::try_from(self.rng.range(1, ids.len() as u64 - 1)).unwrap_or(1);
                let numbers: Vec<u32> = ids.iter().map(|id| id.0).collect();
                let turn = usize::try_from(self.rng.range(0, ids.len() as u64 - 1)).unwrap_or(0);
                let turned: Vec<u32> = numbers.iter().cycle().skip(turn).take(numbers.len()).copied().collect();
                let (one, other) = turned.split_at(cut);
                self.partition(&[one, other]);
                self.after(long, Ev::World(WorldEv::Rejoin));
            }
            Fault::CorosyncDies => self.corosync_dies(host),
            Fault::AgentDies => self.agent_dies(host),
            Fault::LibvirtSilent => {
                if let Some(h) = self.hosts.get_mut(&host) {
                    h.hyper.silent_until = now + long / 2;
                }
            }
            Fault::DiskFull => {
                if let Some(h) = self.hosts.get_mut(&host) {
                    h.disk.full_until = now + short;
                }
            }
            Fault::QuorumFlickers => self.quorum_flickers(host),
            Fault::ClockJumps => {
                let by = i64::try_from(self.rng.range(0, 7_200_000)).unwrap_or(0) - 3_600_000;
                self.shift_clock(host, by);
            }
            Fault::Leaves => {
                let stop = self.rng.chance(50);
                self.leave(host, stop);
            }
            Fault::StartedByHand => {
                let names: Vec<String> = self.shape.vms.iter().map(|vm| vm.name.clone()).collect();
                if let Some(name) = self.rng.pick(&names)
                    && self.hosts.get(&host).is_some_and(|h| h.powered && !h.hyper.present().contains_key(&name))
                {
                    self.create(host, &name, Origin::Other);
                }
            }
            Fault::MovedByHand => {
                let ids = self.ids();
                if let Some(to) = self.rng.pick(&ids).filter(|to| *to != host) {
                    let running: Vec<String> =
                        self.hosts.get(&host).map(|h| h.hyper.domains.keys().cloned().collect()).unwrap_or_default();
                    if let Some(name) = self.rng.pick(&running) {
                        self.move_by_hand(host, &name, to);
                    }
                }
            }
        }
    }
}
