//! `belay`: the cluster in our own words, and the other commands by their names.

mod ack_fence;
mod check;
mod disarm;
mod events;
mod maintenance;
mod options;
mod request;
mod simulate;
mod status;
mod why;

use crate::client::{Client, ClientError};
use crate::console::{Console, Trouble};
use crate::{clustat, clusvcadm, default_socket, warning};
use belay_proto::control::ControlError;
use belay_proto::entry::Request;
use belay_proto::{Code, NodeMode};
use clap::{CommandFactory, FromArgMatches};
use options::{Command, Options};
use std::ffi::OsString;
use std::path::Path;

/// Longer lines of help are hard to read, however wide the terminal is.
const HELP_WIDTH_MAX: usize = 100;

/// Runs `belay` with its arguments, its own name first.
pub(crate) fn run(arguments: &[OsString], console: &mut Console) -> Result<u8, Trouble> {
    let command = Options::command().term_width(console.width.min(HELP_WIDTH_MAX));
    let parsed =
        command.try_get_matches_from(arguments).and_then(|matches| Ok((Options::from_arg_matches(&matches)?, matches)));
    let (options, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let text = error.render();
            let help = !error.use_stderr();
            let text = if console.colour && help { text.ansi().to_string() } else { text.to_string() };
            if help {
                console.print(&text)?;
                return Ok(0);
            }
            return Err(Trouble::told(2, text.trim_end()));
        }
    };
    let socket = options.socket.unwrap_or_else(default_socket);
    match options.command {
        Command::Status { json } => status::run(&socket, json, console),
        Command::Events(events) => events::run(&socket, &events, console),
        Command::Why { what, json } => why::run(&socket, &what, json, console),
        Command::Maintenance(host) => maintenance::run(&socket, NodeMode::Maintenance, &host, console),
        Command::Standby(host) => maintenance::run(&socket, NodeMode::Standby, &host, console),
        Command::Disarm { span, reason } => disarm::disarm(&socket, span, &reason, console),
        Command::Arm => disarm::arm(&socket, console),
        Command::AckFence { node, yes_i_am_sure } => ack_fence::run(&socket, &node, yes_i_am_sure, console),
        Command::Check(check) => check::run(&socket, &check, console),
        Command::Simulate { config, verbose, .. } => {
            let written = matches.subcommand_matches("simulate").unwrap_or(&matches);
            simulate::run(&socket, config.as_ref(), verbose, written, console)
        }
        Command::Clustat { arguments } => clustat::run(&arguments, &socket, console),
        Command::Clusvcadm { arguments } => clusvcadm::run(&arguments, &socket, console),
        Command::Enable(to) => request::run(&socket, request::Verb::Enable, &to.of, to.to.as_deref(), console),
        Command::Relocate(to) => request::run(&socket, request::Verb::Relocate, &to.of, to.to.as_deref(), console),
        Command::Migrate(to) => request::run(&socket, request::Verb::Migrate, &to.of, Some(&to.to), console),
        Command::Disable(of) => request::run(&socket, request::Verb::Disable, &of, None, console),
        Command::Stop(of) => request::run(&socket, request::Verb::Stop, &of, None, console),
        Command::Restart(of) => request::run(&socket, request::Verb::Restart, &of, None, console),
        Command::Freeze(of) => request::run(&socket, request::Verb::Freeze, &of, None, console),
        Command::Lock => request::about_all(&socket, Request::Lock {}, console),
        Command::Unlock => request::about_all(&socket, Request::Unlock {}, console),
        Command::Unfreeze(of) => request::run(&socket, request::Verb::Unfreeze, &of, None, console),
    }
}

/// Connects and gets the picture, and warns if the cluster is not protected.
fn ask(socket: &Path, console: &mut Console) -> Result<(Client, belay_proto::control::Status), Trouble> {
    let (client, status) = connect(socket)?;
    if let Some(warning) = warning::disarmed(&status) {
        console.tell(&warning);
    }
    Ok((client, status))
}

/// Connects and gets the picture.
fn connect(socket: &Path) -> Result<(Client, belay_proto::control::Status), Trouble> {
    let mut client = Client::connect(socket)?;
    let status = client.status()?;
    Ok((client, status))
}

/// The exit status for what the daemon refuses; anything else stays as it is.
fn refused(error: ClientError) -> Trouble {
    match error {
        ClientError::Refused(refusal @ ControlError::PermissionDenied {}) => {
            Trouble::told(Code::Permission.exit_status(), format!("belay: {refusal}"))
        }
        ClientError::Refused(ControlError::NoSuchService { name }) => {
            no_service(&format!("service {name} does not exist; list the services with: belay status"))
        }
        other => other.into(),
    }
}

fn no_service(text: &str) -> Trouble {
    Trouble::told(Code::NoService.exit_status(), format!("belay: {text}"))
}

fn no_member(text: &str) -> Trouble {
    Trouble::told(Code::NoNode.exit_status(), format!("belay: {text}"))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Trouble> {
    serde_json::to_string(value).map_err(|error| Trouble::told(1, format!("belay: {error}")))
}
