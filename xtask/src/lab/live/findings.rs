//! Given: lines of findings, and when each came. Gives: findings as they were told last, on the clock of the plan, and the
//! waste that they add up to. Refuses to know: whether they are right.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use rotrace::detect::finding::{Amount, Class, Confidence, Estimate, Evidence, Finding, FindingId, Severity};
use rotrace::detect::subject::Names;
use rotrace::detect::{Pattern, TABLE, Wasted};
use serde_json::Value;

use crate::lab::calls::EPOCH_NS;
use crate::lab::synth::Told;
use crate::lab::world::World;

/// Whose findings count, and from which severity on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) world: &'a World,
    /// When the plan began; nanoseconds since 1970.
    pub(super) began_ns: u64,
    /// PIDs of the games, in the order of the world's processes.
    pub(super) pids: &'a [u32],
    /// What counts as a statement.
    pub(super) said_from: Severity,
}

impl Reader<'_> {
    /// Findings of lines, each with when it came since the plan began.
    pub(super) fn told(&self, lines: &[(u64, Value)]) -> anyhow::Result<Vec<Told>> {
        let mut told: BTreeMap<FindingId, Told> = BTreeMap::new();
        for (came_ns, line) in lines {
            let finding = self.finding(line).with_context(|| format!("read the finding {line}"))?;
            let is_said = finding.severity >= self.said_from;
            let own =
                told.entry(finding.id).or_insert_with(|| Told { finding: finding.clone(), warned_ns: None });
            if is_said {
                own.warned_ns.get_or_insert(*came_ns);
            }
            own.finding = finding;
        }
        Ok(told.into_values().collect())
    }

    fn finding(&self, line: &Value) -> Option<Finding> {
        let text = |key: &str| line[key].as_str();
        let name = text("severity")?;
        let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name)?;
        let name = text("class")?;
        let class = [Class::Avoidable, Class::Potential].into_iter().find(|class| class.name() == name)?;
        let pid = line["pid"].as_u64()?;
        // The plan has numbers of its own.
        let process = self.pids.iter().position(|&known| u64::from(known) == pid)?;
        let at = |key: &str| Some(self.on_clock(unix_ns(text(key)?)?));
        Some(Finding {
            id: FindingId::parse(text("id")?)?,
            pattern: pattern(text("pattern")?)?,
            kind: "",
            game: text("game")?.into(),
            endpoint: text("endpoint")?.into(),
            method: text("method")?.into(),
            pid: self.world.process(process as u32).pid,
            started_ns: at("started")?,
            confirmed_ns: at("confirmed")?,
            last_ns: at("last")?,
            is_over: text("state")? == "over",
            severity,
            confidence: Confidence::default(),
            class,
            calls: line["calls"].as_u64()?,
            overlap_calls: line["overlap_calls"].as_u64()?,
            waste: estimate(&line["waste"])?,
            latency_ns: line["latency_ns"].as_u64()?,
            evidence: Evidence::default(),
            remedy: String::new(),
        })
    }

    fn on_clock(&self, unix_ns: u64) -> u64 {
        (EPOCH_NS + unix_ns).saturating_sub(self.began_ns)
    }
}

/// What findings claim together, by game, endpoint, pattern and class.
pub(super) fn wasted(told: &[Told]) -> Vec<Wasted> {
    let mut sums: BTreeMap<(Names, Pattern, Class), Amount> = BTreeMap::new();
    for Told { finding, .. } in told {
        let Finding { game, endpoint, method, pattern, class, waste, .. } = finding;
        let authority = endpoint.split('/').next().unwrap_or_default().into();
        let names = Names {
            game: Arc::clone(game),
            endpoint: Arc::clone(endpoint),
            authority,
            method: Arc::clone(method),
        };
        let sum = sums.entry((names, *pattern, *class)).or_default();
        *sum = sum.plus(waste.expected);
    }
    let wasted = |((names, pattern, class), amount): ((Names, Pattern, Class), Amount)| Wasted {
        names: Arc::new(names),
        pattern,
        class,
        amount,
    };
    sums.into_iter().map(wasted).collect()
}

fn pattern(name: &str) -> Option<Pattern> {
    TABLE.iter().map(|row| row.pattern).find(|pattern| pattern.name() == name)
}

fn estimate(waste: &Value) -> Option<Estimate> {
    let amount = |of: &str| {
        Some(Amount {
            calls: waste["calls"][of].as_u64()?,
            bytes: waste["bytes"][of].as_u64()?,
            server_ns: waste["server_ns"][of].as_u64()?,
            cost_ucu: (waste["cost_units"][of].as_f64()? * 1e6).round() as u64,
        })
    };
    let (low, expected, high) = (amount("low")?, amount("expected")?, amount("high")?);
    // One factor holds of all parts of an amount; it is best seen in the largest.
    let largest = |amount: &Amount| (amount.bytes.max(amount.calls).max(amount.server_ns)) as f64;
    let share =
        |amount: &Amount| if largest(&expected) > 0.0 { largest(amount) / largest(&expected) } else { 1.0 };
    Some(Estimate { expected, low_share: share(&low), high_share: share(&high), ..Estimate::default() })
}

/// Nanoseconds since 1970 of a time such as `2025-08-12T12:00:01.000000000Z` (RFC 3339 §5.6).
pub(super) fn unix_ns(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    let fraction = text.get(20..)?.strip_suffix('Z')?;
    let fraction_ns = format!("{fraction:0<9}").get(..9)?.parse::<u64>().ok()?;
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((days * 86_400 + seconds) * 1_000_000_000 + fraction_ns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::plan::SECOND;
    use crate::lab::world::Profile;

    #[test]
    fn times_are_those_of_the_calendar() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(unix_ns(text), expect, "{text}");
        check("1970-01-01T00:00:00.000000000Z", Some(0));
        check("2025-08-12T12:00:01.000000000Z", Some(1_755_000_001_000_000_000));
        check("2024-02-29T00:00:00.5Z", Some(1_709_164_800_500_000_000));
        check("2024-02-29", None);
        check("", None);
    }

    fn line(severity: &str, last: &str, wasted: u64) -> Value {
        let range = json!({ "low": wasted / 2, "expected": wasted, "high": wasted });
        json!({
            "type": "finding", "id": "0123456789ab", "pattern": "error_loop", "state": "open", "severity": severity,
            "class": "avoidable", "game": "game-02", "endpoint": "a.test/b", "method": "GET", "pid": 777,
            "started": "1970-01-01T00:01:40.000000000Z", "confirmed": "1970-01-01T00:01:41.000000000Z", "last": last,
            "calls": 9, "overlap_calls": 0, "latency_ns": 0,
            "waste": { "calls": range, "bytes": range, "server_ns": range, "cost_units": range },
        })
    }

    #[test]
    fn a_finding_is_what_was_told_of_it_last() {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let reader =
            Reader { world: &world, began_ns: 90 * SECOND, pids: &[5, 777], said_from: Severity::Warning };
        let lines = [
            (11 * SECOND, line("info", "1970-01-01T00:01:41.000000000Z", 3)),
            (12 * SECOND, line("warning", "1970-01-01T00:01:42.000000000Z", 8)),
            (13 * SECOND, line("warning", "1970-01-01T00:01:43.000000000Z", 10)),
        ];
        let told = reader.told(&lines).expect("findings");
        let [Told { finding, warned_ns }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*warned_ns, Some(12 * SECOND));
        assert_eq!((finding.started_ns, finding.last_ns), (EPOCH_NS + 10 * SECOND, EPOCH_NS + 13 * SECOND));
        assert_eq!((finding.pid, finding.waste.low().calls), (world.process(1).pid, 5));
        let wasted = wasted(&told);
        assert_eq!((wasted.len(), wasted[0].amount.calls, wasted[0].amount.cost_ucu), (1, 10, 10_000_000));
    }

    #[test]
    fn a_finding_of_somebody_else_is_an_error() {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let reader = Reader { world: &world, began_ns: 0, pids: &[5], said_from: Severity::Info };
        assert!(reader.told(&[(0, line("info", "1970-01-01T00:01:41.000000000Z", 3))]).is_err());
    }
}
