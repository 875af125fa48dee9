//! Compares what runs with what should run, service by service.

use super::hypervisor::is_paused;
use super::{World, uri_of, why_gone};
use crate::Moment;
use belay_engine::state::work::Assigned;
use belay_proto::agent::{AgentEvent, Domain};
use belay_proto::entry::{GoneReason, Seen};
use belay_proto::{OwnershipEpoch, ServiceState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A death that was told is told again when nothing comes of it, at growing intervals up to this.
const TELL_AGAIN_LONGEST: Duration = Duration::from_secs(3600);

/// What is remembered of a service.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Our own work on it is going on.
    pub(super) busy: bool,
    /// Events that happened meanwhile.
    pub(super) held: Vec<AgentEvent>,
    /// The epoch in which we reported it started. The state catches up a moment later.
    pub(super) started: Option<OwnershipEpoch>,
    /// Since when, on the world's clock, it should run here.
    expected: Option<(OwnershipEpoch, u64)>,
    /// Witnesses who missed it.
    pub(super) strikes: u8,
    gone: Option<GoneTold>,
    stray: Option<Stray>,
    /// The cluster was told of a copy here that should not be, and not yet of its end.
    pub(super) told_of_copy: bool,
}

#[derive(Debug)]
struct GoneTold {
    epoch: OwnershipEpoch,
    again_at: Moment,
    interval: Duration,
}

#[derive(Debug)]
struct Stray {
    epoch: OwnershipEpoch,
    pid: Option<u32>,
    tell_at: Moment,
    told: bool,
}

impl Watched {
    pub(super) fn stray_due(&self) -> Option<Moment> {
        self.stray.as_ref().filter(|stray| !stray.told).map(|stray| stray.tell_at)
    }

    /// Whether the domain should run here: the state says so, or will as soon as our report reaches it.
    fn expects(&self, assigned: &Assigned) -> bool {
        let reported = self.started == Some(assigned.epoch)
            && matches!(assigned.state, ServiceState::Starting | ServiceState::Recovering);
        assigned.mine && (assigned.state == ServiceState::Started || reported)
    }
}

/// Whether a running copy on this host contradicts the state.
pub(super) fn contradicts(assigned: &Assigned) -> bool {
    let may_run = assigned.mine && assigned.state.has_owner() || assigned.state == ServiceState::Migrating;
    !may_run
}

impl World {
    pub(super) fn review_all(&mut self, now: Moment) {
        let assignments = Arc::clone(&self.assignments);
        for domain in assignments.domains.keys() {
            self.review(now, domain);
        }
    }

    /// Brings up to date what is expected of a domain, and whether it is where it should not be.
    pub(super) fn review(&mut self, now: Moment, domain: &str) {
        let Some(assigned) = self.assignments.domains.get(domain).cloned() else { return };
        let uri = self.uri_of(&assigned).to_owned();
        let Some(hypervisor) = self.hypervisors.get_mut(&uri) else { return };
        let (running, pid) = hypervisor.domains.get(domain).map_or((false, None), |known| (known.running, known.pid));
        let has_work = self.worked_on.contains(&assigned.service);
        let watched = self.services.entry(assigned.service.clone()).or_default();
        if !watched.expects(&assigned) {
            watched.expected = None;
            watched.strikes = 0;
        } else if watched.expected.is_none_or(|(epoch, _)| epoch != assigned.epoch) {
            watched.expected = Some((assigned.epoch, self.clock));
            watched.strikes = 0;
            if !running {
                hypervisor.ask_now(now);
            }
        }
        if !contradicts(&assigned) {
            watched.told_of_copy = false;
        }
        if !running || watched.busy || has_work || !contradicts(&assigned) {
            watched.stray = None;
            // Its end is news as well: until it is known, nothing is started elsewhere.
            if !running && !watched.busy && !has_work && std::mem::take(&mut watched.told_of_copy) {
                let why = why_gone(self.hypervisors.get(&uri), domain);
                self.observe(&assigned, Seen::Gone { why });
            }
            return;
        }
        let same =
            |stray: &Stray| stray.epoch == assigned.epoch && (stray.pid == pid || stray.pid.is_none() || pid.is_none());
        if !watched.stray.as_ref().is_some_and(same) {
            let tell_at = now + self.settings.settle;
            watched.stray = Some(Stray { epoch: assigned.epoch, pid, tell_at, told: false });
        }
    }

    /// Takes in an event about a domain that no work is going on with.
    pub(super) fn take(&mut self, now: Moment, uri: &str, domain: &str, event: AgentEvent) {
        let clock = self.clock;
        let Some(hypervisor) = self.hypervisors.get_mut(uri) else { return };
        if let AgentEvent::Gone { why, pid, .. } = event {
            return self.gone(now, uri, domain, why, pid);
        }
        let known = hypervisor.known(domain);
        let was_paused = known.paused;
        let began = matches!(event, AgentEvent::Started { .. });
        let seen = match event {
            AgentEvent::Started { pid, .. } if pid.is_none() || pid != known.last_gone => {
                (known.running, known.pid, known.paused) = (true, pid, false);
                (known.changed, known.why) = (clock, None);
                None
            }
            // Of a domain that is not known to run these are echoes of one that is gone, or the next list tells.
            AgentEvent::Paused { why, .. } if known.running => {
                known.paused = true;
                (!was_paused).then_some(Seen::Paused { why })
            }
            AgentEvent::Resumed { .. } => {
                known.paused = false;
                was_paused.then_some(Seen::Resumed)
            }
            AgentEvent::Rebooted { .. } => Some(Seen::Rebooted),
            AgentEvent::IoError { detail, .. } => Some(Seen::IoError { detail }),
            _ => return,
        };
        self.review(now, domain);
        let Some(assigned) = self.assigned(uri, domain) else { return };
        let Some(watched) = self.services.get_mut(&assigned.service) else { return };
        if seen.is_none() {
            watched.strikes = 0;
        }
        let ours = watched.expects(&assigned) || assigned.mine && assigned.state == ServiceState::Migrating;
        // That it is back is news to whoever was told that it went: somebody moved it here again, or started it.
        let back = began && watched.gone.take().is_some_and(|told| told.epoch == assigned.epoch);
        let seen = if back { Some(Seen::Running) } else { seen };
        if let Some(seen) = seen.filter(|_| ours) {
            self.observe(&assigned, seen);
        }
    }

    /// An event says that a domain's process is gone.
    fn gone(&mut self, now: Moment, uri: &str, domain: &str, why: GoneReason, pid: Option<u32>) {
        let clock = self.clock;
        let assigned = self.assigned(uri, domain);
        let expected = assigned
            .as_ref()
            .and_then(|assigned| Some((assigned, self.services.get(&assigned.service)?)))
            .is_some_and(|(assigned, watched)| watched.expects(assigned));
        let Some(hypervisor) = self.hypervisors.get_mut(uri) else { return };
        let known = hypervisor.known(domain);
        let certain = match (known.running, known.pid, pid) {
            (true, Some(now_runs), Some(gone)) if now_runs != gone => return,
            (true, Some(_), Some(_)) => true,
            (true, _, _) => false,
            (false, _, _) if expected => false,
            // The second witness of the same death.
            (false, _, _) => return,
        };
        known.why = Some(why);
        if certain {
            (known.running, known.pid, known.paused, known.changed) = (false, None, false, clock);
            known.last_gone = pid;
        } else {
            hypervisor.ask_now(now);
        }
        let Some(assigned) = assigned.filter(|_| expected) else {
            return self.review(now, domain);
        };
        if certain {
            self.tell_gone(now, &assigned, why);
        } else if let Some(watched) = self.services.get_mut(&assigned.service) {
            watched.strikes = watched.strikes.max(1);
        }
        self.review(now, domain);
    }

    fn tell_gone(&mut self, now: Moment, assigned: &Assigned, why: GoneReason) {
        let watched = self.services.entry(assigned.service.clone()).or_default();
        let before = watched.gone.as_ref().filter(|told| told.epoch == assigned.epoch);
        let interval = before.map_or(self.settings.check_every, |told| (told.interval * 2).min(TELL_AGAIN_LONGEST));
        watched.gone = Some(GoneTold { epoch: assigned.epoch, again_at: now + interval, interval });
        watched.strikes = 0;
        self.observe(assigned, Seen::Gone { why });
    }

    /// Compares a list with what should run on that hypervisor.
    pub(super) fn compare(&mut self, now: Moment, uri: &str, issued: u64, list: &BTreeMap<&str, &Domain>) {
        let assignments = Arc::clone(&self.assignments);
        let settings = Arc::clone(&self.settings);
        let here = |assigned: &Assigned| uri_of(assigned, &settings.hypervisor) == uri;
        for (domain, assigned) in assignments.domains.iter().filter(|(_, assigned)| here(assigned)) {
            let older = |hypervisor: &super::Hypervisor| {
                hypervisor.domains.get(domain).is_none_or(|known| known.changed <= issued)
            };
            let news = self.hypervisors.get(uri).is_some_and(older);
            let busy = self.services.get(&assigned.service).is_some_and(|watched| watched.busy);
            if news && !busy {
                match list.get(domain.as_str()) {
                    Some(listed) => self.present(uri, assigned, listed),
                    None => self.absent(now, uri, issued, domain, assigned),
                }
            }
            self.review(now, domain);
        }
        if let Some(hypervisor) = self.hypervisors.get_mut(uri) {
            hypervisor.domains.retain(|name, known| {
                known.running || known.changed > issued || assignments.domains.contains_key(name)
            });
        }
    }

    fn present(&mut self, uri: &str, assigned: &Assigned, listed: &Domain) {
        let Some(watched) = self.services.get_mut(&assigned.service) else { return };
        watched.strikes = 0;
        let back = watched.gone.take().is_some_and(|told| told.epoch == assigned.epoch);
        let expected = watched.expects(assigned);
        if back && expected {
            self.observe(assigned, Seen::Running);
        }
        if let Some(size) = listed.size {
            self.facts.domain(&listed.name, size);
        }
        let Some(hypervisor) = self.hypervisors.get_mut(uri) else { return };
        let known = hypervisor.known(&listed.name);
        // Events may have been missed while the agent was away.
        let seen = match (known.paused, is_paused(listed.state)) {
            (false, Some(true)) => Seen::Paused { why: "unknown".to_owned() },
            (true, Some(false)) => Seen::Resumed,
            _ => return,
        };
        known.paused = !known.paused;
        if expected {
            self.observe(assigned, seen);
        }
    }

    fn absent(&mut self, now: Moment, uri: &str, issued: u64, domain: &str, assigned: &Assigned) {
        let why = why_gone(self.hypervisors.get(uri), domain);
        let Some(watched) = self.services.get_mut(&assigned.service) else { return };
        // Asked before the domain was expected here, a list may show the moment before it came.
        if watched.expected.is_none_or(|(_, since)| since >= issued) {
            return;
        }
        if let Some(told) = watched.gone.as_ref().filter(|told| told.epoch == assigned.epoch) {
            if now >= told.again_at {
                self.tell_gone(now, assigned, why);
            }
            return;
        }
        watched.strikes += 1;
        if watched.strikes >= 2 {
            self.tell_gone(now, assigned, why);
        } else if let Some(hypervisor) = self.hypervisors.get_mut(uri) {
            hypervisor.ask_now(now);
        }
    }

    /// Reports, once an outage, that nothing is known of what should run on a hypervisor that does not answer.
    pub(super) fn tell_outages(&mut self, now: Moment) {
        let patience = self.settings.unknown_after;
        let mut silent = Vec::new();
        for (uri, hypervisor) in &mut self.hypervisors {
            if let Some(outage) = &mut hypervisor.outage
                && !outage.told
                && now >= outage.since + patience
            {
                outage.told = true;
                silent.push((uri.clone(), outage.reason.clone()));
            }
        }
        let assignments = Arc::clone(&self.assignments);
        let settings = Arc::clone(&self.settings);
        for (uri, reason) in silent {
            let here = |assigned: &&Assigned| uri_of(assigned, &settings.hypervisor) == uri;
            for assigned in assignments.domains.values().filter(here) {
                if self.services.get(&assigned.service).is_some_and(|watched| watched.expects(assigned)) {
                    self.observe(assigned, Seen::Unknown { reason: reason.clone() });
                }
            }
        }
    }

    pub(super) fn tell_strays(&mut self, now: Moment) {
        let assignments = Arc::clone(&self.assignments);
        for assigned in assignments.domains.values() {
            let Some(watched) = self.services.get_mut(&assigned.service) else { continue };
            if let Some(stray) = watched.stray.as_mut().filter(|stray| !stray.told && stray.tell_at <= now) {
                stray.told = true;
                watched.told_of_copy = true;
                self.observe(assigned, Seen::Running);
            }
        }
    }
}
