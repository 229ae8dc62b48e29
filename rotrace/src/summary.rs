//! Given: calls, and counts of what was not seen. Gives: the one model that metrics, text and JSON read: per game,
//! endpoint and role how many calls, how fast, how large; per game what stayed hidden. Refuses to know: how any of it
//! is shown.
//!
//! Everything iterates in the order of names, so the same calls give the same report. A clone is a snapshot: the
//! per-endpoint figures are shared with it until the next call changes them.

#[cfg(test)]
pub(crate) mod fixture;
mod held;
pub mod histogram;
pub mod label;
mod names;
pub mod series;
pub mod shortfall;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::call::Call;
use crate::exchange::{Direction, Role, Unnamed, Unpaired};
use crate::http::websocket::Tally;
use held::Held;
pub use held::{HELD_NS, Key};
use names::{Hint, Hints, Names};
use series::last_ns;
pub use series::{DURATION_BOUNDS_NS, Frames, Series};

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
    /// Records of the probes that were read.
    pub records: u64,
    /// Payload bytes in them.
    pub captured_bytes: u64,
    games: Names<Game>,
    /// Where calls like one were counted before.
    hints: Hints,
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
    endpoints: Names<ByRole<Option<Arc<Series>>>>,
    /// What of its traffic was seen, and what was not.
    pub coverage: Coverage,
    last_ns: u64,
}

/// What of the traffic of a game was seen beside its calls, and what was not decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// TLS connections whose plaintext was not seen.
    pub tls_opaque: TlsOpaque,
    /// Connections that were given up, by reason.
    pub opaque: BTreeMap<&'static str, u64>,
    /// What did not become a call, by the name of its [`Unpaired`].
    pub unpaired: BTreeMap<&'static str, u64>,
    /// Calls whose path is not known, by the name of its [`Unnamed`].
    pub unnamed: BTreeMap<&'static str, u64>,
    /// Connections that were made while they were watched.
    pub opened: ByRole<Opened>,
    /// Time from `connect` to the established connection, summed over connections where both were seen.
    pub connect_ns: u128,
    /// Requests whose response is not over, now.
    pub active_requests: ByRole<u64>,
}

/// TLS connections whose plaintext was not seen, by the server name that the client asked for (RFC 6066 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOpaque {
    by_authority: BTreeMap<Box<str>, TlsFigures>,
}

/// What is known of TLS connections without plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsFigures {
    /// How many there were.
    pub connections: u64,
    /// Encrypted bytes on them, both directions.
    pub bytes: u64,
}

/// Server names of one game that are kept apart; further ones are counted under [`OTHER_AUTHORITIES`].
pub const AUTHORITIES_MAX: usize = 32;

/// Stands for the names for which there is no room.
pub const OTHER_AUTHORITIES: &str = "other";

/// Stands for a server whose name was not asked for, or not while it was watched.
pub const UNKNOWN_AUTHORITY: &str = "unknown";

impl TlsOpaque {
    /// The figures of a server.
    pub fn of_mut(&mut self, authority: Option<&str>) -> &mut TlsFigures {
        let name = authority.unwrap_or(UNKNOWN_AUTHORITY);
        let has_room = self.by_authority.len() < AUTHORITIES_MAX || self.by_authority.contains_key(name);
        self.by_authority.entry(if has_room { name } else { OTHER_AUTHORITIES }.into()).or_default()
    }

    /// By server name, in its order.
    pub fn authorities(&self) -> impl Iterator<Item = (&str, TlsFigures)> {
        self.by_authority.iter().map(|(name, &figures)| (&**name, figures))
    }

    /// Of all servers.
    pub fn all(&self) -> TlsFigures {
        let mut all = TlsFigures::default();
        for figures in self.by_authority.values() {
            all.connections += figures.connections;
            all.bytes += figures.bytes;
        }
        all
    }
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
            games: Names::default(),
            hints: Hints::default(),
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
        if !self.record_where_hinted(call) {
            self.record_new(call);
        }
    }

    /// Counts a call where others like it were counted; false when that is not known.
    fn record_where_hinted(&mut self, call: &Call) -> bool {
        let Summary { games, hints, overflow_calls, .. } = self;
        let Hint { game, endpoint, is_other } = *hints.of(call.game.as_ref(), &call.endpoint);
        let name = call.game.as_deref().unwrap_or(UNKNOWN_GAME);
        let Some(game) = games.at_mut(game.into(), name) else { return false };
        let name = if is_other { OTHER } else { &call.endpoint };
        let Some(roles) = game.endpoints.at_mut(endpoint.into(), name) else { return false };
        let Some(series) = roles.of_mut(call.exchange.role) else { return false };
        *overflow_calls += u64::from(is_other);
        game.last_ns = game.last_ns.max(last_ns(&call.exchange));
        Arc::make_mut(series).record(call);
        true
    }

    /// Remembers where a call was counted, if that is not the game that stands for others.
    fn hint(&mut self, call: &Call) {
        let Summary { games, hints, .. } = self;
        let Some(game) = games.place(call.game.as_deref().unwrap_or(UNKNOWN_GAME)) else { return };
        let endpoints = games.nth(game).map(|game| &game.endpoints);
        let place = |name| endpoints.and_then(|endpoints| endpoints.place(name));
        let has_own = endpoints.and_then(|endpoints| endpoints.get(&call.endpoint));
        let is_other = has_own.is_none_or(|roles| roles.of(call.exchange.role).is_none());
        let endpoint = place(if is_other { OTHER } else { &call.endpoint });
        if let (Ok(game), Some(Ok(endpoint))) = (u16::try_from(game), endpoint.map(u16::try_from)) {
            *hints.of(call.game.as_ref(), &call.endpoint) = Hint { game, endpoint, is_other };
        }
    }

    fn record_new(&mut self, call: &Call) {
        let time_ns = last_ns(&call.exchange);
        let series = self.series_mut(call.game.as_ref(), &call.endpoint, call.exchange.role, time_ns, 1);
        Arc::make_mut(series).record(call);
        self.hint(call);
    }

    /// Counts frames of a WebSocket under the endpoint of its handshake, whose call was counted before.
    pub fn record_frames(&mut self, key: &Key, at_ns: u64, direction: Direction, tally: Tally) {
        let series = self.series_mut(key.game.as_ref(), &key.endpoint, key.role, at_ns, 0);
        Arc::make_mut(series).record_frames(at_ns, direction, tally);
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
        game.endpoints.of(endpoint).of_mut(role).get_or_insert_default()
    }

    /// Counts a call whose endpoint is in doubt. It is held back until [`Summary::release`] says what it is, unless the
    /// endpoint is one that is shown already.
    pub fn hold(&mut self, call: &Call) {
        if self.is_shown(&Key::of(call)) {
            return self.record(call);
        }
        self.observe(call.exchange.started_ns);
        self.observe(last_ns(&call.exchange));
        self.held.record(call);
    }

    /// Counts frames of a WebSocket likewise.
    pub fn hold_frames(&mut self, key: &Key, at_ns: u64, direction: Direction, tally: Tally) {
        if self.is_shown(key) {
            return self.record_frames(key, at_ns, direction, tally);
        }
        self.held.record_frames(key, at_ns, direction, tally);
    }

    /// True when nothing is held back of a key.
    fn is_shown(&self, key: &Key) -> bool {
        let game = key.game.as_deref().unwrap_or(UNKNOWN_GAME);
        let known = self.games.get(game).and_then(|game| game.endpoints.get(&key.endpoint));
        known.is_some_and(|roles| roles.of(key.role).is_some()) || !self.held.has_room(key)
    }

    /// Counts what was held back under the endpoint that `settled` gives, once that is not in doubt any more, or after
    /// [`HELD_NS`].
    pub fn release(&mut self, now_ns: u64, settled: &mut dyn FnMut(&str) -> (Arc<str>, bool)) {
        for (Key { game, endpoint, role }, series) in self.held.release(now_ns, settled) {
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
            _ if self.games.len() >= MAX_GAMES && self.games.get(name).is_none() => Arc::from(OTHER),
            Some(name) => Arc::clone(name),
            None => Arc::from(UNKNOWN_GAME),
        };
        let game = self.games.of(name);
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
        self.games.retain(|game| {
            game.endpoints.retain(|roles| {
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
        if keys < self.keys {
            self.hints.clear();
        }
        self.keys = keys;
    }

    /// True while the game has calls or anything else that is not idle.
    pub fn has_game(&self, game: &str) -> bool {
        self.games.get(game).is_some()
    }

    /// True while the endpoint of the game has calls that are not idle.
    pub fn has_endpoint(&self, game: &str, endpoint: &str) -> bool {
        self.games.get(game).is_some_and(|game| game.endpoints.get(endpoint).is_some())
    }

    /// The games, in the order of their names.
    pub fn games(&self) -> impl Iterator<Item = (&str, &Game)> {
        self.games.iter()
    }

    /// Number of calls in all series, and of those that are held back.
    pub fn calls(&self) -> u64 {
        let roles = [Role::Client, Role::Server];
        let series =
            self.games.iter().flat_map(|(_, game)| roles.into_iter().flat_map(|role| game.series(role)));
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
            Some((endpoint, series))
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

    /// Counts a call whose path is not known.
    pub fn add_unnamed(&mut self, unnamed: Unnamed) {
        *self.unnamed.entry(unnamed_reason(unnamed)).or_default() += 1;
    }

    /// Counts a connection that was given up.
    pub fn add_opaque(&mut self, reason: &'static str) {
        *self.opaque.entry(reason).or_default() += 1;
    }
}

/// Reasons for which the pipeline gives a connection up.
pub const OPAQUE_REASONS: [&str; 2] = ["not_http", "upgraded"];

/// As in the `reason` label.
pub fn unnamed_reason(unnamed: Unnamed) -> &'static str {
    match unnamed {
        Unnamed::JoinedLate => "joined_late",
        Unnamed::BlockLost => "block_lost",
        Unnamed::Missing => "missing",
    }
}

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

#[cfg(test)]
mod tests;
