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
        let recent = record.answered_at.0.saturating_add(KEPT_ENTRIES) > index.0 || now.since(record.asked) < KEPT;
        record.answer.is_none() || recent
    });
    // Of many that are asked at once, whoever asked the first of them may still wait for its answer.
    let told = |record: &RequestRecord| record.answer.is_some() && record.answered_at.0 + KEPT_ENTRIES <= index.0;
    while requests.len() > KEPT_MAX {
        let oldest = requests.iter().filter(|(_, r)| told(r)).min_by_key(|(id, r)| (r.asked, (*id).clone()));
        let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
        requests.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::Code;

    fn answered(at: u64) -> RequestRecord {
        RequestRecord {
            request: Request::Stop { service: "vm:a".parse().unwrap() },
            by: "root".into(),
            via: None,
            asked: Timestamp(0),
            answer: Some(Verdict { code: Code::Success, reason: String::new(), owner: None }),
            answered_at: Index(at),
        }
    }

    #[test]
    fn of_more_requests_at_once_than_answers_are_kept_the_newest_keep_theirs() {
        let newest = 2000_u64;
        let id = |number: u64| format!("r{number}").parse::<RequestId>().unwrap();
        // Whoever asked first of all has the answer that is given last: it had to wait for a stop.
        let mut requests: BTreeMap<_, _> = (1..newest).map(|number| (id(number), answered(number))).collect();
        requests.insert(id(0), answered(newest));
        prune(&mut requests, Timestamp(0), Index(newest));
        assert!(requests.contains_key(&id(0)), "somebody still waits for it");
        assert_eq!(requests.len(), KEPT_MAX);
    }

    #[test]
    fn an_answer_outlives_a_calendar_that_jumps_but_not_the_entries_that_follow_it() {
        let id: RequestId = "r".parse().unwrap();
        let mut requests = BTreeMap::from([(id.clone(), answered(10))]);
        let days_later = Timestamp(0) + Span::seconds(1_000_000);
        prune(&mut requests, days_later, Index(11));
        assert!(requests.contains_key(&id));
        prune(&mut requests, days_later, Index(1000));
        assert!(requests.is_empty());
    }
}
