//! Points in time, as drivers count it.

use std::ops::Add;
use std::time::Duration;

/// A reading of a clock that never goes back, in milliseconds since whatever its shell chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from an earlier moment to this one; none if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// A part of a millisecond counts as a whole one: nothing is due too early.
    fn add(self, length: Duration) -> Self {
        let millis = length.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}
