//! Whole clusters in one thread: the daemon's own nodes and drivers on a simulated ring, with simulated disks, hypervisors,
//! fence devices and people, where a seed decides everything that goes wrong.
//!
//! ```text
//!              ┌─────────────────── one queue of events, ordered by time ──────────────────┐
//!  chaos, ───► │ power, freezing, splits │ ring: order, views, quorum │ disks │ hypervisors  │
//!  admins      └──────────┬──────────────┴──────────┬─────────────────┴───┬───┴──────┬──────┘
//!                         ▼                         ▼                     ▼          ▼
//!                  one a daemon: belay_engine::node::Node, belay_driver::vm::VmDriver, belay_driver::fence::FenceDriver
//!                         └────────────► truth: the promises of the design, after every step
//! ```
//!
//! What is right is judged by [`truth`], which looks at the simulated world and never asks a node what it believes
//! where it can look itself. Nothing here reads a clock or a random device: the same seed gives the same run.

mod admin;
mod by_hand;
mod change;
mod chaos;
pub mod cut;
mod decisions;
mod deeds;
mod disk;
mod executor;
mod faults;
mod fence;
mod hypervisor;
mod modes;
mod network;
mod placement_rules;
mod ring;
pub mod rng;
pub mod rules;
pub mod scenario;
pub mod seed;
pub mod shape;
mod shell;
pub mod shrink;
pub mod sim;
pub mod swarm;
mod told;
pub mod trace;
mod truth;
