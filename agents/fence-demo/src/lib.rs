//! `fence_belay_demo`: the power switch of the demo's hosts, as a fence agent like any other.
//!
//! A demo host is a directory `<state_dir>/<host>/`. In it, `pid` names the host's supervisor, which every process of
//! that host descends from (it is their subreaper), and `power` says `on` or `off`; whoever starts supervisors goes by
//! it. Switching a host off means what pulling a plug means: afterwards no process of that host exists, whatever state
//! it was in, and that was looked at, not assumed.
//!
//! What belongs to a host: the supervisor and its descendants; any process whose environment has
//! `BELAY_DEMO_HOST=<state_dir>/<host>`; any process without a terminal whose arguments name a path below that
//! directory. The latter finds emulators that outlived their supervisor: libvirt clears their environment, but their
//! sockets and logs lie there.
//!
//! Run without arguments it reads `key=value` lines from standard input, as the cluster calls it; with arguments it
//! understands the same as options.

mod host;
mod metadata;
mod options;
mod process;

use host::{Host, HostError};
use options::{Action, Options, OptionsError};
use std::process::ExitCode;

/// The exit status of `status` for a host that is off; 0 is on, 1 an error.
const OFF: u8 = 2;

/// What goes wrong, in the words fence agents use.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Host(#[from] HostError),
}

/// For the fuzz targets: whether these lines on standard input are understood, or what is wrong with them.
///
/// # Errors
/// As the agent says it.
#[doc(hidden)]
pub fn understands(lines: &str) -> Result<(), String> {
    Options::from_text(lines).map(drop).map_err(|error| error.to_string())
}

/// Does what arguments or standard input say, and gives the exit status.
#[must_use]
pub fn main() -> ExitCode {
    match Options::read().map_err(Error::from).and_then(|options| act(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ERROR: Failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<ExitCode, Error> {
    match options.action {
        Action::Metadata => print!("{}", metadata::XML),
        Action::List => {
            for name in host::names(options.state_dir()?)? {
                println!("{name},");
            }
        }
        // Whoever monitors wants to know whether the switch can be reached, not whether a host is on.
        Action::Monitor => drop(host::names(options.state_dir()?)?),
        Action::ValidateAll => drop(open(options)?),
        Action::Status => {
            let on = open(options)?.is_on()?;
            println!("Status: {}", if on { "ON" } else { "OFF" });
            return Ok(if on { ExitCode::SUCCESS } else { OFF.into() });
        }
        Action::Off => {
            let host = open(options)?;
            std::thread::sleep(options.delay);
            let did_something = host.off(options.power_timeout)?;
            println!("Success: {}", if did_something { "Powered OFF" } else { "Already OFF" });
        }
        Action::On => {
            let did_something = open(options)?.on(options.power_timeout)?;
            println!("Success: {}", if did_something { "Powered ON" } else { "Already ON" });
        }
        Action::Reboot => {
            let host = open(options)?;
            std::thread::sleep(options.delay);
            host.off(options.power_timeout)?;
            // The host was off, which is what fencing is about; that it comes up again is a courtesy.
            if let Err(error) = host.on(options.power_timeout) {
                eprintln!("WARNING: {error}");
            }
            println!("Success: Rebooted");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(options: &Options) -> Result<Host, Error> {
    Ok(Host::open(options.state_dir()?, options.plug()?)?)
}
