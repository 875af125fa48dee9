//! All services, and of each of them whether there is anything to look at.
//!
//! Of ten thousand services nearly all rest: they run, or are to stay off, and no entry that is not about them concerns them.
//! What has to be looked at after every entry is kept here as a set of names, the restless, so that an entry costs what is
//! going on and not what there is. The same for what may run on each host.
//!
//! Both sets follow from the records alone. They are no part of what members exchange, store or compare, and are made
//! anew when a snapshot is read. A record can only be changed through a function of this module, which brings them up to
//! date; a set that lacked a service would be a service that nobody ever starts. Therefore every entry that is applied with
//! debug assertions on compares them with what the records say.

use super::service::{Moves, Phase, ServiceRecord, Wanted};
use belay_proto::{NodeId, OwnershipEpoch, ServiceName, ServiceState};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All services by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    records: BTreeMap<ServiceName, ServiceRecord>,
    restless: BTreeSet<ServiceName>,
    on: BTreeMap<NodeId, BTreeSet<ServiceName>>,
    /// The newest changes of what hosts are told of a service, and how many there were before these.
    told: VecDeque<ServiceName>,
    told_before: u64,
}

/// How many changes are remembered: more than entries come between two looks.
const TOLD_KEPT: usize = 256;

/// What the sets say of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    restless: bool,
    /// The hosts that may run it.
    on: [Option<NodeId>; 2],
    /// What every host is told of it.
    told: Option<(OwnershipEpoch, ServiceState, Option<NodeId>)>,
}

impl Mark {
    const NONE: Self = Self { restless: false, on: [None, None], told: None };

    fn of(record: &ServiceRecord) -> Self {
        let told = Some((record.epoch, record.phase.shown(), record.phase.owner()));
        Self { restless: record.restless(), on: record.phase.hosts(), told }
    }
}

impl ServiceRecord {
    /// Whether an entry that does not name it may have to do something about it, or time alone. Everything that looks at
    /// the restless only relies on this: what it looks for must be named here.
    fn restless(&self) -> bool {
        let under_way = match self.phase {
            Phase::Stopped { wanted } => wanted == Wanted::Now,
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Migrating { .. } => true,
            Phase::Started { .. } | Phase::Disabled | Phase::Failed { .. } => false,
        };
        under_way
            || !self.queue.is_empty()
            || !self.rivals.is_empty()
            || !self.sought.is_empty()
            || self.sought_until.is_some()
            || self.home.is_some()
            || !self.drawn_to.is_empty()
            || self.moves != Moves::default()
    }
}

impl Services {
    /// One of them.
    pub(crate) fn get(&self, name: &ServiceName) -> Option<&ServiceRecord> {
        self.records.get(name)
    }

    /// Whether there is one of this name.
    pub(crate) fn contains_key(&self, name: &ServiceName) -> bool {
        self.records.contains_key(name)
    }

    /// All names, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ServiceName> {
        self.records.keys()
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ServiceName, &ServiceRecord)> {
        self.records.iter()
    }

    /// Those that there may be something to do about, by name.
    pub(crate) fn restless(&self) -> impl Iterator<Item = (&ServiceName, &ServiceRecord)> {
        self.restless.iter().filter_map(|name| self.records.get_key_value(name))
    }

    /// Those that the state allows to run on a host, by name.
    pub(crate) fn on(&self, node: NodeId) -> impl Iterator<Item = (&ServiceName, &ServiceRecord)> {
        self.on.get(&node).into_iter().flatten().filter_map(|name| self.records.get_key_value(name))
    }

    /// A new one.
    pub(crate) fn insert(&mut self, name: ServiceName, record: ServiceRecord) {
        let before = self.records.get(&name).map_or(Mark::NONE, Mark::of);
        self.remark(&name, before, Mark::of(&record));
        self.records.insert(name, record);
    }

    /// One that is not known any more.
    pub(crate) fn remove(&mut self, name: &ServiceName) -> Option<ServiceRecord> {
        let record = self.records.remove(name)?;
        self.remark(name, Mark::of(&record), Mark::NONE);
        Some(record)
    }

    /// Takes a record out for a moment, to be changed while the others are looked at. It is in no set meanwhile.
    pub(super) fn take(&mut self, name: &ServiceName) -> Option<Taken> {
        // The sets still name it, but it is not found: to take it out of them and put it back would cost more than all else.
        let (name, record) = self.records.remove_entry(name)?;
        Some(Taken { before: Mark::of(&record), name, record })
    }

    /// Puts it back.
    pub(super) fn put_back(&mut self, taken: Taken) {
        let Taken { name, record, before } = taken;
        self.remark(&name, before, Mark::of(&record));
        self.records.insert(name, record);
    }

    /// Changes one in place.
    pub(crate) fn change<R>(&mut self, name: &ServiceName, change: impl FnOnce(&mut ServiceRecord) -> R) -> Option<R> {
        let record = self.records.get_mut(name)?;
        let before = Mark::of(record);
        let result = change(record);
        let after = Mark::of(record);
        self.remark(name, before, after);
        Some(result)
    }

    /// Changes all of them in place, by name.
    pub(crate) fn change_each(&mut self, mut change: impl FnMut(&ServiceName, &mut ServiceRecord)) {
        let mut changed = Vec::new();
        for (name, record) in &mut self.records {
            let before = Mark::of(record);
            change(name, record);
            let after = Mark::of(record);
            if before != after {
                changed.push((name.clone(), before, after));
            }
        }
        for (name, before, after) in changed {
            self.remark(&name, before, after);
        }
    }

    /// Changes the restless in place, by name.
    pub(crate) fn change_restless(&mut self, mut change: impl FnMut(&ServiceName, &mut ServiceRecord)) {
        let names: Vec<ServiceName> = self.restless.iter().cloned().collect();
        for name in names {
            self.change(&name, |record| change(&name, record));
        }
    }

    fn remark(&mut self, name: &ServiceName, before: Mark, after: Mark) {
        if before == after {
            return;
        }
        if before.restless != after.restless {
            if after.restless {
                self.restless.insert(name.clone());
            } else {
                self.restless.remove(name);
            }
        }
        if before.told != after.told {
            self.told.push_back(name.clone());
            if self.told.len() > TOLD_KEPT {
                self.told.pop_front();
                self.told_before += 1;
            }
        }
        if before.on == after.on {
            return;
        }
        for node in before.on.into_iter().flatten() {
            if let Some(there) = self.on.get_mut(&node) {
                there.remove(name);
            }
        }
        for node in after.on.into_iter().flatten() {
            self.on.entry(node).or_default().insert(name.clone());
        }
    }

    /// How often anything has changed that hosts are told of a service.
    pub(crate) fn told(&self) -> u64 {
        self.told_before + self.told.len() as u64
    }

    /// The services of which hosts are told something else since, or nothing where that was too long ago.
    pub(crate) fn told_since(&self, since: u64) -> Option<impl Iterator<Item = &ServiceName>> {
        let known = usize::try_from(since.checked_sub(self.told_before)?).ok()?;
        (known <= self.told.len()).then(|| self.told.range(known..))
    }

    /// Makes everybody look at all services again.
    pub(crate) fn tell_all(&mut self) {
        self.told_before = self.told() + 1;
        self.told.clear();
    }

    /// Whether the sets are what the records say.
    pub(crate) fn sets_are_right(&self) -> bool {
        let afresh = Self::from(self.records.clone());
        let some = |on: &BTreeMap<NodeId, BTreeSet<ServiceName>>| {
            on.iter().filter(|(_, there)| !there.is_empty()).map(|(id, there)| (*id, there.clone())).collect::<Vec<_>>()
        };
        self.restless == afresh.restless && some(&self.on) == some(&afresh.on)
    }
}

/// A record that was taken out.
#[derive(Debug)]
pub(super) struct Taken {
    name: ServiceName,
    before: Mark,
    /// What may be changed.
    pub(super) record: ServiceRecord,
}

impl From<BTreeMap<ServiceName, ServiceRecord>> for Services {
    fn from(records: BTreeMap<ServiceName, ServiceRecord>) -> Self {
        let mut services = Self::default();
        for (name, record) in &records {
            services.remark(name, Mark::NONE, Mark::of(record));
        }
        services.records = records;
        services
    }
}

/// The sets follow from the records.
impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.records.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::service::MigrationStage;
    use super::*;
    use proptest::prelude::*;

    const HOSTS: u32 = 3;

    fn names() -> Vec<ServiceName> {
        ["a", "b", "c", "d"].map(|name| ServiceName::vm(name).unwrap()).to_vec()
    }

    fn phase(which: u8, host: u32) -> Phase {
        let (owner, at) = (NodeId(host), NodeId(host));
        match which {
            0 => Phase::Disabled,
            1 => Phase::Stopped { wanted: Wanted::Now },
            2 => Phase::Stopped { wanted: Wanted::AtNextView },
            3 => Phase::Starting { owner },
            4 => Phase::Started { owner },
            5 => Phase::Failed { at },
            _ => Phase::Migrating { from: owner, to: NodeId(1 + host % HOSTS), stage: MigrationStage::Moving },
        }
    }

    fn disturb(record: &mut ServiceRecord, which: u8, host: u32) {
        match which {
            0..=6 => record.phase = phase(which, host),
            7 => record.home = Some(NodeId(host)),
            8 => record.home = None,
            9 => drop(record.sought.insert(NodeId(host))),
            10 => record.sought.clear(),
            _ => record.moves.asked = Some(NodeId(host)),
        }
    }

    proptest! {
        #[test]
        fn whatever_is_changed_in_whatever_way_the_sets_are_what_the_records_say(
            changes in proptest::collection::vec((0u8..6, 0usize..4, 0u8..12, 1..=HOSTS), 1..60)
        ) {
            let mut services = Services::default();
            for (how, name, which, host) in changes {
                let name = names()[name].clone();
                match how {
                    0 => services.insert(name, ServiceRecord::new(phase(which, host))),
                    1 => drop(services.remove(&name)),
                    2 => drop(services.change(&name, |record| disturb(record, which, host))),
                    3 => services.change_each(|_, record| disturb(record, which, host)),
                    4 => services.change_restless(|_, record| disturb(record, which, host)),
                    _ => {
                        let Some(mut taken) = services.take(&name) else { continue };
                        prop_assert!(services.restless().chain(services.on(NodeId(host))).all(|(other, _)| *other != name));
                        disturb(&mut taken.record, which, host);
                        services.put_back(taken);
                    }
                }
                prop_assert!(services.sets_are_right());
                for host in (1..=HOSTS).map(NodeId) {
                    let there: Vec<_> = services.iter().filter(|(_, r)| r.phase.may_run_on(host)).collect();
                    prop_assert_eq!(services.on(host).collect::<Vec<_>>(), there);
                }
            }
        }
    }

    #[test]
    fn a_set_that_lacks_a_service_is_noticed() {
        let mut services = Services::default();
        services.insert(names().remove(0), ServiceRecord::new(phase(1, 1)));
        assert!(services.sets_are_right());
        services.restless.clear();
        assert!(!services.sets_are_right());
    }

    #[test]
    fn the_sets_are_made_anew_from_what_a_snapshot_says() {
        let mut services = Services::default();
        for (name, which) in names().into_iter().zip([1, 4, 0, 6]) {
            services.insert(name, ServiceRecord::new(phase(which, 1)));
        }
        let text = serde_json::to_string(&services).unwrap();
        let read: Services = serde_json::from_str(&text).unwrap();
        assert_eq!(read, services);
        assert_eq!(read.restless().collect::<Vec<_>>(), services.restless().collect::<Vec<_>>());
        assert_eq!(read.on(NodeId(1)).count(), 2);
    }
}
