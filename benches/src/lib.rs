//! What the budget promises, measured: the engine with thousands of VMs, the commands against a real daemon, and the
//! whole way from a VM's death to its replacement.
//!
//! These are no tests. A benchmark never fails because a machine is slow; it prints what it measured beside the budget,
//! and how much the machine itself wavered meanwhile. It fails only when what it measures did not happen.

pub mod cluster;
pub mod daemon;
pub mod death;
pub mod engine;
pub mod idle;
pub mod noise;
pub mod ring_of_one;
pub mod sample;
pub mod status;
pub mod table;
