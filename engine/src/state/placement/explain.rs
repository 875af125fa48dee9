//! Saying why: what speaks against each host, and the one sentence a service waits with.

use super::super::State;
use super::super::service::ServiceRecord;
use super::choice::{Obstacle, Weighed};
use super::domain::Score;
use super::{Place, wait};
use belay_config::model::Vm;
use belay_proto::{Code, NodeId, NodeMode, ServiceName};

/// How many hosts a sentence names.
const NAMED: usize = 8;

/// What placement says of every host for one service, and where that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// Which service.
    pub service: ServiceName,
    /// Every host, ascending by id.
    pub hosts: Vec<HostVerdict>,
    /// Where it would be started if it had to be started now.
    pub place: Place,
}

/// What placement says of one host for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVerdict {
    /// Which.
    pub node: NodeId,
    /// How good it is by the failover domain.
    pub score: Score,
    /// It failed there just now, and is taken only if no other one can.
    pub avoided: bool,
    /// What speaks against it.
    pub obstacle: Option<Obstacle>,
    /// The same in words; empty when nothing does.
    pub reason: String,
}

impl State {
    /// What placement says of every host for a service, as if it had to be started now.
    #[must_use]
    pub fn verdicts(&self, name: &ServiceName) -> Option<Verdicts> {
        let (record, vm) = (self.services.get(name)?, self.vm(name)?);
        let mut board = self.board();
        board.remove(&self.rules, name, Some(vm), record);
        let verdict = |host: Weighed| HostVerdict {
            node: host.node,
            score: self.preference(vm, host.node, record.phase.owner()).score,
            avoided: record.search.avoid == Some(host.node),
            obstacle: host.obstacle,
            reason: host.obstacle.map(|what| self.in_words(name, host.node, what)).unwrap_or_default(),
        };
        let hosts = self.weigh(name, record, vm, &board).into_iter().map(verdict).collect();
        Some(Verdicts { service: name.clone(), hosts, place: self.place(name, record, &board) })
    }

    /// What on a host keeps a service from it, for a request that names that host.
    #[must_use]
    pub fn no_room_on(&self, name: &ServiceName, record: &ServiceRecord, node: NodeId) -> Option<(Obstacle, String)> {
        let vm = self.vm(name)?;
        let mut board = self.board();
        // A record that is being changed is not among the services, and so not on the board.
        if self.services.contains_key(name) {
            board.remove(&self.rules, name, Some(vm), record);
        }
        let what = self.obstacle(name, record, vm, node, &board).filter(|what| what.is_about_room())?;
        Some((what, self.in_words(name, node, what)))
    }

    /// Why no other host can have a service that may stay where it is.
    pub(crate) fn why_nowhere(&self, name: &ServiceName, record: &ServiceRecord) -> String {
        let nobody = || "no other member can run it".to_owned();
        let Some(vm) = self.vm(name) else { return nobody() };
        let weighed = self.weigh(name, record, vm, &self.board());
        let about_room = weighed.iter().any(|host| host.obstacle.is_some_and(Obstacle::is_about_room));
        match self.no_place(name, vm, &weighed) {
            Place::Wait { reason, .. } if about_room => reason,
            _ => nobody(),
        }
    }

    /// An obstacle as a sentence about the host.
    pub(crate) fn in_words(&self, name: &ServiceName, node: NodeId, obstacle: Obstacle) -> String {
        let here = self.node_name(node);
        match obstacle {
            Obstacle::Offline => format!("{here} is not online"),
            Obstacle::NotReady => format!("the hypervisor of {here} has not answered yet"),
            Obstacle::Mode(NodeMode::Standby) => format!("{here} is in standby"),
            Obstacle::Mode(_) => format!("{here} is in maintenance"),
            Obstacle::Domain => format!("its restricted failover domain does not contain {here}"),
            Obstacle::Suspect(other) => {
                format!("a copy may have been left on {}, so it may not start on {here}", self.node_name(other))
            }
            Obstacle::NotEmpty => format!("{here} runs {}, and it has to be alone", self.occupant(node, false)),
            Obstacle::Exclusive => format!("{here} runs {}, which has to be alone", self.occupant(node, true)),
            Obstacle::Together(other) => {
                format!("rule {} wants it on {}, not on {here}", self.block_rule(name), self.node_name(other))
            }
            Obstacle::Apart(rule) => {
                format!(
                    "rule {} keeps it away from {} on {here}",
                    self.rule_name(rule),
                    self.kept_apart(rule, name, node)
                )
            }
            Obstacle::Memory { needs, free } => format!("{here} has {free} of {needs} MiB free"),
            Obstacle::Vcpus { needs, free } => format!("{here} has {free} of {needs} CPUs free"),
            Obstacle::Tried => format!("it could not be started on {here}"),
        }
    }

    fn occupant(&self, node: NodeId, exclusive: bool) -> String {
        let wanted = |name: &ServiceName| !exclusive || self.vm(name).is_some_and(|vm| vm.exclusive.is_some());
        let mut there = self.services.iter().filter(|(name, record)| record.phase.may_run_on(node) && wanted(name));
        there.next().map_or_else(|| "another VM".to_owned(), |(name, _)| name.to_string())
    }

    fn kept_apart(&self, rule: usize, own: &ServiceName, node: NodeId) -> String {
        let vms = self.cluster().and_then(|config| config.placement.affinities.get(rule)).map(|rule| &rule.vms);
        let there = |name: &&ServiceName| self.services.get(name).is_some_and(|r| r.phase.may_run_on(node));
        let other = vms.into_iter().flatten().filter(|name| *name != own).find(there);
        other.map_or_else(|| "another VM".to_owned(), ToString::to_string)
    }

    /// Why no host can have a service.
    pub(crate) fn no_place(&self, name: &ServiceName, vm: &Vm, weighed: &[Weighed]) -> Place {
        let about_room: Vec<&Weighed> =
            weighed.iter().filter(|host| host.obstacle.is_some_and(Obstacle::is_about_room)).collect();
        let not_ready = self.named(weighed, |what| what == Obstacle::NotReady);
        if about_room.is_empty() && !not_ready.is_empty() {
            return wait(Code::Domain, format!("the hypervisor of {} has not answered yet", not_ready.join(", ")));
        }
        let Some(first) = about_room.first().and_then(|host| host.obstacle) else {
            return wait(Code::Domain, self.nobody_there(vm, weighed));
        };
        let only = |kind: fn(Obstacle) -> bool| about_room.iter().all(|host| host.obstacle.is_some_and(kind));
        let of_one_kind =
            only(|what| matches!(what, Obstacle::Memory { .. })) || only(|what| matches!(what, Obstacle::Vcpus { .. }));
        let opening = match first {
            Obstacle::Memory { needs, .. } if of_one_kind => format!("no host has {needs} MiB free"),
            Obstacle::Vcpus { needs, .. } if of_one_kind => format!("no host has {needs} CPUs free"),
            _ => "no host can take it now".to_owned(),
        };
        let mut parts: Vec<String> = about_room
            .iter()
            .take(NAMED)
            .filter_map(|host| Some((host.node, host.obstacle?)))
            .map(|(node, what)| match what {
                Obstacle::Memory { free, .. } | Obstacle::Vcpus { free, .. } if of_one_kind => {
                    format!("{} has {free}", self.node_name(node))
                }
                other => self.in_words(name, node, other),
            })
            .collect();
        if about_room.len() > NAMED {
            parts.push(format!("{} more", about_room.len() - NAMED));
        }
        let rules_only = only(|what| what.code() == Code::Depend);
        let code = if rules_only { Code::Depend } else { Code::Domain };
        wait(code, format!("{opening}: {}", parts.join(", ")))
    }

    fn named(&self, weighed: &[Weighed], wanted: impl Fn(Obstacle) -> bool) -> Vec<String> {
        let hosts = weighed.iter().filter(|host| host.obstacle.is_some_and(&wanted));
        hosts.map(|host| self.node_name(host.node)).collect()
    }

    /// No host that the domain allows for can be had at all.
    fn nobody_there(&self, vm: &Vm, weighed: &[Weighed]) -> String {
        let legal: Vec<Weighed> = weighed.iter().filter(|host| self.legal(vm, host.node)).copied().collect();
        let kept: Vec<String> = [NodeMode::Maintenance, NodeMode::Standby]
            .iter()
            .map(|mode| (mode, self.named(&legal, |what| what == Obstacle::Mode(*mode))))
            .filter(|(_, names)| !names.is_empty())
            .map(|(mode, names)| format!("{} in {}", names.join(", "), mode.word()))
            .collect();
        let domain = vm.domain.as_ref().filter(|_| legal.len() < weighed.len());
        let nobody = domain.map_or_else(
            || "no member can run it".to_owned(),
            |domain| format!("no member of its restricted failover domain {domain} is online"),
        );
        if kept.is_empty() { nobody } else { format!("{nobody}: {}", kept.join(", ")) }
    }
}
