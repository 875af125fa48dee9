//! Rows: how entries, snapshots and events are written into columns and read back, and how a row that is not what was
//! written is recognised.

use belay_proto::entry::{Entry, What};
use belay_proto::history::{EventId, HistoryEvent};
use belay_proto::{Index, NodeId, Term, Timestamp};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An entry with what it did, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the stream.
    pub index: Index,
    /// The term of the state after it.
    pub term: Term,
    /// The hash of the state after it.
    pub hash: u64,
    /// The entry.
    pub entry: Entry,
    /// What it brought about, for the history.
    pub events: Vec<HistoryEvent>,
}

/// An entry as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its position in the stream.
    pub index: Index,
    /// The term of the state after it.
    pub term: Term,
    /// The hash of the state after it.
    pub hash: u64,
    /// The entry.
    pub entry: Entry,
}

/// A whole state at one position of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The last entry it contains.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// The state, as whoever wrote it chose to write it.
    pub json: String,
}

/// The checksum of a row: FNV-1a over its parts. It finds accidents of a disk, not malice.
pub(super) fn checksum(parts: &[&str]) -> String {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{sum:016x}")
}

/// A number for a column. SQLite's integers are signed, so what does not fit is refused rather than wrapped.
pub(super) fn column(number: u64) -> Result<i64, String> {
    i64::try_from(number).map_err(|_| format!("{number} does not fit a column"))
}

/// A number from a column.
pub(super) fn number(column: i64) -> Result<u64, String> {
    u64::try_from(column).map_err(|_| format!("negative number {column}"))
}

/// A hash from its column.
pub(super) fn hash(text: &str) -> Result<u64, String> {
    if text.len() != 16 {
        return Err(format!("'{text}' is no hash"));
    }
    u64::from_str_radix(text, 16).map_err(|_| format!("'{text}' is no hash"))
}

/// The word an admin sees for an entry.
pub(super) fn kind(what: &What) -> &'static str {
    match what {
        What::View(_) => "view",
        What::Config { .. } => "config",
        What::Request { .. } => "request",
        What::Outcome { .. } => "outcome",
        What::Observation { .. } => "observation",
        What::Inventory { .. } => "inventory",
        What::FenceOutcome { .. } => "fence_outcome",
        What::Facts { .. } => "facts",
        What::Leave { .. } => "leave",
        What::Silent { .. } => "silent",
        What::Tick => "tick",
    }
}

/// The service an entry is about, for the admin's column.
pub(super) fn service(what: &What) -> Option<&str> {
    match what {
        What::Request { request, .. } => request.service().map(|name| name.as_str()),
        What::Outcome { service, .. } | What::Observation { service, .. } => Some(service.as_str()),
        _ => None,
    }
}

/// The stable word of a plain enum, as its serialisation spells it.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(format!("{other} is not a word")),
        Err(error) => Err(error.to_string()),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| error.to_string())
}

/// The columns of an entry, in the order [`ENTRY_COLUMNS`] selects them.
pub(super) struct RawEntry {
    pub(super) index: i64,
    term: i64,
    hash: String,
    text: String,
    sum: String,
}

pub(super) const ENTRY_COLUMNS: &str = "idx, term, hash, entry, sum";

impl RawEntry {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { index: row.get(0)?, term: row.get(1)?, hash: row.get(2)?, text: row.get(3)?, sum: row.get(4)? })
    }

    pub(super) fn check(self) -> Result<StoredEntry, String> {
        let sum = checksum(&[&self.index.to_string(), &self.term.to_string(), &self.hash, &self.text]);
        if sum != self.sum {
            return Err("its text is not what was written".to_owned());
        }
        Ok(StoredEntry {
            index: Index(number(self.index)?),
            term: Term(number(self.term)?),
            hash: hash(&self.hash)?,
            entry: serde_json::from_str(&self.text).map_err(|error| error.to_string())?,
        })
    }
}

/// The columns of an event, in the order [`EVENT_COLUMNS`] selects them.
pub(super) struct RawEvent {
    id: (i64, i64),
    time: i64,
    kind: String,
    severity: String,
    node: Option<i64>,
    service: Option<String>,
    text: String,
    cause: (Option<i64>, Option<i64>),
}

pub(super) const EVENT_COLUMNS: &str = "idx, part, time_ms, kind, severity, node, service, text, cause_idx, cause_part";

impl RawEvent {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: (row.get(0)?, row.get(1)?),
            time: row.get(2)?,
            kind: row.get(3)?,
            severity: row.get(4)?,
            node: row.get(5)?,
            service: row.get(6)?,
            text: row.get(7)?,
            cause: (row.get(8)?, row.get(9)?),
        })
    }

    pub(super) fn check(self) -> Result<HistoryEvent, String> {
        let cause = match self.cause {
            (Some(index), Some(part)) => Some(event_id(index, part)?),
            _ => None,
        };
        Ok(HistoryEvent {
            id: event_id(self.id.0, self.id.1)?,
            time: Timestamp(number(self.time)?),
            kind: from_word(self.kind)?,
            severity: from_word(self.severity)?,
            node: self.node.map(small).transpose()?.map(NodeId),
            service: self.service.map(|name| name.parse()).transpose().map_err(|error| format!("{error}"))?,
            text: self.text,
            cause,
        })
    }
}

fn event_id(index: i64, part: i64) -> Result<EventId, String> {
    Ok(EventId { index: Index(number(index)?), part: small(part)? })
}

fn small(column: i64) -> Result<u32, String> {
    u32::try_from(column).map_err(|_| format!("{column} does not fit"))
}
