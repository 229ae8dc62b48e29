//! Given: calls. Gives: sequences of reads of several endpoints that one process makes again and again, each when the one
//! before it is answered, though they could be made at once. Refuses to know: what an answer holds, beyond whether an id is in
//! it.
//!
//! A call needs an answer when it asks for an id that no call before it in the sequence has asked for, and that answer holds
//! it; then what it can begin with is the end of that answer, and what goes on with the same id begins no earlier. It needs
//! none when every value that it asks for was known before, or is an id that no answer holds. Otherwise nobody knows: an
//! answer was compressed, long, or not looked at, a value is no id, or credentials are new. Of a sequence that comes again and
//! again, each call is taken to need what it needed mostly where that was known, and where it never was, to need nothing. A
//! process does several things at one time, so several sequences of it are followed: a call goes on with the
//! one whose last call was answered just before, and calls that are under way at the same time are no part of that.
//! A sequence ends where no call begins within a step of a script. What is written, fails or asks for the next page is no
//! part of one. It is looked at when the process makes another call after its end. One that is longer than eight calls is
//! a loop, and another detector's.

use super::case::CaseId;
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Confidence, Fact, Sample};
use super::observation::{Observation, Reply, Verb};
use super::pattern::Pattern;
use super::query::{PARTS_MAX, PartKind};
use super::table::Table;
use crate::exchange::ids::Ids;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::SerialWaterfall,
    thresholds: &[
        Threshold { name: "min_calls", default: 3.0, what: "calls of a sequence" },
        Threshold {
            name: "step_ms",
            default: 10.0,
            what: "longest pause between two of them, in milliseconds",
        },
        Threshold {
            name: "min_saving_ms",
            default: 500.0,
            what: "time that is saved when they are made at once, in milliseconds",
        },
        Threshold { name: "min_saving_ratio", default: 0.5, what: "the same as a part of the whole time" },
    ],
    full_bytes: PROCESSES * (Table::<Runs>::ENTRY_BYTES + RUNS_MAX * size_of::<Run>())
        + SEQUENCES * Table::<Sequence>::ENTRY_BYTES,
    make: |values, budget| Box::new(SerialWaterfall::new(values, budget)),
};

/// Processes that are followed.
const PROCESSES: usize = 384;

/// Sequences of one process that go on at one time; another one takes the place of the one whose last call began first.
const RUNS_MAX: usize = 16;

/// Sequences of them that are remembered.
const SEQUENCES: usize = 4096;

/// Calls of a sequence at most.
const CALLS_MAX: usize = 8;

/// Values that the calls of a sequence have asked for and that are remembered; few ask for more than two.
const VALUES_MAX: usize = 8;

/// A sequence that comes so often…
const RECURRENCES: usize = 5;

/// …in so long is one.
const RECURRENCE_NS: u64 = 600_000_000_000;

const MS_NS: f64 = 1e6;
const US_NS: u64 = 1_000;

#[derive(Debug)]
struct SerialWaterfall {
    rules: Rules,
    processes: Table<Runs>,
    sequences: Table<Sequence>,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    min_calls: usize,
    step_ns: u64,
    min_saving_ns: u64,
    min_saving_ratio: f64,
}

/// What a process does at one time.
#[derive(Debug, Default)]
struct Runs(Vec<Run>);

/// Calls that a process has made one after the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    endpoints: [u64; CALLS_MAX],
    /// More than there is room for when it is too long.
    calls: u32,
    started_ns: u64,
    total_ns: u64,
    longest_ns: u64,
    /// The last call.
    last: Sample,
    steps: [Step; CALLS_MAX],
    /// All that they have asked for.
    asked: Asked,
    /// All that they were answered.
    answers: Ids,
    credentials: Option<u64>,
}

/// What a call of a sequence needs.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    duration_us: u32,
    /// Something that an answer before it has brought; `None` when that is not known.
    needs_answer: Option<bool>,
    /// Calls before it that were the first to ask for something that it asks for: a bit for each.
    shares_with: u8,
}

/// Values, and which call of the sequence was the first to ask for each.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    tokens: [u32; VALUES_MAX],
    first: [u8; VALUES_MAX],
    length: u8,
}

/// A sequence that has come before.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    /// When, the last times.
    started_ns: [u64; RECURRENCES],
    seen: usize,
    /// Of each of its calls.
    votes: [Votes; CALLS_MAX],
}

/// How often it was known what a call needs.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    known: u8,
    /// Of them, how often that was an answer before it.
    needy: u8,
}

impl SerialWaterfall {
    fn new(values: &Values, budget: Budget) -> Self {
        let ns = |name| (values.of_name(name) * MS_NS) as u64;
        SerialWaterfall {
            rules: Rules {
                min_calls: (values.count("min_calls") as usize).clamp(2, CALLS_MAX),
                step_ns: ns("step_ms"),
                min_saving_ns: ns("min_saving_ms"),
                min_saving_ratio: values.of_name("min_saving_ratio"),
            },
            processes: Table::new(budget.entries(PROCESSES)),
            sequences: Table::new(budget.entries(SEQUENCES)),
        }
    }
}

impl Detector for SerialWaterfall {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if call.verb != Verb::Read || call.reply != Reply::Success {
            return;
        }
        let rules = self.rules;
        let runs = self.processes.of(call.process, Runs::default);
        let is_page = call.parts.first(PartKind::Paging).is_some();
        match runs.before(call, &rules).filter(|_| !is_page) {
            Some(run) => run.go_on(call),
            None if is_page => {}
            None => runs.begin(call, &rules),
        }
        let mut over = runs.take_over(call, &rules);
        while let Some(run) = over {
            self.judge(&run, call, desk);
            over = self.processes.find(call.process).and_then(|runs| runs.take_over(call, &rules));
        }
    }

    fn state(&self) -> State {
        let Self { processes, sequences, .. } = self;
        State::of([(processes.len(), processes.evicted()), (sequences.len(), sequences.evicted())])
    }
}

impl SerialWaterfall {
    /// A sequence is over; `next` is a call that its process has made since.
    fn judge(&mut self, run: &Run, next: &Observation, desk: &mut Desk) {
        let Run { started_ns, total_ns, longest_ns, last, .. } = run;
        let rules = &self.rules;
        let Some(endpoints) = run.endpoints.get(..run.calls as usize) else { return };
        let is_worth = |saving_ns: u64| {
            saving_ns >= rules.min_saving_ns && saving_ns as f64 >= rules.min_saving_ratio * *total_ns as f64
        };
        if endpoints.iter().all(|endpoint| Some(endpoint) == endpoints.first())
            || !is_worth(total_ns.saturating_sub(*longest_ns))
        {
            return;
        }
        let about = endpoints.iter().fold(next.process, |about, &endpoint| combine(about, endpoint));
        let sequence = self.sequences.of(about, Sequence::default);
        let steps = run.steps.get(..endpoints.len()).unwrap_or_default();
        sequence.vote(steps);
        let saving_ns = total_ns.saturating_sub(sequence.at_once_ns(steps));
        if !is_worth(saving_ns) {
            return;
        }
        let votes = sequence.votes;
        let Some(first_ns) = sequence.take(*started_ns) else { return };
        let names = endpoints.iter().map(|&endpoint| desk.endpoint_name(endpoint)).collect::<Vec<_>>();
        // The finding is about the last call of the sequence, which is of the same process as this one.
        let endpoint = endpoints.last().copied().unwrap_or(next.endpoint);
        let ended_ns = last.ended_ns();
        let last_call =
            Observation { seq: last.seq, started_ns: last.started_ns, ended_ns, endpoint, ..*next };
        let id = CaseId::new(Pattern::SerialWaterfall, about);
        let case = desk.case(id, &last_call, first_ns, 2 * RECURRENCE_NS);
        case.count(Sample { resource: about as u32, ..*last });
        // The first needs nothing of the sequence.
        let later = || votes.iter().take(endpoints.len()).skip(1);
        let checked = later().filter(|votes| votes.known > 0).count();
        let is_checked = checked + 1 == endpoints.len();
        case.finding.confidence = if is_checked { Confidence::Strong } else { Confidence::Heuristic };
        case.finding.latency_ns = case.finding.latency_ns.saturating_add(saving_ns);
        let evidence = &mut case.finding.evidence;
        evidence.say("sequence", &names.join(" → "));
        evidence.set("calls", Fact::Count(run.calls.into()));
        evidence.set("checked", Fact::Count(checked as u64));
        evidence.set("dependent", Fact::Count(later().filter(|votes| votes.is_needy()).count() as u64));
        evidence.set("total", Fact::Ns(*total_ns));
        evidence.set("saving", Fact::Ns(saving_ns));
        if case.finding.remedy.is_empty() {
            case.finding.remedy =
                "Make those of the calls at once that do not need each other's answers, or ask an \
                                   endpoint that answers all of it."
                    .to_owned();
        }
    }
}

impl Runs {
    /// The sequence that a call goes on with: of those whose last call was answered within a step before it, the one that
    /// was answered last.
    fn before(&mut self, call: &Observation, rules: &Rules) -> Option<&mut Run> {
        let step_ns = rules.step_ns;
        let pause_ns = |run: &Run| call.started_ns.checked_sub(run.last.ended_ns());
        let runs = self.0.iter_mut().filter(|run| pause_ns(run).is_some_and(|pause_ns| pause_ns <= step_ns));
        runs.max_by_key(|run| run.last.ended_ns())
    }

    /// Most sequences are one call, and are over when the next begins, which takes their place.
    fn begin(&mut self, call: &Observation, rules: &Rules) {
        let spent = |run: &Run| run.is_over(call, rules) && !run.is_enough(rules);
        let first = || self.0.iter().enumerate().min_by_key(|(_, run)| run.last.started_ns).map(|(at, _)| at);
        let place = self.0.iter().position(spent).or_else(|| first().filter(|_| self.0.len() >= RUNS_MAX));
        match place.and_then(|at| self.0.get_mut(at)) {
            Some(run) => run.begin(call),
            None => self.0.push(Run::new(call)),
        }
    }

    /// Takes a sequence out that nothing goes on with any more, now that this call has begun. One that is too short to be
    /// judged is forgotten.
    fn take_over(&mut self, call: &Observation, rules: &Rules) -> Option<Run> {
        while let Some(at) = self.0.iter().position(|run| run.is_over(call, rules)) {
            let run = self.0.swap_remove(at);
            if run.is_enough(rules) {
                return Some(run);
            }
        }
        None
    }
}

impl Run {
    fn new(call: &Observation) -> Run {
        let mut run = Run {
            endpoints: [0; CALLS_MAX],
            calls: 0,
            started_ns: 0,
            total_ns: 0,
            longest_ns: 0,
            last: Sample::of(call, 0),
            steps: Default::default(),
            asked: Asked::default(),
            answers: Ids::NONE,
            credentials: None,
        };
        run.begin(call);
        run
    }

    /// Begins anew. What stands behind the calls, and behind the values that they have asked for, is of no account.
    fn begin(&mut self, call: &Observation) {
        (self.calls, self.started_ns, self.total_ns, self.longest_ns) = (0, call.started_ns, 0, 0);
        (self.asked.length, self.answers, self.credentials) = (0, Ids::NONE, None);
        self.go_on(call);
    }

    /// Nothing goes on with it any more, now that this call has begun.
    fn is_over(&self, call: &Observation, rules: &Rules) -> bool {
        self.last.ended_ns().saturating_add(rules.step_ns) < call.started_ns
    }

    /// It has so many calls that it may be a pattern.
    fn is_enough(&self, rules: &Rules) -> bool {
        self.calls as usize >= rules.min_calls
    }

    fn go_on(&mut self, call: &Observation) {
        let duration_ns = call.ended_ns - call.started_ns;
        let place = self.calls as usize;
        match (self.endpoints.get_mut(place), self.steps.get_mut(place)) {
            (Some(endpoint), Some(step)) => {
                *endpoint = call.endpoint;
                let duration_us = (duration_ns / US_NS).min(u32::MAX.into()) as u32;
                let (needs_answer, shares_with) = self.asked.take(call, place as u8, &self.answers);
                let has_new_credentials = place > 0 && call.signals.request.credentials != self.credentials;
                let needs_answer = needs_answer.filter(|&needs| needs || !has_new_credentials);
                *step = Step { duration_us, needs_answer, shares_with };
                self.credentials = call.signals.request.credentials;
                self.answers.join(&call.signals.response.ids);
                self.calls += 1;
            }
            _ => self.calls = CALLS_MAX as u32 + 1,
        }
        self.total_ns = self.total_ns.saturating_add(duration_ns);
        self.longest_ns = self.longest_ns.max(duration_ns);
        self.last = Sample::of(call, 0);
    }
}

impl Asked {
    /// A call asks for its values: whether it needs an answer before it, and which calls were the first to ask for what it
    /// asks for.
    fn take(&mut self, call: &Observation, place: u8, answers: &Ids) -> (Option<bool>, u8) {
        let mut needs_answer = (call.parts.iter().count() < PARTS_MAX).then_some(false);
        let mut shares_with = 0;
        let values = call.parts.iter().filter(|part| matches!(part.kind, PartKind::Path | PartKind::Query));
        for part in values {
            let known = self.tokens.iter().take(self.length.into()).position(|&token| token == part.token);
            if let Some(first) = known.and_then(|at| self.first.get(at)) {
                shares_with |= 1u8 << first;
                continue;
            }
            let is_answered = if part.is_id { answers.holds(part.token) } else { None };
            // What there is no room to remember may have been asked for before.
            let has_room = self.learn(part.token, place);
            needs_answer = match (needs_answer, is_answered.filter(|_| has_room)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            };
        }
        (needs_answer, shares_with)
    }

    fn learn(&mut self, token: u32, place: u8) -> bool {
        let at = usize::from(self.length);
        let (Some(to), Some(first)) = (self.tokens.get_mut(at), self.first.get_mut(at)) else { return false };
        (*to, *first) = (token, place);
        self.length += 1;
        true
    }
}

impl Votes {
    fn take(&mut self, needs_answer: bool) {
        if self.known == u8::MAX {
            *self = Votes { known: self.known / 2, needy: self.needy / 2 };
        }
        self.known += 1;
        self.needy += u8::from(needs_answer);
    }

    fn is_needy(self) -> bool {
        u16::from(self.needy) * 2 > u16::from(self.known)
    }
}

impl Sequence {
    fn vote(&mut self, steps: &[Step]) {
        // Before the first there is no answer.
        for (votes, step) in self.votes.iter_mut().zip(steps).skip(1) {
            if let Some(needs_answer) = step.needs_answer {
                votes.take(needs_answer);
            }
        }
    }

    /// How long its calls would take if each began as soon as it could: one that needs an answer when all before it have
    /// been answered, since it is not known which one it needs, and one that asks for the same as another with that one.
    fn at_once_ns(&self, steps: &[Step]) -> u64 {
        let mut begin_us = [0u64; CALLS_MAX];
        let mut end_us = 0;
        for (place, (step, votes)) in steps.iter().zip(&self.votes).enumerate() {
            let shared = begin_us.iter().take(place).enumerate();
            let shared =
                shared.filter(|(first, _)| step.shares_with >> first & 1 == 1).map(|(_, &us)| us).max();
            let own_us = if votes.is_needy() { end_us } else { shared.unwrap_or(0) };
            if let Some(begin_us) = begin_us.get_mut(place) {
                *begin_us = own_us;
            }
            end_us = end_us.max(own_us + u64::from(step.duration_us));
        }
        end_us * US_NS
    }

    /// It came again. Gives when the first of so many came, when all of them came in time.
    fn take(&mut self, started_ns: u64) -> Option<u64> {
        let at = self.seen % RECURRENCES;
        *self.started_ns.get_mut(at)? = started_ns;
        self.seen += 1;
        if self.seen < RECURRENCES {
            return None;
        }
        let first_ns = *self.started_ns.get(self.seen % RECURRENCES)?;
        (started_ns.saturating_sub(first_ns) <= RECURRENCE_NS).then_some(first_ns)
    }
}

#[cfg(test)]
mod tests;
