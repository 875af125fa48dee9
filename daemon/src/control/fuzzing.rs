//! For the fuzz targets: a client's bytes, answered as the server answers them, by a main loop that knows nothing.

use super::ControlQuery;
use super::frame::{CHUNK_BYTES, Frames};
use super::message::{Call, CallError, error};
use super::methods::{Answer, Backend, answer};
use super::peer::Peer;
use belay_proto::control::{MAX_MESSAGE_BYTES, Phase, Status, Verdict};
use belay_proto::{Code, Index, NodeId, Term, Timestamp};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};

/// Everything that is sent back, each reply with its NUL.
///
/// # Errors
/// When there is no runtime to be had.
pub fn replies(bytes: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let (queries, mut asked) = mpsc::channel(1);
        let backend = Backend { queries, patience: Duration::from_secs(60) };
        let peer = Peer { uid: 0, operator: true };
        let conversation = async move { all(bytes, &peer, &backend).await };
        let main_loop = async move {
            while let Some(query) = asked.recv().await {
                reply_to(query);
            }
        };
        Ok(tokio::join!(conversation, main_loop).0)
    })
}

/// As a connection does it, with the whole of what the client sends at once.
async fn all(bytes: &[u8], peer: &Peer, backend: &Backend) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(MAX_MESSAGE_BYTES);
    let mut replies = Vec::new();
    for chunk in bytes.chunks(CHUNK_BYTES) {
        frames.push(chunk);
        loop {
            let message = match frames.next() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(too_long) => {
                    replies.push(error(&CallError::invalid_message(&too_long.to_string())));
                    return replies;
                }
            };
            let call: Call = match serde_json::from_slice(&message) {
                Ok(call) => call,
                Err(no_call) => {
                    replies.push(error(&CallError::invalid_message(&no_call.to_string())));
                    return replies;
                }
            };
            let reply = match answer(&call, peer, backend).await {
                Ok(Answer::Once(reply)) => reply,
                Ok(Answer::Stream(..)) => continue,
                Err(problem) => error(&problem),
            };
            replies.extend(Some(reply).filter(|_| !call.oneway));
        }
    }
    replies
}

/// The asker is there: it waits in the same function.
fn reply_to(query: ControlQuery) {
    match query {
        ControlQuery::Status(answer) => drop(answer.send(nothing())),
        ControlQuery::Submit { answer, .. } => {
            drop(answer.send(Verdict { code: Code::NoService, reason: String::new(), owner: None }));
        }
        ControlQuery::Why { answer, .. } => drop(answer.send(None)),
        ControlQuery::Snapshot(answer) => drop(answer.send(String::new())),
        ControlQuery::Events { answer, .. } => drop(answer.send((Vec::new(), broadcast::channel(1).1))),
    }
}

fn nothing() -> Status {
    Status {
        cluster: String::new(),
        config_version: 0,
        node: NodeId(1),
        phase: Phase::Joining,
        quorate: false,
        term: Term(0),
        index: Index(0),
        committed: Index(0),
        time: Timestamp(0),
        age_ms: 0,
        locked: false,
        disarmed: None,
        members: Vec::new(),
        services: Vec::new(),
        alarms: Vec::new(),
    }
}
