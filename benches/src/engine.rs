//! The engine alone: single entries, a lost host with a thousand VMs, snapshots, and what is derived for a host.

use crate::cluster::{Cluster, LARGE, RULED, SMALL};
use crate::ring_of_one::RingOfOne;
use crate::sample::Sample;
use crate::table::Table;
use belay_engine::state::State;
use belay_proto::{Index, NodeId};
use std::time::{Duration, Instant};

const FAR: Index = Index(u64::MAX);

/// Measures all of it.
pub fn measure(table: &mut Table) {
    let small = Cluster::running(SMALL);
    let large = Cluster::running(LARGE);
    single_entries(table, &small, &large);
    lost_host(table, &large, "16 hosts");
    lost_host(table, &Cluster::running(RULED), "16 hosts, capacity and affinity on");
    derived(table, &large);
    snapshots(table, &large);
    whole_node(table, &small, &large);
}

fn single_entries(table: &mut Table, small: &Cluster, large: &Cluster) {
    for (cluster, words) in [(small, "3 hosts, 5 VMs"), (large, "16 hosts, 10,000 VMs")] {
        let mut cluster = cluster.clone();
        let mut number = 0;
        let rounds = 200;
        let sample = Sample::of(
            rounds,
            || (),
            |()| {
                number = (number + 1) % 5;
                cluster.die_and_restart(number)
            },
        );
        table.time(&format!("engine: an entry of a death and its restart, {words}"), &sample.per(2), None);
        let sample = Sample::of(rounds, || (), |()| cluster.tick());
        table.time(&format!("engine: a tick, {words}"), &sample, None);
    }
}

fn lost_host(table: &mut Table, large: &Cluster, words: &str) {
    let sample = Sample::of(
        20,
        || large.clone(),
        |cluster| {
            cluster.lose_last();
            cluster.last_is_fenced()
        },
    );
    let mut cluster = large.clone();
    cluster.lose_last();
    cluster.last_is_fenced();
    assert_eq!(cluster.starting(), LARGE.on_last as usize, "not all VMs of the lost host got a place");
    let what = format!("engine: a host with 1,000 of 10,000 VMs lost and fenced, {words}: all new places decided");
    table.time(&what, &sample, Some(Duration::from_millis(50)));
}

fn derived(table: &mut Table, large: &Cluster) {
    let sample = Sample::of(50, || (), |()| large.state.assignments(NodeId(1), FAR));
    table.time("engine: the work list of a host, 10,000 VMs, none to do", &sample, None);
    let mut busy = large.clone();
    busy.lose_last();
    busy.last_is_fenced();
    let sample = Sample::of(50, || (), |()| busy.state.assignments(NodeId(1), FAR));
    table.time("engine: the work list of a host, 10,000 VMs, its share of 1,000 starts", &sample, None);
    let (mut running, mut list) = (large.clone(), large.state.assignments(NodeId(1), FAR));
    let mut died_and_told = || {
        running.die_and_restart(7);
        let start = Instant::now();
        running.state.assign(NodeId(1), FAR, &mut list);
        start.elapsed()
    };
    let sample = Sample::new((0..50).map(|_| died_and_told()).collect());
    table.time(
        "engine: the work list of a host, 10,000 VMs, brought up to date after a death and its restart",
        &sample,
        None,
    );
    let sample = Sample::of(50, || (), |()| (large.state.service_statuses(), large.state.alarms()));
    table.time("engine: status of 10,000 services", &sample, None);
}

fn snapshots(table: &mut Table, large: &Cluster) {
    let text = large.state.snapshot();
    let size = text.len() as f64 / f64::from(1 << 20);
    table.number("engine: size of a snapshot, 10,000 VMs", size, "MiB", None);
    table.time("engine: writing it", &Sample::of(20, || (), |()| large.state.snapshot()), None);
    table.time("engine: reading it", &Sample::of(10, || (), |()| State::restore(&text).is_ok()), None);
    table.time(
        "engine: the progress hash of a state, 10,000 VMs",
        &Sample::of(20, || (), |()| large.state.progress()),
        None,
    );
    table.time("engine: a copy of a state, 10,000 VMs", &Sample::of(20, || (), |()| large.state.clone()), None);
}

/// What the daemon's loop is blocked for by one entry.
fn whole_node(table: &mut Table, small: &Cluster, large: &Cluster) {
    for (cluster, size, words) in [(small, SMALL, "3 hosts, 5 VMs"), (large, LARGE, "16 hosts, 10,000 VMs")] {
        let mut ring = RingOfOne::new(cluster.clone(), size.hosts);
        let mut taken = Vec::new();
        for number in 0..size.vms.min(50) {
            let death = ring.death(number);
            let start = Instant::now();
            ring.run(death);
            taken.push(start.elapsed());
        }
        let what = format!("node: a death from the ring to work handed out, all acknowledgements in, {words}");
        table.time(&what, &Sample::new(taken), None);
    }
}
