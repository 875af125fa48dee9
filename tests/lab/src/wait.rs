//! Waiting for something to become true, with a limit and a name for what was waited for.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the condition yields something, and tells how long that took.
///
/// # Errors
/// When the limit passes; the message names what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Ok((found, start.elapsed()));
        }
        if start.elapsed() > limit {
            bail!("waited {:.1} s in vain: {what}", limit.as_secs_f64());
        }
        std::thread::sleep(PAUSE);
    }
}
