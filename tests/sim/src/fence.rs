//! The fence executor, modelled on the daemon's: each attempt once, repeated reports, and agents that take time, fail,
//! hang, or have their effect later than they say.

use crate::sim::{DaemonEv, Ev, Sim, WorldEv};
use belay_engine::state::work::{Assignments, FenceWork, WorkKind};
use belay_proto::NodeId;
use belay_proto::entry::{FenceOutcome, What};
use std::collections::BTreeMap;

#[derive(Debug)]
enum Victim {
    /// Waits for quorum, or its agent runs.
    Running {
        attempt: u32,
        token: u64,
        cancelled: bool,
    },
    Done {
        attempt: u32,
        outcome: FenceOutcome,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Fencer {
    wanted: BTreeMap<NodeId, FenceWork>,
    victims: BTreeMap<NodeId, Victim>,
    tokens: u64,
    repeats: bool,
}

#[derive(Debug)]
pub(crate) enum FenceEv {
    Begin { victim: NodeId, token: u64 },
    Strikes { victim: NodeId, token: u64 },
    Fails { victim: NodeId, token: u64 },
    Again,
}

impl Sim {
    pub(crate) fn assign_fencing(&mut self, host: NodeId, assignments: &Assignments) {
        let Some(daemon) = self.daemon_mut(host) else { return };
        let fencer = &mut daemon.fencer;
        fencer.wanted = assignments
            .work
            .iter()
            .filter_map(|work| match &work.what {
                WorkKind::Fence(fence) => Some((fence.victim, fence.clone())),
                _ => None,
            })
            .collect();
        self.reconcile_fencing(host);
    }

    fn reconcile_fencing(&mut self, host: NodeId) {
        let Some(daemon) = self.daemon_mut(host) else { return };
        let fencer = &mut daemon.fencer;
        let wanted = &fencer.wanted;
        fencer.victims.retain(|node, victim| {
            let listed = |attempt: u32| wanted.get(node).is_some_and(|work| work.attempt == attempt);
            match victim {
                Victim::Running { attempt, cancelled, .. } => {
                    *cancelled |= !listed(*attempt);
                    true
                }
                Victim::Done { attempt, .. } => listed(*attempt),
            }
        });
        let mut begun = Vec::new();
        for (node, work) in &fencer.wanted {
            if !fencer.victims.contains_key(node) {
                fencer.tokens += 1;
                let token = fencer.tokens;
                fencer.victims.insert(*node, Victim::Running { attempt: work.attempt, token, cancelled: false });
                begun.push((*node, token));
            }
        }
        for (victim, token) in begun {
            self.daemon_after(host, 20, DaemonEv::Fence(FenceEv::Begin { victim, token }));
        }
    }

    pub(crate) fn fence_event(&mut self, host: NodeId, event: FenceEv) {
        match event {
            FenceEv::Begin { victim, token } => self.fence_begins(host, victim, token),
            FenceEv::Strikes { victim, token } => {
                if self.fencing_goes_on(host, victim, token) {
                    self.power_off(victim, "is fenced");
                    self.fenced_may_return(victim);
                    self.truth.proven_off(victim);
                    self.fencing_ended(host, victim, FenceOutcome::Confirmed { method: "bmc".into() });
                }
            }
            FenceEv::Fails { victim, token } => {
                if self.fencing_goes_on(host, victim, token) {
                    self.fencing_ended(host, victim, FenceOutcome::Failed { reason: "the BMC does not answer".into() });
                }
            }
            FenceEv::Again => {
                let Some(daemon) = self.daemon_mut(host) else { return };
                let done: Vec<(NodeId, u32, FenceOutcome)> = daemon
                    .fencer
                    .victims
                    .iter()
                    .filter_map(|(node, victim)| match victim {
                        Victim::Done { attempt, outcome } => Some((*node, *attempt, outcome.clone())),
                        Victim::Running { .. } => None,
                    })
                    .collect();
                daemon.fencer.repeats = !done.is_empty();
                if !done.is_empty() {
                    self.daemon_after(host, 5000, DaemonEv::Fence(FenceEv::Again));
                }
                for (victim, attempt, outcome) in done {
                    self.report(host, What::FenceOutcome { victim, attempt, outcome });
                }
            }
        }
    }

    /// Whether the attempt is still wanted; if not it is forgotten.
    fn fencing_goes_on(&mut self, host: NodeId, victim: NodeId, token: u64) -> bool {
        let Some(daemon) = self.daemon_mut(host) else { return false };
        match daemon.fencer.victims.get(&victim) {
            Some(Victim::Running { token: now, cancelled, .. }) if *now == token => {
                if *cancelled {
                    daemon.fencer.victims.remove(&victim);
                    self.reconcile_fencing(host);
                    return false;
                }
                true
            }
            _ => false,
        }
    }

    fn fence_begins(&mut self, host: NodeId, victim: NodeId, token: u64) {
        if !self.fencing_goes_on(host, victim, token) {
            return;
        }
        if !self.may_act(host) {
            return self.daemon_after(host, 100, DaemonEv::Fence(FenceEv::Begin { victim, token }));
        }
        self.begins_fencing(host, victim);
        // With two hosts that shoot at each other one has to be slower, as `delay` on one device has it in real life.
        let delay = if self.shape.two_node && victim.0 == 1 { 6000 } else { 0 };
        let slow = if self.rng.chance(self.odds.fence_slow) { self.rng.range(3000, 25_000) } else { 0 };
        let takes = self.rng.range(150, 2500) + delay + slow;
        if self.rng.chance(self.odds.fence_fails) {
            return self.daemon_after(host, takes, DaemonEv::Fence(FenceEv::Fails { victim, token }));
        }
        if self.rng.chance(self.odds.fence_hangs) {
            if self.rng.chance(40) {
                let late = self.rng.range(1000, 8000);
                self.after(late, Ev::World(WorldEv::PowerOff(victim, "is fenced by an agent that hung")));
            }
            return self.daemon_after(host, 10_000, DaemonEv::Fence(FenceEv::Fails { victim, token }));
        }
        self.daemon_after(host, takes, DaemonEv::Fence(FenceEv::Strikes { victim, token }));
    }

    fn fencing_ended(&mut self, host: NodeId, victim: NodeId, outcome: FenceOutcome) {
        let Some(daemon) = self.daemon_mut(host) else { return };
        let Some(Victim::Running { attempt, .. }) = daemon.fencer.victims.get(&victim) else { return };
        let attempt = *attempt;
        daemon.fencer.victims.insert(victim, Victim::Done { attempt, outcome: outcome.clone() });
        if !std::mem::replace(&mut daemon.fencer.repeats, true) {
            self.daemon_after(host, 5000, DaemonEv::Fence(FenceEv::Again));
        }
        self.report(host, What::FenceOutcome { victim, attempt, outcome });
        self.reconcile_fencing(host);
    }

    fn fenced_may_return(&mut self, victim: NodeId) {
        if !self.rng.chance(self.odds.stays_off) {
            let delay = self.rng.range(5000, 30_000);
            self.after(delay, Ev::World(WorldEv::PowerOn(victim)));
        }
    }
}
