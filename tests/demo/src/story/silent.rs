//! Chapter four: a host goes silent while its VMs run on, the case in which a wrong guess ruins a disk.

use super::{Stage, whole};
use crate::process;
use crate::report::{Phases, millis};
use crate::sampler::Copy;
use crate::screen::{list, seconds};
use anyhow::{Context, Result, bail};
use belay_proto::NodeId;
use belay_proto::control::{MemberState, MemberStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Instant;

pub(super) const ABOUT: &str = "belayd and its agent on one host are stopped, as on a machine that hangs. Its VMs run \
    on and write to their disks, but nobody can ask them. Starting them elsewhere now would run them twice and ruin \
    those disks. So the others first have the host's power cut (fencing), and only when that is confirmed do they \
    start its VMs.";

/// What was lost and what came of it.
struct Loss {
    victim: u32,
    /// The host that is asked meanwhile.
    asked: u32,
    /// The VMs that ran on it, with their processes and the epochs of the last decisions about them.
    vms: Vec<(String, Copy, u64)>,
    start: Instant,
}

pub(super) fn host(stage: &mut Stage) -> Result<()> {
    let loss = fall_silent(stage)?;
    let detected = detect(stage, &loss)?;
    let fenced = fence(stage, &loss)?;
    let recovered = recover(stage, &loss)?;
    let phase = |from: Instant, to: Instant| millis(to.saturating_duration_since(from));
    stage.report.host_death_phases_ms =
        Phases { detect: phase(loss.start, detected), fence: phase(detected, fenced), start: phase(fenced, recovered) };
    stage.report.host_death_to_running_ms = phase(loss.start, recovered);
    stage.report.host_death_vms = loss.vms.len();
    come_back(stage, &loss)
}

/// The host with the most VMs; the lowest number among equals.
fn fall_silent(stage: &Stage) -> Result<Loss> {
    let seen = stage.sampler.seen();
    let hosts = stage.run.hosts();
    let victim = hosts.iter().rev().max_by_key(|host| seen.on_host(host.id).len()).context("no hosts")?;
    let asked = hosts.iter().find(|host| host.id != victim.id).context("no other host")?.id;
    let mut vms = Vec::new();
    for (vm, copy) in seen.on_host(victim.id) {
        let epoch = stage.epoch(asked, &vm)?;
        vms.push((vm, copy, epoch));
    }
    if vms.is_empty() {
        bail!("{} runs no VM: there is nothing to show", victim.name);
    }
    let start = Instant::now();
    // The supervisor first, or it would start the daemon again.
    let mut stopped: Vec<i32> = process::all().into_iter().filter(|pid| process::carries(*pid, &victim.dir)).collect();
    stopped.sort_unstable();
    for pid in &stopped {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP).with_context(|| format!("cannot stop process {pid}"))?;
    }
    let names: Vec<String> = vms.iter().map(|(vm, ..)| vm.clone()).collect();
    stage.screen.event(&format!("{} falls silent (kill -STOP {})", victim.name, ids(&stopped)));
    stage.screen.event(&format!("its VMs run on, unwatched: {}", list(&names)));
    Ok(Loss { victim: victim.id, asked, vms, start })
}

fn ids(pids: &[i32]) -> String {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn member(stage: &Stage, loss: &Loss) -> Result<MemberStatus> {
    let status = stage.status(loss.asked)?;
    status.members.into_iter().find(|member| member.id == NodeId(loss.victim)).context("the host is no member at all")
}

/// Until the survivors call the host lost. Its VMs must run at that moment: that is the point of the chapter.
fn detect(stage: &Stage, loss: &Loss) -> Result<Instant> {
    let victim = loss.victim;
    let state = stage.wait("the others to notice the silence", || {
        Ok(Some(member(stage, loss)?).filter(|member| !member.online).map(|member| member.state))
    })?;
    let detected = Instant::now();
    let after = detected.duration_since(loss.start);
    stage.screen.event(&format!("+{}: the others agree that node{victim} is lost", seconds(after)));
    if state == MemberState::Lost {
        let left = stage.sampler.seen().on_host(victim).len();
        stage.screen.event(&format!("         {left} of its VMs still run there, so none is started elsewhere yet"));
    }
    Ok(detected)
}

/// Until the cluster holds the host's power to be cut, which must be true: none of its processes is left.
fn fence(stage: &Stage, loss: &Loss) -> Result<Instant> {
    let victim = loss.victim;
    stage.wait(&format!("the fencing of node{victim} to be confirmed"), || {
        Ok((member(stage, loss)?.state == MemberState::Down).then_some(()))
    })?;
    let fenced = Instant::now();
    let read_before = stage.sampler.seen().samples;
    let seen = stage.wait("the process table to be read again", || {
        Ok(Some(stage.sampler.seen()).filter(|seen| seen.samples > read_before + 1))
    })?;
    let mut until = Vec::new();
    for (vm, copy, _) in &loss.vms {
        let copies = seen.copies.get(vm).map_or(&[][..], Vec::as_slice);
        let Some(went) = copies.iter().find(|other| other.pid == copy.pid).and_then(|copy| copy.went) else {
            bail!("fencing of node{victim} was confirmed while its {vm} (process {}) still ran", copy.pid);
        };
        until.push(format!("{vm} until +{}", seconds(went.saturating_duration_since(loss.start))));
    }
    let after = seconds(fenced.duration_since(loss.start));
    stage.screen.event(&format!("+{after}: node{victim}'s power was cut by fence_belay_demo, and that is confirmed"));
    stage.screen.event(&format!("         its VMs had run on until then: {}", list(&until)));
    Ok(fenced)
}

/// Until the last VM runs elsewhere; none may have come before its old copy went.
fn recover(stage: &Stage, loss: &Loss) -> Result<Instant> {
    let mut last = loss.start;
    let mut recovered = std::collections::BTreeSet::new();
    stage.wait("the lost host's VMs to run elsewhere", || {
        for (vm, old, epoch) in loss.vms.iter().filter(|(vm, ..)| !recovered.contains(vm)).collect::<Vec<_>>() {
            if let Some(new) = stage.running(loss.asked, vm, *epoch)?.filter(|new| new.pid != old.pid) {
                last = Instant::now();
                let after = last.duration_since(loss.start);
                stage.screen.event(&format!("+{}: {vm} runs on node{}", seconds(after), new.host));
                recovered.insert(vm.clone());
            }
        }
        Ok((recovered.len() == loss.vms.len()).then_some(()))
    })?;
    let seen = stage.sampler.seen();
    for (vm, old, _) in &loss.vms {
        let copies = seen.copies.get(vm).map_or(&[][..], Vec::as_slice);
        let went = copies.iter().find(|copy| copy.pid == old.pid).and_then(|copy| copy.went);
        let came = copies.iter().filter(|copy| copy.came > loss.start).map(|copy| copy.came).min();
        match (went, came) {
            (Some(went), Some(came)) if went <= came => {}
            _ => bail!("{vm} was started elsewhere before its old copy was gone"),
        }
    }
    Ok(last)
}

/// The host boots, and is a member again, without anything it ran before.
fn come_back(stage: &Stage, loss: &Loss) -> Result<()> {
    let victim = loss.victim;
    let hosts = stage.run.hosts();
    stage.wait("the fenced host to boot", || Ok((stage.supply.boots(victim) >= 2).then_some(())))?;
    stage.screen.event(&format!("node{victim} has power again and boots"));
    stage.wait("the fenced host to be a member again", || {
        let all = hosts.iter().map(|host| stage.status(host.id)).collect::<Result<Vec<_>>>()?;
        // A member says what there is to say of it until its hypervisor has answered.
        let ready = member(stage, loss)?.detail.is_empty();
        Ok((ready && all.iter().all(|status| whole(status, &hosts))).then_some(()))
    })?;
    stage.screen.event(&format!("node{victim} is a member again; the VMs stay where they are: no needless move"));
    Ok(())
}
