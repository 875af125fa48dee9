//! The whole way from a VM's death to its replacement process, on a real host with real QEMU.
//!
//! The moments come from three witnesses on one clock: this program kills the process, the daemon's log tells when it
//! noticed, decided and began the work, and the process table shows the new QEMU.

use crate::daemon::{OneHost, PATIENCE, Programs};
use crate::sample::Sample;
use crate::table::Table;
use anyhow::{Context, Result, bail};
use belay_demo::{process, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DEATHS: usize = 10;

/// The phases of one death, each from the end of the one before.
struct Death {
    noticed: Duration,
    decided: Duration,
    committed: Duration,
    process: Duration,
    all: Duration,
    /// Until the cluster says "started", looked at every 20 ms.
    running: Duration,
}

/// Measures it.
///
/// # Errors
/// When the host does not come up, or the VM does not come back.
pub fn measure(table: &mut Table, programs: &Programs) -> Result<()> {
    let vm = world::VMS[0];
    let host = OneHost::boot(programs, &[vm.to_owned()], true)?;
    let mut deaths = Vec::new();
    for _ in 0..DEATHS {
        started(&host, vm)?;
        // The guest settles, as does the daemon's own look at its hypervisor.
        std::thread::sleep(Duration::from_millis(1500));
        deaths.push(die(&host, vm)?);
    }
    let of = |phase: fn(&Death) -> Duration| Sample::new(deaths.iter().map(phase).collect());
    let ms = Duration::from_millis;
    table.time("VM death: noticed (reported to the node)", &of(|d| d.noticed), Some(ms(10)));
    table.time("VM death: … decided (through the ring, applied)", &of(|d| d.decided), None);
    table.time("VM death: … on disk, work handed out and begun", &of(|d| d.committed), None);
    table.time("VM death: … new QEMU process exists (libvirt and QEMU)", &of(|d| d.process), None);
    table.time("VM death to its replacement process, all in all", &of(|d| d.all), Some(ms(700)));
    table.time("VM death to the status \"started\" (libvirt has talked to the new QEMU)", &of(|d| d.running), None);
    Ok(())
}

fn started(host: &OneHost, vm: &str) -> Result<()> {
    use belay_proto::service::ServiceState::Started;
    host.wait("the VM to run", |status| {
        status.services.iter().any(|s| s.name.name() == vm && s.state == Started) && status.committed == status.index
    })?;
    Ok(())
}

/// The VM's QEMU, if there is one besides `not`. The process table is read as fast as it goes.
fn qemu(host: &OneHost, not: Option<i32>) -> Option<i32> {
    let ours = |pid: &i32| Some(*pid) != not && is_ours(host, *pid);
    process::all().into_iter().rev().find(ours)
}

fn is_ours(host: &OneHost, pid: i32) -> bool {
    // A daemonised QEMU is forked twice; only the one in the table with a living state counts.
    process::is_qemu(&process::arguments(pid))
        && process::belongs_to(pid, &host.host.dir)
        && process::stat(pid).is_some_and(|stat| stat.alive())
}

fn die(host: &OneHost, vm: &str) -> Result<Death> {
    let old = qemu(host, None).context("the VM has no process")?;
    let logged = host.log().len();
    let (start, wall) = (Instant::now(), since_epoch());
    kill(Pid::from_raw(old), Signal::SIGKILL)?;
    let new = loop {
        if let Some(new) = qemu(host, Some(old)) {
            break new;
        }
        if start.elapsed() > PATIENCE {
            bail!("{vm} did not come back; the log: {}", host.log());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let all = start.elapsed();
    started(host, vm)?;
    let running = start.elapsed();
    if qemu(host, None) != Some(new) {
        bail!("process {new} came first, and is not the one that runs {vm} now");
    }
    let log = host.log();
    let log = log.get(logged..).unwrap_or_default();
    let at = |words: &str| -> Result<Duration> {
        let line = log.lines().find(|line| line.contains(words));
        let line = line.with_context(|| format!("the log does not say \"{words}\": {log}"))?;
        moment(line)?.checked_sub(wall).with_context(|| format!("\"{words}\" was logged before the death"))
    };
    let (noticed, decided, begun) = (at("report=Observation")?, at("restarting on")?, at("work begins")?);
    Ok(Death {
        noticed,
        decided: decided.saturating_sub(noticed),
        committed: begun.saturating_sub(decided),
        process: all.saturating_sub(begun),
        all,
        running,
    })
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// When a line of the log was written: it begins with the time of day in UTC, to the microsecond.
fn moment(line: &str) -> Result<Duration> {
    // Colours may precede it.
    let at = line.find("20").context("a line of the log without its time")?;
    let stamp = line.get(at..).and_then(|rest| rest.split('Z').next()).unwrap_or_default();
    let time: jiff::Timestamp = format!("{stamp}Z").parse().with_context(|| format!("not a time: {stamp}"))?;
    Ok(Duration::try_from(time.duration_since(jiff::Timestamp::UNIX_EPOCH))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_of_the_log_is_read_with_its_microseconds() {
        let line = "\u{1b}[2m1970-01-01T00:00:01.250001Z\u{1b}[0m INFO belayd: up";
        assert!(moment(line).is_err(), "the log was not written in this century");
        let line = "\u{1b}[2m2000-01-01T00:00:01.250001Z\u{1b}[0m INFO belayd: up";
        assert_eq!(moment(line).unwrap(), Duration::from_micros(946_684_801_250_001));
    }
}
