//! The store: one SQLite file in which this host keeps what it has promised to remember.
//!
//! An acknowledgement to an admin, and a vote that an entry is on this host's disk, both stand on [`Store::append`]
//! having returned: entries and what they brought about are written in one transaction, and a commit is on the disk
//! before it returns. So a `kill -9`, or a power cut, at any moment loses nothing that was acknowledged, and never
//! leaves half a batch. A restarted daemon continues from the last snapshot and the entries after it ([`Loaded`]).
//!
//! A file that is damaged, foreign or of a newer layout is refused and left as it is. A full disk makes `append` fail
//! with an error that [passes](StoreError::passes); nothing of the batch is kept then, and the same call works once
//! there is room. [`StoreHandle`] does that waiting on a thread of its own, and joins what has queued up into one commit.

mod error;
mod handle;
mod history;
mod load;
mod open;
mod row;
mod schema;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use handle::{Health, Pending, StoreHandle};
pub use history::HistoryFilter;
pub use load::{Identity, Loaded};
pub use open::FILE_NAME;
pub use row::{Record, SnapshotRow, StoredEntry};

use belay_proto::history::HistoryEvent;
use belay_proto::{Index, Term};
use nix::fcntl::Flock;
use row::{checksum, column, kind, service};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How many events the history keeps: with 1,000 services about a hundred for each, and some 30 MB.
pub const HISTORY_LIMIT: u64 = 100_000;

/// Where a snapshot comes from, which decides what becomes of the entries already stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// This host's own state: entries up to it are no longer needed, later ones stay.
    Own,
    /// Another member's state: whatever was stored belongs to a history that is given up.
    Peer,
}

/// The store, opened for writing. Calls block; [`StoreHandle`] is for callers that must not.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    file: PathBuf,
    /// The last entry on disk, or the snapshot's.
    last: Index,
    history_limit: u64,
    /// Given up last, after the connection is closed.
    _lock: Flock<File>,
}

impl Store {
    /// Opens the store in this directory, creating both if they are not there, and reads what it holds.
    ///
    /// # Errors
    /// When another daemon uses the directory, or the file is not whole, not ours or not of a layout this build knows.
    pub fn open(dir: &Path) -> Result<(Self, Loaded), StoreError> {
        let lock = open::lock(dir)?;
        let (conn, file) = open::open(dir)?;
        let mut loaded = load::load(&conn, &file)?;
        // Only now that everything was read and found whole may anything be written.
        open::accept(&conn, &file)?;
        let mut store = Self { conn, file, last: loaded.last(), history_limit: HISTORY_LIMIT, _lock: lock };
        loaded.incarnation = store.next_incarnation()?;
        Ok((store, loaded))
    }

    /// The last entry on disk.
    #[must_use]
    pub fn last(&self) -> Index {
        self.last
    }

    /// The database's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes entries and their events, all or none. When this returns they are on the disk.
    ///
    /// # Errors
    /// When the disk is full, fails or is locked ([`StoreError::passes`]), or the entries do not follow the last one.
    pub fn append(&mut self, records: &[Record]) -> Result<Index, StoreError> {
        self.append_all(records.iter())
    }

    fn append_all<'a>(&mut self, records: impl Iterator<Item = &'a Record> + Clone) -> Result<Index, StoreError> {
        let mut last = self.last;
        for record in records.clone() {
            if record.index != last.next() {
                return Err(StoreError::Order { expected: last.next(), found: record.index });
            }
            last = record.index;
        }
        if last == self.last {
            return Ok(last);
        }
        let limit = self.history_limit;
        self.commit(|tx| {
            for record in records {
                insert_entry(tx, record)?;
                for event in &record.events {
                    history::insert(tx, event)?;
                }
            }
            history::prune(tx, limit)
        })?;
        self.last = last;
        Ok(last)
    }

    /// Replaces the snapshot and drops the entries it makes superfluous, in one transaction. The history stays.
    ///
    /// # Errors
    /// As for [`Store::append`]; an own snapshot beyond the last entry is out of order.
    pub fn put_snapshot(
        &mut self,
        index: Index,
        term: Term,
        json: &str,
        source: SnapshotSource,
    ) -> Result<(), StoreError> {
        if source == SnapshotSource::Own && index > self.last {
            return Err(StoreError::Order { expected: self.last, found: index });
        }
        self.commit(|tx| {
            let (idx, term) = (column(index.0)?, column(term.0)?);
            let sum = checksum(&[&idx.to_string(), &term.to_string(), json]);
            tx.execute("DELETE FROM snapshot", [])?;
            tx.execute(
                "INSERT INTO snapshot (only, idx, term, state, sum) VALUES (1, ?, ?, ?, ?)",
                params![idx, term, json, sum],
            )?;
            match source {
                SnapshotSource::Own => tx.execute("DELETE FROM entries WHERE idx <= ?", [idx])?,
                SnapshotSource::Peer => tx.execute("DELETE FROM entries", [])?,
            };
            Ok(())
        })?;
        if source == SnapshotSource::Peer {
            self.last = index;
        }
        Ok(())
    }

    /// Adds to the history what happened while this host was away. What it has under the same numbers is replaced: it
    /// belongs to a history that was given up.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn learn(&mut self, events: &[HistoryEvent]) -> Result<(), StoreError> {
        let limit = self.history_limit;
        self.commit(|tx| {
            for event in events {
                history::insert(tx, event)?;
            }
            history::prune(tx, limit)
        })
    }

    /// The newest events that pass the filter, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryEvent>, StoreError> {
        history::read(&self.conn, &self.file, filter)
    }

    /// Keeps another number of events than [`HISTORY_LIMIT`], from the next `append` on.
    pub fn keep_events(&mut self, limit: u64) {
        self.history_limit = limit;
    }

    /// Runs `write` in a transaction. If any of it fails, nothing of it is kept.
    fn commit(&mut self, write: impl FnOnce(&Transaction<'_>) -> Result<(), WriteError>) -> Result<(), StoreError> {
        let file = &self.file;
        let failed = |error: WriteError| match error {
            WriteError::Sqlite(error) => StoreError::from_sqlite(file, &error),
            WriteError::Unfit(detail) => StoreError::Refused { file: file.clone(), detail },
        };
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failed(e.into()))?;
        write(&tx).map_err(failed)?;
        tx.commit().map_err(|e| failed(e.into()))
    }
}

/// Why a row was not written.
enum WriteError {
    Sqlite(rusqlite::Error),
    Unfit(String),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<String> for WriteError {
    fn from(detail: String) -> Self {
        Self::Unfit(detail)
    }
}

fn insert_entry(tx: &Transaction<'_>, record: &Record) -> Result<(), WriteError> {
    let Record { index, term, hash, entry, .. } = record;
    let (idx, term) = (column(index.0)?, column(term.0)?);
    let hash = format!("{hash:016x}");
    let text = serde_json::to_string(entry).map_err(|e| e.to_string())?;
    let sum = checksum(&[&idx.to_string(), &term.to_string(), &hash, &text]);
    tx.prepare_cached(
        "INSERT INTO entries (idx, term, hash, time_ms, kind, node, service, entry, sum) VALUES (?,?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        idx,
        term,
        hash,
        column(entry.time.0)?,
        kind(&entry.what),
        entry.from.0,
        service(&entry.what),
        text,
        sum
    ])?;
    Ok(())
}
