//! For the fuzz targets: any command line, and any bytes as a daemon's answers. No daemon is asked and no file is read.

use crate::client::{Client, ClientError};
use crate::console::{Console, Trouble};
use crate::{belay, clustat, clusvcadm};
use belay_proto::control::{EventsReply, Status, WhyReply};
use belay_proto::entry::Request;
use std::ffi::OsString;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// What `clusvcadm` would ask the daemon for, in a cluster with these members.
pub fn clusvcadm_asks_for(status: &Status, arguments: &[String], console: &mut Console) -> Option<Request> {
    clusvcadm::asks_for(status, arguments, console)
}

/// Whether `clustat` understands a command line, and prints this status as it says.
///
/// # Errors
/// As when it is run.
pub fn clustat_prints(status: &Status, arguments: &[String], console: &mut Console) -> Result<Option<u8>, Trouble> {
    clustat::prints(status, arguments, console)
}

/// Whether `belay` understands a command line, its own name first.
#[must_use]
pub fn belay_understands(arguments: &[OsString]) -> bool {
    belay::understands(arguments)
}

/// What a client makes of a daemon that says this and goes.
///
/// # Errors
/// As for a real one.
pub fn heard<T: serde::de::DeserializeOwned>(said: &[u8]) -> Result<(T, bool), ClientError> {
    let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
    let (ours, mut theirs) = UnixStream::pair().map_err(broken)?;
    std::thread::scope(|scope| {
        // A socket holds only so much: what is more must be written while it is read.
        scope.spawn(move || {
            // A client that has heard enough is gone.
            let _ = std::io::Write::write_all(&mut theirs, said);
            let _ = theirs.shutdown(Shutdown::Both);
        });
        Client::of(ours).receive(Some(crate::client::PATIENCE))
    })
}

/// Prints what `belay` prints of these.
///
/// # Errors
/// As when it is run.
pub fn belay_prints(
    status: &Status,
    why: Option<&WhyReply>,
    events: Option<&EventsReply>,
    console: &mut Console,
) -> Result<(), Trouble> {
    belay::prints(status, why, events, console)
}
