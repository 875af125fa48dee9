//! What happens to a service that died where it should run (rgmanager.md §5.1).
//!
//! The window holds the times of restarts in place. It is exceeded when it holds `max_restarts` of them, tested before
//! the next is added; entries older than `restart_expire_time` do not count, and with a time of zero none ever expires.

use super::State;
use super::history::{Cause, event};
use super::member::Standing;
use super::service::{Phase, Search, ServiceRecord, Wanted};
use crate::mutant::{self, Mutant};
use belay_config::model::{Recovery, Vm};
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{NodeId, NodeMode, ServiceName, Timestamp};

/// What the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it where it was; this is the n-th restart in the window.
    Restart(u32),
    /// Start it elsewhere, because the restarts are used up.
    RelocateExceeded,
    /// Start it elsewhere, as the policy says.
    Relocate,
    /// Leave it stopped, because the restarts are used up.
    DisableExceeded,
    /// Leave it stopped, as the policy says.
    Disable,
}

/// Applies the policy to the restarts so far, which it brings up to date.
#[must_use]
pub fn decide(vm: &Vm, restarts: &mut Vec<Timestamp>, now: Timestamp) -> Decision {
    let window = vm.restart_expire_time;
    if !window.is_zero() && !mutant::is(Mutant::WindowNeverExpires) {
        restarts.retain(|at| now.since(*at) < window);
    }
    // max_restarts 0 keeps no counter: it is never exceeded, and nothing needs to be remembered.
    let counted = vm.max_restarts > 0;
    let spare = usize::from(mutant::is(Mutant::MiscountRestarts));
    let exceeded = counted && restarts.len() >= vm.max_restarts as usize + spare;
    let decision = match vm.recovery {
        Recovery::Relocate => Decision::Relocate,
        Recovery::Disable => Decision::Disable,
        Recovery::Restart if exceeded => Decision::RelocateExceeded,
        Recovery::RestartDisable if exceeded => Decision::DisableExceeded,
        Recovery::Restart | Recovery::RestartDisable => {
            if counted {
                restarts.push(now);
            }
            Decision::Restart(u32::try_from(restarts.len()).unwrap_or(u32::MAX))
        }
    };
    if !matches!(decision, Decision::Restart(_)) {
        restarts.clear();
    }
    decision
}

impl State {
    /// A started service is known not to run on its owner any more.
    pub(crate) fn recover(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, why: &str) {
        let place = self.node_name(owner);
        let seen = HistoryEvent {
            node: Some(owner),
            ..event(EventKind::Observation, Severity::Warning, format!("died on {place}: {why}"))
        };
        self.note_service(name, record, seen, Cause::Root);
        if record.frozen && !mutant::is(Mutant::FrozenIsRecovered) {
            record.died_frozen = true;
            record.waiting = Some(format!("died on {place} while frozen; unfreeze it to have it recovered"));
            return;
        }
        record.died_frozen = false;
        let Some(vm) = self.config.as_ref().and_then(|config| config.vms.get(name)).cloned() else {
            let text = "stopped: it is not in the configuration any more".to_owned();
            self.decide(name, record, Phase::Disabled, text, Cause::Before);
            return;
        };
        self.carry_out(name, record, owner, &vm);
    }

    /// Whether a service that is known to be gone from its owner can be started there again at once: no detour through
    /// placement, which would have to wait for hosts that have nothing to do with it.
    pub(crate) fn may_start_in_place(&self, record: &ServiceRecord, vm: &Vm, owner: NodeId) -> bool {
        let node = self.nodes.get(&owner);
        node.is_some_and(|node| node.standing == Standing::Online && node.mode == NodeMode::Active)
            && self.legal(vm, owner)
            && self.dependency_missing(vm).is_none()
            // A copy that was seen elsewhere must be gone first, and so must one that may have been left elsewhere.
            && (record.rivals.is_empty() || mutant::is(Mutant::InPlaceBesideCopies))
            && record.suspects.iter().all(|id| *id == owner)
            && self.was_there_before_any_split(record)
    }

    /// With `two_node` the other half may start what ran on neither at the time of the split. What was adopted or started
    /// since then is in question; what ran here before is not, since the other half needs proof of this one's end.
    fn was_there_before_any_split(&self, record: &ServiceRecord) -> bool {
        let mut other_halves = self.nodes.iter().filter(|(id, node)| self.other_half(**id, node).is_some());
        other_halves.all(|(_, node)| record.transition.is_some_and(|since| since < node.since))
    }

    fn carry_out(&mut self, name: &ServiceName, record: &mut ServiceRecord, owner: NodeId, vm: &Vm) {
        let place = self.node_name(owner);
        let elsewhere = Search { avoid: Some(owner), ..Search::default() };
        let wanted = Phase::Stopped { wanted: Wanted::Now };
        match decide(vm, &mut record.restarts, self.time) {
            Decision::Restart(count) => {
                let text = match (vm.max_restarts, vm.restart_expire_time.is_zero()) {
                    (0, _) => format!("restarting on {place}"),
                    (max, true) => format!("restarting on {place} (restart {count} of {max})"),
                    (max, false) => {
                        format!("restarting on {place} (restart {count} of {max} within {})", vm.restart_expire_time)
                    }
                };
                record.search = Search::default();
                let can = self.may_start_in_place(record, vm, owner);
                if can {
                    self.order_start(name, record, owner, text);
                } else {
                    record.search.wish = Some(owner);
                    self.decide(name, record, wanted, text, Cause::Before);
                }
            }
            Decision::RelocateExceeded => {
                record.search = elsewhere;
                let text = format!("{} restarts are used up; moving it to another member", vm.max_restarts);
                self.decide(name, record, wanted, text, Cause::Before);
            }
            Decision::Relocate => {
                record.search = elsewhere;
                self.decide(name, record, wanted, "moving it to another member".into(), Cause::Before);
            }
            Decision::DisableExceeded => {
                record.search = Search::default();
                let text = format!("{} restarts are used up; disabled", vm.max_restarts);
                self.decide(name, record, Phase::Disabled, text, Cause::Before);
            }
            Decision::Disable => {
                record.search = Search::default();
                self.decide(name, record, Phase::Disabled, "disabled, as its recovery says".into(), Cause::Before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::Span;
    use proptest::prelude::*;

    fn vm(recovery: Recovery, max_restarts: u32, window: u64) -> Vm {
        Vm { recovery, max_restarts, restart_expire_time: Span::seconds(window), ..Vm::new("v") }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn the_third_death_within_the_window_relocates_when_two_restarts_are_allowed() {
        let (vm, mut restarts) = (vm(Recovery::Restart, 2, 600), Vec::new());
        assert_eq!(decide(&vm, &mut restarts, at(10)), Decision::Restart(1));
        assert_eq!(decide(&vm, &mut restarts, at(20)), Decision::Restart(2));
        assert_eq!(decide(&vm, &mut restarts, at(30)), Decision::RelocateExceeded);
        assert_eq!(decide(&vm, &mut restarts, at(40)), Decision::Restart(1), "the list is emptied by the move");
    }

    #[test]
    fn a_restart_exactly_as_old_as_the_window_does_not_count() {
        let (vm, mut restarts) = (vm(Recovery::Restart, 1, 600), vec![at(0)]);
        assert_eq!(decide(&vm, &mut restarts.clone(), at(599)), Decision::RelocateExceeded);
        assert_eq!(decide(&vm, &mut restarts, at(600)), Decision::Restart(1));
    }

    #[test]
    fn without_an_expire_time_restarts_are_never_forgotten() {
        let (vm, mut restarts) = (vm(Recovery::RestartDisable, 1, 0), vec![at(0)]);
        assert_eq!(decide(&vm, &mut restarts, at(1_000_000_000)), Decision::DisableExceeded);
    }

    #[test]
    fn without_max_restarts_it_is_restarted_for_ever_and_nothing_is_kept() {
        let (vm, mut restarts) = (vm(Recovery::Restart, 0, 600), Vec::new());
        for n in 0..1000 {
            assert!(matches!(decide(&vm, &mut restarts, at(n)), Decision::Restart(_)));
        }
        assert!(restarts.is_empty());
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_allowed(
            max in 1u32..5,
            window in 1u64..100,
            gaps in proptest::collection::vec(0u64..50, 1..60),
        ) {
            let vm = vm(Recovery::Restart, max, window);
            let (mut restarts, mut now) = (Vec::new(), 0);
            let mut in_place: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                match decide(&vm, &mut restarts, at(now)) {
                    Decision::Restart(_) => in_place.push(now),
                    _ => in_place.clear(),
                }
                let recent = in_place.iter().filter(|t| now - **t < window).count();
                prop_assert!(recent <= max as usize, "{recent} restarts within {window} s");
            }
        }
    }
}
