//! Given: numbers. Gives: the same for people, in three digits. Refuses to know: what they count.

/// A duration in three digits; at most 7 columns up to a day.
pub(super) fn duration(value_ns: u64) -> String {
    scaled(value_ns, &["ns", "µs", "ms", "s"])
}

/// A size in three digits and decimal units; at most 7 columns.
pub(super) fn bytes(value_bytes: u64) -> String {
    scaled(value_bytes, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

fn scaled(value: u64, units: &[&str]) -> String {
    let mut scaled = value as f64;
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    // From 999.5 on, three digits round to 1000.
    while scaled >= 999.5
        && let Some(next) = units.next()
    {
        scaled /= 1000.0;
        unit = next;
    }
    let decimals = match scaled {
        _ if value < 1000 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let check = |ns, expect: &str| assert_eq!(duration(ns), expect);
        check(0, "0 ns");
        check(999, "999 ns");
        check(1000, "1.00 µs");
        check(9_995, "10.0 µs");
        check(99_949, "99.9 µs");
        check(999_499, "999 µs");
        check(999_500, "1.00 ms");
        check(12_345_678_901, "12.3 s");
        check(86_400_000_000_000, "86400 s");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(bytes(1_000_000), "1.00 MB");
    }
}
