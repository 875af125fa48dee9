//! `belay simulate`: what would happen if, played by the cluster's own engine on a copy of its state.
//!
//! The copy comes from the running daemon, or from a `cluster.conf` as a cluster that has just been switched on. Nothing
//! that is done here reaches the cluster.

mod plan;
mod story;

use super::refused;
use crate::client::{Client, describe};
use crate::console::{Console, Trouble};
use belay_engine::rehearsal::{Played, Rehearsal, RehearsalError};
use belay_engine::state::State;
use belay_proto::control::SnapshotReply;
use clap::ArgMatches;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The state of a large cluster takes a moment to write and to read.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exit status when a service would be left without a place.
pub(super) const LEFT_OUT: u8 = 3;

/// Plays what the command line says, in its order.
pub(super) fn run(
    socket: &Path,
    config: Option<&PathBuf>,
    verbose: bool,
    matches: &ArgMatches,
    console: &mut Console,
) -> Result<u8, Trouble> {
    let steps = plan::of(matches)?;
    if steps.is_empty() && config.is_none() {
        return Err(Trouble::told(2, "belay: say what should happen: --fail, --join, --request or --set"));
    }
    // Printed as a whole: half a story in front of an error would be mistaken for an answer.
    let mut out = String::new();
    let mut rehearsal = match config {
        Some(file) => {
            let (rehearsal, played) = begin(file)?;
            let title = format!("All hosts of {} are switched on", file.display());
            out.push_str(&story::told(&title, &played, &rehearsal, verbose));
            rehearsal
        }
        None => live(socket, &mut out)?,
    };
    let before = rehearsal.places();
    for step in steps {
        let happening = step.happening(&rehearsal)?;
        let findings = plan::findings(&happening, rehearsal.state());
        let played = rehearsal.play(&happening).map_err(cannot)?;
        let title = story::title(&happening, &step, rehearsal.state()) + &findings;
        out.push_str(&story::told(&title, &played, &rehearsal, verbose));
    }
    let stranded = rehearsal.without_a_place();
    out.push_str(&story::ending(&before, &rehearsal, &stranded));
    console.print(&out)?;
    Ok(if stranded.is_empty() { 0 } else { LEFT_OUT })
}

/// A rehearsal on a copy of the running cluster.
pub(super) fn live(socket: &Path, out: &mut String) -> Result<Rehearsal, Trouble> {
    let mut client = Client::connect(socket)?;
    let nothing = serde_json::json!({});
    let reply: SnapshotReply = client.call("Snapshot", &nothing, Some(PATIENCE)).map_err(refused)?;
    let state = State::restore(&reply.snapshot).map_err(|error| Trouble::told(1, format!("belay: {error}")))?;
    let rehearsal = Rehearsal::of(state).map_err(cannot)?;
    let state = rehearsal.state();
    let (online, all) = (state.online().count(), state.config().map_or(0, |config| config.nodes.len()));
    let version = state.config().map_or(0, |config| config.version);
    let services = state.services().count();
    let _ = writeln!(
        out,
        "A copy of the cluster as it is now: configuration version {version}, members online: {online} of {all}, \
         services: {services}"
    );
    Ok(rehearsal)
}

/// A rehearsal on a cluster that has just been switched on.
pub(super) fn switched_on(file: &Path) -> Result<Rehearsal, Trouble> {
    begin(file).map(|(rehearsal, _)| rehearsal)
}

fn begin(file: &Path) -> Result<(Rehearsal, Played), Trouble> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Trouble::told(1, format!("belay: cannot read {name}: {}", describe(&error))))?;
    let made = Rehearsal::cold(&text, &BTreeSet::new());
    made.map_err(|error| match error {
        RehearsalError::Config(_) => {
            Trouble::told(1, format!("belay: {error}\nSee all of it with: belay check {name}"))
        }
        other => cannot(other),
    })
}

/// What cannot be played.
pub(super) fn cannot(error: RehearsalError) -> Trouble {
    Trouble::told(1, format!("belay: {error}"))
}
