//! Freeze and unfreeze.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::{Phase, ServiceRecord};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, ServiceName};

impl State {
    pub(super) fn freeze(&mut self, name: &ServiceName, record: &mut ServiceRecord) -> (Code, String) {
        match record.phase {
            Phase::Stopped { .. } | Phase::Started { .. } | Phase::Disabled => {
                record.frozen = true;
                let frozen = event(EventKind::Service, Severity::Notice, "frozen: it is left untouched");
                self.note_service(name, record, frozen, Cause::Before);
                // Whoever waits for it to be started would wait until it is unfrozen.
                self.answer(record, Code::Frozen, "it was frozen before it could be started".into());
                (Code::Success, String::new())
            }
            _ => (Code::Again, format!("it is {}", record.phase.shown())),
        }
    }

    pub(super) fn unfreeze(&mut self, name: &ServiceName, record: &mut ServiceRecord) -> (Code, String) {
        if !record.phase.rests() || matches!(record.phase, Phase::Failed { .. }) {
            return (Code::Again, format!("it is {}", record.phase.shown()));
        }
        record.frozen = false;
        let thawed = event(EventKind::Service, Severity::Notice, "unfrozen: it is managed again");
        self.note_service(name, record, thawed, Cause::Before);
        if let (true, Phase::Started { owner }) = (record.died_frozen, record.phase.clone()) {
            self.ended_frozen(name, record, owner);
        }
        (Code::Success, String::new())
    }
}
