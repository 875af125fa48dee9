//! Which domains run, as far as two witnesses tell: it turns what the kernel, libvirt and a list say into events, one
//! for each thing that happened.
//!
//! ```text
//!            started / adopted / listed              libvirt: shutdown by the guest, migration
//!  (unknown) ──────────────────────────► running ──────────────────────────────────────────► leaving
//!      ▲                                    │ process died, nobody said why yet                  │
//!      │                                    ▼                                                    │
//!      └──────────── Gone ◄──────── dying, for HOLD at most ◄── (no hold needed) ────────────────┘
//! ```
//!
//! This module is pure: the caller brings the clock and the knowledge whether a process lives. It never reports a
//! domain gone whose process is known to live, whatever libvirt says: libvirt's notice of an earlier life's end may
//! arrive after the next life has begun.

use crate::native::{Change, Stopped};
use belay_proto::agent::{AgentEvent, Witness};
use belay_proto::entry::GoneReason;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a death waits for its reason. A guest that powers itself off is announced by libvirt before its process
/// ends, but on another thread; without the wait it would now and then be reported as a crash. A death waits this long
/// and until libvirt's event loop has handed out what it had, but not longer than [`HOLD_MAX`].
pub(crate) const HOLD: Duration = Duration::from_millis(2);

/// How long it waits for an event loop that does not get to it: a machine under load, a libvirt that hangs.
const HOLD_MAX: Duration = Duration::from_millis(200);

/// How long it is remembered that a domain is gone, so that a list begun before that does not bring it back.
const MEMORY: Duration = Duration::from_secs(60);

/// A domain that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) pid: Option<u32>,
    since: Instant,
    paused: bool,
    leaving: Option<Leaving>,
    died: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    GuestShutdown,
    Told,
    Migrated,
}

/// A domain that somebody says runs.
#[derive(Clone, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) name: &'a str,
    pub(crate) uuid: &'a str,
    pub(crate) pid: Option<u32>,
    pub(crate) paused: bool,
}

/// All domains that run, by UUID.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    running: BTreeMap<String, Running>,
    gone: BTreeMap<String, Instant>,
    /// All that libvirt had to say until then has been said.
    flushed: Option<Instant>,
}

impl Registry {
    /// The domain with this UUID.
    pub(crate) fn get(&self, uuid: &str) -> Option<&Running> {
        self.running.get(uuid).filter(|r| r.died.is_none())
    }

    /// The domain with this name, and its UUID.
    pub(crate) fn by_name(&self, name: &str) -> Option<(&String, &Running)> {
        self.running.iter().find(|(_, r)| r.name == name && r.died.is_none())
    }

    /// All domains and their UUIDs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Running)> {
        self.running.iter().filter(|(_, r)| r.died.is_none())
    }

    /// A domain was seen to run. Gives [`AgentEvent::Started`] when that is news.
    pub(crate) fn seen(&mut self, seen: &Sighting<'_>, now: Instant) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if let Some(known) = self.running.get_mut(seen.uuid) {
            let same = known.died.is_none() && (seen.pid.is_none() || known.pid.is_none() || known.pid == seen.pid);
            if same {
                known.pid = known.pid.or(seen.pid);
                known.paused = seen.paused;
                return events;
            }
            // Another process: the end of the one before has not been told yet.
            events.extend(self.end(seen.uuid, GoneReason::Died, Witness::Pidfd, now));
        }
        let (name, since) = (seen.name.to_owned(), now);
        let running = Running { name, pid: seen.pid, since, paused: seen.paused, leaving: None, died: None };
        self.running.insert(seen.uuid.to_owned(), running);
        events.push(AgentEvent::Started { name: seen.name.to_owned(), pid: seen.pid });
        events
    }

    /// Whether a list begun at `asked` is too old to say that this domain runs.
    pub(crate) fn gone_since(&self, uuid: &str, asked: Instant) -> bool {
        self.gone.get(uuid).is_some_and(|gone| *gone >= asked)
    }

    /// A list begun at `asked` does not contain this domain, which has no process that could be looked at.
    pub(crate) fn missing(&mut self, uuid: &str, asked: Instant, now: Instant) -> Vec<AgentEvent> {
        let judged = self.running.get(uuid).is_some_and(|r| r.since < asked);
        if judged { self.end(uuid, GoneReason::Missing, Witness::List, now) } else { Vec::new() }
    }

    /// The kernel says that a process ended. Its domain is reported gone at once when the reason is known, otherwise
    /// by [`Registry::settle`].
    pub(crate) fn process_died(&mut self, pid: u32, now: Instant) -> Vec<AgentEvent> {
        let Some((uuid, running)) = self.running.iter_mut().find(|(_, r)| r.pid == Some(pid)) else {
            return Vec::new();
        };
        match running.leaving {
            Some(_) => {
                let uuid = uuid.clone();
                self.end(&uuid, GoneReason::Died, Witness::Pidfd, now)
            }
            None => {
                running.died.get_or_insert(now);
                Vec::new()
            }
        }
    }

    /// libvirt has said what it had to say until `asked`.
    pub(crate) fn flushed(&mut self, asked: Instant) {
        self.flushed = self.flushed.max(Some(asked));
    }

    /// When a death need not wait for its reason any longer.
    fn ripe_at(&self, died: Instant) -> Instant {
        let heard = self.flushed.is_some_and(|flushed| flushed >= died);
        died + if heard { HOLD } else { HOLD_MAX }
    }

    /// Reports those deaths that have waited long enough for their reason.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<AgentEvent> {
        let ripe = |r: &Running| r.died.is_some_and(|died| now >= self.ripe_at(died));
        let due: Vec<String> = self.running.iter().filter(|(_, r)| ripe(r)).map(|(uuid, _)| uuid.clone()).collect();
        due.iter().flat_map(|uuid| self.end(uuid, GoneReason::Died, Witness::Pidfd, now)).collect()
    }

    /// When [`Registry::settle`] has something to do next.
    pub(crate) fn next_settlement(&self) -> Option<Instant> {
        self.running.values().filter_map(|r| r.died).map(|died| self.ripe_at(died)).min()
    }

    /// libvirt says that something happened to a domain, other than that it started. `alive` is whether its process
    /// is known to live.
    pub(crate) fn libvirt_says(&mut self, uuid: &str, change: &Change, alive: bool, now: Instant) -> Vec<AgentEvent> {
        let Some(running) = self.running.get_mut(uuid) else { return Vec::new() };
        let name = running.name.clone();
        match change {
            Change::Started { .. } => Vec::new(),
            Change::Paused { why } => {
                running.paused = true;
                if *why == "migration" {
                    running.leaving = Some(Leaving::Migrated);
                }
                vec![AgentEvent::Paused { name, why: (*why).to_owned() }]
            }
            Change::Resumed => {
                running.leaving = None;
                // libvirt says so at every start, too.
                if std::mem::take(&mut running.paused) { vec![AgentEvent::Resumed { name }] } else { Vec::new() }
            }
            Change::ShuttingDown { by_guest } => {
                running.leaving = Some(if *by_guest { Leaving::GuestShutdown } else { Leaving::Told });
                let mut events = if *by_guest { vec![AgentEvent::ShuttingDown { name }] } else { Vec::new() };
                if running.died.is_some() {
                    events.extend(self.end(uuid, GoneReason::Died, Witness::Pidfd, now));
                }
                events
            }
            Change::Stopped { .. } if alive => Vec::new(),
            Change::Stopped { why } => {
                let witness = if running.died.is_some() { Witness::Pidfd } else { Witness::Libvirt };
                let why = match why {
                    Stopped::Shutdown => GoneReason::GuestShutdown,
                    Stopped::Migrated => GoneReason::Migrated,
                    Stopped::Otherwise => GoneReason::Died,
                };
                self.end(uuid, why, witness, now)
            }
            Change::Rebooted => {
                running.leaving = None;
                vec![AgentEvent::Rebooted { name }]
            }
            Change::IoError { detail } => vec![AgentEvent::IoError { name, detail: detail.clone() }],
        }
    }

    /// A migration has begun, or has failed. A domain that was paused before it migrates gives no other sign.
    pub(crate) fn set_migrating(&mut self, uuid: &str, migrating: bool) {
        let Some(running) = self.running.get_mut(uuid) else { return };
        match (migrating, running.leaving) {
            (true, None) => running.leaving = Some(Leaving::Migrated),
            (false, Some(Leaving::Migrated)) => running.leaving = None,
            _ => {}
        }
    }

    /// Takes a domain out and says so. What was announced of its leaving weighs more than `why`.
    fn end(&mut self, uuid: &str, why: GoneReason, witness: Witness, now: Instant) -> Vec<AgentEvent> {
        let Some(running) = self.running.remove(uuid) else { return Vec::new() };
        self.gone.retain(|_, gone| now.duration_since(*gone) < MEMORY);
        self.gone.insert(uuid.to_owned(), now);
        let why = match running.leaving {
            Some(Leaving::GuestShutdown) => GoneReason::GuestShutdown,
            Some(Leaving::Told) => GoneReason::Died,
            Some(Leaving::Migrated) => GoneReason::Migrated,
            None => why,
        };
        vec![AgentEvent::Gone { name: running.name, why, pid: running.pid, witness }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "be1a0000-0000-4000-8000-000000000001";

    struct Story {
        registry: Registry,
        now: Instant,
    }

    impl Story {
        /// web1 runs in process 1.
        fn new() -> Self {
            let mut story = Self { registry: Registry::default(), now: Instant::now() };
            assert_eq!(story.runs(Some(1)), [AgentEvent::Started { name: "web1".into(), pid: Some(1) }]);
            story
        }

        fn runs(&mut self, pid: Option<u32>) -> Vec<AgentEvent> {
            let sighting = Sighting { name: "web1", uuid: UUID, pid, paused: false };
            self.registry.seen(&sighting, self.now)
        }

        fn libvirt(&mut self, change: Change, alive: bool) -> Vec<AgentEvent> {
            self.registry.libvirt_says(UUID, &change, alive, self.now)
        }

        fn dies(&mut self, pid: u32) -> Vec<AgentEvent> {
            self.registry.process_died(pid, self.now)
        }

        fn later(&mut self) -> Vec<AgentEvent> {
            self.registry.flushed(self.now);
            self.now += HOLD;
            self.registry.settle(self.now)
        }
    }

    fn gone(why: GoneReason, pid: Option<u32>, witness: Witness) -> [AgentEvent; 1] {
        [AgentEvent::Gone { name: "web1".into(), why, pid, witness }]
    }

    const STOPPED: Change = Change::Stopped { why: Stopped::Otherwise };

    #[test]
    fn a_death_that_both_witnesses_saw_is_told_once() {
        let mut story = Story::new();
        assert_eq!(story.dies(1), [], "its reason may be on its way");
        assert!(story.registry.next_settlement().is_some());
        assert_eq!(story.later(), gone(GoneReason::Died, Some(1), Witness::Pidfd));
        assert_eq!(story.libvirt(STOPPED, false), []);
        assert_eq!(story.dies(1), []);
        assert_eq!(story.later(), []);
    }

    #[test]
    fn a_shutdown_by_the_guest_is_known_by_its_announcement_before_or_just_after_the_death() {
        let announcement = Change::ShuttingDown { by_guest: true };
        let shutting_down = AgentEvent::ShuttingDown { name: "web1".into() };
        let [end] = gone(GoneReason::GuestShutdown, Some(1), Witness::Pidfd);

        let mut before = Story::new();
        assert_eq!(before.libvirt(announcement.clone(), true), std::slice::from_ref(&shutting_down));
        assert_eq!(before.dies(1), std::slice::from_ref(&end));

        let mut after = Story::new();
        assert_eq!(after.dies(1), []);
        assert_eq!(after.libvirt(announcement, false), [shutting_down, end]);
        assert_eq!(after.later(), []);
    }

    #[test]
    fn an_emulator_that_was_told_to_end_is_no_shutdown_by_the_guest() {
        let mut story = Story::new();
        assert_eq!(story.libvirt(Change::ShuttingDown { by_guest: false }, true), []);
        let end = story.libvirt(Change::Stopped { why: Stopped::Shutdown }, false);
        assert_eq!(end, gone(GoneReason::Died, Some(1), Witness::Libvirt));
    }

    #[test]
    fn late_news_of_an_earlier_life_does_not_end_the_present_one() {
        let mut story = Story::new();
        story.dies(1);
        story.later();
        assert_eq!(story.runs(Some(2)), [AgentEvent::Started { name: "web1".into(), pid: Some(2) }]);
        assert_eq!(story.libvirt(STOPPED, true), []);
        assert_eq!(story.registry.get(UUID).and_then(|r| r.pid), Some(2));
    }

    #[test]
    fn a_new_process_tells_of_the_end_of_the_one_before_first() {
        let mut story = Story::new();
        story.dies(1);
        let [end] = gone(GoneReason::Died, Some(1), Witness::Pidfd);
        assert_eq!(story.runs(Some(2)), [end, AgentEvent::Started { name: "web1".into(), pid: Some(2) }]);
        assert_eq!(story.later(), []);
    }

    #[test]
    fn a_migration_is_no_death_whoever_says_so_first() {
        let mut story = Story::new();
        story.libvirt(Change::Paused { why: "migration" }, true);
        assert_eq!(story.dies(1), gone(GoneReason::Migrated, Some(1), Witness::Pidfd));

        let mut story = Story::new();
        let end = story.libvirt(Change::Stopped { why: Stopped::Migrated }, false);
        assert_eq!(end, gone(GoneReason::Migrated, Some(1), Witness::Libvirt));

        let mut story = Story::new();
        story.registry.set_migrating(UUID, true);
        assert_eq!(story.dies(1), gone(GoneReason::Migrated, Some(1), Witness::Pidfd));
    }

    #[test]
    fn a_death_after_a_failed_migration_or_a_reboot_is_a_death() {
        for cure in [Change::Resumed, Change::Rebooted] {
            let mut story = Story::new();
            story.libvirt(Change::Paused { why: "migration" }, true);
            story.libvirt(cure, true);
            story.dies(1);
            assert_eq!(story.later(), gone(GoneReason::Died, Some(1), Witness::Pidfd));
        }
    }

    #[test]
    fn a_guest_goes_on_only_after_a_pause() {
        let mut story = Story::new();
        assert_eq!(story.libvirt(Change::Resumed, true), [], "libvirt says so at each start");
        story.libvirt(Change::Paused { why: "user" }, true);
        assert_eq!(story.libvirt(Change::Resumed, true), [AgentEvent::Resumed { name: "web1".into() }]);
    }

    #[test]
    fn a_death_waits_for_what_libvirt_has_not_handed_out_yet_but_not_for_ever() {
        let mut story = Story::new();
        assert_eq!(story.dies(1), []);
        story.now += HOLD;
        assert_eq!(story.registry.settle(story.now), [], "libvirt's event loop has not come to it");
        story.now += HOLD_MAX;
        assert_eq!(story.registry.settle(story.now).len(), 1);
    }

    #[test]
    fn a_list_is_no_proof_about_what_happened_after_it_was_begun() {
        let mut story = Story { registry: Registry::default(), now: Instant::now() };
        let asked = story.now;
        story.now += HOLD;
        story.runs(None);
        assert_eq!(story.registry.missing(UUID, asked, story.now), [], "it started after that");
        let asked = story.now + HOLD;
        story.now = asked + HOLD;
        assert_eq!(story.registry.missing(UUID, asked, story.now), gone(GoneReason::Missing, None, Witness::List));
        assert!(story.registry.gone_since(UUID, asked) && !story.registry.gone_since(UUID, story.now + HOLD));
    }
}
