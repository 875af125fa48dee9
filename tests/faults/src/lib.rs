//! What the tests of faults work with: a cluster of three real daemons on this machine, each with its own libvirt world
//! of real QEMU VMs, and the hands that break it.
//!
//! The hosts are the demo's: a supervisor that starts `belayd` again as systemd would, a power supply, and a witness
//! that reads the process table all the time. A test breaks something, waits for what must come of it, and in the end
//! asks the witness whether any VM ever ran twice.

mod cluster;
mod configuration;
mod folder;
mod hands;
pub mod scenario;
mod waiting;

pub use cluster::Cluster;
pub use configuration::{Configuration, STOP_SECONDS, fence_script};
pub use hands::Asked;
pub use waiting::{PATIENCE, until};
