//! What the test says while it runs, so that a reader sees which step was the last.

use std::time::Duration;

pub(crate) fn step(text: &str) {
    eprintln!("── {text}");
}

pub(crate) fn took(what: &str, time: Duration) {
    eprintln!("   {what}: {:.2} s", time.as_secs_f64());
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
