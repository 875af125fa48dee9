//! A rehearsal in words: each thing that happens with what follows from it, and how everything stands in the end.

use super::plan::Step;
use belay_engine::rehearsal::{Happening, Played, Rehearsal};
use belay_engine::state::State;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a step is called.
pub(super) fn title(happening: &Happening, step: &Step, state: &State) -> String {
    match (happening, step) {
        (Happening::Fail(nodes), _) => {
            let names: Vec<String> = nodes.iter().map(|node| state.node_name(*node)).collect();
            let verb = if names.len() == 1 { "fails" } else { "fail together" };
            format!("{} {verb}", names.join(", "))
        }
        (Happening::Join(node), _) => format!("{} joins", state.node_name(*node)),
        (_, Step::Request(words)) => format!("Request: {words}"),
        (_, Step::Set(setting)) => format!("Setting: {setting}"),
        (_, Step::Fail(names) | Step::Join(names)) => names.join(", "),
    }
}

/// What came of a step.
pub(super) fn told(title: &str, played: &Played, rehearsal: &Rehearsal, verbose: bool) -> String {
    let stranded = rehearsal.without_a_place();
    let mut out = format!("\n{title}\n");
    let mut any = false;
    for step in &played.steps {
        if verbose || matters(&step.event, &stranded) {
            any = true;
            let _ = writeln!(out, "  {:>6}  {}", format!("+{}", step.after), sentence(&step.event));
        }
    }
    if !played.quorate {
        out.push_str("          the members that are left make no quorum: nothing is decided\n");
    } else if !any {
        out.push_str("          nothing follows\n");
    }
    if let Some(verdict) = &played.verdict {
        let because = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
        let place =
            verdict.owner.map(|owner| format!(", on {}", rehearsal.state().node_name(owner))).unwrap_or_default();
        let _ = writeln!(out, "          answer: {}{place}{because}", verdict.code);
    }
    out
}

/// Whether an event tells what happens, rather than that it goes on happening. What only waited for a moment is left
/// out; what waits in the end is told.
fn matters(event: &HistoryEvent, stranded: &BTreeMap<ServiceName, String>) -> bool {
    let waits = event.service.as_ref().is_some_and(|service| stranded.contains_key(service));
    match event.kind {
        EventKind::Quorum => false,
        EventKind::Blocked => waits,
        _ => event.severity <= Severity::Notice,
    }
}

fn sentence(event: &HistoryEvent) -> String {
    match &event.service {
        Some(service) => format!("{service} {}", event.text),
        None => event.text.clone(),
    }
}

/// How everything stands, compared with the beginning.
pub(super) fn ending(
    before: &BTreeMap<ServiceName, Option<NodeId>>,
    rehearsal: &Rehearsal,
    stranded: &BTreeMap<ServiceName, String>,
) -> String {
    let state = rehearsal.state();
    let place = |owner: Option<NodeId>| owner.map_or_else(|| "nowhere".to_owned(), |owner| state.node_name(owner));
    let after = rehearsal.places();
    let moved: Vec<_> = after.iter().filter(|(name, owner)| before.get(*name) != Some(owner)).collect();
    let mut out = String::from("\nIn the end\n");
    for (name, owner) in &moved {
        let from = before.get(*name).map_or_else(|| "new".to_owned(), |owner| place(*owner));
        let _ = writeln!(out, "  {name}: {from} -> {}", place(**owner));
    }
    for (name, reason) in stranded {
        let _ = writeln!(out, "  {name} is left without a place: {reason}");
    }
    let stay = after.len().saturating_sub(moved.len());
    let _ = writeln!(out, "  moved: {}, as before: {stay}, without a place: {}", moved.len(), stranded.len());
    out
}
