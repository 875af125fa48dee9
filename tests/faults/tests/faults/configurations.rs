//! A `cluster.conf` that is broken, for a daemon that starts and for one that runs; and a newer one.

use anyhow::{Result, ensure};
use belay_demo::reaper::Ended;
use belay_faults::{Cluster, Configuration, PATIENCE, until};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;

const VMS: [&str; 3] = ["one", "two", "three"];

/// The tag of line 4 has no end: the parser notices at the `<` of line 5.
const BROKEN: &str =
    "<?xml version=\"1.0\"?>\n<cluster name=\"faults\" config_version=\"7\">\n  <rm/>\n  <clusternodes\n</cluster>\n";
const WHERE: &str = "cluster.conf:5:1";

#[test]
fn a_daemon_with_a_broken_configuration_says_where_and_does_not_start() -> Result<()> {
    let cluster = Cluster::build(&Configuration::of(&VMS))?;
    let host = cluster.run.host(1);
    fs::write(host.config(), BROKEN)?;
    let mut command = Command::new(cluster.run.bin().join("belayd"));
    command.arg("--config").arg(host.config()).args(["--node", "node1", "--ring", "local", "--log", "stderr"]);
    command.arg("--ring-dir").arg(cluster.run.ring()).arg("--state-dir").arg(host.store());
    command.arg("--socket").arg(host.socket());
    let printed = cluster.reaper.run(&mut command, PATIENCE)?;
    ensure!(printed.ended == Ended::Code(78), "it ended with {}: {}", printed.ended, printed.text);
    ensure!(printed.text.contains(WHERE), "it does not say where: {}", printed.text);
    cluster.supply.shut_down()?;
    cluster.finish();
    Ok(())
}

#[test]
fn a_running_daemon_takes_a_newer_configuration_and_nothing_of_a_broken_one() -> Result<()> {
    let configuration = Configuration::of(&VMS);
    let cluster = Cluster::start(&configuration)?;
    let before = cluster.processes(&VMS)?;
    let host = cluster.run.host(1);

    fs::write(host.config(), BROKEN)?;
    let daemon = cluster.signal_daemon(1, Signal::SIGHUP)?;
    cluster.logs(1, WHERE)?;
    cluster.logs(1, "nothing is changed")?;
    ensure!(cluster.program(1, "belayd")? == daemon, "the daemon ended");
    ensure!(cluster.status(1)?.config_version == 1, "something was taken of it");

    // It cannot start with that file either; its VMs run on until somebody mends it.
    cluster.kill_daemon(1)?;
    cluster.logs(1, "ended (exit code 78)")?;
    ensure!(VMS.iter().flat_map(|vm| cluster.seen().running(vm)).map(|copy| copy.pid).eq(before.clone()), "VMs went");
    fs::write(host.config(), configuration.text(&cluster.run))?;
    cluster.whole()?;
    ensure!(cluster.processes(&VMS)? == before, "VMs were touched");

    // One more VM, in all three files.
    let mut newer = configuration.with("fourth", "");
    newer.version = 2;
    cluster.define("fourth", "fourth")?;
    for host in cluster.run.hosts() {
        fs::write(host.config(), newer.text(&cluster.run))?;
        cluster.signal_daemon(host.id, Signal::SIGHUP)?;
    }
    until("all three to have version 2", || {
        let versions = [1, 2, 3].map(|host| cluster.status(host).map(|status| status.config_version).unwrap_or(0));
        Ok((versions == [2; 3]).then_some(()))
    })?;
    cluster.runs("fourth")?;
    ensure!(cluster.processes(&VMS)? == before, "VMs that were there before were touched");
    cluster.end()
}
