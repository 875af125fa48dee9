//! The replicated state: as a peer or the store hands it over, and any entries after that.

#[path = "../../../engine/tests/anything/entries.rs"]
#[allow(dead_code)]
mod entries;
#[path = "../../../config/tests/reader/written.rs"]
#[allow(dead_code)]
mod written;

use belay_engine::state::State;
use belay_proto::entry::Entry;
use belay_proto::{Index, NodeId};
use entries::Speaker;
use written::Dice;

/// More than a libFuzzer input decides anyway.
const MOST_ENTRIES: usize = 200;

/// A snapshot in the first line, an entry in each that follows.
pub(crate) fn snapshot(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(Ok(text)) = lines.next().map(std::str::from_utf8) else { return };
    let Ok(mut state) = State::restore(text) else { return };
    let mut twin = State::restore(&state.snapshot()).expect("what was restored is written and restored again");
    assert_eq!(state.progress(), twin.progress(), "and is the same");
    look_at(&state);
    for line in lines.take(MOST_ENTRIES) {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        assert_eq!(state.apply(&entry), twin.apply(&entry), "the same happens at both");
    }
    assert_eq!(state.snapshot(), twin.snapshot());
    look_at(&state);
}

/// The bytes are dice: they decide what is said in a cluster, as in the engine's own tests, but here libFuzzer throws
/// them.
pub(crate) fn entries(bytes: &[u8]) {
    let rolls: Vec<u32> =
        bytes.chunks(2).map(|pair| pair.iter().fold(0, |roll, byte| roll << 8 | u32::from(*byte))).collect();
    let mut dice = Dice::new(&rolls);
    let mut speaker = Speaker::new(&mut dice);
    let (mut one, mut late) = (State::new(), None::<State>);
    let beginning = speaker.beginning();
    beginning.iter().for_each(|entry| drop(one.apply(entry)));
    // About ten dice are thrown for an entry; where none is left all that follows is alike.
    let many = (rolls.len() / 8).min(MOST_ENTRIES);
    for number in 0..many {
        let entry = speaker.next(&one);
        if number == many / 2 {
            late = State::restore(&one.snapshot()).ok();
            assert!(late.is_some(), "a member that joins takes the snapshot");
        }
        let events = one.apply(&entry);
        if let Some(late) = &mut late {
            assert_eq!(late.apply(&entry), events, "who took a snapshot sees the same happen");
        }
    }
    assert!(late.is_none_or(|late| late.snapshot() == one.snapshot()), "members are the same");
    look_at(&one);
}

/// Everything that is derived from a state.
fn look_at(state: &State) {
    let _ = (state.alarms(), state.wake_at_or_due(), state.locked(), state.disarmed(), state.quorate_round());
    for status in state.service_statuses() {
        assert!(state.why(&status.name).is_some(), "{} can be asked about", status.name);
    }
    for node in (0..=4).map(NodeId) {
        let _ = (state.member_statuses(node), state.assignments(node, state.index()));
        assert!(state.assignments(node, Index(0)).work.iter().all(|work| work.decided == Index(0)));
    }
}
