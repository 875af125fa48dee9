//! The two pure machines that decide everything: the replicated [`state`] and the [`node`], one host's own part; and the
//! [`rehearsal`], which plays them on a copy.
//!
//! No I/O, no clock, no randomness, no task and no thread: time and chance come in with entries and events, and the
//! same input gives the same result on every host, in the simulator and in `belay simulate`.

pub mod mutant;
pub mod node;
pub mod rehearsal;
pub mod state;
