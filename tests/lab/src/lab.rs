//! The lab as a whole: boot it, ask it, and what it leaves for the reader of a failed test.

use crate::bmc::{Bmcs, Call};
use crate::host::Host;
use crate::keeper::{BASE, Keeper};
use crate::{command, disk, guest};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// Programs the lab cannot do without, and their packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("corosync", "corosync"),
    ("libvirtd", "libvirt-daemon-system"),
    ("virsh", "libvirt-clients"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ipmi_sim", "openipmi"),
    ("fence_ipmilan", "fence-agents"),
    ("ipmitool", "ipmitool"),
    ("ip", "iproute2"),
];

/// How many lines of each daemon's journal a failed test shows.
const LAST_WORDS: usize = 40;

/// How much of each line.
const LINE_CHARS: usize = 300;

/// Real hosts, as long as this value lives.
pub struct Lab {
    hosts: Vec<Host>,
    bmcs: Bmcs,
    keeper: Rc<Keeper>,
}

impl Lab {
    /// Sets up hosts with these names, switched off, so that software can be put on their disks.
    ///
    /// # Errors
    /// When a package is missing, or without root.
    pub fn rack(names: &[&str]) -> Result<Self> {
        check_programs()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let keeper = Rc::new(Keeper::start()?);
        let all = names.clone();
        keeper.ask(move |machines| {
            machines.lay_cables(&format!("{}.1/24", disk::NETWORK))?;
            std::fs::create_dir_all(format!("{BASE}/shared"))?;
            (0..all.len()).try_for_each(|number| disk::make(&all, number))
        })?;
        let bmcs = Bmcs::start(&keeper, BMC_ADDRESS, &names)?;
        let host = |(number, name)| Host { name, number, keeper: Rc::clone(&keeper) };
        let hosts = names.into_iter().enumerate().map(host).collect();
        Ok(Self { hosts, bmcs, keeper })
    }

    /// Sets up hosts, switches them on and waits until they have booted.
    ///
    /// # Errors
    /// As [`Lab::rack`], and when one does not boot.
    pub fn boot(names: &[&str]) -> Result<Self> {
        let lab = Self::rack(names)?;
        lab.power_on()?;
        Ok(lab)
    }

    /// Switches all hosts on and waits until they have booted.
    ///
    /// # Errors
    /// When one does not boot.
    pub fn power_on(&self) -> Result<()> {
        self.hosts.iter().try_for_each(Host::power_on)?;
        self.hosts.iter().try_for_each(|host| host.wait_booted(Duration::from_secs(60)).map(|_| ()))
    }

    /// All hosts, in the order of their node ids.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.ok_or_else(|| anyhow::anyhow!("the lab has no host {name}"))
    }

    /// What has reached the BMC of a host, in order.
    #[must_use]
    pub fn bmc(&self, host: &str) -> Vec<Call> {
        self.bmcs.calls().into_iter().filter(|call| call.host == host).collect()
    }

    /// Puts a guest's disk and definition on the shared storage.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add_guest(&self, name: &str, number: usize) -> Result<()> {
        let name = name.to_owned();
        self.keeper.ask(move |_| guest::make(&name, number))
    }

    /// How often a guest has booted.
    ///
    /// # Errors
    /// When its serial output cannot be read.
    pub fn boots(&self, guest: &str) -> Result<usize> {
        let name = guest.to_owned();
        self.keeper.ask(move |_| guest::boots(&name))
    }

    /// Does something to a host's disk; the closure gets its root folder, which only the keeper's thread can see.
    ///
    /// # Errors
    /// When the closure fails.
    pub fn with_disk<T: Send + 'static>(
        &self,
        host: &str,
        change: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = PathBuf::from(format!("{BASE}/{}/root", self.host(host)?.name));
        self.keeper.ask(move |_| change(&root))
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Copies every host's journal, across all its boots, and its console to `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save_logs(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for host in &self.hosts {
            let (name, folder) = (host.name.clone(), folder.to_owned());
            self.keeper.ask(move |_| {
                let journal = format!("--directory={BASE}/{name}/root/var/log/journal");
                let mut journalctl = Command::new("journalctl");
                journalctl.args([&journal, "--no-pager", "--output=short-iso-precise"]);
                let ran = command::run(&mut journalctl, Duration::from_secs(20))?;
                std::fs::write(folder.join(format!("{name}.journal")), ran.stdout + &ran.stderr)?;
                std::fs::copy(format!("{BASE}/{name}/console"), folder.join(format!("{name}.console")))?;
                Ok(())
            })?;
        }
        let calls =
            self.bmcs.calls().iter().map(|call| format!("{} {}\n", call.host, call.request)).collect::<String>();
        std::fs::write(folder.join("bmc.calls"), calls)?;
        Ok(())
    }
}

impl Lab {
    /// The ends of the daemons' journals, for who sees only what a failed test has printed.
    fn last_words(&self, folder: &Path) {
        for host in &self.hosts {
            let text = std::fs::read_to_string(folder.join(format!("{}.journal", host.name))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(" belayd[")).collect();
            eprintln!("---- the end of belayd's journal on {} ----", host.name);
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
                eprintln!("{}", line.chars().take(LINE_CHARS).collect::<String>());
            }
        }
    }

    /// Leaves a failed lab up for `BELAY_LAB_HOLD` seconds, for whoever wants to look into its hosts.
    fn hold(&self) {
        let wanted = std::env::var("BELAY_LAB_HOLD").ok().and_then(|seconds| seconds.parse().ok());
        let Some(seconds) = wanted else { return };
        for host in &self.hosts {
            if let Ok(Some(leader)) = host.leader() {
                eprintln!("a shell on {}: nsenter --target {leader} --all", host.name);
            }
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = log_folder();
            match self.save_logs(&folder) {
                Ok(()) => {
                    self.last_words(&folder);
                    eprintln!("the hosts' journals are in {}", folder.display());
                }
                Err(error) => eprintln!("the hosts' journals are lost: {error:#}"),
            }
            self.hold();
        }
    }
}

/// The address of all BMCs.
pub const BMC_ADDRESS: &str = "10.77.0.1";

/// Where the journals of a failed test go: `target/lab`.
#[must_use]
pub fn log_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    target.join("lab")
}

/// The root of the source tree.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The lab fails where something is missing; a test that skips itself proves nothing.
fn check_programs() -> Result<()> {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = |program: &str| places.iter().any(|place| Path::new(place).join(program).exists());
    let missing: Vec<&str> = PROGRAMS.iter().filter(|(name, _)| !found(name)).map(|&(_, package)| package).collect();
    if !missing.is_empty() {
        bail!("the lab needs packages that are not installed: {} (`make test` installs them)", missing.join(" "));
    }
    Ok(())
}
