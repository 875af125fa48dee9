//! The commands: `belay`, and by the name it is called with `clustat` and `clusvcadm`.
//!
//! All of them ask the daemon on this host over its control socket and print what it says; they decide nothing and keep
//! nothing. `clustat` and `clusvcadm` keep the layout, words and exit codes that scripts around the Red Hat Cluster
//! Suite rely on; `belay` speaks its own, more comfortable words.

mod belay;
pub mod client;
pub mod clustat;
pub mod clusvcadm;
pub mod console;
#[doc(hidden)]
pub mod fuzzing;
mod getopt;
mod names;
mod submit;
mod times;
mod warning;

use console::{Console, Trouble};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the commands look for the daemon when nothing else is said.
pub const SOCKET_VARIABLE: &str = "BELAY_SOCKET";

/// Runs the command that this process was called as.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut console = Console::of_process();
    let result = run(&arguments, &mut console);
    ExitCode::from(console.finish(result))
}

/// Runs a command line, its first element being the name it was called as.
///
/// # Errors
/// When it could not do its work; the exit status is in the error.
pub fn run(arguments: &[OsString], console: &mut Console) -> Result<u8, Trouble> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let rest = || arguments.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>();
    match called {
        Some("clustat") => clustat::run(&rest(), &default_socket(), console),
        Some("clusvcadm") => clusvcadm::run(&rest(), &default_socket(), console),
        _ => belay::run(arguments, console),
    }
}

fn default_socket() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE)
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from(belay_proto::control::DEFAULT_SOCKET), PathBuf::from)
}
