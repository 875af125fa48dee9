//! Lines for people, on stderr. A full stderr must not hold up the thread that has something to say, so a thread of its
//! own writes them, and what does not fit its queue is lost.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

static LINES: OnceLock<SyncSender<String>> = OnceLock::new();

/// Starts the thread. Lines before that are lost.
pub(crate) fn start() {
    let (sender, lines) = sync_channel::<String>(256);
    if LINES.set(sender).is_ok() {
        crate::spawn("log", move || {
            for line in lines {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        });
    }
}

/// Queues a line.
pub(crate) fn line(line: String) {
    if let Some(lines) = LINES.get() {
        let _ = lines.try_send(line);
    }
}

/// Queues a line, formatted.
macro_rules! log {
    ($($argument:tt)*) => { $crate::log::line(format!($($argument)*)) };
}
pub(crate) use log;
