//! Lost hosts: dead ones, and the dangerous kind that only looks dead.

use crate::narration::{seconds, took};
use anyhow::{Context, Result, ensure};
use belay_lab::cluster::Cluster;
use belay_lab::{Host, until};
use std::time::Instant;

pub(crate) fn power_cut(cluster: &Cluster) -> Result<()> {
    let victim = cluster.host("h2")?;
    let (survivors, its_vms, boots) = before(cluster, victim)?;
    let cut = Instant::now();
    victim.power_cut()?;
    recovered(cluster, victim, &survivors, &its_vms, cut)?;
    took("survivors agree", cluster.settled(&survivors, seconds(30))?);
    only_these_booted_once_more(cluster, &its_vms, &boots)?;
    ensure!(victim.leader()?.is_none(), "fencing with action=off must leave the host off");

    victim.power_on()?;
    victim.wait_booted(seconds(60))?;
    let all: Vec<&Host> = cluster.lab.hosts().iter().collect();
    took("the host is back as a member", cluster.settled(&all, seconds(60))?);
    only_these_booted_once_more(cluster, &its_vms, &boots)?;
    Ok(())
}

pub(crate) fn cut_link(cluster: &Cluster) -> Result<()> {
    let victim = cluster.host("h3")?;
    let (survivors, its_vms, boots) = before(cluster, victim)?;
    let cut = Instant::now();
    victim.cut_link()?;
    let off = recovered(cluster, victim, &survivors, &its_vms, cut)?;
    for vm in &its_vms {
        for copy in cluster.watch.history(vm).iter().filter(|copy| copy.first > cut) {
            ensure!(copy.first >= off, "{vm} started on {} before {} was off", copy.host, victim.name);
        }
    }
    took("survivors agree", cluster.settled(&survivors, seconds(30))?);

    // Its fencing was a reboot, and its cable is still out: alone it has no quorum, and must do nothing.
    until("the fenced host is switched on", seconds(30), || victim.leader().ok().flatten())?;
    victim.wait_booted(seconds(60))?;
    until("belayd answers on the isolated host", seconds(30), || {
        victim.run("clustat").ok().filter(|ran| ran.stdout.contains("Member Status: Inquorate"))
    })?;
    std::thread::sleep(seconds(8));
    let report = cluster.clustat(victim)?;
    ensure!(!report.quorate, "a host alone calls itself quorate");
    ensure!(cluster.watch.on(&victim.name).is_empty(), "a host without quorum has started VMs");

    victim.heal_link()?;
    let all: Vec<&Host> = cluster.lab.hosts().iter().collect();
    took("the host is back as a member", cluster.settled(&all, seconds(60))?);
    only_these_booted_once_more(cluster, &its_vms, &boots)?;
    Ok(())
}

/// What a lost host ran is not started while nobody knows that the host is dead, however long that takes.
pub(crate) fn silent_bmc(cluster: &Cluster) -> Result<()> {
    let victim = cluster.host("h1")?;
    let (survivors, its_vms, boots) = before(cluster, victim)?;
    victim.silence_bmc(true)?;
    victim.power_cut()?;
    until("corosync drops the host", seconds(30), || ring_of_two(survivors[0]))?;
    std::thread::sleep(seconds(8));
    let running = its_vms.iter().find(|vm| cluster.watch.running(vm).is_some());
    ensure!(running.is_none(), "{running:?} was started though {} was not fenced", victim.name);

    let answers = Instant::now();
    victim.silence_bmc(false)?;
    recovered(cluster, victim, &survivors, &its_vms, answers)?;
    only_these_booted_once_more(cluster, &its_vms, &boots)?;
    victim.power_on()?;
    victim.wait_booted(seconds(60))?;
    let all: Vec<&Host> = cluster.lab.hosts().iter().collect();
    took("the host is back as a member", cluster.settled(&all, seconds(60))?);
    Ok(())
}

pub(crate) fn outage(cluster: &Cluster) -> Result<()> {
    let boots = cluster.boots()?;
    let hosts: Vec<&Host> = cluster.lab.hosts().iter().collect();
    hosts.iter().try_for_each(|host| host.power_cut())?;
    let start = Instant::now();
    cluster.lab.power_on()?;
    cluster.settled(&hosts, seconds(60))?;
    took("from power to all VMs started", start.elapsed());
    only_these_booted_once_more(cluster, cluster.vms(), &boots)
}

type Before<'a> = (Vec<&'a Host>, Vec<String>, Vec<usize>);

fn before<'a>(cluster: &'a Cluster, victim: &Host) -> Result<Before<'a>> {
    let survivors = cluster.lab.hosts().iter().filter(|host| host.name != victim.name).collect();
    let its_vms: Vec<String> = cluster.watch.on(&victim.name).into_iter().map(|copy| copy.vm).collect();
    ensure!(!its_vms.is_empty(), "{} runs nothing, so its loss would prove nothing", victim.name);
    Ok((survivors, its_vms, cluster.boots()?))
}

/// Waits until the victim was switched off by its BMC and its VMs run elsewhere; prints the phases, counted from the
/// `cut`. Returns when it was off.
fn recovered(
    cluster: &Cluster,
    victim: &Host,
    survivors: &[&Host],
    its_vms: &[String],
    cut: Instant,
) -> Result<Instant> {
    until("corosync drops the host", seconds(30), || ring_of_two(survivors[0]))?;
    let detected = cut.elapsed();
    let (off, _) = until("the host is fenced", seconds(60), || {
        let mut calls = cluster.lab.bmc(&victim.name).into_iter().filter(|call| call.at > cut);
        calls.find(belay_lab::bmc::Call::proves_off).map(|call| call.at)
    })?;
    let mut started = Vec::new();
    for vm in its_vms {
        let elsewhere = || cluster.watch.running(vm).filter(|copy| copy.host != victim.name);
        let (copy, _) = until(&format!("{vm} runs elsewhere"), seconds(30), elsewhere)?;
        started.push(copy.first);
    }
    let last = started.into_iter().max().context("no VM was recovered")?;
    took("detected (corosync's new membership)", detected);
    took("fenced", off - cut);
    took("last of its VMs started", last - cut);
    took("from fenced to the last start", last.saturating_duration_since(off));
    Ok(off)
}

fn ring_of_two(host: &Host) -> Option<()> {
    host.run("corosync-quorumtool -s").ok()?.stdout.contains("Nodes:            2").then_some(())
}

fn only_these_booted_once_more(cluster: &Cluster, vms: &[String], before: &[usize]) -> Result<()> {
    let wanted: Vec<usize> =
        cluster.vms().iter().zip(before).map(|(vm, &boots)| boots + usize::from(vms.contains(vm))).collect();
    let (_, _) = until("each recovered VM has booted once more, and no other", seconds(30), || {
        (cluster.boots().ok()? == wanted).then_some(())
    })
    .with_context(|| format!("{vms:?} were recovered; boots before {before:?}, now {:?}", cluster.boots()))?;
    Ok(())
}
