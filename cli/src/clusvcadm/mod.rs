//! `clusvcadm`, with the options, words and exit codes that scripts rely on.

mod lock;
mod options;

use crate::client::{Client, ClientError, advice, describe};
use crate::console::{Console, Trouble};
use crate::names::{self, Closest};
use crate::submit::{Ended, Patience, submit};
use belay_proto::control::{ControlError, MemberStatus, Status, Verdict};
use belay_proto::entry::Request;
use belay_proto::{Code, ServiceName};
use options::{Action, Options, Parsed};
use std::path::Path;

/// Runs `clusvcadm` with its arguments.
///
/// # Errors
/// When the request could not be made or the output is gone.
pub fn run(arguments: &[String], socket: &Path, console: &mut Console) -> Result<u8, Trouble> {
    let (parsed, quiet) = options::parse(arguments);
    if quiet {
        console.out = Box::new(std::io::sink());
    }
    match parsed {
        Parsed::Run(options) => ask_for(&options, socket, console),
        Parsed::Lock(action) => lock::run(action, socket, console),
        Parsed::Usage(complaint) => {
            if let Some(complaint) = complaint {
                console.tell(&complaint);
            }
            console.print(options::USAGE)?;
            Ok(1)
        }
        Parsed::Version => {
            console.print(concat!("clusvcadm version ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(0)
        }
        Parsed::Wrong(text) => Err(Trouble::told(1, text)),
    }
}

fn ask_for(options: &Options, socket: &Path, console: &mut Console) -> Result<u8, Trouble> {
    if options.action == Action::Migrate && options.target.is_none() {
        return Err(Trouble::told(1, "Migration requires a target cluster member"));
    }
    let mut client = Client::connect(socket).map_err(|error| not_connected("cluster service", &error))?;
    let status = client.status().map_err(|error| not_connected("resource group manager", &error))?;
    let target = options.target.as_deref().map(|name| find_member(&status, name, console)).transpose()?;
    if let Some(target) = target.filter(|target| options.action == Action::Migrate && !target.online) {
        return Err(Trouble::told(1, format!("'{}' is offline", target.name)));
    }
    let group = full_name(&options.group);
    console.print_now(&progress(options.action, &group, target))?;
    let Some(request) = group.parse().ok().and_then(|service| request(options, service, target)) else {
        // A name that no service can have is one that does not exist.
        console.print(&format!("{}\n", Code::NoService.text()))?;
        return Ok(Code::NoService.exit_status());
    };
    match submit(client, socket, request, Patience::from_environment(), console) {
        Ok(Ended::Verdict(verdict)) => report(options, &group, target, &status, &verdict, console),
        Ok(Ended::StillWorking(_)) => Ok(0),
        Err(ClientError::Refused(error @ ControlError::PermissionDenied {})) => {
            console.print(&format!("{}\n", Code::Permission.text()))?;
            Err(Trouble::told(Code::Permission.exit_status(), format!("({error})")))
        }
        Err(error) => {
            console.print("\n")?;
            Err(not_connected("resource group manager", &error))
        }
    }
}

/// For the fuzz targets: the request that a command line comes to in a cluster with this status.
pub(crate) fn asks_for(status: &Status, arguments: &[String], console: &mut Console) -> Option<Request> {
    let (Parsed::Run(options), _) = options::parse(arguments) else { return None };
    let target = options.target.as_deref().map(|name| find_member(status, name, console)).transpose().ok()?;
    request(&options, full_name(&options.group).parse().ok()?, target)
}

fn not_connected(what: &str, error: &ClientError) -> Trouble {
    let hint = match error {
        ClientError::Unreachable { path, error } => {
            format!("socket {}: {}; {}", path.display(), describe(error), advice(error))
        }
        other => other.to_string(),
    };
    Trouble::told(1, format!("Could not connect to {what}\n({hint})"))
}

/// A name without a kind means a service.
fn full_name(group: &str) -> String {
    if group.contains(':') { group.to_owned() } else { format!("service:{group}") }
}

fn find_member<'a>(status: &'a Status, name: &str, console: &mut Console) -> Result<&'a MemberStatus, Trouble> {
    if let Some(member) = names::member(status, name) {
        return Ok(member);
    }
    console.tell(&format!("'{name}' not in membership list"));
    match names::closest(status, name) {
        Closest::One(member) => {
            console.tell(&format!("Closest match: '{}'", member.name));
            Ok(member)
        }
        Closest::None => Err(Trouble::told(1, format!("No matches for '{name}' found"))),
        Closest::Several => Err(Trouble::told(1, format!("More than one possible match for '{name}' found"))),
    }
}

/// What is printed before the result.
fn progress(action: Action, group: &str, target: Option<&MemberStatus>) -> String {
    let word = action.word();
    match (action, target) {
        (Action::Relocate | Action::Migrate, Some(target)) => format!("Trying to {word} {group} to {}...", target.name),
        (Action::Relocate | Action::Migrate, None) => format!("Trying to {word} {group}..."),
        (_, Some(target)) => format!("Member {} {word} {group}...", target.name),
        (_, None) => format!("Local machine {word} {group}..."),
    }
}

fn request(options: &Options, service: ServiceName, target: Option<&MemberStatus>) -> Option<Request> {
    let target = target.map(|target| target.id);
    Some(match options.action {
        Action::Enable => Request::Enable { service, target, by_domain: options.follow },
        Action::Disable => Request::Disable { service },
        Action::Stop => Request::Stop { service },
        Action::Restart => Request::Restart { service },
        Action::Relocate => Request::Relocate { service, target },
        Action::Migrate => Request::Migrate { service, target: target? },
        Action::Freeze => Request::Freeze { service },
        Action::Unfreeze => Request::Unfreeze { service },
        Action::Convalesce => Request::Convalesce { service },
    })
}

/// Prints the result; returns the exit status.
fn report(
    options: &Options,
    group: &str,
    target: Option<&MemberStatus>,
    status: &Status,
    verdict: &Verdict,
    console: &mut Console,
) -> Result<u8, Trouble> {
    console.print(&format!("{}\n", verdict.code.text()))?;
    let tells_owner = matches!(options.action, Action::Enable | Action::Relocate);
    if let Some(owner) = verdict.owner.filter(|_| verdict.code == Code::Success && tells_owner) {
        let warning = if target.is_some_and(|target| target.id != owner) { "Warning: " } else { "" };
        let known = status.members.iter().find(|member| member.id == owner);
        let name = known.map_or_else(|| format!("node {owner}"), |member| member.name.clone());
        console.print(&format!("{warning}{group} is now running on {name}\n"))?;
    }
    if verdict.code == Code::NoService
        && let Some(meant) = names::other_kind(status, &options.group)
    {
        console.tell(&format!("(did you mean {meant}?)"));
    } else if verdict.code != Code::Success && !verdict.reason.is_empty() {
        console.tell(&format!("({})", verdict.reason));
    }
    Ok(verdict.code.exit_status())
}
