//! Given: the table `[detect]`. Gives: how detectors are set up, or every fault of it. Refuses to know: what thresholds do;
//! the rows of the detectors name them.

use toml::de::DeValue;

use super::Detect;
use super::table::{Faults, entries};
use super::value::{Value, size_bytes};
use crate::detect::{Pattern, Row, TABLE, Values};

/// Memory of all detectors that is worth having, and that is not a slip of the hand.
const BUDGET_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=4 << 30;

/// Reads the table.
pub(super) fn read(detect: &mut Detect, value: &Value<'_>) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for (name, inner) in entries(value)? {
        if name == "budget" {
            let size = |text: &str| size_bytes(text).filter(|bytes| BUDGET_BYTES.contains(bytes));
            faults.take(inner.parsed(size).map(|bytes| detect.budget_bytes = bytes as usize));
            continue;
        }
        if name == "loopback" {
            faults.take(inner.flag().map(|flag| detect.loopback = flag));
            continue;
        }
        let row = Pattern::of_name(name).and_then(|of| TABLE.iter().find(|row| row.pattern == of));
        let Some(row) = row else {
            let known = TABLE.iter().map(|row| row.pattern.name()).chain(["budget", "loopback"]);
            faults.0.push(inner.refused(&unknown(name, known)));
            continue;
        };
        match values(row, &inner) {
            Ok(values) => _ = detect.patterns.insert(row.pattern, values),
            Err(Faults(more)) => faults.0.extend(more),
        }
    }
    faults.or(())
}

/// `None` when the detector is turned off.
fn values(row: &'static Row, value: &Value<'_>) -> Result<Option<Values>, Faults> {
    let mut faults = Faults::default();
    let mut values = Values::of(row);
    let mut is_on = true;
    for (name, inner) in entries(value)? {
        if name == "enabled" {
            faults.take(inner.flag().map(|flag| is_on = flag));
            continue;
        }
        let Some(threshold) = row.thresholds.iter().find(|threshold| threshold.name == name) else {
            let known = row.thresholds.iter().map(|threshold| threshold.name).chain(["enabled"]);
            faults.0.push(inner.refused(&unknown(name, known)));
            continue;
        };
        match number(&inner) {
            Some(number) => _ = values.set(threshold.name, number),
            None => faults.0.push(inner.refused(&format!("expected a number such as {}", threshold.default))),
        }
    }
    faults.or(is_on.then_some(values))
}

/// A number that is not negative.
fn number(value: &Value<'_>) -> Option<f64> {
    let number: f64 = match value.spanned.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok()?,
        DeValue::Float(number) => number.as_str().parse().ok()?,
        _ => return None,
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let nearest = known.map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let hint = nearest.map_or(String::new(), |(_, nearest)| format!("; did you mean `{nearest}`?"));
    format!("unknown key{hint}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Detect, String> {
        let config = Config::parse(text, Path::new("rotrace.toml"));
        config.map(|config| config.detect).map_err(|error| error.to_string())
    }

    #[test]
    fn thresholds_are_set_and_detectors_turned_off() {
        let text = "[detect]\nbudget = \"16MiB\"\nloopback = false\n[detect.n_plus_one]\nwarn_ids = 20\n[detect.error_loop]\nenabled = false\n";
        let detect = read(text).expect("a good table");
        assert_eq!((detect.budget_bytes, detect.loopback), (16 << 20, false));
        let values = detect.patterns.get(&Pattern::NPlusOne).and_then(Option::as_ref).expect("values");
        assert_eq!((values.count("warn_ids"), values.count("min_ids")), (20, 5));
        assert_eq!(detect.patterns.get(&Pattern::ErrorLoop), Some(&None));
    }

    #[test]
    fn faults_name_the_place_and_what_is_near() {
        let check = |text: &str, expect: &str| {
            let fault = read(text).expect_err("a fault");
            assert!(fault.contains(expect), "{fault}");
        };
        check("[detect]\nbudget = \"1KiB\"\n", "detect.budget");
        check("[detect]\nloopback = 1\n", "detect.loopback");
        check("[detect.n_plus_1]\n", "did you mean `n_plus_one`?");
        check("[detect.n_plus_one]\nwarn_id = 3\n", "did you mean `warn_ids`?");
        check(
            "[detect.n_plus_one]\nwarn_ids = \"3\"\n",
            "detect.n_plus_one.warn_ids: expected a number such as 10",
        );
        check("[detect.n_plus_one]\nwarn_ids = -3\n", "expected a number");
    }
}
