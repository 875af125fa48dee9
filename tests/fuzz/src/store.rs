//! The store: a file that is not what was written is refused, with a clear message, and left as it is; what is read from
//! one that is accepted was written.
//!
//! An input is a list of what happens to a good store, one thing a line: `log` (its last transactions are still in the
//! log; first line only), `flip PLACE BITS`, `cut LENGTH`, `add TEXT`, `set TABLE COLUMN ROW VALUE`. Places beyond the
//! file's end are in its log.

use belay_proto::entry::{ENTRY_VERSION, Entry, What};
use belay_proto::history::{EventFilter, EventId, EventKind, HistoryEvent, Severity};
use belay_proto::{Index, NodeId, Term, Timestamp};
use belayd::store::{FILE_NAME, HistoryFilter, Identity, Loaded, Record, SnapshotSource, Store, StoreError};
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// What `set` may change.
const COLUMNS: [(&str, &str); 20] = [
    ("meta", "key"),
    ("meta", "value"),
    ("snapshot", "idx"),
    ("snapshot", "term"),
    ("snapshot", "state"),
    ("snapshot", "sum"),
    ("entries", "idx"),
    ("entries", "term"),
    ("entries", "hash"),
    ("entries", "kind"),
    ("entries", "entry"),
    ("entries", "sum"),
    ("events", "idx"),
    ("events", "part"),
    ("events", "time_ms"),
    ("events", "kind"),
    ("events", "severity"),
    ("events", "node"),
    ("events", "service"),
    ("events", "cause_part"),
];

const MOST_CHANGES: usize = 20;

/// The files of a good store, and what it holds.
struct Template {
    /// Closed: all in one file.
    closed: Vec<u8>,
    /// While it was open: the file and its log.
    open: (Vec<u8>, Vec<u8>),
    loaded: Loaded,
}

/// Any damage.
pub(crate) fn open(bytes: &[u8]) {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    let template = TEMPLATE.get_or_init(Template::new);
    let dir = folder();
    let (db, wal) = (dir.path().join(FILE_NAME), dir.path().join(format!("{FILE_NAME}-wal")));
    let changes = bytes.strip_prefix(b"log\n");
    let mut files = if changes.is_some() { template.open.clone() } else { (template.closed.clone(), Vec::new()) };
    for change in changes.unwrap_or(bytes).split(|byte| *byte == b'\n').take(MOST_CHANGES) {
        let text = String::from_utf8_lossy(change);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let mut numbers = rest.split(' ').map(|number| number.parse::<usize>().unwrap_or(0));
        match word {
            "flip" => flip(&mut files, numbers.next().unwrap_or(0), numbers.next().unwrap_or(1)),
            "cut" => files.0.truncate(numbers.next().unwrap_or(0)),
            "add" => files.0.extend(rest.bytes()),
            "set" => {
                fs::write(&db, &files.0).unwrap();
                set(&db, rest);
                files.0 = fs::read(&db).unwrap();
            }
            _ => {}
        }
    }
    fs::write(&db, &files.0).unwrap();
    if !files.1.is_empty() {
        fs::write(&wal, &files.1).unwrap();
    }
    match Store::open(dir.path()) {
        Ok((store, loaded)) => {
            is_what_was_written(&loaded, &template.loaded);
            let _ = store.history(&HistoryFilter { events: EventFilter::default(), last: 100 });
            drop(store);
            assert!(Store::open(dir.path()).is_ok(), "what was accepted once is accepted again");
        }
        Err(error) => {
            assert!(!matches!(error, StoreError::InUse { .. } | StoreError::Order { .. }), "{error}");
            assert!(error.to_string().contains(FILE_NAME), "{error} names the file");
            assert!(fs::read(&db).unwrap() == files.0, "{error}, and the file was changed");
            assert!(fs::read(&wal).unwrap_or_default() == files.1, "{error}, and the log was changed");
        }
    }
}

fn flip(files: &mut (Vec<u8>, Vec<u8>), place: usize, bits: usize) {
    let length = files.0.len();
    let byte = if place < length { files.0.get_mut(place) } else { files.1.get_mut(place - length) };
    if let Some(byte) = byte {
        *byte ^= u8::try_from(bits % 256).unwrap();
    }
}

/// `TABLE COLUMN ROW VALUE`, as far as SQLite lets it happen.
fn set(db: &Path, how: &str) {
    let mut words = how.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (table, column, row, value) = (word(), word(), word().parse::<u32>().unwrap_or(0), word());
    let Some((table, column)) = COLUMNS.iter().find(|known| **known == (table, column)) else { return };
    let Ok(connection) = Connection::open(db) else { return };
    let _ = match *table {
        "meta" => connection.execute(
            &format!("UPDATE meta SET {column} = ? WHERE key = (SELECT key FROM meta LIMIT 1 OFFSET {row})"),
            [value],
        ),
        _ => connection.execute(
            &format!("UPDATE {table} SET {column} = ? WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {row})"),
            [value],
        ),
    };
}

/// Nothing that was read is anything else than what was written, in its place. (That the last entries are lost with the
/// page they stood on cannot be told from a store that never had them.)
fn is_what_was_written(loaded: &Loaded, good: &Loaded) {
    if let Some(snapshot) = &loaded.snapshot {
        assert_eq!(Some(snapshot), good.snapshot.as_ref(), "the snapshot is what was written");
    }
    for entry in &loaded.entries {
        assert!(good.entries.contains(entry), "{entry:?} was never written");
    }
}

/// In memory, where there is a file system for that: a disk would be waited for with each transaction.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(if memory.is_dir() { memory } else { Path::new("/tmp") }).unwrap()
}

impl Template {
    fn new() -> Self {
        let dir = folder();
        let db = dir.path().join(FILE_NAME);
        let (mut store, _) = Store::open(dir.path()).unwrap();
        store.claim(&Identity { cluster: "c".into(), node: NodeId(1) }).unwrap();
        store.append(&(1..=4).map(record).collect::<Vec<_>>()).unwrap();
        store.put_snapshot(Index(3), Term(1), "{\"version\":1,\"state\":{}}", SnapshotSource::Own).unwrap();
        store.promise(Term(2)).unwrap();
        store.append(&(5..=8).map(record).collect::<Vec<_>>()).unwrap();
        let open = (fs::read(&db).unwrap(), fs::read(dir.path().join(format!("{FILE_NAME}-wal"))).unwrap());
        drop(store);
        let closed = fs::read(&db).unwrap();
        let (_, loaded) = Store::open(dir.path()).unwrap();
        Self { closed, open, loaded }
    }
}

fn record(index: u64) -> Record {
    let entry = Entry { version: ENTRY_VERSION, from: NodeId(1), time: Timestamp(1000 * index), what: What::Tick };
    let event = HistoryEvent {
        id: EventId { index: Index(index), part: 0 },
        time: Timestamp(1000 * index),
        kind: EventKind::Service,
        severity: Severity::Notice,
        node: Some(NodeId(1)),
        service: "vm:a".parse().ok(),
        text: format!("something happened at {index}"),
        cause: index.checked_sub(1).map(|before| EventId { index: Index(before), part: 0 }),
    };
    Record { index: Index(index), term: Term(1), hash: u64::MAX - index, entry, events: vec![event] }
}
