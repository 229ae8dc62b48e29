//! Given: what detectors say of calls. Gives: cases, each the finding of one pattern in one process and endpoint from its
//! first call to its end, and their waste in the ledger. Refuses to know: what makes a pattern.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::case::{Case, CaseId, Opened};
use super::detector::{Budget, State};
use super::finding::{Amount, Class, Finding};
use super::ledger::{Claim, Ledger, Outcome};
use super::loss::Loss;
use super::observation::{Observation, Verb};
use super::request::{Repeat, Requests};
use super::subject::{Api, Names, Subject};
use super::table::Table;
use super::totals::Owner;
use crate::conn::Scatter;
use crate::keyed::combine;
use crate::summary::MAX_GAMES;

/// Endpoints of games that are remembered unless the budget says otherwise; 4 MiB.
const SUBJECTS: usize = 8192;

/// Cases that are open at one time; another one ends the oldest, which is counted.
pub const CASES_MAX: usize = 4096;

/// Games whose cost so far is remembered: all that there are at one time, and those of the while before.
const SPENDERS_MAX: usize = 2 * MAX_GAMES;

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
    /// Where its endpoint is, if it is known.
    subject_at: u32,
    /// Cost of each game so far.
    pub(super) spent_ucu: Table<u64>,
    cases: HashMap<CaseId, Case, BuildHasherDefault<Scatter>>,
    /// Cases to which something has happened since they were told last.
    touched: Vec<CaseId>,
    /// When each case may be over: at that time, or later if something was added since.
    idle_at: BinaryHeap<Reverse<(u64, CaseId)>>,
    changes: Vec<Arc<Finding>>,
    evicted_cases: u64,
    pub(super) loss: Loss,
    pub(super) now_ns: u64,
    /// Detectors have seen all calls that began before, but for late ones.
    pub(super) passed_ns: u64,
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
            subject_at: 0,
            spent_ucu: Table::new(SPENDERS_MAX),
            cases: HashMap::default(),
            touched: Vec::new(),
            idle_at: BinaryHeap::new(),
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
        self.subjects.at(self.subject_at, call.endpoint).or_else(|| self.subjects.peek(call.endpoint))
    }

    /// Looks up what a call repeats, before detectors look at it.
    pub(super) fn remember(&mut self, call: &Observation) {
        self.subject_at = self.subjects.place(call.endpoint).unwrap_or_default();
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
        let names = || {
            self.subject(call).map_or_else(|| Names::unknown().into(), |subject| Arc::clone(&subject.names))
        };
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
        let names =
            || self.subject(call).map_or_else(Names::unknown, |subject| subject.names.of_authority()).into();
        let named = (!self.cases.contains_key(&id)).then(names);
        self.case_about(id, call, combine(call.authority, call.game), named, started_ns, idle_ns)
    }

    /// `named` is there when the case is not open.
    fn case_about(
        &mut self,
        id: CaseId,
        call: &Observation,
        about: u64,
        named: Option<Arc<Names>>,
        started_ns: u64,
        idle_ns: u64,
    ) -> &mut Case {
        if named.is_some() {
            self.make_room();
        }
        let Desk { cases, touched, idle_at, spent_ucu, now_ns, .. } = self;
        let case = cases.entry(id).or_insert_with(|| {
            idle_at.push(Reverse((call.ended_ns.saturating_add(idle_ns), id)));
            let names = named.unwrap_or_else(|| Names::unknown().into());
            let owner = Owner { endpoint: about, game: call.game };
            let spent_ucu = spent_ucu.peek(call.game).copied().unwrap_or(0);
            let confirmed_ns = (*now_ns).max(call.started_ns);
            Case::new(id, call, owner, names, &Opened { started_ns, confirmed_ns, idle_ns, spent_ucu })
        });
        case.take(call);
        touch(case, id, touched);
        case
    }

    /// The case, when it is open.
    pub fn open_case(&mut self, id: CaseId) -> Option<&mut Case> {
        let Desk { cases, touched, .. } = self;
        let case = cases.get_mut(&id)?;
        touch(case, id, touched);
        Some(case)
    }

    /// Claims what of a call is wasted for an open case.
    pub fn claim(&mut self, id: CaseId, seq: u64, amount: Amount, class: Class) {
        let Desk { ledger, subjects, cases, touched, now_ns, .. } = self;
        let CaseId(pattern, about) = id;
        let Some(case) = cases.get_mut(&id) else { return };
        touch(case, id, touched);
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
                    && let id = CaseId(displaced.pattern, displaced.case)
                    && let Some(loser) = cases.get_mut(&id)
                {
                    touch(loser, id, touched);
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
        let Desk { ledger, cases, touched, now_ns, .. } = self;
        let Some(case) = cases.get_mut(&id) else { return };
        touch(case, id, touched);
        ledger.totals.open(case.owner, *now_ns, || Arc::clone(&case.names));
        ledger.totals.count(case.owner, id.0, class, amount, *now_ns);
        case.add(amount, class);
    }

    /// Ends what is idle, tells what is new, and counts claims for good. Cases to which nothing has happened are not looked
    /// at: their severity only ever rises, and not by itself unless they say so.
    pub(super) fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.ledger.settle(now_ns);
        let lost_share = Some(self.loss.share()).filter(|&share| share > LOSS_SHARE);
        let mut due = std::mem::take(&mut self.touched);
        self.take_idle(now_ns, &mut due);
        if lost_share.is_some() {
            due = self.cases.keys().copied().collect();
        }
        due.sort_unstable();
        due.dedup();
        for id in due {
            self.look(id, now_ns, lost_share);
        }
    }

    /// Cases to which nothing was added for as long as they may be idle.
    fn take_idle(&mut self, now_ns: u64, idle: &mut Vec<CaseId>) {
        let Desk { cases, idle_at, .. } = self;
        while let Some(&Reverse((at_ns, id))) = idle_at.peek()
            && at_ns < now_ns
        {
            idle_at.pop();
            let Some(case) = cases.get(&id) else { continue };
            match case.idle_at_ns() {
                over_ns if over_ns < now_ns => idle.push(id),
                later_ns => idle_at.push(Reverse((later_ns, id))),
            }
        }
    }

    /// Judges a case, and tells it if there is something to tell.
    fn look(&mut self, id: CaseId, now_ns: u64, lost_share: Option<f64>) {
        let Desk { cases, touched, changes, spent_ucu, subjects, .. } = self;
        let Some(case) = cases.get_mut(&id) else { return };
        let spent_ucu = spent_ucu.peek(case.owner.game).copied().unwrap_or(0);
        let subject = subjects.peek(case.owner.endpoint);
        let calls = subject.map(|subject| subject.recent_calls(case.finding.last_ns));
        case.is_touched = false;
        changes.extend(case.tell(now_ns, spent_ucu, calls, lost_share));
        if case.finding.is_over {
            cases.remove(&id);
        } else if case.is_pending() {
            touch(case, id, touched);
        }
    }

    /// Ends everything.
    pub(super) fn finish(&mut self) {
        self.tick(self.now_ns);
        let mut cases: Vec<_> = std::mem::take(&mut self.cases).into_iter().collect();
        cases.sort_unstable_by_key(|&(id, _)| id);
        for (_, mut case) in cases {
            case.finding.is_over = true;
            self.changes.push(Arc::new(case.finding));
        }
        self.ledger.settle(u64::MAX);
    }

    /// Findings that are new, have gone on, or are over, since the last time.
    pub(super) fn take_changes(&mut self) -> Vec<Arc<Finding>> {
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
            self.changes.push(Arc::new(case.finding));
            self.evicted_cases += 1;
        }
        // Those that were ended would stand there until then, and again when they are opened anew.
        self.idle_at = self.cases.iter().map(|(&id, case)| Reverse((case.idle_at_ns(), id))).collect();
    }
}

/// Something has happened to a case, so it is looked at next time.
fn touch(case: &mut Case, id: CaseId, touched: &mut Vec<CaseId>) {
    if !std::mem::replace(&mut case.is_touched, true) {
        touched.push(id);
    }
}
