//! The log's files: `log-v1.N` in the ring directory, each a segment.
//!
//! A member appends with one `write()` to a file opened for appending: the kernel puts concurrent writes one behind the
//! other, and that is the order of the ring. A member holds a shared lock on the segment it reads, so a segment is
//! deleted only when nobody is in it or before it.

use super::book::MAX_NUMBER;
use super::record::Record;
use super::scanner::Scanner;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::uio::pread;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the format is part of the name: a member of another version must not read what it does not know.
const PREFIX: &str = "log-v1.";

/// A frozen member keeps its segment locked for as long as it is frozen. It is no member any more by then, so this many
/// segments behind the present one the lock is not respected: disk space stays bounded.
const KEPT_FOR_THE_FROZEN: u64 = 16;

const READ_AT_ONCE: usize = 256 * 1024;

/// A segment, open for reading and appending.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    file: Flock<File>,
    offset: u64,
    scanner: Scanner,
    buffer: Vec<u8>,
}

impl Segment {
    /// Opens a segment, and creates it when asked to.
    pub(super) fn open(dir: &Path, number: u64, create: bool) -> io::Result<Self> {
        let path = path(dir, number);
        let file = OpenOptions::new().read(true).append(true).create(create).mode(0o600).open(path)?;
        // Only who is about to delete a segment locks it against readers, for an instant, and then it is an old one.
        let file = Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Self { number, file, offset: 0, scanner: Scanner::default(), buffer: vec![0; READ_AT_ONCE] })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How much of it has been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends records' bytes in one `write()`.
    ///
    /// # Errors
    /// When not everything was written: how much of it counts shows in the log.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match (&*self.file).write(bytes) {
                Ok(written) if written == bytes.len() => return Ok(()),
                // The remainder must not be written behind it: another member's record may be there already.
                Ok(_) => return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part of a record was written")),
                // Nothing was written then.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next record, `None` at the present end.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if let Some(record) = self.scanner.next() {
                return Ok(Some(record));
            }
            let position = i64::try_from(self.offset).map_err(io::Error::other)?;
            match pread(&*self.file, &mut self.buffer, position) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.offset += count as u64;
                    self.scanner.feed(&self.buffer[..count]);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether somebody deleted the file under its readers.
    pub(super) fn deleted(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// How many lines were torn or foreign.
    pub(super) fn skipped(&self) -> u64 {
        self.scanner.skipped()
    }
}

/// The segments there are, ascending.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
        numbers.extend(number.filter(|number| *number <= MAX_NUMBER));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes a segment.
pub(super) fn delete(dir: &Path, number: u64) -> io::Result<()> {
    fs::remove_file(path(dir, number))
}

/// Deletes the segments before `present` that nobody reads, oldest first. Stops at the first that is being read: its
/// reader needs all that follow.
pub(super) fn delete_old(dir: &Path, present: u64) -> io::Result<()> {
    for number in numbers(dir)?.into_iter().filter(|number| *number < present) {
        let file = match File::open(path(dir, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let unread = Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok();
        if !unread && number + KEPT_FOR_THE_FROZEN > present {
            break;
        }
        match delete(dir, number) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::{Incarnation, NodeId};

    fn join(node: u32) -> Record {
        Record::Join { node: NodeId(node), incarnation: Incarnation(1) }
    }

    #[test]
    fn two_readers_read_the_same_and_a_torn_record_is_skipped_by_both() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Segment::open(dir.path(), 1, true).unwrap();
        let mut two = Segment::open(dir.path(), 1, false).unwrap();
        one.append(&join(1).encode()).unwrap();
        assert_eq!(one.next().unwrap(), Some(join(1)));
        one.append(&join(2).encode()[..8]).unwrap();
        assert_eq!(one.next().unwrap(), None);
        two.append(&join(3).encode()).unwrap();
        assert_eq!(one.next().unwrap(), Some(join(3)));
        assert_eq!(two.next().unwrap(), Some(join(1)));
        assert_eq!(two.next().unwrap(), Some(join(3)));
        assert_eq!((one.skipped(), two.skipped()), (1, 1));
    }

    #[test]
    fn a_segment_is_deleted_only_when_nobody_is_in_it_or_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, _three] = [1, 2, 3].map(|number| Segment::open(dir.path(), number, true).unwrap());
        drop(two);
        delete_old(dir.path(), 3).unwrap();
        assert_eq!(numbers(dir.path()).unwrap(), [1, 2, 3]);
        drop(one);
        delete_old(dir.path(), 3).unwrap();
        assert_eq!(numbers(dir.path()).unwrap(), [3]);
    }

    #[test]
    fn a_file_whose_number_nothing_can_follow_is_no_segment() {
        let dir = tempfile::tempdir().unwrap();
        Segment::open(dir.path(), u64::MAX, true).unwrap();
        Segment::open(dir.path(), 3, true).unwrap();
        assert_eq!(numbers(dir.path()).unwrap(), [3]);
        delete_old(dir.path(), 4).unwrap();
        assert_eq!(numbers(dir.path()).unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn a_frozen_reader_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let frozen = Segment::open(dir.path(), 1, true).unwrap();
        let far = 1 + KEPT_FOR_THE_FROZEN;
        Segment::open(dir.path(), far, true).unwrap();
        delete_old(dir.path(), far).unwrap();
        assert_eq!(numbers(dir.path()).unwrap(), [far]);
        assert!(frozen.deleted().unwrap());
    }
}
