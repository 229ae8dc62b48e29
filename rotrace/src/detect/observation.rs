//! Given: a call, its price, and the numbers of its names. Gives: what detectors look at: a value of fixed size without a
//! string in it. Refuses to know: names, and what the hashed values are.

use crate::call::Call;
use crate::exchange::signals::url;
use crate::exchange::{Exchange, Outcome, Role, Signals};
use crate::http::Protocol;
use crate::keyed::combine;

use super::labels::Labels;
use super::query::Parts;

/// A call, as detectors see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observation {
    /// Its number: calls are numbered in the order in which they ended.
    pub seq: u64,
    /// First byte of the request; CLOCK_MONOTONIC.
    pub started_ns: u64,
    /// The last that was seen of it.
    pub ended_ns: u64,
    /// Time from the request to the first byte of the response: what the server took, as far as can be seen. Of a call
    /// that was given up before, the time until then: the server was busy for so long at least.
    pub server_ns: u64,
    /// PID of the process.
    pub pid: u32,
    /// The process: PID and start time.
    pub process: u64,
    /// How old the process was; `None` when that is not known.
    pub process_age_ns: Option<u64>,
    /// The game.
    pub game: u64,
    /// **E**: game, authority, template and method.
    pub endpoint: u64,
    /// The same whatever the game.
    pub endpoint_of_any_game: u64,
    /// The same in this process.
    pub scope: u64,
    /// The authority.
    pub authority: u64,
    /// The URL as [`url`] has it, to be compared with the `location` of a response.
    pub url: u64,
    /// **K**: E and the parameters of the path.
    pub resource: u64,
    /// **R**: K, query, body and credentials; never the same as another's when it is a write whose body was not seen.
    pub request: u64,
    /// R without credentials.
    pub request_of_anyone: u64,
    /// Its body is known, or there is none: the same request can be recognised.
    pub is_body_known: bool,
    /// The authority and path, whatever is done to it.
    pub place: u64,
    /// The same without the last segment.
    pub place_above: u64,
    /// What varies in it.
    pub parts: Parts,
    /// What it does.
    pub verb: Verb,
    /// How it was answered.
    pub reply: Reply,
    /// Status code; 0 when there was none.
    pub status: u16,
    /// What its fields say.
    pub signals: Signals,
    /// Bytes of the request's head.
    pub request_head_bytes: u32,
    /// Payload bytes of the request.
    pub request_body_bytes: u64,
    /// Bytes of the response's head.
    pub response_head_bytes: u32,
    /// Payload bytes of the response.
    pub response_body_bytes: u64,
    /// What it costs, in millionths of a cost unit.
    pub cost_ucu: u64,
    /// The connection.
    pub conn: u64,
    /// Which request of its connection, from 0, as far as was seen.
    pub ordinal: u64,
    /// The client gave up before the response was over.
    pub is_aborted: bool,
    /// It came too late to be put in order.
    pub is_late: bool,
    /// The protocol keeps one request a connection at a time.
    pub is_h1: bool,
}

/// What a call does (RFC 9110 §9.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// `GET`, `HEAD`.
    Read,
    /// `PUT`, `DELETE`: the same again changes nothing.
    IdempotentWrite,
    /// `POST`, `PATCH` and what is not known.
    Write,
    /// `OPTIONS`, `TRACE`.
    #[default]
    Other,
}

impl Verb {
    /// Of a method.
    pub fn of(method: &str) -> Verb {
        match method {
            "GET" | "HEAD" => Verb::Read,
            "PUT" | "DELETE" => Verb::IdempotentWrite,
            "OPTIONS" | "TRACE" => Verb::Other,
            _ => Verb::Write,
        }
    }
}

/// How a call was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// Not, or not that anybody saw.
    #[default]
    None,
    /// 2xx.
    Success,
    /// 304.
    NotModified,
    /// Another 3xx.
    Redirect,
    /// 429.
    TooMany,
    /// Another 4xx.
    ClientError,
    /// 5xx.
    ServerError,
}

impl Observation {
    /// The strength of what a response can be recognised by, and the number: the strongest that it has.
    pub fn fingerprint(&self) -> Option<(Strength, u64)> {
        let response = &self.signals.response;
        if let Some(etag) = response.etag {
            return Some((Strength::Validator, etag));
        }
        match response.body {
            Some(body) if body.is_whole => {
                Some((Strength::Body, combine(body.hash, self.response_body_bytes)))
            }
            Some(body) => Some((Strength::Prefix, combine(body.hash, self.response_body_bytes))),
            None if self.reply == Reply::Success => Some((Strength::Length, self.response_body_bytes)),
            None => None,
        }
    }

    /// The response is a part of what there is (RFC 9110 §14): the request does not tell it from others.
    pub fn is_part(&self) -> bool {
        self.status == 206 || self.signals.request.is_range
    }

    /// It failed in a way that another try may cure: there were too many, the service was not there, or it did not
    /// answer. A 500 is one for what may be done twice; a call that nobody saw the end of is none.
    pub fn is_transient_failure(&self) -> bool {
        match self.status {
            0 => self.is_aborted,
            408 | 425 | 429 | 502..=504 => true,
            500 => matches!(self.verb, Verb::Read | Verb::IdempotentWrite),
            _ => false,
        }
    }

    /// All its bytes.
    pub fn bytes(&self) -> u64 {
        let head = u64::from(self.request_head_bytes) + u64::from(self.response_head_bytes);
        head.saturating_add(self.request_body_bytes).saturating_add(self.response_body_bytes)
    }

    /// What an empty call to the same endpoint would have moved.
    pub fn head_bytes(&self) -> u64 {
        u64::from(self.request_head_bytes) + u64::from(self.response_head_bytes)
    }
}

/// How sure one can be that two responses are the same. A 304 is surer than all of them: the server says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// As many bytes.
    Length,
    /// As many bytes, and the first ones are the same.
    Prefix,
    /// All bytes are the same.
    Body,
    /// The same `ETag`.
    Validator,
    /// The server answered 304.
    NotModified,
}

impl Strength {
    /// As in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Strength::Length => "length",
            Strength::Prefix => "prefix",
            Strength::Body => "body",
            Strength::Validator => "etag",
            Strength::NotModified => "304",
        }
    }
}

impl Observation {
    /// Becomes what is seen of a call that the process made. False, and nothing, for one that it served, and for one of which
    /// some fields are not known: it may have been conditional, or another player's.
    ///
    /// It is large, so it is made where it will stand, field by field.
    pub fn fill(&mut self, call: &Call, seq: u64, cost_ucu: u64, labels: &mut Labels) -> bool {
        let exchange = &call.exchange;
        if exchange.role != Role::Client || exchange.unnamed.is_some() || exchange.signals.is_partial {
            return false;
        }
        let Exchange { started_ns, ref signals, .. } = *exchange;
        let (key, label) = labels.of(call);
        let seen_ns = [exchange.ended_ns, exchange.first_byte_ns].into_iter().flatten().next();
        let ended_ns = seen_ns.unwrap_or(started_ns).max(started_ns);
        let is_aborted = exchange.outcome == Outcome::Aborted;
        let given_up_ns = is_aborted.then_some(ended_ns - started_ns);
        let status = exchange.status_of_call();

        self.seq = seq;
        self.started_ns = started_ns;
        self.ended_ns = ended_ns;
        self.server_ns = exchange.ttfb_ns().or(given_up_ns).unwrap_or(0);
        self.pid = call.process.pid;
        self.process = combine(u64::from(call.process.pid), call.process.start_ticks);
        self.process_age_ns = age_ns(call.process.start_ticks, started_ns);
        self.game = label.game;
        self.endpoint = label.endpoint;
        self.endpoint_of_any_game = label.endpoint_of_any_game;
        self.scope = combine(self.endpoint, self.process);
        self.authority = label.authority;
        self.url = match exchange.authority.as_deref() {
            Some(other) if other != label.authority_name() => url(other, &exchange.target, key),
            // The label has it as an URL would, so its number is known.
            _ => combine(label.authority, key.name(exchange.target.as_bytes())),
        };
        let place = self.parts.fill(&exchange.target, &call.path, &label.template, key);
        self.place = combine(self.authority, place.here);
        self.place_above = combine(self.authority, place.above);
        self.verb = label.verb;
        let has_no_body =
            matches!(self.verb, Verb::Read | Verb::Other) || exchange.request_body_bytes == Some(0);
        self.is_body_known = signals.request.body.is_some() || has_no_body;
        let body = match signals.request.body {
            Some(body) => body.hash,
            None if has_no_body => 0,
            None => combine(seq, u64::MAX),
        };
        self.resource = combine(self.endpoint, self.parts.path);
        self.request_of_anyone = combine(combine(self.resource, self.parts.query), body);
        self.request = combine(self.request_of_anyone, signals.request.credentials.unwrap_or(0));
        self.reply = reply(status);
        self.status = status.unwrap_or(0);
        self.signals = *signals;
        self.request_head_bytes = exchange.request_head_bytes.min(u32::MAX.into()) as u32;
        self.request_body_bytes = exchange.request_body_bytes.unwrap_or(0);
        self.response_head_bytes = exchange.response_head_bytes.unwrap_or(0).min(u32::MAX.into()) as u32;
        self.response_body_bytes = exchange.response_body_bytes.unwrap_or(0);
        self.cost_ucu = cost_ucu;
        self.conn = call.conn;
        self.ordinal = exchange.ordinal;
        self.is_aborted = is_aborted;
        self.is_late = false;
        self.is_h1 = exchange.protocol != Protocol::Http2;
        true
    }
}

/// Start times are in ticks of USER_HZ, which is 100 on every architecture that rotrace runs on.
fn age_ns(start_ticks: u64, now_ns: u64) -> Option<u64> {
    const NS_PER_TICK: u64 = 10_000_000;
    (start_ticks > 0).then(|| now_ns.saturating_sub(start_ticks.saturating_mul(NS_PER_TICK)))
}

fn reply(status: Option<u16>) -> Reply {
    match status {
        Some(304) => Reply::NotModified,
        Some(429) => Reply::TooMany,
        Some(200..300) => Reply::Success,
        Some(300..400) => Reply::Redirect,
        Some(400..500) => Reply::ClientError,
        Some(500..) => Reply::ServerError,
        _ => Reply::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{get, send};
    use crate::keyed::Key;

    #[test]
    fn nothing_of_the_call_before_is_left() {
        let before = send("POST", "/v1/items/17?t=5&page=2").status(503).at_ms(700).cost(3.0).pid(7);
        let calls = [get("/v1/users/1").answer(1).max_age(5), send("PUT", "/v1/save").status(429), get("/")];
        for call in calls {
            let mut labels = Labels::new(Key::default());
            let mut reused =
                Observation { is_late: true, ordinal: 9, is_aborted: true, ..before.observation() };
            let mut fresh = Observation::default();
            for seen in [&mut reused, &mut fresh] {
                assert!(seen.fill(&call.call(), 3, 5, &mut labels));
            }
            assert!(reused.parts.iter().eq(fresh.parts.iter()));
            let but_parts = |seen: Observation| format!("{:?}", Observation { parts: fresh.parts, ..seen });
            assert_eq!(but_parts(reused), but_parts(fresh));
        }
    }
}
