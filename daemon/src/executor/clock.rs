//! The clock that drivers are told the time by.

use belay_driver::Moment;
use std::time::Duration;
use tokio::time::Instant;

/// Counts from when it was made. Wide enough for any uptime, and it never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When it will show this. What is too far away to be told apart from never comes in a day, and is asked for anew.
    pub(super) fn instant(self, moment: Moment) -> Instant {
        const DAY: Duration = Duration::from_secs(86_400);
        let at = Duration::from_millis(moment.0).min(self.0.elapsed() + DAY);
        self.0 + at
    }
}
