//! Chapter three: a VM dies, three times.

use super::{Stage, forming};
use crate::report::millis;
use crate::screen::seconds;
use crate::world::GUIDE_VM;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

pub(super) const ABOUT: &str = "mytestVM's QEMU process is killed, as if it had crashed. belayd hears of it from the \
    kernel at once and starts it again in the same place. The guide's line says max_restarts=\"2\" in ten minutes: \
    whatever dies a third time may have a reason to die on this host, so then it is sent to another one.";

/// One death and what came after it.
struct Death {
    /// Until it runs again by the process table and by the cluster's word.
    running: Duration,
    /// Until the new guest says it is up.
    guest_up: Duration,
    /// Where it runs.
    host: u32,
}

pub(super) fn dies_three_times(stage: &mut Stage) -> Result<()> {
    let home = forming::owner(stage, 1, GUIDE_VM)?;
    for (count, word) in [(1, "killed"), (2, "killed a second time")] {
        let death = die(stage, word)?;
        if death.host != home {
            bail!("death {count}: it came back on node{}, not in place on node{home}", death.host);
        }
        stage.screen.event(&format!(
            "it runs again on node{home}, {} after its death (guest up after {})",
            seconds(death.running),
            seconds(death.guest_up)
        ));
        stage.report.vm_death_to_running_each_ms.push(millis(death.running));
        stage.report.vm_death_to_guest_up_each_ms.push(millis(death.guest_up));
    }
    stage.report.vm_death_to_running_ms = stage.report.vm_death_to_running_each_ms.iter().copied().max().unwrap_or(0);
    let death = die(stage, "killed a third time")?;
    if death.host == home {
        bail!("after its third death within ten minutes it was started on node{home} once more");
    }
    stage.screen.event(&format!(
        "two restarts were allowed: now it runs on node{}, {} after its death",
        death.host,
        seconds(death.running)
    ));
    stage.report.vm_third_death_to_other_host_ms = millis(death.running);
    Ok(())
}

fn die(stage: &Stage, word: &str) -> Result<Death> {
    let copies = stage.sampler.seen().running(GUIDE_VM);
    let [copy] = copies.as_slice() else { bail!("{} copies of {GUIDE_VM} run", copies.len()) };
    let (epoch, up) = (stage.epoch(1, GUIDE_VM)?, stage.times_up(GUIDE_VM));
    let start = Instant::now();
    kill(Pid::from_raw(copy.pid), Signal::SIGKILL).context("cannot kill mytestVM")?;
    stage.screen.event(&format!("{GUIDE_VM} is {word} on node{} (kill -9 {})", copy.host, copy.pid));
    let dead = copy.pid;
    let new =
        stage.wait("mytestVM to run again", || Ok(stage.running(1, GUIDE_VM, epoch)?.filter(|new| new.pid != dead)))?;
    let running = start.elapsed();
    let guest_up = stage.guest_up(GUIDE_VM, up)?.duration_since(start);
    Ok(Death { running, guest_up, host: new.host })
}
