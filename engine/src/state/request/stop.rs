//! Disable and stop.

use super::super::State;
use super::super::history::Cause;
use super::super::service::{AfterStop, Phase, Search, ServiceRecord, Wanted};
use super::{Refusal, Taken};
use belay_proto::{Code, ServiceName};

impl State {
    pub(super) fn stop(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        then: AfterStop,
    ) -> Result<Taken, Refusal> {
        let disable = matches!(then, AfterStop::Disable { .. });
        match record.phase.clone() {
            Phase::Started { owner } => {
                self.stop_at(name, record, owner, then);
                Ok(Taken::UnderWay)
            }
            // Only while a copy may be left there: a host that was fenced since has nothing to stop, and nobody there
            // who would say so.
            Phase::Failed { at } if disable && record.suspects.contains(&at) => {
                self.stop_at(name, record, at, AfterStop::Disable { even_if_failed: true });
                Ok(Taken::UnderWay)
            }
            Phase::Failed { .. } if disable => Ok(self.rest(name, record, Phase::Disabled, "disabled")),
            Phase::Failed { .. } => Err((Code::Failure, "it has failed; disable it, which cleans up".into())),
            Phase::Disabled => Ok(Taken::Done),
            Phase::Stopped { wanted: Wanted::AtNextView } if !disable => Ok(Taken::Done),
            Phase::Stopped { .. } if disable => Ok(self.rest(name, record, Phase::Disabled, "disabled")),
            Phase::Stopped { .. } => {
                Ok(self.rest(name, record, Phase::Stopped { wanted: Wanted::AtNextView }, "stopped"))
            }
            // It waited for its turn until it rests.
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => {
                Err((Code::Again, "it is busy".into()))
            }
        }
    }

    /// It runs nowhere already.
    fn rest(&mut self, name: &ServiceName, record: &mut ServiceRecord, phase: Phase, text: &str) -> Taken {
        record.search = Search::default();
        record.restarts.clear();
        self.decide(name, record, phase, text.into(), Cause::Before);
        Taken::Done
    }
}
