//! Cuts the bytes of a log into records, however the bytes arrive.
//!
//! All readers must come to the same records from the same bytes, whether they read a segment in one piece or followed
//! it as it grew. So a line counts once its newline is there and not before, and what is no record is skipped without
//! any effect.

use super::record::{MAX_LINE, Record};
use std::collections::VecDeque;

/// The bytes read so far that have not become records.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    line: Vec<u8>,
    /// The present line is already longer than any record: its remainder is thrown away, to stay within memory.
    overlong: bool,
    records: VecDeque<Record>,
    skipped: u64,
}

impl Scanner {
    /// Takes the next bytes of the log.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// How many lines were no records.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    fn take(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_LINE {
            self.overlong = true;
            self.line.clear();
        }
        if !self.overlong {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        match Record::decode(&self.line) {
            Some(record) if !self.overlong => self.records.push_back(record),
            _ if self.line.is_empty() && !self.overlong => {}
            _ => self.skipped += 1,
        }
        self.overlong = false;
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::any_record;
    use super::*;
    use belay_proto::{Incarnation, NodeId};
    use proptest::prelude::*;

    fn all(scanner: &mut Scanner) -> Vec<Record> {
        std::iter::from_fn(|| scanner.next()).collect()
    }

    #[test]
    fn a_line_longer_than_any_record_is_skipped_and_the_next_one_read() {
        let record = Record::Join { node: NodeId(1), incarnation: Incarnation(1) };
        let mut scanner = Scanner::default();
        for _ in 0..3 {
            scanner.feed(&vec![b'x'; MAX_LINE / 2]);
        }
        scanner.feed(&record.encode());
        assert_eq!(all(&mut scanner), [record]);
        assert_eq!(scanner.skipped(), 1);
    }

    #[test]
    fn the_largest_message_is_read_even_if_every_byte_needs_an_escape() {
        let payload = vec![b'\n'; super::super::MAX_MESSAGE];
        let record =
            Record::Message { node: NodeId(u32::MAX), incarnation: Incarnation(u64::MAX), sequence: u64::MAX, payload };
        let mut scanner = Scanner::default();
        scanner.feed(&record.encode());
        assert_eq!(all(&mut scanner), [record]);
    }

    #[test]
    fn a_record_counts_only_once_its_newline_is_there() {
        let bytes = Record::Rotate { segment: 1 }.encode();
        let mut scanner = Scanner::default();
        scanner.feed(&bytes[..bytes.len() - 1]);
        assert_eq!(scanner.next(), None);
        scanner.feed(b"\n");
        assert_eq!(scanner.next(), Some(Record::Rotate { segment: 1 }));
    }

    proptest! {
        #[test]
        fn records_between_torn_ones_are_read_whatever_the_size_of_the_reads(
            items in prop::collection::vec((any_record(), prop::option::of(any::<prop::sample::Index>())), 0..12),
            cut in 1usize..64,
        ) {
            let (mut bytes, mut whole) = (Vec::new(), Vec::new());
            for (record, tear) in items {
                let encoded = record.encode();
                // A tear that leaves all but the last newline leaves a record: the next writer's newline ends it.
                match tear.map(|at| at.index(encoded.len())) {
                    Some(at) if at < encoded.len() - 1 => bytes.extend(&encoded[..at]),
                    _ => {
                        bytes.extend(&encoded);
                        whole.push(record);
                    }
                }
            }
            bytes.push(b'\n');
            let mut scanner = Scanner::default();
            for piece in bytes.chunks(cut) {
                scanner.feed(piece);
            }
            prop_assert_eq!(all(&mut scanner), whole);
        }

        #[test]
        fn any_bytes_give_the_same_records_whatever_the_size_of_the_reads(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n')], 0..400),
            cut in 1usize..64,
        ) {
            let (mut one, mut pieces) = (Scanner::default(), Scanner::default());
            one.feed(&bytes);
            for piece in bytes.chunks(cut) {
                pieces.feed(piece);
            }
            prop_assert_eq!(all(&mut one), all(&mut pieces));
            prop_assert_eq!(one.skipped(), pieces.skipped());
        }
    }
}
