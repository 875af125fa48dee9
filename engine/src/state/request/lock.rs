//! The lock (`clusvcadm -l`): while it is on, nothing is started but what dies where it runs.
//!
//! It blocks requests that start something, and whatever would be started by itself: what a lost host ran, what a stop by
//! hand left for the next change of membership, what the last try could not start. It does not block stops, the restart
//! in place of a VM that died, nor migrations. It stays until it is taken away, whatever happens to the cluster
//! meanwhile; then all that had to wait is looked at again.

use super::super::State;
use super::super::history::{Cause, event};
use super::super::service::ServiceRecord;
use super::Refusal;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, RequestId, ServiceName};

/// What a service waits for meanwhile.
const REASON: &str = "the services are locked; unlock them with: belay unlock";

impl State {
    /// Starts nothing from now on.
    pub(super) fn lock(&mut self, id: &RequestId, by: &str) {
        if !self.locked {
            self.locked = true;
            let text = format!("{by} locked the services: nothing is started until they are unlocked");
            self.note(event(EventKind::Request, Severity::Warning, text), None);
        }
        self.set_answer(id, Code::Success, String::new(), None);
    }

    /// Starts again. What had to wait is looked at by this very entry.
    pub(super) fn unlock(&mut self, id: &RequestId, by: &str) {
        if self.locked {
            self.locked = false;
            let text = format!("{by} unlocked the services");
            self.note(event(EventKind::Request, Severity::Notice, text), None);
        }
        self.set_answer(id, Code::Success, String::new(), None);
    }

    /// A request that would start something is refused, and nothing is stopped for it.
    pub(super) fn refuse_while_locked(&self) -> Result<(), Refusal> {
        if self.locked { Err((Code::Again, REASON.into())) } else { Ok(()) }
    }

    /// A service that should run waits until it is unlocked; whoever asked for it is told so.
    pub(crate) fn wait_for_unlock(&mut self, name: &ServiceName, record: &mut ServiceRecord) {
        if record.waiting.as_deref() != Some(REASON) {
            let text = format!("cannot be started: {REASON}");
            self.note_service(name, record, event(EventKind::Blocked, Severity::Warning, text), Cause::Before);
            record.waiting = Some(REASON.into());
        }
        self.answer(record, Code::Again, format!("it will be started when it can: {REASON}"));
    }

    /// The lock's alarm, while it is on.
    pub(crate) fn lock_alarm(&self) -> Option<String> {
        self.locked.then(|| "the services are locked: nothing is started until: belay unlock".to_owned())
    }
}
