//! Given: calls of one pattern in one process and endpoint, and what of them is wasted. Gives: how much it matters, and
//! when there is something new to tell. Refuses to know: other cases, and what makes a pattern.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::finding::{
    Amount, Class, Confidence, Estimate, Evidence, Fact, Finding, FindingId, SAMPLES_MAX, Sample, Severity,
};
use super::observation::Observation;
use super::pattern::{Pattern, Pool};
use super::subject::Names;
use super::totals::Owner;
use crate::keyed::combine;

/// A case that goes on is told anew after so long, when there is anything new; when it matters more than was told, at
/// once. So whoever looks sees what is true now, more or less, and a log does not fill up with it.
const UPDATE_NS: u64 = 10_000_000_000;

/// Time over which the cost of a case is spread at least when its cost an hour is told: one burst is no rate.
const RATE_NS: u64 = 600_000_000_000;

/// A process that has just started does much once: no severity is told before it is so old.
const WARM_UP_NS: u64 = 60_000_000_000;

/// Cost units an hour from which a case is a warning.
const WARNING_CU_PER_HOUR: f64 = 50.0;

/// Share of the cost of its game from which a case is a warning.
const WARNING_SHARE: f64 = 0.2;

/// Cost units an hour from which a case is critical.
const CRITICAL_CU_PER_HOUR: f64 = 1000.0;

/// Calls of an endpoint in an hour, which is the longest time that detectors look at, below which nothing of it is more than
/// good to know.
pub const FEW_CALLS: u64 = 20;

/// Names a case: a pattern, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseId(pub(super) Pattern, pub(super) u64);

/// How far the severity of a case may rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It stays good to know.
    #[default]
    Info,
    /// Its cost decides.
    Scored,
    /// It is a warning whatever it costs.
    Warned,
    /// It harms others.
    Harmful,
}

/// A finding that is not over.
#[derive(Debug)]
pub struct Case {
    /// What is known so far.
    pub finding: Finding,
    /// How far its severity may rise.
    pub grade: Grade,
    idle_ns: u64,
    /// Whose waste it is.
    pub(super) owner: Owner,
    /// Its waste is counted under these.
    pub(super) names: Arc<Names>,
    spent_before_ucu: u64,
    told: Option<Told>,
    /// It stands in the list of those to which something has happened.
    pub(super) is_touched: bool,
    /// The process has just started.
    is_cold: bool,
    /// Its endpoint is called too rarely to say much.
    is_rare: bool,
    /// Many events were lost while it was open.
    is_lossy: bool,
}

/// What was told last of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    at_ns: u64,
    severity: Severity,
    calls: u64,
    overlap_calls: u64,
    wasted: Amount,
    latency_ns: u64,
}

impl Told {
    fn of(finding: &Finding, at_ns: u64) -> Self {
        let Finding { severity, calls, overlap_calls, latency_ns, waste, .. } = *finding;
        Told { at_ns, severity, calls, overlap_calls, wasted: waste.expected, latency_ns }
    }

    fn is_outdated_by(&self, now: &Told) -> bool {
        let is_old = now.at_ns.saturating_sub(self.at_ns) >= UPDATE_NS;
        now.severity > self.severity || is_old && !self.is_same_as(now)
    }

    /// Nothing is different but the time.
    fn is_same_as(&self, now: &Told) -> bool {
        Told { at_ns: now.at_ns, ..*self } == *now
    }
}

/// What it is about is a hash already.
impl Hash for CaseId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1.wrapping_add(self.0 as u64));
    }
}

impl CaseId {
    /// Of a pattern and what it is about: a number that is the same for all calls that belong together.
    pub fn new(pattern: Pattern, about: u64) -> Self {
        CaseId(pattern, about)
    }

    /// Of a pattern in one process and endpoint.
    pub fn of(pattern: Pattern, call: &Observation) -> Self {
        CaseId(pattern, call.scope)
    }
}

/// What is known of the time and the money of a case when it is opened.
pub(super) struct Opened {
    /// When its first call began.
    pub(super) started_ns: u64,
    /// Now.
    pub(super) confirmed_ns: u64,
    /// It is over when nothing was added for so long.
    pub(super) idle_ns: u64,
    /// What its game has spent so far.
    pub(super) spent_ucu: u64,
}

impl Case {
    /// One that a call opens.
    pub(super) fn new(
        id: CaseId,
        call: &Observation,
        owner: Owner,
        names: Arc<Names>,
        opened: &Opened,
    ) -> Self {
        Case {
            finding: finding(id, call, &names, opened),
            grade: Grade::Info,
            idle_ns: opened.idle_ns,
            owner,
            names,
            spent_before_ucu: opened.spent_ucu,
            told: None,
            is_touched: false,
            is_cold: false,
            is_rare: false,
            is_lossy: false,
        }
    }

    /// Takes note of a call that something is added for.
    pub(super) fn take(&mut self, call: &Observation) {
        self.finding.last_ns = self.finding.last_ns.max(call.ended_ns);
        self.is_cold = call.process_age_ns.is_some_and(|age_ns| age_ns < WARM_UP_NS);
    }

    /// It is over behind this, if nothing is added until then.
    pub(super) fn idle_at_ns(&self) -> u64 {
        self.finding.last_ns.saturating_add(self.idle_ns)
    }

    /// Judges it, and gives it when there is something new to tell. `spent_ucu` is what its game has spent so far, `calls`
    /// what its endpoint has been called in the last hour, and `lost_share` the part of all events that was lost if that is
    /// much.
    pub(super) fn tell(
        &mut self,
        now_ns: u64,
        spent_ucu: u64,
        calls: Option<u64>,
        lost_share: Option<f64>,
    ) -> Option<Arc<Finding>> {
        if let Some(share) = lost_share {
            self.is_lossy = true;
            self.finding.evidence.set("lost_share", Fact::Ratio(share));
        }
        // What moves too many bytes does so in few calls; and a case of an authority has a threshold of its own.
        let is_of_bytes = self.finding.pattern.pool() == Pool::Bytes;
        self.is_rare = !is_of_bytes && calls.is_some_and(|calls| calls < FEW_CALLS);
        self.judge(spent_ucu.saturating_sub(self.spent_before_ucu));
        let is_over = self.idle_at_ns() < now_ns;
        let now = Told::of(&self.finding, now_ns);
        if !is_over && self.told.is_some_and(|told| !told.is_outdated_by(&now)) {
            return None;
        }
        self.told = Some(now);
        self.finding.is_over = is_over;
        Some(Arc::new(self.finding.clone()))
    }

    /// It has to be looked at again though nothing more happens to it: something is told later, or it matters more as soon as
    /// its endpoint is called often enough.
    pub(super) fn is_pending(&self) -> bool {
        self.is_rare && self.grade > Grade::Info
            || self.told.is_none_or(|told| !told.is_same_as(&Told::of(&self.finding, told.at_ns)))
    }

    /// Counts a call that belongs to it, and keeps it as a sample while there is room.
    pub fn count(&mut self, sample: Sample) {
        let Finding { calls, evidence, started_ns, last_ns, .. } = &mut self.finding;
        *calls += 1;
        *started_ns = (*started_ns).min(sample.started_ns);
        *last_ns = (*last_ns).max(sample.started_ns);
        if evidence.samples.len() < SAMPLES_MAX {
            evidence.samples.push(sample);
        }
    }

    /// Lets its severity rise so far, never less far than before.
    pub fn allow(&mut self, grade: Grade) {
        self.grade = self.grade.max(grade);
    }

    /// Adds waste that holds.
    pub(super) fn add(&mut self, amount: Amount, class: Class) {
        let Finding { waste, class: own, .. } = &mut self.finding;
        *own = if waste.expected == Amount::default() { class } else { (*own).max(class) };
        waste.expected = waste.expected.plus(amount);
    }

    /// Lets the severity rise to what the cost and the grade make of it. It does not fall again before the case is over,
    /// so that alerts do not flap.
    ///
    /// `spent_ucu` is what its game has spent since it was opened; what it wasted may have been spent before.
    fn judge(&mut self, spent_ucu: u64) {
        let Finding { severity, confidence, waste, started_ns, last_ns, .. } = &mut self.finding;
        let cost_ucu = waste.expected.cost_ucu as f64;
        let hours = last_ns.saturating_sub(*started_ns).max(RATE_NS) as f64 / 3.6e12;
        let sureness = if self.is_lossy { confidence.factor() / 2.0 } else { confidence.factor() };
        let score = cost_ucu / 1e6 / hours * sureness;
        let is_much = score >= WARNING_CU_PER_HOUR
            || score >= WARNING_CU_PER_HOUR / 10.0
                && cost_ucu >= WARNING_SHARE * (spent_ucu as f64 + cost_ucu);
        let judged = match self.grade {
            _ if self.is_cold || self.is_rare => Severity::Info,
            Grade::Info => Severity::Info,
            Grade::Harmful => Severity::Critical,
            _ if score >= CRITICAL_CU_PER_HOUR => Severity::Critical,
            Grade::Warned => Severity::Warning,
            Grade::Scored if is_much => Severity::Warning,
            Grade::Scored => Severity::Info,
        };
        *severity = (*severity).max(judged);
    }
}

impl Sample {
    /// The last that was seen of it.
    pub fn ended_ns(&self) -> u64 {
        self.started_ns.saturating_add(self.duration_ns)
    }

    /// Of a call; `what` is a number of what it asked for.
    pub fn of(call: &Observation, what: u64) -> Self {
        Sample {
            seq: call.seq,
            started_ns: call.started_ns,
            duration_ns: call.ended_ns - call.started_ns,
            status: call.status,
            resource: combine(what, 0) as u32,
        }
    }
}

fn finding(id: CaseId, call: &Observation, names: &Names, opened: &Opened) -> Finding {
    let CaseId(pattern, about) = id;
    let Opened { started_ns, confirmed_ns, .. } = *opened;
    Finding {
        id: FindingId::of(pattern, about, started_ns),
        pattern,
        kind: "",
        game: Arc::clone(&names.game),
        endpoint: Arc::clone(&names.endpoint),
        method: Arc::clone(&names.method),
        pid: call.pid,
        started_ns,
        confirmed_ns,
        last_ns: call.ended_ns,
        is_over: false,
        severity: Severity::Info,
        confidence: Confidence::Heuristic,
        // Until something is claimed, nothing is proven.
        class: Class::Potential,
        calls: 0,
        overlap_calls: 0,
        waste: Estimate { low_share: 1.0, high_share: 1.0, ..Estimate::default() },
        latency_ns: 0,
        evidence: Evidence::default(),
        remedy: String::new(),
    }
}
