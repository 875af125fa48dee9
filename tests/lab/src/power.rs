//! The power of the hosts: booting one, cutting its power, pulling its network cable. Only the keeper thread holds
//! [`Machines`], so that what a BMC answers and what is so cannot differ.

use crate::cgroup;
use crate::command::must;
use crate::keeper::BASE;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The bridge all hosts are plugged into.
pub const BRIDGE: &str = "labbr";
/// A power operation that takes longer is a fault of the lab.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// All hosts' hardware, and the other processes of the lab.
#[derive(Default)]
pub struct Machines {
    running: BTreeMap<String, Running>,
    /// Process id namespaces that ever were a host's, by inode: to whom a process seen in `/proc` belonged.
    worlds: BTreeMap<u64, String>,
    /// Hosts whose cable is pulled; it stays pulled when they boot again.
    unplugged: BTreeSet<String>,
    devices: BTreeMap<String, Child>,
    closed: bool,
}

struct Running {
    /// `unshare`, whose end means that every process of the host is gone.
    outer: Child,
    /// Process 1 of the host.
    leader: i32,
    /// `systemd-nspawn`, process 1 of the namespace around the host.
    around: i32,
    groups: Vec<PathBuf>,
}

impl Machines {
    /// Switches a host on; it boots while the caller goes on. No effect when it is on.
    ///
    /// # Errors
    /// When `systemd-nspawn` does not start it.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        if self.leader(name).is_some() {
            return Ok(());
        }
        self.power_off(name)?;
        let groups = cgroup::make(gettid().as_raw(), name)?;
        let mut outer = boot(name, &groups)?;
        let (around, leader) = find_leader(&mut outer).with_context(|| format!("{name} does not boot"))?;
        self.worlds.insert(pid_namespace(leader)?, name.to_owned());
        self.running.insert(name.to_owned(), Running { outer, leader, around, groups });
        if self.unplugged.contains(name) { set_link(name, false) } else { Ok(()) }
    }

    /// Cuts a host's power: every process in it is killed at once, and gone when this returns. What it wrote to its
    /// disk stays, as on a real machine whose disk kept what was in its cache.
    ///
    /// # Errors
    /// When it does not die.
    pub fn power_off(&mut self, name: &str) -> Result<()> {
        let Some(mut running) = self.running.remove(name) else { return Ok(()) };
        // Process 1 of the namespace around: the kernel kills all of that namespace and those within, and reaps them.
        let _ = kill(Pid::from_raw(running.around), Signal::SIGKILL);
        let start = Instant::now();
        while running.outer.try_wait()?.is_none() {
            if start.elapsed() > LIMIT {
                bail!("{name} is still there {} s after its power was cut", LIMIT.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
        cgroup::remove(&running.groups);
        // The kernel removes the card some time after the last process; the next boot needs the name.
        let _ = ip(&["link", "del", &card(name)]);
        Ok(())
    }

    /// Process 1 of a host, while it is on. A host that switched itself off counts as off.
    pub fn leader(&mut self, name: &str) -> Option<i32> {
        let running = self.running.get_mut(name)?;
        match running.outer.try_wait() {
            Ok(None) => Some(running.leader),
            _ => None,
        }
    }

    /// Which process id namespaces were hosts, and whose.
    #[must_use]
    pub fn worlds(&self) -> BTreeMap<u64, String> {
        self.worlds.clone()
    }

    /// Pulls the cable of a host's card, or puts it back, whether the host is on or off.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn link(&mut self, name: &str, up: bool) -> Result<()> {
        if up {
            self.unplugged.remove(name);
        } else {
            self.unplugged.insert(name.to_owned());
        }
        if self.leader(name).is_some() { set_link(name, up) } else { Ok(()) }
    }

    /// Makes the bridge and gives it its address.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn lay_cables(&mut self, address: &str) -> Result<()> {
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["address", "add", address, "dev", BRIDGE])?;
        ip(&["link", "set", BRIDGE, "up"])
    }

    /// Starts a program that belongs to the lab's hardware, under a name. It ends with the lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn add_device(&mut self, name: &str, program: &str, arguments: &[&str], log: &str) -> Result<()> {
        let log = File::create(log)?;
        let child = bound_to_this_thread(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        self.devices.insert(name.to_owned(), child);
        Ok(())
    }

    /// Freezes a device, or thaws it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn freeze_device(&mut self, name: &str, frozen: bool) -> Result<()> {
        let device = self.devices.get(name).with_context(|| format!("there is no device {name}"))?;
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        Ok(kill(Pid::from_raw(i32::try_from(device.id())?), signal)?)
    }

    /// Ends everything.
    pub fn close(&mut self) {
        for name in self.running.keys().cloned().collect::<Vec<_>>() {
            let _ = self.power_off(&name);
        }
        for mut device in std::mem::take(&mut self.devices).into_values() {
            let _ = device.kill();
            let _ = device.wait();
        }
        self.closed = true;
    }

    /// Whether it ended.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed
    }
}

/// A command whose process the kernel kills when the keeper thread ends, however that happens.
fn bound_to_this_thread(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// `systemd-nspawn` alone would leave its host running when it is killed, so it gets a process id namespace of its own,
/// which dies as a whole. The shell enters the host's control groups and becomes `unshare`.
fn boot(name: &str, groups: &[PathBuf]) -> Result<Child> {
    let disk = format!("{BASE}/{name}");
    let console = File::options().create(true).append(true).open(format!("{disk}/console"))?;
    let enter: String = groups.iter().map(|group| format!("echo $$ >{}/cgroup.procs && ", group.display())).collect();
    bound_to_this_thread("sh")
        .args(["-c", &format!("{enter}exec \"$@\""), "sh"])
        .args(["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "systemd-nspawn"])
        .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--capability=all"])
        .arg(format!("--network-bridge={BRIDGE}"))
        .arg(format!("--machine={name}"))
        .arg(format!("--directory={disk}/root"))
        .arg(format!("--bind={BASE}/shared:{}", crate::guest::SHARED))
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("cannot start systemd-nspawn; install systemd-container")
}

/// The process ids of `systemd-nspawn` and of the host's process 1 once that has become systemd, before which it still
/// has this machine's file system.
fn find_leader(outer: &mut Child) -> Result<(i32, i32)> {
    let start = Instant::now();
    loop {
        if let Some(status) = outer.try_wait()? {
            bail!("systemd-nspawn ended with {status}; see the host's console");
        }
        let around = only_child(i32::try_from(outer.id())?);
        if let Some(around) = around
            && let Some(leader) = only_child(around)
            && std::fs::read_to_string(format!("/proc/{leader}/comm")).is_ok_and(|comm| comm.trim() == "systemd")
        {
            return Ok((around, leader));
        }
        if start.elapsed() > LIMIT {
            let _ = outer.kill();
            let _ = outer.wait();
            bail!("no systemd after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

fn only_child(parent: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut words = children.split_whitespace();
    let first = words.next()?.parse().ok()?;
    words.next().is_none().then_some(first)
}

/// The inode of a process's process id namespace.
///
/// # Errors
/// When there is no such process.
pub fn pid_namespace(pid: i32) -> Result<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/pid"))?;
    let text = link.to_string_lossy();
    let digits = text.trim_start_matches("pid:[").trim_end_matches(']');
    digits.parse().map_err(|_| anyhow!("unexpected namespace link {text}"))
}

/// The outer end of a host's card, as `systemd-nspawn` names it.
fn card(name: &str) -> String {
    format!("vb-{name}")
}

fn set_link(name: &str, up: bool) -> Result<()> {
    ip(&["link", "set", &card(name), if up { "up" } else { "down" }])
}

fn ip(arguments: &[&str]) -> Result<()> {
    must(Command::new("ip").args(arguments), LIMIT).map(|_| ())
}
