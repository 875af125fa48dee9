//! A service: the chain of causes behind its state, and what speaks for and against each host as its place.

use super::steps;
use crate::belay::{json, refused};
use crate::client::{Client, PATIENCE};
use crate::console::{Console, Trouble};
use crate::names::members_by_id;
use crate::times::rough;
use belay_proto::ServiceName;
use belay_proto::control::{Status, WhyParameters, WhyReply};
use std::fmt::Write;

pub(super) fn told(
    client: &mut Client,
    status: &Status,
    service: ServiceName,
    as_json: bool,
    console: &Console,
) -> Result<String, Trouble> {
    let reply: WhyReply = client.call("Why", &WhyParameters { service }, Some(PATIENCE)).map_err(refused)?;
    Ok(if as_json { format!("{}\n", json(&reply)?) } else { chain(&reply, status, console) })
}

fn chain(reply: &WhyReply, status: &Status, console: &Console) -> String {
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
    out.push_str(&steps(&reply.chain, console));
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
