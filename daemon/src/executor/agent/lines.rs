//! Lines from an agent's pipe, with a limit: a program gone wild must not be able to fill the daemon's memory.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// The line is longer than the limit.
    #[error("wrote a line of more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The pipe broke.
    #[error("its output cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads lines of at most `limit` bytes.
pub(super) struct Lines<R> {
    from: R,
    limit: usize,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// Up to here the unread part is known to hold no newline, so that a long line is searched once, not once a chunk.
    searched: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from, limit, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// What is read from, for whoever gave up on lines.
    pub(super) fn into_inner(self) -> R {
        self.from
    }

    /// The next line without its newline, or `None` at the end. What follows the last newline is no line: its writer
    /// died while writing it. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Some(line));
            }
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let found = self.buffer[self.searched..].iter().position(|&b| b == b'\n').map(|at| self.searched + at);
        let length = found.unwrap_or(self.buffer.len()) - self.start;
        if length > self.limit {
            return Err(LineError::TooLong { limit: self.limit });
        }
        let Some(end) = found else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        let line = self.buffer[self.start..end].to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Lines::new(text, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await? {
            found.push(line);
        }
        Ok(found)
    }

    #[tokio::test]
    async fn a_line_cut_short_by_its_writers_death_is_not_delivered() {
        let lines = all(b"one\n\ntwo\nthr", 10).await.unwrap();
        assert_eq!(lines, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_longer_than_the_limit_is_an_error_with_or_without_its_end() {
        assert_eq!(all(b"12345\n", 5).await.unwrap().len(), 1);
        assert!(matches!(all(b"123456\n", 5).await, Err(LineError::TooLong { limit: 5 })));
        assert!(matches!(all(b"123456", 5).await, Err(LineError::TooLong { limit: 5 })));
    }

    #[tokio::test]
    async fn a_line_of_many_chunks_arrives_whole() {
        let mut text = vec![b'x'; 5 * CHUNK];
        text.push(b'\n');
        text.extend_from_slice(b"y\n");
        let lines = all(&text, 6 * CHUNK).await.unwrap();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [5 * CHUNK, 1]);
    }
}
