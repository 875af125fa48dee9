//! For the fuzz targets: a client that says any bytes, and a main loop that knows nothing. The server between them is the
//! real one.

use super::connection::converse;
use super::methods::Backend;
use super::peer::Peer;
use super::{ControlQuery, Settings};
use belay_proto::control::{Phase, Status, Verdict};
use belay_proto::{Code, Index, NodeId, Term, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};

/// Everything that is sent back, each reply with its NUL.
///
/// # Errors
/// When there is no runtime or no socket to be had.
pub fn replies(bytes: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (server, client) = UnixStream::pair()?;
        let (queries, mut asked) = mpsc::channel(1);
        let conversation = async move {
            let settings = Settings::default();
            let backend = Backend { queries, patience: settings.answer };
            converse(server, Peer { uid: 0, operator: true }, &backend, &settings).await
        };
        let main_loop = async move {
            while let Some(query) = asked.recv().await {
                reply_to(query);
            }
        };
        let (_, heard, ()) = tokio::join!(conversation, say_and_hear(client, bytes), main_loop);
        Ok(heard.split_inclusive(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
    })
}

/// Speaks and listens at once: a socket holds only so much. Whoever is let go in the middle has heard what it has heard.
async fn say_and_hear(mut client: UnixStream, bytes: &[u8]) -> Vec<u8> {
    let (mut ear, mut mouth) = client.split();
    let say = async {
        let _ = mouth.write_all(bytes).await;
        let _ = mouth.shutdown().await;
    };
    let mut heard = Vec::new();
    let _ = tokio::join!(say, ear.read_to_end(&mut heard));
    heard
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
