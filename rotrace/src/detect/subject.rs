//! Given: names of endpoints, and what the catalogue knows of them. Gives: all that is remembered of one endpoint of one
//! game on this host. Refuses to know: single calls.

use std::net::IpAddr;
use std::sync::Arc;

use super::observation::{Observation, Reply};
use super::profile::{Sizes, Times};
use super::window::Window;
use crate::catalogue::{self, Tag};
use crate::cost::Prices;
use crate::endpoint::canonical::divided;
use crate::endpoint::openapi::{Limit, Operation, Scope};
use crate::summary::{OTHER, UNKNOWN_GAME};

/// Ids of one batch when the catalogue does not say how many it takes.
const BATCH_ITEMS: u32 = 50;

/// What an endpoint is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Names {
    /// The game.
    pub game: Arc<str>,
    /// Authority and template.
    pub endpoint: Arc<str>,
    /// Authority.
    pub authority: Arc<str>,
    /// Method.
    pub method: Arc<str>,
}

impl Names {
    /// Of an endpoint that has made room for others.
    pub fn unknown() -> Self {
        let [game, endpoint, authority, method] = [UNKNOWN_GAME, OTHER, OTHER, ""].map(Arc::from);
        Names { game, endpoint, authority, method }
    }

    /// Of its authority as a whole.
    pub fn of_authority(&self) -> Self {
        let Names { game, authority, .. } = self;
        Names {
            game: Arc::clone(game),
            endpoint: Arc::clone(authority),
            authority: Arc::clone(authority),
            method: Arc::from(""),
        }
    }
}

/// What the catalogue knows of an endpoint; what it does not know is `None` or `false`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// The endpoint that takes many ids at once.
    pub batch: Option<Batch>,
    /// There is certainly no such endpoint.
    pub has_no_batch: bool,
    /// Items of a page when the request does not say.
    pub default_page: Option<u32>,
    /// Most items that a page can have.
    pub max_page: Option<u32>,
    /// The query key that says how many.
    pub page_size_key: Option<Arc<str>>,
    /// Conditional requests can be made.
    pub is_conditional: Option<bool>,
    /// The endpoint to call instead, and its cost in millionths of a cost unit.
    pub alternative: Option<(Arc<str>, u64)>,
    /// The endpoint is deprecated.
    pub is_deprecated: bool,
    /// Requests a minute that are allowed: of one server, or of all that share a key.
    pub limit_per_minute: Option<u32>,
    /// The limit is that of one server process, so it can be judged here.
    pub is_limit_per_process: bool,
    /// How to be told of changes, in words.
    pub push: Option<Arc<str>>,
    /// It is called to show that somebody is there.
    pub is_heartbeat: bool,
    /// Money, bans, awards: what must not be put together or left out.
    pub is_transactional: bool,
    /// Events for analytics: what may be sent later, and together.
    pub is_telemetry: bool,
    /// Its `POST` sets what path and query name, and what was there before is gone.
    pub is_replacing_post: bool,
    /// Its `POST` changes nothing.
    pub is_safe_post: bool,
    /// It delivers files.
    pub is_asset: bool,
    /// It answers when there is something to say.
    pub is_long_poll: bool,
    /// Time that a response may take, in milliseconds.
    pub slo_ms: Option<u32>,
}

impl Api {
    /// What a catalogue and prices say of an endpoint.
    pub fn of(names: &Names, prices: &Prices) -> Api {
        let Names { endpoint, method, .. } = names;
        let catalogue = prices.catalogue();
        let limits = catalogue.shared_limits(endpoint, method).map(|shared| &shared.limit);
        let Some(known) = catalogue.find(endpoint, method) else {
            return Api::default().limited(limits);
        };
        let price_of = |operation: &Operation, items: Option<u64>| {
            let price = prices.of_endpoint(&operation.endpoint(), &operation.method);
            price.map_or(0, |price| price.list(items).0)
        };
        let batch = match &known.batch {
            Some(catalogue::Batch::By { operation, items_max }) => {
                let max = items_max.map_or(BATCH_ITEMS, |items| items.clamp(1, u32::MAX.into()) as u32);
                Some(Batch {
                    endpoint: operation.to_string().into(),
                    max,
                    cost_ucu: price_of(operation, Some(max.into())),
                })
            }
            _ => None,
        };
        let page = known.page_size.as_ref();
        let items = |items: Option<u64>| items.map(|items| items.min(u32::MAX.into()) as u32);
        let has = |tag| known.tags.contains(&tag);
        let api = Api {
            batch,
            has_no_batch: known.batch == Some(catalogue::Batch::None),
            default_page: items(page.and_then(|page| page.default)),
            max_page: items(page.and_then(|page| page.maximum)),
            page_size_key: page.map(|page| (*page.parameter).into()),
            is_conditional: known.conditional,
            alternative: known
                .alternatives
                .first()
                .map(|operation| (operation.to_string().into(), price_of(operation, None))),
            is_deprecated: known.deprecated,
            push: known.push.as_deref().map(Arc::from),
            is_heartbeat: has(Tag::Heartbeat),
            is_transactional: has(Tag::Transactional),
            is_telemetry: has(Tag::Telemetry),
            is_safe_post: has(Tag::SafePost),
            is_asset: has(Tag::Asset),
            is_long_poll: has(Tag::LongPoll),
            ..Api::default()
        };
        api.limited(known.limits.iter().chain(limits))
    }

    /// With the tightest limit that can be judged here: that of one server, else the tightest of all.
    fn limited<'a>(self, limits: impl Iterator<Item = &'a Limit>) -> Self {
        let tightest = limits.map(|limit| {
            let Limit { calls, window_seconds, scope, .. } = limit;
            let per_minute = (calls.saturating_mul(60) / window_seconds.max(&1)).min(u32::MAX.into()) as u32;
            (*scope != Scope::Server, per_minute)
        });
        match tightest.min() {
            Some((is_shared, per_minute)) => {
                Api { limit_per_minute: Some(per_minute), is_limit_per_process: !is_shared, ..self }
            }
            None => self,
        }
    }
}

/// An endpoint that takes many ids at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Method, authority and template.
    pub endpoint: Arc<str>,
    /// Most ids.
    pub max: u32,
    /// Its cost in millionths of a cost unit, for so many ids.
    pub cost_ucu: u64,
}

/// An endpoint of one game.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its names.
    pub names: Arc<Names>,
    /// What the catalogue knows.
    pub api: Arc<Api>,
    /// It is there to see whether a service is up: no detector looks at its calls.
    pub is_probe: bool,
    /// It says how far an operation is that goes on for longer (AIP-151).
    pub is_operation: bool,
    /// It is on the host of its caller: no platform pays for its calls.
    pub is_loopback: bool,
    /// Times that the server took.
    pub server: Times,
    /// Payload bytes of successful responses.
    pub sizes: Sizes,
    /// Heads of request and response together.
    pub heads: Sizes,
    /// Calls so far.
    pub calls: u64,
    /// Calls of the last hour.
    recent: Window<u32, 720, 5>,
}

impl Subject {
    /// One without calls.
    pub fn new(names: Names, api: Arc<Api>) -> Self {
        Subject {
            is_probe: is_probe(&names.endpoint),
            is_operation: names.endpoint.split('/').any(|segment| segment == "operations"),
            is_loopback: is_loopback(&names.authority),
            names: Arc::new(names),
            api,
            server: Times::default(),
            sizes: Sizes::default(),
            heads: Sizes::default(),
            calls: 0,
            recent: Window::default(),
        }
    }

    /// Calls of the hour up to this time, more or less.
    pub fn recent_calls(&self, now_ns: u64) -> u64 {
        self.recent.recent(now_ns).map(u64::from).sum()
    }

    /// Takes note of a call.
    pub fn record(&mut self, call: &Observation) {
        self.calls += 1;
        if let Some(calls) = self.recent.at(call.started_ns) {
            *calls = calls.saturating_add(1);
        }
        self.heads.record(call.head_bytes());
        if call.reply == Reply::Success {
            self.server.record(call.server_ns);
            self.sizes.record(call.response_body_bytes);
        }
    }
}

/// What endpoints are called that say whether a service is up, at the begin or the end of their path. Only whole words:
/// games have things that begin like them.
const PROBES: [&str; 10] = [
    "health",
    "healthz",
    "healthcheck",
    "health-check",
    "health_check",
    "ready",
    "readyz",
    "readiness",
    "livez",
    "liveness",
];

fn is_probe(endpoint: &str) -> bool {
    let (_, path) = divided(endpoint);
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let ends = [segments.clone().next(), segments.clone().next_back()];
    path == "/metrics"
        || ends.into_iter().flatten().any(|segment| PROBES.contains(&segment))
        || segments.any(|segment| segment == ".well-known")
}

/// The authority names the host itself (RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_name = host == "localhost" || host.ends_with(".localhost");
    is_name || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_itself_is_known_by_its_names() {
        let check = |authority: &str, expect| assert_eq!(is_loopback(authority), expect, "{authority}");
        check("localhost", true);
        check("localhost:8080", true);
        check("agent.localhost", true);
        check("127.0.0.1", true);
        check("127.3.2.1:9000", true);
        check("[::1]:80", true);
        check("[::1]", true);
        check("localhost.example", false);
        check("mylocalhost", false);
        check("128.0.0.1:80", false);
        check("[2001:db8::1]:80", false);
        check("127.0.0.1.nip.test", false);
        check("[", false);
        check("", false);
    }

    #[test]
    fn probes_are_told_by_whole_words() {
        let check = |endpoint: &str, expect| assert_eq!(is_probe(endpoint), expect, "{endpoint}");
        check("api.test/health", true);
        check("api.test/health/database", true);
        check("api.test/v1/healthz", true);
        check("api.test/readyz", true);
        check("api.test/metrics", true);
        check("api.test/.well-known/jwks.json", true);
        check("api.test/v1/.well-known/openid-configuration", true);
        check("api.test/v1/health-potions", false);
        check("api.test/v1/players/{id}/health/{id}", false);
        check("api.test/v1/metrics", false);
        check("api.test/", false);
        check("unknown", false);
    }
}
