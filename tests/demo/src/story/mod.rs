//! The story, chapter by chapter. Each chapter breaks or asks for something, watches until the cluster has dealt with
//! it, and fails with the daemons' last words when that does not happen in time. What it prints, it saw.

mod ending;
mod forming;
mod guest;
mod moving;
mod silent;

use crate::layout::{Host, Run};
use crate::power::PowerSupply;
use crate::reaper::{Printed, Reaper};
use crate::report::{Report, Step, millis};
use crate::sampler::{Copy, Sampler};
use crate::screen::Screen;
use crate::talk;
use anyhow::{Context, Result, bail};
use belay_proto::NodeId;
use belay_proto::control::{ServiceStatus, Status};
use belay_proto::service::ServiceState;
use std::time::{Duration, Instant};

/// How long anything may take before the story calls it a failure. Generous: what is measured is reported, and a slow
/// machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the story looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Everything the chapters work with.
pub struct Stage {
    /// The run's folder.
    pub run: Run,
    /// What the watcher reads.
    pub screen: Screen,
    /// Waits for all children.
    pub reaper: Reaper,
    /// The hosts' power supply.
    pub supply: PowerSupply,
    /// The witness.
    pub sampler: Sampler,
    /// What was measured so far.
    pub report: Report,
}

type Chapter = (&'static str, &'static str, fn(&mut Stage) -> Result<()>);

const CHAPTERS: [Chapter; 6] = [
    ("The cluster forms", forming::ABOUT, forming::cluster),
    ("The VMs start", forming::ABOUT_VMS, forming::vms),
    ("A VM dies", guest::ABOUT, guest::dies_three_times),
    ("A host goes silent", silent::ABOUT, silent::host),
    ("A VM is moved on request", moving::ABOUT, moving::on_request),
    ("How the cluster explains itself", ending::ABOUT, ending::explain),
];

/// Tells the whole story.
///
/// # Errors
/// When a step did not happen.
pub fn tell(stage: &mut Stage) -> Result<()> {
    for (title, about, chapter) in CHAPTERS {
        stage.screen.chapter(title, about);
        let start = Instant::now();
        let result = chapter(stage).with_context(|| format!("chapter \"{title}\""));
        stage.note_samples();
        result?;
        stage.report.steps.push(Step { title: title.to_owned(), ms: millis(start.elapsed()) });
    }
    if stage.report.max_copies_seen != 1 {
        bail!("a VM ran {} times at the same moment", stage.report.max_copies_seen);
    }
    stage.report.complete = true;
    Ok(())
}

impl Stage {
    /// Looks until there is something to see.
    fn wait<T>(&self, what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait(what, look)
    }

    /// The sampler's totals, into the report.
    fn note_samples(&mut self) {
        let seen = self.sampler.seen();
        self.report.max_copies_seen = seen.max_copies;
        self.report.samples = seen.samples;
        self.report.longest_sample_gap_ms = millis(seen.longest_gap);
    }

    /// The cluster as this host sees it.
    fn status(&self, host: u32) -> Result<Status> {
        talk::status(&self.run.host(host))
    }

    /// Runs a command against a host's daemon and shows it.
    fn show(&self, host: u32, words: &[&str]) -> Result<Printed> {
        let printed = talk::command(&self.run, &self.reaper, &self.run.host(host), words, PATIENCE)?;
        self.screen.command(words, &printed.text);
        Ok(printed)
    }

    /// The same, and it must succeed.
    fn show_success(&self, host: u32, words: &[&str]) -> Result<()> {
        let printed = self.show(host, words)?;
        if !printed.ok() {
            bail!("`{}` ended with {}", words.join(" "), printed.ended);
        }
        Ok(())
    }

    /// The one running copy of a VM, once the process table shows it, the cluster calls the VM started on the same
    /// host, and the decision is not an older one than `after`.
    fn running(&self, asked: u32, vm: &str, after: u64) -> Result<Option<Copy>> {
        let Some(service) = service(&self.status(asked)?, vm) else { return Ok(None) };
        let copies = self.sampler.seen().running(vm);
        let [copy] = copies.as_slice() else { return Ok(None) };
        let started = service.state == ServiceState::Started && service.epoch.0 > after;
        Ok((started && service.owner == Some(NodeId(copy.host))).then(|| copy.clone()))
    }

    /// The present epoch of a VM.
    fn epoch(&self, asked: u32, vm: &str) -> Result<u64> {
        service(&self.status(asked)?, vm).map(|service| service.epoch.0).with_context(|| format!("no service vm:{vm}"))
    }

    /// Waits until a guest says on its console that it is up, having done so `before` times.
    fn guest_up(&self, vm: &str, before: usize) -> Result<Instant> {
        self.wait(&format!("the guest of {vm} to say that it is up"), || {
            Ok(self.sampler.seen().guest_up.get(vm).and_then(|times| times.get(before).copied()))
        })
    }

    /// How often a guest has said that it is up.
    fn times_up(&self, vm: &str) -> usize {
        self.sampler.seen().guest_up.get(vm).map_or(0, Vec::len)
    }
}

/// A VM in a status.
fn service(status: &Status, vm: &str) -> Option<ServiceStatus> {
    status.services.iter().find(|service| service.name.kind() == "vm" && service.name.name() == vm).cloned()
}

/// Whether all hosts are members of a quorate, working cluster.
fn whole(status: &Status, hosts: &[Host]) -> bool {
    let online = |host: &Host| status.members.iter().any(|member| member.id == NodeId(host.id) && member.online);
    status.quorate && status.phase == belay_proto::control::Phase::Working && hosts.iter().all(online)
}

/// Looks until there is something to see. An error is not the end: a daemon may be busy or on its way up; the last one
/// is told when time is up.
fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let trouble = match look() {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return match trouble {
                Some(error) => Err(error.context(format!("waited {seconds} s for {what}"))),
                None => bail!("waited {seconds} s for {what}"),
            };
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
