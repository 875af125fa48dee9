//! Three real daemons with real VMs, and everything that may happen to them. Each test has a cluster of its own, and
//! ends with the witness's word that no VM ever ran twice.

#![allow(clippy::unwrap_used)]

mod clients;
mod configurations;
mod definitions;
mod fence_agents;
mod full_disk;
mod guests;
mod hypervisor;
mod killed_in_the_middle;
mod whole_cluster;
