//! `belay why`: the causes of the present state, each step under the one that led to it, of a service or of a host.

mod host;
mod service;

use super::{ask, no_service};
use crate::console::{Console, Trouble};
use crate::names::{member_meant, service_meant};
use belay_proto::history::{EventId, HistoryEvent};
use std::collections::BTreeMap;
use std::path::Path;

/// How many steps are indented; a longer chain goes on at this depth instead of off the screen.
const DEPTH_MAX: usize = 10;

pub(super) fn run(socket: &Path, what: &str, as_json: bool, console: &mut Console) -> Result<u8, Trouble> {
    let (mut client, status) = ask(socket, console)?;
    let text = match (service_meant(&status, what), member_meant(&status, what)) {
        (Ok(name), _) => service::told(&mut client, &status, name, as_json, console)?,
        (Err(_), Ok(member)) => host::told(&mut client, &status, member, as_json, console)?,
        (Err(text), Err(_)) => return Err(no_service(&text)),
    };
    console.print(&text)?;
    Ok(0)
}

/// Events, oldest first, each indented below its cause where that is among them.
fn steps(events: &[HistoryEvent], console: &Console) -> String {
    let mut depths: BTreeMap<EventId, usize> = BTreeMap::new();
    let mut out = String::new();
    for event in events {
        let depth = event.cause.and_then(|cause| depths.get(&cause)).map_or(0, |depth| depth + 1);
        depths.insert(event.id, depth);
        let indent = "  ".repeat(depth.min(DEPTH_MAX));
        let text = super::events::paint(&event.text, event.severity, console.colour);
        out.push_str(&format!("{}  {indent}{text}\n", crate::times::precise(event.time, &console.zone)));
    }
    out
}
