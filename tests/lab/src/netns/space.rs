//! One set of namespaces, kept alive by a process that waits for the end of its input.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Namespaces for network, mounts and name.
#[derive(Debug)]
pub struct Space {
    keeper: Child,
    /// Never written to. When this program ends, however it does, the kernel closes it, the keeper ends, and with it the
    /// namespaces.
    _lifeline: ChildStdin,
}

impl Space {
    pub(super) fn new(name: &str) -> Result<Self> {
        let script = "hostname \"$1\" && echo ready && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "--propagation", "private", "--", "sh", "-c", script, "keeper", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare (package util-linux) is needed to make hosts")?;
        let lifeline = keeper.stdin.take().context("the keeper's input")?;
        let output = keeper.stdout.take().context("the keeper's output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let space = Self { keeper, _lifeline: lifeline };
        if line.trim() != "ready" {
            bail!("cannot make namespaces: run the tests as root");
        }
        Ok(space)
    }

    /// The process whose namespaces these are.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// The words to put before a command so that it runs here. It replaces what enters, so it keeps the process id.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let pid = self.pid().to_string();
        ["nsenter", "--target", &pid, "--net", "--mount", "--uts", "--"].map(str::to_owned).to_vec()
    }

    /// Runs a command here to its end.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub fn run(&self, command: &[&str]) -> Result<()> {
        let words = self.words();
        let output = Command::new(&words[0])
            .args(&words[1..])
            .args(command)
            .output()
            .with_context(|| format!("{} (package util-linux) is needed to enter hosts", words[0]))?;
        if !output.status.success() {
            bail!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
