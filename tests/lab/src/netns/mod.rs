//! Hosts that are network namespaces: enough for a real corosync each, and for the programs that talk to it.
//!
//! Each host has its own network, its own `/run`, `/dev/shm` and `/var/lib/corosync`, and its own name. A further
//! namespace holds the switch between them, so that nothing is ever added to the machine's own network. Everything hangs
//! on processes that end with the test program, however it ends: there is nothing to clean up.

mod corosync;
mod space;

pub use corosync::Corosync;
pub use space::Space;

use anyhow::{Context, Result};
use std::path::PathBuf;
use tempfile::TempDir;

/// Where the hosts live. A network of their own, so the addresses need not be free on the machine.
const SUBNET: &str = "10.99.0";

/// A few hosts on one switch.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    switch: Space,
    dir: TempDir,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    node: u32,
    space: Space,
}

impl Lab {
    /// Makes hosts with the node numbers from 1, connected, with nothing running.
    ///
    /// # Errors
    /// When this is not root, or `ip`, `unshare` or `nsenter` is missing.
    pub fn start(hosts: u32) -> Result<Self> {
        let dir = TempDir::new().context("a directory for the lab")?;
        let switch = Space::new("switch")?;
        switch.run(&["ip", "link", "add", "br0", "type", "bridge"])?;
        switch.run(&["ip", "link", "set", "br0", "up"])?;
        let mut lab = Self { hosts: Vec::new(), switch, dir };
        for node in 1..=hosts {
            lab.add(node)?;
        }
        Ok(lab)
    }

    fn add(&mut self, node: u32) -> Result<()> {
        let space = Space::new(&format!("node{node}"))?;
        for volatile in ["/run", "/dev/shm", "/var/lib/corosync"] {
            space.run(&["mount", "-t", "tmpfs", "tmpfs", volatile])?;
        }
        let (port, pid) = (port(node), space.pid().to_string());
        self.switch.run(&["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        self.switch.run(&["ip", "link", "set", &port, "up"])?;
        space.run(&["ip", "address", "add", &format!("{}/24", address(node)), "dev", "eth0"])?;
        space.run(&["ip", "link", "set", "lo", "up"])?;
        space.run(&["ip", "link", "set", "eth0", "up"])?;
        self.hosts.push(Host { node, space });
        self.connect(node)
    }

    /// The host of a node.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, node: u32) -> Result<&Host> {
        self.hosts.iter().find(|host| host.node == node).with_context(|| format!("the lab has no host {node}"))
    }

    /// Pulls a host's cable at the switch: its own end looks as before.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn disconnect(&self, node: u32) -> Result<()> {
        self.switch.run(&["ip", "link", "set", &port(node), "nomaster"])
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn connect(&self, node: u32) -> Result<()> {
        self.switch.run(&["ip", "link", "set", &port(node), "master", "br0"])
    }

    /// Starts corosync on a host. It runs until what is returned is dropped.
    ///
    /// # Errors
    /// When there is no such host, or corosync is not installed.
    pub fn start_corosync(&self, node: u32, token_ms: u32) -> Result<Corosync> {
        let nodes: Vec<(u32, String)> = self.hosts.iter().map(|host| (host.node, address(host.node))).collect();
        Corosync::start(&self.host(node)?.space, self.dir.path(), node, &nodes, token_ms)
    }

    /// Where a host's corosync writes its log.
    #[must_use]
    pub fn log(&self, node: u32) -> PathBuf {
        corosync::log(self.dir.path(), node)
    }
}

impl Host {
    /// The words to put before a command so that it runs on this host.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.space.words()
    }

    /// Runs a command on this host to its end.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub fn run(&self, command: &[&str]) -> Result<()> {
        self.space.run(command)
    }
}

fn port(node: u32) -> String {
    format!("port{node}")
}

fn address(node: u32) -> String {
    format!("{SUBNET}.{node}")
}
