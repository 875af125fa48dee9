//! Guests that switch themselves off.

use anyhow::{Context, Result, ensure};
use belay_faults::{Cluster, Configuration, until};
use belay_proto::ServiceState;
use std::fs;

/// In real mode at 0000:7c00: about two seconds of the timer's ticks, then the ACPI state S5.
const SWITCHES_ITSELF_OFF: [u8; 29] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00,
    0x7c, // cli; ax, ds, es, ss = 0; sp = 0x7c00
    0xfb, 0xb9, 40, 0x00, 0xf4, 0xe2, 0xfd, // sti; cx = 40 ticks of 55 ms; hlt; loop
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // out 0x604, 0x2000: state S5
    0xf4, 0xeb, 0xfd, // hlt, for ever
];

fn define(cluster: &Cluster, vm: &str) -> Result<()> {
    let mut disk = SWITCHES_ITSELF_OFF.to_vec();
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1024 * 1024, 0);
    let image = cluster.run.dir.join(format!("shared/{vm}.img"));
    fs::write(&image, disk)?;
    let text = fs::read_to_string(cluster.run.definitions().join("web2.xml"))?.replace("web2", vm);
    let old = cluster.run.disk().display().to_string();
    ensure!(text.contains(&old), "the definition has no disk that could be replaced: {text}");
    fs::write(cluster.run.definitions().join(format!("{vm}.xml")), text.replace(&old, &image.display().to_string()))?;
    Ok(())
}

fn becomes_disabled(cluster: &Cluster, vm: &str) -> Result<()> {
    until(&format!("{vm} to be disabled"), || Ok((cluster.service(vm)?.state == ServiceState::Disabled).then_some(())))
}

#[test]
fn a_guest_that_switches_itself_off_stays_off_if_it_may_and_is_started_again_if_not() -> Result<()> {
    let configuration = Configuration::of(&["steady"])
        .with("may", "autostart=\"0\" guest_shutdown=\"stop\"")
        .with("maynot", "autostart=\"0\"");
    let cluster = Cluster::start(&configuration)?;
    define(&cluster, "may")?;
    define(&cluster, "maynot")?;

    cluster.succeeds(1, &["clusvcadm", "-e", "vm:maynot"])?;
    until("maynot to have been restarted twice", || Ok((cluster.service("maynot")?.epoch.0 >= 4).then_some(())))?;
    let why = cluster.succeeds(2, &["belay", "why", "vm:maynot"])?;
    ensure!(why.contains("the guest powered itself off"), "{why}");
    cluster.succeeds(1, &["clusvcadm", "-d", "vm:maynot"])?;

    cluster.succeeds(1, &["clusvcadm", "-e", "vm:may"])?;
    becomes_disabled(&cluster, "may")?;
    ensure!(cluster.look()?.running("may").is_empty(), "a process of it is left");
    let why = cluster.succeeds(2, &["belay", "why", "vm:may"])?;
    ensure!(why.contains("guest_shutdown=\"stop\"") && why.contains("to be enabled"), "{why}");
    let status = cluster.succeeds(3, &["clustat"])?;
    let line = status.lines().find(|line| line.contains("vm:may ")).context("clustat does not list it")?;
    ensure!(line.contains("disabled"), "{line}");
    // A change of membership does not start it, as one that was stopped by hand would be.
    cluster.kill_daemon(2)?;
    cluster.whole()?;
    ensure!(cluster.service("may")?.state == ServiceState::Disabled, "the change of membership started it");
    cluster.succeeds(1, &["clusvcadm", "-e", "vm:may"])?;
    becomes_disabled(&cluster, "may")?;
    cluster.end()
}
