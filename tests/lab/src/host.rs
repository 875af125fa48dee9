//! One host of the lab, with what an admin or a thunderstorm can do to it.

use crate::command::{self, Ran};
use crate::keeper::Keeper;
use anyhow::{Context, Result, anyhow, bail};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// What an ordinary command may take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A host.
#[derive(Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its number, counted from 0; its corosync node id is one more.
    pub number: usize,
    pub(crate) keeper: Rc<Keeper>,
}

impl Host {
    /// Runs a shell command in the host, as root.
    ///
    /// # Errors
    /// When the host is off, or the command runs longer than `limit`.
    pub fn run_within(&self, shell: &str, limit: Duration) -> Result<Ran> {
        let leader = self.leader()?.ok_or_else(|| anyhow!("{} is switched off", self.name))?;
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader.to_string(), "--all", "--", "/usr/bin/env", "-i", path]);
        command.args(["HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "/bin/bash", "-c", &format!("cd / && {shell}")]);
        command::run(&mut command, limit).with_context(|| format!("on {}", self.name))
    }

    /// [`Host::run_within`] the usual limit.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self, shell: &str) -> Result<Ran> {
        self.run_within(shell, COMMAND_LIMIT)
    }

    /// Runs a command that has to succeed, and returns what it printed.
    ///
    /// # Errors
    /// As [`Host::run`], and when it fails.
    pub fn must(&self, shell: &str) -> Result<String> {
        let ran = self.run(shell)?;
        if !ran.ok() {
            bail!("on {}: `{shell}` ended with {:?}: {}{}", self.name, ran.code, ran.stdout, ran.stderr);
        }
        Ok(ran.stdout)
    }

    /// The process id, on this machine, of the host's process 1; `None` when it is off.
    ///
    /// # Errors
    /// When the lab is closed.
    pub fn leader(&self) -> Result<Option<i32>> {
        let name = self.name.clone();
        self.keeper.ask(move |machines| Ok(machines.leader(&name)))
    }

    /// The plug is pulled: all its processes are gone when this returns.
    ///
    /// # Errors
    /// When it does not die.
    pub fn power_cut(&self) -> Result<()> {
        let name = self.name.clone();
        self.keeper.ask(move |machines| machines.power_off(&name))
    }

    /// Someone presses the button; the host boots while the caller goes on.
    ///
    /// # Errors
    /// When it does not start.
    pub fn power_on(&self) -> Result<()> {
        let name = self.name.clone();
        self.keeper.ask(move |machines| machines.power_on(&name))
    }

    /// The network cable is pulled, and stays so across boots. The host lives, and its BMC too, which has a cable of
    /// its own.
    ///
    /// # Errors
    /// When the lab cannot.
    pub fn cut_link(&self) -> Result<()> {
        self.link(false)
    }

    /// The network cable is back.
    ///
    /// # Errors
    /// When the lab cannot.
    pub fn heal_link(&self) -> Result<()> {
        self.link(true)
    }

    /// The host's BMC stops to answer, as one whose cable is out, or answers again.
    ///
    /// # Errors
    /// When the lab is closed.
    pub fn silence_bmc(&self, silent: bool) -> Result<()> {
        let device = crate::bmc::device(&self.name);
        self.keeper.ask(move |machines| machines.freeze_device(&device, silent))
    }

    fn link(&self, up: bool) -> Result<()> {
        let name = self.name.clone();
        self.keeper.ask(move |machines| machines.link(&name, up))
    }

    /// Waits until systemd has started everything.
    ///
    /// # Errors
    /// When it does not within `limit`, or a unit failed.
    pub fn wait_booted(&self, limit: Duration) -> Result<Duration> {
        let mut state = String::new();
        let settled = crate::until(&format!("{} boots", self.name), limit, || {
            state = self.run("systemctl is-system-running").ok()?.stdout.trim().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
        let ((), took) = settled.with_context(|| format!("systemd says: {state}"))?;
        if state != "running" {
            bail!("units failed on {}: {}", self.name, self.must("systemctl --failed --no-legend")?);
        }
        Ok(took)
    }
}
