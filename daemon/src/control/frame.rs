//! Cuts the byte stream into messages: a Varlink message is everything up to a NUL byte. Holds at most one message's
//! limit and one read's worth of bytes, whatever the client sends.

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 8 * 1024;

/// A message that is longer than its sender may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is longer than {limit} bytes")]
pub(super) struct TooLong {
    pub(super) limit: usize,
}

/// The bytes that have arrived and were not taken yet.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// No NUL lies before this position, so that a long message is searched once and not once per read.
    searched: usize,
    limit: usize,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, limit }
    }

    /// Adds what was read. The caller reads no more while [`Frames::next`] has something to give.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole message without its NUL, or `None` until more bytes arrive. After an error the stream has no
    /// known message border any more, so the connection must be closed.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let too_long = TooLong { limit: self.limit };
        let Some(found) = self.bytes[self.searched..].iter().position(|byte| *byte == 0) else {
            self.searched = self.bytes.len();
            return if self.searched > self.limit { Err(too_long) } else { Ok(None) };
        };
        let end = self.searched + found;
        if end > self.limit {
            return Err(too_long);
        }
        let rest = self.bytes.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.bytes, rest);
        message.pop();
        self.searched = 0;
        Ok(Some(message))
    }

    /// Whether a message has begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_that_comes_in_pieces_is_one_message() {
        let mut frames = Frames::new(10);
        frames.push(b"ab");
        assert_eq!(frames.next(), Ok(None));
        frames.push(b"cd\0e");
        assert_eq!(frames.next(), Ok(Some(b"abcd".to_vec())));
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.has_begun());
    }

    #[test]
    fn the_limit_is_the_longest_message_that_passes() {
        for (length, passes) in [(10, true), (11, false)] {
            let mut frames = Frames::new(10);
            frames.push(&vec![b'x'; length]);
            frames.push(b"\0");
            assert_eq!(frames.next().is_ok(), passes, "{length}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused_as_soon_as_it_is_too_long() {
        let mut frames = Frames::new(10);
        frames.push(b"0123456789");
        assert_eq!(frames.next(), Ok(None));
        frames.push(b"0");
        assert_eq!(frames.next(), Err(TooLong { limit: 10 }));
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_messages_are_the_same(
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
            cut in 1usize..40,
        ) {
            let whole: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            let (open, closed) = whole.split_last().unwrap();
            let mut frames = Frames::new(300);
            let mut seen = Vec::new();
            for chunk in bytes.chunks(cut) {
                frames.push(chunk);
                while let Some(message) = frames.next().unwrap() {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen.as_slice(), closed);
            prop_assert_eq!(frames.len(), open.len());
        }

        #[test]
        fn no_stream_makes_it_hold_more_than_the_limit_and_a_chunk(
            bytes in proptest::collection::vec(prop_oneof![1 => Just(0u8), 20 => Just(b'x')], 0..2000),
            cut in 1usize..64,
        ) {
            let mut frames = Frames::new(50);
            'stream: for chunk in bytes.chunks(cut) {
                frames.push(chunk);
                prop_assert!(frames.len() <= 50 + cut);
                loop {
                    match frames.next() {
                        Ok(Some(message)) => prop_assert!(message.len() <= 50),
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }
}
