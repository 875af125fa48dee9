//! The client's side of the control socket: one call, its reply or replies, and what can go wrong on the way.
//!
//! Blocking, since a command does one thing at a time. Every wait has an end, except where the caller wants none.

use belay_proto::control::{ControlError, INTERFACE_NAME, Status};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the daemon may take to accept a connection, and to answer what it can answer at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach the daemon on {path}: {}; {}", describe(.error), advice(.error))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The connection broke before the answer came.
    #[error("the connection to the daemon broke: {0}; it may be restarting, look with: systemctl status belayd")]
    Broken(String),
    /// No answer in time.
    #[error("the daemon does not answer: it may hang, look with: journalctl -u belayd")]
    TimedOut,
    /// The daemon's own error.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// An error or an answer that this build does not know.
    #[error("the daemon answered what this command does not understand ({0}): are both of the same version?")]
    Strange(String),
}

/// What the kernel calls an error, without Rust's number behind it.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

/// What to do about a socket that does not answer.
#[must_use]
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "start the daemon with: systemctl start belayd (or name its socket in BELAY_SOCKET)",
        io::ErrorKind::ConnectionRefused => "the daemon died, see why with: systemctl status belayd",
        io::ErrorKind::PermissionDenied => "the socket or its folder is closed to you: try as root",
        _ => "look at the daemon with: systemctl status belayd",
    }
}

#[derive(Serialize)]
struct Call<'a, P> {
    method: String,
    parameters: &'a P,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    continues: bool,
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens, or nobody accepts in time.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let failed = |error: Errno| ClientError::Unreachable { path: path.to_owned(), error: error.into() };
        let address = UnixAddr::new(path).map_err(failed)?;
        let made = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        // Bounds the connecting too: a stopped daemon's queue of connections may be full.
        let seconds = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&made, sockopt::SendTimeout, &TimeVal::new(seconds, 0)).map_err(failed)?;
        match connect(made.as_raw_fd(), &address) {
            Ok(()) => Ok(Self::of(UnixStream::from(made))),
            Err(Errno::EAGAIN) => Err(ClientError::TimedOut),
            Err(error) => Err(failed(error)),
        }
    }

    /// On a connection that is there.
    pub(crate) fn of(stream: UnixStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// The whole picture.
    ///
    /// # Errors
    /// When the daemon cannot be asked or does not answer.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call("Status", &Value::Object(serde_json::Map::new()), Some(PATIENCE))
    }

    /// Calls a method of the daemon's interface and waits for its one reply, for ever if `patience` is `None`.
    ///
    /// # Errors
    /// When the daemon refuses, or its answer does not come.
    pub fn call<P: Serialize, T: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &P,
        patience: Option<Duration>,
    ) -> Result<T, ClientError> {
        self.send(method, parameters, false)?;
        Ok(self.receive(patience)?.0)
    }

    /// Calls a method whose one reply is to be read with [`Client::receive`].
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn call_once<P: Serialize>(&mut self, method: &str, parameters: &P) -> Result<(), ClientError> {
        self.send(method, parameters, false)
    }

    /// Calls a method that answers with a stream, to be read with [`Client::receive`].
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn call_for_more<P: Serialize>(&mut self, method: &str, parameters: &P) -> Result<(), ClientError> {
        self.send(method, parameters, true)
    }

    fn send<P: Serialize>(&mut self, method: &str, parameters: &P, more: bool) -> Result<(), ClientError> {
        let call = Call { method: format!("{INTERFACE_NAME}.{method}"), parameters, more };
        let mut bytes = serde_json::to_vec(&call).map_err(|error| ClientError::Strange(error.to_string()))?;
        bytes.push(0);
        match self.stream.write_all(&bytes) {
            // Turned away before the call was read: the reason may be there to be received.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            Err(error) if timed_out(&error) => Err(ClientError::TimedOut),
            other => other.map_err(|error| ClientError::Broken(describe(&error))),
        }
    }

    /// The next reply, and whether more follow.
    ///
    /// # Errors
    /// When the daemon refuses, or its answer does not come.
    pub fn receive<T: DeserializeOwned>(&mut self, patience: Option<Duration>) -> Result<(T, bool), ClientError> {
        let message = self.message(patience)?;
        let strange = |error: serde_json::Error| ClientError::Strange(error.to_string());
        let reply: Reply = serde_json::from_slice(&message).map_err(strange)?;
        let Some(name) = reply.error else {
            return Ok((T::deserialize(reply.parameters).map_err(strange)?, reply.continues));
        };
        let parameters =
            if reply.parameters.is_null() { Value::Object(serde_json::Map::new()) } else { reply.parameters };
        let known = serde_json::json!({ "error": name, "parameters": parameters });
        match ControlError::deserialize(known) {
            Ok(error) => Err(error.into()),
            Err(_) => Err(ClientError::Strange(format!("{name} {parameters}"))),
        }
    }

    fn message(&mut self, patience: Option<Duration>) -> Result<Vec<u8>, ClientError> {
        // A zero time limit is an error to the socket.
        let patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        let broken = |error: io::Error| ClientError::Broken(describe(&error));
        self.stream.set_read_timeout(patience).map_err(broken)?;
        let mut chunk = vec![0; 64 * 1024];
        let mut searched = 0;
        loop {
            if let Some(end) = self.bytes[searched..].iter().position(|byte| *byte == 0) {
                let rest = self.bytes.split_off(searched + end + 1);
                let mut message = std::mem::replace(&mut self.bytes, rest);
                message.pop();
                return Ok(message);
            }
            searched = self.bytes.len();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Broken("it was closed before the answer came".to_owned())),
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if timed_out(&error) => return Err(ClientError::TimedOut),
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
