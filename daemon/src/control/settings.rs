//! The server's bounds. Tests shorten them; a running daemon uses the defaults.

use belay_proto::control::MAX_MESSAGE_BYTES;
use std::time::Duration;

/// What the server allows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Members of this group may change things, as root may.
    pub group: String,
    /// Connections of root and the group's members at a time.
    pub connections_of_operators: usize,
    /// Connections of everybody else together. They cannot take the operators' places.
    pub connections_of_others: usize,
    /// Connections of one other user, so that none keeps the rest out.
    pub connections_of_one_other: usize,
    /// The longest message of an operator, in bytes.
    pub message_bytes: usize,
    /// The longest message of anybody else: they have only short questions to ask, and a buffer for each of their
    /// connections is all the memory they can cost the daemon.
    pub message_bytes_of_others: usize,
    /// A connection may be silent this long between messages, and this long from a message's first byte to its last.
    pub idle: Duration,
    /// A client has this long to take a reply.
    pub write: Duration,
    /// The main loop has this long to answer anything but `Submit`.
    pub answer: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group: "belay".to_owned(),
            connections_of_operators: 64,
            connections_of_others: 48,
            connections_of_one_other: 16,
            message_bytes: MAX_MESSAGE_BYTES,
            message_bytes_of_others: 16 * 1024,
            idle: Duration::from_secs(30),
            write: Duration::from_secs(30),
            answer: Duration::from_secs(2),
        }
    }
}
