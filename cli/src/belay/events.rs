//! `belay events`: the history, and with `--follow` what is added to it.

use super::options::Events;
use super::{ask, json, no_service, refused};
use crate::client::{Client, ClientError};
use crate::console::{Console, Trouble};
use crate::names::service_meant;
use crate::submit::{Away, Patience};
use crate::times::precise;
use belay_proto::Span;
use belay_proto::control::{ControlError, EventsParameters, EventsReply};
use belay_proto::history::{EventId, HistoryEvent, Severity};
use jiff::tz::TimeZone;
use std::path::Path;
use std::time::Duration;

/// How many events a follower asks for after the daemon was away: more than happen in a restart.
const MISSED_EVENTS_MAX: u32 = 10_000;

pub(super) fn run(socket: &Path, options: &Events, console: &mut Console) -> Result<u8, Trouble> {
    let (mut client, status) = ask(socket, console)?;
    let service = options.service.as_deref().map(|text| service_meant(&status, text)).transpose();
    let service = service.map_err(|text| no_service(&text))?;
    let mut parameters = EventsParameters { service, last: Some(options.last) };
    let patience = Some(crate::client::PATIENCE);
    if !options.follow {
        let reply: EventsReply = client.call("Events", &parameters, patience).map_err(refused)?;
        show(&reply.events, options.json, &mut None, console)?;
        return Ok(0);
    }
    let mut seen = None;
    loop {
        let Err(problem) = follow(&mut client, &parameters, options.json, &mut seen, console)?;
        client = reconnect(socket, problem, console)?;
        parameters.last = Some(MISSED_EVENTS_MAX);
    }
}

/// No value of this type exists: following ends only with a problem.
enum Never {}

fn follow(
    client: &mut Client,
    parameters: &EventsParameters,
    json: bool,
    seen: &mut Option<EventId>,
    console: &mut Console,
) -> Result<Result<Never, ClientError>, Trouble> {
    if let Err(problem) = client.call_for_more("Events", parameters) {
        return Ok(Err(problem));
    }
    let mut patience = Some(crate::client::PATIENCE);
    loop {
        match client.receive::<EventsReply>(patience) {
            Ok((reply, _)) => show(&reply.events, json, seen, console)?,
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
pub(super) fn show(
    events: &[HistoryEvent],
    as_json: bool,
    seen: &mut Option<EventId>,
    console: &mut Console,
) -> Result<(), Trouble> {
    for event in events {
        if seen.is_some_and(|seen| event.id <= seen) {
            continue;
        }
        *seen = Some(event.id);
        let line = if as_json { json(event)? } else { line(event, console.colour, &console.zone) };
        console.print(&line)?;
        console.print("\n")?;
    }
    Ok(())
}

fn line(event: &HistoryEvent, colour: bool, zone: &TimeZone) -> String {
    let cause = event.cause.map(|cause| format!("  (after {cause})")).unwrap_or_default();
    let text = paint(&event.text, event.severity, colour);
    let severity = word(event.severity);
    let id = event.id.to_string();
    format!("{}  {id:>8}  {severity:8}  {:11}  {text}{cause}", precise(event.time, zone), event.kind.word())
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
