//! Plays a scenario of `tests/data/scenarios` on three real daemons with real VMs: what the file says happens, to real
//! processes. Its times are only an order here; everything is waited for as long as it takes.

use crate::cluster::Cluster;
use crate::configuration::Configuration;
use crate::hands::Asked;
use crate::waiting::{PATIENCE, until};
use anyhow::{Context, Result, bail, ensure};
use belay_demo::process;
use belay_demo::reaper::{Ended, Printed};
use belay_proto::control::{Phase, Status, Verdict};
use belay_proto::history::{EventId, HistoryEvent};
use belay_proto::{NodeId, ServiceName, ServiceState};
use belay_sim::scenario::{Ask, Event, Expect, Ground, Happens, Scenario, Seen, Setup, Step, When, World, check};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

/// How long something is looked at that must stay as it is.
const STAYS: Duration = Duration::from_secs(1);

/// The stop timeout in seconds, where the file says none. The tests' guests never shut down: each stop takes this long.
const STOP_SECONDS: &str = "1";

struct Player {
    cluster: Cluster,
    /// Events and processes before the story do not count.
    newest: Option<EventId>,
    copies_before: BTreeMap<String, usize>,
    asked: BTreeMap<String, Asked>,
    /// Hosts without power that nobody has switched off.
    dark: BTreeSet<NodeId>,
}

/// Plays a scenario on a cluster of its own.
///
/// # Errors
/// The first line that did not go as it says, or what cannot be done to real hosts.
pub fn play(scenario: &Scenario) -> Result<()> {
    let mut player = Player::start(scenario)?;
    for step in &scenario.steps {
        let place = format!("{}:{}: {}", scenario.file, step.line, step.text);
        player.step(step).with_context(|| place)?;
    }
    player.cluster.end()
}

impl Player {
    fn start(scenario: &Scenario) -> Result<Self> {
        ensure!(scenario.setup.hosts() == 3, "there are three real hosts, no more and no fewer");
        ensure!(!scenario.cold, "a cold start is not played on real hosts");
        let vms = vms(&scenario.setup)?;
        let cluster = Cluster::build(&Configuration::of(&vms.iter().map(String::as_str).collect::<Vec<_>>()))?;
        let ground = Ground {
            agent: "fence_belay_demo".into(),
            // Who is fenced stays off until the story switches it on.
            device: format!(" state_dir=\"{}\" action=\"off\"", cluster.run.dir.display()),
            path: cluster.run.definitions().display().to_string(),
            stop_timeout: STOP_SECONDS.into(),
        };
        for host in cluster.run.hosts() {
            fs::write(host.config(), scenario.setup.text(&ground))?;
        }
        cluster.switch_on()?;
        let mut player = Self {
            cluster,
            newest: None,
            copies_before: BTreeMap::new(),
            asked: BTreeMap::new(),
            dark: BTreeSet::new(),
        };
        until("everything to be started", || Ok(player.settled().ok()))?;
        player.newest = player.all_events().last().map(|event| event.id);
        // The witness's last look may be from before a VM's process came: it would count as started by the story.
        let copies = player.cluster.look()?.copies;
        player.copies_before = copies.into_iter().map(|(vm, copies)| (vm, copies.len())).collect();
        Ok(player)
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match &step.what {
            Happens::Event(event) => self.happens(event),
            Happens::Ask(ask) => self.ask(ask),
            Happens::Expect(seen) => {
                self.comes_true(seen)?;
                if let When::For(_) = step.when {
                    self.stays(seen)?;
                }
                Ok(())
            }
        }
    }

    fn comes_true(&mut self, seen: &Seen) -> Result<()> {
        if let Expect::Answered(name, Some(answer)) = &seen.what {
            let asked = self.asked.remove(name).with_context(|| format!("nobody asked for {name}"))?;
            return told(&asked.wait()?, answer);
        }
        let mut last = String::new();
        let came = until("this", || match check(self, seen) {
            Ok(()) => Ok(Some(())),
            Err(why) => {
                last = why;
                Ok(None)
            }
        });
        came.with_context(|| last)
    }

    fn stays(&self, seen: &Seen) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < STAYS {
            if let Err(why) = check(self, seen) {
                bail!("it does not stay so: {why}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn ask(&mut self, ask: &Ask) -> Result<()> {
        let words: Vec<&str> = ask.command.iter().map(String::as_str).collect();
        if let Some(name) = &ask.name {
            self.asked.insert(name.clone(), self.cluster.ask(ask.host.0, &words));
            return Ok(());
        }
        let printed = self.cluster.command(ask.host.0, &words)?;
        ask.answer.as_ref().map_or(Ok(()), |answer| told(&printed, answer))
    }

    fn happens(&mut self, event: &Event) -> Result<()> {
        let cluster = &self.cluster;
        match event {
            Event::PowerOff(hosts) => {
                for host in hosts {
                    lose_power(cluster, host.0)?;
                }
                self.dark.extend(hosts);
            }
            Event::PowerOn(hosts) => {
                for host in hosts {
                    let host = cluster.run.host(host.0);
                    process::kill_below(&host.dir, PATIENCE)?;
                    fs::write(host.power(), "on\n")?;
                }
                self.dark.retain(|host| !hosts.contains(host));
            }
            Event::Freeze(host) => cluster.silence(host.0)?,
            Event::Thaw(host) => cluster.wake(host.0),
            Event::FreezeDaemon(host) => {
                cluster.signal_daemon(host.0, Signal::SIGSTOP)?;
            }
            Event::ThawDaemon(host) => {
                cluster.signal_daemon(host.0, Signal::SIGCONT)?;
            }
            Event::KillDaemon { host, for_good } => {
                if *for_good {
                    fs::write(cluster.run.host(host.0).stopped(), "")?;
                }
                cluster.kill_daemon(host.0)?;
            }
            Event::StartDaemon(host) => cluster.start_daemon(host.0)?,
            Event::StopDaemon { host, stop_vms: false } => {
                cluster.stop_daemon(host.0)?;
            }
            Event::KillAgent(host) => {
                let pid = cluster.program(host.0, "belay-agent-libvirt")?;
                kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            }
            Event::KillVm { vm, host } => {
                let copies = cluster.look()?.running(vm);
                let there = |copy: &&belay_demo::sampler::Copy| host.is_none_or(|host| host.0 == copy.host);
                let copy = copies.iter().find(there).with_context(|| format!("{vm} does not run"))?;
                kill(Pid::from_raw(copy.pid), Signal::SIGKILL)?;
                let gone = |vm: &str, pid| cluster.seen().running(vm).iter().all(|copy| copy.pid != pid);
                until("its process to be gone", || Ok(gone(vm, copy.pid).then_some(())))?;
            }
            other => bail!("this cannot be done to real hosts: {other:?}"),
        }
        Ok(())
    }

    /// The history as the first host has it that is in a quorate view.
    fn all_events(&self) -> Vec<HistoryEvent> {
        let quorate = |host: &u32| self.cluster.status(*host).is_ok_and(|status| status.quorate);
        let events = (1..=3).find(quorate).and_then(|host| self.cluster.history(host).ok());
        events.unwrap_or_default()
    }
}

/// A host without power does nothing any more, and nobody sees its daemon end: the local ring would take that for the
/// death of a daemon on a living host.
fn lose_power(cluster: &Cluster, host: u32) -> Result<()> {
    cluster.silence(host)?;
    for (_, copy) in cluster.look()?.on_host(host) {
        kill(Pid::from_raw(copy.pid), Signal::SIGKILL)?;
    }
    Ok(())
}

/// The names of the VMs, as the story begins.
fn vms(setup: &Setup) -> Result<Vec<String>> {
    let reading = belay_config::read("cluster.conf", &setup.text(&Ground::default()));
    let cluster = reading.cluster.context("the configuration is not valid")?;
    Ok(cluster.vms.keys().map(|service| service.name().to_owned()).collect())
}

/// Whether a command printed and returned what it must.
fn told(printed: &Printed, answer: &belay_sim::scenario::Answer) -> Result<()> {
    let since = answer.since.as_ref().is_none_or(|since| printed.text.contains(since));
    let status = printed.ended == Ended::Code(i32::from(answer.code.exit_status()));
    ensure!(
        status && since && printed.text.contains(answer.code.text()),
        "it ended with {}: {}",
        printed.ended,
        printed.text
    );
    Ok(())
}

impl World for Player {
    fn status(&self, by: Option<NodeId>) -> Result<Status, String> {
        let status = match by {
            Some(host) => self.cluster.status(host.0),
            None => self.cluster.any_status(),
        };
        status.map_err(|error| format!("{error:#}"))
    }

    fn places(&self, vm: &str) -> Vec<u32> {
        let mut places: Vec<u32> = self.cluster.seen().running(vm).iter().map(|copy| copy.host).collect();
        places.sort_unstable();
        places
    }

    fn begun(&self, vm: &str) -> u64 {
        let before = self.copies_before.get(vm).copied().unwrap_or(0);
        let all = self.cluster.seen().copies.get(vm).map_or(0, Vec::len);
        u64::try_from(all.saturating_sub(before)).unwrap_or(u64::MAX)
    }

    fn events(&self) -> Vec<HistoryEvent> {
        self.all_events().into_iter().filter(|event| Some(event.id) > self.newest).collect()
    }

    fn chain(&self, service: &ServiceName) -> Vec<String> {
        let told = (1..=3).find_map(|host| self.cluster.succeeds(host, &["belay", "why", service.as_str()]).ok());
        told.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn powered(&self, host: NodeId) -> bool {
        let switch = fs::read_to_string(self.cluster.run.host(host.0).power());
        switch.is_ok_and(|text| text.trim() == "on") && !self.dark.contains(&host)
    }

    /// Only whether there is one: what it says is told by the command's own end.
    fn answer(&self, name: &str) -> Option<Verdict> {
        let ended = self.asked.get(name).is_some_and(Asked::ended);
        ended.then(|| Verdict { code: belay_proto::Code::Success, reason: String::new(), owner: None })
    }

    fn settled(&self) -> Result<(), String> {
        for host in 1..=3 {
            let status = self.status(Some(NodeId(host)))?;
            if !status.quorate || status.phase != Phase::Working {
                return Err(format!("node{host} is not quorate"));
            }
            // A detail says what is missing.
            if let Some(member) = status.members.iter().find(|member| !member.online || !member.detail.is_empty()) {
                return Err(format!("{} is {:?}: {}", member.name, member.state, member.detail));
            }
            let rests = [ServiceState::Started, ServiceState::Disabled, ServiceState::Failed];
            let waits = |state, waiting: &Option<String>| state == ServiceState::Stopped && waiting.is_some();
            let busy = status.services.iter().find(|s| !rests.contains(&s.state) && !waits(s.state, &s.waiting));
            if let Some(service) = busy {
                return Err(format!("{} is {}", service.name, service.state));
            }
        }
        Ok(())
    }
}
