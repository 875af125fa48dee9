//! Times as people and scripts read them, in the local time zone.

use belay_proto::{Span, Timestamp};
use jiff::Zoned;
use jiff::tz::TimeZone;

/// `Tue Mar  6 10:15:02 2012`, as C's `ctime` writes it.
pub(crate) fn ctime(time: Timestamp, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// `2012-03-06 10:15:02.250`.
pub(crate) fn precise(time: Timestamp, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// A length of time in its two largest units, whole seconds at least: `3d4h`, `12m5s`, `0s`.
pub(crate) fn rough(span: Span) -> String {
    let seconds = span.0 / 1000;
    let coarse = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3600,
    };
    Span::seconds(coarse).to_string()
}

/// A moment too far off to have a date shows as the epoch: a daemon's nonsense must not stop a report.
fn zoned(time: Timestamp, zone: &TimeZone) -> Zoned {
    let moment = i64::try_from(time.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Timestamp = Timestamp(1_331_028_902_250);

    #[test]
    fn a_moment_is_written_as_ctime_writes_it() {
        assert_eq!(ctime(MOMENT, &TimeZone::UTC), "Tue Mar  6 10:15:02 2012");
        assert_eq!(ctime(Timestamp(0), &TimeZone::UTC), "Thu Jan  1 00:00:00 1970");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(ctime(MOMENT, &berlin), "Tue Mar  6 11:15:02 2012");
        assert_eq!(precise(MOMENT, &TimeZone::UTC), "2012-03-06 10:15:02.250");
    }

    #[test]
    fn a_moment_that_no_calendar_has_stops_nothing() {
        assert_eq!(ctime(Timestamp(u64::MAX), &TimeZone::UTC), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn a_length_of_time_is_told_in_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (725, "12m5s"), (3725, "1h2m"), (90_061, "1d1h"), (7200, "2h")]
        {
            assert_eq!(rough(Span::seconds(seconds)), text);
        }
    }
}
