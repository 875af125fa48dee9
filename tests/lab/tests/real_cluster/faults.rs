//! Faults of programs on hosts that stay alive: none of them may cost a VM, and none is a reason to fence.

use crate::narration::{seconds, took};
use anyhow::{Context, Result, ensure};
use belay_lab::cluster::Cluster;
use belay_lab::{Host, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Instant;

pub(crate) fn killed_guest(cluster: &Cluster) -> Result<()> {
    kill_and_wait(cluster, "web1")
}

pub(crate) fn killed_daemon(cluster: &Cluster) -> Result<()> {
    let host = &cluster.lab.hosts()[0];
    undisturbed(cluster, || {
        let before = Cluster::daemon(host)?.context("belayd does not run")?;
        host.must(&format!("kill -KILL {before}"))?;
        comes_back(host, before)?;
        everything_settles(cluster)
    })
}

pub(crate) fn killed_agent(cluster: &Cluster) -> Result<()> {
    let vm = "mail1";
    let host = cluster.place_of(vm)?;
    undisturbed(cluster, || {
        // By its path: the kernel cuts a process's own name to 15 bytes.
        host.must("pkill -KILL -f ^/usr/local/libexec/belay/belay-agent-libvirt")?;
        std::thread::sleep(seconds(2));
        everything_settles(cluster)
    })?;
    kill_and_wait(cluster, vm)
}

pub(crate) fn restarted_libvirtd(cluster: &Cluster) -> Result<()> {
    let host = cluster.place_of("web2")?;
    undisturbed(cluster, || {
        host.must("systemctl restart libvirtd")?;
        // Long enough for a wrong conclusion to be drawn from a connection that broke.
        std::thread::sleep(seconds(3));
        everything_settles(cluster)
    })?;
    kill_and_wait(cluster, "web2")
}

pub(crate) fn live_migration(cluster: &Cluster) -> Result<()> {
    let vm = "db1";
    let from = cluster.place_of(vm)?;
    let hosts = cluster.lab.hosts();
    let to = &hosts[(from.number + 1) % hosts.len()];
    let boots = cluster.lab.boots(vm)?;
    cluster.watch.migrating(vm);
    let moved = from.run_within(&format!("clusvcadm -M vm:{vm} -m {}", to.name), seconds(60))?;
    ensure!(moved.ok(), "clusvcadm -M ended with {:?}: {}{}", moved.code, moved.stdout, moved.stderr);
    took("clusvcadm -M", moved.took);
    until("the source's process is gone", seconds(30), || cluster.watch.running(vm))?;
    cluster.watch.migrated(vm);
    ensure!(cluster.place_of(vm)?.name == to.name, "{vm} is not on {}", to.name);
    ensure!(cluster.lab.boots(vm)? == boots, "{vm} was restarted, not migrated");
    everything_settles(cluster)
}

/// At whatever moment of a migration the daemon of an end is killed: the guest lives on, in one place, and the request is
/// answered.
pub(crate) fn killed_daemon_during_migration(cluster: &Cluster) -> Result<()> {
    let vm = "db1";
    let hosts = cluster.lab.hosts();
    let boots = cluster.lab.boots(vm)?;
    for (end, after_ms) in [("source", 60), ("source", 250), ("source", 450), ("target", 60), ("target", 300)] {
        let from = cluster.place_of(vm)?;
        let to = &hosts[(from.number + 1) % hosts.len()];
        let asked = &hosts[(from.number + 2) % hosts.len()];
        let victim = if end == "source" { from } else { to };
        let before = Cluster::daemon(victim)?.context("belayd does not run")?;
        cluster.watch.migrating(vm);
        // In the background of that host, so that this thread can kill meanwhile.
        let order = format!("(clusvcadm -M vm:{vm} -m {}; echo status $?) > /run/moving 2>&1", to.name);
        asked
            .must(&format!("rm -f /run/moved; setsid sh -c '{order}; mv /run/moving /run/moved' >/dev/null 2>&1 &"))?;
        std::thread::sleep(std::time::Duration::from_millis(after_ms));
        victim.must(&format!("kill -KILL {before}"))?;
        let answered = || asked.run("cat /run/moved").ok().filter(belay_lab::command::Ran::ok);
        let (moved, _) = until("the request is answered", seconds(60), answered)?;
        // Moved, or stayed where it was: both are answers. So is that there is no such target at the moment, when the
        // kill came before the request.
        let no_target = format!("'{}' is offline", to.name);
        let answers = ["status 0", "status 239", &no_target].iter().any(|answer| moved.stdout.contains(answer));
        ensure!(answers, "killed at the {end} after {after_ms} ms: {}", moved.stdout);
        comes_back(victim, before)?;
        until("one process", seconds(30), || cluster.watch.running(vm))?;
        cluster.watch.migrated(vm);
        everything_settles(cluster)?;
        ensure!(cluster.lab.boots(vm)? == boots, "{vm} was started again after a kill at the {end} at {after_ms} ms");
    }
    Ok(())
}

pub(crate) fn stopped_daemon(cluster: &Cluster) -> Result<()> {
    let host = &cluster.lab.hosts()[1];
    undisturbed(cluster, || {
        let stop = host.run_within("systemctl stop belayd", seconds(60))?;
        ensure!(stop.ok(), "systemctl stop belayd: {}", stop.stderr);
        took("systemctl stop belayd", stop.took);
        std::thread::sleep(seconds(5));
        ensure!(Cluster::daemon(host)?.is_none(), "belayd did not stay stopped");
        host.must("systemctl start belayd")?;
        everything_settles(cluster)
    })
}

pub(crate) fn frozen_daemon(cluster: &Cluster) -> Result<()> {
    let host = &cluster.lab.hosts()[2];
    undisturbed(cluster, || {
        let before = Cluster::daemon(host)?.context("belayd does not run")?;
        host.must(&format!("kill -STOP {before}"))?;
        comes_back(host, before)?;
        everything_settles(cluster)
    })
}

/// To its peers a host without corosync is a lost host. Whoever wants to restart corosync alone gives it the time to come
/// back; the daemon itself has to live through it.
pub(crate) fn restarted_corosync(cluster: &Cluster) -> Result<()> {
    let host = &cluster.lab.hosts()[0];
    cluster.reconfigure(2, 15)?;
    undisturbed(cluster, || {
        let before = Cluster::daemon(host)?;
        let restart = host.run_within("systemctl restart corosync", seconds(60))?;
        ensure!(restart.ok(), "systemctl restart corosync: {restart:?}");
        everything_settles(cluster)?;
        ensure!(Cluster::daemon(host)? == before, "belayd was restarted with corosync");
        Ok(())
    })?;
    cluster.reconfigure(3, 0)
}

/// Nothing done in `scene` may end, restart or move a VM, or fence a host.
fn undisturbed(cluster: &Cluster, scene: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = (cluster.processes()?, cluster.boots()?, cluster.fenced());
    scene()?;
    let after = (cluster.processes()?, cluster.boots()?, cluster.fenced());
    ensure!(before == after, "processes, boots, fenced hosts: {before:?} became {after:?}");
    Ok(())
}

fn everything_settles(cluster: &Cluster) -> Result<()> {
    let all: Vec<&Host> = cluster.lab.hosts().iter().collect();
    took("settled", cluster.settled(&all, seconds(40))?);
    Ok(())
}

fn comes_back(host: &Host, before: i32) -> Result<()> {
    let another = || Cluster::daemon(host).ok().flatten().filter(|&pid| pid != before);
    let (_, time) = until("systemd restarts belayd", seconds(60), another)?;
    took("belayd restarted", time);
    Ok(())
}

fn kill_and_wait(cluster: &Cluster, vm: &str) -> Result<()> {
    let before = cluster.watch.running(vm).with_context(|| format!("{vm} does not run"))?;
    let boots = cluster.lab.boots(vm)?;
    let start = Instant::now();
    kill(Pid::from_raw(before.pid), Signal::SIGKILL)?;
    let another = || cluster.watch.running(vm).filter(|copy| copy.pid != before.pid);
    let (after, _) = until("the VM has a new process", seconds(30), another)?;
    took("from kill -9 to the new QEMU process", after.first.duration_since(start));
    ensure!(after.host == before.host, "{vm} was moved to {} by its first death", after.host);
    until("the VM boots", seconds(30), || (cluster.lab.boots(vm).ok()? == boots + 1).then_some(()))?;
    everything_settles(cluster)
}
