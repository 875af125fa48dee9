//! What the log's records amount to: who is a member, and which messages count.
//!
//! Pure, and the same for every reader: nobody decides the order or the membership, everybody reads it. A removal names
//! the view it was proposed in and has no effect in any other, so of two members that suspect each other the one whose
//! record the kernel put first stays. A message counts when its sender is a member and its number is the next one;
//! what a removed member still writes, and what a sender writes twice, changes nothing.

use super::record::{Reason, Record, Seat};
use belay_proto::ring::RingId;
use belay_proto::{Incarnation, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The largest number of a view or a segment that is believed: counting from there never comes to an end.
pub(super) const MAX_NUMBER: u64 = u64::MAX / 2;

/// The state of the log up to some record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Book {
    segment: u64,
    /// The segment's header has been read.
    begun: bool,
    /// The book was started from a header and so knows everything; without one it takes the first it sees.
    complete: bool,
    view: u64,
    members: BTreeMap<NodeId, Seat>,
    hosts: BTreeSet<NodeId>,
}

/// What a record that counts has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The segment's header was accepted.
    Begun,
    /// The header says something else than what was read before it. The log is not what this reader thinks.
    Contradiction,
    /// There is a new view.
    View {
        /// Who was taken out, if it was that, why, and on whose word.
        removed: Option<(NodeId, Incarnation, Reason, NodeId)>,
    },
    /// A message counts.
    Message { from: NodeId, incarnation: Incarnation, payload: Vec<u8> },
    /// The log goes on in the next segment.
    Ended,
}

impl Book {
    /// An empty log's.
    pub(super) fn fresh(segment: u64, view: u64) -> Self {
        Self { segment, begun: false, complete: true, view, members: BTreeMap::new(), hosts: BTreeSet::new() }
    }

    /// For a reader that begins at this segment's header, whatever it says.
    pub(super) fn unread(segment: u64) -> Self {
        Self { complete: false, ..Self::fresh(segment, 0) }
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// Whether the present segment's header has been read.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    pub(super) fn view(&self) -> u64 {
        self.view
    }

    pub(super) fn members(&self) -> &BTreeMap<NodeId, Seat> {
        &self.members
    }

    pub(super) fn hosts(&self) -> &BTreeSet<NodeId> {
        &self.hosts
    }

    /// The present view's ring.
    pub(super) fn ring(&self) -> RingId {
        let representative = self.members.keys().next().copied().unwrap_or_default();
        RingId { representative, sequence: self.view }
    }

    /// Whether this life of the node is a member.
    pub(super) fn seats(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.members.get(&node).is_some_and(|seat| seat.incarnation == incarnation)
    }

    /// The header that begins the present segment. `None` for a reader that has yet to learn it.
    pub(super) fn header(&self) -> Option<Record> {
        self.complete.then(|| Record::Header {
            segment: self.segment,
            view: self.view,
            members: self.members.clone(),
            hosts: self.hosts.clone(),
        })
    }

    /// Takes the next record. `None` when it has no effect.
    pub(super) fn apply(&mut self, record: Record) -> Option<Effect> {
        if !self.begun {
            return self.begin(record);
        }
        match record {
            Record::Header { .. } => None,
            Record::Join { node, incarnation } => self.join(node, incarnation),
            Record::Remove { view, node, incarnation, reason, by } => {
                if view != self.view || !self.seats(node, incarnation) {
                    return None;
                }
                self.members.remove(&node);
                if reason == Reason::Silent {
                    self.hosts.remove(&node);
                }
                self.view += 1;
                Some(Effect::View { removed: Some((node, incarnation, reason, by)) })
            }
            Record::Message { node, incarnation, sequence, payload } => {
                let seat = self.members.get_mut(&node).filter(|seat| seat.incarnation == incarnation)?;
                if seat.last.checked_add(1) != Some(sequence) {
                    return None;
                }
                seat.last = sequence;
                Some(Effect::Message { from: node, incarnation, payload })
            }
            Record::Rotate { segment } => {
                if segment != self.segment {
                    return None;
                }
                self.segment += 1;
                self.begun = false;
                Some(Effect::Ended)
            }
        }
    }

    fn begin(&mut self, record: Record) -> Option<Effect> {
        if self.complete && self.header().is_some_and(|own| own != record && matches!(record, Record::Header { .. })) {
            return Some(Effect::Contradiction);
        }
        match record {
            Record::Header { segment, view, members, hosts } if segment == self.segment && view <= MAX_NUMBER => {
                *self = Self { segment, begun: true, complete: true, view, members, hosts };
                Some(Effect::Begun)
            }
            _ => None,
        }
    }

    fn join(&mut self, node: NodeId, incarnation: Incarnation) -> Option<Effect> {
        if self.members.contains_key(&node) {
            return None;
        }
        self.members.insert(node, Seat { incarnation, last: 0 });
        self.hosts.insert(node);
        self.view += 1;
        Some(Effect::View { removed: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIFE: Incarnation = Incarnation(7);

    fn message(node: u32, sequence: u64) -> Record {
        Record::Message { node: NodeId(node), incarnation: LIFE, sequence, payload: vec![] }
    }

    fn remove(view: u64, node: u32, reason: Reason) -> Record {
        Record::Remove { view, node: NodeId(node), incarnation: LIFE, reason, by: NodeId(9) }
    }

    fn of_two() -> Book {
        let mut book = Book::fresh(1, 0);
        let header = book.header().expect("complete");
        assert_eq!(book.apply(header), Some(Effect::Begun));
        for node in [1, 2] {
            assert!(book.apply(Record::Join { node: NodeId(node), incarnation: LIFE }).is_some());
        }
        book
    }

    #[test]
    fn of_two_members_that_suspect_each_other_the_first_record_decides() {
        let mut book = of_two();
        assert!(book.apply(remove(2, 2, Reason::Silent)).is_some());
        assert_eq!(book.apply(remove(2, 1, Reason::Silent)), None);
        assert_eq!(book.members().keys().copied().collect::<Vec<_>>(), [NodeId(1)]);
    }

    #[test]
    fn a_member_that_died_leaves_its_host_and_a_silent_one_takes_it_along() {
        let (mut died, mut silent) = (of_two(), of_two());
        died.apply(remove(2, 2, Reason::Died));
        silent.apply(remove(2, 2, Reason::Silent));
        assert!(died.hosts().contains(&NodeId(2)));
        assert!(!silent.hosts().contains(&NodeId(2)));
    }

    #[test]
    fn a_message_counts_once_and_in_its_turn() {
        let mut book = of_two();
        assert!(book.apply(message(1, 1)).is_some());
        assert_eq!(book.apply(message(1, 1)), None, "a second copy");
        assert_eq!(book.apply(message(1, 3)), None, "one is missing before it");
        assert!(book.apply(message(1, 2)).is_some());
    }

    #[test]
    fn what_a_removed_member_still_writes_has_no_effect() {
        let mut book = of_two();
        book.apply(remove(2, 2, Reason::Silent));
        assert_eq!(book.apply(message(2, 1)), None);
        book.apply(Record::Join { node: NodeId(2), incarnation: Incarnation(8) });
        assert_eq!(book.apply(message(2, 1)), None, "its former life");
    }

    #[test]
    fn a_second_daemon_with_the_same_id_does_not_join() {
        let mut book = of_two();
        assert_eq!(book.apply(Record::Join { node: NodeId(2), incarnation: Incarnation(8) }), None);
    }

    #[test]
    fn what_follows_the_end_of_a_segment_counts_only_in_the_next() {
        let mut book = of_two();
        assert_eq!(book.apply(Record::Rotate { segment: 1 }), Some(Effect::Ended));
        assert_eq!(book.apply(message(1, 1)), None);
        let header = book.header().expect("complete");
        assert_eq!(book.apply(header.clone()), Some(Effect::Begun));
        assert_eq!(book.apply(header), None, "the second copy of the header");
        assert_eq!(book.apply(Record::Rotate { segment: 1 }), None, "the end of an earlier segment");
        assert!(book.apply(message(1, 1)).is_some());
    }

    #[test]
    fn a_header_that_contradicts_what_was_read_is_noticed() {
        let mut book = of_two();
        book.apply(Record::Rotate { segment: 1 });
        let other = Book::fresh(2, 0).header().expect("complete");
        assert_eq!(book.apply(other), Some(Effect::Contradiction));
    }

    #[test]
    fn a_header_from_which_views_could_not_be_counted_on_begins_nothing() {
        let mut book = Book::unread(1);
        let header = |view| Book::fresh(1, view).header().expect("complete");
        assert_eq!(book.apply(header(u64::MAX)), None);
        assert_eq!(book.apply(header(MAX_NUMBER)), Some(Effect::Begun));
        assert!(book.apply(Record::Join { node: NodeId(1), incarnation: LIFE }).is_some());
    }

    fn any_play() -> impl Strategy<Value = Record> {
        let node = || (1u32..4).prop_map(NodeId);
        let life = || (1u64..3).prop_map(Incarnation);
        prop_oneof![
            (node(), life()).prop_map(|(node, incarnation)| Record::Join { node, incarnation }),
            (0u64..20, node(), life()).prop_map(|(view, node, incarnation)| Record::Remove {
                view,
                node,
                incarnation,
                reason: Reason::Died,
                by: node
            }),
            (node(), life(), 1u64..6).prop_map(|(node, incarnation, sequence)| Record::Message {
                node,
                incarnation,
                sequence,
                payload: vec![]
            }),
            (1u64..4).prop_map(|segment| Record::Rotate { segment }),
        ]
    }

    proptest! {
        #[test]
        fn a_reader_that_begins_at_a_later_segment_reads_the_same_as_one_that_followed_all(
            play in prop::collection::vec(any_play(), 0..120)
        ) {
            let mut follower = Book::fresh(1, 0);
            let mut late: Option<Book> = None;
            for record in play {
                if !follower.begun() {
                    let header = follower.header().expect("complete");
                    let mut newcomer = Book::unread(follower.segment());
                    newcomer.apply(header.clone());
                    follower.apply(header.clone());
                    prop_assert_eq!(&newcomer, &follower);
                    if let Some(late) = &mut late {
                        late.apply(header);
                    }
                    late.get_or_insert(newcomer);
                }
                let effect = follower.apply(record.clone());
                if let Some(late) = &mut late {
                    prop_assert_eq!(late.apply(record), effect);
                }
            }
        }
    }
}
