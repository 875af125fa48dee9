//! The policy of one service, told to the replicated state entry by entry: what each request does in each state, what a
//! death leads to, and what a lock holds back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The tests' own tools stop a test that cannot go on.

mod cluster;
mod lock;
mod recovery;
mod requests;
