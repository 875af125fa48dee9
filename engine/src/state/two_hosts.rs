//! Two hosts that need each other's word, for the stories of what happens when they part and meet.

use super::State;
use belay_proto::entry::{ENTRY_VERSION, Entry, Member, View, What};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{Incarnation, NodeId, Term, Timestamp};

pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);
/// Their configuration, with one VM.
pub(super) const CONF: &str = r#"<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/>
<clusternodes><clusternode name="one" nodeid="1"/><clusternode name="two" nodeid="2"><fence><method name="m">
<device name="d"/></method></fence></clusternode></clusternodes>
<fencedevices><fencedevice name="d" agent="fence_d"/></fencedevices><rm><vm name="a" path="/vms"/></rm></cluster>"#;

pub(super) fn apply(state: &mut State, from: NodeId, what: What) {
    state.apply(&Entry { version: ENTRY_VERSION, from, time: Timestamp(1), what });
}

/// A view of a term, each member in so many-th life of its daemon.
pub(super) fn meet(state: &mut State, term: u64, members: &[(NodeId, u64)], diverged: Option<NodeId>) {
    let member = |(node, life): &(NodeId, u64)| Member {
        node: *node,
        boot: format!("boot{node}").parse().unwrap(),
        incarnation: Incarnation(*life),
        diverged: diverged == Some(*node),
    };
    let view = View {
        round: RoundId { initiator: ONE, incarnation: Incarnation(1), serial: term },
        ring: RingId::default(),
        term: Term(term),
        members: members.iter().map(member).collect(),
        hosts: members.iter().map(|(node, _)| *node).collect(),
    };
    apply(state, ONE, What::View(view));
}
