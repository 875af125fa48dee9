use super::*;
use belay_proto::entry::{ENTRY_VERSION, Entry, What};
use belay_proto::history::{EventFilter, EventId, EventKind, Severity};
use belay_proto::{NodeId, ServiceName, Timestamp};
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

fn tick(index: u64) -> Record {
    let entry = Entry { version: ENTRY_VERSION, from: NodeId(1), time: Timestamp(1000 * index), what: What::Tick };
    Record { index: Index(index), term: Term(1), hash: u64::MAX - index, entry, events: Vec::new() }
}

fn ticks(range: impl Iterator<Item = u64>) -> Vec<Record> {
    range.map(tick).collect()
}

fn event(index: u64, part: u32, service: &str, cause: Option<(u64, u32)>) -> HistoryEvent {
    let id = |(index, part)| EventId { index: Index(index), part };
    HistoryEvent {
        id: id((index, part)),
        time: Timestamp(1000 * index),
        kind: EventKind::Service,
        severity: Severity::Notice,
        node: Some(NodeId(2)),
        service: Some(service.parse().unwrap()),
        text: format!("{service} did something at {index}"),
        cause: cause.map(id),
    }
}

fn with_events(index: u64, events: Vec<HistoryEvent>) -> Record {
    Record { events, ..tick(index) }
}

fn open(dir: &TempDir) -> (Store, Loaded) {
    Store::open(dir.path()).unwrap()
}

fn refusal(dir: &TempDir) -> StoreError {
    Store::open(dir.path()).unwrap_err()
}

fn all(last: u32) -> HistoryFilter {
    HistoryFilter { events: EventFilter::default(), last }
}

/// The database's bytes and its log's: what a refusal must leave alone. (An empty log may appear, it holds nothing.)
fn bytes(dir: &TempDir) -> Vec<Vec<u8>> {
    ["belay.db", "belay.db-wal"].map(|name| fs::read(dir.path().join(name)).unwrap_or_default()).into()
}

/// Changes a closed store behind its back.
fn tamper(dir: &TempDir, sql: &str) {
    Connection::open(dir.path().join(FILE_NAME)).unwrap().execute_batch(sql).unwrap();
}

fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    open(&dir).0.append(&ticks(1..=20)).unwrap();
    dir
}

#[test]
fn a_promise_outlasts_a_peers_snapshot_and_a_restart() {
    let dir = TempDir::new().unwrap();
    {
        let (mut store, loaded) = Store::open(dir.path()).unwrap();
        assert_eq!(loaded.promised, Term(0));
        store.promise(Term(7)).unwrap();
        store.put_snapshot(Index(3), Term(2), "{}", SnapshotSource::Peer).unwrap();
    }
    let (_, loaded) = Store::open(dir.path()).unwrap();
    assert_eq!(loaded.promised, Term(7));
}

#[test]
fn a_new_store_is_empty_and_only_root_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let top = TempDir::new().unwrap();
    let dir = top.path().join("var/lib/belay");
    let (mut store, loaded) = Store::open(&dir).unwrap();
    store.append(&ticks(1..=1)).unwrap();
    assert_eq!((loaded.last(), loaded.snapshot, loaded.entries.len()), (Index(0), None, 0));
    for name in ["", "belay.db", "belay.db-wal"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o077, 0, "{name}");
    }
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let records = ticks(1..=3);
    assert_eq!(open(&dir).0.append(&records), Ok(Index(3)));
    let (_, loaded) = open(&dir);
    let expected: Vec<_> = records
        .into_iter()
        .map(|Record { index, term, hash, entry, .. }| StoredEntry { index, term, hash, entry })
        .collect();
    assert_eq!(loaded.entries, expected);
}

#[test]
fn an_entry_that_skips_or_repeats_is_refused_and_nothing_of_its_batch_is_kept() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&ticks(1..=2)).unwrap();
    for wrong in [vec![tick(2)], vec![tick(4)], vec![tick(3), tick(5)]] {
        assert!(matches!(store.append(&wrong), Err(StoreError::Order { .. })));
    }
    drop(store);
    assert_eq!(open(&dir).1.last(), Index(2));
}

#[test]
fn an_own_snapshot_keeps_the_entries_after_it() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&ticks(1..=5)).unwrap();
    store.put_snapshot(Index(3), Term(1), "{}", SnapshotSource::Own).unwrap();
    store.append(&[tick(6)]).unwrap();
    drop(store);
    let (_, loaded) = open(&dir);
    assert_eq!(loaded.snapshot, Some(SnapshotRow { index: Index(3), term: Term(1), json: "{}".to_owned() }));
    assert_eq!(loaded.entries.iter().map(|e| e.index.0).collect::<Vec<_>>(), [4, 5, 6]);
}

#[test]
fn a_peers_snapshot_replaces_everything_even_by_a_shorter_history() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&ticks(1..=5)).unwrap();
    store.put_snapshot(Index(2), Term(7), "{\"a\":1}", SnapshotSource::Peer).unwrap();
    assert_eq!(store.append(&[tick(3)]), Ok(Index(3)));
    drop(store);
    let (_, loaded) = open(&dir);
    assert_eq!(loaded.snapshot.as_ref().map(|s| s.term), Some(Term(7)));
    assert_eq!(loaded.entries.iter().map(|e| e.index.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn an_own_snapshot_of_the_future_is_refused() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    let refused = store.put_snapshot(Index(1), Term(1), "{}", SnapshotSource::Own);
    assert!(matches!(refused, Err(StoreError::Order { .. })));
}

#[test]
fn each_life_of_the_daemon_has_a_higher_incarnation_even_if_the_clock_goes_back() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir).1.incarnation;
    assert!(open(&dir).1.incarnation > first);
    tamper(&dir, "UPDATE meta SET value = '9000000000000000000' WHERE key = 'incarnation'");
    assert_eq!(open(&dir).1.incarnation.0, 9_000_000_000_000_000_001);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused_until_the_first_is_gone() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    let refused = refusal(&dir);
    assert!(refused.to_string().contains("in use by another belayd"), "{refused}");
    drop(first);
    open(&dir);
}

#[test]
fn a_store_of_another_member_or_cluster_is_refused() {
    let dir = TempDir::new().unwrap();
    let (mut store, loaded) = open(&dir);
    let mine = Identity { cluster: "alpha".to_owned(), node: NodeId(1) };
    assert_eq!(loaded.identity, None);
    store.claim(&mine).unwrap();
    store.claim(&mine).unwrap();
    let other = Identity { node: NodeId(2), ..mine.clone() };
    let refused = store.claim(&other).unwrap_err().to_string();
    assert!(refused.contains("member 1 of cluster 'alpha', but this is member 2"), "{refused}");
    drop(store);
    assert_eq!(open(&dir).1.identity, Some(mine));
}

#[test]
fn the_history_is_filtered_by_service_and_shows_the_newest_oldest_first() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    let records: Vec<_> =
        (1..=6).map(|i| with_events(i, vec![event(i, 0, "vm:a", None), event(i, 1, "vm:b", Some((i, 0)))])).collect();
    store.append(&records).unwrap();
    let service: ServiceName = "vm:b".parse().unwrap();
    let found = store
        .history(&HistoryFilter { events: EventFilter { service: Some(service), ..EventFilter::default() }, last: 2 })
        .unwrap();
    assert_eq!(found, [event(5, 1, "vm:b", Some((5, 0))), event(6, 1, "vm:b", Some((6, 0)))]);
    assert_eq!(store.history(&all(100)).unwrap().len(), 12);
}

#[test]
fn the_history_is_filtered_by_member_and_by_time() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    let of = |index, node| HistoryEvent { node: Some(NodeId(node)), ..event(index, 0, "vm:a", None) };
    store.append(&(1..=6).map(|i| with_events(i, vec![of(i, 1 + i as u32 % 2)])).collect::<Vec<_>>()).unwrap();
    let events = EventFilter { node: Some(NodeId(1)), since: Some(Timestamp(4000)), ..EventFilter::default() };
    assert_eq!(store.history(&HistoryFilter { events, last: 9 }).unwrap(), [of(4, 1), of(6, 1)]);
}

#[test]
fn what_a_peer_remembers_is_added_and_replaces_what_was_given_up() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&[with_events(1, vec![event(1, 0, "vm:a", None)])]).unwrap();
    store.append(&[with_events(2, vec![event(2, 0, "vm:given-up", None)])]).unwrap();
    store.put_snapshot(Index(3), Term(2), "{}", SnapshotSource::Peer).unwrap();
    let missed = [event(2, 0, "vm:b", None), event(3, 0, "vm:c", Some((2, 0)))];
    store.learn(&missed).unwrap();
    drop(store);
    let [second, third] = missed;
    assert_eq!(open(&dir).0.history(&all(10)).unwrap(), [event(1, 0, "vm:a", None), second, third]);
}

#[test]
fn the_history_survives_snapshots_and_forgets_only_the_oldest() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.keep_events(10);
    for i in 1..=30 {
        store.append(&[with_events(i, vec![event(i, 0, "vm:a", None)])]).unwrap();
    }
    store.put_snapshot(Index(30), Term(1), "{}", SnapshotSource::Own).unwrap();
    let left: Vec<_> = store.history(&all(100)).unwrap().iter().map(|e| e.id.index.0).collect();
    assert_eq!(left, (21..=30).collect::<Vec<_>>());
}

#[test]
fn an_event_of_a_history_that_was_given_up_makes_way_for_the_new_one() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&[with_events(1, vec![event(1, 0, "vm:old", None)])]).unwrap();
    store.put_snapshot(Index(0), Term(2), "{}", SnapshotSource::Peer).unwrap();
    store.append(&[with_events(1, vec![event(1, 0, "vm:new", None)])]).unwrap();
    assert_eq!(store.history(&all(10)).unwrap(), [event(1, 0, "vm:new", None)]);
}

#[test]
fn an_admin_can_read_it_with_sqlite3_while_it_is_in_use() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    store.append(&[with_events(1, vec![event(1, 0, "vm:a", None)])]).unwrap();
    let sql = "SELECT time_utc, kind, service FROM history; SELECT idx, time_utc, kind, node FROM stream;";
    let shown = std::process::Command::new("sqlite3").arg(dir.path().join(FILE_NAME)).arg(sql).output().unwrap();
    let expected = "1970-01-01 00:00:01.000|service|vm:a\n1|1970-01-01 00:00:01.000|tick|1\n";
    assert_eq!(String::from_utf8_lossy(&shown.stdout), expected, "{}", String::from_utf8_lossy(&shown.stderr));
}

#[test]
fn a_transaction_an_admin_left_open_stops_writes_only_while_it_lasts() {
    let dir = TempDir::new().unwrap();
    let (mut store, _) = open(&dir);
    let admin = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    admin.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = store.append(&[tick(1)]).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }) && busy.passes(), "{busy}");
    admin.execute_batch("ROLLBACK").unwrap();
    store.append(&[tick(1)]).unwrap();
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_alone() {
    for content in ["<?xml version=\"1.0\"?>", "SQLite", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(FILE_NAME), content).unwrap();
        let before = bytes(&dir);
        let refused = refusal(&dir);
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert!(refused.to_string().contains("belay.db is no Belay store"), "{refused}");
        assert!(bytes(&dir) == before);
    }
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    tamper(&dir, "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('x')");
    let before = bytes(&dir);
    assert!(matches!(refusal(&dir), StoreError::Foreign { .. }));
    assert!(bytes(&dir) == before);
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let dir = filled();
    tamper(&dir, "PRAGMA user_version = 2");
    let before = bytes(&dir);
    let refused = refusal(&dir).to_string();
    assert!(refused.contains("written by a newer Belay (layout 2, this one knows 1)"), "{refused}");
    assert!(bytes(&dir) == before);
}

#[test]
fn damage_is_refused_named_and_left_alone() {
    for (sql, says) in [
        ("DELETE FROM entries WHERE idx = 7", "entry 7 is missing, the next one is 8"),
        ("DELETE FROM entries WHERE idx = 1", "entry 1 is missing"),
        ("UPDATE entries SET entry = replace(entry, '\"from\":1', '\"from\":3') WHERE idx = 4", "entry 4: its text"),
        ("UPDATE entries SET hash = '12' WHERE idx = 20", "entry 20"),
        ("INSERT INTO snapshot VALUES (1, 0, 1, '{}', '00')", "snapshot at entry 0"),
        ("DROP TABLE events; DROP VIEW stream; DROP TABLE entries", "no such table: entries"),
        ("UPDATE meta SET value = 'soon' WHERE key = 'incarnation'", "incarnation is 'soon'"),
    ] {
        let dir = filled();
        tamper(&dir, sql);
        let before = bytes(&dir);
        let refused = refusal(&dir);
        assert!(matches!(refused, StoreError::Damaged { .. }), "{sql}: {refused}");
        assert!(refused.to_string().contains(says), "{sql}: {refused}");
        assert!(bytes(&dir) == before, "{sql}");
    }
}

#[test]
fn a_file_cut_short_is_refused_and_left_alone() {
    let dir = filled();
    let file = dir.path().join(FILE_NAME);
    let whole = fs::read(&file).unwrap();
    for length in [50, 100, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..length]).unwrap();
        match Store::open(dir.path()) {
            Err(StoreError::Damaged { .. }) => {}
            other => panic!("{length} of {}: {:?}", whole.len(), other.map(|(_, loaded)| loaded.last())),
        }
        assert!(fs::read(&file).unwrap() == whole[..length], "{length}");
    }
}

#[test]
fn no_single_damaged_byte_goes_unnoticed_in_what_a_daemon_continues_from() {
    let dir = TempDir::new().unwrap();
    let expected = {
        let (mut store, _) = open(&dir);
        store.put_snapshot(Index(0), Term(1), &"{\"state\":\"text\"}".repeat(20), SnapshotSource::Peer).unwrap();
        store.append(&ticks(1..=20)).unwrap();
        drop(store);
        open(&dir).1
    };
    let file = dir.path().join(FILE_NAME);
    let whole = fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        fs::write(&file, &damaged).unwrap();
        // Damage where nothing is stored may be harmless; then what is read must be exactly what was written.
        if let Ok((_, loaded)) = Store::open(dir.path()) {
            assert_eq!(loaded.snapshot, expected.snapshot, "byte {at}");
            assert_eq!(loaded.entries, expected.entries, "byte {at}");
        }
        fs::remove_file(dir.path().join("belay.db-wal")).ok();
    }
}

#[test]
fn a_daemon_killed_while_it_created_the_file_starts_with_an_empty_one() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(FILE_NAME), "").unwrap();
    assert_eq!(open(&dir).1.last(), Index(0));
}

mod through_the_handle {
    use super::*;

    #[tokio::test]
    async fn what_queues_up_is_written_in_order_and_each_answer_comes_when_it_is_on_disk() {
        let dir = TempDir::new().unwrap();
        let handle = StoreHandle::spawn(open(&dir).0).unwrap();
        let pending: Vec<_> = (1..=700).map(|i| handle.append(vec![tick(i)])).collect();
        let mut last = Index(0);
        for (i, pending) in (1u64..).zip(pending) {
            let on_disk = pending.await.unwrap();
            assert!(on_disk >= Index(i) && on_disk >= last);
            last = on_disk;
        }
        assert_eq!(last, Index(700));
        drop(handle);
        assert_eq!(open(&dir).1.entries.len(), 700);
    }

    #[tokio::test]
    async fn snapshots_keep_their_place_among_the_entries() {
        let dir = TempDir::new().unwrap();
        let handle = StoreHandle::spawn(open(&dir).0).unwrap();
        let first = handle.append(ticks(1..=3));
        let snapshot = handle.put_snapshot(Index(90), Term(2), "{}".to_owned(), SnapshotSource::Peer);
        let after = handle.append(ticks(91..=92));
        assert_eq!((first.await, snapshot.await, after.await), (Ok(Index(3)), Ok(Index(90)), Ok(Index(92))));
        drop(handle);
        assert_eq!(open(&dir).1.entries.iter().map(|e| e.index.0).collect::<Vec<_>>(), [91, 92]);
    }

    #[tokio::test]
    async fn dropping_it_writes_what_is_queued() {
        let dir = TempDir::new().unwrap();
        let handle = StoreHandle::spawn(open(&dir).0).unwrap();
        let pending = handle.append(ticks(1..=50));
        drop(handle);
        assert_eq!(pending.await, Ok(Index(50)));
        assert_eq!(open(&dir).1.last(), Index(50));
    }

    #[tokio::test]
    async fn a_hole_breaks_the_store_for_good_and_says_so() {
        let dir = TempDir::new().unwrap();
        let handle = StoreHandle::spawn(open(&dir).0).unwrap();
        assert!(matches!(handle.append(vec![tick(5)]).await, Err(StoreError::Order { .. })));
        handle.append(vec![tick(1)]).await.unwrap();
        assert!(matches!(*handle.health().borrow(), Health::Broken(StoreError::Order { .. })));
    }

    #[tokio::test]
    async fn a_chain_leads_from_the_first_cause_to_the_event() {
        let dir = TempDir::new().unwrap();
        let handle = StoreHandle::spawn(open(&dir).0).unwrap();
        let chain = [event(1, 0, "vm:a", None), event(2, 0, "vm:a", Some((1, 0))), event(4, 1, "vm:a", Some((2, 0)))];
        let records = vec![
            with_events(1, vec![chain[0].clone()]),
            with_events(2, vec![chain[1].clone()]),
            tick(3),
            with_events(4, vec![event(4, 0, "vm:b", None), chain[2].clone()]),
        ];
        handle.append(records).await.unwrap();
        assert_eq!(handle.chain(chain[2].id, 10).await.unwrap(), chain);
        assert_eq!(handle.chain(chain[2].id, 2).await.unwrap(), chain[1..]);
        assert_eq!(handle.history(all(1)).await.unwrap(), [chain[2].clone()]);
    }
}

/// What a caller may do to a store.
#[derive(Clone, Debug)]
enum Act {
    Append(u8),
    OwnSnapshot(u8),
    PeerSnapshot(u16),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1u8..10).prop_map(Act::Append),
        1 => any::<u8>().prop_map(Act::OwnSnapshot),
        1 => any::<u16>().prop_map(Act::PeerSnapshot),
        2 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_done_to_it_a_store_holds_what_a_simple_model_holds(acts in proptest::collection::vec(act(), 1..25)) {
        let dir = TempDir::new().unwrap();
        let (mut store, _) = open(&dir);
        let mut snapshot: Option<u64> = None;
        let mut entries: Vec<u64> = Vec::new();
        for act in acts {
            let last = entries.last().copied().or(snapshot).unwrap_or(0);
            match act {
                Act::Append(n) => {
                    let added: Vec<u64> = (last + 1..=last + u64::from(n)).collect();
                    store.append(&ticks(added.iter().copied())).unwrap();
                    entries.extend(added);
                }
                Act::OwnSnapshot(back) => {
                    let at = last.saturating_sub(u64::from(back)).max(snapshot.unwrap_or(0));
                    store.put_snapshot(Index(at), Term(1), "{}", SnapshotSource::Own).unwrap();
                    snapshot = Some(at);
                    entries.retain(|index| *index > at);
                }
                Act::PeerSnapshot(at) => {
                    store.put_snapshot(Index(at.into()), Term(2), "{}", SnapshotSource::Peer).unwrap();
                    snapshot = Some(at.into());
                    entries.clear();
                }
                Act::Reopen => {
                    drop(store);
                    store = open(&dir).0;
                }
            }
            prop_assert_eq!(store.last().0, entries.last().copied().or(snapshot).unwrap_or(0));
        }
        drop(store);
        let loaded = open(&dir).1;
        prop_assert_eq!(loaded.snapshot.map(|s| s.index.0), snapshot);
        prop_assert_eq!(loaded.entries.iter().map(|e| e.index.0).collect::<Vec<_>>(), entries);
    }
}
