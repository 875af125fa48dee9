//! Enable and restart: requests that start a service.

use super::super::State;
use super::super::history::Cause;
use super::super::member::{NodeRecord, Standing};
use super::super::placement::Place;
use super::super::placement::choice::Obstacle;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord, Wanted};
use super::{Refusal, Taken};
use belay_proto::{Code, NodeId, NodeMode, ServiceName};

/// Where an administrator wants a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whither {
    /// On this member (`-m`).
    Member(NodeId),
    /// On the member where the command was typed, if it may have it; otherwise wherever placement says.
    Typed(Option<NodeId>),
    /// Wherever placement says (`-F`).
    Best,
}

impl State {
    pub(super) fn enable(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        whither: Whither,
    ) -> Result<Taken, Refusal> {
        match &record.phase {
            Phase::Failed { .. } => {
                let code = if whither == Whither::Best { Code::Failure } else { Code::Aborted };
                return Err((code, "a stop of it failed; disable it first, which cleans up".into()));
            }
            Phase::Started { owner } | Phase::Starting { owner } | Phase::Stopping { owner, .. }
                if !self.nodes.get(owner).is_some_and(NodeRecord::in_view) =>
            {
                let place = self.node_name(*owner);
                let reason = format!("{place} had it and is lost; it is started elsewhere once {place} is proven down");
                return Err((Code::Fencing, reason));
            }
            Phase::Started { owner } | Phase::Starting { owner } | Phase::Stopping { owner, .. } => {
                return Err((Code::Running, self.runs_already(*owner, &record.phase, whither)));
            }
            Phase::Migrating { to, .. } => {
                return Err((Code::Running, format!("it is migrating to {}", self.node_name(*to))));
            }
            Phase::Stopped { .. } | Phase::Disabled => {}
        }
        self.refuse_while_locked()?;
        let wish = match whither {
            Whither::Member(target) => {
                self.refuse_target(name, target)?;
                self.refuse_without_room(name, record, target)?;
                Some(target)
            }
            Whither::Typed(here) => here.filter(|here| self.may_have(name, *here)),
            Whither::Best => None,
        };
        record.search = Search { wish, ..Search::default() };
        record.restarts.clear();
        let phase = Phase::Stopped { wanted: Wanted::Now };
        self.decide(name, record, phase, "enabled".into(), Cause::Before);
        Ok(Taken::UnderWay)
    }

    fn runs_already(&self, owner: NodeId, phase: &Phase, whither: Whither) -> String {
        let place = self.node_name(owner);
        match (phase, whither) {
            (Phase::Started { .. }, Whither::Member(target)) if target != owner => {
                format!("it runs on {place}; relocate or migrate it to move it")
            }
            (Phase::Started { .. }, _) => format!("it runs on {place}"),
            (Phase::Starting { .. }, _) => format!("it is being started on {place}"),
            _ => format!("it is being restarted from {place}"),
        }
    }

    /// Whether a member may have the service now, as far as it is a question of that member alone.
    fn may_have(&self, name: &ServiceName, node: NodeId) -> bool {
        let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
        self.nodes.get(&node).is_some_and(NodeRecord::takes_services) && vm.is_some_and(|vm| self.legal(vm, node))
    }

    /// Whether a member that was asked for cannot have the service.
    pub(in crate::state) fn refuse_target(&self, name: &ServiceName, target: NodeId) -> Result<(), Refusal> {
        let called = self.node_name(target);
        let node = self.nodes.get(&target);
        let Some(node) = node.filter(|node| node.standing == Standing::Online) else {
            return Err((Code::NoNode, format!("{called} is not online")));
        };
        if node.mode != NodeMode::Active {
            return Err((Code::Domain, format!("{called} is in {}", node.mode.word())));
        }
        let legal = self.config.as_ref().and_then(|c| c.vms.get(name)).is_some_and(|vm| self.legal(vm, target));
        if legal {
            Ok(())
        } else {
            Err((Code::Domain, format!("its restricted failover domain does not contain {called}")))
        }
    }

    /// Whether what is on a member keeps the service from it. An exclusive service may get the place of a less important one,
    /// and otherwise finds another.
    pub(super) fn refuse_without_room(
        &self,
        name: &ServiceName,
        record: &ServiceRecord,
        target: NodeId,
    ) -> Result<(), Refusal> {
        match self.no_room_on(name, record, target) {
            Some((Obstacle::NotEmpty, _)) if record.phase.owner().is_none() => Ok(()),
            Some((what, reason)) => Err((what.code(), reason)),
            None => Ok(()),
        }
    }

    /// Whether what the service depends on keeps it from being started.
    fn refuse_without_dependency(&self, name: &ServiceName) -> Result<(), Refusal> {
        match self.vm(name).and_then(|vm| self.dependency_missing(vm)) {
            Some(Place::Wait { code, reason }) => Err((code, reason)),
            _ => Ok(()),
        }
    }

    pub(super) fn restart(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        typed: Option<NodeId>,
    ) -> Result<Taken, Refusal> {
        match record.phase.clone() {
            Phase::Started { owner } => {
                // To stop it and then not to be allowed to start it is no restart.
                self.refuse_while_locked()?;
                if let Some(reason) = self.refuse_mode(owner) {
                    return Err((Code::Domain, format!("{reason} and may not start it again; relocate it")));
                }
                self.refuse_without_dependency(name)?;
                self.stop_at(name, record, owner, AfterStop::Start { wish: Some(owner), avoid: None });
                Ok(Taken::UnderWay)
            }
            Phase::Stopped { .. } => self.enable(name, record, Whither::Typed(typed)),
            Phase::Failed { .. } => Err((Code::Failure, "it has failed; disable it, which cleans up".into())),
            Phase::Disabled => Err((Code::Invalid, "it is disabled; enable it".into())),
            // It waited for its turn until it rests.
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Err((Code::Again, "it is busy".into()))
            }
        }
    }

    /// Stopped to be started where it was. Nothing else is waited for, or a restart would be a stop.
    pub(crate) fn restart_in_place(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
        let ready = self.nodes.get(&owner).is_some_and(|node| node.ready);
        if ready && vm.is_some_and(|vm| self.may_start_in_place(record, vm, owner)) {
            self.start_on(name, record, owner);
        }
    }
}
