//! A full disk below one host's store: that host acknowledges nothing and says so, the others go on, and nobody has to
//! clean up when there is room again.

use anyhow::{Result, ensure};
use belay_faults::{Cluster, Configuration, until};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;

const VMS: [&str; 3] = ["one", "two", "three"];
const SIZE: &str = "size=8m";
const TROUBLE: &str = "cannot write its store";

fn trouble(cluster: &Cluster) -> Result<bool> {
    Ok(cluster.status(3)?.alarms.iter().any(|alarm| alarm.contains(TROUBLE)))
}

#[test]
fn a_host_whose_disk_is_full_says_so_and_goes_on_by_itself_when_it_is_not() -> Result<()> {
    let configuration = Configuration::of(&VMS);
    let cluster = Cluster::build(&configuration)?;
    let store = cluster.run.host(3).store();
    mount(Some("tmpfs"), &store, Some("tmpfs"), MsFlags::empty(), Some(SIZE))?;
    cluster.switch_on()?;
    cluster.all_run(&configuration)?;
    let before = cluster.processes(&VMS)?;

    let ballast = store.join("ballast");
    let mut file = File::create(&ballast)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    // The log of the database has room of its own for a while.
    let mut requests = 0;
    until("the host to notice", || {
        let verb = if requests % 2 == 0 { "-Z" } else { "-U" };
        requests += 1;
        cluster.succeeds(1, &["clusvcadm", verb, "vm:one"])?;
        Ok(trouble(&cluster)?.then_some(()))
    })?;
    if requests % 2 == 1 {
        cluster.succeeds(2, &["clusvcadm", "-U", "vm:one"])?;
    }
    cluster.logs(3, "the store cannot be written")?;
    let printed = cluster.command(3, &["clusvcadm", "-d", "vm:one"])?;
    ensure!(!printed.ok() && printed.text.contains(TROUBLE), "{}: {}", printed.ended, printed.text);
    cluster.succeeds(1, &["clusvcadm", "-R", "vm:one"])?;
    // What it runs is looked after: the others vouch for what is decided.
    let victim = cluster.seen().on_host(3).into_iter().find(|(vm, _)| vm != "one");
    if let Some((vm, copy)) = victim {
        kill(Pid::from_raw(copy.pid), Signal::SIGKILL)?;
        until("the VM that died to be back", || Ok(cluster.running(&vm)?.filter(|new| new.pid != copy.pid)))?;
    }
    ensure!(trouble(&cluster)?, "it says that all is well, on a full disk");

    fs::remove_file(&ballast)?;
    until("the host to notice that there is room", || Ok((!trouble(&cluster)?).then_some(())))?;
    cluster.succeeds(3, &["clusvcadm", "-d", "vm:one"])?;
    cluster.succeeds(3, &["clusvcadm", "-e", "vm:one"])?;
    // What it wrote late is all there.
    let running = cluster.processes(&VMS)?;
    cluster.kill_daemon(3)?;
    cluster.whole()?;
    ensure!(cluster.processes(&VMS)? == running, "VMs were touched");
    ensure!(before.len() == running.len(), "VMs are missing");
    cluster.end()
}
