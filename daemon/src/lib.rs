//! `belayd`, the shell around the engine: ring adapters, executors, store, control server, systemd.
//!
//! It does what the node machine's actions say and feeds back what happened; it decides nothing.

pub mod control;
pub mod executor;
pub mod ring;
pub mod settings;
pub mod shell;
pub mod store;
