//! What is kept of a request: what was asked, by whom, and the answer, for as long as somebody may ask for it again.

use belay_proto::control::Verdict;
use belay_proto::entry::Request;
use belay_proto::{Index, NodeId, RequestId, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long answers are kept for whoever asks again.
const KEPT: Span = Span::seconds(3600);
/// The newest entries whose answers are kept however much time seems to have passed: when the whole cluster starts with
/// a wrong calendar, hours go by between a request and its repetition, or between an answer and its being on disk.
const KEPT_ENTRIES: u64 = 256;
/// How many answers are kept.
const KEPT_MAX: usize = 1000;
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

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::{Code, ServiceName};

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
