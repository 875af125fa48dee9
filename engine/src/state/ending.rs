//! What the end of a service's copy means: it died, its guest switched itself off, or somebody moved it.
//!
//! ```text
//!   died ─────────────────────────────────────────────────────────────► recovery
//!   guest switched itself off ── guest_shutdown="recover" ────────────► recovery
//!                             └─ guest_shutdown="stop" ───────────────► disabled, until it is enabled
//!   missing, nobody saw why ──┐                        ┌─ nobody has it ► recovery
//!   left by a migration ──────┴► all others are asked ─┼─ one has it ───► adopted there
//!                                                      └─ nobody has it, and it was migrated ► failed: it runs where
//!                                                         Belay cannot see it
//! ```
//!
//! A second copy that is known already makes all questions needless: the service goes on with that one.
//!
//! What must never happen here: that something is started which may have been moved.

use super::State;
use super::history::{Cause, event};
use super::member::{NodeRecord, Standing};
use super::service::{Phase, Search, ServiceRecord};
use crate::mutant::{self, Mutant};
use belay_config::model::GuestShutdown;
use belay_proto::entry::GoneReason;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{NodeId, ServiceName, Span};
use std::collections::BTreeSet;

/// How long members in the view are waited for that do not say whether they have what is missing. A hypervisor that
/// answers nobody for that long took in no VM either.
const SEEK_PATIENCE: Span = Span::seconds(30);

impl State {
    /// A started service is not on its owner any more.
    pub(crate) fn ended(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, why: GoneReason) {
        if let Some(other) = Self::heir(record) {
            return self.adopt_moved(name, record, owner, other);
        }
        match why {
            _ if mutant::is(Mutant::DeathIgnored) => {}
            GoneReason::Migrated if mutant::is(Mutant::SoughtIsDead) => self.end_is_certain(name, record, owner, why),
            GoneReason::Missing | GoneReason::Migrated => self.seek(name, record, owner, why),
            GoneReason::Died | GoneReason::GuestShutdown => self.end_is_certain(name, record, owner, why),
        }
    }

    fn end_is_certain(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, why: GoneReason) {
        let vm = self.config.as_ref().and_then(|config| config.vms.get(name));
        let accepted = why == GoneReason::GuestShutdown
            && vm.is_some_and(|vm| vm.guest_shutdown == GuestShutdown::Stop)
            && !record.frozen;
        record.sought.clear();
        record.sought_until = None;
        record.trouble = None;
        if accepted {
            return self.accept_shutdown(name, record, owner);
        }
        record.ended = None;
        self.recover(name, record, owner, why.words());
        if record.frozen {
            record.ended = Some(why);
        }
    }

    /// The guest switched itself off, and may.
    fn accept_shutdown(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        let text = format!("its guest powered itself off on {}", self.node_name(owner));
        let seen = HistoryEvent { node: Some(owner), ..event(EventKind::Observation, Severity::Notice, text) };
        self.note_service(name, record, seen, Cause::Root);
        record.search = Search::default();
        record.restarts.clear();
        let text = "disabled, as guest_shutdown=\"stop\" says: it stays so until it is enabled".to_owned();
        self.decide(name, record, Phase::Disabled, text, Cause::Before);
        record.waiting = Some("to be enabled, since its guest powered itself off".into());
    }

    /// It may run elsewhere: all who could have it are asked, and until they have answered nothing is started.
    fn seek(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, why: GoneReason) {
        let here = self.node_name(owner);
        let (text, trouble) = if why == GoneReason::Migrated {
            let text =
                format!("left {here} by a migration that Belay did not order; the other members are asked for it");
            (text, "was migrated away by hand; the other members are asked for it")
        } else {
            let text = format!("is not on {here} any more, and nobody saw why; the other members are asked for it");
            (text, "is not where it should be; the other members are asked for it")
        };
        let seen = HistoryEvent { node: Some(owner), ..event(EventKind::Observation, Severity::Warning, text) };
        self.note_service(name, record, seen, Cause::Root);
        record.sought = self.who_may_have_taken_it(owner);
        record.ended = Some(why);
        record.sought_until = (why == GoneReason::Missing).then(|| self.time + SEEK_PATIENCE);
        record.trouble = Some(trouble.into());
        // The question has an epoch of its own: who answers has looked after the copy left.
        record.epoch = record.epoch.next();
        record.decided = self.index;
        if record.sought.is_empty() {
            self.nowhere_found(name, record, owner);
        }
    }

    /// All but those that are known to run nothing. A host that is lost may have taken it in before (design S2).
    fn who_may_have_taken_it(&self, owner: NodeId) -> BTreeSet<NodeId> {
        let may = |node: &NodeRecord| !matches!(node.standing, Standing::Down(_) | Standing::Left { .. });
        self.nodes.iter().filter(|(id, node)| **id != owner && may(node)).map(|(id, _)| *id).collect()
    }

    /// A host has answered, or is proven to be off, and does not have it.
    pub(crate) fn not_found_on(&mut self, name: &ServiceName, record: &mut ServiceRecord, node: NodeId) {
        if record.sought.remove(&node)
            && record.sought.is_empty()
            && let Phase::Started { owner } = record.phase
        {
            self.nowhere_found(name, record, owner);
        }
    }

    /// Ends the search for what most likely died, when its time is over. Hosts that are lost are not given up: they are
    /// back or fenced some time.
    pub(crate) fn give_up_seeking(&mut self) {
        let due =
            self.services.restless().filter(|(_, record)| record.sought_until.is_some_and(|until| until <= self.time));
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.with_service(&name, |state, record| {
                record.sought_until = None;
                let silent = |id: &NodeId| state.nodes.get(id).is_some_and(NodeRecord::in_view);
                for node in record.sought.iter().copied().filter(silent).collect::<Vec<_>>() {
                    state.not_found_on(&name, record, node);
                }
            });
        }
    }

    fn nowhere_found(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        match record.ended {
            Some(GoneReason::Migrated) => self.lost_sight(name, record, owner),
            why => self.end_is_certain(name, record, owner, why.unwrap_or(GoneReason::Missing)),
        }
    }

    /// libvirt says it was migrated, and no member has it: it runs where Belay cannot see it. To start it would be to
    /// run it twice.
    fn lost_sight(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        let here = self.node_name(owner);
        let text = format!(
            "was migrated from {here} to a host that is no member: bring it back, or stop it there and then disable and \
             enable it"
        );
        self.enter(name, record, Phase::Failed { at: owner }, Severity::Critical, text.clone(), Cause::Before);
        record.ended = Some(GoneReason::Migrated);
        record.waiting = Some(text);
    }

    /// It ended while it was frozen, and is managed again.
    pub(crate) fn ended_frozen(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId) {
        record.died_frozen = false;
        match record.ended.take() {
            Some(GoneReason::GuestShutdown) => self.end_is_certain(name, record, owner, GoneReason::GuestShutdown),
            _ => self.recover(name, record, owner, "it died while it was frozen"),
        }
    }

    /// Members that are gone cannot answer whether they have a service that is sought; they are fenced if they do not come
    /// back, and say what they run if they do.
    pub(crate) fn forget_sought(&mut self) {
        let over = |id: &NodeId| {
            matches!(self.nodes.get(id).map(|n| &n.standing), None | Some(Standing::Down(_) | Standing::Left { .. }))
        };
        let sought =
            self.services.restless().flat_map(|(name, record)| record.sought.iter().map(move |id| (name, *id)));
        let gone: Vec<(ServiceName, NodeId)> =
            sought.filter(|(_, id)| over(id)).map(|(name, id)| (name.clone(), id)).collect();
        for (name, node) in gone {
            self.with_service(&name, |state, record| state.not_found_on(&name, record, node));
        }
    }

    /// Who has to say of a service that is new to the configuration whether it runs there already: an administrator may
    /// have made and started it by hand before, or taken it out of the configuration while it ran.
    pub(crate) fn who_may_run_new(&self, name: &ServiceName) -> BTreeSet<NodeId> {
        let may = |node: &NodeRecord| match node.standing {
            Standing::Online | Standing::Leaving { .. } | Standing::Lost { .. } => true,
            Standing::Left { .. } => node.running.contains(name.name()) || node.left_behind.contains(name.name()),
            Standing::Unknown | Standing::Down(_) => false,
        };
        self.nodes.iter().filter(|(_, node)| may(node)).map(|(id, _)| *id).collect()
    }
}
