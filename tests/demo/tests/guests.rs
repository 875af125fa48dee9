//! The demo's world with real QEMU processes: libvirt accepts the definitions, the guest comes up, and the sampler
//! counts what really runs.

#![allow(clippy::unwrap_used)]

use belay_demo::layout::Run;
use belay_demo::reaper::Reaper;
use belay_demo::sampler::Sampler;
use belay_demo::{process, world};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends what a test started, however it ends.
struct Guard<'a>(&'a Path);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = process::kill_below(self.0, Duration::from_secs(10));
    }
}

/// Starts a VM as the agent would, through the libvirt inside a process that ends right after.
fn create(run: &Run, reaper: &Reaper, host: u32, vm: &str) {
    let definition = run.definitions().join(format!("{vm}.xml"));
    let mut command = Command::new("virsh");
    command.args(["--connect", &run.host(host).hypervisor(), "create"]).arg(definition);
    let printed = reaper.run(&mut command, Duration::from_secs(60)).unwrap();
    assert!(printed.ok(), "{}", printed.text);
}

#[test]
fn the_sampler_sees_two_copies_of_a_vm_when_two_hosts_run_it() {
    let folder = tempfile::Builder::new().prefix("belay-t").rand_bytes(4).tempdir().unwrap();
    let run = Run::at(folder.path()).unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    for program in ["belay", "belayd", "belay-agent-libvirt", "fence_belay_demo"] {
        fs::write(programs.join(program), "").unwrap();
    }
    let reaper = Reaper::start().unwrap();
    world::build(&run, &programs, &folder.path().join("cache"), &reaper).unwrap();
    let _guard = Guard(&run.dir);
    let sampler = Sampler::start(&run, &world::VMS).unwrap();

    create(&run, &reaper, 1, "web1");
    until("the guest to come up", || sampler.seen().guest_up.get("web1").is_some_and(|times| times.len() == 1));
    let seen = sampler.seen();
    assert_eq!(seen.running("web1").iter().map(|copy| copy.host).collect::<Vec<_>>(), [1]);
    assert_eq!(seen.max_copies, 1);

    create(&run, &reaper, 2, "web1");
    until("the second copy to be seen", || sampler.seen().max_copies == 2);
    assert_eq!(process::kill_below(&run.host(1).dir, Duration::from_secs(10)).unwrap(), 1, "one VM and nothing else");
    until("the first copy to be missed", || sampler.seen().on_host(1).is_empty());
    assert_eq!(sampler.seen().on_host(2).len(), 1, "a power cut of one host leaves the other's VMs alone");
}
