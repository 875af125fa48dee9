//! The contract on three real corosync processes in network namespaces, and what only they can show.

use crate::contract;
use crate::member::Member;
use crate::process::{RingKind, Role, Told, now_ns};
use crate::site::Site;
use crate::stream;
use belay_lab::netns::{Corosync, Lab};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lab at a time: nine corosync processes on two cores would throw each other out.
static ALONE: Mutex<()> = Mutex::new(());

const TOKEN_MS: u32 = 1000;

/// How many lines of each corosync's log a failed test shows.
const LAST_WORDS: usize = 40;

struct Hosts {
    corosyncs: RefCell<BTreeMap<u32, Corosync>>,
    lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl Hosts {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = Self {
            corosyncs: RefCell::default(),
            lab: Lab::start(3).expect("network namespaces: run as root"),
            _alone: alone,
        };
        (1..=3).for_each(|node| hosts.start_corosync(node));
        hosts
    }

    fn start_corosync(&self, node: u32) {
        let corosync = self.lab.start_corosync(node, TOKEN_MS).expect("package corosync is installed");
        self.corosyncs.borrow_mut().insert(node, corosync);
    }

    fn kill_corosync(&self, node: u32) {
        self.corosyncs.borrow_mut().remove(&node).expect("it runs");
    }
}

impl Drop for Hosts {
    /// Shows what corosync had to say, for whoever has to find out why a test failed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in 1..=3 {
            let bytes = std::fs::read(self.lab.log(node)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            println!("---- the end of the log of corosync on node {node} ----");
            println!("{}", lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n"));
        }
    }
}

impl Site for Hosts {
    fn start(&self, node: u32) -> Member {
        let role = Role { node, ring: RingKind::Corosync { group: "belay:lab".to_owned() } };
        Member::start(&role, &self.lab.host(node).expect("one of three").words())
    }

    fn freeze(&self, member: &Member) {
        member.signal(Signal::SIGSTOP);
        self.corosyncs.borrow()[&member.node].signal(Signal::SIGSTOP).expect("it runs");
    }

    fn thaw(&self, member: &Member) {
        self.corosyncs.borrow()[&member.node].signal(Signal::SIGCONT).expect("it runs");
        member.signal(Signal::SIGCONT);
    }
}

#[test]
fn all_deliver_concurrent_proposals_in_one_order() {
    contract::all_deliver_concurrent_proposals_in_one_order(&Hosts::new());
}

#[test]
fn survivors_of_a_kill_agree() {
    contract::survivors_of_a_kill_agree(&Hosts::new());
}

#[test]
fn a_frozen_member_is_taken_out_and_comes_back() {
    contract::a_frozen_member_is_taken_out_and_comes_back(&Hosts::new());
}

#[test]
fn a_leaving_member_goes_at_once() {
    contract::a_leaving_member_goes_at_once(&Hosts::new());
}

#[test]
fn messages_have_a_limit() {
    contract::messages_have_a_limit(&Hosts::new());
}

#[test]
fn a_load_that_does_not_fit_at_once_arrives_in_order() {
    contract::a_load_that_does_not_fit_at_once_arrives_in_order(&Hosts::new());
}

#[test]
fn quorum_is_told_for_each_ring() {
    contract::quorum_is_told_for_each_ring(&Hosts::new());
}

#[test]
fn a_killed_corosync_is_a_ring_that_is_down_and_comes_back() {
    let site = Hosts::new();
    let mut members = site.start_all();
    members.iter_mut().for_each(|member| member.burst(&format!("n{}", member.node), 300));
    members[0].wait_message("n2.20");
    let killed_at = now_ns();
    site.kill_corosync(2);
    let down = members[1].wait("being down", |told| {
        told.iter().find(|(at, told)| *at > killed_at && matches!(told, Told::Down { .. })).map(|(at, _)| *at)
    });
    println!("corosync's death found after {} ms", (down - killed_at) / 1_000_000);
    assert!(!members[1].quorate());
    for member in [&members[0], &members[2]] {
        member.wait_view(&[1, 3], killed_at);
        ["n1.300", "n3.300"].into_iter().for_each(|text| {
            member.wait_message(text);
        });
    }
    let started_at = now_ns();
    site.start_corosync(2);
    for member in &members {
        member.wait_view(&[1, 2, 3], started_at);
        member.wait_quorum(true);
    }
    members[1].burst("back", 10);
    for member in &members {
        member.wait_message("back.10");
    }
    stream::check(&members.iter().map(Member::story).collect::<Vec<_>>());
}

#[test]
fn who_is_cut_off_is_not_quorate_and_the_others_go_on() {
    let site = Hosts::new();
    let mut members = site.start_all();
    members.iter().for_each(|member| member.wait_quorum(true));
    let cut_at = now_ns();
    site.lab.disconnect(3).expect("the switch does it");
    for member in &members[..2] {
        let out = member.wait_view(&[1, 2], cut_at);
        println!("cut found after {} ms", (out - cut_at) / 1_000_000);
        member.wait_quorum(true);
    }
    members[2].wait_view(&[3], cut_at);
    members[2].wait_quorum(false);
    assert!(!members[2].quorate());
    assert!(members[0].quorate());
    members[0].burst("majority", 20);
    members[2].burst("minority", 20);
    members[1].wait_message("majority.20");
    members[2].wait_message("minority.20");
    let joined_at = now_ns();
    site.lab.connect(3).expect("the switch does it");
    for member in &mut members {
        member.wait_view(&[1, 2, 3], joined_at);
        member.wait_quorum(true);
        assert!(member.quorate());
    }
    members[2].burst("together", 20);
    for member in &members {
        member.wait_message("together.20");
    }
    stream::check(&members.iter().map(Member::story).collect::<Vec<_>>());
    let saw = |member: &Member, prefix: &str| {
        member.told().iter().any(|(_, told)| matches!(told, Told::Message { text, .. } if text.starts_with(prefix)))
    };
    assert!(!saw(&members[0], "minority") && !saw(&members[2], "majority"));
}

#[test]
fn without_corosync_the_ring_is_down_until_it_comes() {
    let site = Hosts::new();
    site.kill_corosync(1);
    let member = site.start(1);
    member.wait("being down", |told| {
        told.iter().find(|(_, told)| matches!(told, Told::Down { reason } if reason.contains("is it running")))?;
        Some(())
    });
    site.start_corosync(1);
    member.wait_view(&[1], 0);
}
