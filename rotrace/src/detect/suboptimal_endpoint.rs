//! Given: calls, and what the catalogue knows of their endpoints. Gives: calls of endpoints for which there is a better
//! one, of endpoints that are slow, and over HTTP/1 connections that queue. Refuses to know: why a server is slow.
//!
//! `deprecated`: the catalogue or the server says so (RFC 9745, RFC 8594), or the catalogue recommends another endpoint.
//! The calls have to be made, so what is wasted is the difference of prices, and nothing when it is not known.
//!
//! `slow` and `h1_queueing` waste nothing but time, and stay good to know. Queueing shows in the time until the first byte
//! when it rises with the number of calls that are under way to one authority. How long that takes without a queue is
//! learned from calls that were alone, so a process that never makes any is not judged.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::in_flight::InFlight;
use super::observation::{Observation, Reply};
use super::pattern::Pattern;
use super::table::Table;
use crate::exchange::signals::Content;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::SuboptimalEndpoint,
    thresholds: &[
        Threshold {
            name: "warn_calls",
            default: 20.0,
            what: "calls of a deprecated endpoint from which it is a warning, at most 64",
        },
        Threshold {
            name: "slow_ms",
            default: 500.0,
            what: "time until the first byte that one call in twenty may exceed, where the catalogue has none",
        },
        Threshold { name: "slow_calls", default: 20.0, what: "calls from which an endpoint can be slow" },
        Threshold { name: "queue_ms", default: 250.0, what: "time that calls queue, in milliseconds" },
        Threshold { name: "queue_calls", default: 6.0, what: "calls at one time from which they can queue" },
    ],
    full_bytes: ENDPOINTS * (Table::<Pending>::ENTRY_BYTES + PENDING_MAX * size_of::<u64>())
        + LANES * (Table::<Lane>::ENTRY_BYTES + InFlight::<IN_FLIGHT_MAX>::FULL_BYTES)
        + AUTHORITIES * Table::<()>::ENTRY_BYTES,
    make: |values, budget| Box::new(SuboptimalEndpoint::new(values, budget)),
};

/// Deprecated endpoints of processes that are followed.
const ENDPOINTS: usize = 1024;

/// Calls of one that wait until there are enough, and are then claimed.
const PENDING_MAX: usize = 64;

/// Authorities of processes that are followed.
const LANES: usize = 8 * 1024;

/// Authorities that speak HTTP/2.
const AUTHORITIES: usize = 256;

/// Calls of a lane at one time: with more it does not matter how many there are.
const IN_FLIGHT_MAX: usize = 16;

/// First numbers of calls at one time that are taken together.
const CROWDS: [usize; 5] = [1, 3, 6, 9, 13];

/// Times of as many calls say how long it takes.
const CROWD_CALLS: u32 = 3;

/// Counts at which all are halved, so that what was long ago fades.
const FADE_AT: u32 = 1024;

/// A case is over after so long.
const IDLE_NS: u64 = 600_000_000_000;

const MS_NS: f64 = 1e6;

#[derive(Debug)]
struct SuboptimalEndpoint {
    warn_calls: usize,
    slow_ns: u64,
    slow_calls: u64,
    queue_ns: u64,
    queue_calls: usize,
    deprecated: Table<Pending>,
    lanes: Table<Lane>,
    speaks_h2: Table<()>,
}

/// Calls of a deprecated endpoint.
#[derive(Debug, Default)]
struct Pending {
    seqs: Vec<u64>,
    last_ns: u64,
    is_claimed: bool,
}

/// Calls of one process to one authority over HTTP/1.
#[derive(Debug, Default)]
struct Lane {
    in_flight: InFlight<IN_FLIGHT_MAX>,
    /// Calls and their time until the first byte in microseconds, by how many were under way.
    crowds: [(u32, u32); CROWDS.len()],
}

/// What is wrong with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deprecated,
    Slow,
    H1Queueing,
}

impl SuboptimalEndpoint {
    fn new(values: &Values, budget: Budget) -> Self {
        let ns = |name| (values.of_name(name) * MS_NS) as u64;
        SuboptimalEndpoint {
            warn_calls: (values.count("warn_calls") as usize).clamp(1, PENDING_MAX),
            slow_ns: ns("slow_ms"),
            slow_calls: values.count("slow_calls"),
            queue_ns: ns("queue_ms"),
            queue_calls: values.count("queue_calls") as usize,
            deprecated: Table::new(budget.entries(ENDPOINTS)),
            lanes: Table::new(budget.entries(LANES)),
            speaks_h2: Table::new(budget.entries(AUTHORITIES)),
        }
    }
}

impl Detector for SuboptimalEndpoint {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        self.deprecated(call, desk);
        if call.reply != Reply::Success || call.signals.response.content == Content::Stream {
            return;
        }
        self.slow(call, desk);
        if call.is_h1 {
            self.queue(call, desk);
        } else if self.speaks_h2.find(call.authority).is_none() {
            self.speaks_h2.of(call.authority, || ());
        }
    }

    fn state(&self) -> State {
        State::of([
            (self.deprecated.len(), self.deprecated.evicted()),
            (self.lanes.len(), self.lanes.evicted()),
            (self.speaks_h2.len(), self.speaks_h2.evicted()),
        ])
    }
}

impl SuboptimalEndpoint {
    fn deprecated(&mut self, call: &Observation, desk: &mut Desk) {
        let says_so = call.signals.response.is_deprecated;
        let Some(subject) = desk.subject(call) else { return };
        let api = &subject.api;
        if !says_so && !api.is_deprecated && api.alternative.is_none() {
            return;
        }
        let alternative = api.alternative.clone();
        let spared_ucu =
            alternative.as_ref().map_or(0, |&(_, cost_ucu)| call.cost_ucu.saturating_sub(cost_ucu));
        let by = match () {
            () if says_so => "server",
            () if api.is_deprecated => "catalogue",
            // One that is recommended, but costs as much.
            () if spared_ucu == 0 => return,
            () => "recommendation",
        };
        let id = Kind::Deprecated.id(call);
        let pending = self.deprecated.of(call.scope, Pending::default);
        if call.started_ns.saturating_sub(pending.last_ns) > IDLE_NS {
            *pending = Pending::default();
        }
        pending.last_ns = call.started_ns;
        let case = desk.case(id, call, call.started_ns, IDLE_NS);
        case.finding.kind = "deprecated";
        case.finding.confidence = Confidence::Proven;
        case.count(Sample::of(call, call.resource));
        case.finding.evidence.say("deprecated_by", by);
        if let Some((endpoint, cost_ucu)) = &alternative {
            case.finding.evidence.say("alternative", endpoint);
            case.finding.evidence.set("alternative_micro_cu", Fact::Count(*cost_ucu));
        }
        if case.finding.remedy.is_empty() {
            case.finding.remedy = match &alternative {
                Some((endpoint, _)) => format!("Call {endpoint} instead."),
                None => {
                    "Read what the service says of the endpoint's end, and move to the one that it names."
                        .to_owned()
                }
            };
        }
        pending.is_claimed |= case.finding.calls >= self.warn_calls as u64;
        let grade = if pending.is_claimed { Grade::Scored } else { Grade::Info };
        case.allow(grade);
        if spared_ucu == 0 || call.reply != Reply::Success {
            return;
        }
        if pending.seqs.len() < PENDING_MAX {
            pending.seqs.push(call.seq);
        }
        if !pending.is_claimed {
            return;
        }
        let amount = Amount { cost_ucu: spared_ucu, ..Amount::default() };
        for seq in pending.seqs.drain(..) {
            desk.claim(id, seq, amount, Class::Avoidable);
        }
    }

    fn slow(&mut self, call: &Observation, desk: &mut Desk) {
        let Some(subject) = desk.subject(call) else { return };
        let api = &subject.api;
        let slo_ns = api.slo_ms.map_or(self.slow_ns, |slo_ms| u64::from(slo_ms) * 1_000_000);
        if call.server_ns <= slo_ns || subject.calls < self.slow_calls || api.is_long_poll || api.is_asset {
            return;
        }
        let p95_ns = subject.server.quantile(0.95);
        if p95_ns <= slo_ns {
            return;
        }
        let p50_ns = subject.server.quantile(0.5);
        let calls = subject.calls;
        let case = desk.case(Kind::Slow.id(call), call, call.started_ns, IDLE_NS);
        case.finding.kind = "slow";
        case.finding.confidence = Confidence::Proven;
        case.finding.latency_ns = case.finding.latency_ns.saturating_add(call.server_ns - slo_ns);
        case.count(Sample::of(call, call.resource));
        let evidence = &mut case.finding.evidence;
        evidence.set("calls", Fact::Count(calls));
        evidence.set("p50", Fact::Ns(p50_ns));
        evidence.set("p95", Fact::Ns(p95_ns));
        evidence.set("allowed", Fact::Ns(slo_ns));
        if case.finding.remedy.is_empty() {
            case.finding.remedy =
                "Do not let players wait for it: ask before the answer is needed, or keep it; \
                                   whoever runs the service may want to know."
                    .to_owned();
        }
    }

    fn queue(&mut self, call: &Observation, desk: &mut Desk) {
        let lane = self.lanes.of(combine(call.process, call.authority), Lane::default);
        let under_way = lane.take(call);
        if under_way < self.queue_calls || call.server_ns < self.queue_ns {
            return;
        }
        let Some((alone_ns, crowded_ns)) = lane.rise() else { return };
        if crowded_ns - alone_ns < self.queue_ns {
            return;
        }
        let speaks_h2 = self.speaks_h2.peek(call.authority).is_some();
        let id = CaseId::new(
            Pattern::SuboptimalEndpoint,
            combine(combine(call.process, call.authority), Kind::H1Queueing as u64),
        );
        let case = desk.authority_case(id, call, call.started_ns, IDLE_NS);
        case.finding.kind = "h1_queueing";
        case.finding.confidence = Confidence::Heuristic;
        let queued_ns = call.server_ns.saturating_sub(alone_ns);
        case.finding.latency_ns = case.finding.latency_ns.saturating_add(queued_ns);
        case.count(Sample::of(call, call.conn));
        let evidence = &mut case.finding.evidence;
        evidence.set("under_way", Fact::Count(under_way as u64));
        evidence.set("ttfb_alone", Fact::Ns(alone_ns));
        evidence.set("ttfb_crowded", Fact::Ns(crowded_ns));
        evidence.say("speaks_h2", if speaks_h2 { "yes" } else { "not seen" });
        if case.finding.remedy.is_empty() {
            case.finding.remedy = if speaks_h2 {
                "Use HTTP/2, which this service speaks, or make fewer calls at one time."
            } else {
                "Make fewer calls at one time, or use HTTP/2 if the service speaks it."
            }
            .to_owned();
        }
    }
}

impl Lane {
    /// Takes a call; gives how many were under way when it began, with itself.
    fn take(&mut self, call: &Observation) -> usize {
        let under_way = self.in_flight.begin(call).unwrap_or(IN_FLIGHT_MAX + 1);
        let crowd = CROWDS.iter().rposition(|&from| under_way >= from).unwrap_or(0);
        if let Some((calls, total_us)) = self.crowds.get_mut(crowd) {
            *calls += 1;
            *total_us = total_us.saturating_add((call.server_ns / 1000).min(u32::MAX.into()) as u32);
            if *calls >= FADE_AT || *total_us > u32::MAX / 2 {
                *calls /= 2;
                *total_us /= 2;
            }
        }
        under_way
    }

    /// The time until the first byte of calls that were alone and of those that were not, when it only ever rises.
    fn rise(&self) -> Option<(u64, u64)> {
        let mean = |&(calls, total_us): &(u32, u32)| {
            (calls >= CROWD_CALLS).then(|| u64::from(total_us) * 1000 / u64::from(calls))
        };
        let alone_ns = self.crowds.first().and_then(mean)?;
        let means: Vec<u64> = self.crowds.iter().filter_map(mean).collect();
        let crowded_ns = *means.last()?;
        (means.is_sorted() && crowded_ns > alone_ns).then_some((alone_ns, crowded_ns))
    }
}

impl Kind {
    fn id(self, call: &Observation) -> CaseId {
        CaseId::new(Pattern::SuboptimalEndpoint, combine(call.scope, self as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Found, Made, found, get};
    use crate::detect::subject::{Api, Names};

    fn check(found: &Found, expect: &[&str], spared_cu: f64) {
        let lines = found.lines().into_iter().filter(|line| line.starts_with("suboptimal_endpoint"));
        assert_eq!(lines.collect::<Vec<_>>(), expect);
        let wasted = found.detectors.snapshot().wasted;
        let own = wasted.iter().filter(|wasted| wasted.pattern == Pattern::SuboptimalEndpoint);
        assert_eq!(own.map(|wasted| wasted.amount.cost_ucu).sum::<u64>(), (spared_cu * 1e6) as u64);
    }

    fn reads(count: u64, every_ms: u64, lasting_ms: u64) -> impl Iterator<Item = Made> {
        (0..count).map(move |n| get("/v1/users/7").at_ms(n * every_ms).lasting_ms(lasting_ms).cost(5.0))
    }

    fn better(cost_cu: f64) -> impl Fn(&Names) -> Api {
        move |_| Api {
            alternative: Some(("GET api.test/v2/users/{id}".into(), (cost_cu * 1e6) as u64)),
            ..Api::default()
        }
    }

    fn none(_: &Names) -> Api {
        Api::default()
    }

    #[test]
    fn a_cheaper_endpoint_spares_the_difference() {
        check(&found(reads(50, 3000, 10), better(3.0)), &["suboptimal_endpoint deprecated warning 0"], 100.0);
        check(&found(reads(19, 3000, 10), better(3.0)), &["suboptimal_endpoint deprecated info 0"], 0.0);
        // A better one that costs as much spares nothing.
        check(&found(reads(50, 3000, 10), better(5.0)), &[], 0.0);
        check(&found(reads(50, 3000, 10), none), &[], 0.0);
    }

    #[test]
    fn an_endpoint_that_will_go_is_good_to_know() {
        let by_catalogue = |_: &Names| Api { is_deprecated: true, ..Api::default() };
        check(&found(reads(50, 3000, 10), by_catalogue), &["suboptimal_endpoint deprecated info 0"], 0.0);
        let by_server = reads(50, 3000, 10)
            .map(|made| made.with(|call| call.exchange.signals.response.is_deprecated = true));
        check(&found(by_server, none), &["suboptimal_endpoint deprecated info 0"], 0.0);
    }

    #[test]
    fn slow_is_what_is_slower_than_it_may_be() {
        let slow = found(reads(40, 3000, 900), none).only(Pattern::SuboptimalEndpoint);
        check(&slow, &["suboptimal_endpoint slow info 0"], 0.0);
        assert_eq!((slow.findings[0].calls, slow.findings[0].latency_ns), (21, 21 * 400_000_000));
        check(&found(reads(19, 3000, 900), none), &[], 0.0);
        check(&found(reads(40, 3000, 400), none), &[], 0.0);
        // One call in forty.
        let one =
            reads(40, 3000, 100).chain(std::iter::once(get("/v1/users/7").lasting_ms(900).at_ms(130_000)));
        check(&found(one, none), &[], 0.0);
        let allowed = |_: &Names| Api { slo_ms: Some(2000), ..Api::default() };
        check(&found(reads(40, 3000, 900), allowed), &[], 0.0);
        let waits = |_: &Names| Api { is_long_poll: true, ..Api::default() };
        check(&found(reads(40, 3000, 900), waits), &[], 0.0);
    }

    /// So many calls at once, of which a server takes so many at a time, each for 300 ms, again and again.
    fn crowd(calls: u64, at_a_time: u64) -> impl Iterator<Item = Made> {
        (0..10).flat_map(move |round| {
            (0..calls).map(move |n| {
                let lasting_ms = 300 * (n / at_a_time + 1);
                let made = get("/v1/users/7").at_ms(round * 5000 + n).lasting_ms(lasting_ms);
                made.with(|call| call.conn = n)
            })
        })
    }

    fn slow_is_fine(_: &Names) -> Api {
        Api { slo_ms: Some(60_000), ..Api::default() }
    }

    #[test]
    fn calls_that_queue_are_good_to_know() {
        check(&found(crowd(12, 6), slow_is_fine), &["suboptimal_endpoint h1_queueing info 0"], 0.0);
        // The server takes all of them at once, or they are too few.
        check(&found(crowd(12, 12), slow_is_fine), &[], 0.0);
        check(&found(crowd(5, 1), slow_is_fine), &[], 0.0);
        // Alone they take as long.
        let alone = (0..20).map(|n| get("/v1/users/7").at_ms(60_000 + n * 2000).lasting_ms(900));
        check(
            &found(crowd(12, 6).chain(alone), slow_is_fine),
            &["suboptimal_endpoint h1_queueing info 0"],
            0.0,
        );
        let first = (0..20).map(|n| get("/v1/users/7").at_ms(n * 2000).lasting_ms(900));
        let later = crowd(12, 6).zip(0..).map(|(made, n)| made.at_ms(60_000 + n / 12 * 5000 + n % 12));
        check(&found(first.chain(later), slow_is_fine), &[], 0.0);
    }
}
