//! What administrators ask for: what each request does in each state of a service, and its answer.
//!
//! Requests about one service are carried out one after another. A request whose work takes time is answered when the
//! work is done; repeating it with the same id gives the same answer and does nothing twice (design S12).

mod cluster;
mod flags;
mod go_elsewhere;
mod lock;
pub mod record;
mod start;
mod stop;

use super::State;
use super::history::{Cause, event};
use super::service::{AfterStop, Phase, ServiceRecord};
use crate::mutant::{self, Mutant};
use belay_proto::control::Verdict;
use belay_proto::entry::Request;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Code, Index, NodeId, RequestId, ServiceName};
use record::RequestRecord;
use start::Whither;

/// Why a request is not carried out.
type Refusal = (Code, String);

/// What became of a request that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is done; the answer is success.
    Done,
    /// Its outcome will answer it.
    UnderWay,
}

/// How many requests may wait for one service.
const QUEUE_MAX: usize = 32;

impl State {
    /// Somebody asks for something.
    pub(crate) fn apply_request(&mut self, via: NodeId, id: &RequestId, by: &str, request: &Request) {
        if self.requests.contains_key(id) && !mutant::is(Mutant::RepeatedRequestRunsAgain) {
            return;
        }
        let asked = RequestRecord {
            request: request.clone(),
            by: by.to_owned(),
            via: Some(via),
            asked: self.time,
            answer: None,
            answered_at: Index(0),
        };
        self.requests.insert(id.clone(), asked.clone());
        match request.service() {
            None => self.apply_cluster_request(id, by, request),
            Some(name) => {
                let known = self.with_service(name, |state, record| state.take_in(name, record, id, &asked));
                if known.is_none() {
                    self.set_answer(id, Code::NoService, format!("there is no service {name}"), None);
                }
            }
        }
    }

    /// Carries a request out, or lets it wait for its turn.
    fn take_in(&mut self, name: &ServiceName, record: &mut ServiceRecord, id: &RequestId, asked: &RequestRecord) {
        let request = &asked.request;
        if !self.is_its_turn(record, request) {
            if self.is_relocated_by_another(record, request) {
                return self.set_answer(id, Code::Deadlock, "it is being relocated".into(), record.phase.owner());
            }
            if !at_once(record, request) {
                return self.wait_for_turn(record, id);
            }
        }
        let what = describe(self, request);
        // A request that is refused changes nothing, so it is not what led to the service's state.
        let chain = record.chain.clone();
        let text = format!("{} asked to {what}", asked.by);
        self.note_service(name, record, event(EventKind::Request, Severity::Notice, text), Cause::Root);
        let former = record.request.take();
        match self.begin(name, record, asked) {
            Ok(taken) => {
                Self::forget_home(record, request);
                self.supersede(record, former, request);
                match taken {
                    Taken::UnderWay => record.request = Some(id.clone()),
                    Taken::Done => self.set_answer(id, Code::Success, String::new(), record.phase.owner()),
                }
            }
            Err((code, reason)) => {
                record.request = former;
                record.chain = chain;
                let text = format!("{what}: {code} ({reason})");
                let refused = event(EventKind::Request, Severity::Info, text);
                self.note(HistoryEvent { service: Some(name.clone()), ..refused }, None);
                self.set_answer(id, code, reason, record.phase.owner());
            }
        }
    }

    /// Something else is wanted now: whoever waited for the former wish is told.
    fn supersede(&mut self, record: &mut ServiceRecord, former: Option<RequestId>, by: &Request) {
        if !matches!(by, Request::Migrate { .. } | Request::Unfreeze { .. }) {
            record.moves.asked = None;
        }
        let Some(former) = former else { return };
        let owner = record.phase.owner();
        match by {
            Request::Unfreeze { .. } => record.request = Some(former),
            // Whoever waits for it to be started would wait until it is unfrozen.
            Request::Freeze { .. } => {
                self.set_answer(&former, Code::Frozen, "it was frozen before it could be started".into(), owner);
            }
            _ => self.set_answer(&former, Code::Again, "superseded by a later request".into(), owner),
        }
    }

    /// Whether the service is in a state in which this request can be carried out: nothing is being done with it, or
    /// what is being done has come to nothing so far.
    fn is_its_turn(&self, record: &ServiceRecord, request: &Request) -> bool {
        // While the members are asked where somebody moved it, nobody knows what a stop would stop.
        let moved = matches!(record.phase, Phase::Started { .. }) && !record.sought.is_empty();
        if !record.phase.rests() || moved {
            return false;
        }
        match request {
            Request::Disable { .. } | Request::Stop { .. } => true,
            _ => record.request.is_none() || waits_for_place(record),
        }
    }

    /// A second relocation after the first would move it once more than anybody wants.
    fn is_relocated_by_another(&self, record: &ServiceRecord, request: &Request) -> bool {
        let under_way = record.request.as_ref().and_then(|id| self.requests.get(id)).map(|asked| &asked.request);
        matches!(under_way, Some(Request::Relocate { .. }))
            && matches!(request, Request::Enable { .. } | Request::Relocate { .. })
    }

    fn wait_for_turn(&mut self, record: &mut ServiceRecord, id: &RequestId) {
        if record.queue.len() >= QUEUE_MAX {
            let reason = format!("{QUEUE_MAX} requests wait for it already");
            self.set_answer(id, Code::Again, reason, record.phase.owner());
        } else {
            record.queue.push(id.clone());
        }
    }

    /// Whether a request waits whose turn it is.
    pub(super) fn queues_ready(&self) -> bool {
        self.services.restless().any(|(_, record)| self.next_is_ready(record))
    }

    fn next_is_ready(&self, record: &ServiceRecord) -> bool {
        // One that is not known any more is only to be taken off the queue.
        let ready = |id| self.requests.get(id).is_none_or(|asked| self.is_its_turn(record, &asked.request));
        record.queue.first().is_some_and(ready)
    }

    /// Takes the next waiting request of every service that can carry it out.
    pub(crate) fn run_queues(&mut self) {
        let ready: Vec<ServiceName> =
            self.services.restless().filter(|(_, r)| self.next_is_ready(r)).map(|(name, _)| name.clone()).collect();
        for name in ready {
            self.with_service(&name, |state, record| {
                while state.next_is_ready(record) {
                    let id = record.queue.remove(0);
                    let Some(asked) = state.requests.get(&id).cloned() else { continue };
                    state.take_in(&name, record, &id, &asked);
                }
            });
        }
    }

    /// Starts what a request asks for.
    fn begin(
        &mut self,
        name: &ServiceName,
        record: &mut ServiceRecord,
        asked: &RequestRecord,
    ) -> Result<Taken, Refusal> {
        let touches_frozen = matches!(asked.request, Request::Freeze { .. } | Request::Unfreeze { .. });
        if record.frozen && !touches_frozen {
            return Err((Code::Frozen, "unfreeze it first".into()));
        }
        match &asked.request {
            Request::Enable { target: Some(target), .. } => self.enable(name, record, Whither::Member(*target)),
            Request::Enable { by_domain: true, .. } => self.enable(name, record, Whither::Best),
            Request::Enable { .. } => self.enable(name, record, Whither::Typed(asked.via)),
            Request::Disable { .. } => self.stop(name, record, AfterStop::Disable { even_if_failed: false }),
            Request::Stop { .. } => self.stop(name, record, AfterStop::Stop),
            Request::Restart { .. } => self.restart(name, record, asked.via),
            Request::Relocate { target, .. } => self.relocate(name, record, *target),
            Request::Migrate { target, .. } => self.migrate(name, record, *target),
            Request::Freeze { .. } => self.freeze(name, record).map(|()| Taken::Done),
            Request::Unfreeze { .. } => self.unfreeze(name, record).map(|()| Taken::Done),
            Request::Convalesce { .. } => Err(flags::convalesce(record)),
            // These name no service and never come here (cluster.rs).
            Request::Lock {}
            | Request::Unlock {}
            | Request::SetMode { .. }
            | Request::Disarm { .. }
            | Request::Arm {}
            | Request::AcknowledgeFence { .. } => Err((Code::Invalid, "it is not about a service".into())),
        }
    }

    /// Answers the request a service is working on.
    pub(crate) fn answer(&mut self, record: &mut ServiceRecord, code: Code, reason: String) {
        if let Some(id) = record.request.take() {
            self.set_answer(&id, code, reason, record.phase.owner());
        }
    }

    /// The service is where the request wanted it.
    pub(crate) fn answer_success(&mut self, record: &mut ServiceRecord) {
        self.answer(record, Code::Success, String::new());
    }

    pub(crate) fn set_answer(&mut self, id: &RequestId, code: Code, reason: String, owner: Option<NodeId>) {
        let index = self.index;
        if let Some(record) = self.requests.get_mut(id) {
            record.answer = Some(Verdict { code, reason, owner });
            record.answered_at = index;
        }
    }
}

/// Whether the search for a place, or the wait for a migration, has come to nothing so far: whatever was asked before, a
/// new request may be looked at.
fn waits_for_place(record: &ServiceRecord) -> bool {
    matches!(record.phase, Phase::Stopped { .. }) && record.waiting.is_some() || record.moves.asked.is_some()
}

/// Requests that are answered at once, whatever the service is doing.
fn at_once(record: &ServiceRecord, request: &Request) -> bool {
    let flag_or_live = matches!(
        request,
        Request::Freeze { .. } | Request::Unfreeze { .. } | Request::Migrate { .. } | Request::Convalesce { .. }
    );
    let starts_already = match record.phase {
        Phase::Starting { .. } | Phase::Migrating { .. } => true,
        Phase::Stopping { then, .. } => matches!(then, AfterStop::Start { .. }),
        _ => false,
    };
    record.frozen || flag_or_live || matches!(request, Request::Enable { .. }) && starts_already
}

fn describe(state: &State, request: &Request) -> String {
    let verb = request.verb();
    match request {
        Request::Enable { target: Some(target), .. } => format!("{verb} it on {}", state.node_name(*target)),
        Request::Relocate { target: Some(target), .. } | Request::Migrate { target, .. } => {
            format!("{verb} it to {}", state.node_name(*target))
        }
        _ => format!("{verb} it"),
    }
}
