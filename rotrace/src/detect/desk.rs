//! Given: what detectors say of calls. Gives: cases, each the finding of one pattern in one process and endpoint from its
//! first call to its end, and their waste in the ledger. Refuses to know: what makes a pattern.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::detector::{Budget, State};
use super::finding::{
    Amount, Class, Confidence, Estimate, Evidence, Fact, Finding, FindingId, SAMPLES_MAX, Sample, Severity,
};
use super::ledger::{Claim, Ledger, Outcome};
use super::loss::Loss;
use super::observation::{Observation, Verb};
use super::pattern::{Pattern, Pool};
use super::request::{Repeat, Requests};
use super::subject::{Api, Names, Subject};
use super::table::Table;
use super::totals::Owner;
use crate::keyed::combine;
use crate::summary::MAX_GAMES;

/// Endpoints of games that are remembered unless the budget says otherwise; 4 MiB.
const SUBJECTS: usize = 8192;

/// Cases that are open at one time; another one ends the oldest, which is counted.
pub const CASES_MAX: usize = 4096;

/// A case that goes on is told anew after so long, when there is anything new; when it matters more than was told, at
/// once. So whoever looks sees what is true now, more or less, and a log does not fill up with it.
const UPDATE_NS: u64 = 10_000_000_000;

/// Games whose cost so far is remembered: all that there are at one time, and those of the while before.
const SPENDERS_MAX: usize = 2 * MAX_GAMES;

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

/// Part of the events that may be lost before findings count half: what was not seen may have been what speaks against them.
const LOSS_SHARE: f64 = 0.05;

/// Where detectors put what they find.
#[derive(Debug)]
pub struct Desk {
    /// The claims.
    pub(super) ledger: Ledger,
    pub(super) subjects: Table<Subject>,
    /// What was asked before, and how it was answered.
    pub(super) requests: Requests,
    /// Of the call that detectors look at.
    repeat: Repeat,
    /// Cost of each game so far.
    pub(super) spent_ucu: Table<u64>,
    cases: BTreeMap<CaseId, Case>,
    changes: Vec<Finding>,
    evicted_cases: u64,
    pub(super) loss: Loss,
    pub(super) now_ns: u64,
    /// Detectors have seen all calls that began before, but for late ones.
    pub(super) passed_ns: u64,
}

/// Names a case: a pattern, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseId(Pattern, u64);

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
    owner: Owner,
    /// Its waste is counted under these.
    names: Arc<Names>,
    spent_before_ucu: u64,
    told: Option<Told>,
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

impl Desk {
    /// Memory of what it keeps for all detectors, when that is full.
    pub(super) const FULL_BYTES: usize =
        Ledger::FULL_BYTES + SUBJECTS * Table::<Subject>::ENTRY_BYTES + Requests::FULL_BYTES;

    pub(super) fn new(budget: Budget) -> Self {
        Desk {
            ledger: Ledger::new(budget),
            subjects: Table::new(budget.entries(SUBJECTS)),
            requests: Requests::new(budget),
            repeat: Repeat::default(),
            spent_ucu: Table::new(SPENDERS_MAX),
            cases: BTreeMap::new(),
            changes: Vec::new(),
            evicted_cases: 0,
            loss: Loss::default(),
            now_ns: 0,
            passed_ns: 0,
        }
    }

    /// The endpoint of a call. It was registered when the call was seen; should it have made room since, nothing is
    /// known of it.
    pub fn subject(&self, call: &Observation) -> Option<&Subject> {
        self.subjects.peek(call.endpoint)
    }

    /// Looks up what a call repeats, before detectors look at it.
    pub(super) fn remember(&mut self, call: &Observation) {
        let is_safe_post = || self.subject(call).is_some_and(|subject| subject.api.is_safe_post);
        let is_read = call.verb == Verb::Read || call.verb == Verb::Write && is_safe_post();
        self.repeat = self.requests.take(call, is_read);
    }

    /// What the call that detectors look at repeats.
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// The calls of a request, as in [`Repeat::request`], come at an even pace.
    pub fn is_paced(&self, request: u64) -> bool {
        self.requests.is_paced(request)
    }

    /// What the catalogue knows of the endpoint of a call.
    pub fn api(&self, call: &Observation) -> Arc<Api> {
        self.subject(call).map(|subject| Arc::clone(&subject.api)).unwrap_or_default()
    }

    /// What an endpoint is called, as in [`Observation::endpoint`].
    pub fn endpoint_name(&self, endpoint: u64) -> Arc<str> {
        let known = self.subjects.peek(endpoint).map(|subject| Arc::clone(&subject.names.endpoint));
        known.unwrap_or_else(|| Names::unknown().endpoint)
    }

    /// The case of a pattern and what it is about, opened by this call when there is none. It ends when nothing was
    /// added for `idle_ns`. `started_ns` is when its first call began.
    pub fn case(&mut self, id: CaseId, call: &Observation, started_ns: u64, idle_ns: u64) -> &mut Case {
        let names = || Names::clone(self.subject(call).map_or(&Names::unknown(), |subject| &subject.names));
        let named = (!self.cases.contains_key(&id)).then(names);
        self.case_about(id, call, call.endpoint, named, started_ns, idle_ns)
    }

    /// The same for a case that is about an authority.
    pub fn authority_case(
        &mut self,
        id: CaseId,
        call: &Observation,
        started_ns: u64,
        idle_ns: u64,
    ) -> &mut Case {
        let names = || self.subject(call).map_or_else(Names::unknown, |subject| subject.names.of_authority());
        let named = (!self.cases.contains_key(&id)).then(names);
        self.case_about(id, call, combine(call.authority, call.game), named, started_ns, idle_ns)
    }

    /// `named` is there when the case is not open.
    fn case_about(
        &mut self,
        id: CaseId,
        call: &Observation,
        about: u64,
        named: Option<Names>,
        started_ns: u64,
        idle_ns: u64,
    ) -> &mut Case {
        if named.is_some() {
            self.make_room();
        }
        let Desk { cases, spent_ucu, now_ns, .. } = self;
        let case = cases.entry(id).or_insert_with(|| {
            let names = Arc::new(named.unwrap_or_else(Names::unknown));
            Case {
                finding: finding(id, call, &names, started_ns, (*now_ns).max(call.started_ns)),
                grade: Grade::Info,
                idle_ns,
                owner: Owner { endpoint: about, game: call.game },
                names,
                spent_before_ucu: spent_ucu.peek(call.game).copied().unwrap_or(0),
                told: None,
                is_cold: false,
                is_rare: false,
                is_lossy: false,
            }
        });
        case.finding.last_ns = case.finding.last_ns.max(call.ended_ns);
        case.is_cold = call.process_age_ns.is_some_and(|age_ns| age_ns < WARM_UP_NS);
        case
    }

    /// The case, when it is open.
    pub fn open_case(&mut self, id: CaseId) -> Option<&mut Case> {
        self.cases.get_mut(&id)
    }

    /// Claims what of a call is wasted for an open case.
    pub fn claim(&mut self, id: CaseId, seq: u64, amount: Amount, class: Class) {
        let Desk { ledger, subjects, cases, now_ns, .. } = self;
        let CaseId(pattern, about) = id;
        let Some(case) = cases.get_mut(&id) else { return };
        match ledger.claim(seq, *now_ns, Claim { pattern, amount, class, case: about }) {
            Outcome::Holds(amount, displaced) => {
                case.add(amount, class);
                if let Some(owner) = ledger.owner(seq) {
                    // A case of an authority claims calls of its endpoints, and their waste is counted under these.
                    let known = Some(owner).filter(|&owner| owner != case.owner);
                    let known = known.and_then(|owner| subjects.peek(owner.endpoint));
                    let names = || Arc::clone(known.map_or(&case.names, |subject| &subject.names));
                    ledger.totals.open(owner, *now_ns, names);
                }
                if let Some(displaced) = displaced
                    && let Some(loser) = cases.get_mut(&CaseId(displaced.pattern, displaced.case))
                {
                    let expected = &mut loser.finding.waste.expected;
                    *expected = expected.minus(displaced.amount);
                    loser.finding.overlap_calls += 1;
                }
            }
            Outcome::Overlaps => case.finding.overlap_calls += 1,
            // What cannot be found again is not counted anywhere, so the finding does not claim it either.
            Outcome::TooLate => {}
        }
    }

    /// Adds waste that is no part of a call to an open case: connections, time.
    pub fn add(&mut self, id: CaseId, amount: Amount, class: Class) {
        let Desk { ledger, cases, now_ns, .. } = self;
        let Some(case) = cases.get_mut(&id) else { return };
        ledger.totals.open(case.owner, *now_ns, || Arc::clone(&case.names));
        ledger.totals.count(case.owner, id.0, class, amount, *now_ns);
        case.add(amount, class);
    }

    /// Ends what is idle, tells what is new, and counts claims for good.
    pub(super) fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.ledger.settle(now_ns);
        let Desk { cases, changes, spent_ucu, loss, subjects, .. } = self;
        let lost_share = Some(loss.share()).filter(|&share| share > LOSS_SHARE);
        cases.retain(|_, case| {
            let spent_ucu = spent_ucu.peek(case.owner.game).copied().unwrap_or(0);
            if let Some(share) = lost_share {
                case.is_lossy = true;
                case.finding.evidence.set("lost_share", Fact::Ratio(share));
            }
            // What moves too many bytes does so in few calls; and a case of an authority has a threshold of its own.
            let is_of_bytes = case.finding.pattern.pool() == Pool::Bytes;
            let calls =
                subjects.peek(case.owner.endpoint).map(|subject| subject.recent_calls(case.finding.last_ns));
            case.is_rare = !is_of_bytes && calls.is_some_and(|calls| calls < FEW_CALLS);
            case.judge(spent_ucu.saturating_sub(case.spent_before_ucu));
            let is_over = now_ns.saturating_sub(case.finding.last_ns) > case.idle_ns;
            let now = Told::of(&case.finding, now_ns);
            if is_over || case.told.is_none_or(|told| told.is_outdated_by(&now)) {
                case.told = Some(now);
                case.finding.is_over = is_over;
                changes.push(case.finding.clone());
            }
            !is_over
        });
    }

    /// Ends everything.
    pub(super) fn finish(&mut self) {
        self.tick(self.now_ns);
        for (_, mut case) in std::mem::take(&mut self.cases) {
            case.finding.is_over = true;
            self.changes.push(case.finding);
        }
        self.ledger.settle(u64::MAX);
    }

    /// Findings that are new, have gone on, or are over, since the last time.
    pub(super) fn take_changes(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.changes)
    }

    /// Cases that are open, and how many were ended to make room.
    pub(super) fn cases_state(&self) -> State {
        State { entries: self.cases.len(), evicted: self.evicted_cases }
    }

    fn make_room(&mut self) {
        if self.cases.len() < CASES_MAX {
            return;
        }
        // Room is made for many at one time, so that each costs little.
        let mut cases: Vec<_> = self.cases.iter().map(|(&id, case)| (case.finding.last_ns, id)).collect();
        cases.sort_unstable();
        for (_, id) in cases.into_iter().take(CASES_MAX / 16) {
            let Some(mut case) = self.cases.remove(&id) else { continue };
            case.finding.is_over = true;
            self.changes.push(case.finding);
            self.evicted_cases += 1;
        }
    }
}

impl Told {
    fn of(finding: &Finding, at_ns: u64) -> Self {
        let Finding { severity, calls, overlap_calls, latency_ns, waste, .. } = *finding;
        Told { at_ns, severity, calls, overlap_calls, wasted: waste.expected, latency_ns }
    }

    fn is_outdated_by(&self, now: &Told) -> bool {
        let is_same = Told { at_ns: now.at_ns, ..*self } == *now;
        now.severity > self.severity || !is_same && now.at_ns.saturating_sub(self.at_ns) >= UPDATE_NS
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

impl Case {
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

    fn add(&mut self, amount: Amount, class: Class) {
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

fn finding(id: CaseId, call: &Observation, names: &Names, started_ns: u64, now_ns: u64) -> Finding {
    let CaseId(pattern, about) = id;
    Finding {
        id: FindingId::of(pattern, about, started_ns),
        pattern,
        kind: "",
        game: Arc::clone(&names.game),
        endpoint: Arc::clone(&names.endpoint),
        method: Arc::clone(&names.method),
        pid: call.pid,
        started_ns,
        confirmed_ns: now_ns,
        last_ns: call.ended_ns,
        is_over: false,
        severity: Severity::Info,
        confidence: Confidence::Heuristic,
        // Until something is claimed, nothing is proven.
        class: Class::Potential,
        calls: 0,
        overlap_calls: 0,
        waste: Estimate { expected: Amount::default(), low_share: 1.0, high_share: 1.0 },
        latency_ns: 0,
        evidence: Evidence::default(),
        remedy: String::new(),
    }
}
