//! What corosync's libraries say, as owned data.
//!
//! The binding calls plain functions, without anything of ours, while it holds a lock that every other call of it needs:
//! a callback that called back would wait for itself, and one that panicked would poison the lock. So these only put
//! what they are given on a list of their thread, which dispatches and then reads the list. That is also why a ring has
//! a thread of its own.

use belay_proto::NodeId;
use belay_proto::ring::RingId;
use rust_corosync::{cpg, quorum};
use std::cell::RefCell;

/// One thing that corosync said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The group's members, in the order of its messages.
    Members {
        /// All there are now.
        members: Vec<NodeId>,
        /// They changed because hosts came or went, not processes: the ring that this belongs to follows.
        ring_follows: bool,
    },
    /// A message to the group.
    Message { from: NodeId, bytes: Vec<u8> },
    /// A new ring, in the order of the group's messages, after the members that came with it.
    Ring { ring: RingId, hosts: Vec<NodeId> },
    /// The quorum service's verdict, on a channel of its own.
    Quorum { ring: RingId, hosts: Vec<NodeId>, quorate: bool },
}

thread_local! {
    static ARRIVED: RefCell<Vec<Arrival>> = const { RefCell::new(Vec::new()) };
}

/// What the dispatches on this thread brought since this was last asked.
pub(super) fn take() -> Vec<Arrival> {
    ARRIVED.with(|arrived| arrived.try_borrow_mut().map(|mut list| std::mem::take(&mut *list)).unwrap_or_default())
}

fn put(arrival: Arrival) {
    ARRIVED.with(|arrived| {
        // Nobody holds the list during a dispatch; if somebody did, a panic here would be worse than anything.
        if let Ok(mut list) = arrived.try_borrow_mut() {
            list.push(arrival);
        }
    });
}

/// The functions for the group's library.
pub(super) fn group() -> cpg::ModelData {
    cpg::ModelData::ModelV1(cpg::Model1Data {
        flags: cpg::Model1Flags::None,
        deliver_fn: Some(on_message),
        confchg_fn: Some(on_members),
        totem_confchg_fn: Some(on_ring),
    })
}

/// The functions for the quorum library.
pub(super) fn verdicts() -> quorum::ModelData {
    quorum::ModelData::ModelV1(quorum::Model1Data {
        flags: quorum::Model1Flags::None,
        quorum_notification_fn: Some(on_quorum),
        nodelist_notification_fn: None,
    })
}

fn node(id: rust_corosync::NodeId) -> NodeId {
    NodeId(u32::from(id))
}

fn ascending(nodes: impl Iterator<Item = rust_corosync::NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = nodes.map(node).collect();
    nodes.sort_unstable();
    // A node whose new daemon joined before its old one was seen to be gone is there twice.
    nodes.dedup();
    nodes
}

fn on_message(_: &cpg::Handle, _: String, from: rust_corosync::NodeId, _pid: u32, bytes: &[u8], _: usize) {
    put(Arrival::Message { from: node(from), bytes: bytes.to_vec() });
}

fn on_members(
    _: &cpg::Handle,
    _: &str,
    members: Vec<cpg::Address>,
    left: Vec<cpg::Address>,
    joined: Vec<cpg::Address>,
) {
    let by_host = |change: &cpg::Address| matches!(change.reason, cpg::Reason::NodeDown | cpg::Reason::NodeUp);
    put(Arrival::Members {
        members: ascending(members.iter().map(|member| member.nodeid)),
        ring_follows: left.iter().chain(&joined).any(by_host),
    });
}

fn on_ring(_: &cpg::Handle, ring: cpg::RingId, hosts: Vec<rust_corosync::NodeId>) {
    let ring = RingId { representative: node(ring.nodeid), sequence: ring.seq };
    put(Arrival::Ring { ring, hosts: ascending(hosts.into_iter()) });
}

fn on_quorum(_: &quorum::Handle, quorate: bool, ring: quorum::RingId, hosts: Vec<rust_corosync::NodeId>) {
    let ring = RingId { representative: node(ring.nodeid), sequence: ring.seq };
    put(Arrival::Quorum { ring, hosts: ascending(hosts.into_iter()), quorate });
}
