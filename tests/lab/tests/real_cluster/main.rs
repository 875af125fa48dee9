//! Belay on three real hosts: systemd, journald, corosync, libvirtd, QEMU and `fence_ipmilan`, none of them a stand-in.
//!
//! One story in a fixed order, since hosts are dear and each step should find a cluster that has lived through the ones
//! before. Throughout, a witness counts each VM's processes in this machine's own process table: never two.

mod faults;
mod losses;
mod narration;

use anyhow::{Context, Result, ensure};
use belay_lab::cluster::Cluster;
use belay_lab::until;
use narration::{seconds, step, took};
use std::time::Instant;

#[test]
fn a_real_cluster_keeps_its_vms_running_and_never_runs_one_twice() {
    let start = Instant::now();
    step("three hosts boot with corosync, libvirtd and belayd");
    // h2 stays off when fenced and h3 comes back by itself, so that both ways of fencing are walked.
    let hosts = [("h1", "off"), ("h2", "off"), ("h3", "reboot")];
    let cluster = Cluster::boot(&hosts, &["web1", "web2", "db1", "mail1"]).unwrap();
    took("units started", start.elapsed());
    story(&cluster).unwrap();
    took("the whole story", start.elapsed());
}

fn story(cluster: &Cluster) -> Result<()> {
    type Scene = (&'static str, fn(&Cluster) -> Result<()>);
    let scenes: &[Scene] = &[
        ("the cluster forms and starts its VMs, the same on every host", forming),
        ("the journal carries fields to search by", journal),
        ("a QEMU process is killed and the VM is back in its place", faults::killed_guest),
        ("belayd is killed; systemd restarts it and no VM notices", faults::killed_daemon),
        ("the libvirt agent is killed; no VM notices, and a death after it is still seen", faults::killed_agent),
        ("libvirtd is restarted; no VM notices, and a death after it is still seen", faults::restarted_libvirtd),
        ("a VM migrates while it runs", faults::live_migration),
        ("belayd is killed at either end of a migration; the guest lives on", faults::killed_daemon_during_migration),
        ("belayd is stopped and started again; its VMs run on", faults::stopped_daemon),
        ("belayd is frozen; its watchdog restarts it and no VM notices", faults::frozen_daemon),
        ("corosync is restarted under belayd", faults::restarted_corosync),
        ("a host loses power; it is fenced and its VMs run elsewhere", losses::power_cut),
        ("a host loses its link with its VMs running; it is fenced before they start elsewhere", losses::cut_link),
        ("a host loses power and its BMC is silent; its VMs wait for the proof", losses::silent_bmc),
        ("all hosts lose power and come back", losses::outage),
    ];
    for (name, scene) in scenes {
        step(name);
        let start = Instant::now();
        scene(cluster)?;
        // Whatever happens in a scene: nothing ever runs twice.
        ensure!(cluster.watch.violations().is_empty(), "{}", cluster.watch.violations().join("; "));
        took("scene", start.elapsed());
    }
    ensure!(cluster.watch.most() == 1, "most copies of a VM at once: {}", cluster.watch.most());
    eprintln!("   at most 1 process of each VM in {} looks at the process table", cluster.watch.samples());
    Ok(())
}

fn forming(cluster: &Cluster) -> Result<()> {
    let all: Vec<_> = cluster.lab.hosts().iter().collect();
    took("all VMs started after boot", cluster.settled(&all, seconds(60))?);
    for host in &all {
        ensure!(!cluster.watch.on(&host.name).is_empty(), "{} runs nothing: the VMs are not spread", host.name);
    }
    let once = || cluster.boots().ok().filter(|boots| boots.iter().all(|&times| times == 1));
    until("each guest has booted, once", seconds(30), once).with_context(|| format!("{:?}", cluster.boots()))?;
    ensure!(cluster.fenced() == 0, "hosts were fenced while the cluster formed");
    Ok(())
}

/// What an admin types to see the life of one VM.
fn journal(cluster: &Cluster) -> Result<()> {
    let host = cluster.place_of("web1")?;
    let text = host.must("journalctl --unit=belayd --output=json BELAY_SERVICE=vm:web1")?;
    let entries: Vec<serde_json::Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!entries.is_empty(), "no journal entry of {} has BELAY_SERVICE=vm:web1", host.name);
    for field in ["BELAY_NODE", "BELAY_ENTRY", "BELAY_CAUSE", "MESSAGE"] {
        let found = entries.iter().any(|entry| entry.get(field).is_some());
        ensure!(found, "no journal entry about vm:web1 has the field {field}: {text}");
    }
    for host in cluster.lab.hosts() {
        let leaked = host.run(&format!("journalctl --output=json | grep --count {}", belay_lab::bmc::PASSWORD))?;
        ensure!(leaked.stdout.trim() == "0", "the BMCs' password is in the journal of {}", host.name);
    }
    Ok(())
}
