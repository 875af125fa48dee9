//! One node, fed by hand: what it says to verdicts that come late, and to a history that replaces its own.

use super::{Action, Event, History, Identity, Node, Now};
use crate::state::State;
use belay_proto::entry::{ENTRY_VERSION, Entry, GoneReason, Member, Request, Seen, View, What};
use belay_proto::ring::{Hello, RingId, RingMessage, RoundId, SnapshotPart};
use belay_proto::{Code, Incarnation, Index, NodeId, OwnershipEpoch, RequestId, Term, Timestamp};
use std::collections::VecDeque;

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const CONF: &str = r#"<cluster name="c" config_version="1"><clusternodes><clusternode name="one" nodeid="1"/></clusternodes>
<rm><vm name="a" path="/vms"/></rm></cluster>"#;

fn ring(sequence: u64) -> RingId {
    RingId { representative: ME, sequence }
}

/// A node whose ring delivers when told to.
struct Fed {
    node: Node,
    sent: VecDeque<RingMessage>,
    persists: bool,
    promises: bool,
}

impl Fed {
    /// Quorate by itself, with a configuration, everything on disk.
    fn quorate() -> Self {
        let mut fed = Self::with(CONF);
        fed.step(Event::RingView { ring: ring(1), members: vec![ME], hosts: vec![ME] });
        fed.step(Event::RingQuorum { ring: ring(1), quorate: true });
        fed.deliver();
        assert!(fed.node.quorate() && fed.node.state().config().is_some());
        fed
    }

    /// In no ring yet, with this file.
    fn with(conf: &str) -> Self {
        let boot = "boot".parse().unwrap();
        let identity = Identity { node: ME, boot, incarnation: Incarnation(1), software: "test".into() };
        let now = Now { mono_ms: 0, wall: Timestamp(1000) };
        let mut fed = Self {
            node: Node::new(identity, State::new(), now),
            sent: VecDeque::new(),
            persists: true,
            promises: true,
        };
        fed.step(Event::ConfigFile { version: 1, text: conf.into() });
        fed
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let now = Now { mono_ms: 0, wall: Timestamp(1000) };
        let mut actions = self.node.step(now, event);
        for action in &actions {
            if let Action::Propose(message) = action {
                self.sent.push_back(message.clone());
            }
        }
        let last = actions.iter().find_map(|action| match action {
            Action::Persist(records) => records.last().map(|record| (record.history, record.index)),
            _ => None,
        });
        if let Some((history, index)) = last.filter(|_| self.persists) {
            actions.extend(self.step(Event::Persisted { history, index }));
        }
        let promise = actions.iter().find_map(|action| match action {
            Action::Promise(term) => Some(*term),
            _ => None,
        });
        if let Some(term) = promise.filter(|_| self.promises) {
            actions.extend(self.step(Event::Promised(term)));
        }
        actions
    }

    /// Delivers all that was sent, and what is sent because of it.
    fn deliver(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(message) = self.sent.pop_front() {
            actions.extend(self.hear(ME, message));
        }
        actions
    }

    fn hear(&mut self, from: NodeId, message: RingMessage) -> Vec<Action> {
        self.step(Event::RingMessage { from, message })
    }

    /// A peer joins whose history is the more advanced one.
    fn meets_a_peer_that_is_ahead(&mut self) -> Vec<Action> {
        self.meets_a_peer_whose_last_view_had(Vec::new())
    }

    fn meets_a_peer_whose_last_view_had(&mut self, members: Vec<Member>) -> Vec<Action> {
        let mut ahead = self.node.state().clone();
        let round = RoundId { initiator: PEER, incarnation: Incarnation(1), serial: 1 };
        let view = View { round, ring: ring(2), term: Term(0), members, hosts: vec![PEER] };
        for what in [What::View(view), What::Tick, What::Tick] {
            ahead.apply(&Entry { version: ENTRY_VERSION, from: PEER, time: Timestamp(2000), what });
        }
        self.step(Event::RingView { ring: ring(3), members: vec![ME, PEER], hosts: vec![ME, PEER] });
        let opened = self.sent.iter().find_map(|message| match message {
            RingMessage::Sync { round, .. } => Some(*round),
            _ => None,
        });
        let round = opened.unwrap();
        self.deliver();
        self.hear(PEER, RingMessage::Hello(hello_of_peer(round, &ahead, ahead.term())));
        let part = SnapshotPart { round, part: 0, parts: 1, data: ahead.snapshot() };
        self.hear(PEER, RingMessage::Snapshot(part))
    }
}

/// What the other host says of itself when it has this state.
fn hello_of_peer(round: RoundId, state: &State, promised: Term) -> Hello {
    Hello {
        round,
        boot: "other".parse().unwrap(),
        incarnation: Incarnation(1),
        progress: state.progress(),
        quorate_round: state.quorate_round(),
        promised,
        outlived: None,
        software: String::new(),
    }
}

/// A single host that two hosts' file makes need the other: both have spoken, and the other one has promised a term.
fn met_a_peer_that_promised(term: u64, promises: bool) -> (Fed, Vec<Action>) {
    let mut fed = Fed::quorate();
    fed.promises = promises;
    fed.step(Event::RingView { ring: ring(3), members: vec![ME, PEER], hosts: vec![ME, PEER] });
    fed.step(Event::RingQuorum { ring: ring(3), quorate: true });
    let opened = fed.sent.iter().find_map(|message| match message {
        RingMessage::Sync { round, .. } => Some(*round),
        _ => None,
    });
    let round = opened.unwrap();
    fed.deliver();
    let hello = hello_of_peer(round, fed.node.state(), Term(term));
    let actions = fed.hear(PEER, RingMessage::Hello(hello));
    (fed, actions)
}

fn proposes_to_open(actions: &[Action]) -> Option<Term> {
    actions.iter().find_map(|action| match action {
        Action::Propose(RingMessage::Quorate { term, .. }) => Some(*term),
        _ => None,
    })
}

#[test]
fn a_term_gets_a_number_above_all_that_any_member_has_promised() {
    let (_, actions) = met_a_peer_that_promised(41, true);
    assert_eq!(proposes_to_open(&actions), Some(Term(42)));
}

#[test]
fn no_term_is_opened_before_the_promise_is_on_disk() {
    let (mut fed, actions) = met_a_peer_that_promised(41, false);
    assert!(actions.contains(&Action::Promise(Term(42))));
    assert_eq!(proposes_to_open(&actions), None);
    assert_eq!(proposes_to_open(&fed.step(Event::Promised(Term(42)))), Some(Term(42)));
    fed.deliver();
    assert_eq!(fed.node.state().term(), Term(42));
}

#[test]
fn a_promise_outlives_the_daemon_that_gave_it() {
    let boot = "boot".parse().unwrap();
    let identity = Identity { node: ME, boot, incarnation: Incarnation(2), software: "test".into() };
    let now = Now { mono_ms: 0, wall: Timestamp(1000) };
    let node = Node::new(identity, State::new(), now).having_promised(Term(7));
    let mut fed = Fed { node, sent: VecDeque::new(), persists: true, promises: true };
    fed.step(Event::RingView { ring: ring(1), members: vec![ME], hosts: vec![ME] });
    fed.step(Event::RingQuorum { ring: ring(1), quorate: true });
    fed.deliver();
    assert_eq!(fed.node.state().term(), Term(8));
}

fn acknowledged(actions: &[Action]) -> Option<Index> {
    actions.iter().rev().find_map(|action| match action {
        Action::Propose(RingMessage::Persisted { index, .. }) => Some(*index),
        _ => None,
    })
}

fn two_hosts() -> String {
    CONF.replace("</clusternodes>", r#"<clusternode name="two" nodeid="2"/></clusternodes>"#)
}

#[test]
fn who_knows_nothing_yet_counts_the_votes_of_its_own_file() {
    let mut fed = Fed::with(&two_hosts());
    fed.step(Event::RingView { ring: ring(2), members: vec![ME], hosts: vec![ME, PEER] });
    fed.step(Event::RingQuorum { ring: ring(2), quorate: true });
    fed.deliver();
    assert!(!fed.node.quorate());
}

#[test]
fn the_votes_of_living_hosts_without_daemons_make_no_view_quorate() {
    let mut fed = Fed::quorate();
    fed.step(Event::ConfigFile {
        version: 2,
        text: two_hosts().replace(r#"config_version="1""#, r#"config_version="2""#),
    });
    fed.deliver();
    fed.step(Event::RingView { ring: ring(2), members: vec![ME], hosts: vec![ME, PEER] });
    fed.step(Event::RingQuorum { ring: ring(2), quorate: true });
    fed.deliver();
    assert!(!fed.node.quorate());
}

#[test]
fn a_verdict_that_changes_back_before_its_message_is_in_order_makes_the_view_quorate_again() {
    let mut fed = Fed::quorate();
    fed.step(Event::RingQuorum { ring: ring(1), quorate: false });
    fed.step(Event::RingQuorum { ring: ring(1), quorate: true });
    fed.deliver();
    assert!(fed.node.quorate());
}

#[test]
fn a_late_verdict_on_a_former_ring_does_not_hold_executors_back_for_ever() {
    let mut fed = Fed::quorate();
    fed.step(Event::RingQuorum { ring: ring(0), quorate: false });
    let actions = fed.step(Event::RingQuorum { ring: ring(1), quorate: true });
    assert!(actions.contains(&Action::Quorate(true)));
}

#[test]
fn what_reaches_the_disk_of_a_replaced_history_counts_for_nothing() {
    let mut fed = Fed::quorate();
    let actions = fed.meets_a_peer_that_is_ahead();
    let taken = actions.iter().find_map(|action| match action {
        Action::PersistSnapshot { history, index, .. } => Some((*history, *index)),
        _ => None,
    });
    let (history, index) = taken.unwrap();
    let late = fed.step(Event::Persisted { history: History(history.0 - 1), index });
    assert_eq!(acknowledged(&late), Some(Index(0)));
    let written = fed.step(Event::Persisted { history, index });
    assert_eq!(acknowledged(&written), Some(index));
}

#[test]
fn after_a_history_was_taken_over_no_work_is_handed_out_before_its_term_is_committed() {
    let mut fed = Fed::quorate();
    fed.meets_a_peer_that_is_ahead();
    fed.persists = false;
    fed.step(Event::RingQuorum { ring: ring(3), quorate: true });
    let actions = fed.deliver();
    assert!(fed.node.quorate());
    assert!(!actions.iter().any(|action| matches!(action, Action::Assign(_))), "{actions:?}");
    fed.step(Event::Persisted { history: fed.node.history(), index: fed.node.state().index() });
    assert!(fed.deliver().iter().any(|action| matches!(action, Action::Assign(_))));
}

#[test]
fn who_waits_for_a_request_that_a_lost_history_had_taken_in_is_told_to_ask_again() {
    let mut fed = Fed::quorate();
    fed.persists = false;
    let id: RequestId = "r".parse().unwrap();
    let request = Request::Disable { service: "vm:a".parse().unwrap() };
    // What the peer has does not contain it: it is made from the state before.
    let before = fed.node.state().clone();
    fed.step(Event::Submit { id: id.clone(), by: "root".into(), request });
    fed.deliver();
    assert!(fed.node.state().knows_request(&id));
    fed.node.state = before;
    fed.meets_a_peer_that_is_ahead();
    fed.step(Event::RingQuorum { ring: ring(3), quorate: true });
    let told = fed.deliver().into_iter().find_map(|action| match action {
        Action::Reply { id, verdict } => Some((id, verdict.code)),
        _ => None,
    });
    assert_eq!(told, Some((id, Code::Again)));
}

#[test]
fn whoever_has_yet_to_hear_that_a_vm_went_also_hears_that_it_is_back() {
    let seen = |seen| What::Observation { service: "vm:a".parse().unwrap(), epoch: OwnershipEpoch(1), seen };
    let told_later = |before: Option<Seen>| {
        let mut fed = Fed::quorate();
        fed.step(Event::RingQuorum { ring: ring(1), quorate: false });
        fed.deliver();
        assert!(!fed.node.quorate());
        for what in before.into_iter().chain([Seen::Running]) {
            fed.step(Event::Report(seen(what)));
        }
        fed.step(Event::RingQuorum { ring: ring(1), quorate: true });
        let actions = fed.deliver();
        let told = actions.into_iter().filter_map(|action| match action {
            Action::Propose(RingMessage::Entry(Entry { what: What::Observation { seen, .. }, .. })) => Some(seen),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let moved = Seen::Gone { why: GoneReason::Migrated };
    assert_eq!(told_later(Some(moved.clone())), [moved, Seen::Running]);
    assert_eq!(told_later(None), [], "an inventory tells it");
}

#[test]
fn who_missed_the_last_view_sets_its_clock_by_it_only_if_that_had_it() {
    let now = Now { mono_ms: 0, wall: Timestamp(1000) };
    let calendar = Timestamp(5_000_000);
    let me = Member { node: ME, boot: "boot".parse().unwrap(), incarnation: Incarnation(1), diverged: false };
    for (members, clock) in [(vec![me], Timestamp(2000)), (Vec::new(), calendar)] {
        let mut fed = Fed::quorate();
        fed.node.anchor = (0, calendar);
        fed.meets_a_peer_whose_last_view_had(members);
        assert_eq!(fed.node.clock(now), clock);
    }
}

#[test]
fn executors_may_act_when_they_have_the_list_of_the_present_term_and_not_before() {
    let mut fed = Fed::quorate();
    fed.persists = false;
    fed.step(Event::RingView { ring: ring(2), members: vec![ME], hosts: vec![ME] });
    fed.step(Event::RingQuorum { ring: ring(2), quorate: true });
    let told = |actions: &[Action]| actions.contains(&Action::Quorate(true));
    let actions = fed.deliver();
    assert!(fed.node.quorate() && !told(&actions), "the view is not on disk, and so there is no list: {actions:?}");
    fed.step(Event::Persisted { history: fed.node.history(), index: fed.node.state().index() });
    assert!(told(&fed.deliver()));
}
