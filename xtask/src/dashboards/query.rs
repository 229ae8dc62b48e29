//! Given: the names of metrics. Gives: PromQL over them, with the matchers of the dashboard's variables where a metric has
//! the label. Refuses to know: panels.

use rotrace::metrics::families::{self, Family};

/// Codes of calls that were answered with an error.
pub(super) const ERRORS: &str = "4xx|404|429|5xx";

/// The row of the metric table. Every name in this program is a constant, and a test generates all of its output.
pub(super) fn family(name: &str) -> &'static Family {
    families::all().find(|family| family.name() == name).expect("a metric of the table")
}

/// Which samples are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Labels that are compared with a variable of the same name.
    variables: &'static [&'static str],
    /// The window of rates.
    window: &'static str,
}

/// What the dashboard's variables select, over the time between two points of a graph.
pub(super) const SHOWN: Scope =
    Scope { variables: &["instance", "game", "endpoint"], window: "$__rate_interval" };

/// The same over all of the time that the dashboard shows.
pub(super) const SHOWN_TIME: Scope = Scope { window: "$__range", ..SHOWN };

/// All there is, over five minutes.
pub(super) const RULE: Scope = Scope { variables: &[], window: "5m" };

/// All there is, over ten minutes: what is done once a minute happens ten times.
pub(super) const RULE_10M: Scope = Scope { window: "10m", ..RULE };

/// All there is, over an hour.
pub(super) const RULE_1H: Scope = Scope { window: "1h", ..RULE };

impl Scope {
    /// Increase per second of a counter, summed over all labels but `by`.
    pub(super) fn rate(self, name: &str, by: &str) -> String {
        self.rate_of(name, "", by)
    }

    /// The same of the samples that `matcher` selects.
    pub(super) fn rate_of(self, name: &str, matcher: &str, by: &str) -> String {
        sum(by, &format!("rate({}[{}])", self.selector(family(name), "", matcher), self.window))
    }

    /// The value of a gauge, summed over all labels but `by`.
    pub(super) fn now(self, name: &str, by: &str) -> String {
        sum(by, &self.selector(family(name), "", ""))
    }

    /// The greatest value of a gauge, over all labels but `by`.
    pub(super) fn greatest(self, name: &str, by: &str) -> String {
        format!("max by ({by}) ({})", self.selector(family(name), "", ""))
    }

    /// A quantile of a histogram, from 0 to 1.
    pub(super) fn quantile(self, quantile: f64, name: &str, by: &str) -> String {
        let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
        let buckets = format!("rate({}[{}])", self.selector(family(name), "_bucket", ""), self.window);
        format!("histogram_quantile({quantile}, {})", sum(&by, &buckets))
    }

    /// The share of the calls that were answered with an error. Calls without errors have 0 of them and not none, else
    /// the graph would end where all is well.
    pub(super) fn error_ratio(self, requests: &str, by: &str) -> String {
        let all = self.rate(requests, by);
        let errors = self.rate_of(requests, &format!("code=~\"{ERRORS}\""), by);
        format!("({errors} or 0 * {all}) / {all}")
    }

    /// The share of the cost that could have been avoided for certain. Where nothing was wasted it is 0 and not none.
    pub(super) fn wasted_ratio(self, by: &str) -> String {
        let all = self.rate("rotrace_cost_units_total", by);
        let wasted = self.rate("rotrace_wasted_cost_units_total", by);
        format!("({wasted} or 0 * {all}) / {all}")
    }

    /// Cost units of an hour of one player.
    pub(super) fn per_player_hour(self, by: &str) -> String {
        let players = self.rate("rotrace_player_seconds_total", by);
        format!("3600 * {} / {players}", self.rate("rotrace_cost_units_total", by))
    }

    /// The share of what the probes saw that did not reach the daemon whole.
    pub(super) fn lost_ratio(self, by: &str) -> String {
        let lost = self.rate("rotrace_events_lost_total", by);
        let read = self.rate("rotrace_records_total", by);
        format!("{lost} / ({lost} + {read})")
    }

    fn selector(self, family: &Family, suffix: &str, matcher: &str) -> String {
        let has = |label: &&&str| **label == "instance" || family.labels.contains(label);
        let variables = self.variables.iter().filter(has).map(|label| format!("{label}=~\"${label}\""));
        let matchers: Vec<_> = variables.chain((!matcher.is_empty()).then(|| matcher.to_owned())).collect();
        let matchers =
            if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(", ")) };
        format!("{}{suffix}{matchers}", family.name())
    }
}

/// One by another.
pub(super) fn per(dividend: &str, divisor: &str) -> String {
    format!("{dividend} / {divisor}")
}

/// The greatest: what a graph can show and a reader can tell apart.
pub(super) fn top(count: usize, expression: &str) -> String {
    format!("topk({count}, {expression})")
}

fn sum(by: &str, expression: &str) -> String {
    if by.is_empty() { format!("sum({expression})") } else { format!("sum by ({by}) ({expression})") }
}
