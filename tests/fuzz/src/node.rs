//! A node and what it hears from the ring. A line is a member's number and a message, or a word for what else happens to
//! a node: `view 1 2`, `quorum`, `no quorum`, `own` (its own messages come back through the ring), `wait 1000`, `down`.

use belay_engine::node::{Action, Event, Identity, Node, Now};
use belay_engine::state::State;
use belay_proto::ring::{RING_VERSION, RingId, RingMessage};
use belay_proto::{BootId, Incarnation, NodeId, Timestamp};
use std::collections::VecDeque;

const ME: NodeId = NodeId(1);

/// A configuration of two members.
const CONF: &str = "<cluster name='c' config_version='1'><clusternodes><clusternode name='one' nodeid='1'/>\
    <clusternode name='two' nodeid='2'/></clusternodes><rm><vm name='a' path='/vms'/></rm></cluster>";

const MOST_LINES: usize = 200;
/// Messages of one's own that come back at once.
const MOST_OWN: usize = 50;

/// A node, its ring's number, and what it said.
struct Fed {
    node: Node,
    now: Now,
    ring: RingId,
    sent: VecDeque<RingMessage>,
}

/// Anything at all.
pub(crate) fn hears(bytes: &[u8]) {
    if let Ok(message) = RingMessage::decode(bytes) {
        survives(&message);
    }
    let boot: BootId = "boot".parse().unwrap();
    let identity = Identity { node: ME, boot, incarnation: Incarnation(1), software: "fuzz".into() };
    let now = Now { mono_ms: 0, wall: Timestamp(1_000_000) };
    let node = Node::new(identity, State::new(), now);
    let mut fed = Fed { node, now, ring: RingId { representative: ME, sequence: 1 }, sent: VecDeque::new() };
    fed.step(Event::ConfigFile { version: 1, text: CONF.to_owned() });
    for line in bytes.split(|byte| *byte == b'\n').take(MOST_LINES) {
        fed.line(line);
    }
    let status = fed.node.status(fed.now);
    assert!(status.committed <= status.index, "what is committed was applied");
    let state = fed.node.state();
    let restored = State::restore(&state.snapshot()).expect("a node's state is a state");
    assert_eq!(restored.progress(), state.progress());
}

impl Fed {
    fn line(&mut self, line: &[u8]) {
        let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let (word, text) = (String::from_utf8_lossy(word), String::from_utf8_lossy(rest));
        match word.as_ref() {
            "view" => {
                let members: Vec<NodeId> = text.split(' ').filter_map(|id| id.parse().ok()).map(NodeId).collect();
                self.ring.sequence += 1;
                self.step(Event::RingView { ring: self.ring, members: members.clone(), hosts: members });
            }
            "quorum" | "no" => self.step(Event::RingQuorum { ring: self.ring, quorate: word == "quorum" }),
            "own" => self.own(),
            "wait" => {
                let ms = text.parse::<u32>().unwrap_or(1000);
                self.now.mono_ms += u64::from(ms);
                self.now.wall = Timestamp(self.now.wall.0 + u64::from(ms));
                self.step(Event::Timer);
            }
            "down" => self.step(Event::RingDown { reason: text.into_owned() }),
            "report" => {
                if let Ok(what) = serde_json::from_slice(rest) {
                    self.step(Event::Report(what));
                }
            }
            from => {
                let wire = [&RING_VERSION.to_be_bytes()[..], rest].concat();
                if let (Ok(from), Ok(message)) = (from.parse(), RingMessage::decode(&wire)) {
                    survives(&message);
                    self.step(Event::RingMessage { from: NodeId(from), message });
                }
            }
        }
    }

    /// What it sent comes back to itself, and what it sends because of that.
    fn own(&mut self) {
        for _ in 0..MOST_OWN {
            let Some(message) = self.sent.pop_front() else { return };
            self.step(Event::RingMessage { from: ME, message });
        }
    }

    /// Its disk is quick.
    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.node.step(self.now, event) {
                match action {
                    Action::Propose(message) => {
                        survives(&message);
                        self.sent.push_back(message);
                    }
                    Action::Persist(records) => {
                        let last =
                            records.last().map(|last| Event::Persisted { history: last.history, index: last.index });
                        events.extend(last);
                    }
                    Action::PersistSnapshot { history, index, json, .. } => {
                        assert!(State::restore(&json).is_ok(), "what goes to the disk can be read again");
                        events.push_back(Event::Persisted { history, index });
                    }
                    Action::Promise(term) => events.push_back(Event::Promised(term)),
                    Action::Assign(_)
                    | Action::Quorate(_)
                    | Action::Reply { .. }
                    | Action::Publish(_)
                    | Action::WakeAt(_)
                    | Action::LeaveRing
                    | Action::Log(..) => {}
                }
            }
        }
    }
}

/// A message is the same after the ring.
fn survives(message: &RingMessage) {
    assert_eq!(RingMessage::decode(&message.encode()).as_ref().ok(), Some(message));
}
