//! Waiting for what must come.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a failure. Generous: a slow machine is no reason to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a test looks. Short, since some tests break things in the middle of what they look at.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// Looks until there is something to see. An error is not the end: a daemon may be dead at the moment, or on its way
/// up; the last one is told when time is up.
///
/// # Errors
/// When there is nothing to see for too long.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let trouble = match look() {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() > PATIENCE {
            let waited = format!("waited {} s for {what}", PATIENCE.as_secs());
            return match trouble {
                Some(error) => Err(error.context(waited)),
                None => bail!("{waited}"),
            };
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
