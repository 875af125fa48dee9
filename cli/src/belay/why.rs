//! `belay why`: the chain of causes behind a service's state, each step under the one that led to it.

use super::events::paint;
use super::{ask, json, no_service, refused};
use crate::client::PATIENCE;
use crate::console::{Console, Trouble};
use crate::names::{members_by_id, service_meant};
use crate::times::{precise, rough};
use belay_proto::control::{Status, WhyParameters, WhyReply};
use belay_proto::history::{EventId, HistoryEvent};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// How many steps are indented; a longer chain goes on at this depth instead of off the screen.
const DEPTH_MAX: usize = 10;

pub(super) fn run(socket: &Path, service: &str, as_json: bool, console: &mut Console) -> Result<u8, Trouble> {
    let (mut client, status) = ask(socket, console)?;
    let service = service_meant(&status, service).map_err(|text| no_service(&text))?;
    let reply: WhyReply = client.call("Why", &WhyParameters { service }, Some(PATIENCE)).map_err(refused)?;
    let text = if as_json { format!("{}\n", json(&reply)?) } else { chain(&reply, &status, console) };
    console.print(&text)?;
    Ok(0)
}

pub(super) fn chain(reply: &WhyReply, status: &Status, console: &Console) -> String {
    let service = &reply.service;
    let names = members_by_id(status);
    let mut out = format!("{} is {}", service.name, service.state);
    if let Some(owner) = service.owner {
        let _ = write!(out, " on {}", names.get(&owner).copied().unwrap_or("an unknown member"));
    }
    if service.frozen {
        out.push_str(", frozen");
    }
    if let Some(since) = service.transition {
        let _ = write!(out, ", for {} now", rough((console.now)().since(since)));
    }
    out.push('\n');
    for copy in &service.copies {
        let place = names.get(&copy.node).copied().unwrap_or("an unknown member");
        let _ = writeln!(out, "A copy runs on {place}: it {}", copy.fate.words());
    }
    if let Some(waiting) = &service.waiting {
        let _ = writeln!(out, "It waits: {waiting}");
    }
    out.push('\n');
    if reply.chain.is_empty() {
        out.push_str("Nothing is recorded about it yet.\n");
    }
    let mut depths: BTreeMap<EventId, usize> = BTreeMap::new();
    for event in &reply.chain {
        let depth = event.cause.and_then(|cause| depths.get(&cause)).map_or(0, |depth| depth + 1);
        depths.insert(event.id, depth);
        out.push_str(&step(event, depth, console));
    }
    out.push_str(&places(reply, status));
    out
}

/// Where it might run, and what keeps it from the other hosts.
fn places(reply: &WhyReply, status: &Status) -> String {
    let names = members_by_id(status);
    let name = |node| names.get(&node).copied().unwrap_or("an unknown member");
    let width = reply.hosts.iter().map(|host| name(host.node).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (index, host) in reply.hosts.iter().enumerate() {
        let verdict = match host.obstacle.as_str() {
            _ if reply.service.owner == Some(host.node) => "it is here".to_owned(),
            "" => "it could run here".to_owned(),
            obstacle => format!("no: {obstacle}"),
        };
        let heading = if index == 0 { "\nIts places\n" } else { "" };
        let _ = writeln!(out, "{heading}  {:width$}  {verdict}", name(host.node));
    }
    out
}

fn step(event: &HistoryEvent, depth: usize, console: &Console) -> String {
    let indent = "  ".repeat(depth.min(DEPTH_MAX));
    let text = paint(&event.text, event.severity, console.colour);
    format!("{}  {indent}{text}\n", precise(event.time, &console.zone))
}
