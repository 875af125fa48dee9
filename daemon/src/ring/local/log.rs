//! The log as one stream over its segments: what counts of it, in order.
//!
//! A segment ends with a record that says so; whoever reads that goes on in the next file, and begins it with a header
//! if nobody has. All write the same header, because all have read the same.

use super::book::{Book, Effect};
use super::record::Record;
use super::segment::{self, Segment};
use std::io;
use std::path::{Path, PathBuf};

/// How often a header is written before the disk is blamed.
const HEADER_ATTEMPTS: u32 = 5;

/// The log, read up to some record.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    book: Book,
    segment: Segment,
    headers_written: u32,
}

impl Log {
    /// Starts a new log in a directory that nobody uses, behind what an earlier one left: view numbers keep growing, so
    /// that no ring id is ever seen twice.
    pub(super) fn start_afresh(dir: &Path) -> io::Result<()> {
        let old = segment::numbers(dir)?;
        let (mut number, mut view) = (0, 0);
        if let Some(newest) = old.last() {
            number = *newest;
        }
        if let Ok(mut last) = Self::open(dir) {
            while let Some(effect) = last.read()? {
                drop(effect);
            }
            view = last.book.view() + 1;
        }
        let first = Segment::open(dir, number + 1, true)?;
        if let Some(header) = Book::fresh(number + 1, view).header() {
            first.append(&header.encode())?;
        }
        old.into_iter().try_for_each(|number| segment::delete(dir, number))
    }

    /// Opens the newest segment that has a header. A newer one without it is about to be begun by a member, or was left
    /// so by one that died, and is reached through the end of this one.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        for number in segment::numbers(dir)?.into_iter().rev() {
            let segment = Segment::open(dir, number, false)?;
            let mut log = Self { dir: dir.to_owned(), book: Book::unread(number), segment, headers_written: 0 };
            if log.read()? == Some(Effect::Begun) {
                return Ok(log);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "there is no log that this version of belayd can read"))
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// How much of the present segment has been read.
    pub(super) fn offset(&self) -> u64 {
        self.segment.offset()
    }

    /// Appends records' bytes.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.segment.append(bytes)
    }

    /// The next thing that counts, `None` at the end of the log.
    ///
    /// # Errors
    /// When this reader cannot go on and must join anew: the disk fails, the log was deleted, or it fell behind so far
    /// that the segments it needs are gone.
    pub(super) fn next(&mut self) -> io::Result<Option<Effect>> {
        loop {
            match self.read()? {
                Some(Effect::Ended) => self.go_on()?,
                Some(Effect::Begun) => self.headers_written = 0,
                Some(Effect::Contradiction) => {
                    return Err(io::Error::other(
                        "the log's next segment begins with another state than this member's",
                    ));
                }
                Some(effect) => return Ok(Some(effect)),
                None if self.book.begun() => return self.at_end(),
                None => self.write_header()?,
            }
        }
    }

    /// Reads in the present segment.
    fn read(&mut self) -> io::Result<Option<Effect>> {
        while let Some(record) = self.segment.next()? {
            if let Some(effect) = self.book.apply(record) {
                return Ok(Some(effect));
            }
        }
        Ok(None)
    }

    fn at_end(&self) -> io::Result<Option<Effect>> {
        // A member whose log was deleted would go on alone, for ever at its end.
        if self.segment.deleted()? { Err(io::Error::other("the log was deleted")) } else { Ok(None) }
    }

    fn go_on(&mut self) -> io::Result<()> {
        if self.segment.skipped() > 0 {
            tracing::info!(segment = self.segment.number(), lines = self.segment.skipped(), "skipped torn records");
        }
        let number = self.book.segment();
        let next = Segment::open(&self.dir, number, true)?;
        self.segment = next;
        segment::delete_old(&self.dir, number)
    }

    fn write_header(&mut self) -> io::Result<()> {
        // Where a later segment exists this one was begun, ended and deleted while this reader was asleep, and what it
        // has just opened is a new and empty file: going on there would mean a ring of its own.
        if segment::numbers(&self.dir)?.last().is_some_and(|newest| *newest > self.segment.number()) {
            return Err(io::Error::other("fell behind: the log's next segment is gone"));
        }
        let header = self.book.header().filter(|_| self.headers_written < HEADER_ATTEMPTS);
        let header = header.ok_or_else(|| io::Error::other("the log's next segment cannot be begun"))?;
        self.headers_written += 1;
        self.append(&header.encode())
    }

    /// Ends the present segment.
    pub(super) fn rotate(&self) -> io::Result<()> {
        self.append(&Record::Rotate { segment: self.book.segment() }.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::{Incarnation, NodeId};

    fn joined() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        Log::start_afresh(dir.path()).unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.append(&Record::Join { node: NodeId(1), incarnation: Incarnation(1) }.encode()).unwrap();
        (dir, log)
    }

    fn effects(log: &mut Log) -> Vec<Effect> {
        std::iter::from_fn(|| log.next().unwrap()).collect()
    }

    #[test]
    fn view_numbers_grow_over_a_fresh_start() {
        let (dir, mut log) = joined();
        effects(&mut log);
        let before = log.book().view();
        drop(log);
        Log::start_afresh(dir.path()).unwrap();
        let log = Log::open(dir.path()).unwrap();
        assert!(log.book().members().is_empty());
        assert!(log.book().view() > before);
    }

    #[test]
    fn a_reader_goes_on_in_the_next_segment_whoever_begins_it() {
        let (dir, mut one) = joined();
        let mut two = Log::open(dir.path()).unwrap();
        effects(&mut one);
        one.rotate().unwrap();
        assert_eq!(effects(&mut one), []);
        assert_eq!(effects(&mut two).len(), 1);
        assert_eq!(one.book(), two.book());
        assert_eq!(segment::numbers(dir.path()).unwrap(), [2]);
    }

    #[test]
    fn a_newcomer_begins_a_segment_that_a_dead_member_left_without_a_header() {
        let (dir, mut log) = joined();
        effects(&mut log);
        log.rotate().unwrap();
        let torn = Segment::open(dir.path(), 2, true).unwrap();
        torn.append(&log.book().header().unwrap().encode()[..5]).unwrap();
        drop((log, torn));
        let mut newcomer = Log::open(dir.path()).unwrap();
        effects(&mut newcomer);
        assert_eq!((newcomer.segment.number(), newcomer.book().begun()), (2, true));
        assert_eq!(newcomer.book().members().len(), 1);
    }

    #[test]
    fn a_sleeper_whose_next_segment_is_gone_does_not_found_a_ring_of_its_own() {
        let (dir, mut log) = joined();
        effects(&mut log);
        log.rotate().unwrap();
        Segment::open(dir.path(), 3, true).unwrap();
        assert!(log.next().is_err());
    }

    #[test]
    fn a_deleted_log_is_noticed() {
        let (dir, mut log) = joined();
        effects(&mut log);
        segment::delete(dir.path(), 1).unwrap();
        assert!(log.next().is_err());
    }
}
