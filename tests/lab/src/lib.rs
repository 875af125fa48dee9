//! Real hosts for tests: corosync in network namespaces, systemd in containers.

pub mod netns;
