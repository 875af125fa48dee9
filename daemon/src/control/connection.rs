//! One client: reads its calls one after another, answers each before it reads the next, and lets go of a client that
//! is silent in the middle of a message, sends what is no call, or does not take its replies.

use super::EventFeed;
use super::frame::{CHUNK_BYTES, Frames, TooLong};
use super::message::{Call, CallError, error, reply};
use super::methods::{Answer, Backend, answer};
use super::peer::Peer;
use super::settings::Settings;
use belay_proto::control::EventsReply;
use belay_proto::history::{EventFilter, HistoryEvent};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How many events go into one reply at most.
const BATCH_EVENTS: usize = 100;

/// How often a client that has sent all it wants to send is looked at, whether it still listens.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client was silent for too long")]
    Silent,
    #[error("the client sent half a message and no more")]
    HalfMessage,
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the client sent what is no call: {0}")]
    NoCall(serde_json::Error),
    #[error("the client does not take its replies")]
    DoesNotRead,
    #[error("the daemon stops")]
    Stopping,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a client to the end of its connection.
pub(super) async fn converse(stream: UnixStream, peer: Peer, backend: &Backend, settings: &Settings) -> Ending {
    let mut connection = Connection::new(stream, peer, settings);
    let Err(ending) = connection.serve(peer, backend).await;
    let farewell = match &ending {
        Ending::TooLong(_) | Ending::NoCall(_) | Ending::HalfMessage => {
            Some(CallError::invalid_message(&ending.to_string()))
        }
        _ => None,
    };
    if let Some(farewell) = farewell {
        // It is let go either way.
        let _ = connection.send(&error(&farewell)).await;
    }
    ending
}

/// No value of this type exists: a conversation ends only with an [`Ending`].
enum Never {}

struct Connection<'a> {
    stream: UnixStream,
    frames: Frames,
    chunk: Box<[u8]>,
    /// The client will send nothing more, and may still listen.
    half_closed: bool,
    settings: &'a Settings,
}

impl<'a> Connection<'a> {
    fn new(stream: UnixStream, peer: Peer, settings: &'a Settings) -> Self {
        let limit = if peer.operator { settings.message_bytes } else { settings.message_bytes_of_others };
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Self { stream, frames: Frames::new(limit), chunk, half_closed: false, settings }
    }

    async fn serve(&mut self, peer: Peer, backend: &Backend) -> Result<Never, Ending> {
        loop {
            let message = self.next_message().await?;
            let call: Call = serde_json::from_slice(&message).map_err(Ending::NoCall)?;
            drop(message);
            let result = tokio::select! {
                result = answer(&call, &peer, backend) => result,
                ending = self.until_gone() => return Err(ending),
            };
            if call.oneway {
                continue;
            }
            match result {
                Ok(Answer::Once(bytes)) => self.send(&bytes).await?,
                Ok(Answer::Stream(feed, filter)) => self.stream(feed, &filter).await?,
                Err(problem) => self.send(&error(&problem)).await?,
            }
        }
    }

    /// The next whole message.
    async fn next_message(&mut self) -> Result<Vec<u8>, Ending> {
        let mut deadline = Instant::now() + self.settings.idle;
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(message);
            }
            if self.half_closed {
                return Err(if self.frames.has_begun() { Ending::HalfMessage } else { Ending::Closed });
            }
            let begun = self.frames.has_begun();
            match timeout_at(deadline, self.stream.read(&mut self.chunk)).await {
                Ok(read) => self.take(read?),
                Err(_) if begun => return Err(Ending::HalfMessage),
                Err(_) => return Err(Ending::Silent),
            }
            if !begun {
                // Counted from the first byte and not from the latest, or a byte now and then would keep it open.
                deadline = Instant::now() + self.settings.idle;
            }
        }
    }

    fn take(&mut self, count: usize) {
        self.half_closed |= count == 0;
        self.frames.push(&self.chunk[..count]);
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        match timeout(self.settings.write, self.stream.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Ending::DoesNotRead),
        }
    }

    /// Returns when nobody is there any more to take an answer. What the client sends meanwhile is kept, up to a
    /// bound. A client that has only closed its own direction (`socat`, `nc -N`) still wants its answer.
    async fn until_gone(&mut self) -> Ending {
        loop {
            if self.half_closed || self.frames.len() >= CHUNK_BYTES {
                sleep(LOOK_EVERY).await;
                match self.stream.ready(Interest::WRITABLE).await {
                    Ok(ready) if ready.is_write_closed() => return Ending::Closed,
                    Ok(_) => {}
                    Err(error) => return error.into(),
                }
            } else {
                match self.stream.read(&mut self.chunk).await {
                    Ok(count) => self.take(count),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    /// Sends what is there, then every batch of what comes. A client that falls so far behind that the channel has
    /// forgotten what it should get next is told so and let go: it can ask for the history again.
    async fn stream(&mut self, (events, mut feed): EventFeed, filter: &EventFilter) -> Result<(), Ending> {
        self.send(&reply(&EventsReply { events }, true)).await?;
        loop {
            let first = tokio::select! {
                event = feed.recv() => event,
                ending = self.until_gone() => return Err(ending),
            };
            let first = match first {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => return self.fell_behind().await,
                Err(RecvError::Closed) => {
                    let stopping = CallError::unavailable("the daemon is stopping: follow again when it is back");
                    self.send(&error(&stopping)).await?;
                    return Err(Ending::Stopping);
                }
            };
            match batch(first, &mut feed, filter) {
                Some(events) if events.is_empty() => {}
                Some(events) => self.send(&reply(&EventsReply { events }, true)).await?,
                None => return self.fell_behind().await,
            }
        }
    }

    async fn fell_behind(&mut self) -> Result<(), Ending> {
        let behind = CallError::unavailable("events came faster than they were read: ask again for what was missed");
        self.send(&error(&behind)).await?;
        Err(Ending::DoesNotRead)
    }
}

/// `first` and what is there behind it, as far as it is wanted; `None` if some of it is lost.
fn batch(
    first: Arc<HistoryEvent>,
    feed: &mut broadcast::Receiver<Arc<HistoryEvent>>,
    filter: &EventFilter,
) -> Option<Vec<HistoryEvent>> {
    let mut events = vec![first];
    while events.len() < BATCH_EVENTS {
        match feed.try_recv() {
            Ok(event) => events.push(event),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            Err(TryRecvError::Lagged(_)) => return None,
        }
    }
    Some(events.into_iter().filter(|event| filter.wants(event)).map(|event| HistoryEvent::clone(&event)).collect())
}
