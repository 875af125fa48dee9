//! Relocate and migrate: requests that bring a service to another member.

use super::super::State;
use super::super::placement::Place;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord};
use belay_proto::{Code, NodeId, ServiceName};

impl State {
    pub(super) fn relocate(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        target: Option<NodeId>,
    ) -> Option<(Code, String)> {
        match record.phase.clone() {
            Phase::Started { owner } => {
                if let Some(refusal) = self.refuse_target(name, target) {
                    return Some(refusal);
                }
                let avoid = (target != Some(owner)).then_some(owner);
                // Nothing is stopped before it is clear that it can run elsewhere.
                let probe = ServiceRecord {
                    search: Search { wish: target, avoid, tried: avoid.into_iter().collect(), ..Search::default() },
                    ..record.clone()
                };
                match self.place(name, &probe, &self.load()) {
                    Place::On(_) => {}
                    Place::Wait { code, reason } => return Some((code, reason)),
                    Place::Exhausted => {
                        return Some((Code::Failure, "no other member can run it; it was left where it is".into()));
                    }
                }
                self.stop_at(name, record, owner, AfterStop::Start { wish: target, avoid });
                None
            }
            Phase::Stopped { .. } => self.enable(name, record, target),
            Phase::Failed { .. } => Some((Code::Aborted, "it has failed; disable it, which cleans up".into())),
            _ => Some((Code::Invalid, "it is disabled; enable it".into())),
        }
    }

    /// The checks are in the order of rgmanager.md §7.4.
    pub(super) fn migrate(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        to: NodeId,
    ) -> Option<(Code, String)> {
        let called = self.node_name(to);
        let configured = self.config.as_ref().is_some_and(|config| config.nodes.contains_key(&to));
        if !configured {
            return Some((Code::Invalid, format!("{called} is not in the configuration")));
        }
        if let Some((code, reason)) = self.refuse_target(name, Some(to)) {
            let code = if code == Code::Domain { Code::Depend } else { code };
            return Some((code, reason));
        }
        match record.phase.clone() {
            Phase::Started { owner } if owner == to => Some((Code::Success, String::new())),
            Phase::Started { owner } => {
                self.ask_move(name, record, owner, to);
                None
            }
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Some((Code::Again, "it is busy".into()))
            }
            _ => Some((Code::Failure, "it does not run".into())),
        }
    }
}
