//! What asking costs: `clustat` as a whole process, against a real daemon that knows a thousand services.

use crate::daemon::{OneHost, Programs};
use crate::sample::Sample;
use crate::table::Table;
use anyhow::{Result, bail};
use belay_demo::talk;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SERVICES: usize = 1000;

/// Measures it.
///
/// # Errors
/// When the daemon does not come up or does not answer.
pub fn measure(table: &mut Table, programs: &Programs) -> Result<()> {
    let vms: Vec<String> = (0..SERVICES).map(|number| format!("vm{number:04}")).collect();
    let host = OneHost::boot(programs, &vms, false)?;
    let shown = host.command(&["clustat"])?;
    let lines = shown.lines().filter(|line| line.contains("vm:vm")).count();
    if lines != SERVICES {
        bail!("clustat shows {lines} services of {SERVICES}");
    }
    let mut taken = Vec::new();
    for _ in 0..50 {
        let mut command = Command::new(host.run.bin().join("clustat"));
        command.env("BELAY_SOCKET", host.host.socket()).stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        // Waited for by the reaper of this program, which adopts whatever ends.
        let ended = crate::daemon::run(&mut command)?;
        taken.push(start.elapsed());
        if !ended {
            bail!("clustat failed");
        }
    }
    table.time("clustat, whole process, 1,000 services", &Sample::new(taken), Some(Duration::from_millis(20)));
    let mut taken = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let services = talk::status(&host.host)?.services.len();
        taken.push(start.elapsed());
        assert_eq!(services, SERVICES);
    }
    table.time("of that, the daemon's answer and reading it", &Sample::new(taken), None);
    Ok(())
}
