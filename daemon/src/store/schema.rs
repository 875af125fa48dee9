//! The layout of the store: few tables, and views for the person who looks into it with `sqlite3`.
//!
//! `entries` and `snapshot` are what a restarted daemon continues from; `events` is what people read. An admin asks
//! `SELECT * FROM history` or `SELECT * FROM stream` and gets times as text.

/// Marks the file as ours (`Blay` in SQLite's application id).
pub(super) const APPLICATION_ID: u32 = 0x426c_6179;

/// The layout this build writes, in `PRAGMA user_version`.
pub(super) const LAYOUT: u32 = 1;

/// Creates the layout in an empty database. Run in one transaction.
///
/// Hashes are hexadecimal text because SQLite's integers are signed. `sum` guards against a disk that returns other
/// text than was written: SQLite has no checksums of its own for what has left its log.
pub(super) const CREATE: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshot (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    idx   INTEGER NOT NULL,
    term  INTEGER NOT NULL,
    state TEXT NOT NULL,
    sum   TEXT NOT NULL
) STRICT;

CREATE TABLE entries (
    idx     INTEGER PRIMARY KEY,
    term    INTEGER NOT NULL,
    hash    TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    node    INTEGER NOT NULL,
    service TEXT,
    entry   TEXT NOT NULL,
    sum     TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    idx        INTEGER NOT NULL,
    part       INTEGER NOT NULL,
    time_ms    INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    severity   TEXT NOT NULL,
    node       INTEGER,
    service    TEXT,
    text       TEXT NOT NULL,
    cause_idx  INTEGER,
    cause_part INTEGER,
    UNIQUE (idx, part)
) STRICT;

CREATE INDEX events_of_service ON events (service, seq);

CREATE VIEW history AS
    SELECT idx || '.' || part AS id,
           strftime('%Y-%m-%d %H:%M:%f', time_ms / 1000.0, 'unixepoch') AS time_utc,
           kind, severity, node, service, text,
           cause_idx || '.' || cause_part AS cause
    FROM events ORDER BY seq;

CREATE VIEW stream AS
    SELECT idx, term, strftime('%Y-%m-%d %H:%M:%f', time_ms / 1000.0, 'unixepoch') AS time_utc,
           kind, node, service, entry
    FROM entries ORDER BY idx;
";
