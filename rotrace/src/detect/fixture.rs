//! Given: a few words on calls. Gives: calls for the tests of detectors, and what the detectors make of them. Refuses to
//! know: thresholds.

use std::sync::Arc;

use super::finding::{Amount, Class, Finding, Severity};
use super::labels::Labels;
use super::observation::Observation;
use super::subject::{Api, Names};
use super::{ConnectionEnd, Detectors, Pattern, Settings};
use crate::call::{Call, Process};
use crate::exchange::Outcome;
use crate::exchange::ids::Ids;
use crate::exchange::signals::Fingerprint;
use crate::keyed::Key;
use crate::summary::fixture::call;

const MS: u64 = 1_000_000;

/// Processes of these tests started long ago.
const EPOCH_NS: u64 = 3_600_000 * MS;

/// A call to be changed by the test: a `GET` of a complete answer that took 10 ms and moved 100 + 0 and 200 + 1000 bytes,
/// for one cost unit.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    call: Call,
    seq: u64,
    lasting_ns: u64,
    cost_ucu: u64,
    closing: Option<(u64, Option<bool>)>,
}

/// A call of the game `chess`. The template has `{id}` for every segment that is a number.
pub(crate) fn get(target: &str) -> Made {
    let path = target.split('?').next().unwrap_or_default();
    let is_number = |segment: &&str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    let template: Vec<&str> =
        path.split('/').map(|segment| if is_number(&segment) { "{id}" } else { segment }).collect();
    let mut call = call("chess", &format!("api.test{}", template.join("/")));
    call.exchange.target = target.into();
    call.exchange.started_ns = EPOCH_NS;
    call.path = path.into();
    Made { call, seq: 0, lasting_ns: 10 * MS, cost_ucu: 1_000_000, closing: None }
}

/// A call with another method.
pub(crate) fn send(method: &str, target: &str) -> Made {
    get(target).with(|call| call.exchange.method = method.to_owned().into())
}

impl Made {
    /// Its number, for a test that looks at single observations.
    pub(crate) fn seq(mut self, seq: u64) -> Self {
        self.seq = seq;
        self
    }

    /// When it began, in milliseconds of the test.
    pub(crate) fn at_ms(mut self, at_ms: u64) -> Self {
        self.call.exchange.started_ns = EPOCH_NS + at_ms * MS;
        self
    }

    /// When it begins, in milliseconds of the test.
    pub(crate) fn started_ms(&self) -> u64 {
        (self.call.exchange.started_ns - EPOCH_NS) / MS
    }

    /// How long it took. The first byte came with the last.
    pub(crate) fn lasting_ms(mut self, lasting_ms: u64) -> Self {
        self.lasting_ns = lasting_ms * MS;
        self
    }

    /// The status of the answer.
    pub(crate) fn status(self, status: u16) -> Self {
        self.with(|call| call.exchange.status = Some(status))
    }

    /// The process that made it.
    pub(crate) fn pid(self, pid: u32) -> Self {
        self.with(|call| call.process = Arc::new(Process { pid, ..Process::clone(&call.process) }))
    }

    /// What it cost, in cost units.
    pub(crate) fn cost(mut self, cost_cu: f64) -> Self {
        self.cost_ucu = (cost_cu * 1e6) as u64;
        self
    }

    /// Its connection ends so long after it; says who closed it, as in [`ConnectionEnd`].
    pub(crate) fn closing(mut self, after_ms: u64, by_client: Option<bool>) -> Self {
        self.closing = Some((after_ms * MS, by_client));
        self
    }

    /// What the body of the answer can be recognised by.
    pub(crate) fn answer(self, hash: u64) -> Self {
        self.with(|call| {
            call.exchange.signals.response.body = Some(Fingerprint { hash, is_whole: true });
        })
    }

    /// All the ids that the answer holds; without a word nobody has looked.
    pub(crate) fn brings(self, ids: &[&str]) -> Self {
        let ids = Ids::of(&Key::default(), ids.iter().map(|id| id.as_bytes()));
        self.with(|call| call.exchange.signals.response.ids = ids)
    }

    /// The `ETag` of the answer.
    pub(crate) fn etag(self, hash: u64) -> Self {
        self.with(|call| call.exchange.signals.response.etag = Some(hash))
    }

    /// How long the answer holds, in seconds.
    pub(crate) fn max_age(self, seconds: u32) -> Self {
        self.with(|call| call.exchange.signals.response.max_age_s = Some(seconds))
    }

    /// How long the server wants the client to wait, in seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.with(|call| call.exchange.signals.response.retry_after_s = Some(seconds))
    }

    /// Payload of the answer.
    pub(crate) fn payload(self, bytes: u64) -> Self {
        self.with(|call| call.exchange.response_body_bytes = Some(bytes))
    }

    /// There was no answer: the client gave up.
    pub(crate) fn unanswered(self) -> Self {
        self.with(|call| call.exchange.status = None)
    }

    /// Anything else.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Call)) -> Self {
        change(&mut self.call);
        self
    }

    /// The call.
    pub(crate) fn call(&self) -> Call {
        let mut call = self.call.clone();
        let exchange = &mut call.exchange;
        let ended_ns = exchange.started_ns + self.lasting_ns;
        exchange.first_byte_ns = exchange.status.map(|_| ended_ns);
        exchange.ended_ns = Some(ended_ns);
        if exchange.status.is_none() {
            exchange.outcome = Outcome::Aborted;
        }
        call
    }

    /// What detectors see of it.
    pub(crate) fn observation(&self) -> Observation {
        let mut seen = Observation::default();
        let is_one = seen.fill(&self.call(), self.seq, self.cost_ucu, &mut Labels::new(Key::default()));
        assert!(is_one, "a call that was made");
        seen
    }
}

/// What all detectors make of calls: they are put in the order of their ends, time passes a second at a time, and ten
/// more minutes go by at the end.
pub(crate) struct Found {
    /// Every finding as it was told last, in the order of patterns.
    pub(crate) findings: Vec<Finding>,
    /// The detectors, to ask for more.
    pub(crate) detectors: Detectors,
}

/// Hands calls to all detectors. `api` says what the catalogue has of an endpoint.
pub(crate) fn found(calls: impl IntoIterator<Item = Made>, api: impl Fn(&Names) -> Api) -> Found {
    let mut calls: Vec<Made> = calls.into_iter().collect();
    let end_of = |made: &Made| made.call.exchange.started_ns + made.lasting_ns;
    calls.sort_by_key(end_of);
    let end_of_connection = |made: &Made| {
        let (after_ns, by_client) = made.closing?;
        Some(ConnectionEnd { conn: made.call.conn, at_ns: end_of(made) + after_ns, by_client })
    };
    let mut ends: Vec<ConnectionEnd> = calls.iter().filter_map(end_of_connection).collect();
    ends.sort_by_key(|end| end.at_ns);
    let mut ends = ends.into_iter().peekable();
    let mut detectors = Detectors::new(&Settings::default());
    let mut told: Vec<Finding> = Vec::new();
    let mut tell = |changes: Vec<Arc<Finding>>| {
        for finding in changes.into_iter().map(Arc::unwrap_or_clone) {
            match told.iter_mut().find(|known| known.id == finding.id) {
                Some(known) => *known = finding,
                None => told.push(finding),
            }
        }
    };
    let mut now_ns = EPOCH_NS;
    for made in &calls {
        let call = made.call();
        let ended_ns = call.exchange.ended_ns.expect("it has ended");
        while let Some(end) = ends.next_if(|end| end.at_ns < ended_ns) {
            detectors.connection_ended(&end);
        }
        while now_ns + 1000 * MS <= ended_ns {
            now_ns += 1000 * MS;
            tell(detectors.tick(now_ns));
        }
        detectors.observe(&call, made.cost_ucu, &mut |names| Arc::new(api(names)));
    }
    ends.for_each(|end| detectors.connection_ended(&end));
    for _ in 0..600 {
        now_ns += 1000 * MS;
        tell(detectors.tick(now_ns));
    }
    tell(detectors.finish());
    told.sort_by_key(|finding| (finding.pattern, finding.started_ns));
    Found { findings: told, detectors }
}

impl Found {
    /// Findings as lines: pattern, kind, severity, wasted calls.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |finding: &Finding| {
            let Finding { pattern, kind, severity, waste, .. } = finding;
            format!("{} {kind} {} {}", pattern.name(), severity.name(), waste.expected.calls)
        };
        self.findings.iter().map(line).collect()
    }

    /// The same without the findings of other patterns.
    pub(crate) fn only(mut self, pattern: Pattern) -> Self {
        self.findings.retain(|finding| finding.pattern == pattern);
        self
    }

    /// The same of one pattern.
    pub(crate) fn lines_of(&self, pattern: Pattern) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.split(' ').next() == Some(pattern.name())).collect()
    }

    /// Of each finding of one pattern, how many calls are wasted at least, as is claimed, and at most.
    pub(crate) fn bounds_of(&self, pattern: Pattern) -> Vec<[u64; 3]> {
        let findings = self.findings.iter().filter(|finding| finding.pattern == pattern);
        let amounts = findings.map(|Finding { waste, .. }| [waste.low(), waste.expected, waste.high()]);
        amounts.map(|amounts| amounts.map(|amount| amount.calls)).collect()
    }

    /// The findings of one pattern are at most good to know, and nothing was wasted.
    pub(crate) fn is_harmless(&self, pattern: Pattern) -> bool {
        let mut findings = self.findings.iter().filter(|finding| finding.pattern == pattern);
        findings.all(|finding| finding.severity == Severity::Info) && self.wasted(pattern) == (0, 0)
    }

    /// Calls that the ledger has counted for a pattern, avoidable and potential.
    pub(crate) fn wasted(&self, pattern: Pattern) -> (u64, u64) {
        self.counted(pattern, |amount| amount.calls)
    }

    /// Bytes that the ledger has counted for a pattern, avoidable and potential.
    pub(crate) fn wasted_bytes(&self, pattern: Pattern) -> (u64, u64) {
        self.counted(pattern, |amount| amount.bytes)
    }

    fn counted(&self, pattern: Pattern, part: impl Fn(Amount) -> u64) -> (u64, u64) {
        let wasted = self.detectors.snapshot().wasted;
        let of = |class| {
            let claims = wasted.iter().filter(|wasted| wasted.pattern == pattern && wasted.class == class);
            claims.map(|wasted| part(wasted.amount)).sum()
        };
        (of(Class::Avoidable), of(Class::Potential))
    }
}
