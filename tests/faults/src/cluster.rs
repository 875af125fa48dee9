//! A cluster of three hosts: built, running, looked at, and ended.

use crate::configuration::Configuration;
use crate::folder::Folder;
use crate::waiting::until;
use anyhow::{Context, Result, bail};
use belay_demo::layout::Run;
use belay_demo::power::PowerSupply;
use belay_demo::reaper::Reaper;
use belay_demo::sampler::{Copy, Sampler, Seen};
use belay_demo::{talk, world};
use belay_proto::NodeId;
use belay_proto::control::{MemberStatus, Phase, ServiceStatus, Status};
use belay_proto::history::HistoryEvent;
use belay_proto::service::ServiceState;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long a member may be silent before the others go on without it. Other tests run at the same time.
const TOKEN: &str = "--ring-token=3s";

/// How long a daemon may take to answer. It does so from its memory, but the machine may be busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long one is waited for while others could be asked.
const QUICK: Duration = Duration::from_secs(2);

/// Three hosts.
pub struct Cluster {
    /// Where everything lies.
    pub run: Run,
    /// Waits for all children of the test.
    pub reaper: Reaper,
    /// The hosts' power.
    pub supply: PowerSupply,
    sampler: Sampler,
    folder: Folder,
}

impl Cluster {
    /// Builds the hosts; they are off.
    ///
    /// # Errors
    /// When a program is missing or a file cannot be written.
    pub fn build(configuration: &Configuration) -> Result<Self> {
        let folder = Folder::new()?;
        let run = Run::at(folder.path())?;
        // Below /run on a host, which is in memory. On a disk a write can take as long as the token, when others write much.
        std::os::unix::fs::symlink(folder.in_memory(), run.ring())?;
        let (programs, reaper) = (programs()?, reaper()?);
        {
            // The first one fills libvirt's cache for all.
            static CACHE: Mutex<()> = Mutex::new(());
            let _one_at_a_time = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
            world::build(&run, &programs, &programs.join("belay-faults-libvirt-cache"), &reaper)?;
        }
        for host in run.hosts() {
            fs::write(host.options(), format!("{TOKEN}\n"))?;
        }
        let supply = PowerSupply::new(&run, &programs, &reaper)?;
        let vms: Vec<&str> = configuration.vms.iter().map(|(vm, _)| vm.as_str()).collect();
        let sampler = Sampler::start(&run, &vms)?;
        let cluster = Self { run, reaper, supply, sampler, folder };
        for (vm, _) in &configuration.vms {
            cluster.define(vm, vm)?;
        }
        for host in cluster.run.hosts() {
            fs::write(host.config(), configuration.text(&cluster.run))?;
        }
        Ok(cluster)
    }

    /// Builds the hosts, switches them on and waits until their VMs run.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn start(configuration: &Configuration) -> Result<Self> {
        let cluster = Self::build(configuration)?;
        cluster.switch_on()?;
        cluster.all_run(configuration)?;
        Ok(cluster)
    }

    /// Switches the hosts on and waits until they are a cluster.
    ///
    /// # Errors
    /// When they do not become one.
    pub fn switch_on(&self) -> Result<()> {
        self.supply.switch_on()?;
        self.whole()
    }

    /// Writes a definition for the VM `name` into the file that belongs to the VM `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn define(&self, file: &str, name: &str) -> Result<()> {
        let path = self.run.definitions().join(format!("{file}.xml"));
        fs::write(path, self.definition(name)?)?;
        Ok(())
    }

    /// A definition of a VM of this name. Without ACPI its guest does not notice that it is asked to shut down, so that
    /// each stop has a middle.
    ///
    /// # Errors
    /// When the demo's cannot be read.
    pub fn definition(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.run.definitions().join("web2.xml"))?;
        Ok(text.replace("web2", name).replace("<acpi/>", ""))
    }

    /// Waits until all three hosts are members of a quorate, working cluster, in everybody's eyes.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn whole(&self) -> Result<()> {
        until("all three hosts to be a cluster", || {
            for host in self.run.hosts() {
                let status = talk::status(&host)?;
                // A detail says what is missing: that a hypervisor has not answered yet, for one.
                let online = status.members.iter().filter(|member| member.online && member.detail.is_empty()).count();
                if !status.quorate || status.phase != Phase::Working || online != self.run.hosts().len() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// Waits until every VM that starts by itself runs, once.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn all_run(&self, configuration: &Configuration) -> Result<()> {
        for (vm, attributes) in &configuration.vms {
            if !attributes.contains("autostart=\"0\"") {
                self.runs(vm)?;
            }
        }
        Ok(())
    }

    /// Waits until the VM runs: one process, on the host that the cluster calls its owner.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn runs(&self, vm: &str) -> Result<Copy> {
        until(&format!("{vm} to run"), || self.running(vm))
    }

    /// Waits until the VM's guest has said so many times that it is up: a process alone may stand still.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn guest_is_up(&self, vm: &str, times: usize) -> Result<()> {
        until(&format!("the guest of {vm} to say for the {times}. time that it is up"), || {
            let said = self.seen().guest_up.get(vm).map_or(0, Vec::len);
            Ok((said >= times).then_some(()))
        })
    }

    /// Waits until the VM runs in another process than this one.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn runs_elsewhere(&self, vm: &str, old: &Copy) -> Result<Copy> {
        until(&format!("{vm} to run again"), || Ok(self.running(vm)?.filter(|copy| copy.pid != old.pid)))
    }

    /// The VM's one process, if the cluster and the process table agree on it.
    ///
    /// # Errors
    /// When no daemon answers.
    pub fn running(&self, vm: &str) -> Result<Option<Copy>> {
        let service = self.service(vm)?;
        let seen = self.seen().running(vm);
        let [copy] = seen.as_slice() else { return Ok(None) };
        let there = service.state == ServiceState::Started && service.owner == Some(NodeId(copy.host));
        Ok(there.then(|| copy.clone()))
    }

    /// What the witness saw.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.sampler.seen()
    }

    /// What the witness sees from now on: its last look may be from before what has just happened.
    ///
    /// # Errors
    /// When it does not look any more.
    pub fn look(&self) -> Result<Seen> {
        let before = self.seen().samples;
        // The look that is under way may have begun too early.
        until("the process table to be read", || Ok(Some(self.seen()).filter(|seen| seen.samples > before + 1)))
    }

    /// A host's own view of the cluster.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn status(&self, host: u32) -> Result<Status> {
        talk::status_within(&self.run.host(host), ANSWER_LIMIT)
    }

    /// The view of the first host that is in a quorate view.
    ///
    /// # Errors
    /// When there is none.
    pub fn any_status(&self) -> Result<Status> {
        let quorate = |host: &_, limit| talk::status_within(host, limit).ok().filter(|status| status.quorate);
        let hosts = self.run.hosts();
        // One that stands still must not take up the time in which the others could be asked.
        let quick = hosts.iter().find_map(|host| quorate(host, QUICK));
        let any = quick.or_else(|| hosts.iter().find_map(|host| quorate(host, ANSWER_LIMIT)));
        any.context("no host is in a quorate view")
    }

    /// A VM, as the cluster sees it.
    ///
    /// # Errors
    /// When no daemon answers or none knows the VM.
    pub fn service(&self, vm: &str) -> Result<ServiceStatus> {
        let found = service_in(&self.any_status()?, vm);
        found.with_context(|| format!("there is no service vm:{vm}"))
    }

    /// A member, as `asked` sees it.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn member(&self, asked: u32, host: u32) -> Result<MemberStatus> {
        let found = self.status(asked)?.members.into_iter().find(|member| member.id == NodeId(host));
        found.with_context(|| format!("node{host} is no member"))
    }

    /// The history, as a host has it, oldest first.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn history(&self, host: u32) -> Result<Vec<HistoryEvent>> {
        talk::events_within(&self.run.host(host), 1000, ANSWER_LIMIT)
    }

    /// A host's log.
    #[must_use]
    pub fn log(&self, host: u32) -> String {
        let bytes = fs::read(self.run.host(host).log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The processes of these VMs.
    ///
    /// # Errors
    /// When one of them does not run.
    pub fn processes(&self, vms: &[&str]) -> Result<Vec<i32>> {
        vms.iter().map(|vm| Ok(self.runs(vm)?.pid)).collect()
    }

    /// The end of a test: nothing ever ran twice, all the time. Dropping the cluster switches it off.
    ///
    /// # Errors
    /// When a VM ran twice at the same moment.
    pub fn end(self) -> Result<()> {
        let seen = self.seen();
        if seen.max_copies != 1 {
            bail!("a VM ran {} times at the same moment: {:#?}", seen.max_copies, seen.copies);
        }
        self.finish();
        Ok(())
    }

    /// The end of a test in which no VM ran.
    pub fn finish(mut self) {
        self.folder.done = true;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.supply.shut_down() {
            eprintln!("the hosts cannot be switched off: {error:#}");
        }
    }
}

/// A VM in a status.
pub(crate) fn service_in(status: &Status, vm: &str) -> Option<ServiceStatus> {
    status.services.iter().find(|service| service.name.kind() == "vm" && service.name.name() == vm).cloned()
}

/// One reaper waits for all children of a process.
fn reaper() -> Result<Reaper> {
    static REAPER: OnceLock<Option<Reaper>> = OnceLock::new();
    REAPER.get_or_init(|| Reaper::start().ok()).clone().context("the reaper does not start")
}

/// Where cargo puts the programs: above the folder of the tests.
fn programs() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.parent().and_then(|deps| deps.parent()).context("this test lies in no target folder")?.to_owned())
}
