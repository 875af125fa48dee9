//! `belay check`: everything there is to say about a `cluster.conf`, before a daemon is asked to use it.

use crate::client::describe;
use crate::console::{Console, Trouble};
use belay_config::{MAX_BYTES, Severity, read_bytes};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(super) fn run(file: &Path, console: &mut Console) -> Result<u8, Trouble> {
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
