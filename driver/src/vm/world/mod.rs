//! What this host knows of its domains, and what of it is news for the cluster. Pure: inputs and the time go in,
//! reports and lists to ask for come out.
//!
//! Knowledge comes from three sides that may overtake each other: events, lists, and the answers to our own work. Every
//! input advances a clock. A list says something about a domain only if it was asked for after the last event or answer
//! about that domain; an event about an emulator process other than the one that is known to run now is old news; and
//! what happens to a domain while our own work on it goes on is held back until that work has reported.
//!
//! ```text
//!            event: its process is gone
//!   pid is the known one │ pid is another │ no way to tell
//!            gone        │    ignored     │ ask for a list ──► not in it: gone
//! ```
//!
//! A domain missing from a list without any event is believed gone when the next list misses it too.

mod facts;
mod hypervisor;
mod inventory;
mod review;
#[cfg(test)]
mod tests;

use super::job::Ended;
use super::{Listing, NoticeKind, Settings};
use crate::Moment;
use belay_engine::state::work::{Assigned, Assignments};
use belay_proto::agent::{AgentEvent, Fault};
use belay_proto::entry::{GoneReason, Seen, What, WorkOutcome};
use belay_proto::{OwnershipEpoch, ServiceName};
use facts::Facts;
use hypervisor::Hypervisor;
use review::Watched;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Events about one domain that are held back at most. Nothing beyond the first few matters.
const HELD: usize = 1000;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct World {
    settings: Arc<Settings>,
    clock: u64,
    assignments: Arc<Assignments>,
    worked_on: BTreeSet<ServiceName>,
    hypervisors: BTreeMap<String, Hypervisor>,
    services: BTreeMap<ServiceName, Watched>,
    inventory_due: Option<u64>,
    facts: Facts,
    next_check: Moment,
    reports: VecDeque<What>,
}

impl World {
    pub(super) fn new(settings: Arc<Settings>, now: Moment) -> Self {
        let hypervisors = BTreeMap::from([(settings.hypervisor.clone(), Hypervisor::new(now))]);
        Self {
            next_check: now + settings.check_every,
            settings,
            clock: 1,
            assignments: Arc::default(),
            worked_on: BTreeSet::new(),
            hypervisors,
            services: BTreeMap::new(),
            inventory_due: None,
            facts: Facts::default(),
            reports: VecDeque::new(),
        }
    }

    /// A new list of work and services.
    pub(super) fn assign(&mut self, now: Moment, assignments: Arc<Assignments>, worked_on: BTreeSet<ServiceName>) {
        self.clock += 1;
        let wanted_before = self.assignments.inventory_wanted;
        self.assignments = assignments;
        self.worked_on = worked_on;
        for assigned in self.assignments.domains.values() {
            if let Some(uri) = &assigned.hypervisor_uri
                && !self.hypervisors.contains_key(uri)
            {
                self.hypervisors.insert(uri.clone(), Hypervisor::new(now));
            }
        }
        let known: BTreeSet<&ServiceName> = self.assignments.domains.values().map(|a| &a.service).collect();
        self.services.retain(|service, watched| watched.busy || known.contains(service));
        if self.assignments.inventory_wanted.is_some() && self.assignments.inventory_wanted != wanted_before {
            self.inventory_due = Some(self.clock);
            if !self.assignments.facts_known {
                self.facts.forgotten();
            }
            self.hypervisors.values_mut().for_each(|hypervisor| hypervisor.ask_now(now));
        }
        self.facts.managed(|name| self.assignments.domains.contains_key(name));
        self.review_all(now);
        self.inventory();
        self.tell_facts();
    }

    /// The agent of a hypervisor said something.
    pub(super) fn notice(&mut self, now: Moment, uri: &str, notice: NoticeKind) {
        self.clock += 1;
        let Some(hypervisor) = self.hypervisors.get_mut(uri) else { return };
        match notice {
            // Only a connected one can be asked.
            NoticeKind::Up => {}
            NoticeKind::Down { reason } => hypervisor.lost(now, format!("the libvirt agent {reason}")),
            NoticeKind::Event(AgentEvent::Connected) => hypervisor.ask_now(now),
            NoticeKind::Event(AgentEvent::Disconnected { reason }) => {
                hypervisor.lost(now, format!("libvirt does not answer: {reason}"));
            }
            NoticeKind::Event(AgentEvent::Host(host)) => {
                if uri == self.settings.hypervisor {
                    self.facts.host(host);
                    self.tell_facts();
                }
            }
            NoticeKind::Event(event) => self.hold_or_take(now, uri, event),
        }
    }

    fn hold_or_take(&mut self, now: Moment, uri: &str, event: AgentEvent) {
        let Some(domain) = domain_of(&event).map(str::to_owned) else { return };
        if let Some(assigned) = self.assigned(uri, &domain)
            && let Some(watched) = self.services.get_mut(&assigned.service)
            && watched.busy
        {
            if watched.held.len() < HELD {
                watched.held.push(event);
            }
            return;
        }
        self.take(now, uri, &domain, event);
    }

    /// Work on a service begins: until it ended, its outcome tells what happens to the domain.
    pub(super) fn job_began(&mut self, service: &ServiceName) {
        self.clock += 1;
        let watched = self.services.entry(service.clone()).or_default();
        watched.busy = true;
        watched.strikes = 0;
    }

    /// Work on a service ended.
    pub(super) fn job_ended(&mut self, now: Moment, ended: Ended) {
        self.clock += 1;
        let clock = self.clock;
        let watched = self.services.entry(ended.service.clone()).or_default();
        watched.busy = false;
        let held = std::mem::take(&mut watched.held);
        let running = ended.outcome.as_ref().and_then(tells_running);
        if running == Some(false) {
            watched.told_of_copy = false;
        }
        if ended.outcome == Some(WorkOutcome::Started) {
            watched.started = Some(ended.epoch);
        }
        if let (Some(running), Some(hypervisor)) = (running, self.hypervisors.get_mut(&ended.uri)) {
            let known = hypervisor.known(&ended.domain);
            (known.running, known.pid, known.paused) = (running, ended.pid, false);
            (known.changed, known.why) = (clock, None);
        }
        if let Some(outcome) = ended.outcome {
            self.reports.push_back(What::Outcome { service: ended.service, epoch: ended.epoch, outcome });
        }
        self.review(now, &ended.domain);
        for event in held {
            // The work knows the state at its end: what led there is no news, only what came after. Of a domain that
            // runs these are events of the process that now runs; of one that does not there are none.
            let overtaken = match running {
                Some(true) => matches!(event, AgentEvent::Started { .. }),
                Some(false) => true,
                None => false,
            };
            if !overtaken {
                self.take(now, &ended.uri, &ended.domain, event);
            }
        }
    }

    /// Work has read a domain's definition.
    pub(super) fn defined(&mut self, domain: &str, text: &str) {
        if let Some(size) = facts::size_of(text) {
            self.facts.domain(domain, size);
            self.tell_facts();
        }
    }

    fn tell_facts(&mut self) {
        if self.assignments.inventory_wanted.is_some() {
            self.reports.extend(self.facts.news());
        }
    }

    /// Work cannot tell whether a domain runs, and goes on trying.
    pub(super) fn trouble(&mut self, service: ServiceName, epoch: OwnershipEpoch, reason: String) {
        self.reports.push_back(What::Observation { service, epoch, seen: Seen::Unknown { reason } });
    }

    /// The lists to ask for now, each with the clock's reading to hand back with it.
    pub(super) fn lists_to_ask(&mut self, now: Moment) -> Vec<(String, u64)> {
        let mut lists = Vec::new();
        for (uri, hypervisor) in &mut self.hypervisors {
            if hypervisor.begin_list(now) {
                self.clock += 1;
                lists.push((uri.clone(), self.clock));
            }
        }
        lists
    }

    /// A list that was asked for.
    pub(super) fn listed(&mut self, now: Moment, uri: &str, issued: u64, list: Result<Listing, Fault>) {
        self.clock += 1;
        let Some(hypervisor) = self.hypervisors.get_mut(uri) else { return };
        match list {
            Ok(list) if list.complete => {
                let list = list.domains.iter().map(|domain| (domain.name.as_str(), domain)).collect();
                let outage = hypervisor.take_list(issued, &list, now);
                if outage.is_some() && self.assignments.inventory_wanted.is_some() {
                    self.inventory_due.get_or_insert(issued);
                }
                self.compare(now, uri, issued, &list);
                self.inventory();
                self.tell_facts();
            }
            Ok(_) => hypervisor.list_failed(now),
            Err(fault) => {
                hypervisor.lost(now, fault.message);
                hypervisor.list_failed(now);
            }
        }
    }

    /// Does what has become due.
    pub(super) fn timers(&mut self, now: Moment) {
        if now >= self.next_check {
            self.next_check = now + self.settings.check_every;
            self.hypervisors.values_mut().for_each(Hypervisor::ask);
        }
        self.tell_outages(now);
        self.tell_strays(now);
    }

    /// When [`World::timers`] or [`World::lists_to_ask`] has something to do next.
    pub(super) fn wake_at(&self) -> Moment {
        let asks = self.hypervisors.values().filter_map(Hypervisor::ask_at);
        let outages = self.hypervisors.values().filter_map(|hypervisor| hypervisor.outage.as_ref());
        let outages = outages.filter(|outage| !outage.told).map(|outage| outage.since + self.settings.unknown_after);
        let strays = self.services.values().filter_map(Watched::stray_due);
        asks.chain(outages).chain(strays).min().map_or(self.next_check, |at| at.min(self.next_check))
    }

    /// The hypervisors that an agent is needed for.
    pub(super) fn uris(&self) -> impl Iterator<Item = &String> {
        self.hypervisors.keys()
    }

    pub(super) fn next_report(&mut self) -> Option<What> {
        self.reports.pop_front()
    }

    /// The hypervisor a service's domain belongs to.
    fn uri_of<'a>(&'a self, assigned: &'a Assigned) -> &'a str {
        uri_of(assigned, &self.settings.hypervisor)
    }

    /// The service whose domain this is, if it is one of ours on this hypervisor.
    fn assigned(&self, uri: &str, domain: &str) -> Option<Assigned> {
        let assigned = self.assignments.domains.get(domain)?;
        (self.uri_of(assigned) == uri).then(|| assigned.clone())
    }

    fn observe(&mut self, assigned: &Assigned, seen: Seen) {
        self.reports.push_back(What::Observation { service: assigned.service.clone(), epoch: assigned.epoch, seen });
    }
}

/// What an outcome says about the domain on this host.
fn tells_running(outcome: &WorkOutcome) -> Option<bool> {
    match outcome {
        WorkOutcome::Started => Some(true),
        WorkOutcome::StartFailed { .. } | WorkOutcome::Stopped | WorkOutcome::StrayStopped => Some(false),
        WorkOutcome::Looked { running } => Some(*running),
        WorkOutcome::StopFailed { .. } | WorkOutcome::MigrateEnded { .. } => None,
    }
}

/// The domain an event is about.
fn domain_of(event: &AgentEvent) -> Option<&str> {
    match event {
        AgentEvent::Host(_) | AgentEvent::Connected | AgentEvent::Disconnected { .. } => None,
        AgentEvent::Started { name, .. }
        | AgentEvent::Gone { name, .. }
        | AgentEvent::Paused { name, .. }
        | AgentEvent::Resumed { name }
        | AgentEvent::Rebooted { name }
        | AgentEvent::ShuttingDown { name }
        | AgentEvent::IoError { name, .. } => Some(name),
    }
}

/// The hypervisor a service's domain belongs to, given the one for those that name none.
fn uri_of<'a>(assigned: &'a Assigned, default: &'a str) -> &'a str {
    assigned.hypervisor_uri.as_deref().unwrap_or(default)
}

/// Why a domain that is not listed is gone, as far as an event told.
fn why_gone(hypervisor: Option<&Hypervisor>, domain: &str) -> GoneReason {
    hypervisor.and_then(|h| h.domains.get(domain)).and_then(|known| known.why).unwrap_or(GoneReason::Missing)
}
