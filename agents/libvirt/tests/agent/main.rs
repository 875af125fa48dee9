//! The agent's real binary, driven over its pipes as the daemon drives it: against libvirt's own fake hypervisor, against
//! real QEMU in an embedded hypervisor, and against a real libvirtd.
// What clippy allows in a test function it does not allow in what test functions call.
#![allow(clippy::expect_used, clippy::panic)]

mod agent;
mod embedded;
mod guest;
mod hang;
mod libvirtd;
mod lives;
mod protocol;
mod start_stop;
mod takeover;
