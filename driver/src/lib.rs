//! The third pure machine: how a host carries out the work that the state derives for it.
//!
//! The engine says what is to be done; here is decided how: which call is made when, what its answer means, how long it
//! is waited for, when it is tried again, and what is reported. [`vm`] works on virtual machines through hypervisors'
//! agents, [`fence`] on victims through fence agents. Both are functions of what they are told and of the time: no I/O,
//! no clock, no randomness, no task. A shell around them makes the calls and tells how they ended: the daemon with real
//! agents, the simulator with simulated ones, and both with this very code.

pub mod fence;
mod moment;
pub mod vm;

pub use moment::Moment;
