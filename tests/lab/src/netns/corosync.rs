//! A real corosync on a host.

use super::space::Space;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running corosync; dropped, it is killed.
#[derive(Debug)]
pub struct Corosync {
    process: Child,
}

impl Corosync {
    pub(super) fn start(space: &Space, dir: &Path, node: u32, nodes: &[(u32, String)], token_ms: u32) -> Result<Self> {
        let configuration = dir.join(format!("corosync-{node}.conf"));
        std::fs::write(&configuration, text(&log(dir, node), nodes, token_ms))?;
        let words = space.words();
        let process = Command::new(&words[0])
            .args(&words[1..])
            // It ends with the thread that starts it, so that a test program that is killed leaves none behind.
            .args(["setpriv", "--pdeathsig", "KILL", "corosync", "-f", "-c"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start corosync: install package corosync")?;
        Ok(Self { process })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.process.id())?;
        kill(Pid::from_raw(pid), signal).context("corosync has ended: see its log")
    }
}

impl Drop for Corosync {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn log(dir: &Path, node: u32) -> PathBuf {
    dir.join(format!("corosync-{node}.log"))
}

/// The configuration. Corosync wants each opening brace to end its line.
fn text(log: &Path, nodes: &[(u32, String)], token_ms: u32) -> String {
    let mut text = format!(
        "totem {{\n version: 2\n cluster_name: lab\n transport: knet\n crypto_cipher: none\n crypto_hash: none\n \
         token: {token_ms}\n token_coefficient: 0\n}}\nquorum {{\n provider: corosync_votequorum\n}}\n\
         logging {{\n to_stderr: no\n to_syslog: no\n to_logfile: yes\n logfile: {}\n timestamp: hires\n}}\nnodelist {{\n",
        log.display()
    );
    for (node, address) in nodes {
        // Writing to a String cannot fail.
        let _ = write!(text, " node {{\n  nodeid: {node}\n  name: node{node}\n  ring0_addr: {address}\n }}\n");
    }
    text.push_str("}\n");
    text
}
