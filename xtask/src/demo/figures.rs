//! Given: samples of `/metrics`. Gives: figures of each game, and text that shows them. Refuses to know: how samples came.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::scrape::Sample;

/// Endpoints that are shown of each game.
const TOP_ENDPOINTS: usize = 4;

/// What one game did, as the daemon saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Game {
    pub(super) calls: u64,
    errors: u64,
    request_bytes: u64,
    response_bytes: u64,
    /// Calls with a duration of at most so many seconds, by those seconds.
    buckets: BTreeMap<Bound, u64>,
    endpoints: BTreeMap<String, u64>,
    tls_connections: u64,
    tls_opaque: u64,
    /// In cost units.
    cost: f64,
    /// Of it, what could have been avoided for certain.
    wasted_cost: f64,
    wasted_calls: u64,
}

/// All games, and what was lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) games: BTreeMap<String, Game>,
    /// What had to be dropped, by stage and reason.
    lost: BTreeMap<String, u64>,
    /// What was seen and did not become a call, by game and reason.
    unpaired: BTreeMap<String, u64>,
    /// Processes that are watched.
    pub(super) targets: u64,
}

/// Calls and errors by a game's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) calls: u64,
    pub(super) errors: u64,
}

/// The upper bound of a bucket, in seconds. Bounds are finite or infinite, never NaN, so they have an order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Bound) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Bound) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Figures {
    pub(super) fn of(samples: &[Sample]) -> Figures {
        let mut figures = Figures::default();
        for sample in samples {
            figures.add(sample);
        }
        figures
    }

    fn add(&mut self, sample: &Sample) {
        let count = sample.value as u64;
        let game = |figures: &mut Figures, set: &dyn Fn(&mut Game)| {
            set(figures.games.entry(sample.label("game").to_owned()).or_default());
        };
        match sample.name.as_str() {
            "rotrace_http_client_requests_total" => game(self, &|game| {
                game.calls += count;
                if sample.label("code").starts_with(['4', '5']) {
                    game.errors += count;
                }
                *game.endpoints.entry(sample.label("endpoint").to_owned()).or_default() += count;
            }),
            "rotrace_http_client_request_bytes_total" => game(self, &|game| game.request_bytes += count),
            "rotrace_http_client_response_bytes_total" => game(self, &|game| game.response_bytes += count),
            "rotrace_http_client_request_duration_seconds_bucket" => {
                let Ok(bound) = sample.label("le").parse() else { return };
                game(self, &|game| *game.buckets.entry(Bound(bound)).or_default() += count);
            }
            "rotrace_http_client_connections_opened_total" if sample.label("tls") == "tls" => {
                game(self, &|game| game.tls_connections += count);
            }
            "rotrace_cost_units_total" => game(self, &|game| game.cost += sample.value),
            "rotrace_wasted_cost_units_total" => game(self, &|game| game.wasted_cost += sample.value),
            "rotrace_wasted_calls_total" => game(self, &|game| game.wasted_calls += count),
            "rotrace_tls_opaque_connections_total" => game(self, &|game| game.tls_opaque += count),
            "rotrace_events_lost_total" => {
                let reason = format!("{} {}", sample.label("stage"), sample.label("reason"));
                *self.lost.entry(reason).or_default() += count;
            }
            "rotrace_unpaired_total" => {
                let reason = format!("{} {}", sample.label("game"), sample.label("reason"));
                *self.unpaired.entry(reason).or_default() += count;
            }
            "rotrace_targets" => self.targets = count,
            _ => {}
        }
    }

    /// Calls of all games.
    pub(super) fn calls(&self) -> u64 {
        self.games.values().map(|game| game.calls).sum()
    }

    /// Calls of each game, and how many more a second than before.
    pub(super) fn progress(&self, before: &Figures, between: Duration) -> String {
        let mut line = String::new();
        for (name, game) in &self.games {
            let more = game.calls.saturating_sub(before.games.get(name).map_or(0, |game| game.calls));
            let rate = more as f64 / between.as_secs_f64();
            let _ = write!(line, "  {name} {:>6} calls {rate:>5.0}/s", game.calls);
        }
        line
    }

    /// The table of the end, the busiest endpoints, and what was not seen.
    pub(super) fn report(&self, made: &BTreeMap<&str, Made>, between: Duration) -> String {
        let mut text = format!(
            "{:<12} {:>7} {:>7} {:>8} {:>7} {:>7} {:>10} {:>10} {:>8} {:>8}\n",
            "GAME", "SEEN", "MADE", "CALLS/S", "ERRORS", "(MADE)", "REQUESTS", "RESPONSES", "P50", "P99"
        );
        for (name, game) in &self.games {
            let own = made.get(name.as_str());
            let own = |count: fn(&Made) -> u64| own.map_or("-".to_owned(), |made| count(made).to_string());
            let _ = writeln!(
                text,
                "{name:<12} {:>7} {:>7} {:>8.1} {:>7} {:>7} {:>10} {:>10} {:>8} {:>8}",
                game.calls,
                own(|made| made.calls),
                game.calls as f64 / between.as_secs_f64(),
                game.errors,
                own(|made| made.errors),
                kibibytes(game.request_bytes),
                kibibytes(game.response_bytes),
                milliseconds(game.quantile(0.5)),
                milliseconds(game.quantile(0.99)),
            );
        }
        text.push_str("MADE is each game's own count. P50 and P99 are interpolated between the buckets of /metrics.\n\n");
        for (name, game) in &self.games {
            let mut endpoints: Vec<_> = game.endpoints.iter().collect();
            endpoints.sort_by_key(|&(_, &calls)| std::cmp::Reverse(calls));
            for (endpoint, calls) in endpoints.into_iter().take(TOP_ENDPOINTS) {
                let _ = writeln!(text, "{name:<12} {calls:>7}  {endpoint}");
            }
        }
        text.push_str(&self.prices());
        let _ = writeln!(text, "\nlost records: {}", listed(&self.lost));
        let _ = writeln!(text, "seen on connections, but no call: {}", listed(&self.unpaired));
        for (name, game) in self.games.iter().filter(|(_, game)| game.tls_connections + game.tls_opaque > 0) {
            let _ = writeln!(
                text,
                "TLS of {name}: {} connections opened while watched, {} whose plaintext was not seen",
                game.tls_connections, game.tls_opaque
            );
        }
        text
    }

    /// What the calls of each game cost, and what of that is counted as wasted.
    fn prices(&self) -> String {
        let mut text = format!(
            "\n{:<12} {:>10} {:>10} {:>7} {:>12}\n",
            "GAME", "COST UNITS", "WASTED", "SHARE", "WASTED CALLS"
        );
        for (name, game) in &self.games {
            let share = if game.cost > 0.0 { 100.0 * game.wasted_cost / game.cost } else { 0.0 };
            let _ = writeln!(
                text,
                "{name:<12} {:>10.1} {:>10.1} {share:>5.1} % {:>12}",
                game.cost, game.wasted_cost, game.wasted_calls
            );
        }
        text + "A call is counted as wasted 15 s after that was found, and only if it could have been avoided for certain.\n"
    }

    /// What the games made and the daemon has not seen, or the other way round, in words; nothing where all is right.
    pub(super) fn differences(&self, made: &BTreeMap<&str, Made>) -> Vec<String> {
        let mut differences = Vec::new();
        for (&name, made) in made {
            let seen = self.games.get(name).map_or((0, 0), |game| (game.calls, game.errors));
            if seen != (made.calls, made.errors) {
                differences.push(format!(
                    "{name} made {} calls with {} errors, and {} with {} were seen",
                    made.calls, made.errors, seen.0, seen.1
                ));
            }
        }
        for name in self.games.keys().filter(|name| !made.contains_key(name.as_str())) {
            differences.push(format!("{name} was seen, and no such game ran"));
        }
        differences
    }
}

impl Game {
    /// The duration that a share `q` of the calls did not exceed, in seconds: a straight line through the bucket that it
    /// is in. `None` without calls, and beyond the last finite bound.
    fn quantile(&self, q: f64) -> Option<f64> {
        let all = *self.buckets.values().next_back()?;
        let rank = q * all as f64;
        let mut below = (0.0, 0);
        for (&Bound(bound), &count) in &self.buckets {
            if count as f64 >= rank && count > below.1 {
                let share = (rank - below.1 as f64) / (count - below.1) as f64;
                return bound.is_finite().then_some(below.0 + share * (bound - below.0));
            }
            below = (bound, count);
        }
        None
    }
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    let some: Vec<_> = counts
        .iter()
        .filter(|&(_, &count)| count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if some.is_empty() { "0".to_owned() } else { some.join(", ") }
}

fn kibibytes(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn milliseconds(seconds: Option<f64>) -> String {
    seconds.map_or("-".to_owned(), |seconds| format!("{:.1} ms", seconds * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::super::scrape::samples;
    use super::*;

    const PAGE: &str = r#"
rotrace_targets 3
rotrace_http_client_requests_total{game="a",endpoint="api/v1/{id}",method="GET",code="2xx"} 90
rotrace_http_client_requests_total{game="a",endpoint="api/v1/{id}",method="GET",code="404"} 6
rotrace_http_client_requests_total{game="a",endpoint="api/v2",method="POST",code="5xx"} 4
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v1/{id}",le="0.01"} 40
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v1/{id}",le="0.1"} 96
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v1/{id}",le="+Inf"} 96
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v2",le="0.01"} 0
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v2",le="0.1"} 4
rotrace_http_client_request_duration_seconds_bucket{game="a",endpoint="api/v2",le="+Inf"} 4
rotrace_http_client_request_bytes_total{game="a",endpoint="api/v2"} 2048
rotrace_http_client_connections_opened_total{game="a",tls="tls"} 5
rotrace_cost_units_total{game="a",endpoint="api/v1/{id}"} 120
rotrace_cost_units_total{game="a",endpoint="api/v2"} 40
rotrace_wasted_cost_units_total{game="a",endpoint="api/v1/{id}",pattern="n_plus_one"} 30
rotrace_wasted_cost_units_total{game="a",endpoint="api/v2",pattern="retry_storm"} 10
rotrace_wasted_calls_total{game="a",endpoint="api/v1/{id}",pattern="n_plus_one"} 25
rotrace_events_lost_total{stage="ring",reason="full"} 0
"#;

    fn figures() -> Figures {
        Figures::of(&samples(PAGE))
    }

    fn made(calls: u64, errors: u64) -> BTreeMap<&'static str, Made> {
        BTreeMap::from([("a", Made { calls, errors })])
    }

    #[test]
    fn a_game_is_the_sum_of_its_endpoints() {
        let game = &figures().games["a"];
        assert_eq!((game.calls, game.errors, game.request_bytes, game.tls_connections), (100, 10, 2048, 5));
        assert_eq!(game.endpoints["api/v1/{id}"], 96);
    }

    #[test]
    fn quantiles_lie_on_a_line_through_their_bucket() {
        let game = &figures().games["a"];
        let close = |q: f64, expect: f64| (game.quantile(q).expect("there are calls") - expect).abs() < 1e-9;
        assert!(close(0.2, 0.005));
        assert!(close(0.4, 0.01));
        assert!(close(0.7, 0.055));
        assert_eq!(Game::default().quantile(0.5), None);
        let beyond =
            Game { buckets: BTreeMap::from([(Bound(1.0), 0), (Bound(f64::INFINITY), 2)]), ..Game::default() };
        assert_eq!(beyond.quantile(0.5), None);
    }

    #[test]
    fn differences_are_told_both_ways() {
        assert_eq!(figures().differences(&made(100, 10)), Vec::<String>::new());
        assert_eq!(
            figures().differences(&made(101, 10)),
            ["a made 101 calls with 10 errors, and 100 with 10 were seen"]
        );
        assert_eq!(figures().differences(&BTreeMap::new()), ["a was seen, and no such game ran"]);
        assert_eq!(Figures::default().differences(&made(1, 0)).len(), 1);
    }

    #[test]
    fn the_price_of_a_game_is_the_sum_of_its_endpoints() {
        let prices = figures().prices();
        let line = prices.lines().find(|line| line.starts_with("a ")).expect("a line of the game");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["a", "160.0", "40.0", "25.0", "%", "25"]);
    }

    #[test]
    fn the_report_says_what_was_lost() {
        let report = figures().report(&made(100, 10), Duration::from_secs(10));
        assert!(report.contains("lost records: 0\n"), "{report}");
        let lost = PAGE.replace(r#"reason="full"} 0"#, r#"reason="full"} 7"#);
        let report = Figures::of(&samples(&lost)).report(&made(100, 10), Duration::from_secs(10));
        assert!(report.contains("lost records: 7 ring full\n"), "{report}");
    }
}
