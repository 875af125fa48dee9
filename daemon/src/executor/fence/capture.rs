//! An agent's output, bounded: the beginning and the end are kept, what lies between is counted and thrown away. So an
//! agent that prints for ever neither fills our memory nor blocks on a full pipe.

use std::collections::VecDeque;

/// How much is kept of each end: 64 KiB together.
const END: usize = 32 * 1024;

/// What an agent printed.
#[derive(Debug, Default)]
pub(super) struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    discarded: u64,
}

impl Captured {
    /// Takes the next piece.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(END - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(END);
        self.tail.drain(..excess);
        self.discarded += excess as u64;
    }

    /// How many bytes were thrown away.
    pub(super) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// What was kept, as text. A secret across the seam of a whole output is found here: there is no seam.
    pub(super) fn text(&self) -> String {
        let kept: Vec<u8> = self.head.iter().chain(&self.tail).copied().collect();
        String::from_utf8_lossy(&kept).into_owned()
    }

    /// Beginning and end, between which something may be missing.
    pub(super) fn ends(&self) -> (&[u8], Vec<u8>) {
        (&self.head, self.tail.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_kept_and_the_middle_is_counted() {
        let mut captured = Captured::default();
        for i in 0u32..250_000 {
            captured.take(&i.to_be_bytes());
        }
        assert_eq!(captured.discarded(), 1_000_000 - 65_536);
        let (head, tail) = captured.ends();
        assert_eq!((head.len(), tail.len()), (END, END));
        assert_eq!(head[..4], 0u32.to_be_bytes());
        assert_eq!(tail[END - 4..], 249_999u32.to_be_bytes());
    }
}
