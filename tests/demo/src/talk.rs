//! Talking to the daemons: the control socket for what the story must know, and the real commands for what it shows.

use crate::layout::{Host, Run};
use crate::reaper::{Printed, Reaper};
use anyhow::{Context, Result, bail};
use belay_proto::control::{EventsReply, Status};
use belay_proto::history::HistoryEvent;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

/// How long a daemon may take to answer what it answers from its own memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A host's own view of the cluster.
///
/// # Errors
/// When its daemon does not answer.
pub fn status(host: &Host) -> Result<Status> {
    status_within(host, ANSWER_LIMIT)
}

/// The same, with another limit.
///
/// # Errors
/// When its daemon does not answer within it.
pub fn status_within(host: &Host, limit: Duration) -> Result<Status> {
    ask(host, "Status", &json!({}), limit)
}

/// The newest events of the cluster's history, oldest first.
///
/// # Errors
/// When the daemon does not answer.
pub fn events(host: &Host, last: u32) -> Result<Vec<HistoryEvent>> {
    events_within(host, last, ANSWER_LIMIT)
}

/// The same, with another limit.
///
/// # Errors
/// When the daemon does not answer within it.
pub fn events_within(host: &Host, last: u32, limit: Duration) -> Result<Vec<HistoryEvent>> {
    Ok(ask::<EventsReply>(host, "Events", &json!({ "last": last }), limit)?.events)
}

/// One Varlink call: NUL-terminated JSON both ways.
fn ask<T: DeserializeOwned>(host: &Host, method: &str, parameters: &Value, limit: Duration) -> Result<T> {
    let unreachable = || format!("belayd on {} does not answer", host.name);
    let mut stream = UnixStream::connect(host.socket()).with_context(unreachable)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut call =
        serde_json::to_vec(&json!({ "method": format!("io.belay.Cluster.{method}"), "parameters": parameters }))?;
    call.push(0);
    stream.write_all(&call).with_context(unreachable)?;
    let mut answer = Vec::new();
    let mut part = [0_u8; 16 * 1024];
    while answer.last() != Some(&0) {
        match stream.read(&mut part).with_context(unreachable)? {
            0 => bail!("belayd on {} hung up", host.name),
            read => answer.extend_from_slice(part.get(..read).unwrap_or_default()),
        }
    }
    answer.pop();
    let mut answer: Value = serde_json::from_slice(&answer).with_context(unreachable)?;
    if let Some(error) = answer.get("error") {
        bail!("{} answered {error} to {method}", host.name);
    }
    serde_json::from_value(answer["parameters"].take())
        .with_context(|| format!("{} answered oddly to {method}", host.name))
}

/// Runs one of the real commands against a host's daemon, as a person would.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub fn command(run: &Run, reaper: &Reaper, host: &Host, words: &[&str], limit: Duration) -> Result<Printed> {
    let [program, arguments @ ..] = words else { bail!("no command given") };
    let mut command = Command::new(run.bin().join(program));
    command.args(arguments).env("BELAY_SOCKET", host.socket()).env("COLUMNS", "80");
    reaper.run(&mut command, limit)
}
