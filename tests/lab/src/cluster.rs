//! Belay on the lab's hosts: installed as on any host, configured as the guide says, and asked with its own commands.

use crate::clustat::Report;
use crate::host::Host;
use crate::lab::{BMC_ADDRESS, Lab, repository};
use crate::{Watch, bmc, command, disk, guest, until};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How a host is fenced: `off` leaves it off, `reboot` is what power agents do unless told otherwise.
pub type FenceAction = &'static str;

/// A cluster of the lab's hosts.
pub struct Cluster {
    /// The hosts.
    pub lab: Lab,
    /// Who counts the VMs' processes.
    pub watch: Watch,
    members: Vec<(String, FenceAction)>,
    vms: Vec<String>,
}

impl Cluster {
    /// Racks hosts, installs Belay from this source tree's build, writes the configuration and switches all on.
    ///
    /// # Errors
    /// When the lab, `make install` or a unit fails.
    pub fn boot(hosts: &[(&str, FenceAction)], vms: &[&str]) -> Result<Self> {
        let names: Vec<&str> = hosts.iter().map(|&(name, _)| name).collect();
        let lab = Lab::rack(&names)?;
        for (number, vm) in vms.iter().enumerate() {
            lab.add_guest(vm, number + 1)?;
        }
        let members: Vec<(String, FenceAction)> =
            hosts.iter().map(|&(name, action)| (name.to_owned(), action)).collect();
        let vms: Vec<String> = vms.iter().map(|&vm| vm.to_owned()).collect();
        let text = configuration(&members, &vms, 1, 0)?;
        for name in names {
            let text = text.clone();
            lab.with_disk(name, move |root| {
                install(root)?;
                disk::put(root, "etc/cluster/cluster.conf", &text)
            })?;
        }
        let watch = Watch::start(&lab)?;
        let cluster = Self { lab, watch, members, vms };
        // From here on the journals are worth keeping.
        if let Err(error) = cluster.lab.power_on() {
            let _ = cluster.lab.save_logs(&crate::lab::log_folder());
            return Err(error);
        }
        Ok(cluster)
    }

    /// The VMs of the configuration.
    #[must_use]
    pub fn vms(&self) -> &[String] {
        &self.vms
    }

    /// A host by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.lab.host(name)
    }

    /// The host that runs a VM, by the process table.
    ///
    /// # Errors
    /// When there is not exactly one process.
    pub fn place_of(&self, vm: &str) -> Result<&Host> {
        let copy = self.watch.running(vm).with_context(|| format!("{vm} has not exactly one process"))?;
        self.host(&copy.host)
    }

    /// What `clustat` says on a host.
    ///
    /// # Errors
    /// When the host is off or the command hangs.
    pub fn clustat(&self, host: &Host) -> Result<Report> {
        Ok(Report::read(&host.run("clustat")?.stdout))
    }

    /// Waits until each of `hosts` reports that just they are online, that there is quorum, and that every VM is started
    /// where its process really is.
    ///
    /// # Errors
    /// When that does not come to pass within `limit`; the message carries the last report.
    pub fn settled(&self, hosts: &[&Host], limit: Duration) -> Result<Duration> {
        let members = hosts.iter().map(|host| host.name.clone()).collect();
        let mut last = String::new();
        let waited = until("the cluster settles", limit, || {
            for host in hosts {
                let report = self.clustat(host).ok()?;
                let placed = self.vms.iter().all(|vm| {
                    let owner = report.owner_of_started(vm);
                    owner.is_some() && owner == self.watch.running(vm).as_ref().map(|copy| copy.host.as_str())
                });
                if !report.quorate || report.online != members || !placed {
                    last = format!("{} reports {report:?}", host.name);
                    return None;
                }
            }
            Some(())
        });
        Ok(waited.context(last)?.1)
    }

    /// Puts a new version of the configuration in force, with another delay between a loss and fencing, as an admin does:
    /// the file on every host, then a reload.
    ///
    /// # Errors
    /// When a daemon does not take it.
    pub fn reconfigure(&self, version: u32, post_fail_delay: u32) -> Result<()> {
        let text = configuration(&self.members, &self.vms, version, post_fail_delay)?;
        for host in self.lab.hosts() {
            let text = text.clone();
            self.lab.with_disk(&host.name, move |root| disk::put(root, "etc/cluster/cluster.conf", &text))?;
            host.must("systemctl reload belayd")?;
        }
        for host in self.lab.hosts() {
            let look = format!("journalctl --unit=belayd --boot --grep='configuration version {version} .* in force'");
            until(&format!("version {version} is in force on {}", host.name), Duration::from_secs(30), || {
                host.run(&look).ok().filter(command::Ran::ok)
            })?;
        }
        Ok(())
    }

    /// The process ids of all VMs, in the order of the configuration.
    ///
    /// # Errors
    /// When one has not exactly one process.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let pid = |vm: &String| self.watch.running(vm).map(|copy| copy.pid);
        self.vms.iter().map(|vm| pid(vm).with_context(|| format!("{vm} has not exactly one process"))).collect()
    }

    /// How often each VM has booted, in the order of the configuration.
    ///
    /// # Errors
    /// When the shared storage cannot be read.
    pub fn boots(&self) -> Result<Vec<usize>> {
        self.vms.iter().map(|vm| self.lab.boots(vm)).collect()
    }

    /// How often any host was switched off by its BMC.
    #[must_use]
    pub fn fenced(&self) -> usize {
        let off = |host: &Host| self.lab.bmc(&host.name).iter().filter(|call| call.request == "set power 0").count();
        self.lab.hosts().iter().map(off).sum()
    }

    /// The process id of a host's belayd inside the host; `None` when it does not run.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn daemon(host: &Host) -> Result<Option<i32>> {
        let pid = host.must("systemctl show --property=MainPID --value belayd")?.trim().parse()?;
        Ok((pid != 0).then_some(pid))
    }
}

/// What an admin does, on the host's disk. It installs the debug build that `cargo test` shares and builds nothing: a
/// test must not wait for a compiler.
fn install(root: &Path) -> Result<()> {
    let limit = Duration::from_secs(60);
    let mut make = Command::new("make");
    make.arg("--silent").arg("--directory").arg(repository()).args(["install", "PROFILE=debug"]);
    make.arg(format!("DESTDIR={}", root.display()));
    command::must(&mut make, limit).context("make install failed; build belayd, belay and its agent first")?;
    let within = format!("--root={}", root.display());
    command::must(Command::new("systemd-sysusers").arg(&within), limit)?;
    command::must(Command::new("systemctl").arg(&within).args(["enable", "belayd.service"]), limit)?;
    tell_boot_id(root)
}

/// A container has a boot id of its own, mounted over the kernel's; but a service with a file system view of its own sees
/// the kernel's again, which all hosts of the lab share and no reboot changes. systemd knows the right one as `%b`.
fn tell_boot_id(root: &Path) -> Result<()> {
    let unit = std::fs::read_to_string(root.join("usr/local/lib/systemd/system/belayd.service"))?;
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).context("belayd.service starts nothing")?;
    let text = format!("[Service]\nExecStart=\n{start} --boot-id %b\n");
    disk::put(root, "etc/systemd/system/belayd.service.d/lab.conf", &text)
}

fn configuration(hosts: &[(String, FenceAction)], vms: &[String], version: u32, fail_delay: u32) -> Result<String> {
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<cluster name=\"lab\" config_version=\"{version}\">\n  \
         <fence_daemon post_join_delay=\"15\" post_fail_delay=\"{fail_delay}\"/>\n  <clusternodes>\n"
    );
    for (number, (name, action)) in hosts.iter().enumerate() {
        let id = number + 1;
        let action = match *action {
            "reboot" => String::new(),
            "off" => " action=\"off\"".to_owned(),
            other => bail!("no such fence action: {other}"),
        };
        writeln!(text, "    <clusternode name=\"{name}\" nodeid=\"{id}\"><fence><method name=\"power\">")?;
        writeln!(text, "      <device name=\"bmc-{name}\"{action}/></method></fence></clusternode>")?;
    }
    text.push_str("  </clusternodes>\n  <fencedevices>\n");
    for (number, (name, _)) in hosts.iter().enumerate() {
        let (user, password, port) = (bmc::USER, bmc::PASSWORD, bmc::port(number));
        writeln!(text, "    <fencedevice name=\"bmc-{name}\" agent=\"fence_ipmilan\" ipaddr=\"{BMC_ADDRESS}\"")?;
        writeln!(text, "      ipport=\"{port}\" login=\"{user}\" passwd=\"{password}\" lanplus=\"1\" cipher=\"3\"/>")?;
    }
    text.push_str("  </fencedevices>\n  <rm>\n");
    for vm in vms {
        writeln!(text, "    <vm name=\"{vm}\" path=\"{}\" migration_uri=\"qemu+tcp://%s/system\"", guest::SHARED)?;
        writeln!(text, "      recovery=\"restart\" max_restarts=\"2\" restart_expire_time=\"600\"/>")?;
    }
    text.push_str("  </rm>\n</cluster>\n");
    Ok(text)
}
