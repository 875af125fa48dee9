//! Time as the cluster tells it: moments in milliseconds, and spans that people write as `90`, `90s`, `10m` or `1h30m`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// A moment of cluster time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time with millisecond resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch, as `clustat -x` prints them.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How much time lies between an earlier moment and this one; nothing if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// A span of milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Whether it is no time at all.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a length of time: write seconds (90), or numbers with s, m, h, d, w or y (10m, 1h30m)")]
pub struct SpanError(String);

impl FromStr for Span {
    type Err = SpanError;

    /// Units are summed, a number without a unit counts seconds (rgmanager's rule for `restart_expire_time`).
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let bad = || SpanError(text.chars().take(40).collect());
        let mut total: u64 = 0;
        let mut number: Option<u64> = None;
        for c in text.trim().chars() {
            if let Some(digit) = c.to_digit(10) {
                let so_far = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u64::from(digit)));
                number = Some(so_far.ok_or_else(bad)?);
                continue;
            }
            let unit: u64 = match c {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                'w' => 604_800,
                'y' => 31_536_000,
                _ => return Err(bad()),
            };
            let seconds = number.take().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
            total = total.checked_add(seconds).ok_or_else(bad)?;
        }
        match (number, text.trim().is_empty()) {
            (_, true) => Err(bad()),
            (rest, false) => {
                let seconds = total.checked_add(rest.unwrap_or(0)).ok_or_else(bad)?;
                seconds.checked_mul(1000).map(Self).ok_or_else(bad)
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millis, mut seconds) = (self.0 % 1000, self.0 / 1000);
        if seconds == 0 {
            return if millis == 0 { f.write_str("0s") } else { write!(f, "{millis}ms") };
        }
        for (unit, length) in [('d', 86_400), ('h', 3600), ('m', 60)] {
            if seconds >= length {
                write!(f, "{}{unit}", seconds / length)?;
                seconds %= length;
            }
        }
        match (seconds, millis) {
            (0, 0) => Ok(()),
            (s, 0) => write!(f, "{s}s"),
            (s, ms) => write!(f, "{s}.{ms:03}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_read_as_administrators_write_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1m5", 65), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Span::seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for bad in ["", " ", "m", "-1", "1x", "1.5h", "99999999999999999999", "s5"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,40}") {
            let _ = text.parse::<Span>();
        }

        #[test]
        fn whole_seconds_survive_printing_and_reading(seconds in 0u64..100_000_000) {
            let span = Span::seconds(seconds);
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }
}
