//! Given: times of CLOCK_MONOTONIC and how far the wall clock is from it. Gives: dates and times of day in UTC. Refuses
//! to know: what time it is, and time zones.

/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const DAYS_TO_1970: u64 = 719_468;

/// Lengths of the months from March on: February is last, so the leap day ends the year.
const MONTHS_FROM_MARCH: [u64; 12] = [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29];

/// The last nanosecond of the year 9999: RFC 3339 §1 has four digits for the year.
const LAST_NS: i128 = 253_402_300_799_999_999_999;

/// How CLOCK_MONOTONIC and the wall clock relate, measured once, so that the same capture always has the same times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds since 1970-01-01T00:00:00Z, less CLOCK_MONOTONIC, at the same moment.
    pub offset_ns: i128,
}

impl WallClock {
    /// RFC 3339 §5.6 with nanoseconds: `2026-08-23T12:34:56.789012345Z`. Times outside of 1970 … 9999 become the
    /// nearest in it.
    pub fn rfc3339(self, monotonic_ns: u64) -> String {
        let (days, second, ns) = self.split(monotonic_ns);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ns:09}Z")
    }

    /// Time of day in UTC with milliseconds: `12:34:56.789`.
    pub fn time_of_day(self, monotonic_ns: u64) -> String {
        let (_, second, ns) = self.split(monotonic_ns);
        format!("{:02}:{:02}:{:02}.{:03}", second / 3600, second / 60 % 60, second % 60, ns / 1_000_000)
    }

    /// Days since 1970, seconds of the day, and nanoseconds of the second.
    fn split(self, monotonic_ns: u64) -> (u64, u64, u64) {
        let ns = self.offset_ns.saturating_add(i128::from(monotonic_ns)).clamp(0, LAST_NS) as u128;
        let seconds = (ns / 1_000_000_000) as u64;
        (seconds / 86_400, seconds % 86_400, (ns % 1_000_000_000) as u64)
    }
}

/// Year, month and day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (cycles, days) = (days / 146_097, days % 146_097);
    // The last century of 400 years, and the last year of 4, are a day longer than the others.
    let centuries = (days / 36_524).min(3);
    let days = days - centuries * 36_524;
    let (leaps, days) = (days / 1_461, days % 1_461);
    let years = (days / 365).min(3);
    let mut day = days - years * 365;
    let year = cycles * 400 + centuries * 100 + leaps * 4 + years;
    let mut month = 3;
    for length in MONTHS_FROM_MARCH {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    if month > 12 { (year + 1, month - 12, day + 1) } else { (year, month, day + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let check = |seconds: i128, expect: &str| {
            assert_eq!(WallClock { offset_ns: seconds * 1_000_000_000 }.rfc3339(7), expect);
        };
        check(0, "1970-01-01T00:00:00.000000007Z");
        check(951_782_399, "2000-02-28T23:59:59.000000007Z");
        check(951_782_400, "2000-02-29T00:00:00.000000007Z");
        check(951_868_800, "2000-03-01T00:00:00.000000007Z");
        check(1_000_000_000, "2001-09-09T01:46:40.000000007Z");
        check(1_735_689_599, "2024-12-31T23:59:59.000000007Z");
        check(4_107_542_399, "2100-02-28T23:59:59.000000007Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000000007Z");
        check(253_402_300_799, "9999-12-31T23:59:59.000000007Z");
    }

    #[test]
    fn times_that_cannot_be_written_become_the_nearest() {
        assert_eq!(WallClock { offset_ns: i128::MIN }.rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(WallClock { offset_ns: i128::MAX }.rfc3339(1), "9999-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn time_of_day_has_milliseconds() {
        let clock = WallClock { offset_ns: 951_782_399_000_000_000 };
        assert_eq!(clock.time_of_day(12_345_678), "23:59:59.012");
    }

    proptest! {
        #[test]
        fn the_day_after_is_the_next_of_the_calendar(days in 0u64..2_932_896) {
            let (year, month, day) = civil(days);
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let next = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == length[month as usize - 1] => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
            prop_assert_eq!(civil(days + 1), next);
        }
    }
}
