//! The driver: keeps one attempt a victim going, to fence it or to switch it on again, and reports its outcome.

use super::attempt::{Attempt, Ending};
use super::switch_on::SwitchingOn;
use super::{FenceAction, FenceEvent, Purpose, Run, RunEnd, RunId, Settings, Task, Wanted};
use crate::Moment;
use belay_engine::mutant::{self, Mutant};
use belay_engine::state::work::{FenceWork, SwitchOnWork};
use belay_proto::NodeId;
use belay_proto::entry::{FenceOutcome, What};
use belay_proto::history::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is known of one victim on the list.
#[derive(Debug)]
enum Victim {
    Running(Box<Attempt>),
    SwitchingOn(Box<SwitchingOn>),
    Done { attempt: u32, outcome: FenceOutcome },
}

/// Whom an attempt is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    victim: NodeId,
    name: &'a str,
    attempt: u32,
}

impl<'a> From<&'a FenceWork> for About<'a> {
    fn from(work: &'a FenceWork) -> Self {
        Self { victim: work.victim, name: &work.victim_name, attempt: work.attempt }
    }
}

impl<'a> From<&'a SwitchOnWork> for About<'a> {
    fn from(work: &'a SwitchOnWork) -> Self {
        Self { victim: work.victim, name: &work.victim_name, attempt: work.attempt }
    }
}

/// What attempts work with.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) now: Moment,
    pub(super) settings: &'a Settings,
    /// The default action of each agent that was asked for it.
    pub(super) defaults: &'a mut BTreeMap<String, Option<String>>,
    /// The agents that are being asked.
    pub(super) asked: BTreeSet<String>,
    last_run: &'a mut u64,
    out: &'a mut Vec<FenceAction>,
}

impl Desk<'_> {
    /// Has an agent run.
    pub(super) fn run(
        &mut self,
        about: About<'_>,
        agent: &str,
        arguments: Vec<(String, String)>,
        within: Duration,
        purpose: Purpose,
    ) -> RunId {
        *self.last_run += 1;
        let id = RunId(*self.last_run);
        self.out.push(FenceAction::Run(Run {
            id,
            agent: agent.to_owned(),
            arguments,
            within,
            needs_quorum: matches!(purpose, Purpose::Fence { .. }) && !mutant::is(Mutant::FencingWithoutQuorum),
            purpose,
            victim: about.victim,
            victim_name: about.name.to_owned(),
            attempt: about.attempt,
        }));
        id
    }

    pub(super) fn stop(&mut self, run: RunId) {
        self.out.push(FenceAction::Stop(run));
    }

    pub(super) fn tell(&mut self, about: About<'_>, severity: Severity, text: String) {
        let (victim, attempt) = (about.name.to_owned(), about.attempt);
        self.out.push(FenceAction::Tell { severity, victim, attempt, text });
    }

    fn report(&mut self, victim: NodeId, attempt: u32, outcome: FenceOutcome) {
        self.out.push(FenceAction::Report(What::FenceOutcome { victim, attempt, outcome }));
    }
}

/// One host's work on victims.
#[derive(Debug)]
pub struct FenceDriver {
    settings: Settings,
    wanted: Wanted,
    victims: BTreeMap<NodeId, Victim>,
    defaults: BTreeMap<String, Option<String>>,
    /// When outcomes are reported again.
    again_at: Moment,
    last_run: u64,
    out: Vec<FenceAction>,
}

impl FenceDriver {
    /// A driver without victims.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            wanted: Wanted::new(),
            victims: BTreeMap::new(),
            defaults: BTreeMap::new(),
            again_at: Moment::default(),
            last_run: 0,
            out: Vec::new(),
        }
    }

    /// Takes an event in; gives what is to be done, in order. Time that has passed counts whatever the event is.
    pub fn step(&mut self, now: Moment, event: FenceEvent) -> Vec<FenceAction> {
        match event {
            FenceEvent::Wanted(wanted) => self.wanted = wanted,
            FenceEvent::Ended { run, how } => self.ended(now, run, how),
            FenceEvent::Woken => {}
        }
        self.time(now);
        self.reconcile(now);
        self.pass_words_on(now);
        std::mem::take(&mut self.out)
    }

    /// When it has something to do even if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        let due = self.victims.values().filter_map(|victim| match victim {
            Victim::Running(attempt) => attempt.due(),
            Victim::SwitchingOn(_) => None,
            Victim::Done { .. } => Some(self.again_at),
        });
        due.min()
    }

    fn desk(&mut self, now: Moment) -> Desk<'_> {
        let attempts = self.victims.values().filter_map(|victim| match victim {
            Victim::Running(attempt) => attempt.asks(),
            _ => None,
        });
        Desk {
            now,
            settings: &self.settings,
            asked: attempts.map(str::to_owned).collect(),
            defaults: &mut self.defaults,
            last_run: &mut self.last_run,
            out: &mut self.out,
        }
    }

    /// Lets something happen to a victim's attempt, and draws the conclusions when that was its end.
    fn with_attempt(
        &mut self,
        now: Moment,
        node: NodeId,
        act: impl FnOnce(&mut Attempt, &mut Desk<'_>) -> Option<Ending>,
    ) {
        // Taken out for the time being: what other attempts ask is none of its own.
        let Some(Victim::Running(mut attempt)) = self.victims.remove(&node) else { return };
        let ending = act(&mut attempt, &mut self.desk(now));
        match ending {
            None => drop(self.victims.insert(node, Victim::Running(attempt))),
            Some(Ending::Cancelled) => {
                let text = format!("fencing {} is no longer wanted", attempt.work.victim_name);
                self.desk(now).tell(About::from(&attempt.work), Severity::Info, text);
            }
            Some(Ending::Known(outcome)) => self.known(now, node, About::from(&attempt.work), outcome),
        }
    }

    fn known(&mut self, now: Moment, node: NodeId, about: About<'_>, outcome: FenceOutcome) {
        let victim = about.name;
        let (severity, text) = match &outcome {
            FenceOutcome::Confirmed { method, .. } => {
                (Severity::Info, format!("fencing {victim} confirmed by method {method}"))
            }
            FenceOutcome::Failed { reason } => (Severity::Error, format!("fencing {victim} failed: {reason}")),
            FenceOutcome::SwitchedOn => (Severity::Info, format!("{victim} is switched on again")),
            FenceOutcome::StaysOff { reason } => {
                (Severity::Warning, format!("{victim} is off and could not be switched on again: {reason}"))
            }
        };
        let mut desk = self.desk(now);
        desk.tell(about, severity, text);
        desk.report(node, about.attempt, outcome.clone());
        if self.again_at <= now {
            self.again_at = now + self.settings.report_again;
        }
        self.victims.insert(node, Victim::Done { attempt: about.attempt, outcome });
    }

    /// Lets something happen to a victim that is being switched on, and draws the conclusions when that was its end.
    fn with_switching_on(
        &mut self,
        now: Moment,
        node: NodeId,
        act: impl FnOnce(&mut SwitchingOn, &mut Desk<'_>) -> Option<FenceOutcome>,
    ) {
        let Some(Victim::SwitchingOn(mut switching)) = self.victims.remove(&node) else { return };
        let outcome = act(&mut switching, &mut self.desk(now));
        match outcome {
            Some(outcome) => self.known(now, node, About::from(&switching.work), outcome),
            None if switching.is_over() => {}
            None => drop(self.victims.insert(node, Victim::SwitchingOn(switching))),
        }
    }

    fn ended(&mut self, now: Moment, ended: RunId, how: RunEnd) {
        let of = self.victims.iter().find(|(_, victim)| match victim {
            Victim::Running(attempt) => attempt.run() == Some(ended),
            Victim::SwitchingOn(switching) => switching.run() == Some(ended),
            Victim::Done { .. } => false,
        });
        let Some((node, is_on)) = of.map(|(node, victim)| (*node, matches!(victim, Victim::SwitchingOn(_)))) else {
            return;
        };
        if is_on {
            self.with_switching_on(now, node, |switching, desk| switching.ended(desk, how));
        } else {
            self.with_attempt(now, node, |attempt, desk| attempt.ended(desk, how));
        }
    }

    fn time(&mut self, now: Moment) {
        let due =
            |victim: &Victim| matches!(victim, Victim::Running(attempt) if attempt.due().is_some_and(|at| at <= now));
        let due: Vec<NodeId> = self.victims.iter().filter(|(_, v)| due(v)).map(|(node, _)| *node).collect();
        for node in due {
            self.with_attempt(now, node, |attempt, desk| attempt.goes_on(desk));
        }
        if self.again_at <= now {
            let known = self.victims.iter().filter_map(|(node, victim)| match victim {
                Victim::Running(_) | Victim::SwitchingOn(_) => None,
                Victim::Done { attempt, outcome } => Some((*node, *attempt, outcome.clone())),
            });
            for (node, attempt, outcome) in known.collect::<Vec<_>>() {
                self.again_at = now + self.settings.report_again;
                self.desk(now).report(node, attempt, outcome);
            }
        }
    }

    /// Stops what is no longer wanted and begins what is not yet under way.
    fn reconcile(&mut self, now: Moment) {
        let wanted = &self.wanted;
        let listed = |node: &NodeId, attempt: u32| wanted.get(node).is_some_and(|task| task.attempt() == attempt);
        self.victims.retain(|node, victim| match victim {
            Victim::Running(_) | Victim::SwitchingOn(_) => true,
            Victim::Done { attempt, .. } => listed(node, *attempt),
        });
        let unwanted = self.victims.iter().filter(|(node, victim)| match victim {
            Victim::Running(_) if mutant::is(Mutant::FencingGoesOn) => false,
            Victim::Running(attempt) => !listed(node, attempt.work.attempt),
            Victim::SwitchingOn(switching) => !listed(node, switching.work.attempt),
            Victim::Done { .. } => false,
        });
        // One whose agent runs is kept until that has ended: no two agents may work on one victim at a time.
        for node in unwanted.map(|(node, _)| *node).collect::<Vec<_>>() {
            if matches!(self.victims.get(&node), Some(Victim::SwitchingOn(_))) {
                self.with_switching_on(now, node, |switching, desk| {
                    switching.cancel(desk);
                    None
                });
            } else {
                self.with_attempt(now, node, |attempt, desk| attempt.cancel(desk));
            }
        }
        let new = self.wanted.iter().filter(|(node, _)| !self.victims.contains_key(node));
        for (node, task) in new.map(|(node, task)| (*node, task.clone())).collect::<Vec<_>>() {
            match task {
                Task::Fence(work) => {
                    self.victims.insert(node, Victim::Running(Box::new(Attempt::new(work))));
                    self.with_attempt(now, node, |attempt, desk| attempt.begin(desk));
                }
                Task::SwitchOn(work) => {
                    self.victims.insert(node, Victim::SwitchingOn(Box::new(SwitchingOn::new(work))));
                    self.with_switching_on(now, node, |switching, desk| switching.next(desk));
                }
            }
        }
    }

    /// Lets attempts go on that await the word of an agent which nobody asks any more.
    fn pass_words_on(&mut self, now: Moment) {
        loop {
            let asked = self.desk(now).asked;
            let free = self.victims.iter().find(|(_, victim)| match victim {
                Victim::Running(attempt) => attempt.awaits().is_some_and(|agent| !asked.contains(agent)),
                _ => false,
            });
            let Some(node) = free.map(|(node, _)| *node) else { return };
            self.with_attempt(now, node, |attempt, desk| attempt.goes_on(desk));
        }
    }
}
