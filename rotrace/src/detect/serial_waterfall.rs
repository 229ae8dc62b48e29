//! Given: calls. Gives: sequences of reads of several endpoints that one process makes again and again, each when the one
//! before it is answered, though they could be made at once. Refuses to know: whether one needs what another brought.
//!
//! Nobody looks into bodies, so an id that a call took from the answer before it is not seen: whatever is found stays good
//! to know. A process does several things at one time, so several sequences of it are followed: a call goes on with the
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
use super::query::PartKind;
use super::table::Table;
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
const PROCESSES: usize = 512;

/// Sequences of one process that go on at one time; another one takes the place of the one whose last call began first.
const RUNS_MAX: usize = 16;

/// Sequences of them that are remembered.
const SEQUENCES: usize = 4096;

/// Calls of a sequence at most.
const CALLS_MAX: usize = 8;

/// A sequence that comes so often…
const RECURRENCES: usize = 5;

/// …in so long is one.
const RECURRENCE_NS: u64 = 600_000_000_000;

const MS_NS: f64 = 1e6;

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
}

/// When a sequence came last.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    started_ns: [u64; RECURRENCES],
    seen: usize,
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
        let step_ns = self.rules.step_ns;
        let runs = self.processes.of(call.process, Runs::default);
        let is_page = call.parts.first(PartKind::Paging).is_some();
        match runs.before(call, step_ns).filter(|_| !is_page) {
            Some(run) => run.go_on(call),
            None if is_page => {}
            None => runs.begin(call),
        }
        let mut over = runs.take_over(call, step_ns);
        while let Some(run) = over {
            self.judge(&run, call, desk);
            over = self.processes.find(call.process).and_then(|runs| runs.take_over(call, step_ns));
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
        if endpoints.len() < rules.min_calls {
            return;
        }
        let saving_ns = total_ns.saturating_sub(*longest_ns);
        if endpoints.iter().all(|endpoint| Some(endpoint) == endpoints.first())
            || saving_ns < rules.min_saving_ns
            || (saving_ns as f64) < rules.min_saving_ratio * *total_ns as f64
        {
            return;
        }
        let about = endpoints.iter().fold(next.process, |about, &endpoint| combine(about, endpoint));
        let sequence = self.sequences.of(about, Sequence::default);
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
        case.finding.confidence = Confidence::Heuristic;
        case.finding.latency_ns = case.finding.latency_ns.saturating_add(saving_ns);
        let evidence = &mut case.finding.evidence;
        evidence.say("sequence", &names.join(" → "));
        evidence.set("calls", Fact::Count(run.calls.into()));
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
    fn before(&mut self, call: &Observation, step_ns: u64) -> Option<&mut Run> {
        let pause_ns = |run: &Run| call.started_ns.checked_sub(run.last.ended_ns());
        let runs = self.0.iter_mut().filter(|run| pause_ns(run).is_some_and(|pause_ns| pause_ns <= step_ns));
        runs.max_by_key(|run| run.last.ended_ns())
    }

    fn begin(&mut self, call: &Observation) {
        if self.0.len() >= RUNS_MAX {
            let first = self.0.iter().enumerate().min_by_key(|(_, run)| run.last.started_ns);
            if let Some((at, _)) = first {
                self.0.swap_remove(at);
            }
        }
        let endpoints = [0; CALLS_MAX];
        let last = Sample::of(call, 0);
        let started_ns = call.started_ns;
        let mut run = Run { endpoints, calls: 0, started_ns, total_ns: 0, longest_ns: 0, last };
        run.go_on(call);
        self.0.push(run);
    }

    /// Takes a sequence out that nothing goes on with any more, now that this call has begun.
    fn take_over(&mut self, call: &Observation, step_ns: u64) -> Option<Run> {
        let is_over = |run: &Run| run.last.ended_ns().saturating_add(step_ns) < call.started_ns;
        let at = self.0.iter().position(is_over)?;
        Some(self.0.swap_remove(at))
    }
}

impl Run {
    fn go_on(&mut self, call: &Observation) {
        match self.endpoints.get_mut(self.calls as usize) {
            Some(endpoint) => {
                *endpoint = call.endpoint;
                self.calls += 1;
            }
            None => self.calls = CALLS_MAX as u32 + 1,
        }
        let duration_ns = call.ended_ns - call.started_ns;
        self.total_ns = self.total_ns.saturating_add(duration_ns);
        self.longest_ns = self.longest_ns.max(duration_ns);
        self.last = Sample::of(call, 0);
    }
}

impl Sequence {
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
mod tests {
    use super::*;
    use crate::detect::finding::Finding;
    use crate::detect::fixture::{Made, found, get, send};
    use crate::detect::subject::Api;

    /// Of each finding the severity, the sequence, how often it came and what could be saved, in milliseconds.
    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str]) {
        let found = found(calls, |_| Api::default());
        let waterfall = |finding: &&Finding| finding.pattern == Pattern::SerialWaterfall;
        let lines = found.findings.iter().filter(waterfall).map(|finding| {
            let Some(Fact::Text(sequence)) = finding.evidence.fact("sequence") else { return String::new() };
            let latency_ms = finding.latency_ns / 1_000_000;
            format!("{} {sequence} {} {latency_ms}", finding.severity.name(), finding.calls)
        });
        assert_eq!(lines.collect::<Vec<_>>(), expect);
        assert_eq!(found.wasted(Pattern::SerialWaterfall), (0, 0));
    }

    /// A script that makes calls one after the other, each of so many milliseconds, and so long a pause between them.
    fn script(calls: &[(&str, u64)], from_ms: u64, pause_ms: u64) -> Vec<Made> {
        let mut at_ms = from_ms;
        let made = calls.iter().map(|&(target, lasting_ms)| {
            let made = get(target).at_ms(at_ms).lasting_ms(lasting_ms);
            at_ms += lasting_ms + pause_ms;
            made
        });
        made.collect()
    }

    const JOIN: [(&str, u64); 3] =
        [("/v1/profiles/7", 300), ("/v1/inventories/7", 400), ("/v1/badges?user=7", 200)];

    /// The script runs so often; then the process makes one more call.
    fn often(times: u64, run: impl Fn(u64) -> Vec<Made>) -> Vec<Made> {
        let last = get("/v1/other").at_ms(times * 60_000);
        (0..times).flat_map(|n| run(n * 60_000)).chain([last]).collect()
    }

    #[test]
    fn a_sequence_that_comes_again_is_good_to_know() {
        check(often(5, |at| script(&JOIN, at, 2)), &[&format!("info {SEQUENCE} 1 500")]);
        check(often(9, |at| script(&JOIN, at, 2)), &[&format!("info {SEQUENCE} 5 2500")]);
    }

    const SEQUENCE: &str = "api.test/v1/profiles/{id} → api.test/v1/inventories/{id} → api.test/v1/badges";

    #[test]
    fn other_calls_of_the_process_do_not_matter() {
        // Each goes on over the beginning or the end of one of the sequence.
        let busy = |at| {
            let others = (0..20).map(move |n| get("/v1/users/7").at_ms(at - 300 + n * 97).lasting_ms(350));
            script(&JOIN, at, 2)
                .into_iter()
                .chain(others.filter(|made| made.started_ms() % 60_000 > 400))
                .collect()
        };
        let beside = |at| {
            let write = send("PUT", "/v1/items/1").at_ms(at + 301).lasting_ms(50);
            script(&JOIN, at, 2).into_iter().chain([write]).collect()
        };
        let two = |at| {
            let other = script(&[("/v1/a", 310), ("/v1/b", 305), ("/v1/c", 300)], at + 20, 3);
            script(&JOIN, at, 2).into_iter().chain(other).collect()
        };
        check(often(5, |at| busy(at + 1000)), &[&format!("info {SEQUENCE} 1 500")]);
        check(often(5, |at| beside(at + 1000)), &[&format!("info {SEQUENCE} 1 500")]);
        // How long calls last is not known in the first round, so its second call comes late.
        let other = "info api.test/v1/a → api.test/v1/b → api.test/v1/c 2 1210";
        check(often(6, |at| two(at + 1000)), &[other, &format!("info {SEQUENCE} 1 500")]);
    }

    #[test]
    fn calls_of_others_do_not_matter() {
        let others = (0..2000).map(|n| get("/v1/users/7").at_ms(n * 160).pid(5));
        check(
            often(5, |at| script(&JOIN, at, 2)).into_iter().chain(others),
            &[&format!("info {SEQUENCE} 1 500")],
        );
    }

    #[test]
    fn near_misses_are_none() {
        check(often(4, |at| script(&JOIN, at, 2)), &[]);
        check(often(9, |at| script(&JOIN, at, 15)), &[]);
        check(often(9, |at| script(&JOIN[..2], at, 2)), &[]);
        // They are short.
        let short = JOIN.map(|(target, _)| (target, 200));
        check(often(9, |at| script(&short, at, 2)), &[]);
        // One of them takes all the time.
        let one = [("/v1/a", 2000), ("/v1/b", 300), ("/v1/c", 300)];
        check(often(9, |at| script(&one, at, 2)), &[]);
        // One endpoint, or the pages of a list.
        let same = [("/v1/users/1", 400), ("/v1/users/2", 400), ("/v1/users/3", 400)];
        check(often(9, |at| script(&same, at, 2)), &[]);
        let pages = [("/v1/a?cursor=1", 400), ("/v1/b?cursor=2", 400), ("/v1/c?cursor=3", 400)];
        check(often(9, |at| script(&pages, at, 2)), &[]);
        // They overlap.
        let at_once = |at| {
            let calls = JOIN.iter().zip(0..);
            calls.map(|(&(target, ms), n)| get(target).at_ms(at + n).lasting_ms(ms)).collect()
        };
        check(often(9, at_once), &[]);
        // What is written is read after it.
        let write = |at| {
            let mut calls = script(&JOIN, at, 2);
            calls[1] = send("PUT", "/v1/inventories/7").at_ms(at + 302).lasting_ms(400);
            calls
        };
        check(often(9, write), &[]);
        // A loop over more than there is room for.
        let long: Vec<_> = (0..5).flat_map(|_| [("/v1/users/1", 200), ("/v1/items/1", 200)]).collect();
        check(often(9, |at| script(&long, at, 2)), &[]);
    }
}
