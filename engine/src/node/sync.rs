//! Synchronisation: after every change of membership, members compare their states before anything else happens.
//!
//! The member with the lowest id opens a round, everyone says how far its state is, and the most advanced one wins.
//! Whoever is behind takes the winner's snapshot; what is delivered meanwhile waits. A round is named by its initiator's
//! count, so that answers to an earlier one that arrive late are not mistaken for answers to this one.

use super::{Action, Node, Now};
use crate::mutant::{self, Mutant};
use crate::state::State;
use crate::state::work::Assignments;
use belay_config::Validated;
use belay_proto::entry::{ENTRY_VERSION, Entry, Member, View, What};
use belay_proto::history::Severity;
use belay_proto::ring::{Hello, Progress, RingId, RingMessage, RoundId, SnapshotPart};
use belay_proto::{NodeId, Term, Timestamp};
use std::collections::BTreeMap;

/// How much of a snapshot goes into one message, in bytes. Corosync carries 1 MiB at most.
const PART_BYTES: usize = 256 * 1024;
/// The most parts a snapshot may have: 256 MiB of state is damage, not a cluster.
const PARTS_MAX: u32 = 1024;

/// Where this host is between being alone and working.
#[derive(Debug)]
pub(super) enum Sync {
    /// In no ring.
    Out,
    /// In a ring whose members have not all answered yet.
    Syncing(Round),
    /// All members have answered.
    Joined(Round),
}

/// One round, or the wait for it.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) ring: RingId,
    pub(super) members: Vec<NodeId>,
    pub(super) hosts: Vec<NodeId>,
    /// Its name, once the initiator has opened it.
    pub(super) id: Option<RoundId>,
    pub(super) hellos: BTreeMap<NodeId, Hello>,
    /// What this host waits for when it is behind.
    pub(super) awaiting: Option<Awaiting>,
    /// When each member was last heard, on the monotonic clock.
    pub(super) heard: BTreeMap<NodeId, u64>,
    /// Why this host cannot take part.
    pub(super) trouble: Option<String>,
    pub(super) quorate_proposed: bool,
    /// The term it opens when it is quorate, once all have spoken.
    pub(super) term: Term,
    /// Who has promised that and was told of quorum, in order, each with its clock.
    pub(super) promises: Vec<(NodeId, Timestamp)>,
}

/// A snapshot on its way, and what came after it.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    parts: BTreeMap<u32, String>,
    pub(super) buffer: Vec<(NodeId, RingMessage)>,
}

impl Sync {
    pub(super) fn round(&self) -> Option<&Round> {
        match self {
            Self::Out => None,
            Self::Syncing(round) | Self::Joined(round) => Some(round),
        }
    }

    pub(super) fn round_mut(&mut self) -> Option<&mut Round> {
        match self {
            Self::Out => None,
            Self::Syncing(round) | Self::Joined(round) => Some(round),
        }
    }

    pub(super) fn joined_mut(&mut self) -> Option<&mut Round> {
        match self {
            Self::Joined(round) => Some(round),
            Self::Out | Self::Syncing(_) => None,
        }
    }

    pub(super) fn joined(&self) -> Option<&Round> {
        match self {
            Self::Joined(round) if round.awaiting.is_none() => Some(round),
            _ => None,
        }
    }

    pub(super) fn members(&self) -> &[NodeId] {
        self.round().map_or(&[], |round| &round.members)
    }
}

impl Node {
    pub(super) fn ring_view(&mut self, now: Now, ring: RingId, mut members: Vec<NodeId>, mut hosts: Vec<NodeId>) {
        members.sort_unstable();
        hosts.sort_unstable();
        self.stop_working();
        self.last_ring_ms = now.mono_ms;
        let initiator = members.first() == Some(&self.identity.node);
        let heard = members.iter().map(|id| (*id, now.mono_ms)).collect();
        self.sync = Sync::Syncing(Round {
            ring,
            members,
            hosts: hosts.clone(),
            id: None,
            hellos: BTreeMap::new(),
            awaiting: None,
            heard,
            trouble: None,
            quorate_proposed: false,
            term: Term::default(),
            promises: Vec::new(),
        });
        if initiator {
            let round = self.proposals.next_round(&self.identity);
            self.actions.push(Action::Propose(RingMessage::Sync { round, ring, hosts }));
        }
    }

    pub(super) fn ring_down(&mut self, reason: &str) {
        self.stop_working();
        self.sync = Sync::Out;
        self.ring_quorum = None;
        self.log(Severity::Warning, format!("the ring is down, waiting for it: {reason}"));
    }

    pub(super) fn sync_opened(&mut self, now: Now, from: NodeId, id: RoundId, ring: RingId, hosts: Vec<NodeId>) {
        let Some(old) = self.sync.round() else { return };
        if old.members.first() != Some(&from) || id.initiator != from {
            return;
        }
        let members = old.members.clone();
        self.stop_working();
        let heard = members.iter().map(|id| (*id, now.mono_ms)).collect();
        self.sync = Sync::Syncing(Round {
            ring,
            members,
            hosts,
            id: Some(id),
            hellos: BTreeMap::new(),
            awaiting: None,
            heard,
            trouble: None,
            quorate_proposed: false,
            term: Term::default(),
            promises: Vec::new(),
        });
        let hello = Hello {
            round: id,
            boot: self.identity.boot.clone(),
            incarnation: self.identity.incarnation,
            progress: self.state.progress(),
            quorate_round: self.state.quorate_round(),
            promised: self.promised,
            software: self.identity.software.clone(),
        };
        self.actions.push(Action::Propose(RingMessage::Hello(hello)));
    }

    pub(super) fn hello(&mut self, now: Now, from: NodeId, hello: Hello) {
        let Sync::Syncing(round) = &mut self.sync else { return };
        if round.id != Some(hello.round) || !round.members.contains(&from) {
            return;
        }
        round.hellos.insert(from, hello);
        if round.members.iter().all(|member| round.hellos.contains_key(member)) {
            self.complete_round(now);
        }
    }

    /// Everyone has spoken: the most advanced state wins; between equals the one most members have, then the one of the
    /// lowest member.
    fn winner(round: &Round) -> Option<(NodeId, Progress)> {
        let count = |progress: &Progress| round.hellos.values().filter(|h| h.progress == *progress).count();
        round
            .hellos
            .iter()
            .max_by_key(|(id, h)| {
                let progress = (h.progress.term, h.progress.index, count(&h.progress), std::cmp::Reverse(**id));
                let youngest = mutant::is(Mutant::OldestStateWins);
                (youngest.then_some(std::cmp::Reverse(progress)), progress)
            })
            .map(|(id, hello)| (*id, hello.progress))
    }

    fn complete_round(&mut self, now: Now) {
        let Sync::Syncing(mut round) = std::mem::replace(&mut self.sync, Sync::Out) else { return };
        let (Some((winner, best)), Some(id)) = (Self::winner(&round), round.id) else { return };
        let behind = |member: &NodeId| round.hellos.get(member).is_some_and(|hello| hello.progress != best);
        let me_behind = behind(&self.identity.node);
        let others_behind = round.members.iter().any(behind);
        let members = round.members.clone();
        round.term = Self::next_term(&round, best);
        let term = round.term;
        if me_behind {
            round.awaiting = Some(Awaiting::default());
        }
        self.sync = Sync::Joined(round);
        self.commit.new_round(&members);
        if winner == self.identity.node && others_behind {
            self.send_snapshot(id);
        }
        if !me_behind {
            self.acknowledge();
        }
        self.promise(now, term);
    }

    /// A number that no term has had, not even one that was opened by a single member and lost: what a majority had on
    /// disk in a later term must be more advanced than anything in that one. Whoever opened it had a majority's promises,
    /// and so one member of this round has promised it.
    fn next_term(round: &Round, best: Progress) -> Term {
        let promised = round.hellos.values().map(|hello| hello.promised).max().unwrap_or_default();
        let promised = if mutant::is(Mutant::LostTermWins) { Term::default() } else { promised };
        Term(promised.max(best.term).0.saturating_add(1))
    }

    /// Promises to open no term up to this one again. It counts once it is on disk: a member that forgot it could help to
    /// open another term with this number.
    fn promise(&mut self, now: Now, term: Term) {
        if term > self.promised {
            self.promised = term;
            self.actions.push(Action::Promise(term));
        }
        self.propose_quorate(now);
    }

    /// The promise is on disk.
    pub(super) fn promised(&mut self, now: Now, term: Term) {
        self.promised_on_disk = self.promised_on_disk.max(term);
        self.propose_quorate(now);
    }

    fn send_snapshot(&mut self, round: RoundId) {
        let text = self.state.snapshot();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let mut cut = rest.len().min(PART_BYTES);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, after) = rest.split_at(cut);
            pieces.push(piece.to_owned());
            rest = after;
        }
        let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        for (part, data) in (0..).zip(pieces) {
            self.actions.push(Action::Propose(RingMessage::Snapshot(SnapshotPart { round, part, parts, data })));
        }
    }

    pub(super) fn snapshot_part(&mut self, now: Now, part: SnapshotPart) {
        let Some(round) = self.sync.joined_mut() else { return };
        if round.id != Some(part.round) || part.parts > PARTS_MAX {
            return;
        }
        let Some(awaiting) = &mut round.awaiting else { return };
        let parts = part.parts as usize;
        awaiting.parts.insert(part.part, part.data);
        if awaiting.parts.len() < parts {
            return;
        }
        let text: String = awaiting.parts.values().map(String::as_str).collect();
        match State::restore(&text) {
            Ok(state) => self.take_over(now, state, text),
            Err(error) => {
                let text = format!("this host cannot read the cluster's state and takes no part: {error}");
                round.trouble = Some(text.clone());
                self.log(Severity::Critical, text);
            }
        }
    }

    fn take_over(&mut self, now: Now, state: State, json: String) {
        self.state = state;
        self.assigned.iter_mut().for_each(Assignments::of_another_state);
        if self.state.time() > self.clock(now) {
            self.anchor = (now.mono_ms, self.state.time());
        }
        self.commit.taken_over();
        let (index, term) = (self.state.index(), self.state.term());
        let events = self.state.remembered().cloned().collect();
        self.actions.push(Action::PersistSnapshot { history: self.commit.history(), index, term, json, events });
        let buffer = self.sync.joined_mut().and_then(|round| round.awaiting.take()).map(|a| a.buffer);
        for (from, message) in buffer.unwrap_or_default() {
            self.in_order(now, from, message);
        }
        self.propose_quorate(now);
    }

    pub(super) fn ring_quorum_says(&mut self, now: Now, ring: RingId, quorate: bool) {
        self.ring_quorum = Some((ring, quorate));
        let lost = self.round().is_some_and(|round| round.ring == ring) && !quorate && self.quorate;
        if let (true, Some(id)) = (lost, self.round().and_then(|round| round.id)) {
            // Stop at once; the message puts it in order for everybody.
            self.actions.push(Action::Quorate(false));
            self.actions.push(Action::Propose(RingMessage::QuorumLost { round: id }));
        } else if self.quorate && quorate && self.round().is_some_and(|round| round.ring == ring) {
            // The shell holds executors back at every verdict that is bad, one about a former ring too, which may come
            // late: after a peer had made this view quorate.
            self.actions.push(Action::Quorate(true));
        }
        self.propose_quorate(now);
    }

    /// Whether the daemons of the round, not only their hosts, have the votes. The quorum service counts hosts: were a
    /// few daemons among many living hosts enough, the next few could be others, who know nothing of what these decided.
    fn members_suffice(&self, config: Option<&Validated>) -> bool {
        let counts = |config: &&Validated| !config.two_node && !mutant::is(Mutant::HostsVoteForDaemons);
        let Some(config) = config.filter(counts) else { return true };
        let votes: u32 = self.sync.members().iter().filter_map(|id| config.nodes.get(id)).map(|node| node.votes).sum();
        votes >= config.quorum()
    }

    /// Tells the others what the quorum service told this host, once, if it speaks of this round's ring.
    fn propose_quorate(&mut self, now: Now) {
        // A member that knows nothing yet, since its store is new or was lost, goes by its own file: alone with living
        // hosts it would begin a history of its own, which may come to be more advanced than theirs.
        let own_file = self.file_config.as_ref().filter(|_| !mutant::is(Mutant::BlankMemberIsQuorate));
        if self.quorate || self.left || !self.members_suffice(self.state.config().or(own_file)) {
            return;
        }
        let time = self.clock(now);
        let (said, on_disk) = (self.ring_quorum, self.promised_on_disk);
        let Some(round) = self.sync.joined_mut() else { return };
        if said != Some((round.ring, true)) || round.quorate_proposed || round.term > on_disk {
            return;
        }
        if let Some(id) = round.id {
            round.quorate_proposed = true;
            let term = round.term;
            self.actions.push(Action::Propose(RingMessage::Quorate { round: id, term, time }));
        }
    }

    pub(super) fn lost_quorum(&mut self, now: Now, id: RoundId) {
        if self.round().and_then(|round| round.id) == Some(id) && self.quorate {
            self.stop_working();
            self.log(Severity::Critical, "quorum is lost: nothing is started, moved or fenced");
            let Some(round) = self.sync.joined_mut() else { return };
            round.quorate_proposed = false;
            round.promises.clear();
            round.term = Term(round.term.0.saturating_add(1));
            let term = round.term;
            // The verdict may have changed back before this came in order; nobody would say so again.
            self.promise(now, term);
        }
    }

    pub(super) fn became_quorate(&mut self, now: Now, from: NodeId, (id, term): (RoundId, Term), time: Timestamp) {
        let quorate = self.quorate;
        let Some(round) = self.sync.joined_mut() else { return };
        if round.id != Some(id) || round.term != term || quorate {
            return;
        }
        round.promises.push((from, time));
        let promised: Vec<NodeId> = round.promises.iter().map(|(node, _)| *node).collect();
        if self.members_suffice(self.state.config()) && self.enough(&promised) {
            self.open_term(now, id);
        }
    }

    fn open_term(&mut self, now: Now, id: RoundId) {
        let Some(round) = self.sync.joined() else { return };
        let members: Vec<Member> = round
            .hellos
            .iter()
            .map(|(node, hello)| Member {
                node: *node,
                boot: hello.boot.clone(),
                incarnation: hello.incarnation,
                diverged: self.state.diverged(hello.progress.term, hello.quorate_round),
            })
            .collect();
        let staying: Vec<NodeId> = members.iter().filter(|m| self.state.stays(m)).map(|m| m.node).collect();
        // Where the cluster has been running, its clock goes on: a host that joins has its calendar's word for the time,
        // and a wrong one would end every grace and forget every answer at once.
        let trusted = |node| staying.is_empty() || staying.contains(node) || mutant::is(Mutant::JoinersSetTheClock);
        let clock = round.promises.iter().find(|(node, _)| trusted(node)).map(|(_, time)| *time);
        let time = clock.unwrap_or(self.state.time());
        let view = View { round: id, ring: round.ring, term: round.term, members, hosts: round.hosts.clone() };
        self.quorate = true;
        self.actions.push(Action::Quorate(true));
        self.apply(now, &Entry { version: ENTRY_VERSION, from: id.initiator, time, what: What::View(view) });
        self.opened = self.state.index();
        if !staying.contains(&self.identity.node) {
            self.anchor = (now.mono_ms, self.state.time());
        }
        self.repropose(now);
    }
}
