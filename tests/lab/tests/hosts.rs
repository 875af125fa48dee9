//! What the lab itself promises, before Belay is put on its hosts: real boots, a real ring, real migration, and a BMC
//! behind which the power is really off.

use anyhow::Result;
use belay_lab::command::Ran;
use belay_lab::{Host, Lab, Watch, guest, lab, until};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(limit: u32) -> Duration {
    SECOND * limit
}

fn step(text: &str) {
    eprintln!("── {text}");
}

fn took(what: &str, time: Duration) {
    eprintln!("   {what}: {:.2} s", time.as_secs_f64());
}

fn is_quorate_with(host: &Host, members: usize) -> Option<()> {
    let said = host.run("corosync-quorumtool -s").ok()?.stdout;
    let rows = said.lines().skip_while(|line| !line.contains("Nodeid")).skip(1).filter(|line| !line.trim().is_empty());
    (said.contains("Quorate:          Yes") && rows.count() == members).then_some(())
}

fn fence(from: &Host, number: usize, action: &str) -> Result<Ran> {
    let port = belay_lab::bmc::port(number);
    let (address, user, password) = (lab::BMC_ADDRESS, belay_lab::bmc::USER, belay_lab::bmc::PASSWORD);
    let input = format!(
        "action={action}\\nipaddr={address}\\nipport={port}\\nlogin={user}\\npasswd={password}\\nlanplus=1\\ncipher=3\\n"
    );
    from.run_within(&format!("printf '{input}' | fence_ipmilan"), seconds(30))
}

#[test]
fn hosts_boot_form_a_ring_migrate_and_are_switched_off_by_their_bmc() {
    step("three hosts boot");
    let start = Instant::now();
    let lab = Lab::boot(&["h1", "h2", "h3"]).unwrap();
    took("from nothing to three booted hosts", start.elapsed());
    let [h1, h2, h3] = lab.hosts() else { panic!("three hosts") };

    step("corosync forms a quorate ring of three");
    let ((), time) = until("a ring of three", seconds(30), || is_quorate_with(h1, 3)).unwrap();
    took("ring after boot", time);

    step("libvirtd runs a guest, and migrates it while it runs");
    lab.add_guest("web1", 1).unwrap();
    let watch = Watch::start(&lab).unwrap();
    let start = Instant::now();
    h1.must(&format!("virsh -q create {}/web1.xml", guest::SHARED)).unwrap();
    took("virsh create", start.elapsed());
    until("the guest boots", seconds(30), || (lab.boots("web1").unwrap() == 1).then_some(())).unwrap();
    watch.migrating("web1");
    let start = Instant::now();
    h1.must("virsh -q migrate --live web1 qemu+tcp://h2/system").unwrap();
    took("live migration", start.elapsed());
    until("one process", seconds(30), || watch.running("web1")).unwrap();
    watch.migrated("web1");
    assert_eq!(watch.running("web1").unwrap().host, "h2");
    assert_eq!(lab.boots("web1").unwrap(), 1, "a migrated guest does not boot again");

    step("a cut cable leaves the host running and alone");
    h3.cut_link().unwrap();
    let ((), time) = until("h1 sees the loss", seconds(30), || is_quorate_with(h1, 2)).unwrap();
    took("detected", time);
    let alone = || h3.run("corosync-quorumtool -s").ok().filter(|ran| ran.stdout.contains("Quorate:          No"));
    until("h3 sees it as well", seconds(30), alone).unwrap();
    h3.heal_link().unwrap();
    until("the ring heals", seconds(30), || is_quorate_with(h1, 3)).unwrap();

    step("fence_ipmilan switches a host off and on through its BMC");
    // On a machine under load the simulated BMC now and then drops its first session.
    let is_on = || fence(h1, 1, "status").ok().filter(|status| status.code == Some(0));
    until("the BMC says that the host is on", seconds(30), is_on).unwrap();
    let off = fence(h1, 1, "off").unwrap();
    assert!(off.ok(), "{off:?}");
    took("fence_ipmilan off", off.took);
    assert_eq!(h2.leader().unwrap(), None);
    assert!(watch.on("h2").is_empty(), "a host that is off runs no guest");
    assert_eq!(fence(h1, 1, "status").unwrap().code, Some(2));
    let (_, time) = until("h1 sees the loss", seconds(30), || is_quorate_with(h1, 2)).unwrap();
    took("ring of two, counted from the end of fencing", time);
    let on = fence(h1, 1, "on").unwrap();
    assert!(on.ok(), "{on:?}");
    took("fence_ipmilan on", on.took);
    took("boot", h2.wait_booted(seconds(30)).unwrap());
    until("the ring is whole again", seconds(30), || is_quorate_with(h1, 3)).unwrap();
    assert_eq!(lab.bmc("h2").iter().filter(|call| call.request == "set power 0").count(), 1);
    assert_eq!(watch.most(), 1);
    assert!(watch.violations().is_empty(), "{:?}", watch.violations());
    took("all of it", start.elapsed());
}
