//! One node in a ring whose other members say what is expected of them: enough to run entries through the whole node,
//! from the ring's delivery to the work that is handed out.

use crate::cluster::{Cluster, boot};
use belay_engine::node::{Action, Event, Identity, Node, Now};
use belay_proto::entry::What;
use belay_proto::ring::{Hello, RingId, RingMessage, RoundId};
use belay_proto::{Incarnation, NodeId};

/// A quorate node with its peers.
#[derive(Debug)]
pub struct RingOfOne {
    node: Node,
    /// The cluster that makes the entries; its state follows the node's.
    cluster: Cluster,
    hosts: u32,
    round: Option<RoundId>,
    now: Now,
}

impl RingOfOne {
    /// Node 1 of a running cluster, quorate.
    #[must_use]
    pub fn new(cluster: Cluster, hosts: u32) -> Self {
        let identity = Identity {
            node: NodeId(1),
            boot: boot(NodeId(1)),
            incarnation: Incarnation(1),
            software: "benchmark".into(),
        };
        let now = Now { mono_ms: 1_000, wall: cluster.state.time() };
        let node = Node::new(identity, cluster.state.clone(), now);
        let mut ring = Self { node, cluster, hosts, round: None, now };
        let id = RingId { representative: NodeId(1), sequence: 9 };
        let all: Vec<NodeId> = (1..=hosts).map(NodeId).collect();
        ring.step(Event::RingView { ring: id, members: all.clone(), hosts: all });
        ring.step(Event::RingQuorum { ring: id, quorate: true });
        assert!(ring.node.quorate(), "the node of the benchmark is not quorate");
        ring
    }

    /// Gives the node an event and plays the ring and the store to what it answers. Returns how often work was handed out.
    fn step(&mut self, event: Event) -> usize {
        let mut handed_out = 0;
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.node.step(self.now, event) {
                match action {
                    Action::Propose(message) => {
                        self.note_round(&message);
                        let opened = matches!(message, RingMessage::Sync { .. });
                        if let RingMessage::Quorate { .. } = &message {
                            for peer in 2..=self.hosts {
                                events.push_back(Event::RingMessage { from: NodeId(peer), message: message.clone() });
                            }
                        }
                        events.push_back(Event::RingMessage { from: NodeId(1), message });
                        if opened {
                            events.extend(self.greetings());
                        }
                    }
                    Action::Persist(records) => {
                        let Some((history, last)) = records.last().map(|record| (record.history, record.index)) else {
                            continue;
                        };
                        events.push_back(Event::Persisted { history, index: last });
                        for peer in 2..=self.hosts {
                            let Some(round) = self.round else { continue };
                            let message = RingMessage::Persisted { round, index: last };
                            events.push_back(Event::RingMessage { from: NodeId(peer), message });
                        }
                    }
                    Action::Promise(term) => events.push_back(Event::Promised(term)),
                    Action::Assign(_) => handed_out += 1,
                    _ => {}
                }
            }
        }
        handed_out
    }

    fn note_round(&mut self, message: &RingMessage) {
        if let RingMessage::Sync { round, .. } = message {
            self.round = Some(*round);
        }
    }

    /// What the peers answer to the opening of a round: that they are as far as this node.
    fn greetings(&self) -> Vec<Event> {
        let Some(round) = self.round else { return Vec::new() };
        let state = self.node.state();
        let (progress, quorate_round) = (state.progress(), state.quorate_round());
        let hello = |peer| {
            let node = NodeId(peer);
            let hello = Hello {
                round,
                boot: boot(node),
                incarnation: Incarnation(1),
                progress,
                quorate_round,
                promised: state.term(),
                outlived: None,
                software: "benchmark".into(),
            };
            Event::RingMessage { from: node, message: RingMessage::Hello(hello) }
        };
        (2..=self.hosts).map(hello).collect()
    }

    /// The proposal that one of the VMs died. What it says is made of the node's own state.
    #[must_use]
    pub fn death(&mut self, number: u32) -> Event {
        self.cluster.state.clone_from(self.node.state());
        let (owner, what) = self.cluster.death_of(number);
        self.delivered(owner, what)
    }

    fn delivered(&mut self, from: u32, what: What) -> Event {
        let entry = self.cluster.entry(from, what);
        Event::RingMessage { from: NodeId(from), message: RingMessage::Entry(entry) }
    }

    /// Runs an entry through the node until every member has it on disk and the work is handed out.
    pub fn run(&mut self, event: Event) -> usize {
        let handed_out = self.step(event);
        assert_eq!(self.node.committed(), self.node.state().index(), "the entry was not committed");
        handed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::SMALL;

    #[test]
    fn a_death_becomes_work_once_it_is_on_disk() {
        let mut ring = RingOfOne::new(Cluster::running(SMALL), SMALL.hosts);
        // One on this host: others' work is not this node's.
        let mine = (0..SMALL.vms).find(|number| ring.cluster.service(*number).2 == 1).unwrap();
        let death = ring.death(mine);
        assert!(ring.run(death) > 0);
    }
}
