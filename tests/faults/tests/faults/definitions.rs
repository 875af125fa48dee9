//! Definitions that are no definitions, and one that only some hosts have.

use anyhow::{Result, ensure};
use belay_faults::{Cluster, Configuration};
use std::fs;

/// Each host's daemon works in the host's own folder, so this is another file on each of them.
const OWN_FILE: &str = "autostart=\"0\" xmlfile=\"/proc/self/cwd/picky.xml\"";

#[test]
fn a_bad_definition_is_named_and_a_missing_one_sends_the_vm_to_a_host_that_has_it() -> Result<()> {
    let configuration = Configuration::of(&["steady"])
        .with("garbled", "autostart=\"0\"")
        .with("impostor", "autostart=\"0\"")
        .with("picky", OWN_FILE);
    let cluster = Cluster::start(&configuration)?;
    let steady = cluster.runs("steady")?;
    fs::write(cluster.run.definitions().join("garbled.xml"), "VMs are described\nin prose here\n")?;
    cluster.define("impostor", "somebody")?;

    // What is wrong everywhere: the answer and `belay why` say what, and for which file.
    for (vm, why) in [("garbled", "XML"), ("impostor", "somebody")] {
        let printed = cluster.command(2, &["clusvcadm", "-e", &format!("vm:{vm}")])?;
        ensure!(!printed.ok(), "{vm} was enabled: {}", printed.text);
        ensure!(printed.text.contains(why), "{vm}: the answer does not say why: {}", printed.text);
        let told = cluster.succeeds(1, &["belay", "why", &format!("vm:{vm}")])?;
        for host in ["node1", "node2", "node3"] {
            ensure!(told.contains(&format!("could not be started on {host}")), "{vm}, {host}: {told}");
        }
        ensure!(told.contains(why), "{vm}: {told}");
        ensure!(!cluster.look()?.copies.contains_key(vm), "a process of {vm} was there");
    }
    ensure!(!cluster.look()?.copies.contains_key("somebody"), "another VM was started in its name");
    // Once it is mended it starts, without anything to clean up.
    cluster.define("garbled", "garbled")?;
    cluster.succeeds(3, &["clusvcadm", "-e", "vm:garbled"])?;
    cluster.runs("garbled")?;

    // What is missing on the host that was asked for.
    fs::write(cluster.run.host(3).dir.join("picky.xml"), cluster.definition("picky")?)?;
    cluster.succeeds(2, &["clusvcadm", "-e", "vm:picky", "-m", "node1"])?;
    ensure!(cluster.runs("picky")?.host == 3, "it runs where there is no definition of it");
    let told = cluster.succeeds(2, &["belay", "why", "vm:picky"])?;
    ensure!(told.contains("could not be started on node1: no definition of vm picky was found"), "{told}");
    // Gone while it runs: that is no news about the VM.
    fs::remove_file(cluster.run.host(3).dir.join("picky.xml"))?;
    let pid = cluster.runs("picky")?.pid;
    cluster.kill_daemon(3)?;
    cluster.whole()?;
    ensure!(cluster.runs("picky")?.pid == pid, "a VM whose definition went was started again");
    ensure!(cluster.runs("steady")? == steady, "a VM that has nothing to do with it was touched");
    cluster.end()
}
