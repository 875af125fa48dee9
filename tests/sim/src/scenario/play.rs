//! Plays a scenario on the simulator: nothing happens but what it says, and the promises are checked after every step.

use super::ask::Ask;
use super::event::Event;
use super::expect::Expect;
use super::file::{Happens, Scenario, Step, When};
use super::look::{answered, check};
use super::simulated::shape;
use crate::sim::Sim;
use belay_proto::{NodeId, RequestId};
use std::collections::BTreeMap;
use std::fmt;

/// How long an answer, or a cluster that starts, may take.
const PATIENCE: u64 = 400_000;
/// How long nothing may be left to do before a cluster counts as calm.
const CALM: u64 = 3000;

/// Where a scenario went another way than it says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `file:line`.
    pub place: String,
    /// The line.
    pub text: String,
    /// What was so instead.
    pub why: String,
    /// The newest of what happened.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  {}", self.place, self.text, self.why)
    }
}

/// How a scenario is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What decides how long everything takes.
    pub seed: u64,
    /// Print everything as it happens.
    pub trace: bool,
}

/// Who plays.
pub(super) struct Player<'a> {
    scenario: &'a Scenario,
    pub(super) sim: Sim,
    began: u64,
    /// Events and starts before the story do not count.
    pub(super) events_before: usize,
    pub(super) begun_before: BTreeMap<String, u64>,
    asked: u32,
    pub(super) names: BTreeMap<String, String>,
}

/// Plays a scenario.
///
/// # Errors
/// The first line that did not go as it says.
pub fn play(scenario: &Scenario, options: Options) -> Result<(), Failure> {
    let mut player = Player::new(scenario, options).map_err(|why| Failure {
        place: format!("{}:1", scenario.file),
        text: "the cluster".into(),
        why,
        trace: String::new(),
    })?;
    if !scenario.cold {
        player.sim.power_on_all();
        player.until_calm().map_err(|why| player.failure(None, why))?;
    }
    player.story_begins();
    for step in &scenario.steps {
        player.step(step).map_err(|why| player.failure(Some(step), why))?;
    }
    Ok(())
}

impl<'a> Player<'a> {
    fn new(scenario: &'a Scenario, options: Options) -> Result<Self, String> {
        let mut sim = Sim::new(shape(&scenario.setup, &scenario.warnings)?, options.seed);
        sim.trace.live = options.trace;
        sim.trace.keep_history();
        // Who is fenced comes back when the scenario says so.
        sim.odds.stays_off = 100;
        Ok(Self {
            scenario,
            sim,
            began: 0,
            events_before: 0,
            begun_before: BTreeMap::new(),
            asked: 0,
            names: BTreeMap::new(),
        })
    }

    fn failure(&self, step: Option<&Step>, why: String) -> Failure {
        let (line, text) = step.map_or((1, "the cluster starts"), |step| (step.line, step.text.as_str()));
        let when = self.sim.now().saturating_sub(self.began);
        Failure {
            place: format!("{}:{line}", self.scenario.file),
            text: text.to_owned(),
            why: format!("{}.{:03} s into the story: {why}", when / 1000, when % 1000),
            trace: self.sim.trace.tail(),
        }
    }

    fn story_begins(&mut self) {
        self.began = self.sim.now();
        self.events_before = self.sim.trace.history().len();
        self.begun_before.clone_from(&self.sim.truth.begun);
        self.sim.trace.fault(self.began, "---- the story begins");
    }

    fn advance(&mut self) -> Result<(), String> {
        self.sim.step();
        match self.sim.violation() {
            Some(violation) => Err(format!("a promise was broken: {violation}")),
            None => Ok(()),
        }
    }

    fn run_until(&mut self, moment: u64) -> Result<(), String> {
        self.sim.stops_at(moment);
        while self.sim.now() < moment {
            self.advance()?;
        }
        Ok(())
    }

    /// Until nothing has been left to do for a while.
    fn until_calm(&mut self) -> Result<(), String> {
        let limit = self.sim.now() + PATIENCE;
        let mut calm_since = None;
        loop {
            self.advance()?;
            let now = self.sim.now();
            match self.sim.busy_with() {
                None if calm_since.is_some_and(|since| now > since + CALM) => return Ok(()),
                None => calm_since = calm_since.or(Some(now)),
                Some(what) if now > limit => return Err(format!("the cluster does not come to rest: {what}")),
                Some(_) => calm_since = None,
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let now = self.sim.now();
        match step.when {
            When::At(at) => {
                let moment = self.began + at;
                if moment < now {
                    let late = now - self.began;
                    return Err(format!(
                        "it is {}.{:03} s already; write a later time, or after",
                        late / 1000,
                        late % 1000
                    ));
                }
                self.run_until(moment)?;
            }
            When::After(pause) => self.run_until(now + pause)?,
            When::Now | When::Within(_) | When::For(_) => {}
        }
        if self.sim.trace.live {
            self.sim.trace.fault(self.sim.now(), &format!("---- {}", step.text));
        }
        match &step.what {
            Happens::Event(event) => self.happens(event),
            Happens::Ask(ask) => self.ask(ask),
            Happens::Expect(seen) => match step.when {
                When::Within(span) => {
                    // To compare all states is dear, and nobody needs to know to the millisecond.
                    let rest = if matches!(seen.what, Expect::Settled) { 100 } else { 0 };
                    let limit = self.sim.now() + span;
                    self.sim.stops_at(limit);
                    loop {
                        match check(self, seen) {
                            Ok(()) => return Ok(()),
                            Err(why) if self.sim.now() >= limit => return Err(why),
                            Err(_) => {
                                self.advance()?;
                                if rest > 0 {
                                    self.run_until((self.sim.now() + rest).min(limit))?;
                                }
                            }
                        }
                    }
                }
                When::For(span) => {
                    let limit = self.sim.now() + span;
                    self.sim.stops_at(limit);
                    while self.sim.now() < limit {
                        check(self, seen)?;
                        self.advance()?;
                    }
                    Ok(())
                }
                When::Now | When::At(_) | When::After(_) => check(self, seen),
            },
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        if let Some(name) = &ask.name {
            self.names.insert(name.clone(), id.clone());
        }
        let request_id: RequestId = id.parse().map_err(|error| format!("{error}"))?;
        if self.sim.daemon(ask.host).is_none() {
            return Err(format!("there is no daemon on node{} to ask", ask.host));
        }
        self.sim.ask(ask.host, &request_id, &ask.request);
        let Some(answer) = &ask.answer else { return Ok(()) };
        let limit = self.sim.now() + PATIENCE;
        while self.sim.told(&id).is_none() {
            if self.sim.now() > limit {
                return Err("it is not answered".into());
            }
            self.advance()?;
        }
        let verdict = self.sim.told(&id).cloned();
        self.sim.forget_refused(&id);
        answered(verdict, Some(answer))
    }

    /// Where a VM runs, if that is clear.
    fn home(&self, vm: &str) -> Result<NodeId, String> {
        match self.sim.places(vm).as_slice() {
            [one] => Ok(NodeId(*one)),
            [] => Err(format!("{vm} does not run")),
            several => Err(format!("{vm} runs on {several:?}: say where")),
        }
    }

    fn happens(&mut self, event: &Event) -> Result<(), String> {
        const LONG: u64 = 1 << 40;
        let sim = &mut self.sim;
        match event {
            Event::PowerOff(hosts) => hosts.iter().for_each(|host| sim.power_off(*host, "loses power")),
            Event::PowerOn(hosts) => hosts.iter().for_each(|host| sim.power_on(*host)),
            Event::Freeze(host) => sim.freeze(*host, LONG),
            Event::Thaw(host) => sim.thaw(*host),
            Event::FreezeDaemon(host) => sim.freeze_daemon(*host, LONG),
            Event::ThawDaemon(host) => {
                if let Some(life) = sim.daemon(*host).map(|daemon| daemon.life) {
                    sim.thaw_daemon(*host, life);
                }
            }
            Event::KillDaemon { host, for_good } => {
                sim.stays_dead(*host, *for_good);
                sim.kill_daemon(*host);
            }
            Event::StartDaemon(host) => {
                sim.stays_dead(*host, false);
                sim.start_daemon_soon(*host);
            }
            Event::StopDaemon { host, stop_vms } => {
                sim.stays_dead(*host, true);
                sim.leave(*host, *stop_vms);
            }
            Event::KillAgent(host) => sim.agent_dies(*host),
            Event::SilenceLibvirt(host) => sim.silence_libvirt(*host, LONG),
            Event::RestoreLibvirt(host) => sim.silence_libvirt(*host, 0),
            Event::Split(sides) => sim.partition(&sides.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            Event::Mend => sim.rejoin(),
            Event::ReportsComeAgain => sim.odds.echo = 100,
            Event::FillDisk(host) => sim.fill_disk(*host, LONG),
            Event::FreeDisk(host) => sim.fill_disk(*host, 0),
            Event::ClockJumps { host, by_ms } => sim.shift_clock(*host, *by_ms),
            Event::Let(rule) => {
                let text = format!("let {rule:?}");
                sim.trace.fault(sim.now, &text);
                sim.rules.add(rule.clone());
            }
            Event::Configure(setup) => {
                let shape = shape(setup, &[])?;
                sim.install(shape);
            }
            of_vm => return self.happens_to_vm(of_vm),
        }
        Ok(())
    }

    fn happens_to_vm(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::KillVm { vm, host } => {
                let host = host.map_or_else(|| self.home(vm), Ok)?;
                self.runs_there(vm, host)?;
                self.sim.kill_guest(host, vm);
            }
            Event::PowersOff { vm } => {
                let host = self.home(vm)?;
                self.sim.guest_powers_off(host, vm);
            }
            Event::VirshStart { vm, host } => self.sim.start_by_hand(*host, vm),
            Event::VirshDestroy { vm, host } => {
                self.runs_there(vm, *host)?;
                self.sim.kill_guest(*host, vm);
            }
            Event::VirshMigrateAway { vm } => {
                let host = self.home(vm)?;
                self.sim.move_outside(host, vm);
            }
            Event::Shows { vm, what } => {
                let host = self.home(vm)?;
                self.sim.guest_shows(host, vm, *what);
            }
            Event::VirshMigrate { vm, to } => {
                let host = self.home(vm)?;
                self.sim.move_by_hand(host, vm, *to);
                if self.sim.places(vm) != [to.0] {
                    return Err(format!("virsh could not migrate {vm} to node{to}"));
                }
            }
            other => return Err(format!("this is not about a VM: {other:?}")),
        }
        Ok(())
    }

    fn runs_there(&self, vm: &str, host: NodeId) -> Result<(), String> {
        if self.sim.places(vm).contains(&host.0) { Ok(()) } else { Err(format!("{vm} does not run on node{host}")) }
    }
}
