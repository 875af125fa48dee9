//! The shell around a daemon's fence driver, and the fence agents it runs: they take time, fail, hang, or have their
//! effect later than they say.

use crate::rules::Course;
use crate::sim::{DaemonEv, Ev, Sim, WorldEv};
use belay_driver::Moment;
use belay_driver::fence::{FenceAction, FenceDriver, FenceEvent, Purpose, Run, RunEnd, RunId, Settings, wanted};
use belay_engine::state::work::Assignments;
use belay_proto::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// What the simulated agents say of themselves.
const METADATA: &str = r#"<resource-agent name="fence_sim"><parameters><parameter name="action">
<content type="string" default="reboot"/></parameter></parameters></resource-agent>"#;

/// The shell's own part.
#[derive(Debug)]
pub(crate) struct Fencer {
    driver: FenceDriver,
    /// When the driver is woken next, if it is.
    wakes_at: Option<u64>,
    /// Agents that run.
    runs: BTreeSet<RunId>,
}

impl Default for Fencer {
    fn default() -> Self {
        // Shorter than in earnest, where a power switch may be slow.
        let settings = Settings { time_limit: Duration::from_secs(10), ..Settings::default() };
        Self { driver: FenceDriver::new(settings), wakes_at: None, runs: BTreeSet::new() }
    }
}

#[derive(Debug)]
pub(crate) enum FenceEv {
    /// The time the driver named.
    Woken { at: u64 },
    /// An agent ends, if it has not ended before.
    Ends { run: RunId, how: RunEnd },
    /// An agent switches its victim off, unless it was stopped.
    Strikes { run: RunId, victim: NodeId },
    /// An agent switches its victim on.
    SwitchesOn { run: RunId, victim: NodeId },
}

impl Sim {
    pub(crate) fn assign_fencing(&mut self, host: NodeId, assignments: &Assignments) {
        self.drive_fencing(host, FenceEvent::Wanted(wanted(assignments)));
    }

    fn fence_after(&mut self, host: NodeId, delay: u64, event: FenceEv) {
        self.daemon_after(host, delay, DaemonEv::Fence(event));
    }

    pub(crate) fn fence_event(&mut self, host: NodeId, event: FenceEv) {
        let Some(fencer) = self.daemon_mut(host).map(|daemon| &mut daemon.fencer) else { return };
        match event {
            FenceEv::Woken { at } if fencer.wakes_at == Some(at) => {
                fencer.wakes_at = None;
                self.drive_fencing(host, FenceEvent::Woken);
            }
            FenceEv::Ends { run, how } if fencer.runs.remove(&run) => {
                self.drive_fencing(host, FenceEvent::Ended { run, how });
            }
            FenceEv::Strikes { run, victim } if fencer.runs.contains(&run) => {
                self.power_off(victim, "is fenced");
                self.truth.proven_off(victim);
                self.fence_after(host, 0, FenceEv::Ends { run, how: succeeded("") });
            }
            FenceEv::SwitchesOn { run, victim } if fencer.runs.contains(&run) => {
                let boots = self.rng.range(5000, 30_000);
                self.after(boots, Ev::World(WorldEv::PowerOn(victim)));
                self.fence_after(host, 0, FenceEv::Ends { run, how: succeeded("") });
            }
            _ => {}
        }
    }

    /// Lets the driver take one step, and carries out what it says.
    fn drive_fencing(&mut self, host: NodeId, event: FenceEvent) {
        let now = self.now;
        let Some(daemon) = self.daemon_mut(host) else { return };
        let life = daemon.life;
        let actions = daemon.fencer.driver.step(Moment(now), event);
        for action in actions {
            if self.daemon(host).is_none_or(|daemon| daemon.life != life) {
                return;
            }
            match action {
                FenceAction::Run(run) => self.run_fence_agent(host, run),
                FenceAction::Stop(run) => {
                    let delay = self.rng.range(5, 1000);
                    self.fence_after(host, delay, FenceEv::Ends { run, how: RunEnd::Cancelled });
                }
                FenceAction::Report(what) => self.report(host, what),
                FenceAction::Tell { text, .. } => self.trace.note(self.now, host, || text),
            }
        }
        let Some(fencer) = self.daemon_mut(host).map(|daemon| &mut daemon.fencer) else { return };
        let Some(at) = fencer.driver.wake_at().map(|at| at.0.max(now)) else { return };
        if fencer.wakes_at.is_none_or(|earlier| at < earlier) {
            fencer.wakes_at = Some(at);
            self.fence_after(host, at - now, FenceEv::Woken { at });
        }
    }

    fn run_fence_agent(&mut self, host: NodeId, run: Run) {
        let may_act = self.may_act(host);
        let Some(fencer) = self.daemon_mut(host).map(|daemon| &mut daemon.fencer) else { return };
        fencer.runs.insert(run.id);
        let id = run.id;
        if run.needs_quorum && !may_act {
            return self.fence_after(host, 0, FenceEv::Ends { run: id, how: RunEnd::NotQuorate });
        }
        match run.purpose {
            Purpose::Metadata => {
                let delay = self.rng.range(5, 40);
                let fails = self.rng.chance(self.odds.fence_fails / 4);
                let how = if fails { failed("it ended with exit status 1") } else { succeeded(METADATA) };
                self.fence_after(host, delay, FenceEv::Ends { run: id, how });
            }
            Purpose::Fence { .. } => self.fences(host, &run),
            Purpose::SwitchOn { .. } => self.switches_on(host, &run),
        }
    }

    fn switches_on(&mut self, host: NodeId, run: &Run) {
        let (id, victim) = (run.id, run.victim);
        self.begins_switching_on(host, victim);
        let mut takes = self.rng.range(300, 2000);
        let fails = match self.rules.of_switching_on(victim, host) {
            // In a scenario hosts are back when the story says so.
            None if self.shape.told.is_some() => {
                return self.fence_after(host, takes, FenceEv::Ends { run: id, how: succeeded("") });
            }
            None => self.rng.chance(self.odds.stays_off),
            Some(Course::Takes(ms)) => {
                takes = ms;
                false
            }
            Some(Course::Hangs) => {
                let within = u64::try_from(run.within.as_millis()).unwrap_or(u64::MAX);
                let how = failed("it had not ended in time");
                return self.fence_after(host, within, FenceEv::Ends { run: id, how });
            }
            Some(course) => course == Course::Fails,
        };
        let event = if fails {
            FenceEv::Ends { run: id, how: failed("the BMC does not answer") }
        } else {
            FenceEv::SwitchesOn { run: id, victim }
        };
        self.fence_after(host, takes, event);
    }

    fn fences(&mut self, host: NodeId, run: &Run) {
        let (id, victim) = (run.id, run.victim);
        self.begins_fencing(host, victim);
        // With two hosts that shoot at each other one has to be slower, as `delay` on one device has it in real life.
        let delay = if self.shape.two_node && victim.0 == 1 { 6000 } else { 0 };
        let slow = if self.rng.chance(self.odds.fence_slow) { self.rng.range(3000, 25_000) } else { 0 };
        let mut takes = self.rng.range(150, 2500) + delay + slow;
        let course = self.rules.of_fencing(victim, host);
        if let Some(Course::Takes(ms)) = course {
            takes = ms;
        }
        // An agent whose metadata could not be had is not told to switch off only: it cycles the power by itself.
        let cycles = !run.arguments.iter().any(|(key, value)| key == "action" && value == "off");
        if cycles && !self.rng.chance(self.odds.stays_off) {
            let boots = self.rng.range(5000, 30_000);
            self.after(takes + boots, Ev::World(WorldEv::PowerOn(victim)));
        }
        if course == Some(Course::Fails) || course.is_none() && self.rng.chance(self.odds.fence_fails) {
            return self.fence_after(host, takes, FenceEv::Ends { run: id, how: failed("the BMC does not answer") });
        }
        if course == Some(Course::Hangs) || course.is_none() && self.rng.chance(self.odds.fence_hangs) {
            if course.is_none() && self.rng.chance(40) {
                let late = self.rng.range(1000, 8000);
                self.after(late, Ev::World(WorldEv::PowerOff(victim, "is fenced by an agent that hung")));
            }
            let within = u64::try_from(run.within.as_millis()).unwrap_or(u64::MAX);
            return self.fence_after(host, within, FenceEv::Ends { run: id, how: failed("it had not ended in time") });
        }
        if course.is_none() && self.rng.chance(self.odds.fence_late) {
            let late = takes + self.rng.range(500, 40_000);
            self.after(late, Ev::World(WorldEv::PowerOff(victim, "is fenced by an agent that had given up")));
            return self.fence_after(host, takes, FenceEv::Ends { run: id, how: failed("the BMC does not answer") });
        }
        self.fence_after(host, takes, FenceEv::Strikes { run: id, victim });
    }
}

fn succeeded(output: &str) -> RunEnd {
    RunEnd::Succeeded { output: output.to_owned() }
}

fn failed(why: &str) -> RunEnd {
    RunEnd::Failed { why: why.to_owned() }
}
