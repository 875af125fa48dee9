//! Where a command's words go, and what it knows of the terminal. Tests give it buffers instead.

use crate::client::ClientError;
use belay_proto::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// The width of a terminal that does not tell its own.
const WIDTH: usize = 80;

/// A command's input and outputs.
pub struct Console {
    /// What scripts read.
    pub out: Box<dyn Write>,
    /// What people read.
    pub err: Box<dyn Write>,
    /// What people answer.
    pub input: Box<dyn BufRead>,
    /// Columns of the terminal, 80 where there is none.
    pub width: usize,
    /// Whether `out` is a terminal.
    pub terminal: bool,
    /// Whether `err` is a terminal: hints that a script should not see go only there.
    pub hints: bool,
    /// Whether to use colours.
    pub colour: bool,
    /// The time zone that times are shown in.
    pub zone: TimeZone,
    /// The present moment.
    pub now: fn() -> Timestamp,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What to tell, and the exit status.
    #[error("{text}")]
    Told {
        /// One or more lines.
        text: String,
        /// The exit status.
        status: u8,
    },
    /// The daemon could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The output is gone.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Trouble {
    /// Something to tell, and the exit status.
    pub fn told(status: u8, text: impl Into<String>) -> Self {
        Self::Told { text: text.into(), status }
    }
}

impl Console {
    /// The console of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal
            .then(|| terminal_size::terminal_size_of(io::stdout()))
            .flatten()
            .map_or(WIDTH, |(columns, _)| usize::from(columns.0));
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: Box::new(io::BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            input: Box::new(io::stdin().lock()),
            width: if width == 0 { WIDTH } else { width },
            terminal,
            hints: io::stderr().is_terminal(),
            colour: terminal && !plain,
            zone: TimeZone::system(),
            now,
        }
    }

    /// Prints to `out`.
    ///
    /// # Errors
    /// When the output is gone.
    pub fn print(&mut self, text: &str) -> Result<(), Trouble> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Prints to `out`, and sees to it that it is seen now.
    ///
    /// # Errors
    /// When the output is gone.
    pub fn print_now(&mut self, text: &str) -> Result<(), Trouble> {
        self.print(text)?;
        Ok(self.out.flush()?)
    }

    /// Tells a person something. That nobody may be there to read it is no error.
    pub fn tell(&mut self, text: &str) {
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{text}");
    }

    /// Tells what went wrong, if anything did, and returns the exit status.
    pub fn finish(&mut self, result: Result<u8, Trouble>) -> u8 {
        let flushed = self.out.flush().map_err(Trouble::Output);
        match result.and_then(|status| flushed.map(|()| status)) {
            Ok(status) => status,
            // Whoever read the output has seen enough (`belay events | head`).
            Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Err(Trouble::Told { text, status }) => {
                if !text.is_empty() {
                    self.tell(&text);
                }
                status
            }
            Err(other) => {
                self.tell(&format!("belay: {other}"));
                1
            }
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
