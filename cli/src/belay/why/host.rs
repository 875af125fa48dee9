//! A host: what the cluster knows of it, what it has, and what happened to it lately.

use super::steps;
use crate::belay::status::member_word;
use crate::belay::{json, refused};
use crate::client::{Client, PATIENCE};
use crate::console::{Console, Trouble};
use belay_proto::control::{EventsParameters, EventsReply, MemberStatus, Status};
use belay_proto::history::{EventKind, HistoryEvent};
use std::fmt::Write;

/// How far back the daemon is asked to look, and how much of that is told.
const LOOKED_AT: u32 = 500;
const TOLD: usize = 16;

pub(super) fn told(
    client: &mut Client,
    status: &Status,
    member: &MemberStatus,
    as_json: bool,
    console: &Console,
) -> Result<String, Trouble> {
    let parameters = EventsParameters { node: Some(member.id), last: Some(LOOKED_AT), ..EventsParameters::default() };
    let reply: EventsReply = client.call("Events", &parameters, Some(PATIENCE)).map_err(refused)?;
    let mut events: Vec<HistoryEvent> = reply.events.into_iter().filter(of_the_host).collect();
    events.drain(..events.len().saturating_sub(TOLD));
    if as_json {
        let all = serde_json::json!({ "member": member, "events": events });
        return Ok(format!("{}\n", json(&all)?));
    }
    Ok(report(status, member, &events, console))
}

/// What its VMs did is their own story.
fn of_the_host(event: &HistoryEvent) -> bool {
    event.service.is_none() && event.kind != EventKind::Quorum
}

fn report(status: &Status, member: &MemberStatus, events: &[HistoryEvent], console: &Console) -> String {
    let (word, _) = member_word(member);
    let mut out = format!("{} is {word}", member.name);
    if !member.detail.is_empty() {
        let _ = write!(out, ": {}", member.detail);
    }
    out.push('\n');
    let has: Vec<String> = status
        .services
        .iter()
        .filter(|service| service.owner == Some(member.id))
        .map(|service| format!("{} ({})", service.name, service.state))
        .collect();
    if has.is_empty() {
        out.push_str("It has no services.\n");
    } else {
        let _ = writeln!(out, "It has {}", has.join(", "));
    }
    out.push('\n');
    if events.is_empty() {
        out.push_str("Nothing is recorded about it yet.\n");
    }
    out.push_str(&steps(events, console));
    let _ = writeln!(out, "\nWhat was seen on it besides: belay events --node {}", member.name);
    out
}
