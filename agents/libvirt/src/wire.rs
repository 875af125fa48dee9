//! Lines from the daemon: bounded in length, and never a reason to die. What is not a call gets the answer `bad_call` if
//! its id can be read, and a line on stderr if not.

use belay_proto::agent::{Call, MAX_LINE_BYTES};
use std::io::{self, BufRead};

/// What a line was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A call.
    Call(Call),
    /// Something else, with its id where there is one, and what is wrong with it.
    Bad(Option<u64>, String),
}

/// Buffers that grew beyond this for one line are given back after it.
const KEEP_BYTES: usize = 64 * 1024;

/// Reads lines.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    limit: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `source`.
    pub fn of(source: R) -> Self {
        Self::within(MAX_LINE_BYTES, source)
    }

    /// Lines of `source`, of which those longer than `limit` bytes are no calls.
    pub fn within(limit: usize, source: R) -> Self {
        Self { source, buffer: Vec::new(), limit }
    }

    /// The next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.buffer.clear();
            if self.buffer.capacity() > KEEP_BYTES {
                self.buffer.shrink_to(KEEP_BYTES);
            }
            let Some(length) = self.read()? else { return Ok(None) };
            if length > self.limit {
                let id = leading_id(&self.buffer);
                return Ok(Some(Line::Bad(
                    id,
                    format!("a line of {length} bytes is longer than {} allow", self.limit),
                )));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(parse(&self.buffer)));
            }
        }
    }

    /// Reads up to a newline and gives the line's whole length, of which the buffer holds as much as is allowed.
    fn read(&mut self) -> io::Result<Option<usize>> {
        let mut length = 0;
        loop {
            let chunk = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if chunk.is_empty() {
                return Ok((length > 0).then_some(length));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = self.limit.saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            length += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                return Ok(Some(length));
            }
        }
    }
}

fn parse(line: &[u8]) -> Line {
    match serde_json::from_slice::<Call>(line) {
        Ok(call) => Line::Call(call),
        Err(error) => {
            let value = serde_json::from_slice::<serde_json::Value>(line).ok();
            let id = value.as_ref().and_then(|value| value.get("id")?.as_u64()).or_else(|| leading_id(line));
            Line::Bad(id, format!("not a call: {error}"))
        }
    }
}

/// The id of a line that cannot be parsed, if it begins as calls do.
fn leading_id(line: &[u8]) -> Option<u64> {
    let rest = line.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"id\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::agent::CallKind;
    use proptest::prelude::*;

    fn lines(input: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::within(limit, input);
        std::iter::from_fn(|| lines.next_line().expect("memory does not fail")).collect()
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_next() {
        let good = br#"{"id":7,"deadline_ms":50,"what":"list"}"#;
        let input =
            [&b"garbage\n\n{\"id\":3,\"what\":\"dance\"}\n{\"id\":4,"[..], &[0xff; 500], b"\n", good, b"\n"].concat();
        let lines = lines(&input, 100);
        assert!(matches!(&lines[0], Line::Bad(None, _)));
        assert!(matches!(&lines[1], Line::Bad(Some(3), why) if why.contains("not a call")));
        assert!(matches!(&lines[2], Line::Bad(Some(4), why) if why.contains("508 bytes")), "{:?}", lines[2]);
        assert_eq!(lines[3], Line::Call(Call { id: 7, deadline_ms: 50, what: CallKind::List }));
        assert_eq!(lines.len(), 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_without_growing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut lines = Lines::within(50, &bytes[..]);
            while lines.next_line().expect("memory does not fail").is_some() {
                prop_assert!(lines.buffer.len() <= 50);
            }
        }
    }
}
