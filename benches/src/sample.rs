//! Repeated measurements of one thing.

use std::fmt;
use std::time::{Duration, Instant};

/// Durations of the same work, ascending.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    sorted: Vec<Duration>,
}

impl Sample {
    /// From measurements in any order.
    #[must_use]
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    /// Times `work` on a fresh input each time. Making the input and dropping what comes out are not timed.
    pub fn of<I, O>(times: usize, mut input: impl FnMut() -> I, mut work: impl FnMut(&mut I) -> O) -> Self {
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let mut given = input();
            let start = Instant::now();
            let out = work(&mut given);
            taken.push(start.elapsed());
            drop(std::hint::black_box(out));
        }
        Self::new(taken)
    }

    /// The same times as if each had been of `parts` equal parts.
    #[must_use]
    pub fn per(self, parts: u32) -> Self {
        Self { sorted: self.sorted.into_iter().map(|time| time / parts.max(1)).collect() }
    }

    /// The shortest.
    #[must_use]
    pub fn min(&self) -> Duration {
        self.sorted.first().copied().unwrap_or_default()
    }

    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.sorted.get(self.sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {}", short(self.min()), short(self.median()), short(self.max()))
    }
}

/// A duration with three digits and its unit.
#[must_use]
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let digits = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_with_three_digits() {
        for (micros, shown) in [(3, "3.00 µs"), (1_234, "1.23 ms"), (56_789, "56.8 ms"), (612_000, "612 ms")] {
            assert_eq!(short(Duration::from_micros(micros)), shown);
        }
        assert_eq!(short(Duration::from_secs(12)), "12.0 s");
    }

    #[test]
    fn least_middle_and_most_come_from_any_order() {
        let ms = |list: &[u64]| Sample::new(list.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(ms(&[9, 1, 5]).to_string(), "1.00 ms / 5.00 ms / 9.00 ms");
        assert!(ms(&[]).is_empty());
    }
}
