//! The contract on the local ring, and what only the local ring does.

use crate::contract;
use crate::member::Member;
use crate::process::{Order, RingKind, Role, Told, now_ns};
use crate::site::Site;
use crate::stream;
use belay_lab::netns::Lab;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Where nobody is to be found silent. A member that a busy machine does not let run for a second is silent for one that
/// has a token of a second: it is taken out, rightly, and what it had proposed is lost with its ring.
const PATIENT_MS: u64 = 15_000;

/// Where a member that is frozen is to be found silent, and none of those that are only short of a processor.
const TOKEN_MS: u64 = 2000;

struct Directory {
    dir: TempDir,
    segment_bytes: u64,
    token_ms: u64,
}

impl Directory {
    fn new() -> Self {
        // In memory, as below /run on a host: on a disk a write can take as long as a token when others write a lot.
        let dir = TempDir::new_in("/dev/shm").expect("a directory");
        Self { dir, segment_bytes: belayd::ring::local::SEGMENT_BYTES, token_ms: PATIENT_MS }
    }

    /// A ring that soon finds out who is silent.
    fn watchful() -> Self {
        Self { token_ms: TOKEN_MS, ..Self::new() }
    }

    fn with_segments(self, segment_bytes: u64) -> Self {
        Self { segment_bytes, ..self }
    }

    fn role(&self, node: u32) -> Role {
        let (dir, segment_bytes, token_ms) = (self.dir.path().join("ring"), self.segment_bytes, self.token_ms);
        Role { node, ring: RingKind::Local { dir, nodes: 3, token_ms, segment_bytes } }
    }

    fn segments(&self) -> usize {
        let entries = std::fs::read_dir(self.dir.path().join("ring")).expect("the ring's directory");
        entries.filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("log"))).count()
    }
}

impl Site for Directory {
    fn start(&self, node: u32) -> Member {
        Member::start(&self.role(node), &[])
    }

    fn freeze(&self, member: &Member) {
        member.signal(Signal::SIGSTOP);
    }

    fn thaw(&self, member: &Member) {
        member.signal(Signal::SIGCONT);
    }
}

#[test]
fn all_deliver_concurrent_proposals_in_one_order() {
    contract::all_deliver_concurrent_proposals_in_one_order(&Directory::new());
}

#[test]
fn survivors_of_a_kill_agree() {
    contract::survivors_of_a_kill_agree(&Directory::new());
}

#[test]
fn a_frozen_member_is_taken_out_and_comes_back() {
    contract::a_frozen_member_is_taken_out_and_comes_back(&Directory::watchful());
}

#[test]
fn a_leaving_member_goes_at_once() {
    contract::a_leaving_member_goes_at_once(&Directory::new());
}

#[test]
fn messages_have_a_limit() {
    contract::messages_have_a_limit(&Directory::new());
}

#[test]
fn a_load_that_does_not_fit_at_once_arrives_in_order() {
    contract::a_load_that_does_not_fit_at_once_arrives_in_order(&Directory::new());
}

#[test]
fn quorum_is_told_for_each_ring() {
    contract::quorum_is_told_for_each_ring(&Directory::new());
}

#[test]
fn survivors_of_a_kill_agree_while_the_log_goes_from_file_to_file() {
    // So small that messages are often written behind the end of a segment, and must be written again.
    let directory = Directory::new().with_segments(1024);
    contract::survivors_of_a_kill_agree(&directory);
    assert!(directory.segments() <= 5, "old segments are deleted");
}

#[test]
fn a_frozen_member_comes_back_although_the_log_went_on_in_other_files() {
    let directory = Directory::watchful().with_segments(1024);
    contract::a_frozen_member_is_taken_out_and_comes_back(&directory);
    assert!(directory.segments() <= 5, "old segments are deleted");
}

#[test]
fn a_killed_member_is_gone_at_once_and_its_host_stays() {
    let site = Directory::new();
    let mut members = site.start_all();
    let killed_at = now_ns();
    members.pop().expect("three").kill();
    for member in &members {
        println!("death found after {} us", (member.wait_view(&[1, 2], killed_at) - killed_at) / 1000);
        let told = member.told();
        let hosts = told.iter().rev().find_map(|(_, told)| match told {
            Told::View { hosts, .. } => Some(hosts.clone()),
            _ => None,
        });
        assert_eq!(hosts, Some(vec![1, 2, 3]));
    }
}

#[test]
fn a_member_that_is_busy_for_less_than_the_token_stays() {
    let site = Directory::new();
    let mut members = site.start_all();
    // A fifth of the token, and a busy machine adds to it.
    site.freeze(&members[1]);
    std::thread::sleep(Duration::from_millis(PATIENT_MS / 5));
    site.thaw(&members[1]);
    members[1].burst("still", 1);
    for member in &members {
        member.wait_message("still.1");
        let views = member.told().iter().filter(|(_, told)| matches!(told, Told::View { .. })).count();
        assert!(views <= 3, "only those of the three joins");
    }
}

#[test]
fn when_all_were_frozen_nobody_is_blamed() {
    let site = Directory { token_ms: 2 * TOKEN_MS, ..Directory::new() };
    let mut members = site.start_all();
    members.iter().for_each(|member| site.freeze(member));
    std::thread::sleep(Duration::from_millis(3 * TOKEN_MS));
    let thawed_at = now_ns();
    members.iter().for_each(|member| site.thaw(member));
    std::thread::sleep(Duration::from_millis(3 * TOKEN_MS));
    members[0].burst("on", 10);
    for member in &members {
        member.wait_message("on.10");
        let told = member.told();
        assert!(
            !told.iter().any(|(at, told)| *at > thawed_at && matches!(told, Told::View { .. } | Told::Down { .. }))
        );
    }
}

#[test]
fn a_majority_that_was_frozen_comes_back() {
    let site = Directory::watchful();
    let mut members = site.start_all();
    members[..2].iter().for_each(|member| site.freeze(member));
    let frozen_at = now_ns();
    members[2].wait_view(&[3], frozen_at);
    members[2].wait_quorum(false);
    members[..2].iter().for_each(|member| site.thaw(member));
    members.iter().for_each(|member| {
        member.wait_view(&[1, 2, 3], frozen_at);
    });
    members[0].burst("back", 10);
    members.iter().for_each(|member| {
        member.wait_message("back.10");
    });
    stream::check(&members.iter().map(Member::story).collect::<Vec<_>>());
}

/// A ring on a file system that can be filled, seen only by its members.
struct SmallDisk(Lab);

impl SmallDisk {
    fn resize(&self, how: &str) {
        self.0.host(1).expect("the only one").run(&["mount", "-t", "tmpfs", "-o", how, "tmpfs", "/mnt"]).expect("root");
    }
}

impl Site for SmallDisk {
    fn start(&self, node: u32) -> Member {
        let dir = PathBuf::from("/mnt/ring");
        let ring = RingKind::Local { dir, nodes: 3, token_ms: 2 * TOKEN_MS, segment_bytes: 64 * 1024 };
        Member::start(&Role { node, ring }, &self.0.host(1).expect("the only one").words())
    }

    fn freeze(&self, member: &Member) {
        member.signal(Signal::SIGSTOP);
    }

    fn thaw(&self, member: &Member) {
        member.signal(Signal::SIGCONT);
    }
}

#[test]
fn a_full_disk_is_a_ring_that_is_down_until_there_is_room() {
    let site = SmallDisk(Lab::start(1).expect("namespaces: run as root"));
    site.resize("size=256k");
    let mut members = site.start_all();
    // One that is asleep keeps its files, so the others fill the disk before it is found silent.
    members[2].order(&Order::Doze(true));
    for member in &mut members[..2] {
        let prefix = format!("n{}", member.node);
        member.order(&Order::Burst { prefix, count: 40, size: 20_000, at_once: 40, every_ms: 0 });
    }
    members[0].wait("being down", |told| {
        told.iter()
            .find(|(_, told)| matches!(told, Told::Down { reason } if reason.contains("cannot write the log")))?;
        Some(())
    });
    members[2].order(&Order::Doze(false));
    site.resize("remount,size=64m");
    // Another member's end may still be on its way, and a message that comes before it does not reach that member.
    let heard_by_all = (1..=PATIENT_MS / 500).any(|attempt| {
        for member in &members {
            member.wait_view(&[1, 2, 3], 0);
        }
        members[0].burst(&format!("room{attempt}"), 1);
        std::thread::sleep(Duration::from_millis(500));
        members.iter().all(|member| member.has_told(&format!("room{attempt}.1")))
    });
    assert!(heard_by_all, "no message reaches all again");
    stream::check(&members.iter().map(Member::story).collect::<Vec<_>>());
}

#[test]
fn the_minority_is_not_quorate() {
    let site = Directory::new();
    let mut members = site.start_all();
    members.drain(1..).for_each(|member| drop(member.kill()));
    members[0].wait_view(&[1], 0);
    members[0].wait_quorum(false);
    assert!(!members[0].quorate());
}

#[test]
fn views_are_alike_to_the_last_detail() {
    let site = Directory::new().with_segments(8 * 1024);
    let mut members = site.start_all();
    for round in 0..4 {
        members.iter_mut().for_each(|member| member.burst(&format!("r{round}n{}", member.node), 100));
        members.pop().expect("three").kill();
        members.push(site.start(3));
        members.iter().for_each(|member| {
            member.wait_view(&[1, 2, 3], 0);
        });
        members[..2].iter().for_each(|member| {
            member.wait_message(&format!("r{round}n2.100"));
        });
    }
    members[0].burst("end", 1);
    members.iter().for_each(|member| {
        member.wait_message("end.1");
    });
    let ordered = |member: &Member| -> Vec<Told> {
        let told = member.told().into_iter().map(|(_, told)| told);
        let told = told.filter(|told| matches!(told, Told::View { .. } | Told::Message { .. }));
        told.take_while(|told| !matches!(told, Told::Message { text, .. } if text == "end.1")).collect()
    };
    let (one, two, three) = (ordered(&members[0]), ordered(&members[1]), ordered(&members[2]));
    let from =
        |told: &[Told], first: &Told| -> Vec<Told> { told.iter().skip_while(|t| *t != first).cloned().collect() };
    // The last of the third member's lives began in a view that the other two have seen as well.
    assert_eq!(from(&one, &three[0]), three);
    assert_eq!(from(&two, &three[0]), three);
    let all = one.iter().find(|told| two.contains(told)).expect("they met");
    assert_eq!(from(&one, all), from(&two, all));
}

#[test]
fn a_second_daemon_of_the_same_node_is_refused() {
    let site = Directory::new();
    let first = site.start(1);
    first.wait_view(&[1], 0);
    let second = site.start(1);
    let why = second.wait("a refusal", |told| {
        told.iter().find_map(|(_, told)| match told {
            Told::CannotJoin { why } => Some(why.clone()),
            _ => None,
        })
    });
    assert!(why.contains("node 1 already has a daemon"), "{why}");
}

#[test]
fn leftovers_of_killed_members_do_not_disturb() {
    let site = Directory::new();
    let members = site.start_all();
    let sequence = |member: &Member| {
        let told = member.told();
        told.iter().rev().find_map(|(_, told)| match told {
            Told::View { ring, .. } => Some(ring.1),
            _ => None,
        })
    };
    let before = sequence(&members[0]);
    members.into_iter().for_each(|member| drop(member.kill()));
    let alone = site.start(2);
    alone.wait_view(&[2], 0);
    assert!(matches!(&alone.told()[0].1, Told::View { hosts, .. } if *hosts == [2]), "hosts of an earlier ring");
    assert!(sequence(&alone) > before, "a ring id must not come twice");
}

#[test]
fn a_frozen_member_does_not_keep_others_from_starting() {
    let site = Directory::watchful();
    let mut members = site.start_all();
    site.freeze(&members[0]);
    members.drain(1..).for_each(|member| drop(member.kill()));
    let newcomer = site.start(2);
    newcomer.wait_view(&[2], 0);
    site.thaw(&members[0]);
    newcomer.wait_view(&[1, 2], 0);
    members[0].wait_view(&[1, 2], 0);
    members[0].burst("hello", 1);
    newcomer.wait_message("hello.1");
}

#[test]
fn a_daemon_that_does_not_take_its_events_stays_a_member_and_misses_nothing() {
    let site = Directory { token_ms: 2 * TOKEN_MS, ..Directory::new() }.with_segments(64 * 1024);
    let mut members = site.start_all();
    members[2].order(&Order::Doze(true));
    members[0].burst("meanwhile", 4000);
    members[1].wait_message("meanwhile.4000");
    // Longer than the token.
    std::thread::sleep(Duration::from_millis(3 * TOKEN_MS));
    members[2].order(&Order::Doze(false));
    members[2].wait_message("meanwhile.4000");
    stream::has_all(&members[2].told(), "meanwhile", 4000);
    assert!(!members[2].told().iter().any(|(_, told)| matches!(told, Told::Down { .. })));
}

#[test]
fn a_deleted_directory_is_a_ring_that_is_down_and_comes_back() {
    let site = Directory::new();
    let members = site.start_all();
    std::fs::remove_dir_all(site.dir.path().join("ring")).expect("it is there");
    let deleted_at = now_ns();
    members.iter().for_each(|member| {
        member.wait_view(&[1, 2, 3], deleted_at);
    });
}

/// Not a limit that is enforced, only shown: `cargo test -p belayd --test ring_contract latency -- --nocapture`.
#[test]
fn latency_is_shown() {
    let site = Directory::new();
    let mut members = site.start_all();
    let mut spans = Vec::new();
    for number in 0..200 {
        members[0].burst(&format!("one{number}"), 1);
        let text = format!("one{number}.1");
        let last = members.iter().map(|member| member.wait_message(&text)).max().expect("three");
        let proposed =
            members[0].told().into_iter().rev().find(|(_, told)| *told == Told::Proposed { text: text.clone() });
        spans.push(last - proposed.expect("it was").0);
    }
    spans.sort_unstable();
    println!("propose to delivered on all: median {} us, 99 % {} us", spans[100] / 1000, spans[198] / 1000);
    assert!(spans[100] > 0);
}
