//! Given: exchanges of one game, endpoint and role. Gives: their figures. Refuses to know: which game, endpoint and role.

use serde::Serialize;

use super::histogram::Histogram;
use super::label::{Code, Method};
use crate::call::Call;
use crate::exchange::{Direction, Exchange, Outcome};
use crate::http::websocket::Tally;

/// Upper bounds of the duration histogram in nanoseconds: those that OpenTelemetry advises for
/// `http.client.request.duration` (semantic conventions, HTTP metrics).
pub const DURATION_BOUNDS_NS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// The figures of one game, endpoint and role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Sorted by method and code: a handful, and at most every pair of the two enums.
    calls: Vec<((Method, Code), u64)>,
    /// Head and body bytes of requests, as far as they are known.
    pub request_bytes: u64,
    /// Head and body bytes of responses, as far as they are known.
    pub response_bytes: u64,
    /// Payload bytes of requests, as far as they are known.
    pub request_body_bytes: u64,
    /// Payload bytes of responses, as far as they are known.
    pub response_body_bytes: u64,
    /// Time from request to first byte of the response, summed: what the server was busy.
    pub busy_ns: u128,
    /// What they cost, in millionths of a cost unit, as far as that is known.
    pub cost_ucu: u64,
    /// Durations of the calls that were seen to their end.
    pub durations: Histogram,
    /// The same durations, counted by [`DURATION_BOUNDS_NS`] and one bucket above; not cumulative.
    pub duration_buckets: [u64; DURATION_BOUNDS_NS.len() + 1],
    /// What went by on connections that became WebSockets; `None` when none did.
    pub frames: Option<Box<Frames>>,
    last_ns: u64,
}

/// What went by on WebSockets, as seen from the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// The process sent these.
    pub sent: Tally,
    /// The process received these.
    pub received: Tally,
}

impl Series {
    pub(super) fn record(&mut self, call: &Call) {
        let exchange = &call.exchange;
        add(&mut self.cost_ucu, [call.cost_ucu]);
        self.count((Method::of(&exchange.method), Code::of(exchange)), 1);
        // A length field can claim any number, so sums stop at the greatest.
        let Exchange {
            request_head_bytes, request_body_bytes, response_head_bytes, response_body_bytes, ..
        } = *exchange;
        add(&mut self.request_bytes, [Some(request_head_bytes), request_body_bytes]);
        add(&mut self.request_body_bytes, [request_body_bytes]);
        add(&mut self.response_bytes, [response_head_bytes, response_body_bytes]);
        add(&mut self.response_body_bytes, [response_body_bytes]);
        self.busy_ns += u128::from(exchange.ttfb_ns().unwrap_or(0));
        self.last_ns = self.last_ns.max(last_ns(exchange));
        // The end of an aborted call says when somebody gave up, not how long the answer took.
        if let (Outcome::Complete, Some(duration_ns)) = (exchange.outcome, exchange.duration_ns()) {
            self.durations.record(duration_ns);
            let bucket = DURATION_BOUNDS_NS.partition_point(|&bound| bound < duration_ns);
            self.duration_buckets[bucket] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Series) {
        let Series {
            calls,
            request_bytes,
            response_bytes,
            request_body_bytes,
            response_body_bytes,
            busy_ns,
            cost_ucu,
            durations,
            duration_buckets,
            frames,
            last_ns,
        } = other;
        calls.iter().for_each(|&(key, calls)| self.count(key, calls));
        add(&mut self.request_bytes, [Some(*request_bytes)]);
        add(&mut self.response_bytes, [Some(*response_bytes)]);
        add(&mut self.request_body_bytes, [Some(*request_body_bytes)]);
        add(&mut self.response_body_bytes, [Some(*response_body_bytes)]);
        self.busy_ns += busy_ns;
        add(&mut self.cost_ucu, [Some(*cost_ucu)]);
        self.durations.merge(durations);
        for (own, more) in self.duration_buckets.iter_mut().zip(duration_buckets) {
            *own += more;
        }
        if let Some(more) = frames {
            let own = self.frames.get_or_insert_default();
            own.sent += more.sent;
            own.received += more.received;
        }
        self.last_ns = self.last_ns.max(*last_ns);
    }

    pub(super) fn record_frames(&mut self, at_ns: u64, direction: Direction, tally: Tally) {
        let Frames { sent, received } = &mut **self.frames.get_or_insert_default();
        *(if direction == Direction::Sent { sent } else { received }) += tally;
        self.last_ns = self.last_ns.max(at_ns);
    }

    fn count(&mut self, key: (Method, Code), calls: u64) {
        match self.calls.binary_search_by_key(&key, |&(key, _)| key) {
            Ok(at) => self.calls[at].1 += calls,
            Err(at) => self.calls.insert(at, (key, calls)),
        }
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Numbers of calls by method and code, in their order.
    pub fn calls(&self) -> impl Iterator<Item = (Method, Code, u64)> {
        self.calls.iter().map(|&((method, code), calls)| (method, code, calls))
    }

    /// Number of all calls.
    pub fn total(&self) -> u64 {
        self.calls.iter().map(|(_, calls)| calls).sum()
    }

    /// Calls that were answered with 4xx or 5xx.
    pub fn errors(&self) -> u64 {
        self.of_codes(|code| {
            matches!(code, Code::ClientError | Code::NotFound | Code::TooManyRequests | Code::ServerError)
        })
    }

    /// Calls without a whole answer.
    pub fn unanswered(&self) -> u64 {
        self.of_codes(|code| code == Code::None)
    }

    fn of_codes(&self, is_wanted: impl Fn(Code) -> bool) -> u64 {
        self.calls().filter(|&(_, code, _)| is_wanted(code)).map(|(_, _, calls)| calls).sum()
    }
}

fn add<const N: usize>(sum: &mut u64, terms: [Option<u64>; N]) {
    *sum = terms.into_iter().flatten().fold(*sum, u64::saturating_add);
}

/// The last time that is known of an exchange.
pub(super) fn last_ns(exchange: &Exchange) -> u64 {
    exchange.ended_ns.or(exchange.first_byte_ns).unwrap_or(exchange.started_ns)
}
