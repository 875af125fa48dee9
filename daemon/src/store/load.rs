//! What a daemon finds when it starts: its last snapshot, the entries after it, whose store it is, and which life of the
//! daemon begins.

use super::error::StoreError;
use super::row::{ENTRY_COLUMNS, RawEntry, SnapshotRow, StoredEntry, checksum, number};
use super::{Store, WriteError};
use belay_proto::{Incarnation, Index, NodeId, Term};
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything the store holds that a daemon continues from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Whose store it is, once [`Store::claim`] has said so.
    pub identity: Option<Identity>,
    /// The last snapshot.
    pub snapshot: Option<SnapshotRow>,
    /// The entries after it, without a gap.
    pub entries: Vec<StoredEntry>,
    /// The highest term that it promised to help to open.
    pub promised: Term,
    /// This life of the daemon; already on disk, and higher than any before, whatever the clock did.
    pub incarnation: Incarnation,
}

impl Loaded {
    /// The last entry that is on disk, in the snapshot or after it.
    #[must_use]
    pub fn last(&self) -> Index {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.index);
        self.entries.last().map(|entry| entry.index).or(snapshot).unwrap_or_default()
    }
}

/// Whose store it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The member.
    pub node: NodeId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} of cluster '{}'", self.node, self.cluster)
    }
}

impl Store {
    /// Writes down whose store this is. A directory copied from another host, or left over from another cluster, would
    /// make this host vouch for entries that are none of its own.
    ///
    /// # Errors
    /// When it is somebody else's already, or it cannot be written.
    pub fn claim(&mut self, identity: &Identity) -> Result<(), StoreError> {
        match read_identity(&self.conn, &self.file)? {
            Some(found) if found == *identity => Ok(()),
            Some(found) => Err(StoreError::Another {
                file: self.file.clone(),
                found: found.to_string(),
                wanted: identity.to_string(),
            }),
            None => self.commit(|tx| {
                put_meta(tx, "cluster", &identity.cluster)?;
                put_meta(tx, "node", &identity.node.to_string())
            }),
        }
    }

    /// Writes down that no term up to this one is opened by this host again. It outlasts every snapshot.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn promise(&mut self, term: Term) -> Result<(), StoreError> {
        self.commit(|tx| put_meta(tx, "promised", &term.to_string()))
    }

    /// A new incarnation: the time in microseconds, or one more than the last if the clock has gone back.
    pub(super) fn next_incarnation(&mut self) -> Result<Incarnation, StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        let before = meta_number(&self.conn, &self.file, "incarnation")?.unwrap_or(0);
        let next = u64::try_from(now).unwrap_or(u64::MAX).max(before.saturating_add(1));
        self.commit(|tx| put_meta(tx, "incarnation", &next.to_string()))?;
        Ok(Incarnation(next))
    }
}

/// Reads everything, and refuses what has a hole or a row that is not what was written.
pub(super) fn load(conn: &Connection, file: &Path) -> Result<Loaded, StoreError> {
    let snapshot = read_snapshot(conn, file)?;
    let entries = read_entries(conn, file)?;
    let mut last = snapshot.as_ref().map(|s| s.index).unwrap_or_default();
    for entry in &entries {
        if entry.index != last.next() {
            return Err(damaged(file, format!("entry {} is missing, the next one is {}", last.next(), entry.index)));
        }
        last = entry.index;
    }
    let identity = read_identity(conn, file)?;
    let promised = Term(meta_number(conn, file, "promised")?.unwrap_or(0));
    Ok(Loaded { identity, snapshot, entries, promised, incarnation: Incarnation::default() })
}

fn read_snapshot(conn: &Connection, file: &Path) -> Result<Option<SnapshotRow>, StoreError> {
    let row: Option<(i64, i64, String, String)> = conn
        .query_row("SELECT idx, term, state, sum FROM snapshot", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()
        .map_err(|e| unreadable(file, &e))?;
    let Some((index, term, json, sum)) = row else { return Ok(None) };
    if checksum(&[&index.to_string(), &term.to_string(), &json]) != sum {
        return Err(damaged(file, format!("the snapshot at entry {index} is not what was written")));
    }
    let positive = |column| number(column).map_err(|e| damaged(file, format!("the snapshot: {e}")));
    Ok(Some(SnapshotRow { index: Index(positive(index)?), term: Term(positive(term)?), json }))
}

fn read_entries(conn: &Connection, file: &Path) -> Result<Vec<StoredEntry>, StoreError> {
    let mut statement =
        conn.prepare(&format!("SELECT {ENTRY_COLUMNS} FROM entries ORDER BY idx")).map_err(|e| unreadable(file, &e))?;
    let rows = statement.query_map([], RawEntry::read).map_err(|e| unreadable(file, &e))?;
    rows.map(|row| {
        let raw = row.map_err(|e| unreadable(file, &e))?;
        let index = raw.index;
        raw.check().map_err(|e| damaged(file, format!("entry {index}: {e}")))
    })
    .collect()
}

fn read_identity(conn: &Connection, file: &Path) -> Result<Option<Identity>, StoreError> {
    let Some(cluster) = meta(conn, file, "cluster")? else { return Ok(None) };
    let node = meta_number(conn, file, "node")?.and_then(|n| u32::try_from(n).ok());
    let node = node.ok_or_else(|| damaged(file, "it names a cluster but no member".to_owned()))?;
    Ok(Some(Identity { cluster, node: NodeId(node) }))
}

fn meta(conn: &Connection, file: &Path, key: &str) -> Result<Option<String>, StoreError> {
    conn.query_row("SELECT value FROM meta WHERE key = ?", [key], |row| row.get(0))
        .optional()
        .map_err(|e| unreadable(file, &e))
}

fn meta_number(conn: &Connection, file: &Path, key: &str) -> Result<Option<u64>, StoreError> {
    let Some(text) = meta(conn, file, key)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| damaged(file, format!("{key} is '{text}', which is no number")))
}

fn put_meta(tx: &Transaction<'_>, key: &str, value: &str) -> Result<(), WriteError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", [key, value])?;
    Ok(())
}

fn damaged(file: &Path, detail: String) -> StoreError {
    StoreError::Damaged { file: file.to_owned(), detail }
}

/// While loading, a table that is missing or a column of another type is damage as well.
fn unreadable(file: &Path, error: &rusqlite::Error) -> StoreError {
    match StoreError::from_sqlite(file, error) {
        StoreError::Refused { file, detail } => StoreError::Damaged { file, detail },
        other => other,
    }
}
