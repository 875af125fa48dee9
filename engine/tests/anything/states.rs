//! Any state: a snapshot in which numbers, words and whole parts are not what they were. It is refused or taken; whoever
//! takes it can go on with it.

use super::entries::Speaker;
use super::sequences::{rolls, some_cases};
use super::written::{Dice, NONSENSE};
use belay_engine::state::State;
use proptest::prelude::*;
use serde_json::Value;

/// The snapshot of a cluster after some time.
fn lived(dice: &mut Dice<'_>) -> String {
    let mut state = State::new();
    let mut speaker = Speaker::new(dice);
    for entry in speaker.beginning() {
        state.apply(&entry);
    }
    for _ in 0..40 {
        let entry = speaker.next(&state);
        state.apply(&entry);
    }
    state.snapshot()
}

/// Changes one thing below this value.
fn distort(value: &mut Value, dice: &mut Dice<'_>) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let which = dice.below(items.len());
            if dice.once_in(6) {
                let item = items.remove(which);
                if dice.once_in(2) {
                    items.insert(0, item.clone());
                    items.push(item);
                }
            } else {
                distort(&mut items[which], dice);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let which = dice.below(fields.len());
            let key = fields.keys().nth(which).cloned().unwrap_or_default();
            if dice.once_in(12) {
                fields.remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                distort(field, dice);
            }
        }
        // No counter of a cluster's life comes near the largest of these.
        Value::Number(_) => *value = [0u64, 1, 2, 3, 7, 1_000_000, 1 << 31, 1 << 52][dice.below(8)].into(),
        Value::String(_) => *value = dice.pick(&NONSENSE).into(),
        Value::Bool(on) => *on = !*on,
        Value::Null => *value = [0u64, 1, 2, 3][dice.below(4)].into(),
        Value::Array(items) => items.push(1.into()),
        Value::Object(_) => *value = Value::Null,
    }
}

/// Distorts a snapshot and goes on with it; says whether it was taken.
fn go_on(rolls: &[u32]) -> bool {
    let mut dice = Dice::new(rolls);
    let mut snapshot: Value = serde_json::from_str(&lived(&mut dice)).unwrap();
    for _ in 0..=dice.below(3) {
        if let Some(state) = snapshot.get_mut("state") {
            distort(state, &mut dice);
        }
    }
    let Ok(mut state) = State::restore(&snapshot.to_string()) else { return false };
    let mut twin = State::restore(&state.snapshot()).unwrap();
    look_at_what_is_possible(&state);
    let mut speaker = Speaker::new(&mut dice);
    for _ in 0..25 {
        let entry = speaker.next(&state);
        assert_eq!(state.apply(&entry), twin.apply(&entry));
    }
    assert_eq!(state.snapshot(), twin.snapshot());
    look_at_what_is_possible(&state);
    true
}

/// Work may be decided by an entry to come in a distorted state; the rest of the looks hold.
fn look_at_what_is_possible(state: &State) {
    let _ = (state.alarms(), state.wake_at_or_due(), state.member_statuses(belay_proto::NodeId(1)));
}

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn a_distorted_state_is_refused_or_lived_with(rolls in proptest::collection::vec(any::<u32>(), 0..3000)) {
        go_on(&rolls);
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_lived_with(
        seed in 0u64..50,
        at in any::<prop::sample::Index>(),
        piece in r#"[0-9a-z{}\[\]",: ]{0,4}"#,
    ) {
        let text = lived(&mut Dice::new(&rolls(seed, 2000)));
        let place = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let damaged = format!("{}{piece}{}", &text[..place], text[place..].chars().skip(1).collect::<String>());
        if let Ok(state) = State::restore(&damaged) {
            look_at_what_is_possible(&state);
        }
    }
}

#[test]
fn some_distorted_states_are_taken_and_some_refused() {
    let taken = (0..40).filter(|seed| go_on(&rolls(*seed, 4000))).count();
    assert!((5..=35).contains(&taken), "{taken} of 40 are taken");
}
