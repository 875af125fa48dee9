//! Chapters one and two: three daemons become a cluster, and the cluster starts its VMs.

use super::{PATIENCE, Stage, service, whole};
use crate::process;
use crate::report::millis;
use crate::world::{GUIDE_VM, VMS};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub(super) const ABOUT: &str = "Every host runs belayd, the daemon that watches the virtual machines (VMs). The \
    daemons find each other and count: only while more than half of the hosts are together (a quorum) may anything be \
    started, so that two halves of a broken network never start the same VM twice.";

pub(super) const ABOUT_VMS: &str = "cluster.conf lists five VMs. Four have to run whenever the cluster does. The fifth \
    is the line from the guide: autostart=\"0\", so it waits until somebody enables it.";

/// How long the daemons are watched doing nothing.
const IDLE_WATCH: Duration = Duration::from_secs(3);

pub(super) fn cluster(stage: &mut Stage) -> Result<()> {
    let start = Instant::now();
    stage.supply.switch_on()?;
    stage.screen.event("node1, node2 and node3 are switched on");
    let hosts = stage.run.hosts();
    let mut answering = BTreeSet::new();
    stage.wait("three hosts to form a quorate cluster", || {
        let mut all = true;
        for host in &hosts {
            match stage.status(host.id) {
                Ok(status) => {
                    if answering.insert(host.id) {
                        stage.screen.event(&format!("belayd answers on {}", host.name));
                    }
                    all &= whole(&status, &hosts);
                }
                Err(error) if answering.len() == hosts.len() => return Err(error),
                Err(_) => all = false,
            }
        }
        Ok(all.then_some(()))
    })?;
    stage.report.forming_ms = millis(start.elapsed());
    stage.screen.event("all three see each other: the cluster is quorate (3 votes, 2 needed)");
    Ok(())
}

pub(super) fn vms(stage: &mut Stage) -> Result<()> {
    let mut shown = BTreeSet::new();
    stage.wait("the four VMs to start", || {
        for vm in VMS.iter().filter(|vm| **vm != GUIDE_VM) {
            if shown.contains(vm) {
                continue;
            }
            if let Some(copy) = stage.running(1, vm, 0)? {
                shown.insert(vm);
                stage.screen.event(&format!("{vm:<8} runs on node{} (QEMU process {})", copy.host, copy.pid));
            }
        }
        Ok((shown.len() + 1 == VMS.len()).then_some(()))
    })?;
    if !stage.sampler.seen().running(GUIDE_VM).is_empty() {
        bail!("{GUIDE_VM} runs, although nobody enabled it");
    }
    let name = format!("vm:{GUIDE_VM}");
    stage.show_success(1, &["clusvcadm", "-e", &name])?;
    let copy = stage.wait("mytestVM to run", || stage.running(1, GUIDE_VM, 0))?;
    stage.screen.event(&format!("{GUIDE_VM} runs on node{} (QEMU process {})", copy.host, copy.pid));
    for vm in VMS {
        stage.guest_up(vm, 0)?;
    }
    stage.screen.event("all five guests have written \"UP\" to their serial consoles");
    stage.show_success(1, &["clustat"])?;
    idle(stage)
}

/// What the daemons cost while nothing happens.
fn idle(stage: &mut Stage) -> Result<()> {
    // The last outcome is still being noted on disk.
    std::thread::sleep(Duration::from_millis(500));
    let hosts: Vec<_> = stage.run.hosts().into_iter().map(|host| (host.name.clone(), daemons(&host.dir))).collect();
    let cpu = |pids: &[i32]| pids.iter().map(|pid| process::cpu_time(*pid)).sum::<Duration>();
    let before: Vec<Duration> = hosts.iter().map(|(_, pids)| cpu(pids)).collect();
    let start = Instant::now();
    std::thread::sleep(IDLE_WATCH);
    for ((name, pids), before) in hosts.iter().zip(before) {
        if pids.len() < 2 {
            bail!("belayd and its agent do not both run on {name}");
        }
        let took = cpu(pids).saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
        let resident = pids.iter().filter_map(|pid| process::resident_kib(*pid)).sum();
        stage.report.idle_cpu_percent.insert(name.clone(), (took * 100.0).round() / 100.0);
        stage.report.resident_kib.insert(name.clone(), resident);
    }
    let resident = stage.report.resident_kib.values().max().copied().unwrap_or(0) / 1024;
    let cpu = stage.report.idle_cpu_percent.values().copied().fold(0.0, f64::max);
    stage.screen.event(&format!(
        "watching costs next to nothing: belayd and its agent take {resident} MiB and {cpu:.1} % of a core per host"
    ));
    Ok(())
}

/// belayd and its agent on one host.
fn daemons(folder: &std::path::Path) -> Vec<i32> {
    let wanted = |pid: &i32| {
        process::carries(*pid, folder)
            && process::stat(*pid).is_some_and(|stat| stat.name == "belayd" || stat.name.starts_with("belay-agent"))
    };
    process::all().into_iter().filter(wanted).collect()
}

/// Which host a VM runs on by the cluster's word, for chapters that follow.
pub(super) fn owner(stage: &Stage, asked: u32, vm: &str) -> Result<u32> {
    let status = stage.status(asked)?;
    match service(&status, vm).and_then(|service| service.owner) {
        Some(owner) => Ok(owner.0),
        None => bail!("{vm} runs nowhere (waited up to {} s before)", PATIENCE.as_secs()),
    }
}
