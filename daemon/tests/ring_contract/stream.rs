//! What members delivered, compared.

use crate::member::Timed;
use crate::process::Told;
use std::collections::{BTreeMap, BTreeSet};

/// One thing delivered in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Members(Vec<u32>),
    Message(u32, String),
}

/// What one life of a member delivered in order: up to its end, or up to where its ring went down.
pub(crate) fn lives(told: &[Timed]) -> Vec<Vec<Item>> {
    let mut lives = vec![Vec::new()];
    for (_, told) in told {
        let life: &mut Vec<Item> = lives.last_mut().expect("never empty");
        match told {
            Told::Message { from, text, .. } => life.push(Item::Message(*from, text.clone())),
            // A view may be told again when only its ring or its hosts changed, not by all at the same place.
            Told::View { members, .. } => {
                let latest = life.iter().rev().find(|item| matches!(item, Item::Members(_)));
                if latest != Some(&Item::Members(members.clone())) {
                    life.push(Item::Members(members.clone()));
                }
            }
            Told::Down { .. } => lives.push(Vec::new()),
            _ => {}
        }
    }
    lives.retain(|life| !life.is_empty());
    lives
}

fn text(item: &Item) -> Option<&str> {
    match item {
        Item::Message(_, text) => Some(text),
        Item::Members(_) => None,
    }
}

fn texts(life: &[Item]) -> Vec<&str> {
    life.iter().filter_map(text).collect()
}

/// Checks that within all that two lives have in common they delivered the same, views and messages, in the same order.
fn agree(one: &[Item], two: &[Item]) -> Result<(), String> {
    let (left, right): (BTreeSet<&str>, BTreeSet<&str>) =
        (texts(one).into_iter().collect(), texts(two).into_iter().collect());
    let shared = |item: &Item| matches!(item, Item::Message(_, text) if left.contains(text.as_str()) && right.contains(text.as_str()));
    let stretch = |life: &[Item]| {
        let first = life.iter().position(shared)?;
        let last = life.iter().rposition(shared)?;
        Some(life[first..=last].to_vec())
    };
    let (one, two) = (stretch(one).unwrap_or_default(), stretch(two).unwrap_or_default());
    match one.iter().zip(&two).position(|(a, b)| a != b) {
        Some(at) => Err(format!("from {at} on one has {:?}, the other {:?}", around(&one, at), around(&two, at))),
        None if one.len() != two.len() => Err(format!("one has {} of them, the other {}", one.len(), two.len())),
        None => Ok(()),
    }
}

fn around(life: &[Item], at: usize) -> &[Item] {
    &life[at.saturating_sub(3)..life.len().min(at + 4)]
}

/// Checks that each sender's messages came in the order it proposed them, each once, none left out. Texts are
/// `<prefix>.<number>`.
fn in_turn(life: &[Item]) -> Result<(), String> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for text in texts(life) {
        let (prefix, number) = text.rsplit_once('.').expect("texts of these tests have a number");
        let number: u64 = number.parse().expect("a number");
        let before = last.insert(prefix, number).unwrap_or(number - 1);
        if number != before + 1 {
            return Err(format!("{prefix}: {number} came after {before}"));
        }
    }
    Ok(())
}

/// Checks everything these members delivered against each other.
pub(crate) fn check(members: &[Vec<Timed>]) {
    if let Err(difference) = compare(members) {
        panic!("members delivered differently: {difference}");
    }
}

fn compare(members: &[Vec<Timed>]) -> Result<(), String> {
    let lives: Vec<Vec<Item>> = members.iter().flat_map(|told| lives(told)).collect();
    for (index, one) in lives.iter().enumerate() {
        in_turn(one)?;
        lives[index + 1..].iter().try_for_each(|two| agree(one, two))?;
    }
    Ok(())
}

/// Checks that a member delivered all of `<prefix>.1` to `<prefix>.<count>`.
pub(crate) fn has_all(told: &[Timed], prefix: &str, count: u64) {
    let found = told
        .iter()
        .filter(|(_, told)| {
            matches!(told, Told::Message { text, .. } if text.rsplit_once('.').is_some_and(|(of, _)| of == prefix))
        })
        .count();
    assert_eq!(found as u64, count, "messages of {prefix}");
}

#[test]
fn a_difference_in_order_is_found() {
    let told = |texts: &[&str]| -> Vec<Timed> {
        texts.iter().map(|text| (0, Told::Message { from: 1, text: (*text).to_owned(), size: 1 })).collect()
    };
    assert_eq!(compare(&[told(&["a.1", "b.1", "a.2"]), told(&["b.1", "a.2"])]), Ok(()));
    for bad in [["b.1", "a.1", "a.2"], ["a.1", "a.2", "b.1"], ["a.1", "b.1", "b.2"]] {
        assert!(compare(&[told(&["a.1", "b.1", "a.2", "b.2"]), told(&bad)]).is_err(), "{bad:?}");
    }
}
