//! One record of the shared log as one line of bytes, and back.
//!
//! A line is a checksum, a kind, numbers, and for a message its payload, which may be any bytes: a newline in it is
//! escaped, so a newline always ends a line. Every record is written by one `write()` as newline, line, newline. What a
//! writer that was killed in the middle left behind is therefore ended by the next writer's first newline, fails its
//! checksum, and is skipped by every reader alike.

use belay_proto::{Incarnation, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The longest line a reader accepts. A payload at the limit doubles when every byte of it needs an escape.
pub(super) const MAX_LINE: usize = 2 * super::MAX_MESSAGE + 256;

/// A member as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Which life of the member.
    pub(super) incarnation: Incarnation,
    /// The sequence number of its last accepted message.
    pub(super) last: u64,
}

/// Why a member was taken out of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The kernel closed its socket: the process is gone, its host is not.
    Died,
    /// It did not answer in time: its host counts as gone.
    Silent,
    /// It said so itself.
    Left,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Silent => "silent",
            Self::Left => "left",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Died, Self::Silent, Self::Left].into_iter().find(|reason| reason.word() == word)
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Begins a segment with all that the earlier ones amount to. The first one of a segment counts.
    Header { segment: u64, view: u64, members: BTreeMap<NodeId, Seat>, hosts: BTreeSet<NodeId> },
    /// A node takes part from here on.
    Join { node: NodeId, incarnation: Incarnation },
    /// Proposes to take a member out of the view with this number. The first one for a view counts.
    Remove { view: u64, node: NodeId, incarnation: Incarnation, reason: Reason, by: NodeId },
    /// Something a member says. Counts when the sender is a member and the number is the one after its last.
    Message { node: NodeId, incarnation: Incarnation, sequence: u64, payload: Vec<u8> },
    /// Ends this segment; the log goes on in the next.
    Rotate { segment: u64 },
}

impl Record {
    /// The bytes to write, newlines included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = self.text().into_bytes();
        if let Self::Message { payload, .. } = self {
            body.push(b' ');
            escape(payload, &mut body);
        }
        let mut line = format!("\n{:08x} ", checksum(&body)).into_bytes();
        line.append(&mut body);
        line.push(b'\n');
        line
    }

    /// All but a message's payload.
    fn text(&self) -> String {
        match self {
            Self::Header { segment, view, members, hosts } => {
                let mut text = format!("header {segment} {view} ");
                for (node, Seat { incarnation, last }) in members {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{node}:{incarnation}:{last},");
                }
                text.push(' ');
                for node in hosts {
                    let _ = write!(text, "{node},");
                }
                text
            }
            Self::Join { node, incarnation } => format!("join {node} {incarnation}"),
            Self::Remove { view, node, incarnation, reason, by } => {
                format!("remove {view} {node} {incarnation} {} {by}", reason.word())
            }
            Self::Message { node, incarnation, sequence, .. } => format!("message {node} {incarnation} {sequence}"),
            Self::Rotate { segment } => format!("rotate {segment}"),
        }
    }

    /// Reads a line without its newline. `None` when it is torn or not a record.
    pub(super) fn decode(line: &[u8]) -> Option<Self> {
        let (sum, body) = line.split_at_checked(9)?;
        let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.strip_suffix(' ')?, 16).ok()?;
        if sum != checksum(body) {
            return None;
        }
        let mut words = Words(body);
        let record = match words.word()? {
            "header" => Self::Header {
                segment: words.number()?,
                view: words.number()?,
                members: list(words.word()?, seat)?,
                hosts: list(words.word()?, node)?,
            },
            "join" => Self::Join { node: words.node()?, incarnation: words.incarnation()? },
            "remove" => Self::Remove {
                view: words.number()?,
                node: words.node()?,
                incarnation: words.incarnation()?,
                reason: Reason::from_word(words.word()?)?,
                by: words.node()?,
            },
            "message" => Self::Message {
                node: words.node()?,
                incarnation: words.incarnation()?,
                sequence: words.number()?,
                payload: unescape(std::mem::take(&mut words.0))?,
            },
            "rotate" => Self::Rotate { segment: words.number()? },
            _ => return None,
        };
        words.0.is_empty().then_some(record)
    }
}

fn node(text: &str) -> Option<NodeId> {
    text.parse().ok().map(NodeId)
}

fn seat(text: &str) -> Option<(NodeId, Seat)> {
    let mut parts = text.split(':');
    let (id, incarnation, last) = (node(parts.next()?)?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((id, Seat { incarnation: Incarnation(incarnation), last }))
}

/// Reads `a,b,c,`.
fn list<T, C: FromIterator<T>>(text: &str, one: fn(&str) -> Option<T>) -> Option<C> {
    text.split_terminator(',').map(one).collect()
}

/// What is left of a line.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The bytes up to the next blank or the end.
    fn word(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == b' ');
        let (word, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &self.0[self.0.len()..]),
        };
        self.0 = rest;
        std::str::from_utf8(word).ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.word()?.parse().ok()
    }

    fn node(&mut self) -> Option<NodeId> {
        node(self.word()?)
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        self.number().map(Incarnation)
    }
}

fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    line.reserve(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\\')) {
        line.extend_from_slice(&rest[..at]);
        line.extend_from_slice(if rest[at] == b'\n' { b"\\n" } else { b"\\\\" });
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        out.push(match rest.get(at + 1)? {
            b'n' => b'\n',
            b'\\' => b'\\',
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// CRC-32 as in zlib: finds every torn line but one in four thousand million.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn any_record() -> impl Strategy<Value = Record> {
        let seat = (1u32..5, any::<u64>(), any::<u64>())
            .prop_map(|(node, life, last)| (NodeId(node), Seat { incarnation: Incarnation(life), last }));
        let reason = prop_oneof![Just(Reason::Died), Just(Reason::Silent), Just(Reason::Left)];
        let node = || any::<u32>().prop_map(NodeId);
        let life = || any::<u64>().prop_map(Incarnation);
        prop_oneof![
            (any::<u64>(), any::<u64>(), prop::collection::btree_map(node(), seat.prop_map(|s| s.1), 0..4)).prop_map(
                |(segment, view, members)| Record::Header {
                    segment,
                    view,
                    hosts: members.keys().copied().collect(),
                    members
                }
            ),
            (node(), life()).prop_map(|(node, incarnation)| Record::Join { node, incarnation }),
            (any::<u64>(), node(), life(), reason, node()).prop_map(|(view, node, incarnation, reason, by)| {
                Record::Remove { view, node, incarnation, reason, by }
            }),
            (node(), life(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
                |(node, incarnation, sequence, payload)| Record::Message { node, incarnation, sequence, payload }
            ),
            any::<u64>().prop_map(|segment| Record::Rotate { segment }),
        ]
    }

    #[test]
    fn the_checksum_is_the_one_everybody_knows() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_message_of_any_byte_survives() {
        let payload: Vec<u8> = (0..=255).collect();
        let record = Record::Message { node: NodeId(1), incarnation: Incarnation(2), sequence: 3, payload };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes[1..bytes.len() - 1]), Some(record));
    }

    proptest! {
        #[test]
        fn a_record_is_one_line_and_survives(record in any_record()) {
            let bytes = record.encode();
            let inner = &bytes[1..bytes.len() - 1];
            prop_assert!(!inner.contains(&b'\n'));
            prop_assert_eq!(Record::decode(inner), Some(record));
        }

        #[test]
        fn a_torn_or_altered_line_is_no_record(record in any_record(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let bytes = record.encode();
            let inner = &bytes[1..bytes.len() - 1];
            let at = at.index(inner.len());
            prop_assert_eq!(Record::decode(&inner[..at]), None);
            let mut altered = inner.to_vec();
            altered[at] ^= flip;
            // An upper-case checksum digit is the same number.
            if !altered.eq_ignore_ascii_case(inner) {
                prop_assert_eq!(Record::decode(&altered), None);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn any_body_with_a_right_checksum_is_read_or_refused_without_a_panic(
            body in "(header|join|remove|message|rotate)( [0-9:,a-z]{0,20}){0,6}"
        ) {
            let line = format!("{:08x} {body}", checksum(body.as_bytes()));
            let _ = Record::decode(line.as_bytes());
        }
    }
}
