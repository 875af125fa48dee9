//! The contract.

use crate::member::{Member, Story};
use crate::process::{Order, Told, now_ns};
use crate::site::Site;
use crate::stream;
use std::time::Duration;

/// Moments within a burst that look random and are the same in every run.
pub(crate) const MOMENTS_MS: [u64; 6] = [31, 7, 53, 18, 2, 40];

fn stories(members: &[Member]) -> Vec<Story> {
    members.iter().map(Member::story).collect()
}

/// What several propose at the same time is delivered to all in one order, nothing lost or doubled.
pub(crate) fn all_deliver_concurrent_proposals_in_one_order(site: &dyn Site) {
    let mut members = site.start_all();
    for member in &mut members {
        member.burst(&format!("n{}", member.node), 500);
    }
    for member in &members {
        for node in 1..=3 {
            member.wait_message(&format!("n{node}.500"));
        }
    }
    stream::check(&stories(&members));
    for told in members.iter().map(Member::told) {
        (1..=3).for_each(|node| stream::has_all(&told, &format!("n{node}"), 500));
    }
}

/// Each member in turn is killed in the middle of a burst and comes back in the next: the survivors lose nothing of
/// theirs, agree on what was delivered of the dead one's, and see the change of view in the same place.
pub(crate) fn survivors_of_a_kill_agree(site: &dyn Site) {
    let mut members = site.start_all();
    let mut ended = Vec::new();
    for (round, moment) in MOMENTS_MS.into_iter().enumerate() {
        let victim = round % 3;
        for member in &mut members {
            member.burst(&format!("r{round}n{}", member.node), 300);
        }
        std::thread::sleep(Duration::from_millis(moment));
        let node = members[victim].node;
        ended.push(members.remove(victim).kill());
        let survivors: Vec<u32> = members.iter().map(|member| member.node).collect();
        for member in &members {
            survivors.iter().for_each(|node| {
                member.wait_message(&format!("r{round}n{node}.300"));
            });
            member.wait_view(&survivors, 0);
        }
        members.insert(victim, site.start(node));
        members.iter().for_each(|member| {
            member.wait_view(&[1, 2, 3], 0);
        });
        for member in members.iter().filter(|member| member.node != node) {
            survivors.iter().for_each(|node| stream::has_all(&member.told(), &format!("r{round}n{node}"), 300));
        }
    }
    ended.extend(stories(&members));
    stream::check(&ended);
}

/// A member that does not answer is taken out; the others go on; when it wakes up it comes back, and what it then
/// delivers is what the others deliver.
pub(crate) fn a_frozen_member_is_taken_out_and_comes_back(site: &dyn Site) {
    let mut members = site.start_all();
    members.iter_mut().for_each(|member| member.burst(&format!("before{}", member.node), 50));
    members.iter().for_each(|member| {
        member.wait_message("before1.50");
        // What the frozen one has not sent by then is lost with its ring, which is no disorder.
        member.wait_message("before2.50");
    });
    let frozen_at = now_ns();
    site.freeze(&members[1]);
    for member in [&members[0], &members[2]] {
        let out = member.wait_view(&[1, 3], frozen_at);
        println!("silence found after {} ms", (out - frozen_at) / 1_000_000);
        // The host does not count as being there.
        member.wait("hosts without it", |told| {
            let hosts = told.iter().rev().find_map(|(_, told)| match told {
                Told::View { hosts, .. } => Some(hosts.clone()),
                _ => None,
            });
            (hosts == Some(vec![1, 3])).then_some(())
        });
    }
    members[0].burst("without", 50);
    members[2].wait_message("without.50");
    let thawed_at = now_ns();
    site.thaw(&members[1]);
    members.iter().for_each(|member| {
        member.wait_view(&[1, 2, 3], thawed_at);
    });
    members[1].burst("after", 50);
    members.iter().for_each(|member| {
        member.wait_message("after.50");
    });
    stream::check(&stories(&members));
    stream::has_all(&members[0].told(), "without", 50);
}

/// A member that leaves is seen to go at once, with all it had proposed delivered; its host stays.
pub(crate) fn a_leaving_member_goes_at_once(site: &dyn Site) {
    let mut members = site.start_all();
    members[2].order(&Order::Burst { prefix: "last".to_owned(), count: 20, size: 100, at_once: 20, every_ms: 0 });
    members[2].wait_message("last.1");
    let asked = now_ns();
    members[2].order(&Order::Leave);
    members[2].wait("having left", |told| told.iter().any(|(_, told)| *told == Told::Left).then_some(()));
    for member in &members[..2] {
        let gone = member.wait_view(&[1, 2], asked);
        println!("seen leaving after {} us", (gone - asked) / 1000);
        stream::has_all(&member.told(), "last", 20);
    }
}

/// The largest message arrives; a larger one is refused, and does no harm.
pub(crate) fn messages_have_a_limit(site: &dyn Site) {
    let mut members = site.start_all();
    let mut propose = |prefix: &str, size: usize| {
        members[0].order(&Order::Burst { prefix: prefix.to_owned(), count: 1, size, at_once: 1, every_ms: 0 });
    };
    propose("large", 1_000_000);
    propose("larger", 1024 * 1024 + 1);
    propose("small", 10);
    members.iter().for_each(|member| {
        member.wait_message("small.1");
    });
    stream::check(&stories(&members));
    for told in members.iter().map(Member::told) {
        assert!(told.iter().any(|(_, told)| matches!(told, Told::Message { size: 1_000_000, .. })));
        assert!(!told.iter().any(|(_, told)| matches!(told, Told::Message { text, .. } if text == "larger.1")));
    }
    assert!(members[0].told().iter().any(|(_, told)| matches!(told, Told::Refused { text, .. } if text == "larger.1")));
}

/// More than the ring takes at once waits, and keeps its order.
pub(crate) fn a_load_that_does_not_fit_at_once_arrives_in_order(site: &dyn Site) {
    let mut members = site.start_all();
    for member in &mut members {
        let prefix = format!("n{}", member.node);
        member.order(&Order::Burst { prefix, count: 60, size: 100_000, at_once: 60, every_ms: 0 });
    }
    for member in &members {
        for node in 1..=3 {
            member.wait_message(&format!("n{node}.60"));
        }
    }
    stream::check(&stories(&members));
    for told in members.iter().map(Member::told) {
        (1..=3).for_each(|node| stream::has_all(&told, &format!("n{node}"), 60));
    }
}

/// Every ring's quorum is told, and can be asked.
pub(crate) fn quorum_is_told_for_each_ring(site: &dyn Site) {
    let mut members = vec![site.start(1), site.start(2)];
    for member in &mut members {
        member.wait_view(&[1, 2], 0);
        member.wait_quorum(true);
        assert!(member.quorate());
    }
    members.push(site.start(3));
    for member in &mut members {
        member.wait_view(&[1, 2, 3], 0);
        member.wait_quorum(true);
        assert!(member.quorate());
    }
}
