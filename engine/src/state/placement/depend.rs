//! Services that need another one: started only while it is, and with a hard dependency stopped when it is gone.
//!
//! Gone means that it has no host any more: stopped, disabled, failed, or without a place. A dependency that is restarted
//! where it was, or starts elsewhere at once, keeps its dependants running; they bear a short outage better than a
//! restart of their own. What was stopped for this starts again by itself when the dependency is back.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::{AfterStop, Phase, ServiceRecord};
use super::{Place, wait};
use crate::mutant::{self, Mutant};
use belay_config::model::{DependMode, Vm};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, ServiceName};

impl State {
    /// What a service has to wait for because it depends on another one.
    pub(crate) fn dependency_missing(&self, vm: &Vm) -> Option<Place> {
        let other = vm.depend.as_ref().filter(|_| !mutant::is(Mutant::DependencyIgnored))?;
        // A service that is not known counts as started, as in the original; the configuration's reader names it.
        let record = self.services.get(other)?;
        let (code, is) = match &record.phase {
            // It would be stopped with it in the same breath.
            Phase::Started { .. } if !self.locked && self.disarmed.is_none() && self.bereft(other).is_some() => {
                (Code::Depend, "to be stopped itself".to_owned())
            }
            Phase::Started { .. } | Phase::Migrating { .. } if !record.died_frozen => return None,
            Phase::Starting { .. } => (Code::Again, "starting".to_owned()),
            phase => (Code::Depend, phase.shown().to_string()),
        };
        Some(wait(code, format!("it depends on {other}, which is {is}")))
    }

    /// Stops what cannot do without a service that is gone.
    pub(crate) fn stop_dependants(&mut self) {
        if self.locked || self.disarmed.is_some() || mutant::is(Mutant::DependantsRunOn) {
            return;
        }
        let bereft: Vec<(ServiceName, ServiceName)> =
            self.rules.dependants().iter().filter_map(|name| Some((name.clone(), self.bereft(name)?))).collect();
        for (name, other) in bereft {
            self.with_service(&name, |state, record| {
                let Phase::Started { owner } = record.phase else { return };
                let cause = state.services.get(&other).and_then(|record| record.chain.last()).map(|last| last.id);
                let text = format!("is stopped, because {other}, which it depends on, is gone");
                let noted = event(EventKind::Service, Severity::Warning, text);
                state.note_service(&name, record, noted, Cause::from(cause));
                state.stop_at(&name, record, owner, AfterStop::Start { wish: None, avoid: None });
            });
        }
    }

    /// What a running service lacks that it cannot do without.
    fn bereft(&self, name: &ServiceName) -> Option<ServiceName> {
        let vm = self.vm(name)?;
        let other = vm.depend.as_ref().filter(|_| vm.depend_mode == DependMode::Hard)?;
        let gone = self.services.get(other)?.phase.owner().is_none();
        let record: &ServiceRecord = self.services.get(name)?;
        let stoppable = matches!(record.phase, Phase::Started { .. }) && !record.frozen && record.sought.is_empty();
        (gone && stoppable).then(|| other.clone())
    }
}
