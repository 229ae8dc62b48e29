//! Given: calls, and counts of what was not seen. Gives: the one model that metrics, text and JSON read: per game,
//! endpoint and role how many calls, how fast, how large; per game what stayed hidden. Refuses to know: how any of it
//! is shown.
//!
//! Everything iterates in the order of names, so the same calls give the same report. A clone is a snapshot: the
//! per-endpoint figures are shared with it until the next call changes them.

mod held;
pub mod histogram;
pub mod label;
pub mod series;
pub mod shortfall;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::call::Call;
use crate::exchange::{Role, Unpaired};
pub use held::HELD_NS;
use held::Held;
use series::last_ns;
pub use series::{DURATION_BOUNDS_NS, Series, duration_ns, ttfb_ns};

/// Keys (game, endpoint, role) that are kept apart unless the caller says otherwise. A key is about 22 time series
/// (17 of the duration histogram, 3 sums, 2 counts by method and code), and a node should stay below 20 000.
pub const DEFAULT_MAX_KEYS: usize = 20_000 / 22;

/// Games that are kept apart: a host runs some tens of processes, but a game that comes from a request field is chosen
/// by the traffic.
pub const MAX_GAMES: usize = 1000;

/// The game label of calls whose game no rule found.
pub const UNKNOWN_GAME: &str = "unknown";

/// The endpoint, game or method label of what is not kept apart.
pub const OTHER: &str = "other";

/// All that is known of the calls so far.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was lost, by the stage that lost it and why. A stage may put zeros here to say that it watches.
    pub losses: BTreeMap<(&'static str, &'static str), u64>,
    /// What else fell short.
    pub shortfall: shortfall::Shortfall,
    /// Connections that the pipeline holds state of.
    pub tracked_connections: u64,
    /// Records that were read.
    pub records: u64,
    /// Payload bytes in them.
    pub captured_bytes: u64,
    games: BTreeMap<Arc<str>, Game>,
    /// Number of series in all games; at most `max_keys`, and one `other` per game and role.
    keys: usize,
    max_keys: usize,
    overflow_calls: u64,
    held: Held,
    /// First and last time of a record.
    span_ns: Option<(u64, u64)>,
}

/// What is known of one game.
#[derive(Clone, Debug, Default)]
pub struct Game {
    endpoints: BTreeMap<Arc<str>, ByRole<Option<Arc<Series>>>>,
    /// What of its traffic was seen, and what was not.
    pub coverage: Coverage,
    last_ns: u64,
}

/// What of the traffic of a game was seen beside its calls, and what was not decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// TLS connections whose plaintext was not seen.
    pub tls_opaque_connections: u64,
    /// Encrypted bytes on them, both directions.
    pub tls_opaque_bytes: u64,
    /// Connections that were given up, by reason.
    pub opaque: BTreeMap<&'static str, u64>,
    /// What did not become a call, by the name of its [`Unpaired`].
    pub unpaired: BTreeMap<&'static str, u64>,
    /// Connections that were made while they were watched.
    pub opened: ByRole<Opened>,
    /// Time from `connect` to the established connection, summed over connections where both were seen.
    pub connect_ns: u128,
    /// Requests whose response is not over, now.
    pub active_requests: ByRole<u64>,
}

/// Connections that were made, by what they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Plaintext on the socket.
    pub plain: u64,
    /// TLS on the socket.
    pub tls: u64,
}

/// One value for calls made and one for calls served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByRole<T> {
    /// Of calls made.
    pub client: T,
    /// Of calls served.
    pub server: T,
}

impl Default for Summary {
    fn default() -> Self {
        Summary::with_max_keys(DEFAULT_MAX_KEYS)
    }
}

impl Summary {
    /// An empty summary that keeps at most so many keys (game, endpoint, role) apart.
    pub fn with_max_keys(max_keys: usize) -> Self {
        Summary {
            losses: BTreeMap::new(),
            shortfall: shortfall::Shortfall::default(),
            tracked_connections: 0,
            records: 0,
            captured_bytes: 0,
            games: BTreeMap::new(),
            keys: 0,
            max_keys,
            overflow_calls: 0,
            held: Held::default(),
            span_ns: None,
        }
    }

    /// Counts a call. Above the cap on keys it is counted under the endpoint [`OTHER`] of its game.
    pub fn record(&mut self, call: &Call) {
        self.observe(call.exchange.started_ns);
        self.observe(last_ns(&call.exchange));
        let game = call.game.as_deref().unwrap_or(UNKNOWN_GAME);
        if let Some(game) = self.games.get_mut(game)
            && let Some(roles) = game.endpoints.get_mut(&*call.endpoint)
            && let Some(series) = roles.of_mut(call.exchange.role)
        {
            game.last_ns = game.last_ns.max(last_ns(&call.exchange));
            Arc::make_mut(series).record(call);
            return;
        }
        self.record_new(call);
    }

    fn record_new(&mut self, call: &Call) {
        let time_ns = last_ns(&call.exchange);
        let series = self.series_mut(call.game.as_ref(), &call.endpoint, call.exchange.role, time_ns, 1);
        Arc::make_mut(series).record(call);
    }

    /// The series of a key that takes `calls` more; that of the endpoint [`OTHER`] where it is new and there is no room.
    fn series_mut(
        &mut self,
        game: Option<&Arc<str>>,
        endpoint: &Arc<str>,
        role: Role,
        time_ns: u64,
        calls: u64,
    ) -> &mut Arc<Series> {
        let name = game.map_or(UNKNOWN_GAME, |name| name);
        let known = self.games.get(name).and_then(|game| game.endpoints.get(endpoint));
        let room = self.keys < self.max_keys || known.is_some_and(|roles| roles.of(role).is_some());
        self.overflow_calls += if room { 0 } else { calls };
        let endpoint = if room { Arc::clone(endpoint) } else { Arc::from(OTHER) };
        let known = self.games.get(name).and_then(|game| game.endpoints.get(&endpoint));
        self.keys += usize::from(known.is_none_or(|roles| roles.of(role).is_none()));
        let game = self.game_mut(game, time_ns);
        game.endpoints.entry(endpoint).or_default().of_mut(role).get_or_insert_default()
    }

    /// Counts a call whose endpoint is in doubt. It is held back until [`Summary::release`] says what it is, unless the
    /// endpoint is one that is shown already.
    pub fn hold(&mut self, call: &Call) {
        let game = call.game.as_deref().unwrap_or(UNKNOWN_GAME);
        let known = self.games.get(game).and_then(|game| game.endpoints.get(&call.endpoint));
        if known.is_some_and(|roles| roles.of(call.exchange.role).is_some()) || !self.held.has_room(call) {
            return self.record(call);
        }
        self.observe(call.exchange.started_ns);
        self.observe(last_ns(&call.exchange));
        self.held.record(call);
    }

    /// Counts what was held back under the endpoint that `settled` gives, once that is not in doubt any more, or after
    /// [`HELD_NS`].
    pub fn release(&mut self, now_ns: u64, settled: &mut dyn FnMut(&str) -> (Arc<str>, bool)) {
        for (held::Key { game, endpoint, role }, series) in self.held.release(now_ns, settled) {
            let known = self.series_mut(game.as_ref(), &endpoint, role, series.last_ns(), series.total());
            Arc::make_mut(known).merge(&series);
        }
    }

    /// What is counted of a game beside its calls, to be added to; `time_ns` keeps it from being idle.
    pub fn coverage_mut(&mut self, game: Option<&Arc<str>>, time_ns: u64) -> &mut Coverage {
        &mut self.game_mut(game, time_ns).coverage
    }

    /// Sets the number of requests in flight to 0 everywhere, before it is counted anew.
    pub fn clear_active(&mut self) {
        for game in self.games.values_mut() {
            game.coverage.active_requests = ByRole::default();
        }
    }

    fn game_mut(&mut self, game: Option<&Arc<str>>, time_ns: u64) -> &mut Game {
        let name = game.map_or(UNKNOWN_GAME, |name| name);
        let name = match game {
            _ if self.games.len() >= MAX_GAMES && !self.games.contains_key(name) => Arc::from(OTHER),
            Some(name) => Arc::clone(name),
            None => Arc::from(UNKNOWN_GAME),
        };
        let game = self.games.entry(name).or_default();
        game.last_ns = game.last_ns.max(time_ns);
        game
    }

    /// Takes note of the time of a record: the span of all is what was observed.
    pub fn observe(&mut self, time_ns: u64) {
        let (first, last) = self.span_ns.unwrap_or((time_ns, time_ns));
        self.span_ns = Some((first.min(time_ns), last.max(time_ns)));
    }

    /// Forgets endpoints without a call for `idle_ns`, and games with neither calls nor anything else.
    ///
    /// Their time series end; a later call starts them at 0, which Prometheus takes for a restart.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64) {
        let is_idle = |last_ns: u64| now_ns.saturating_sub(last_ns) >= idle_ns;
        let mut keys = 0;
        self.games.retain(|_, game| {
            game.endpoints.retain(|_, roles| {
                for role in [Role::Client, Role::Server] {
                    let series = roles.of_mut(role);
                    series.take_if(|series| is_idle(series.last_ns()));
                    keys += usize::from(series.is_some());
                }
                roles.client.is_some() || roles.server.is_some()
            });
            let has_active = game.coverage.active_requests != ByRole::default();
            !game.endpoints.is_empty() || has_active || !is_idle(game.last_ns)
        });
        self.keys = keys;
    }

    /// The games, in the order of their names.
    pub fn games(&self) -> impl Iterator<Item = (&str, &Game)> {
        self.games.iter().map(|(name, game)| (&**name, game))
    }

    /// Number of calls in all series, and of those that are held back.
    pub fn calls(&self) -> u64 {
        let roles = [Role::Client, Role::Server];
        let series =
            self.games.values().flat_map(|game| roles.into_iter().flat_map(|role| game.series(role)));
        series.map(|(_, series)| series.total()).sum::<u64>() + self.held.calls()
    }

    /// Calls that were counted under the endpoint [`OTHER`] because the cap on keys was reached.
    pub fn overflow_calls(&self) -> u64 {
        self.overflow_calls
    }

    /// Time from the first to the last record; `None` before the first.
    pub fn observed_ns(&self) -> Option<u64> {
        self.span_ns.map(|(first, last)| last - first)
    }
}

impl Game {
    /// The endpoints that calls of a role went to, in the order of their names.
    pub fn series(&self, role: Role) -> impl Iterator<Item = (&str, &Series)> {
        self.endpoints.iter().filter_map(move |(endpoint, roles)| {
            let series = roles.of(role).as_deref()?;
            Some((&**endpoint, series))
        })
    }

    /// All endpoints of a role as one; `None` when there are no calls of that role.
    pub fn total(&self, role: Role) -> Option<Series> {
        self.series(role).map(|(_, series)| series.clone()).reduce(|mut total, series| {
            total.merge(&series);
            total
        })
    }
}

impl Coverage {
    /// Counts something that did not become a call.
    pub fn add_unpaired(&mut self, unpaired: Unpaired) {
        *self.unpaired.entry(unpaired_reason(unpaired)).or_default() += 1;
    }

    /// Counts a connection that was given up.
    pub fn add_opaque(&mut self, reason: &'static str) {
        *self.opaque.entry(reason).or_default() += 1;
    }
}

/// Reasons for which the pipeline gives a connection up.
pub const OPAQUE_REASONS: [&str; 2] = ["not_http", "upgraded"];

/// As in the `reason` label.
pub fn unpaired_reason(unpaired: Unpaired) -> &'static str {
    match unpaired {
        Unpaired::Response => "response",
        Unpaired::Request => "request",
        Unpaired::Resync => "resync",
        Unpaired::Upgraded => "upgraded",
        Unpaired::NotHttp => "not_http",
    }
}

impl<T> ByRole<T> {
    /// That of a role.
    pub fn of(&self, role: Role) -> &T {
        match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        }
    }

    /// That of a role, to be changed.
    pub fn of_mut(&mut self, role: Role) -> &mut T {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }
}

/// Calls for the tests of everything that reads a summary.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use crate::call::Process;
    use crate::exchange::{Exchange, Outcome};
    use crate::http::Protocol;

    /// A complete `GET` that took 12 ms, to be changed by the test.
    pub(crate) fn call(game: &str, endpoint: &str) -> Call {
        let (authority, path) = endpoint.split_at(endpoint.find('/').expect("a path"));
        let game: Option<Arc<str>> = (game != UNKNOWN_GAME).then(|| game.into());
        let process = Process { pid: 4711, start_ticks: 1, exe: "/bin/game".into(), game: game.clone() };
        Call {
            exchange: Exchange {
                ordinal: 0,
                role: Role::Client,
                protocol: Protocol::Http11,
                method: "GET".into(),
                target: path.into(),
                authority: Some(authority.into()),
                status: Some(200),
                request_head_bytes: 100,
                request_body_bytes: Some(0),
                response_head_bytes: Some(200),
                response_body_bytes: Some(1000),
                started_ns: 1_000_000_000,
                first_byte_ns: Some(1_010_000_000),
                ended_ns: Some(1_012_000_000),
                outcome: Outcome::Complete,
                ambiguous_framing: false,
                signals: crate::exchange::Signals::default(),
                fields: Vec::new(),
            },
            process: Arc::new(process),
            game,
            endpoint: endpoint.into(),
            path: path.into(),
            conn: 77,
            tls: false,
            cost_ucu: None,
            peer: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Outcome;
    use fixture::call;
    use proptest::prelude::*;

    /// Series as lines: game, endpoint, role, then calls by method and code, bytes, busy and number of durations.
    fn check(summary: &Summary, expect: &[&str]) {
        let mut lines = Vec::new();
        for (name, game) in summary.games() {
            for role in [Role::Client, Role::Server] {
                for (endpoint, series) in game.series(role) {
                    let calls: Vec<_> = series
                        .calls()
                        .map(|(method, code, calls)| format!("{} {} {calls}", method.name(), code.name()))
                        .collect();
                    lines.push(format!(
                        "{name} {endpoint} {role:?}: {}; {}/{} bytes; busy {}; {} timed",
                        calls.join(", "),
                        series.request_bytes,
                        series.response_bytes,
                        series.busy_ns,
                        series.durations.count(),
                    ));
                }
            }
        }
        assert_eq!(lines, expect);
    }

    #[test]
    fn calls_are_counted_by_game_endpoint_and_role() {
        let mut summary = Summary::default();
        summary.record(&call("chess", "api/b"));
        summary.record(&call("chess", "api/b"));
        summary.record(&call("chess", "api/a"));
        summary.record(&call(UNKNOWN_GAME, "api/a"));
        let mut served = call("chess", "api/a");
        served.exchange.role = Role::Server;
        served.exchange.method = "BREW".into();
        summary.record(&served);
        check(
            &summary,
            &[
                "chess api/a Client: GET 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
                "chess api/b Client: GET 2xx 2; 200/2400 bytes; busy 20000000; 2 timed",
                "chess api/a Server: other 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
                "unknown api/a Client: GET 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
            ],
        );
        assert_eq!(summary.calls(), 5);
        assert_eq!(summary.observed_ns(), Some(12_000_000));
    }

    #[test]
    fn what_was_not_seen_whole_is_counted_but_not_timed() {
        let mut summary = Summary::default();
        let mut of = |outcome, first_byte_ns, ended_ns, body| {
            let mut call = call("chess", "api/a");
            call.exchange.outcome = outcome;
            call.exchange.first_byte_ns = first_byte_ns;
            call.exchange.ended_ns = ended_ns;
            call.exchange.response_body_bytes = body;
            summary.record(&call);
        };
        of(Outcome::Aborted, None, Some(9_000_000_000), None);
        of(Outcome::Lost, None, None, None);
        of(Outcome::Unbounded, Some(1_000_000_007), None, None);
        check(&summary, &["chess api/a Client: GET 2xx 1, GET none 2; 300/600 bytes; busy 7; 0 timed"]);
    }

    #[test]
    fn lengths_that_lie_do_not_overflow() {
        let mut summary = Summary::default();
        let mut call = call("chess", "api/a");
        call.exchange.request_body_bytes = Some(u64::MAX);
        summary.record(&call);
        summary.record(&call);
        check(
            &summary,
            &["chess api/a Client: GET 2xx 2; 18446744073709551615/2400 bytes; busy 20000000; 2 timed"],
        );
        let (_, game) = summary.games().next().expect("a game");
        assert_eq!(game.total(Role::Client).map(|total| total.request_body_bytes), Some(u64::MAX));
    }

    #[test]
    fn a_duration_at_a_bound_is_in_its_bucket() {
        let mut summary = Summary::default();
        for duration_ns in [5_000_000, 5_000_001, 10_000_000_000, 10_000_000_001] {
            let mut call = call("chess", "api/a");
            call.exchange.ended_ns = Some(call.exchange.started_ns + duration_ns);
            summary.record(&call);
        }
        let (_, game) = summary.games().next().expect("a game");
        let total = game.total(Role::Client).expect("calls");
        assert_eq!(total.duration_buckets, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn calls_in_doubt_are_shown_when_it_is_over() {
        let mut summary = Summary::default();
        ["api/a", "api/b", "api/c"].iter().for_each(|endpoint| summary.hold(&call("chess", endpoint)));
        summary.hold(&call(UNKNOWN_GAME, "api/a"));
        check(&summary, &[]);
        assert_eq!(summary.calls(), 4);
        let now_ns = 1_012_000_000;
        let mut settled = |endpoint: &str| match endpoint {
            "api/c" => ("api/c".into(), true),
            _ => ("api/{name}".into(), false),
        };
        summary.release(now_ns, &mut settled);
        let of = |game: &str, endpoint: &str, calls: u32| {
            let bytes = (100 * calls, 1200 * calls);
            let busy = 10_000_000 * calls;
            format!(
                "{game} {endpoint} Client: GET 2xx {calls}; {}/{} bytes; busy {busy}; {calls} timed",
                bytes.0, bytes.1
            )
        };
        let unknown = of("unknown", "api/{name}", 1);
        check(&summary, &[&of("chess", "api/{name}", 2), &unknown]);
        summary.release(now_ns + HELD_NS - 1, &mut settled);
        check(&summary, &[&of("chess", "api/{name}", 2), &unknown]);
        summary.release(now_ns + HELD_NS, &mut settled);
        check(&summary, &[&of("chess", "api/c", 1), &of("chess", "api/{name}", 2), &unknown]);
        summary.hold(&call("chess", "api/c"));
        check(&summary, &[&of("chess", "api/c", 2), &of("chess", "api/{name}", 2), &unknown]);
        assert_eq!(summary.calls(), 5);
    }

    #[test]
    fn above_the_cap_calls_go_to_the_endpoint_other() {
        let mut summary = Summary::with_max_keys(2);
        for endpoint in ["api/a", "api/b", "api/c", "api/d", "api/b", "api/c"] {
            summary.record(&call("chess", endpoint));
        }
        let (_, game) = summary.games().next().expect("a game");
        let got: Vec<_> =
            game.series(Role::Client).map(|(endpoint, series)| (endpoint, series.total())).collect();
        assert_eq!(got, [("api/a", 1), ("api/b", 2), ("other", 3)]);
        assert_eq!((summary.calls(), summary.overflow_calls()), (6, 3));
    }

    #[test]
    fn above_the_cap_on_games_calls_go_to_the_game_other() {
        let mut summary = Summary::default();
        for game in 0..MAX_GAMES + 5 {
            let game: Arc<str> = game.to_string().into();
            summary.coverage_mut(Some(&game), 0).add_opaque("full");
        }
        assert_eq!(summary.games().count(), MAX_GAMES + 1);
        let (_, other) = summary.games().find(|&(name, _)| name == OTHER).expect("other");
        assert_eq!(other.coverage.opaque["full"], 5);
    }

    #[test]
    fn idle_endpoints_and_games_are_forgotten_and_leave_room() {
        let mut summary = Summary::with_max_keys(1);
        summary.record(&call("chess", "api/a"));
        summary.coverage_mut(Some(&"go".into()), 5_000_000_000).active_requests.client = 1;
        summary.expire(1_012_000_000 + 99, 100);
        assert_eq!(summary.calls(), 1);
        summary.expire(9_000_000_000, 100);
        let games: Vec<_> = summary.games().map(|(name, _)| name).collect();
        assert_eq!(games, ["go"], "a game with a request under way is not idle");
        summary.record(&call("chess", "api/b"));
        assert_eq!(summary.overflow_calls(), 0);
    }

    #[test]
    fn a_clone_does_not_change_with_later_calls() {
        let mut summary = Summary::default();
        summary.record(&call("chess", "api/a"));
        let snapshot = summary.clone();
        summary.record(&call("chess", "api/a"));
        assert_eq!((snapshot.calls(), summary.calls()), (1, 2));
    }

    proptest! {
        #[test]
        fn every_call_is_counted_once_and_memory_is_bounded(
            calls in proptest::collection::vec((0u8..4, 0u8..20, any::<bool>(), any::<u16>()), 0..200),
        ) {
            let mut summary = Summary::with_max_keys(10);
            for (game, endpoint, is_server, status) in &calls {
                let mut call = call(&format!("g{game}"), &format!("api/{endpoint}"));
                call.exchange.role = if *is_server { Role::Server } else { Role::Client };
                call.exchange.status = Some(*status);
                summary.record(&call);
            }
            prop_assert_eq!(summary.calls(), calls.len() as u64);
            let roles = [Role::Client, Role::Server];
            let keys = summary.games().flat_map(|(_, game)| roles.map(|role| game.series(role).count()));
            prop_assert!(keys.sum::<usize>() <= 10 + 4 * 2);
        }
    }
}
