//! `belay enable`, `disable`, `stop`, `restart`, `relocate`, `migrate`, `freeze`, `unfreeze`, `lock` and `unlock`.

use super::options::{Command, Of};
use super::{ask, no_member, no_service, refused};
use crate::client::Client;
use crate::console::{Console, Trouble};
use crate::names::{member_meant, service_meant};
use crate::submit::{Ended, Patience, submit};
use belay_proto::control::{Status, Verdict};
use belay_proto::entry::Request;
use belay_proto::{Code, Span};
use std::path::Path;

/// What to do to a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Enable,
    Disable,
    Stop,
    Restart,
    Relocate,
    Migrate,
    Freeze,
    Unfreeze,
}

/// The exit status when the patience with a request is over, as `timeout` has it.
pub(super) const STILL_WORKING: u8 = 124;

pub(super) fn run(socket: &Path, verb: Verb, of: &Of, to: Option<&str>, console: &mut Console) -> Result<u8, Trouble> {
    let (client, status) = ask(socket, console)?;
    let request = wanted(verb, &of.service, to, &status)?;
    let mut patience = Patience::from_environment();
    patience.wait = of.wait.map(Into::into);
    if let Some(reconnect) = of.reconnect {
        patience.reconnect = reconnect.into();
    }
    carry_out(client, socket, request, patience, &status, console)
}

/// The request that a command makes of a cluster like this; none if it is no request.
pub(super) fn of(command: &Command, status: &Status) -> Result<Option<Request>, Trouble> {
    let (verb, of, to) = match command {
        Command::Enable(to) => (Verb::Enable, &to.of, to.to.as_deref()),
        Command::Relocate(to) => (Verb::Relocate, &to.of, to.to.as_deref()),
        Command::Migrate(to) => (Verb::Migrate, &to.of, Some(to.to.as_str())),
        Command::Disable(of) => (Verb::Disable, of, None),
        Command::Stop(of) => (Verb::Stop, of, None),
        Command::Restart(of) => (Verb::Restart, of, None),
        Command::Freeze(of) => (Verb::Freeze, of, None),
        Command::Unfreeze(of) => (Verb::Unfreeze, of, None),
        Command::Lock => return Ok(Some(Request::Lock {})),
        Command::Unlock => return Ok(Some(Request::Unlock {})),
        _ => return Ok(None),
    };
    wanted(verb, &of.service, to, status).map(Some)
}

fn wanted(verb: Verb, service: &str, to: Option<&str>, status: &Status) -> Result<Request, Trouble> {
    let service = service_meant(status, service).map_err(|text| no_service(&text))?;
    let member = to.map(|name| member_meant(status, name)).transpose().map_err(|text| no_member(&text))?;
    let target = member.map(|member| member.id);
    Ok(match (verb, target) {
        // Our own command asks placement, wherever it is typed.
        (Verb::Enable, target) => Request::Enable { service, target, by_domain: target.is_none() },
        (Verb::Relocate, target) => Request::Relocate { service, target },
        (Verb::Migrate, Some(target)) => Request::Migrate { service, target },
        (Verb::Migrate, None) => return Err(Trouble::told(2, "belay: a migration needs --to NODE")),
        (Verb::Disable, _) => Request::Disable { service },
        (Verb::Stop, _) => Request::Stop { service },
        (Verb::Restart, _) => Request::Restart { service },
        (Verb::Freeze, _) => Request::Freeze { service },
        (Verb::Unfreeze, _) => Request::Unfreeze { service },
    })
}

/// A request about all services.
pub(super) fn about_all(socket: &Path, request: Request, console: &mut Console) -> Result<u8, Trouble> {
    let (client, status) = ask(socket, console)?;
    carry_out(client, socket, request, Patience::from_environment(), &status, console)
}

/// Submits a request and tells its outcome in one line.
pub(super) fn carry_out(
    client: Client,
    socket: &Path,
    request: Request,
    patience: Patience,
    status: &Status,
    console: &mut Console,
) -> Result<u8, Trouble> {
    let subject = match &request {
        Request::AcknowledgeFence { node } => member_name(status, *node),
        Request::Lock {} | Request::Unlock {} => "the services".to_owned(),
        other => other.service().map(ToString::to_string).unwrap_or_default(),
    };
    let what = format!("{} {subject}", request.verb());
    let places = request.service().is_some();
    match submit(client, socket, request, patience, console).map_err(refused)? {
        Ended::Verdict(verdict) => report(&what, &verdict, places, status, console),
        Ended::StillWorking(id) => {
            let waited = patience.wait.map(|wait| Span::from(wait).to_string()).unwrap_or_default();
            Err(Trouble::told(
                STILL_WORKING,
                format!(
                    "belay: {what}: no outcome after {waited}; the request (id {id}) stays in force, see: belay events"
                ),
            ))
        }
    }
}

/// Tells a verdict. `places`: it was about a service, so where that runs is part of the answer.
pub(super) fn report(
    what: &str,
    verdict: &Verdict,
    places: bool,
    status: &Status,
    console: &mut Console,
) -> Result<u8, Trouble> {
    let because = if verdict.reason.is_empty() { String::new() } else { format!(" ({})", verdict.reason) };
    match verdict.code {
        Code::Success | Code::Running => {
            let place =
                verdict.owner.filter(|_| places).map(|owner| format!("; it runs on {}", member_name(status, owner)));
            let result = if verdict.code == Code::Running { "it runs already" } else { "done" };
            console.print(&format!("{what}: {result}{}{because}\n", place.unwrap_or_default()))?;
            Ok(0)
        }
        code => {
            let next = next_step(code);
            let text =
                format!("belay: {what}: {}{because}{}{next}", code.text(), if next.is_empty() { "" } else { "; " });
            Err(Trouble::told(code.exit_status(), text))
        }
    }
}

/// What a person can do about it.
fn next_step(code: Code) -> &'static str {
    match code {
        Code::Quorum => "see which members are missing with: belay status",
        Code::Deadlock => "try again in a moment",
        Code::Frozen => "unfreeze it first",
        Code::NoNode => "see which members are online with: belay status",
        Code::Fencing => "see what is being fenced with: belay status",
        Code::NoService => "list the services with: belay status",
        Code::Failure | Code::Aborted | Code::Domain | Code::RunningOnOriginal | Code::Warning | Code::Depend => {
            "see how it came to that with: belay why SERVICE"
        }
        // Its own text says to try again, and the reason when.
        Code::Again => "",
        Code::Success | Code::Running | Code::Invalid | Code::Permission => "",
    }
}

fn member_name(status: &Status, id: belay_proto::NodeId) -> String {
    let found = status.members.iter().find(|member| member.id == id);
    found.map_or_else(|| format!("node {id}"), |member| member.name.clone())
}
