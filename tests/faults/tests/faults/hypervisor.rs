//! Hypervisors that hang, agents that die, and a VM that does not move: what cannot be asked is not stopped.

use anyhow::{Result, ensure};
use belay_faults::{Cluster, Configuration, until};
use belay_proto::service::ServiceState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const VMS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];
const AGENT: &str = "belay-agent-libvirt";

fn signal(pid: i32, with: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(pid), with)?)
}

/// All VMs are started where they were, in the same processes, and nobody decided anything about them.
fn untouched(cluster: &Cluster, before: &[(i32, u64)]) -> Result<()> {
    for (vm, (pid, epoch)) in VMS.iter().zip(before) {
        let service = cluster.service(vm)?;
        ensure!(service.state == ServiceState::Started, "{vm} is called {:?}", service.state);
        ensure!(service.epoch.0 == *epoch, "something was decided about {vm}");
        let seen = cluster.look()?.running(vm);
        ensure!(seen.len() == 1 && seen[0].pid == *pid, "{vm} was process {pid}, now {seen:?}");
    }
    Ok(())
}

fn processes_and_epochs(cluster: &Cluster) -> Result<Vec<(i32, u64)>> {
    VMS.iter().map(|vm| Ok((cluster.runs(vm)?.pid, cluster.service(vm)?.epoch.0))).collect()
}

#[test]
fn an_agent_killed_while_vms_run_or_start_harms_none_of_them() -> Result<()> {
    let configuration = Configuration::of(&VMS).with("subject", "autostart=\"0\"");
    let cluster = Cluster::start(&configuration)?;
    let before = processes_and_epochs(&cluster)?;
    for host in 1..=3 {
        let old = cluster.program(host, AGENT)?;
        signal(old, Signal::SIGKILL)?;
        until("another agent", || Ok(cluster.programs(host, AGENT).iter().any(|pid| *pid != old).then_some(())))?;
    }
    cluster.whole()?;
    untouched(&cluster, &before)?;

    // The new agent sees a death as well as the old one did.
    let (victim, host) = (cluster.runs("one")?, cluster.runs("one")?.host);
    signal(victim.pid, Signal::SIGKILL)?;
    until("the VM that died to be back", || Ok(cluster.running("one")?.filter(|copy| copy.pid != victim.pid)))?;
    ensure!(cluster.runs("one")?.host == host, "it was restarted elsewhere");

    // While one starts: at the order, and once the process is there.
    let mut ups = 0;
    for with_process in [false, true] {
        let agent = cluster.program(3, AGENT)?;
        if !with_process {
            // It does not get further than this, however late the test looks.
            signal(agent, Signal::SIGSTOP)?;
        }
        let asked = cluster.ask(1, &["clusvcadm", "-e", "vm:subject", "-m", "node3"]);
        until("the start", || {
            let process = !cluster.seen().running("subject").is_empty();
            let starting = cluster.service("subject")?.state == ServiceState::Starting;
            Ok((if with_process { process } else { starting }).then_some(()))
        })?;
        signal(agent, Signal::SIGKILL)?;
        let printed = asked.wait()?;
        ensure!(printed.ok(), "{}: {}", printed.ended, printed.text);
        cluster.runs("subject")?;
        ups += 1;
        cluster.guest_is_up("subject", ups)?;
        cluster.whole()?;
        cluster.succeeds(1, &["clusvcadm", "-d", "vm:subject"])?;
        ensure!(cluster.look()?.running("subject").is_empty(), "it is called disabled and runs");
    }
    cluster.end()
}

#[test]
fn a_hypervisor_or_a_vm_that_hangs_is_not_taken_for_stopped() -> Result<()> {
    let configuration = Configuration::of(&VMS);
    let cluster = Cluster::start(&configuration)?;
    let before = processes_and_epochs(&cluster)?;
    let frozen = cluster.seen().on_host(2)[0].1.pid;
    let (hung, healthy) = (cluster.program(1, AGENT)?, cluster.program(2, AGENT)?);
    signal(hung, Signal::SIGSTOP)?;
    signal(frozen, Signal::SIGSTOP)?;
    until("the agent that hangs to be replaced", || {
        untouched(&cluster, &before)?;
        Ok(cluster.programs(1, AGENT).iter().any(|pid| *pid != hung).then_some(()))
    })?;
    let log = cluster.log(1);
    ensure!(log.contains("hangs: it let a call's deadline pass"), "the log does not say why: {log}");
    cluster.whole()?;
    untouched(&cluster, &before)?;
    ensure!(cluster.program(2, AGENT)? == healthy, "a VM that hangs took its agent along");
    signal(frozen, Signal::SIGCONT)?;
    untouched(&cluster, &before)?;
    cluster.end()
}
