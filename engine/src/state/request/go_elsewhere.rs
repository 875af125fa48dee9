//! Relocate and migrate: requests that bring a service to another member.

use super::super::State;
use super::super::history::Cause;
use super::super::member::NodeRecord;
use super::super::placement::Place;
use super::super::placement::choice::Obstacle;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord, Wanted};
use super::{Refusal, Taken};
use belay_proto::{Code, NodeId, ServiceName};

impl State {
    pub(super) fn relocate(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        target: Option<NodeId>,
    ) -> Result<Taken, Refusal> {
        match record.phase.clone() {
            Phase::Started { owner } => {
                let search = self.search_elsewhere(name, target, Some(owner))?;
                self.refuse_without_place(name, record, &search, owner)?;
                let then = AfterStop::Start { wish: search.wish, avoid: search.avoid };
                self.stop_at(name, record, owner, then);
                Ok(Taken::UnderWay)
            }
            Phase::Stopped { .. } => {
                record.search = self.search_elsewhere(name, target, record.last_owner)?;
                let phase = Phase::Stopped { wanted: Wanted::Now };
                self.decide(name, record, phase, "to be started on another member".into(), Cause::Before);
                Ok(Taken::UnderWay)
            }
            Phase::Failed { .. } => Err((Code::Aborted, "it has failed; disable it, which cleans up".into())),
            Phase::Disabled => Err((Code::Invalid, "it is disabled; enable it".into())),
            // It waited for its turn until it rests.
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Err((Code::Again, "it is busy".into()))
            }
        }
    }

    fn search_elsewhere(
        &self,
        name: &ServiceName,
        target: Option<NodeId>,
        from: Option<NodeId>,
    ) -> Result<Search, Refusal> {
        self.refuse_while_locked()?;
        if let Some(target) = target {
            self.refuse_target(name, target)?;
        }
        Ok(Search { wish: target, avoid: from.filter(|from| target != Some(*from)), ..Search::default() })
    }

    /// Nothing is stopped before it is clear that it can run elsewhere.
    fn refuse_without_place(
        &self,
        name: &ServiceName,
        record: &ServiceRecord,
        search: &Search,
        owner: NodeId,
    ) -> Result<(), Refusal> {
        let left = |reason: String| format!("{reason}; it was left on {}", self.node_name(owner));
        if let Some(wish) = search.wish {
            self.refuse_without_room(name, record, wish).map_err(|(code, reason)| (code, left(reason)))?;
        }
        let tried = search.avoid.into_iter().collect();
        let probe = ServiceRecord { search: Search { tried, ..search.clone() }, ..record.clone() };
        match self.place(name, &probe, &self.board()) {
            Place::On(place) if search.wish.is_some_and(|wish| wish != place) => {
                let wish = search.wish.map(|wish| self.node_name(wish)).unwrap_or_default();
                Err((Code::Depend, left(format!("{wish} cannot take it now"))))
            }
            Place::On(_) => Ok(()),
            Place::Wait { code, reason } => Err((code, reason)),
            Place::Exhausted => Err((Code::RunningOnOriginal, left(self.why_nowhere(name, &probe)))),
        }
    }

    /// The checks are in the order of rgmanager.md §7.4.
    pub(super) fn migrate(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        to: NodeId,
    ) -> Result<Taken, Refusal> {
        let called = self.node_name(to);
        let configured = self.config.as_ref().is_some_and(|config| config.nodes.contains_key(&to));
        if !configured {
            return Err((Code::Invalid, format!("{called} is not in the configuration")));
        }
        self.refuse_target(name, to).map_err(|(code, reason)| {
            let code = if code == Code::Domain { Code::Depend } else { code };
            (code, reason)
        })?;
        match record.phase.clone() {
            Phase::Started { owner } if owner == to => Ok(Taken::Done),
            Phase::Started { owner } if !self.nodes.get(&owner).is_some_and(NodeRecord::in_view) => {
                let reason = format!("{} is lost: it is started elsewhere once that is fenced", self.node_name(owner));
                Err((Code::Fencing, reason))
            }
            Phase::Started { .. } if !record.sought.is_empty() => {
                Err((Code::Again, "the members are being asked where it is".into()))
            }
            Phase::Started { owner } => {
                self.refuse_unfit(name, record, to)?;
                self.ask_move(name, record, owner, to);
                Ok(Taken::UnderWay)
            }
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Err((Code::Again, format!("it is {}", record.phase.shown())))
            }
            Phase::Stopped { wanted: Wanted::Now } => Err((Code::Again, "it is about to be started".into())),
            Phase::Stopped { .. } | Phase::Disabled | Phase::Failed { .. } => {
                Err((Code::Failure, format!("it does not run; to start it on {called}, enable it there")))
            }
        }
    }

    /// A host that has not said yet what it runs may have no room, whatever is known of it: it is asked again in a moment.
    fn refuse_unfit(&self, name: &ServiceName, record: &ServiceRecord, to: NodeId) -> Result<(), Refusal> {
        match self.against(name, record, to) {
            Some((Obstacle::NotReady, reason)) => Err((Code::Again, reason)),
            Some((what, reason)) if what.is_about_room() => Err((Code::Depend, reason)),
            _ => Ok(()),
        }
    }
}
