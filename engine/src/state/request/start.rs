//! Enable and restart: requests that start a service.

use super::super::State;
use super::super::history::Cause;
use super::super::member::Standing;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord, Wanted};
use belay_proto::{Code, NodeId, ServiceName};

impl State {
    pub(super) fn enable(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        target: Option<NodeId>,
    ) -> Option<(Code, String)> {
        match &record.phase {
            Phase::Failed { .. } => {
                return Some((Code::Aborted, "a stop of it failed; disable it first, which cleans up".into()));
            }
            Phase::Started { owner } | Phase::Starting { owner } | Phase::Stopping { owner, .. } => {
                return Some((Code::Running, format!("it runs on {}", self.node_name(*owner))));
            }
            Phase::Migrating { .. } => return Some((Code::Running, "it is migrating".into())),
            Phase::Stopped { .. } | Phase::Disabled => {}
        }
        if let Some(refusal) = self.refuse_target(name, target) {
            return Some(refusal);
        }
        record.search = Search { wish: target, ..Search::default() };
        record.restarts.clear();
        let phase = Phase::Stopped { wanted: Wanted::Now };
        self.decide(name, record, phase, "enabled".into(), Cause::Before);
        None
    }

    /// Whether a member that was asked for cannot have the service.
    pub(in crate::state) fn refuse_target(&self, name: &ServiceName, target: Option<NodeId>) -> Option<(Code, String)> {
        let target = target?;
        let called = self.node_name(target);
        if !self.nodes.get(&target).is_some_and(|node| node.standing == Standing::Online) {
            return Some((Code::NoNode, format!("{called} is not online")));
        }
        if let Some(reason) = self.refuse_mode(target) {
            return Some((Code::Domain, reason));
        }
        let legal = self.config.as_ref().and_then(|c| c.vms.get(name)).is_some_and(|vm| self.legal(vm, target));
        (!legal).then(|| (Code::Domain, format!("its restricted failover domain does not contain {called}")))
    }

    pub(super) fn restart(&mut self, name: &ServiceName, record: &mut ServiceRecord) -> Option<(Code, String)> {
        match record.phase.clone() {
            Phase::Started { owner } => {
                self.stop_at(name, record, owner, AfterStop::Start { wish: Some(owner), avoid: None });
                None
            }
            Phase::Stopped { .. } => self.enable(name, record, None),
            Phase::Failed { .. } => Some((Code::Failure, "it has failed; disable it, which cleans up".into())),
            _ => Some((Code::Invalid, "it is disabled; enable it".into())),
        }
    }
}
