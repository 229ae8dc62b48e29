//! Given: writes. Gives: processes that write the same thing again and again though its last value counts, and those that
//! send many small writes that could be one. Refuses to know: what is written.
//!
//! `coalescable`: one resource is replaced often. Of the writes of half a minute one had to be made; that a write repeated
//! the one before it is proof, that it was soon replaced is not, as somebody else may have read it in between. `POST`
//! replaces nothing (RFC 9110 §9.3.3) unless the catalogue says so.
//!
//! `unbatched`: many small writes of one endpoint, to resources that differ or for telemetry, which no order binds. One in
//! so many as a batch holds had to be made. A process that stops saves everything once: without telemetry, only what
//! comes again after half a minute is counted.

use std::sync::Arc;

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply, Verb};
use super::pattern::Pattern;
use super::subject::{Api, Subject};
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::ChattyWrites,
    thresholds: &[
        Threshold {
            name: "same_writes",
            default: 6.0,
            what: "writes of one resource in a minute from which they are told, at most 8",
        },
        Threshold {
            name: "warn_same_writes",
            default: 20.0,
            what: "such writes of one endpoint from which they are a warning",
        },
        Threshold { name: "keep_s", default: 30.0, what: "time in which one write of a resource is enough" },
        Threshold {
            name: "burst_writes",
            default: 20.0,
            what: "small writes in ten seconds that could be one, at most 32",
        },
        Threshold { name: "small_bytes", default: 1024.0, what: "body of a small write" },
    ],
    full_bytes: RESOURCES * Table::<Resource>::ENTRY_BYTES
        + ENDPOINTS * (Table::<Endpoint>::ENTRY_BYTES + 2 * PENDING_MAX * size_of::<(u64, Class)>()),
    make: |values, budget| Box::new(ChattyWrites::new(values, budget)),
};

/// Resources that are followed.
const RESOURCES: usize = 12 * 1024;

/// Endpoints of processes that are followed.
const ENDPOINTS: usize = 384;

/// Writes that wait until there are enough, and are then claimed.
const PENDING_MAX: usize = 64;

const SECOND_NS: u64 = 1_000_000_000;

/// Time in which so many writes of one resource are too many.
const SAME_NS: u64 = 60 * SECOND_NS;

/// Time in which so many small writes are a burst.
const BURST_NS: u64 = 10 * SECOND_NS;

/// What comes again after so long was not the end of the process.
const STOP_NS: u64 = 30 * SECOND_NS;

/// A case is over after so long.
const IDLE_NS: u64 = 600 * SECOND_NS;

/// Writes of one batch when the catalogue does not say.
const BATCH_MAX: u64 = 50;

#[derive(Debug)]
struct ChattyWrites {
    rules: Rules,
    resources: Table<Resource>,
    endpoints: Table<Endpoint>,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    same_writes: usize,
    warn_same_writes: u64,
    keep_ns: u64,
    burst_writes: usize,
    small_bytes: u64,
}

/// The last writes of one resource by one process.
#[derive(Clone, Copy, Debug, Default)]
struct Resource {
    /// Beginnings of the last, numbers modulo 2^32, and how those are wasted that are not told yet.
    last: Ring<(u64, u32, Option<Class>), 8>,
    /// When the one began that had to be made.
    kept_ns: Option<u64>,
    request: u64,
}

/// The writes of one endpoint by one process.
#[derive(Debug, Default)]
struct Endpoint {
    /// Wasted writes of single resources.
    same: Pending,
    /// How much later than they could those were made that are kept, all together.
    late_ns: u64,
    /// Wasted writes of bursts.
    burst: Pending,
    /// Beginnings, numbers and resources of the last small ones.
    last: Ring<(u64, u64, u64), 32>,
    /// How many of the last differ from each other.
    distinct: usize,
    /// How many of the last belong to no burst yet.
    fresh: usize,
    /// Writes of the burst that goes on.
    writes: u64,
    last_burst_ns: Option<u64>,
    /// It has come again.
    recurs: bool,
}

/// What is wrong with writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Coalescable,
    Unbatched,
}

/// Wasted writes.
#[derive(Debug, Default)]
struct Pending {
    seqs: Vec<(u64, Class)>,
    is_claimed: bool,
}

/// The last few of many.
#[derive(Clone, Copy, Debug)]
struct Ring<T, const N: usize> {
    items: [T; N],
    pushed: usize,
}

impl ChattyWrites {
    fn new(values: &Values, budget: Budget) -> Self {
        ChattyWrites {
            rules: Rules {
                same_writes: (values.count("same_writes") as usize).clamp(2, 8),
                warn_same_writes: values.count("warn_same_writes"),
                keep_ns: values.ns("keep_s"),
                burst_writes: (values.count("burst_writes") as usize).clamp(2, 32),
                small_bytes: values.count("small_bytes"),
            },
            resources: Table::new(budget.entries(RESOURCES)),
            endpoints: Table::new(budget.entries(ENDPOINTS)),
        }
    }
}

impl Detector for ChattyWrites {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if !matches!(call.verb, Verb::Write | Verb::IdempotentWrite) || call.reply != Reply::Success {
            return;
        }
        let Some(subject) = desk.subject(call) else { return };
        let api = Arc::clone(&subject.api);
        if api.is_transactional || api.is_safe_post {
            return;
        }
        if replaces(subject) && !api.is_telemetry {
            self.same(call, desk);
        }
        if (api.is_telemetry || api.batch.is_some()) && call.request_body_bytes <= self.rules.small_bytes {
            self.burst(call, &api, desk);
        }
    }

    fn state(&self) -> State {
        State::of([
            (self.resources.len(), self.resources.evicted()),
            (self.endpoints.len(), self.endpoints.evicted()),
        ])
    }
}

impl ChattyWrites {
    /// A resource is replaced.
    fn same(&mut self, call: &Observation, desk: &mut Desk) {
        let ChattyWrites { rules, resources, endpoints } = self;
        let id = combine(call.resource, call.parts.query);
        let is_over = |resource: &Resource| resource.is_over(call.started_ns, rules.keep_ns);
        let resource = resources.of_live(combine(id, call.process), is_over, Resource::default);
        let late_ns = resource.take(call, rules.keep_ns);
        let Some(first_ns) = resource.last.nth_last(rules.same_writes).map(|(started_ns, ..)| started_ns)
        else {
            return;
        };
        if call.started_ns.saturating_sub(first_ns) > SAME_NS {
            return;
        }
        let endpoint = endpoints.of(call.scope, Endpoint::default);
        let case = desk.case(Kind::Coalescable.id(call), call, first_ns, IDLE_NS);
        if case.finding.calls == 0 {
            endpoint.late_ns = 0;
            case.finding.kind = "coalescable";
            case.finding.confidence = Confidence::Strong;
            case.finding.calls = rules.same_writes as u64 - 1;
            case.finding.remedy =
                "Keep the value and write it every 30 to 60 s, and when its player leaves or the \
                                   process stops."
                    .to_owned();
        }
        case.count(Sample::of(call, id));
        let span_ns = call.started_ns.saturating_sub(first_ns) / (rules.same_writes as u64 - 1).max(1);
        case.finding.evidence.set("interval", Fact::Ns(span_ns));
        case.finding.evidence.set("writes_60s", Fact::Count(rules.same_writes as u64));
        // Whoever wrote at every full half minute would have kept more of them.
        endpoint.late_ns += late_ns;
        case.finding.waste.fewer_calls = endpoint.late_ns.div_ceil(rules.keep_ns.max(1));
        let is_warning = case.finding.calls >= rules.warn_same_writes;
        for (_, seq, class) in resource.last.latest_mut(rules.same_writes) {
            if let Some(class) = class.take() {
                let distance = seq.wrapping_sub(call.seq as u32).cast_signed();
                endpoint.same.wait(call.seq.wrapping_add_signed(distance.into()), class);
            }
        }
        endpoint.same.claim(Kind::Coalescable.id(call), is_warning, whole(call), desk);
    }

    /// A small write that could be put together with others.
    fn burst(&mut self, call: &Observation, api: &Api, desk: &mut Desk) {
        let ChattyWrites { rules, endpoints, .. } = self;
        let endpoint = endpoints.of(call.scope, Endpoint::default);
        let needed = rules.burst_writes;
        let id = combine(call.resource, call.parts.query);
        let again = endpoint.last.latest(endpoint.distinct).position(|&(_, _, known)| known == id);
        endpoint.distinct = again.unwrap_or(endpoint.distinct) + 1;
        endpoint.last.push((call.started_ns, call.seq, id));
        endpoint.distinct = endpoint.distinct.min(endpoint.last.len());
        endpoint.fresh = (endpoint.fresh + 1).min(needed);
        let first_ns = endpoint.last.nth_last(needed).map(|(started_ns, ..)| started_ns);
        let is_burst = first_ns.is_some_and(|first_ns| call.started_ns.saturating_sub(first_ns) <= BURST_NS)
            && (api.is_telemetry || endpoint.distinct >= needed);
        let Some(first_ns) = first_ns.filter(|_| is_burst) else {
            endpoint.writes = 0;
            return;
        };
        if endpoint.writes == 0
            && endpoint.last_burst_ns.is_some_and(|last_ns| first_ns.saturating_sub(last_ns) > STOP_NS)
        {
            endpoint.recurs = true;
        }
        endpoint.last_burst_ns = Some(call.started_ns);
        let batch = api.batch.as_ref().map_or(BATCH_MAX, |batch| u64::from(batch.max)).max(1);
        let class = if api.batch.is_some() { Class::Avoidable } else { Class::Potential };
        let fresh = std::mem::take(&mut endpoint.fresh);
        let mut before: Vec<u64> = endpoint.last.latest(fresh).map(|&(_, seq, _)| seq).collect();
        before.reverse();
        for seq in before {
            if !endpoint.writes.is_multiple_of(batch) {
                endpoint.burst.wait(seq, class);
            }
            endpoint.writes += 1;
        }
        let case = desk.case(Kind::Unbatched.id(call), call, first_ns, IDLE_NS);
        case.finding.kind = "unbatched";
        case.finding.confidence =
            if api.batch.is_some() { Confidence::Strong } else { Confidence::Heuristic };
        case.finding.calls += fresh as u64 - 1;
        case.count(Sample::of(call, id));
        let evidence = &mut case.finding.evidence;
        evidence.set("writes", Fact::Count(endpoint.writes));
        evidence.set("interval", Fact::Ns(call.started_ns.saturating_sub(first_ns) / needed as u64));
        if let Some(batch) = &api.batch {
            evidence.say("batch_endpoint", &batch.endpoint);
            evidence.set("batch_max", Fact::Count(batch.max.into()));
        }
        if case.finding.remedy.is_empty() {
            case.finding.remedy = match &api.batch {
                Some(batch) => {
                    format!("Collect writes and send up to {} with {}.", batch.max, batch.endpoint)
                }
                None => "Collect events for some seconds and send them together.".to_owned(),
            };
        }
        let is_warning = api.is_telemetry || endpoint.recurs;
        let spared = api.batch.as_ref().map_or(0, |batch| batch.cost_ucu / u64::from(batch.max).max(1));
        let amount = Amount {
            bytes: call.head_bytes(),
            cost_ucu: call.cost_ucu.saturating_sub(spared),
            ..whole(call)
        };
        endpoint.burst.claim(Kind::Unbatched.id(call), is_warning, amount, desk);
    }
}

impl Kind {
    fn id(self, call: &Observation) -> CaseId {
        CaseId::new(Pattern::ChattyWrites, combine(call.scope, self as u64))
    }
}

fn whole(call: &Observation) -> Amount {
    Amount { calls: 1, bytes: call.bytes(), server_ns: call.server_ns, cost_ucu: call.cost_ucu }
}

/// What was there before is gone (RFC 9110 §9.3.4, RFC 5789).
fn replaces(subject: &Subject) -> bool {
    match &*subject.names.method {
        "PUT" | "PATCH" => true,
        "POST" => subject.api.is_replacing_post,
        _ => false,
    }
}

impl Resource {
    /// It was last written so long ago that another write has nothing to do with it.
    fn is_over(&self, now_ns: u64, keep_ns: u64) -> bool {
        let last_ns = self.last.nth_last(1).map_or(0, |(started_ns, ..)| started_ns);
        now_ns.saturating_sub(last_ns) > SAME_NS.max(keep_ns)
    }

    /// How much later than it could is one made that is kept.
    fn take(&mut self, call: &Observation, keep_ns: u64) -> u64 {
        let since_kept_ns = self.kept_ns.map(|kept_ns| call.started_ns.saturating_sub(kept_ns));
        let late_ns = since_kept_ns.map_or(0, |since_ns| since_ns.saturating_sub(keep_ns).min(keep_ns));
        let class = match since_kept_ns {
            Some(since_ns) if since_ns < keep_ns => {
                let is_same = call.request == self.request;
                Some(if is_same { Class::Avoidable } else { Class::Potential })
            }
            _ => {
                self.kept_ns = Some(call.started_ns);
                None
            }
        };
        self.request = call.request;
        self.last.push((call.started_ns, call.seq as u32, class));
        late_ns
    }
}

impl Pending {
    fn wait(&mut self, seq: u64, class: Class) {
        // Those that find no room are not claimed: the waste is rather told too small.
        if self.seqs.len() < PENDING_MAX {
            self.seqs.push((seq, class));
        }
    }

    fn claim(&mut self, id: CaseId, is_warning: bool, amount: Amount, desk: &mut Desk) {
        // A case that is over takes what it has claimed with it.
        self.is_claimed = is_warning
            || self.is_claimed && desk.open_case(id).is_some_and(|case| case.grade == Grade::Scored);
        if !self.is_claimed {
            return;
        }
        if let Some(case) = desk.open_case(id) {
            case.allow(Grade::Scored);
        }
        for (seq, class) in self.seqs.drain(..) {
            desk.claim(id, seq, amount, class);
        }
    }
}

impl<T: Copy + Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Ring { items: [T::default(); N], pushed: 0 }
    }
}

impl<T: Copy, const N: usize> Ring<T, N> {
    fn push(&mut self, item: T) {
        if let Some(place) = self.items.get_mut(self.pushed % N) {
            *place = item;
        }
        self.pushed += 1;
    }

    fn len(&self) -> usize {
        self.pushed.min(N)
    }

    /// The last is the first.
    fn nth_last(&self, nth: usize) -> Option<T> {
        self.latest(nth).nth(nth.checked_sub(1)?).copied()
    }

    /// The last so many, the last one first.
    fn latest(&self, count: usize) -> impl Iterator<Item = &T> {
        (1..=count.min(self.len())).filter_map(|back| self.items.get((self.pushed - back) % N))
    }

    /// The last so many, in no order that matters.
    fn latest_mut(&mut self, count: usize) -> impl Iterator<Item = &mut T> {
        let (pushed, count) = (self.pushed, count.min(self.len()));
        let is_late = move |at: usize| (pushed + N - 1 - at) % N < count;
        self.items.iter_mut().enumerate().filter(move |&(at, _)| is_late(at)).map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests;
