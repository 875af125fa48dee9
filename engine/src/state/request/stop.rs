//! Disable and stop.

use super::super::State;
use super::super::history::Cause;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord, Wanted};
use belay_proto::{Code, ServiceName};

impl State {
    pub(super) fn stop(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        then: AfterStop,
    ) -> Option<(Code, String)> {
        let disable = matches!(then, AfterStop::Disable { .. });
        match record.phase.clone() {
            Phase::Started { owner } => {
                self.stop_at(name, record, owner, then);
                None
            }
            Phase::Failed { at } if disable => {
                self.stop_at(name, record, at, AfterStop::Disable { even_if_failed: true });
                None
            }
            Phase::Failed { .. } => Some((Code::Failure, "it has failed; disable it, which cleans up".into())),
            Phase::Disabled => Some((Code::Success, String::new())),
            Phase::Stopped { wanted: Wanted::AtNextView } if !disable => Some((Code::Success, String::new())),
            Phase::Stopped { .. } => {
                record.search = Search::default();
                let (phase, text) = if disable {
                    (Phase::Disabled, "disabled")
                } else {
                    (Phase::Stopped { wanted: Wanted::AtNextView }, "stopped")
                };
                self.decide(name, record, phase, text.into(), Cause::Before);
                Some((Code::Success, String::new()))
            }
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Some((Code::Again, "it is busy".into()))
            }
        }
    }
}
