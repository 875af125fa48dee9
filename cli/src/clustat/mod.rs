//! `clustat`, with the options, layout, words and exit codes that scripts rely on.
//!
//! Departures from the original, all of them harmless to scripts: everybody sees the whole configuration, not only
//! root; services are shown without quorum too, as this host last knew them; attribute values in XML are escaped; a
//! service that migrates counts as running for `-s`, as it did when the original kept calling it started; a lock on the
//! services is shown, by a line below the quorum or an element, only while there is one.

mod options;
mod text;
mod xml;

use crate::client::{Client, ClientError, advice, describe};
use crate::console::{Console, Trouble};
use crate::names;
use crate::warning;
use belay_proto::control::{ControlError, Status};
use belay_proto::{ServiceName, ServiceState};
use options::{Format, Options, Parsed, Subject};
use std::path::Path;
use std::time::Duration;

/// The exit status for a member or a service that does not exist.
const UNKNOWN: u8 = 255;

/// Runs `clustat` with its arguments.
///
/// # Errors
/// When the daemon cannot be asked or the output is gone.
pub fn run(arguments: &[String], socket: &Path, console: &mut Console) -> Result<u8, Trouble> {
    let options = match options::parse(arguments) {
        Parsed::Run(options) => options,
        Parsed::Usage(complaint) => {
            if let Some(complaint) = complaint {
                console.tell(&complaint);
            }
            console.print(options::USAGE)?;
            return Ok(0);
        }
        Parsed::Version => {
            console.print(concat!("clustat version ", env!("CARGO_PKG_VERSION"), "\n"))?;
            return Ok(0);
        }
        Parsed::Exclusive => return Err(Trouble::told(1, "Error: Options '-i' and '-x' are mutually exclusive")),
    };
    let Some(every) = options.every else {
        return show(&ask(socket)?, &options, console);
    };
    // A daemon that restarts is a thing to watch; only one that never answered ends the command.
    let mut status = ask(socket)?;
    loop {
        if console.terminal {
            console.print("\x1b[H\x1b[2J")?;
        }
        show(&status, &options, console)?;
        console.out.flush()?;
        std::thread::sleep(Duration::from_secs(every));
        loop {
            match ask(socket) {
                Ok(new) => break status = new,
                Err(trouble) => console.tell(&trouble.to_string()),
            }
            std::thread::sleep(Duration::from_secs(every));
        }
    }
}

/// For the fuzz targets: the report that a command line asks for, of this status; nothing if it asks for none.
pub(crate) fn prints(status: &Status, arguments: &[String], console: &mut Console) -> Result<Option<u8>, Trouble> {
    match options::parse(arguments) {
        Parsed::Run(options) => show(status, &options, console).map(Some),
        Parsed::Usage(_) | Parsed::Version | Parsed::Exclusive => Ok(None),
    }
}

fn ask(socket: &Path) -> Result<Status, Trouble> {
    Client::connect(socket).and_then(|mut client| client.status()).map_err(|error| match &error {
        ClientError::Unreachable { error, path } => Trouble::told(
            1,
            format!("Could not connect to CMAN: {}\n(socket {}: {})", describe(error), path.display(), advice(error)),
        ),
        ClientError::TimedOut => {
            Trouble::told(1, format!("Timed out waiting for a response from Resource Group Manager\n({error})"))
        }
        ClientError::Refused(ControlError::Unavailable { reason }) => {
            Trouble::told(1, format!("Service states unavailable: Temporary failure; try again\n({reason})"))
        }
        _ => Trouble::told(1, format!("Service states unavailable: Failure\n({error})")),
    })
}

/// Prints the report; returns the exit status.
fn show(status: &Status, options: &Options, console: &mut Console) -> Result<u8, Trouble> {
    match (&options.subject, options.format) {
        (Subject::OwnId, _) => {
            console.print(&format!("{:#010x}\n", status.node.0))?;
            Ok(0)
        }
        (Subject::Quorum, _) => Ok(u8::from(!status.quorate)),
        (Subject::Member(name), format) => {
            let Some(member) = status.members.iter().find(|member| member.name == *name) else {
                return Ok(UNKNOWN);
            };
            console.print(&match format {
                Format::Xml => xml::member(member),
                Format::Short | Format::Long => text::member(member, console.width),
            })?;
            Ok(u8::from(!member.online))
        }
        (Subject::Service(name), format) => show_service(status, name, format, console),
        (Subject::Everything, format) => {
            // The layout has no place for it, and scripts read the layout.
            if let Some(warning) = warning::disarmed(status).filter(|_| console.hints) {
                console.tell(&warning);
            }
            console.print(&match format {
                Format::Xml => xml::everything(status, &console.zone),
                Format::Short | Format::Long => {
                    text::everything(status, format == Format::Long, console.width, (console.now)(), &console.zone)
                }
            })?;
            Ok(0)
        }
    }
}

fn show_service(status: &Status, name: &str, format: Format, console: &mut Console) -> Result<u8, Trouble> {
    let found = name.parse::<ServiceName>().ok().and_then(|name| names::service(status, &name));
    let Some(service) = found else {
        if console.hints
            && let Some(meant) = names::other_kind(status, name)
        {
            console.tell(&format!("did you mean {meant}?"));
        }
        if format == Format::Xml {
            console.print(&xml::no_service())?;
            return Ok(0);
        }
        return Ok(UNKNOWN);
    };
    console.print(&match format {
        Format::Xml => xml::service(status, service, &console.zone),
        Format::Short => text::service(status, service, console.width),
        Format::Long => text::service_long(status, service, console.width, &console.zone),
    })?;
    Ok(exit_status(service.state))
}

fn exit_status(state: ServiceState) -> u8 {
    match state {
        ServiceState::Starting | ServiceState::Started | ServiceState::Stopping | ServiceState::Migrating => 0,
        other => other.number(),
    }
}
