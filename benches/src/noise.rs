//! How quiet the machine is: without that, no number means anything.

use crate::sample::{Sample, short};
use std::hint::black_box;
use std::time::Duration;

/// What the machine did to a fixed piece of work.
#[derive(Debug)]
pub struct Noise {
    spin: Sample,
    load: String,
    cores: usize,
}

impl Noise {
    /// Times the same arithmetic 200 times, about a millisecond each.
    #[must_use]
    pub fn measure() -> Self {
        let spin = Sample::of(
            200,
            || 1_u64,
            |seed| {
                for step in 0..400_000_u64 {
                    *seed = black_box(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
                }
                *seed
            },
        );
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        Self { spin, load, cores: std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// One sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let factor = |time: Duration| time.as_secs_f64() / self.spin.min().as_secs_f64().max(f64::MIN_POSITIVE);
        format!(
            "{} cores, load {}, stores on {}; the same arithmetic took {} at best, {:.2} times that in the median and {:.1} times at worst",
            self.cores,
            self.load,
            file_system(),
            short(self.spin.min()),
            factor(self.spin.median()),
            factor(self.spin.max())
        )
    }
}

/// What `/tmp` lies on, where the daemons of these benchmarks have their stores: writing to memory costs nothing, and a
/// disk's fsync may cost more than all the rest.
fn file_system() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kind = |at: &str| {
        let mut lines = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find_map(|fields| (fields.get(1) == Some(&at)).then(|| (*fields.get(2).unwrap_or(&"?")).to_owned()))
    };
    kind("/tmp").or_else(|| kind("/")).unwrap_or_else(|| "an unknown file system".to_owned())
}
