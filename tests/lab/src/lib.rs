//! A lab of real hosts on one machine, for tests that must not pretend: each host is a Debian with systemd, journald,
//! corosync and libvirtd, booted by `systemd-nspawn` from an overlay of this machine's own disk, with a network card on
//! a bridge, a BMC that really switches it off, and a shared directory in the place of a SAN.
//!
//! ```text
//!   test ── Lab ── keeper thread: own network and mount namespace, owner of all power
//!                    ├── bridge 10.77.0.1 ───┬──────────┬──────────┐
//!                    ├── systemd-nspawn      h1         h2         h3      (overlay of /, upper layer on a tmpfs)
//!                    └── ipmi_sim            623 of h1  of h2      of h3   (chassis program asks the keeper)
//! ```
//!
//! Nothing outlives the test but empty control groups, which the next one removes. The bridge, the overlays and the
//! tmpfs live in namespaces that only the lab's processes hold, and those processes are killed by the kernel when the
//! keeper thread ends, be it by `kill -9`. So there are no leftovers to look for, two labs can run side by side with the
//! same addresses, and no packet can leave the bridge: the namespace has no other card.

pub mod bmc;
pub mod cgroup;
pub mod clustat;
pub mod cluster;
pub mod command;
pub mod copies;
pub mod disk;
pub mod guest;
pub mod host;
pub mod keeper;
pub mod lab;
pub mod netns;
pub mod power;
pub mod wait;

pub use copies::Watch;
pub use host::Host;
pub use lab::Lab;
pub use wait::until;
