//! What watching costs when nothing happens: memory and CPU of the daemon and its agent over ten seconds.

use crate::daemon::{OneHost, Programs};
use crate::table::Table;
use anyhow::{Result, bail};
use belay_demo::{process, world};
use belay_proto::service::ServiceState;
use std::time::{Duration, Instant};

const WATCHED: Duration = Duration::from_secs(10);

/// Measures it twice: with five running VMs, and with a thousand services that do not run (a thousand QEMUs do not fit
/// onto a test machine).
///
/// # Errors
/// When the host does not come up.
pub fn measure(table: &mut Table, programs: &Programs) -> Result<()> {
    let running: Vec<String> = world::VMS.iter().map(|vm| (*vm).to_owned()).collect();
    let host = OneHost::boot(programs, &running, true)?;
    host.wait("all VMs to run", |status| status.services.iter().all(|s| s.state == ServiceState::Started))?;
    watch(table, &host, "5 running VMs")?;
    drop(host);
    let many: Vec<String> = (0..1000).map(|number| format!("vm{number:04}")).collect();
    let host = OneHost::boot(programs, &many, false)?;
    watch(table, &host, "1,000 services, none running")
}

fn watch(table: &mut Table, host: &OneHost, words: &str) -> Result<()> {
    // What starting left to be done is over by then.
    std::thread::sleep(Duration::from_secs(3));
    let processes = host.processes();
    if processes.len() != 2 {
        bail!("a daemon and an agent were expected, and these are there: {processes:?}");
    }
    let used = || processes.iter().map(|(_, pid)| process::cpu_time(*pid)).sum::<Duration>();
    let (start, before) = (Instant::now(), used());
    std::thread::sleep(WATCHED);
    let percent = used().saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let kib: u64 = processes.iter().filter_map(|(_, pid)| process::resident_kib(*pid)).sum();
    table.number(&format!("idle, {words}: CPU of daemon and agent, of one core"), percent, "%", Some(1.0));
    table.number(&format!("idle, {words}: memory of both"), kib as f64 / 1024.0, "MiB", Some(64.0));
    Ok(())
}
