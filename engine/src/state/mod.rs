//! The replicated state: what every member knows, and how entries change it.
//!
//! [`State::apply`] takes the next entry of the ordered stream and nothing else: every member that has applied the same
//! entries holds the same state (design S4). A state only changes in quorate views, so there is no minority opinion to
//! reconcile later. What hosts have to do is derived from it ([`State::assignments`]), as is what people are shown
//! ([`State::status`], [`State::why`]).
//!
//! ```text
//!   entry ──► apply ──► request / outcome / observation / view …   what the entry says
//!                  └──► advance    what became due with the time it carries: fencing, retries
//!                  └──► settle     services that should run and do not: find them a place
//!                  └──► guard      what of all this must not be is taken back
//! ```
//!
//! The life of one service (the words are those of `clustat`):
//!
//! ```text
//!                enable, autostart               Started
//!   disabled ───────────────► stopped ─► starting ─────────► started ──┐ died: restart in place,
//!      ▲                        ▲ ▲          │ StartFailed      │      │ or elsewhere (recovery.rs)
//!      │ disable                │ └──────────┘ try elsewhere    │ ◄────┘
//!      │                        │ Stopped                       │ stop, disable, relocate …
//!      └──────── stopping ◄─────┴───────────────────────────────┤
//!                   │ StopFailed                                │ migrate
//!                   ▼                                           ▼
//!                failed ──disable──► stopping              migrating ─► look at both ends ─► started
//! ```
//!
//! What must never happen here: starting a service that a host which was not proven dead may still run. Only
//! [`fencing::FencedProof`] takes a service from a lost owner.

pub mod facts;
pub mod fencing;
pub mod guard;
pub mod member;
pub mod migration;
pub mod mode;
pub mod moves;
pub mod placement;
pub mod recovery;
pub mod request;
pub mod service;
pub mod snapshot;
pub mod switch_on;
pub mod work;

mod arming;
mod arrival;
mod assign;
mod chain;
mod config;
mod decision;
mod ending;
mod history;
mod inventory;
mod journal;
mod limits;
mod outcome;
mod rivals;
mod services;
mod split;
mod status;
#[cfg(test)]
mod two_hosts;
mod view;

use belay_config::Validated;
use belay_proto::control::Disarmed;
use belay_proto::entry::{Entry, View, What};
use belay_proto::history::HistoryEvent;
use belay_proto::ring::RoundId;
use belay_proto::{Index, NodeId, RequestId, Term, Timestamp};
use fencing::victim::Victim;
use journal::Journal;
use member::NodeRecord;
use placement::rules::Rules;
use request::record::RequestRecord;
use serde::{Deserialize, Serialize};
use services::Services;
use std::collections::{BTreeMap, VecDeque};

/// What the cluster knows. Serialises to the snapshot that members exchange and store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    index: Index,
    term: Term,
    time: Timestamp,
    /// A running hash of all entries applied: tells two histories of one length apart.
    chain: u64,
    /// The rounds that opened the newest terms, to recognise a member whose last quorate term was not one of ours.
    rounds: BTreeMap<Term, RoundId>,
    view: Option<View>,
    config_text: String,
    #[serde(skip)]
    config: Option<Validated>,
    /// What the configuration says of VMs among each other, made from it.
    #[serde(skip)]
    rules: Rules,
    nodes: BTreeMap<NodeId, NodeRecord>,
    victims: BTreeMap<NodeId, Victim>,
    services: Services,
    requests: BTreeMap<RequestId, RequestRecord>,
    /// Nothing is started or recovered (`clusvcadm -l`).
    #[serde(default)]
    locked: bool,
    /// Nothing is fenced or recovered until then.
    #[serde(default)]
    disarmed: Option<Disarmed>,
    /// The newest events, ascending by id, from which chains of causes are put together.
    recent: VecDeque<HistoryEvent>,
    #[serde(skip)]
    journal: Journal,
    #[serde(skip)]
    watch: guard::Watch,
    /// Counts how often members were asked what they run.
    inquiry: u64,
}

/// How many terms a state remembers the rounds of.
const ROUNDS_KEPT: usize = 64;

impl State {
    /// A state that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries were applied.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// How often the cluster became quorate.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The latest time any entry carried.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The running hash of all entries.
    #[must_use]
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// The round that opened the present term.
    #[must_use]
    pub fn quorate_round(&self) -> Option<RoundId> {
        self.rounds.get(&self.term).copied()
    }

    /// Whether a member that last was quorate in this term and round was so in another history than this one.
    #[must_use]
    pub fn diverged(&self, term: Term, round: Option<RoundId>) -> bool {
        match (round, self.rounds.get(&term)) {
            (Some(theirs), Some(ours)) => theirs != *ours,
            // A term we never had: they went on without us. Of terms that are too long ago nothing is known.
            (Some(_), None) => {
                let kept = self.rounds.first_key_value().is_none_or(|(first, _)| term > *first);
                kept || self.rounds.len() < ROUNDS_KEPT
            }
            (None, _) => false,
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Option<&Validated> {
        self.config.as_ref()
    }

    /// Its text as the operator wrote it.
    #[must_use]
    pub fn config_text(&self) -> &str {
        &self.config_text
    }

    /// Whether nothing is to be started or recovered.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.locked
    }

    /// Set while nothing is to be fenced or recovered.
    #[must_use]
    pub fn disarmed(&self) -> Option<&Disarmed> {
        self.disarmed.as_ref()
    }

    /// The last quorate view.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The answer to a request, and the entry that gave it.
    #[must_use]
    pub fn answer_to(&self, id: &RequestId) -> Option<(&belay_proto::control::Verdict, Index)> {
        let record = self.requests.get(id)?;
        record.answer.as_ref().map(|verdict| (verdict, record.answered_at))
    }

    /// Whether a request has been taken in, answered or not.
    #[must_use]
    pub fn knows_request(&self, id: &RequestId) -> bool {
        self.requests.contains_key(id)
    }

    /// Applies the next entry and returns what happened because of it.
    ///
    /// Total: there is no entry it cannot apply; what makes no sense is recorded as such and changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Vec<HistoryEvent> {
        self.index = self.index.next();
        self.chain = chain::extend(self.chain, entry);
        self.time = self.time.max(entry.time);
        self.journal.open(self.index, self.time);
        self.watch.open();
        let evidence = guard::Evidence::of(self, entry);
        self.note_alive(entry.from);
        match &entry.what {
            What::View(view) => self.apply_view(view),
            What::Config { text } => self.apply_config(text, entry.from),
            What::Request { id, by, request } => self.apply_request(entry.from, id, by, request),
            What::Outcome { service, epoch, outcome } => self.apply_outcome(entry.from, service, *epoch, outcome),
            What::Observation { service, epoch, seen } => self.apply_observation(entry.from, service, *epoch, seen),
            What::Inventory { boot, running } => self.apply_inventory(entry.from, boot, running),
            What::Facts { host, domains } => self.apply_facts(entry.from, *host, domains),
            What::FenceOutcome { victim, attempt, outcome } => {
                self.apply_fence_outcome(entry.from, *victim, *attempt, outcome);
            }
            What::Leave { stopped } => self.apply_leave(entry.from, *stopped),
            What::Silent { node, incarnation } => self.apply_silent(*node, *incarnation),
            What::Tick => {}
        }
        self.advance_arming();
        self.drain_leaving();
        self.advance_fencing();
        self.advance_switching_on();
        self.give_up_seeking();
        self.review_rivals();
        self.note_better_hosts();
        self.settle();
        self.advance_moves();
        // Whoever waited for a turn that came only now, because what was done before has come to nothing. Each round takes
        // at least one request off a queue.
        while self.queues_ready() {
            self.settle();
            self.advance_moves();
        }
        self.stop_dependants();
        self.fail_back();
        self.guard(&evidence);
        self.prune();
        debug_assert!(self.services.sets_are_right(), "a service is in the wrong set");
        self.close_journal()
    }

    /// When the engine wants to be woken by a `Tick`, if nothing else comes before: the earliest moment after which
    /// something is due. It may lie in the past when no entry has come since.
    #[must_use]
    pub fn wake_at_or_due(&self) -> Option<Timestamp> {
        let fencing = self.victims.values().filter_map(|victim| victim.wake_at(self.time));
        let fencing = fencing.chain(self.switch_on_due());
        let retries = self.services.restless().filter_map(|(_, record)| record.retry_at());
        let sought = self.services.restless().filter_map(|(_, record)| record.sought_until);
        let turns = [self.turn_due(), self.move_retry_due(), self.drain_due(), self.disarmed_until()];
        let of_services = retries.chain(sought).chain(self.patience_ends());
        fencing.chain(of_services).chain(turns.into_iter().flatten()).min()
    }

    /// Forgets what nobody asks for any more, so that the state does not grow without bound.
    fn prune(&mut self) {
        while self.rounds.len() > ROUNDS_KEPT {
            self.rounds.pop_first();
        }
        request::record::prune(&mut self.requests, self.time, self.index);
    }
}
