//! The commands against the daemon's real control server, behind which a stand-in for the main loop answers from a
//! canned state: layout, words and exit codes of every form, and what happens when there is no daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The tests' own tools stop a test that cannot go on.

mod belay;
mod clustat;
mod clusvcadm;
mod modes;
mod simulate;
mod support;
