//! Streams of entries, and three members that apply them: two from the start, and one that takes a snapshot on the way.

use super::entries::{KINDS, Speaker, kind};
use super::written::Dice;
use belay_engine::state::State;
use belay_proto::entry::Entry;
use belay_proto::{Index, NodeId, OwnershipEpoch, ServiceName, ServiceState};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Members that must never differ.
struct Members {
    one: State,
    two: State,
    late: Option<State>,
    epochs: BTreeMap<ServiceName, OwnershipEpoch>,
}

impl Members {
    fn new() -> Self {
        Self { one: State::new(), two: State::new(), late: None, epochs: BTreeMap::new() }
    }

    fn apply(&mut self, entry: &Entry) {
        let before = self.one.index();
        let events = self.one.apply(entry);
        assert_eq!(events, self.two.apply(entry), "the same happened");
        assert_eq!(self.one, self.two, "and the same is known");
        if let Some(late) = &mut self.late {
            assert_eq!(events, late.apply(entry), "who took a snapshot sees the same happen");
            // Writing a whole state costs more than anything else here.
            if self.one.index().0.is_multiple_of(16) {
                assert_eq!(late.snapshot(), self.one.snapshot());
            }
        }
        assert_eq!(self.one.index(), before.next());
        assert!(events.iter().all(|event| event.id.index == self.one.index()), "{events:?}");
        assert!(events.iter().enumerate().all(|(part, event)| event.id.part as usize == part), "{events:?}");
        self.no_epoch_goes_back();
        if self.one.index().0.is_multiple_of(4) {
            look_at(&self.one);
        }
    }

    /// The end of a stream.
    fn end(&mut self) {
        if let Some(late) = &self.late {
            assert_eq!(late.snapshot(), self.one.snapshot());
        }
        self.take_snapshot();
        look_at(&self.one);
    }

    /// A member is behind and takes a snapshot.
    fn take_snapshot(&mut self) {
        let text = self.one.snapshot();
        let late = State::restore(&text).unwrap();
        assert_eq!(late.snapshot(), text);
        assert_eq!(late.progress(), self.one.progress());
        assert_eq!(late.config(), self.one.config());
        self.late = Some(late);
    }

    fn no_epoch_goes_back(&mut self) {
        let now: BTreeMap<_, _> = self.one.service_statuses().into_iter().map(|s| (s.name, s.epoch)).collect();
        for (name, epoch) in &now {
            let before = self.epochs.get(name).copied().unwrap_or_default();
            assert!(*epoch >= before, "{name}: {epoch} after {before}");
        }
        // A service that was removed from the configuration begins anew when it comes back.
        self.epochs = now;
    }
}

/// Everything that is derived from a state, for whoever asks.
pub(crate) fn look_at(state: &State) {
    let _ = (state.alarms(), state.wake_at_or_due(), state.locked(), state.disarmed(), state.quorate_round());
    for status in state.service_statuses() {
        let _ = state.why(&status.name).unwrap();
    }
    for node in (0..=5).map(NodeId) {
        let _ = state.member_statuses(node);
        let here = state.assignments(node, state.index());
        let decided: BTreeSet<Index> = here.work.iter().map(|work| work.decided).collect();
        assert!(decided.iter().all(|index| *index <= state.index()), "work is decided by an entry that was applied");
        assert!(state.assignments(node, Index(0)).work.is_empty(), "nothing is done before it is on disk");
    }
}

/// Runs a stream; says what kinds of entries it had and which states services were in.
fn run(rolls: &[u32], entries: usize) -> (BTreeMap<&'static str, usize>, BTreeSet<ServiceState>) {
    let mut dice = Dice::new(rolls);
    let late_at = dice.below(entries + 1);
    let mut speaker = Speaker::new(&mut dice);
    let mut members = Members::new();
    let (mut kinds, mut states): (BTreeMap<&str, usize>, BTreeSet<ServiceState>) = Default::default();
    for entry in speaker.beginning() {
        members.apply(&entry);
    }
    for number in 0..entries {
        if number == late_at {
            members.take_snapshot();
        }
        let entry = speaker.next(&members.one);
        *kinds.entry(kind(&entry.what)).or_default() += 1;
        members.apply(&entry);
        states.extend(members.one.service_statuses().iter().map(|status| status.state));
    }
    members.end();
    (kinds, states)
}

/// A quarter of the usual number: each case is a whole life. `PROPTEST_CASES` asks for more.
pub(crate) fn some_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), ..usual }
}

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn any_stream_is_applied_and_all_members_stay_the_same(rolls in proptest::collection::vec(any::<u32>(), 0..2000)) {
        run(&rolls, 80);
    }
}

/// Numbers that look like chance and are always the same.
pub(crate) fn rolls(seed: u64, many: usize) -> Vec<u32> {
    let mut at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (at >> 33) as u32
    };
    (0..many).map(next).collect()
}

/// Streams that never leave the shallow end would prove nothing.
#[test]
fn the_streams_say_everything_there_is_to_say_and_reach_every_state() {
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    let mut states = BTreeSet::new();
    for seed in 0..30 {
        let (kinds, reached) = run(&rolls(seed, 8000), 150);
        kinds.into_iter().for_each(|(kind, times)| *said.entry(kind).or_default() += times);
        states.extend(reached);
    }
    let seldom: Vec<_> = KINDS.iter().filter(|kind| said.get(*kind).is_none_or(|times| *times < 5)).collect();
    assert!(seldom.is_empty(), "hardly ever said: {seldom:?} of {said:?}");
    let all: BTreeSet<ServiceState> = ServiceState::ALL.into();
    let never: Vec<_> = all.difference(&states).collect();
    // A VM is recovered in one step: it is stopped, or starting again.
    assert_eq!(never, [&ServiceState::Recoverable, &ServiceState::Recovering]);
}

/// The file's first finding is a warning, which is not why it is refused.
#[test]
fn a_configuration_that_is_ignored_is_ignored_with_its_error() {
    let text = "<cluster name='c' config_version='1' colour='red'><clusternodes><clusternode name='n' nodeid='1'/></clusternodes>\n\
                <rm><vm name='a' path='/v' depend='vm:b'/><vm name='b' path='/v' depend='vm:a'/></rm></cluster>";
    let what = belay_proto::entry::What::Config { text: text.to_owned() };
    let version = belay_proto::entry::ENTRY_VERSION;
    let events = State::new().apply(&Entry { version, from: NodeId(1), time: Default::default(), what });
    let expected = "the configuration from node 1 is not valid and was ignored: cluster.conf:2:28: error: these VMs wait \
                    for each other and could never start: vm:a -> vm:b -> vm:a";
    assert_eq!(events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), [expected]);
}
