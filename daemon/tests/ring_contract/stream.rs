//! What members delivered, compared.

use crate::member::{Story, Timed};
use crate::process::Told;
use std::collections::{BTreeMap, BTreeSet};

/// One thing delivered in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Members(Vec<u32>),
    Message(u32, String),
}

/// What one life of a member delivered in order.
struct Life {
    node: u32,
    items: Vec<Item>,
}

/// A process's lives: each ends with the process, or where its ring went down.
fn lives(story: &Story) -> Vec<Life> {
    let mut lives = vec![Vec::new()];
    for (_, told) in &story.told {
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
    lives.into_iter().map(|items| Life { node: story.node, items }).collect()
}

impl Life {
    /// The parts in which the other was in its view. Apart, each may deliver what it likes.
    fn with(&self, other: u32) -> impl Iterator<Item = &[Item]> {
        self.items
            .split(move |item| matches!(item, Item::Members(members) if !members.contains(&other)))
            .enumerate()
            // What follows the first cut begins in a view without the other; only from the next view on it is there.
            .map(|(index, part)| {
                let from = if index == 0 { Some(0) } else { part.iter().position(|i| matches!(i, Item::Members(_))) };
                &part[from.unwrap_or(part.len())..]
            })
    }
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
/// Returns whether they have anything in common.
fn agree(one: &[Item], two: &[Item]) -> Result<bool, String> {
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
        None => Ok(!one.is_empty()),
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
pub(crate) fn check(members: &[Story]) {
    if let Err(difference) = compare(members) {
        panic!("members delivered differently: {difference}");
    }
}

fn together(one: &Life, two: &Life) -> Result<(), String> {
    for left in one.with(two.node) {
        let mut shared = 0;
        for right in two.with(one.node) {
            shared += usize::from(agree(left, right)?);
        }
        if shared > 1 {
            return Err(format!("{} saw itself part from {} and {1} did not see it", two.node, one.node));
        }
    }
    Ok(())
}

fn compare(members: &[Story]) -> Result<(), String> {
    let lives: Vec<Life> = members.iter().flat_map(lives).collect();
    for (index, one) in lives.iter().enumerate() {
        in_turn(&one.items)?;
        for two in lives[index + 1..].iter().filter(|two| two.node != one.node) {
            together(one, two)?;
            together(two, one)?;
        }
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
    // Who is missing a message was perhaps out of the ring, or its sender was.
    let ring = told.iter().filter(|(_, told)| matches!(told, Told::View { .. } | Told::Down { .. }));
    let ring: String = ring.map(|told| format!("\n  {told:?}")).collect();
    assert_eq!(found as u64, count, "messages of {prefix}; views: {ring}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(node: u32, items: &[&str]) -> Story {
        let told = items.iter().map(|item| match item.strip_prefix("view ") {
            Some(members) => Told::View {
                ring: (1, 1),
                members: members.split(' ').map(|node| node.parse().expect("a number")).collect(),
                hosts: vec![],
            },
            None => Told::Message { from: 1, text: (*item).to_owned(), size: 1 },
        });
        Story { node, told: told.map(|told| (0, told)).collect() }
    }

    #[test]
    fn a_difference_in_order_or_number_is_found() {
        let whole = || story(1, &["view 1 2", "a.1", "b.1", "a.2", "b.2"]);
        assert_eq!(compare(&[whole(), story(2, &["view 1 2", "b.1", "a.2"])]), Ok(()));
        for bad in [["b.1", "a.1", "a.2"], ["a.1", "a.2", "b.1"], ["a.1", "b.1", "b.2"], ["a.1", "a.1", "b.1"]] {
            assert!(compare(&[whole(), story(2, &bad)]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_view_in_another_place_is_found() {
        let [one, two] = [["view 1 2 3", "a.1", "view 1 2", "a.2"], ["view 1 2 3", "view 1 2", "a.1", "a.2"]];
        assert!(compare(&[story(1, &one), story(2, &two)]).is_err());
    }

    #[test]
    fn what_is_delivered_apart_is_not_compared() {
        let one = story(1, &["view 1 2", "a.1", "view 1", "a.2", "view 1 2", "b.1"]);
        let two = story(2, &["view 1 2", "a.1", "view 2", "c.1", "view 1 2", "b.1"]);
        assert_eq!(compare(&[one.clone(), two]), Ok(()));
        assert!(compare(&[one, story(2, &["view 1 2", "a.1", "b.1"])]).is_err());
    }
}
