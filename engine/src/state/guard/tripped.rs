//! A guard that went off: which promise, and the evidence.

use belay_proto::Index;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The promises that are guarded; their numbers are those of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Invariant {
    /// A VM runs in one place at most.
    S1,
    /// What a lost host may run starts elsewhere only by proof.
    S2,
    /// `max_restarts` is not exceeded.
    S6,
    /// Disabled stays stopped, frozen untouched.
    S7,
    /// Unknown is neither started nor stopped.
    S8,
    /// Each decision has an epoch of its own.
    S9,
    /// A migration is closed by looking at both ends.
    S10,
    /// Who answers is not fenced, and never are all.
    S11,
    /// Capacity and strict rules hold in every placement.
    S13,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that a decision would have broken, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripped {
    /// Which.
    pub invariant: Invariant,
    /// The entry whose decision was not carried out.
    pub entry: Index,
    /// What was wrong with it.
    pub what: String,
    /// How it was before that entry.
    pub before: String,
    /// What had been decided.
    pub decided: String,
}

impl Tripped {
    /// All of it in a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { invariant, entry, what, before, decided } = self;
        format!("{invariant} at entry {entry}: {what} (it was {before}; {decided} was not carried out)")
    }
}
