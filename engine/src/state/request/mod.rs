//! What administrators ask for: what each request does in each state of a service, and its answer.
//!
//! Requests about one service are carried out one after another. A request whose work takes time is answered when the
//! work is done; repeating it with the same id gives the same answer and does nothing twice (design S12).

mod cluster;
mod freeze;
mod go_elsewhere;
mod lock;
mod start;
mod stop;

use super::State;
use super::history::{Cause, event};
use super::service::{AfterStop, Phase, ServiceRecord};
use crate::mutant::{self, Mutant};
use belay_proto::control::Verdict;
use belay_proto::entry::Request;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, Index, NodeId, RequestId, ServiceName, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long answers are kept for whoever asks again.
const KEPT: Span = Span::seconds(3600);
/// The newest entries whose answers are kept however much time seems to have passed: when the whole cluster starts with
/// a wrong calendar, hours go by between a request and its repetition, or between an answer and its being on disk.
const KEPT_ENTRIES: u64 = 256;
/// How many answers are kept.
const KEPT_MAX: usize = 1000;
/// How many requests may wait for one service.
const QUEUE_MAX: usize = 32;

/// A request and, once there is one, its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// What was asked.
    pub request: Request,
    /// Who asked.
    pub by: String,
    /// Through whose daemon: where the command was typed.
    #[serde(default)]
    pub via: Option<NodeId>,
    /// When.
    pub asked: Timestamp,
    /// The answer.
    pub answer: Option<Verdict>,
    /// The entry that gave it.
    pub answered_at: Index,
}

/// Drops answers nobody will ask for again; what is not answered is kept.
pub(crate) fn prune(requests: &mut BTreeMap<RequestId, RequestRecord>, now: Timestamp, index: Index) {
    requests.retain(|_, record| {
        let recent = record.answered_at.0 + KEPT_ENTRIES > index.0 || now.since(record.asked) < KEPT;
        record.answer.is_none() || recent
    });
    while requests.len() > KEPT_MAX {
        let oldest = requests.iter().filter(|(_, r)| r.answer.is_some()).min_by_key(|(id, r)| (r.asked, (*id).clone()));
        let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
        requests.remove(&id);
    }
}

impl State {
    /// Somebody asks for something.
    pub(crate) fn apply_request(&mut self, via: NodeId, id: &RequestId, by: &str, request: &Request) {
        if self.requests.contains_key(id) && !mutant::is(Mutant::RepeatedRequestRunsAgain) {
            return;
        }
        let record = RequestRecord {
            request: request.clone(),
            by: by.to_owned(),
            via: Some(via),
            asked: self.time,
            answer: None,
            answered_at: Index(0),
        };
        self.requests.insert(id.clone(), record);
        match request.service() {
            None => self.apply_cluster_request(id, by, request),
            Some(name) => {
                let known =
                    self.with_service(name, |state, record| state.take_in(&name.clone(), record, id, by, request));
                if known.is_none() {
                    self.set_answer(id, Code::NoService, format!("there is no service {name}"), None);
                }
            }
        }
    }

    /// Carries a request out, or lets it wait for its turn.
    fn take_in(&mut self, name: &ServiceName, record: &mut ServiceRecord, id: &RequestId, by: &str, request: &Request) {
        let busy = !record.phase.rests() || record.request.is_some() && !waits_for_place(record);
        let at_once = matches!(request, Request::Freeze { .. } | Request::Unfreeze { .. } | Request::Migrate { .. })
            || record.frozen
            || matches!(request, Request::Enable { .. }) && matches!(record.phase, Phase::Starting { .. });
        if busy && !at_once {
            if record.queue.len() >= QUEUE_MAX {
                let reason = format!("{QUEUE_MAX} requests wait for it already");
                self.set_answer(id, Code::Again, reason, record.phase.owner());
            } else {
                record.queue.push(id.clone());
            }
            return;
        }
        let text = format!("{by} asked to {}", describe(self, request));
        self.note_service(name, record, event(EventKind::Request, Severity::Notice, text), Cause::Root);
        // Something else is wanted now: whoever waited for the former wish is told.
        if !at_once && let Some(former) = record.request.take() {
            self.set_answer(&former, Code::Again, "superseded by a later request".into(), record.phase.owner());
        }
        let verdict = self.begin(name, record, request);
        match verdict {
            Some((code, reason)) => self.set_answer(id, code, reason, record.phase.owner()),
            None => record.request = Some(id.clone()),
        }
    }

    /// Takes the next waiting request of every service that rests.
    pub(crate) fn run_queues(&mut self) {
        let ready: Vec<ServiceName> = self
            .services
            .iter()
            .filter(|(_, r)| !r.queue.is_empty() && r.phase.rests() && (r.request.is_none() || waits_for_place(r)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ready {
            self.with_service(&name, |state, record| {
                while record.phase.rests() && !record.queue.is_empty() {
                    let id = record.queue.remove(0);
                    let Some(asked) = state.requests.get(&id).cloned() else { continue };
                    state.take_in(&name, record, &id, &asked.by, &asked.request);
                }
            });
        }
    }

    /// Starts what a request asks for. `None`: its outcome will answer it.
    fn begin(&mut self, name: &ServiceName, record: &mut ServiceRecord, request: &Request) -> Option<(Code, String)> {
        let touches_frozen = matches!(request, Request::Freeze { .. } | Request::Unfreeze { .. });
        if record.frozen && !touches_frozen {
            return Some((Code::Frozen, "unfreeze it first".into()));
        }
        match request {
            Request::Enable { target, .. } => self.enable(name, record, *target),
            Request::Disable { .. } => self.stop(name, record, AfterStop::Disable { even_if_failed: false }),
            Request::Stop { .. } => self.stop(name, record, AfterStop::Stop),
            Request::Restart { .. } => self.restart(name, record),
            Request::Relocate { target, .. } => self.relocate(name, record, *target),
            Request::Migrate { target, .. } => self.migrate(name, record, *target),
            Request::Freeze { .. } => Some(self.freeze(name, record)),
            Request::Unfreeze { .. } => Some(self.unfreeze(name, record)),
            Request::Convalesce { .. } => Some((Code::Invalid, "a VM has no parts".into())),
            // These name no service and never come here (cluster.rs).
            Request::Lock {}
            | Request::Unlock {}
            | Request::SetMode { .. }
            | Request::Disarm { .. }
            | Request::Arm {}
            | Request::AcknowledgeFence { .. } => Some((Code::Invalid, "it is not about a service".into())),
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

/// Whether the service only waits for a place: whatever was asked before, a new request may be looked at.
fn waits_for_place(record: &ServiceRecord) -> bool {
    matches!(record.phase, Phase::Stopped { .. })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_outlives_a_calendar_that_jumps_but_not_the_entries_that_follow_it() {
        let service: ServiceName = "vm:a".parse().unwrap();
        let id: RequestId = "r".parse().unwrap();
        let answer = Some(Verdict { code: Code::Success, reason: String::new(), owner: None });
        let request = Request::Stop { service };
        let record = RequestRecord {
            request,
            by: "root".into(),
            via: None,
            asked: Timestamp(0),
            answer,
            answered_at: Index(10),
        };
        let mut requests = BTreeMap::from([(id.clone(), record)]);
        let days_later = Timestamp(0) + Span::seconds(1_000_000);
        prune(&mut requests, days_later, Index(11));
        assert!(requests.contains_key(&id));
        prune(&mut requests, days_later, Index(1000));
        assert!(requests.is_empty());
    }
}
