//! `belay status`: the whole cluster on one screen, what needs a person first.

use super::{connect, json};
use crate::console::{Console, Trouble};
use crate::names::members_by_id;
use crate::times::rough;
use crate::warning;
use belay_proto::control::{MemberState, MemberStatus, Phase, ServiceStatus, Status};
use belay_proto::{NodeId, NodeMode, ServiceState, Span, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// How old the picture may be before it is called old.
const FRESH: Span = Span::seconds(5);

pub(super) fn run(socket: &Path, as_json: bool, console: &mut Console) -> Result<u8, Trouble> {
    let (_, status) = connect(socket)?;
    let text = if as_json { format!("{}\n", json(&status)?) } else { screen(&status, (console.now)(), console.colour) };
    console.print(&text)?;
    Ok(0)
}

/// The colours of a terminal.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Good,
    Attention,
    Bad,
    Plain,
}

fn paint(text: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        Paint::Good => 32,
        Paint::Attention => 33,
        Paint::Bad => 31,
        Paint::Plain => 0,
    };
    if colour && code != 0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The text of the report.
pub(super) fn screen(status: &Status, now: Timestamp, colour: bool) -> String {
    let names = members_by_id(status);
    let mut out = heading(status, &names, colour);
    if !status.alarms.is_empty() {
        out.push_str("\nNeeds attention\n");
        for alarm in &status.alarms {
            let _ = writeln!(out, "  {}", paint(&format!("! {alarm}"), Paint::Bad, colour));
        }
    }
    members(&mut out, status, colour);
    services(&mut out, status, &names, now, colour);
    out
}

fn heading(status: &Status, names: &BTreeMap<NodeId, &str>, colour: bool) -> String {
    let cluster = if status.cluster.is_empty() { "(no configuration yet)" } else { &status.cluster };
    let (quorum, quorum_paint) = if status.quorate {
        ("quorate", Paint::Good)
    } else {
        ("NOT quorate: nothing is started or moved", Paint::Bad)
    };
    let online = status.members.iter().filter(|member| member.online).count();
    let running = status.services.iter().filter(|service| service.state == ServiceState::Started).count();
    let mut out = format!(
        "Cluster {cluster}: {}, {online} of {} members online, {running} of {} services running\n",
        paint(quorum, quorum_paint, colour),
        status.members.len(),
        status.services.len(),
    );
    let node = names.get(&status.node).map_or_else(|| format!("node {}", status.node), |name| (*name).to_owned());
    let phase = match status.phase {
        Phase::Joining => ", which is not in the ring yet",
        Phase::Synchronising => ", whose members are comparing their states",
        Phase::Leaving => ", which is leaving",
        Phase::Working => "",
    };
    let age = Span::millis(status.age_ms);
    let heard = if age > FRESH || status.phase == Phase::Joining {
        paint(&format!("; last heard from the ring {} ago", rough(age)), Paint::Attention, colour)
    } else {
        String::new()
    };
    let _ = writeln!(out, "As seen by {node}{phase}{heard}");
    if let Some(warning) = warning::disarmed(status) {
        let _ = writeln!(out, "{}", paint(&warning, Paint::Bad, colour));
    }
    out
}

fn members(out: &mut String, status: &Status, colour: bool) {
    out.push_str("\nMembers\n");
    let widest = widest(status.members.iter().map(|member| member.name.as_str()));
    for member in &status.members {
        let (word, color) = member_word(member);
        let word = paint(&format!("{word:8}"), color, colour);
        let mut notes = Vec::new();
        if member.local {
            notes.push("this host");
        }
        if !member.configured {
            notes.push("not in cluster.conf");
        }
        // Of a host that is to be empty the detail says so, unless there is something worse to say of it.
        if member.mode != NodeMode::Active && !member.detail.starts_with(member.mode.word()) {
            notes.push(member.mode.word());
        }
        if !member.detail.is_empty() {
            notes.push(&member.detail);
        }
        let row = format!("  {:>3}  {:widest$}  {word}  {}", member.id.0, member.name, notes.join("; "));
        let _ = writeln!(out, "{}", row.trim_end());
    }
}

pub(super) fn member_word(member: &MemberStatus) -> (&'static str, Paint) {
    match member.state {
        MemberState::Online => ("online", Paint::Good),
        MemberState::Unknown => ("unknown", Paint::Attention),
        MemberState::Lost => ("LOST", Paint::Bad),
        MemberState::Down => ("down", Paint::Attention),
        MemberState::Left => ("left", Paint::Attention),
    }
}

fn services(out: &mut String, status: &Status, names: &BTreeMap<NodeId, &str>, now: Timestamp, colour: bool) {
    if status.services.is_empty() {
        return;
    }
    out.push_str("\nServices\n");
    let widest_name = widest(status.services.iter().map(|service| service.name.as_str()));
    let widest_member = widest(status.members.iter().map(|member| member.name.as_str()));
    for service in &status.services {
        let word = paint(&format!("{:11}", service.state.word()), service_paint(service), colour);
        let owner = service.owner.map_or("-", |owner| names.get(&owner).copied().unwrap_or("unknown"));
        let since = service.transition.map_or_else(|| "never".to_owned(), |at| rough(now.since(at)));
        let notes = service_notes(service, names);
        let row =
            format!("  {:widest_name$}  {word}  {owner:widest_member$}  {since:>6}  {notes}", service.name.as_str());
        let _ = writeln!(out, "{}", row.trim_end());
    }
}

fn service_paint(service: &ServiceStatus) -> Paint {
    match service.state {
        ServiceState::Started => Paint::Good,
        ServiceState::Failed => Paint::Bad,
        ServiceState::Disabled => Paint::Plain,
        _ => Paint::Attention,
    }
}

fn service_notes(service: &ServiceStatus, names: &BTreeMap<NodeId, &str>) -> String {
    let mut notes = Vec::new();
    if service.frozen {
        notes.push("frozen".to_owned());
    }
    if service.partial {
        notes.push("parts of it are stopped".to_owned());
    }
    if service.restarts > 0 {
        notes.push(format!("restarts: {}", service.restarts));
    }
    if let (None, Some(last)) = (service.owner, service.last_owner) {
        notes.push(format!("last on {}", names.get(&last).copied().unwrap_or("an unknown member")));
    }
    for copy in &service.copies {
        let place = names.get(&copy.node).copied().unwrap_or("an unknown member");
        notes.push(format!("A COPY on {place} {}", copy.fate.words()));
    }
    if let Some(waiting) = &service.waiting {
        notes.push(format!("waits: {waiting}"));
    }
    notes.join("; ")
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}
