//! One contract, held against every ring that runs outside the simulator.
//!
//! The members are processes of their own, so that they can be killed and frozen: this test program starts itself again
//! ([`process`]) and talks to its copies through pipes ([`member`]). What the contract says is in [`contract`], once; a
//! [`site::Site`] says how members are started and cut off there. Then each ring has tests of what only it does.

// All of this is a test, not only the functions that the compiler knows to be one.
#![allow(clippy::expect_used, clippy::panic)]

mod contract;
mod corosync;
mod local;
mod member;
mod process;
mod site;
mod stream;
