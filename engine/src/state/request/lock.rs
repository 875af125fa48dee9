//! The lock (`clusvcadm -l`): while it is on, nothing is started by itself or on request.

use super::super::State;
use super::super::history::event;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, RequestId};

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

    /// Looks at everything again that had to wait for this.
    pub(super) fn unlock(&mut self, id: &RequestId, by: &str) {
        if self.locked {
            self.locked = false;
            let text = format!("{by} unlocked the services");
            self.note(event(EventKind::Request, Severity::Notice, text), None);
        }
        self.set_answer(id, Code::Success, String::new(), None);
    }
}
