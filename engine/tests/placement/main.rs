//! Where services are started and moved to, told as stories on a rehearsal and as properties of arbitrary clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The tests' own tools stop a test that cannot go on.

mod cluster;
mod company;
mod depend;
mod domains;
mod properties;
mod room;
