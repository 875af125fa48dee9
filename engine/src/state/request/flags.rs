//! Freeze, unfreeze and convalesce: requests about a service's flags, which are answered at once.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::{Phase, ServiceRecord, Wanted};
use super::Refusal;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, ServiceName};

impl State {
    pub(super) fn freeze(&mut self, name: &ServiceName, record: &mut ServiceRecord) -> Result<(), Refusal> {
        if record.frozen {
            return Ok(());
        }
        match record.phase {
            Phase::Stopped { .. } | Phase::Started { .. } | Phase::Disabled => {
                record.frozen = true;
                let frozen = event(EventKind::Service, Severity::Notice, "frozen: it is left untouched");
                self.note_service(name, record, frozen, Cause::Before);
                Ok(())
            }
            _ => Err(busy(record)),
        }
    }

    pub(super) fn unfreeze(&mut self, name: &ServiceName, record: &mut ServiceRecord) -> Result<(), Refusal> {
        if !record.frozen {
            // One that failed while it was frozen can be unfrozen; to unfreeze what is not frozen follows the table.
            return if record.phase.rests() && !matches!(record.phase, Phase::Failed { .. }) {
                Ok(())
            } else {
                Err(busy(record))
            };
        }
        record.frozen = false;
        let text = match record.tripped.take() {
            Some(tripped) => {
                format!("unfrozen, though Belay had frozen it by itself ({}): it is managed again", tripped.invariant)
            }
            None => "unfrozen: it is managed again".to_owned(),
        };
        let thawed = event(EventKind::Service, Severity::Notice, text);
        self.note_service(name, record, thawed, Cause::Before);
        if let (true, Phase::Started { owner }) = (record.died_frozen, record.phase.clone()) {
            self.ended_frozen(name, record, owner);
        }
        Ok(())
    }
}

/// A VM is all of one piece: there never is a part that was left stopped.
pub(super) fn convalesce(record: &ServiceRecord) -> Refusal {
    match record.phase {
        Phase::Started { .. } => (Code::Running, "a VM has no parts that could be left stopped".into()),
        Phase::Stopped { wanted: Wanted::AtNextView | Wanted::WhenArmed } | Phase::Disabled | Phase::Failed { .. } => {
            (Code::Invalid, "it does not run, and a VM has no parts".into())
        }
        Phase::Stopped { wanted: Wanted::Now }
        | Phase::Starting { .. }
        | Phase::Stopping { .. }
        | Phase::Migrating { .. } => busy(record),
    }
}

fn busy(record: &ServiceRecord) -> Refusal {
    (Code::Again, format!("it is {}", record.phase.shown()))
}
