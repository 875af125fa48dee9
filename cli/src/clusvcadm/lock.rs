//! `clusvcadm -l`, `-u` and `-S`: the lock on all services.

use super::not_connected;
use super::options::LockAction;
use crate::client::{Client, ClientError};
use crate::console::{Console, Trouble};
use crate::submit::{Ended, Patience, submit};
use belay_proto::Code;
use belay_proto::control::Status;
use belay_proto::entry::Request;
use std::path::Path;

const LOCKED: &str = "Resource groups locked\n";
const UNLOCKED: &str = "Resource groups unlocked\n";

pub(super) fn run(action: LockAction, socket: &Path, console: &mut Console) -> Result<u8, Trouble> {
    let mut client = Client::connect(socket).map_err(|error| not_connected("resource group manager", &error))?;
    let (request, sentence) = match action {
        LockAction::Lock => (Request::Lock {}, LOCKED),
        LockAction::Unlock => (Request::Unlock {}, UNLOCKED),
        LockAction::Show => {
            let status = client.status().map_err(|error| not_connected("resource group manager", &error))?;
            console.print(shown(&status)?)?;
            return Ok(0);
        }
    };
    let failed = if action == LockAction::Lock { "Lock operation failed" } else { "Unlock operation failed" };
    match submit(client, socket, request, Patience::from_environment(), console) {
        Ok(Ended::Verdict(verdict)) if verdict.code == Code::Success => {
            console.print(sentence)?;
            Ok(0)
        }
        Ok(Ended::Verdict(verdict)) => {
            let reason = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
            Err(Trouble::told(1, format!("{failed}\n({}{reason})", verdict.code)))
        }
        // Its patience has no end.
        Ok(Ended::StillWorking(_)) => Ok(0),
        Err(ClientError::Refused(error)) => Err(Trouble::told(1, format!("{failed}\n({error})"))),
        Err(error) => Err(not_connected("resource group manager", &error)),
    }
}

/// What the last quorate state says; without quorum others may have changed it.
fn shown(status: &Status) -> Result<&'static str, Trouble> {
    if !status.quorate {
        let known = if status.locked { "locked" } else { "unlocked" };
        let text = format!("Query operation failed\n({}; they were {known} when there was)", Code::Quorum);
        return Err(Trouble::told(1, text));
    }
    Ok(if status.locked { LOCKED } else { UNLOCKED })
}
