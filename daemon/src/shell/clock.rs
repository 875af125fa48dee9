//! The clocks of this host.

use belay_engine::node::Now;
use belay_proto::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The present moment. The monotonic part goes on while the host is suspended, so that a host that slept knows it.
pub(crate) fn now() -> Now {
    let mono = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |t| {
        u64::try_from(t.tv_sec()).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec()).unwrap_or(0) / 1_000_000
    });
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0));
    Now { mono_ms: mono, wall: Timestamp(wall) }
}
