//! Fence agents that misbehave, and a fencing host that dies: nothing of the lost host starts anywhere before an agent
//! has confirmed that it is off.

use anyhow::{Result, ensure};
use belay_demo::sampler::Copy;
use belay_faults::{Cluster, Configuration, fence_script, until};
use belay_proto::NodeId;
use belay_proto::control::MemberState;
use belay_proto::history::{EventKind, HistoryEvent};
use std::fs;

const VMS: [&str; 4] = ["one", "two", "three", "four"];
const AGENT: &str = "fence_moody";

/// Hangs; prints a megabyte and fails; fails; fails; hangs again, and in the midst of that its host's daemon is killed;
/// then works.
const MOODS: &str = r#"case $n in
1) exec sleep 1000 ;;
2) head -c 1000000 /dev/zero | tr '\0' x; echo; echo 'the switch is on fire'; exit 1 ;;
3) echo 'no route to host' >&2; exit 1 ;;
4) kill -SEGV $$ ;;
5) exec sleep 1000 ;;
*) fenced ;;
esac"#;

/// How long an agent may take. The fifth call must still be at it when its daemon is killed.
const LIMIT: &str = "--fence-timeout=4s";

/// What the agent left of its n-th call.
fn called(cluster: &Cluster, n: u32) -> bool {
    cluster.run.dir.join(AGENT).join(n.to_string()).is_dir()
}

fn fencing(cluster: &Cluster, host: u32, victim: u32) -> Result<Vec<HistoryEvent>> {
    let all = cluster.history(host)?;
    Ok(all.into_iter().filter(|e| e.kind == EventKind::Fence && e.node == Some(NodeId(victim))).collect())
}

/// The copies a host had, with the names of their VMs.
fn lost_with(cluster: &Cluster, victim: u32) -> Result<Vec<(String, Copy)>> {
    let lost = cluster.seen().on_host(victim);
    ensure!(!lost.is_empty(), "node{victim} runs nothing");
    Ok(lost)
}

#[test]
fn whatever_fence_agents_do_nothing_starts_elsewhere_before_one_has_succeeded() -> Result<()> {
    // Node 3 is a quorum of its own, so that somebody is left to take over.
    let configuration = Configuration { agent: AGENT.into(), votes: [1, 1, 3], ..Configuration::of(&VMS) };
    let cluster = Cluster::build(&configuration)?;
    fence_script(&cluster.run, AGENT, MOODS)?;
    for host in cluster.run.hosts() {
        fs::write(host.options(), format!("--ring-token=3s\n{LIMIT}\n"))?;
    }
    cluster.switch_on()?;
    cluster.all_run(&configuration)?;
    let lost = lost_with(&cluster, 1)?;
    let spared: Vec<_> = [2, 3].into_iter().flat_map(|host| cluster.seen().on_host(host)).collect();
    cluster.silence(1)?;

    until("the fifth attempt", || Ok(called(&cluster, 5).then_some(())))?;
    let events = fencing(&cluster, 2, 1)?;
    let said = |words: &str| events.iter().any(|event| event.text.contains(words));
    for words in ["had not ended after 4 s", "the switch is on fire", "no route to host", "killed by SIGSEGV"] {
        ensure!(said(words), "nobody says '{words}': {events:#?}");
    }
    ensure!(events.iter().all(|event| event.text.len() < 5000), "a megabyte went into the history");
    let detail = cluster.member(2, 1)?.detail;
    ensure!(detail.contains("failed 4 times"), "status says of the victim: {detail}");

    // Node 2, which has it in hand, loses its daemon for good.
    cluster.program(2, "sleep")?;
    for (vm, copy) in &lost {
        let seen = cluster.look()?.running(vm);
        ensure!(seen == [copy.clone()], "{vm} was touched while its host was not fenced: {seen:?}");
    }
    fs::write(cluster.run.host(2).stopped(), "")?;
    cluster.kill_daemon(2)?;
    until("the fencing to be confirmed", || {
        let state = cluster.any_status()?.members.into_iter().find(|m| m.id == NodeId(1)).map(|m| m.state);
        Ok((state == Some(MemberState::Down)).then_some(()))
    })?;
    ensure!(called(&cluster, 6), "it is confirmed by an agent that did not work");
    for (vm, old) in &lost {
        let new = cluster.runs(vm)?;
        ensure!(new.host != 1, "{vm} runs on the fenced host");
        let seen = cluster.seen().copies.remove(vm).unwrap_or_default();
        let went = seen.iter().find(|copy| copy.pid == old.pid).and_then(|copy| copy.went);
        ensure!(went.is_some_and(|went| went <= new.came), "{vm} was started before its old copy went: {seen:?}");
    }
    let events = fencing(&cluster, 3, 1)?;
    let last = events.iter().rfind(|event| event.text.contains("fences node1"));
    ensure!(last.is_some_and(|event| event.text.contains("node3 fences")), "nobody took over: {events:#?}");
    cluster.start_daemon(2)?;
    cluster.whole()?;
    for (vm, copy) in &spared {
        ensure!(cluster.runs(vm)?.pid == copy.pid, "{vm} had nothing to do with it and was touched");
    }
    // The victim was off meanwhile, and is asked what happened to it.
    let told = fencing(&cluster, 1, 1)?;
    for event in &events {
        ensure!(told.contains(event), "node1 has never heard of: {event:?}");
    }
    cluster.end()
}
