//! `kill -9` of a daemon at any step of a start, a stop, a relocation and of fencing. (A migration needs a
//! libvirtd on each host, which these hosts do not have.)

use anyhow::{Context, Result, bail, ensure};
use belay_faults::{Cluster, Configuration, fence_script, until};
use belay_proto::NodeId;
use belay_proto::control::{MemberState, MemberStatus, ServiceStatus};
use belay_proto::service::ServiceState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The VM that things are done with. Nobody starts it but the tests.
const SUBJECT: &str = "subject";
const SERVICE: &str = "vm:subject";

/// VMs that have nothing to do with it.
const BYSTANDERS: [&str; 3] = ["left1", "left2", "left3"];

/// A step of a request, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The service is in this state, on this host if one is named.
    State(ServiceState, Option<u32>),
    /// The VM's process is there, on this host.
    Process(u32),
    /// It is gone, from everywhere.
    NoProcess,
}

/// Gives the request through node 1, kills the daemon of `victim` when the step is seen, and waits for the answer.
fn killed_at(cluster: &Cluster, request: &[&str], step: Step, victim: u32) -> Result<()> {
    let before: Vec<i32> = cluster.processes(&BYSTANDERS)?;
    let observer = if victim == 3 { 2 } else { 3 };
    let old = cluster.seen().running(SUBJECT);
    let held = hold(cluster, step)?;
    let asked = cluster.ask(1, request);
    let what = format!("`{}`, belayd of node{victim} killed at {step:?}", request.join(" "));
    until(&what, || {
        let ended = asked.ended();
        let seen = match step {
            Step::State(state, owner) => {
                let service = service(cluster, observer)?;
                service.state == state && owner.is_none_or(|owner| service.owner == Some(NodeId(owner)))
            }
            Step::Process(host) => {
                cluster.seen().running(SUBJECT).iter().any(|copy| copy.host == host && !old.contains(copy))
            }
            Step::NoProcess => cluster.seen().running(SUBJECT).is_empty(),
        };
        // The last step and the answer come at the same moment.
        if ended && !seen {
            return Ok(Some(false));
        }
        Ok(seen.then_some(true))
    })?
    .then_some(())
    .map_or_else(|| bail!("{what}: the step was never seen"), Ok)?;
    cluster.kill_daemon(victim)?;
    if let Some(agent) = held {
        // Its daemon may have been the victim, and have taken it along.
        let _ = kill(Pid::from_raw(agent), Signal::SIGCONT);
    }
    let printed = asked.wait()?;
    ensure!(printed.ok(), "{what}: {}: {}", printed.ended, printed.text);
    cluster.whole()?;
    ensure!(cluster.processes(&BYSTANDERS)? == before, "{what}: VMs that have nothing to do with it were touched");
    Ok(())
}

/// A start can be over before the test has looked. The agent that has to do it stands still until the test has struck.
fn hold(cluster: &Cluster, step: Step) -> Result<Option<i32>> {
    let Step::State(ServiceState::Starting, Some(host)) = step else { return Ok(None) };
    let agent = cluster.program(host, "belay-agent-libvirt")?;
    kill(Pid::from_raw(agent), Signal::SIGSTOP)?;
    Ok(Some(agent))
}

fn service(cluster: &Cluster, observer: u32) -> Result<ServiceStatus> {
    let status = cluster.status(observer)?;
    let found = status.services.into_iter().find(|service| service.name.to_string() == SERVICE);
    found.context("no such service")
}

/// The number of processes the VM has had.
fn starts(cluster: &Cluster) -> usize {
    cluster.seen().copies.get(SUBJECT).map_or(0, Vec::len)
}

#[test]
fn a_daemon_killed_at_any_step_of_a_start_or_a_stop_changes_nothing_but_the_time_it_takes() -> Result<()> {
    let configuration = Configuration::of(&BYSTANDERS).with(SUBJECT, "autostart=\"0\"");
    let cluster = Cluster::start(&configuration)?;
    let start = ["clusvcadm", "-e", SERVICE, "-m", "node2"];
    let stop = ["clusvcadm", "-d", SERVICE];
    let starting = Step::State(ServiceState::Starting, Some(2));
    let stopping = Step::State(ServiceState::Stopping, None);
    let started = Step::State(ServiceState::Started, Some(2));
    let rounds = [
        ((starting, 1), (stopping, 1)),
        ((starting, 2), (stopping, 2)),
        ((Step::Process(2), 2), (Step::NoProcess, 2)),
        ((started, 2), (Step::State(ServiceState::Disabled, None), 2)),
    ];
    for (start_at, stop_at) in rounds {
        killed_at(&cluster, &start, start_at.0, start_at.1)?;
        let copy = cluster.runs(SUBJECT)?;
        cluster.guest_is_up(SUBJECT, starts(&cluster))?;
        ensure!(copy.host == 2, "it was started on node{} although node2 was asked for", copy.host);
        if start_at.0 == started {
            ensure!(cluster.look()?.running(SUBJECT)[0].pid == copy.pid, "a VM that ran was started again");
        }
        killed_at(&cluster, &stop, stop_at.0, stop_at.1)?;
        ensure!(cluster.service(SUBJECT)?.state == ServiceState::Disabled, "it is not disabled");
        ensure!(cluster.look()?.running(SUBJECT).is_empty(), "it is called disabled and runs");
    }
    ensure!(starts(&cluster) == rounds.len(), "{} starts, {} processes", rounds.len(), starts(&cluster));
    cluster.end()
}

#[test]
fn a_daemon_killed_at_any_step_of_a_relocation_changes_nothing_but_the_time_it_takes() -> Result<()> {
    let configuration = Configuration::of(&BYSTANDERS).with(SUBJECT, "autostart=\"0\"");
    let cluster = Cluster::start(&configuration)?;
    cluster.succeeds(1, &["clusvcadm", "-e", SERVICE, "-m", "node2"])?;
    let starting = |on| Step::State(ServiceState::Starting, Some(on));
    let stopping = Step::State(ServiceState::Stopping, None);
    // From node 2 to node 3 and back; the victim is the asked host, the source or the target.
    let moves: [(u32, Step, u32); 6] = [
        (3, stopping, 2),
        (2, stopping, 1),
        (3, starting(3), 3),
        (2, starting(2), 3),
        (3, Step::Process(3), 3),
        (2, Step::State(ServiceState::Started, Some(2)), 2),
    ];
    for (round, (to, step, victim)) in moves.into_iter().enumerate() {
        let target = format!("node{to}");
        killed_at(&cluster, &["clusvcadm", "-r", SERVICE, "-m", &target], step, victim)?;
        let copy = cluster.runs(SUBJECT)?;
        cluster.guest_is_up(SUBJECT, starts(&cluster))?;
        ensure!(copy.host == to, "round {round}: it runs on node{} and not on node{to}", copy.host);
        ensure!(starts(&cluster) == round + 2, "round {round}: {} processes so far", starts(&cluster));
    }
    cluster.end()
}

/// A step of fencing, seen from outside.
#[derive(Clone, Copy, Debug)]
enum Fencing {
    /// The others know that the host is lost.
    Lost,
    /// A fence agent is at work.
    AgentAtWork,
    /// It is confirmed, and the host's VMs are about to start elsewhere.
    Confirmed,
}

fn member(cluster: &Cluster, host: u32) -> Result<MemberStatus> {
    let found = cluster.any_status()?.members.into_iter().find(|member| member.id == NodeId(host));
    found.context("no such member")
}

#[test]
fn a_daemon_killed_at_any_step_of_fencing_only_delays_it() -> Result<()> {
    const AGENT: &str = "fence_slow";
    let configuration = Configuration { agent: AGENT.into(), ..Configuration::of(&BYSTANDERS) };
    let cluster = Cluster::build(&configuration)?;
    fence_script(&cluster.run, AGENT, "sleep 0.7; fenced")?;
    cluster.switch_on()?;
    cluster.all_run(&configuration)?;
    for (round, step) in [Fencing::Lost, Fencing::AgentAtWork, Fencing::Confirmed].into_iter().enumerate() {
        // Whoever runs something; the fencer is the lowest of the others, and runs the agent.
        let (victim, lost) = (1..=3)
            .rev()
            .map(|host| (host, cluster.seen().on_host(host)))
            .max_by_key(|(_, vms)| vms.len())
            .filter(|(_, vms)| !vms.is_empty())
            .context("nothing runs anywhere")?;
        let fencer = if victim == 1 { 2 } else { 1 };
        let boots = cluster.supply.boots(victim);
        cluster.silence(victim)?;
        let what = format!("round {round}: node{victim} is silent, node{fencer} is killed at {step:?}");
        until(&what, || {
            Ok(match step {
                Fencing::Lost => member(&cluster, victim)?.state == MemberState::Lost,
                Fencing::AgentAtWork => !cluster.programs(fencer, AGENT).is_empty(),
                Fencing::Confirmed => member(&cluster, victim)?.state == MemberState::Down,
            }
            .then_some(()))
        })?;
        cluster.kill_daemon(fencer)?;
        for (vm, old) in &lost {
            let new = cluster.runs_elsewhere(vm, old)?;
            let copies = cluster.seen().copies.remove(vm).unwrap_or_default();
            let went = copies.iter().find(|copy| copy.pid == old.pid).and_then(|copy| copy.went);
            ensure!(went.is_some_and(|went| went <= new.came), "{what}: {vm} was started too early: {copies:?}");
        }
        // Off is the proof; whoever lives then switches the host on again.
        until("the fenced host to boot", || Ok((cluster.supply.boots(victim) > boots).then_some(())))?;
        cluster.whole()?;
    }
    cluster.end()
}
