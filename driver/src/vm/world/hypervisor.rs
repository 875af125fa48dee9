//! What is known of one hypervisor: its domains, whether it answers, and when it should be asked again.

use crate::Moment;
use belay_proto::agent::{Domain, DomainState};
use belay_proto::entry::GoneReason;
use std::collections::BTreeMap;
use std::time::Duration;

/// The first pause after a list that failed; it doubles up to [`ASK_AGAIN_LONGEST`].
const ASK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN_LONGEST: Duration = Duration::from_secs(5);

/// What is known of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) running: bool,
    pub(super) pid: Option<u32>,
    pub(super) paused: bool,
    /// When an event or our own work last told something, on the world's clock. A list that was asked for earlier
    /// says nothing against it.
    pub(super) changed: u64,
    /// What an event said of its end.
    pub(super) why: Option<GoneReason>,
    /// The process that was last seen to go. libvirt's events trail the kernel's, so its "started" may come after.
    pub(super) last_gone: Option<u32>,
}

/// A time without an answer.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) since: Moment,
    pub(super) reason: String,
    pub(super) told: bool,
}

/// One hypervisor.
#[derive(Debug)]
pub(super) struct Hypervisor {
    pub(super) domains: BTreeMap<String, Known>,
    /// Set from the moment it stopped answering to the next good list; set at first.
    pub(super) outage: Option<Outage>,
    /// When the last good list was asked for.
    pub(super) listed: Option<u64>,
    asking: bool,
    ask: bool,
    not_before: Moment,
    failures: u32,
}

impl Hypervisor {
    pub(super) fn new(now: Moment) -> Self {
        let outage = Outage { since: now, reason: "the libvirt agent has not answered yet".to_owned(), told: false };
        Self {
            domains: BTreeMap::new(),
            outage: Some(outage),
            listed: None,
            asking: false,
            ask: true,
            not_before: now,
            failures: 0,
        }
    }

    /// The domain's entry, made if there is none.
    pub(super) fn known(&mut self, domain: &str) -> &mut Known {
        // Looked up first: the name is copied only for a new domain, not for each event of an old one.
        if !self.domains.contains_key(domain) {
            self.domains.insert(domain.to_owned(), Known::default());
        }
        self.domains.entry(domain.to_owned()).or_default()
    }

    /// Asks for a list as soon as possible.
    pub(super) fn ask_now(&mut self, now: Moment) {
        self.ask = true;
        self.not_before = self.not_before.min(now);
        self.failures = 0;
    }

    /// Asks for a list with the next opportunity, without hurrying one that failed.
    pub(super) fn ask(&mut self) {
        self.ask = true;
    }

    /// When a list is due.
    pub(super) fn ask_at(&self) -> Option<Moment> {
        (self.ask && !self.asking).then_some(self.not_before)
    }

    /// Whether a list should be asked for now; if so, counts it as asked.
    pub(super) fn begin_list(&mut self, now: Moment) -> bool {
        if self.ask_at().is_none_or(|at| at > now) {
            return false;
        }
        self.ask = false;
        self.asking = true;
        true
    }

    /// The list did not come, or did not show everything.
    pub(super) fn list_failed(&mut self, now: Moment) {
        self.asking = false;
        self.ask = true;
        let pause = ASK_AGAIN * 2u32.saturating_pow(self.failures.min(10));
        self.not_before = now + pause.min(ASK_AGAIN_LONGEST);
        self.failures = self.failures.saturating_add(1);
    }

    /// It stopped answering.
    pub(super) fn lost(&mut self, now: Moment, reason: String) {
        self.outage.get_or_insert(Outage { since: now, reason, told: false });
    }

    /// Takes a list in; gives what it was silent about until then.
    pub(super) fn take_list(&mut self, issued: u64, list: &BTreeMap<&str, &Domain>, now: Moment) -> Option<Outage> {
        self.asking = false;
        self.failures = 0;
        self.not_before = now;
        self.listed = Some(issued);
        for (name, known) in &mut self.domains {
            if known.changed <= issued && !list.contains_key(name.as_str()) {
                (known.running, known.pid, known.paused) = (false, None, false);
            }
        }
        for domain in list.values() {
            let known = self.known(&domain.name);
            if known.changed <= issued {
                let same = known.running && (domain.pid.is_none() || known.pid.is_none() || known.pid == domain.pid);
                known.paused = known.paused && same;
                known.pid = domain.pid.or(known.pid.filter(|_| same));
                (known.running, known.why) = (true, None);
            }
        }
        self.outage.take()
    }
}

/// Whether a listed domain's CPUs stand still; `None` where the list does not know.
pub(super) fn is_paused(state: DomainState) -> Option<bool> {
    match state {
        DomainState::Running => Some(false),
        DomainState::Paused | DomainState::Suspended => Some(true),
        DomainState::ShuttingDown | DomainState::Crashed | DomainState::Alive => None,
    }
}
