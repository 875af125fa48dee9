//! `belay events`: the history, and with `--follow` what is added to it.

use super::options::Events;
use super::{ask, json, no_member, no_service, refused};
use crate::client::{Client, ClientError};
use crate::console::{Console, Trouble};
use crate::names::{member_meant, service_meant};
use crate::submit::{Away, Patience};
use crate::times::precise;
use belay_proto::control::{ControlError, EventsParameters, EventsReply, Status};
use belay_proto::history::{EventId, HistoryEvent, Severity};
use belay_proto::{NodeId, Span};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How many events a follower asks for after the daemon was away: more than happen in a restart.
const MISSED_EVENTS_MAX: u32 = 10_000;

/// What an event is about that is about no service and no host.
const CLUSTER: &str = "cluster";

pub(super) fn run(socket: &Path, options: &Events, console: &mut Console) -> Result<u8, Trouble> {
    let (mut client, status) = ask(socket, console)?;
    let service = options.service.as_deref().map(|text| service_meant(&status, text)).transpose();
    let service = service.map_err(|text| no_service(&text))?;
    let node = options.node.as_deref().map(|text| member_meant(&status, text).map(|member| member.id)).transpose();
    let node = node.map_err(|text| no_member(&text))?;
    let since = options.since.map(|span| status.time - span);
    let mut parameters = EventsParameters { service, node, since, last: Some(options.last) };
    let layout = Layout::new(options, &status);
    let patience = Some(crate::client::PATIENCE);
    if !options.follow {
        let reply: EventsReply = client.call("Events", &parameters, patience).map_err(refused)?;
        show(&reply.events, &layout, &mut None, console)?;
        return Ok(0);
    }
    let mut seen = None;
    loop {
        let Err(problem) = follow(&mut client, &parameters, &layout, &mut seen, console)?;
        client = reconnect(socket, problem, console)?;
        parameters.last = Some(MISSED_EVENTS_MAX);
    }
}

/// No value of this type exists: following ends only with a problem.
enum Never {}

fn follow(
    client: &mut Client,
    parameters: &EventsParameters,
    layout: &Layout,
    seen: &mut Option<EventId>,
    console: &mut Console,
) -> Result<Result<Never, ClientError>, Trouble> {
    if let Err(problem) = client.call_for_more("Events", parameters) {
        return Ok(Err(problem));
    }
    let mut patience = Some(crate::client::PATIENCE);
    loop {
        match client.receive::<EventsReply>(patience) {
            Ok((reply, _)) => show(&reply.events, layout, seen, console)?,
            Err(problem) => return Ok(Err(problem)),
        }
        console.out.flush()?;
        // The first reply comes at once, the next one when something happens.
        patience = None;
    }
}

/// Finds the daemon again after its connection broke, as long as it may take.
fn reconnect(socket: &Path, problem: ClientError, console: &mut Console) -> Result<Client, Trouble> {
    let passes = matches!(
        problem,
        ClientError::Broken(_) | ClientError::TimedOut | ClientError::Refused(ControlError::Unavailable { .. })
    );
    if !passes {
        return Err(refused(problem));
    }
    let limit = Patience::from_environment().reconnect;
    console.tell(&format!("{problem}; looking for it for up to {}", Span::from(limit)));
    let mut away = Away::new(limit);
    let mut last = problem;
    while let Some(pause) = away.next_pause() {
        std::thread::sleep(pause.max(Duration::from_millis(100)));
        match Client::connect(socket).and_then(|mut client| client.status().map(|_| client)) {
            Ok(client) => return Ok(client),
            Err(problem) => last = problem,
        }
    }
    Err(last.into())
}

/// Prints what was not printed yet.
fn show(
    events: &[HistoryEvent],
    layout: &Layout,
    seen: &mut Option<EventId>,
    console: &mut Console,
) -> Result<(), Trouble> {
    for event in events {
        if seen.is_some_and(|seen| event.id <= seen) {
            continue;
        }
        *seen = Some(event.id);
        let line = if layout.json { json(event)? } else { layout.line(event, console.colour, &console.zone) };
        console.print(&line)?;
        console.print("\n")?;
    }
    Ok(())
}

/// How events are written into lines.
struct Layout {
    json: bool,
    causes: bool,
    names: BTreeMap<NodeId, String>,
    /// As wide as the longest name that events are about now; a longer one that comes later moves its line's text.
    subject_width: usize,
}

impl Layout {
    fn new(options: &Events, status: &Status) -> Self {
        let members = status.members.iter().map(|member| member.name.as_str());
        let subjects = status.services.iter().map(|service| service.name.as_str()).chain(members);
        let subject_width = subjects.map(|name| name.chars().count()).max().unwrap_or(0).max(CLUSTER.len());
        let names = status.members.iter().map(|member| (member.id, member.name.clone())).collect();
        Self { json: options.json, causes: options.causes, names, subject_width }
    }

    fn line(&self, event: &HistoryEvent, colour: bool, zone: &TimeZone) -> String {
        let subject = match (&event.service, event.node) {
            (Some(service), _) => service.to_string(),
            (None, Some(node)) => self.names.get(&node).cloned().unwrap_or_else(|| format!("node {node}")),
            (None, None) => CLUSTER.to_owned(),
        };
        let width = self.subject_width;
        let text = paint(&event.text, event.severity, colour);
        let (time, severity) = (precise(event.time, zone), word(event.severity));
        if !self.causes {
            return format!("{time}  {severity:8}  {subject:width$}  {text}");
        }
        let cause = event.cause.map(|cause| format!("  (after {cause})")).unwrap_or_default();
        let (id, kind) = (event.id.to_string(), event.kind.word());
        format!("{time}  {id:>8}  {severity:8}  {kind:11}  {subject:width$}  {text}{cause}")
    }
}

/// The word for how much an event wants attention.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
        Severity::Info => "info",
    }
}

/// The text in its severity's colour.
pub(super) fn paint(text: &str, severity: Severity, colour: bool) -> String {
    match (colour, severity) {
        (true, Severity::Critical | Severity::Error) => format!("\x1b[31m{text}\x1b[0m"),
        (true, Severity::Warning) => format!("\x1b[33m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}
