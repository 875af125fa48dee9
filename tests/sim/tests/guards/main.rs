//! What Belay does when its own deciding part is wrong: each story switches one deliberate fault on, and the guards take the
//! decision back and freeze the service, with the evidence, before any host is told of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The tests' own tools stop a test that cannot go on.

#[path = "../../../../engine/tests/policy/cluster.rs"]
#[allow(dead_code)] // The policy's stories need more of it than these.
mod cluster;
mod hosts;
mod services;

use belay_engine::mutant::{self, Mutant};
use belay_engine::state::State;
use belay_engine::state::guard::{Invariant, Tripped};
use belay_engine::state::work::WorkKind;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Index, NodeId};
use cluster::{Cluster, ONE, THREE, TWO, a};

/// Whoever plays a story with a fault: it is off again when the story ends.
struct Fault;

impl Fault {
    fn on(fault: Mutant) -> Self {
        mutant::set(Some(fault));
        Self
    }

    fn off(self) {
        drop(self);
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        mutant::set(None);
    }
}

fn tripped(cluster: &Cluster) -> &Tripped {
    cluster.record().tripped.as_ref().expect("no guard went off")
}

/// The service is frozen for this reason, nobody is told anything new about it, and whoever asks is shown why.
fn is_contained(cluster: &Cluster, invariant: Invariant) {
    let found = tripped(cluster);
    assert_eq!(found.invariant, invariant, "{found:?}");
    assert!(cluster.record().frozen);
    assert!(starts_nowhere(cluster), "{}", cluster.does());
    let why = cluster.state.why(&a()).unwrap();
    assert!(why.service.guarded.as_ref().is_some_and(|words| words.starts_with(&invariant.to_string())), "{why:?}");
    let event: &HistoryEvent = why.chain.iter().find(|event| event.kind == EventKind::Guard).unwrap();
    assert_eq!((event.severity, event.id.index), (Severity::Critical, found.entry));
    assert!(cluster.state.alarms().iter().any(|alarm| alarm.contains("frozen by Belay itself")));
    let other = State::restore(&cluster.state.snapshot()).unwrap();
    assert_eq!(other.service(&a()).unwrap().tripped.as_ref(), Some(found), "whoever joins knows it too");
}

fn starts_nowhere(cluster: &Cluster) -> bool {
    [ONE, TWO, THREE].into_iter().all(|node| !work(cluster, node).iter().any(|work| matches!(work, WorkKind::Start(_))))
}

fn work(cluster: &Cluster, node: NodeId) -> Vec<WorkKind> {
    let assignments = cluster.state.assignments(node, Index(u64::MAX));
    assignments.work.into_iter().map(|work| work.what).collect()
}
