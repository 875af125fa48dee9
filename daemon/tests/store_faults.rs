//! The store under the two faults that matter most: its process killed at any moment, and its disk full.
//!
//! The killed process is this test binary started again (`the_writer_that_gets_killed`), the full disk is a real small
//! tmpfs. Both need no more than root.

// Outside of test functions clippy does not know that this is a test.
#![allow(clippy::unwrap_used)]

use belay_proto::entry::{ENTRY_VERSION, Entry, Request, What};
use belay_proto::history::{EventFilter, EventId, EventKind, HistoryEvent, Severity};
use belay_proto::{Index, NodeId, Term, Timestamp};
use belayd::store::{Health, HistoryFilter, Record, SnapshotSource, Store, StoreError, StoreHandle};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DIR: &str = "BELAY_TEST_STORE_DIR";

/// An entry whose text depends on its index, so that a mixed-up one is recognised, with one event.
fn record(index: u64) -> Record {
    let request = Request::Enable { service: format!("vm:v{index}").parse().unwrap(), target: None, by_domain: false };
    let what = What::Request { id: format!("r{index}").parse().unwrap(), by: "root".to_owned(), request };
    let entry = Entry { version: ENTRY_VERSION, from: NodeId(1), time: Timestamp(index), what };
    let event = HistoryEvent {
        id: EventId { index: Index(index), part: 0 },
        time: Timestamp(index),
        kind: EventKind::Request,
        severity: Severity::Info,
        node: None,
        service: None,
        text: format!("event of {index}"),
        cause: None,
    };
    Record {
        index: Index(index),
        term: Term(1),
        hash: index.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        entry,
        events: vec![event],
    }
}

/// Not a test by itself: appends for ever and prints what was acknowledged, until it is killed.
#[test]
#[ignore = "started by a_writer_killed_at_any_moment_loses_nothing_it_acknowledged"]
fn the_writer_that_gets_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (mut store, _) = Store::open(Path::new(&dir)).unwrap();
    // Each line in one write, so that a kill leaves no half of one.
    let say = |line: String| std::io::stderr().write_all(line.as_bytes()).unwrap();
    say("open\n".to_owned());
    loop {
        let next = store.last().0 + 1;
        let batch: Vec<_> = (next..next + 1 + next % 7).map(record).collect();
        let last = store.append(&batch).unwrap();
        say(format!("acknowledged {last}\n"));
        if last.0 % 5 == 0 {
            let at = Index(last.0 - 3);
            store.put_snapshot(at, Term(1), &format!("{{\"at\":{at}}}"), SnapshotSource::Own).unwrap();
            say(format!("snapshot {at}\n"));
        }
    }
}

/// Lets a writer run for a moment, kills it, and returns the last entry and snapshot it had acknowledged. The moment is
/// counted from the writer's start, or from its first acknowledgement, however busy the machine is.
fn run_and_kill(dir: &Path, after: Duration, acknowledged_first: bool) -> (u64, u64) {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_writer_that_gets_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stderr.take().unwrap()).lines();
    let (begun, begins) = channel();
    let reading = std::thread::spawn(move || {
        let (mut acknowledged, mut snapshot) = (0, 0);
        for line in lines.map_while(Result::ok) {
            match line.split_once(' ') {
                Some(("acknowledged", index)) => acknowledged = index.parse().unwrap(),
                Some(("snapshot", index)) => snapshot = index.parse().unwrap(),
                _ => assert_eq!(line, "open"),
            }
            if acknowledged > 0 {
                let _ = begun.send(());
            }
        }
        (acknowledged, snapshot)
    });
    if acknowledged_first {
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    std::thread::sleep(after);
    writer.kill().unwrap();
    writer.wait().unwrap();
    reading.join().unwrap()
}

#[test]
fn a_writer_killed_at_any_moment_loses_nothing_it_acknowledged() {
    let dir = TempDir::new().unwrap();
    let (mut acknowledged, mut snapshot) = (0, 0);
    for round in 0u64..40 {
        // From "still creating the file" to "in the middle of the log's clean-up", at uneven distances.
        let after = Duration::from_micros(1000 + (round * 7919) % 40_000);
        let (entries, snapshots) = run_and_kill(dir.path(), after, round % 2 == 1);
        (acknowledged, snapshot) = (acknowledged.max(entries), snapshot.max(snapshots));
        let (store, loaded) = Store::open(dir.path()).unwrap();
        assert!(loaded.last().0 >= acknowledged, "round {round}: {} < {acknowledged}", loaded.last());
        for entry in &loaded.entries {
            let expected = record(entry.index.0);
            assert_eq!((entry.hash, &entry.entry), (expected.hash, &expected.entry), "round {round}");
        }
        let found = loaded.snapshot.as_ref().map_or(0, |row| {
            assert_eq!(row.json, format!("{{\"at\":{}}}", row.index));
            row.index.0
        });
        assert!(found >= snapshot, "round {round}: snapshot {found} < {snapshot}");
        // The history goes with the entries: as far, and no gap.
        let events = store.history(&HistoryFilter { events: EventFilter::default(), last: 50 }).unwrap();
        let shown: Vec<_> = events.iter().map(|event| event.id.index.0).collect();
        assert_eq!(shown, (loaded.last().0.saturating_sub(50) + 1..=loaded.last().0).collect::<Vec<_>>());
    }
    // Every second round waits for an acknowledgement; how many more there are is the disk's affair.
    assert!(acknowledged >= 20, "the writer hardly ran: {acknowledged}");
}

/// A tmpfs of 1 MiB, unmounted at the end. A killed run leaves a mount below the temporary directory, in nobody's way.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        mount(Some("belay-test"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        while ballast.write_all(&[0]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
        // A process that a test beside this one is just starting may hold the file open for a moment longer.
        let begun = Instant::now();
        while statvfs(self.path()).unwrap().blocks_free() < 100 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the room does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Appends until the disk is full; returns the last entry that was acknowledged.
fn append_until_full(store: &mut Store) -> (u64, StoreError) {
    loop {
        let next = store.last().0 + 1;
        if let Err(error) = store.append(&[record(next), record(next + 1)]) {
            return (next - 1, error);
        }
        assert!(next < 100_000, "the disk never became full");
    }
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_once_there_is_room_the_same_store_goes_on() {
    let disk = SmallDisk::new();
    let (mut store, _) = Store::open(disk.path()).unwrap();
    store.append(&[record(1)]).unwrap();
    disk.fill();
    let (acknowledged, error) = append_until_full(&mut store);
    assert!(matches!(error, StoreError::Full { .. }) && error.passes(), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    // It stays full: trying again fails the same way, does no harm, and reading still works.
    assert!(store.append(&[record(acknowledged + 1)]).is_err());
    assert!(!store.history(&HistoryFilter { events: EventFilter::default(), last: 5 }).unwrap().is_empty());
    assert_eq!(store.last(), Index(acknowledged));
    disk.make_room();
    store.append(&[record(acknowledged + 1)]).unwrap();
    drop(store);
    let (_, loaded) = Store::open(disk.path()).unwrap();
    assert_eq!(loaded.last(), Index(acknowledged + 1));
}

#[test]
fn killed_while_its_disk_is_full_a_store_opens_again_with_all_it_acknowledged() {
    let disk = SmallDisk::new();
    let (mut store, _) = Store::open(disk.path()).unwrap();
    let (acknowledged, _) = append_until_full(&mut store);
    // Without closing: the log is left as a kill would leave it, and the lock goes with the process, here by hand.
    let left = TempDir::new().unwrap();
    for name in ["belay.db", "belay.db-wal"] {
        std::fs::copy(disk.path().join(name), left.path().join(name)).unwrap();
    }
    let (_, loaded) = Store::open(left.path()).unwrap();
    assert_eq!(loaded.last(), Index(acknowledged));
}

#[test]
fn a_store_that_cannot_even_begin_for_want_of_room_says_so_and_begins_later() {
    let disk = SmallDisk::new();
    disk.fill();
    let error = Store::open(disk.path()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    disk.make_room();
    Store::open(disk.path()).unwrap();
}

#[tokio::test]
async fn through_the_handle_a_full_disk_only_delays_the_answer_and_shows_in_its_health() {
    let disk = SmallDisk::new();
    let (mut store, _) = Store::open(disk.path()).unwrap();
    store.append(&[record(1)]).unwrap();
    disk.fill();
    let (acknowledged, _) = append_until_full(&mut store);
    let handle = StoreHandle::spawn(store).unwrap();
    let mut health = handle.health();
    let mut first = handle.append(vec![record(acknowledged + 1)]);
    let second = handle.append(vec![record(acknowledged + 2)]);
    health.wait_for(|health| matches!(health, Health::Waiting(StoreError::Full { .. }))).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(700), &mut first).await;
    assert!(early.is_err(), "acknowledged on a full disk: {early:?}");
    disk.make_room();
    assert!(first.await.unwrap() >= Index(acknowledged + 1));
    assert_eq!(second.await, Ok(Index(acknowledged + 2)));
    health.wait_for(|health| *health == Health::Writing).await.unwrap();
}
