//! All hosts at once: stopped in good order, killed, and without power.

use anyhow::{Result, ensure};
use belay_demo::process;
use belay_faults::{Cluster, Configuration, until};
use belay_proto::service::ServiceState;
use std::fs;
use std::time::Duration;

const VMS: [&str; 5] = ["one", "two", "three", "four", "five"];
const HOSTS: [u32; 3] = [1, 2, 3];

fn no_daemon(cluster: &Cluster, hosts: &[u32]) -> Result<()> {
    until("the daemons to end", || {
        Ok(hosts.iter().all(|host| cluster.programs(*host, "belayd").is_empty()).then_some(()))
    })
}

/// The supervisor has noted so many ends of a daemon with exit code 0, and no other.
fn ended_well(cluster: &Cluster, host: u32, times: usize) -> Result<()> {
    until("the supervisor to note how its daemon ended", || {
        Ok((cluster.log(host).matches("belayd ended (").count() == times).then_some(()))
    })?;
    let well = cluster.log(host).matches("belayd ended (exit code 0)").count();
    ensure!(well == times, "the daemon of node{host} did not end well");
    Ok(())
}

/// The same processes as before, by the table alone.
fn untouched(cluster: &Cluster, before: &[i32]) -> Result<()> {
    let seen = cluster.look()?;
    let now: Vec<i32> = VMS.iter().flat_map(|vm| seen.running(vm)).map(|copy| copy.pid).collect();
    ensure!(now == before, "the VMs' processes were {before:?} and are {now:?}");
    Ok(())
}

#[test]
fn vms_outlive_a_stop_of_all_daemons_and_are_taken_over_as_they_are() -> Result<()> {
    let configuration = Configuration::of(&VMS);
    let cluster = Cluster::start(&configuration)?;
    let before = cluster.processes(&VMS)?;
    for host in HOSTS {
        cluster.stop_daemon(host)?;
    }
    no_daemon(&cluster, &HOSTS)?;
    for host in HOSTS {
        ended_well(&cluster, host, 1)?;
    }
    // Nobody is left who could do anything to them; still.
    std::thread::sleep(Duration::from_millis(500));
    untouched(&cluster, &before)?;
    let options = cluster.run.host(3).options();
    fs::write(&options, fs::read_to_string(&options)? + "--on-stop=stop\n")?;
    for host in HOSTS {
        cluster.start_daemon(host)?;
    }
    cluster.whole()?;
    ensure!(cluster.processes(&VMS)? == before, "they were started again");

    // Node 3 takes its VMs along to the others before it goes.
    let moved = cluster.seen().on_host(3);
    ensure!(!moved.is_empty(), "node3 runs nothing");
    cluster.stop_daemon(3)?;
    no_daemon(&cluster, &[3])?;
    ensure!(cluster.look()?.on_host(3).is_empty(), "it ended before its VMs did");
    for (vm, _) in &moved {
        ensure!(cluster.runs(vm)?.host != 3, "{vm} is still there");
    }
    ended_well(&cluster, 3, 2)?;
    let after = cluster.processes(&VMS)?;
    cluster.start_daemon(3)?;
    cluster.whole()?;
    ensure!(cluster.processes(&VMS)? == after, "VMs moved for no reason");
    ensure!(cluster.supply.boots(3) == 1, "a host that left in good order was fenced");
    cluster.end()
}

#[test]
fn a_cluster_that_is_killed_or_loses_its_power_goes_on_where_it_was() -> Result<()> {
    let configuration = Configuration::of(&VMS).with("off", "").with("cold", "");
    let cluster = Cluster::start(&configuration)?;
    let before = cluster.processes(&VMS)?;
    for _ in 0..3 {
        for host in HOSTS {
            cluster.kill_daemon(host)?;
        }
        cluster.whole()?;
        ensure!(cluster.processes(&VMS)? == before, "VMs were touched");
    }

    cluster.succeeds(2, &["clusvcadm", "-d", "vm:off"])?;
    cluster.succeeds(3, &["clusvcadm", "-Z", "vm:cold"])?;
    // Acknowledged this very moment, and everything goes.
    process::kill_below(&cluster.run.dir, Duration::from_secs(10))?;
    until("the table to be empty", || {
        Ok(HOSTS.iter().all(|host| cluster.seen().on_host(*host).is_empty()).then_some(()))
    })?;
    // A host whose turn came early may have begun to boot, and have lost its power once more, before all were dark.
    until("the hosts to boot", || Ok(HOSTS.iter().all(|host| cluster.supply.boots(*host) >= 2).then_some(())))?;
    cluster.whole()?;
    for vm in VMS {
        cluster.runs(vm)?;
    }
    let (off, cold) = (cluster.service("off")?, cluster.service("cold")?);
    ensure!(off.state == ServiceState::Disabled, "what was disabled is {:?}", off.state);
    ensure!(cold.frozen, "what was frozen is not any more");
    for vm in ["off", "cold"] {
        ensure!(cluster.look()?.running(vm).is_empty(), "{vm} was started, though nobody asked for it");
    }
    cluster.succeeds(1, &["clusvcadm", "-U", "vm:cold"])?;
    cluster.runs("cold")?;
    cluster.succeeds(1, &["clusvcadm", "-e", "vm:off"])?;
    cluster.runs("off")?;
    cluster.end()
}
