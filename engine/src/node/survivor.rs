//! Which of two hosts that were apart has survived the other.
//!
//! With `two_node` each is quorate alone, and opens a term whenever its daemon or its ring starts anew: which of them has the
//! greater one says nothing. The one that had the other fenced went on; what it decided and answered since must hold when
//! the other one boots with what it had.

use crate::mutant::{self, Mutant};
use belay_proto::NodeId;
use belay_proto::ring::Hello;
use std::collections::BTreeMap;

/// Whether what a member had is over: the only other one has seen its end, and it has not seen the other one's.
pub(super) fn is_outlived(node: NodeId, hellos: &BTreeMap<NodeId, Hello>) -> bool {
    let other = hellos.iter().find(|(id, _)| **id != node);
    let (Some(own), Some((peer, other)), 2) = (hellos.get(&node), other, hellos.len()) else { return false };
    saw_the_end_of(other, node, own) > saw_the_end_of(own, *peer, other) && !mutant::is(Mutant::FencedHostWins)
}

/// What a host has seen of another one's end. If each has seen the other's, the one that saw the end of the very life in
/// which the other went on last is the later. Whoever saw the end of an earlier one can only say that it has been there all the
/// time since, which does not hold if it was off itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    /// It has come back since, and went on by itself.
    EarlierLife,
    LastLife,
}

fn saw_the_end_of(witness: &Hello, node: NodeId, hello: &Hello) -> Seen {
    let boot = &witness.boot;
    let (Some(witness), Some(own)) = (&witness.outlived, &hello.outlived) else { return Seen::Nothing };
    match witness.others.get(&node) {
        Some(life) if *life == own.life => Seen::LastLife,
        Some(_) if witness.life == *boot => Seen::EarlierLife,
        Some(_) | None => Seen::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::ring::{Outlived, Progress, RoundId};
    use belay_proto::{Incarnation, Index, Term};

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    fn hello(life: &str, ended: Option<(NodeId, &str)>) -> Hello {
        let others = ended.into_iter().map(|(node, life)| (node, life.parse().unwrap())).collect();
        Hello {
            round: RoundId::default(),
            boot: life.parse().unwrap(),
            incarnation: Incarnation(1),
            progress: Progress { term: Term(1), index: Index(1), hash: 0 },
            quorate_round: None,
            promised: Term(1),
            outlived: Some(Outlived { life: life.parse().unwrap(), others }),
            software: String::new(),
        }
    }

    fn outlived(one: Hello, two: Hello) -> (bool, bool) {
        let hellos = BTreeMap::from([(ONE, one), (TWO, two)]);
        (is_outlived(ONE, &hellos), is_outlived(TWO, &hellos))
    }

    #[test]
    fn who_was_fenced_is_outlived_even_if_it_went_on_by_itself_afterwards() {
        assert_eq!(outlived(hello("a1", None), hello("b1", Some((ONE, "a1")))), (true, false));
        assert_eq!(outlived(hello("a2", None), hello("b1", Some((ONE, "a1")))), (true, false));
    }

    #[test]
    fn who_was_off_itself_has_only_outlived_what_ended_before_that() {
        let rebooted = |ended| Hello { boot: "b2".parse().unwrap(), ..hello("b1", ended) };
        assert_eq!(outlived(hello("a2", None), rebooted(Some((ONE, "a1")))), (false, false));
        assert_eq!(outlived(hello("a1", None), rebooted(Some((ONE, "a1")))), (true, false));
    }

    #[test]
    fn who_came_back_and_fenced_the_other_one_is_the_survivor() {
        assert_eq!(outlived(hello("a2", Some((TWO, "b1"))), hello("b1", Some((ONE, "a1")))), (false, true));
    }

    #[test]
    fn when_neither_or_each_saw_the_end_of_the_other_nobody_is_outlived() {
        assert_eq!(outlived(hello("a1", None), hello("b1", None)), (false, false));
        assert_eq!(outlived(hello("a1", Some((TWO, "b1"))), hello("b1", Some((ONE, "a1")))), (false, false));
        let mut earlier = hello("a1", None);
        earlier.outlived = None;
        assert_eq!(outlived(earlier, hello("b1", Some((ONE, "a1")))), (false, false), "it says nothing of its life");
    }
}
