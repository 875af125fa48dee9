//! The control server over a real socket, with a stand-in for the main loop behind it: what it answers, who may do
//! what, and that no client, however it behaves, costs the daemon or the other clients more than a little.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The tests' own tools stop a test that cannot go on.

mod bounds;
mod calls;
mod interface;
mod listener;
mod permission;
mod streams;
mod support;
