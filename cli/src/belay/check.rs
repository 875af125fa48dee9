//! `belay check`: everything there is to say about a `cluster.conf`, before a daemon is asked to use it; and with
//! `--survives`, whether every service has a place after the loss of any host (admission control).

use super::options::Check;
use super::simulate;
use crate::client::describe;
use crate::console::{Console, Trouble};
use belay_config::{MAX_BYTES, Severity, read_bytes};
use belay_engine::rehearsal::{Rehearsal, Survival, survival};
use belay_engine::state::State;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The file that members read.
const CONFIGURATION: &str = "/etc/cluster/cluster.conf";

pub(super) fn run(socket: &Path, check: &Check, console: &mut Console) -> Result<u8, Trouble> {
    let Some(hosts) = check.survives else {
        return read(check.file.as_deref().unwrap_or(Path::new(CONFIGURATION)), console);
    };
    let rehearsal = match &check.file {
        None => {
            let mut out = String::new();
            let rehearsal = simulate::live(socket, &mut out)?;
            console.print(&out)?;
            rehearsal
        }
        Some(file) => {
            let status = read(file, console)?;
            if status != 0 {
                return Ok(status);
            }
            simulate::switched_on(file)?
        }
    };
    survives(&rehearsal, usize::from(hosts), console)
}

/// Rehearses each loss and names what would have no place.
fn survives(rehearsal: &Rehearsal, hosts: usize, console: &mut Console) -> Result<u8, Trouble> {
    let survival = survival(rehearsal, hosts).map_err(simulate::cannot)?;
    let state = rehearsal.state();
    let mut out = String::new();
    for (name, reason) in &survival.already {
        let _ = writeln!(out, "{name} has no place already: {reason}");
    }
    for loss in &survival.losses {
        let names: Vec<String> = loss.hosts.iter().map(|node| state.node_name(*node)).collect();
        let names = names.join(" and ");
        if !loss.quorate {
            let _ = writeln!(out, "without {names}: the others make no quorum, and nothing is recovered");
        } else if loss.without_a_place.is_empty() {
            let _ = writeln!(out, "without {names}: every service has a place");
        }
        for (name, reason) in loss.without_a_place.iter().filter(|_| loss.quorate) {
            let _ = writeln!(out, "without {names}: {name} has no place: {reason}");
        }
    }
    unsized_ones(&survival, state, &mut out);
    let given = survival.is_given() && !survival.losses.is_empty();
    let _ = writeln!(out, "{}", verdict(given, hosts));
    console.print(&out)?;
    Ok(if given { 0 } else { simulate::LEFT_OUT })
}

fn verdict(given: bool, hosts: usize) -> String {
    let hosts = if hosts == 1 { "any one host".to_owned() } else { format!("any {hosts} hosts") };
    if given {
        format!("The cluster survives the loss of {hosts}.")
    } else {
        format!("The cluster does NOT survive the loss of {hosts}.")
    }
}

/// What is not known is said: a promise about memory is worth nothing for a VM of unknown size.
fn unsized_ones(survival: &Survival, state: &State, out: &mut String) {
    if !survival.unsized_services.is_empty() {
        let names: Vec<String> = survival.unsized_services.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "of unknown size, counted as nothing: {} (set memory= and vcpus=)", names.join(", "));
    }
    if !survival.unsized_hosts.is_empty() {
        let names: Vec<String> = survival.unsized_hosts.iter().map(|node| state.node_name(*node)).collect();
        let _ = writeln!(out, "hosts of unknown memory, taken to have enough: {} (set memory=)", names.join(", "));
    }
}

/// Reads a file and says everything there is to say about it.
fn read(file: &Path, console: &mut Console) -> Result<u8, Trouble> {
    let name = file.display().to_string();
    let failed = |error| Trouble::told(1, format!("belay: cannot read {name}: {}", describe(&error)));
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough for the reader to say that it is too many.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    let reading = read_bytes(&name, &bytes);
    if console.terminal {
        console.print(&reading.render(console.colour))?;
    } else {
        for finding in &reading.diagnostics {
            console.print(&format!("{finding}\n"))?;
            if let Some(help) = &finding.help {
                console.print(&format!("  help: {help}\n"))?;
            }
        }
    }
    let warnings = reading.of(Severity::Warning).count();
    let Some(cluster) = &reading.cluster else {
        let errors = reading.of(Severity::Error).count();
        console.print(&format!("{name} cannot be used: errors: {errors}, warnings: {warnings}\n"))?;
        return Ok(1);
    };
    console.print(&format!(
        "{name} can be used: cluster {}, version {}, members: {}, VMs: {}, warnings: {warnings}\n",
        cluster.name,
        cluster.version,
        cluster.nodes.len(),
        cluster.vms.len(),
    ))?;
    Ok(0)
}
