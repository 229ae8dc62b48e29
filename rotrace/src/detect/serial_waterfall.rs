//! Given: calls. Gives: sequences of reads of several endpoints that one process makes again and again, each when the one
//! before it is answered, though they could be made at once. Refuses to know: whether one needs what another brought.
//!
//! Nobody looks into bodies, so an id that a call took from the answer before it is not seen: whatever is found stays good
//! to know. A sequence ends where the next call begins more than a step of a script later, or before the last one is over,
//! or where something is written, fails or asks for the next page. It is looked at when the process makes its next call.
//! One that is longer than eight calls is a loop, and another detector's.

use super::desk::{CaseId, Desk};
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
    full_bytes: PROCESSES * Table::<Run>::ENTRY_BYTES + SEQUENCES * Table::<Sequence>::ENTRY_BYTES,
    make: |values, budget| Box::new(SerialWaterfall::new(values, budget)),
};

/// Processes that are followed.
const PROCESSES: usize = 1024;

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
    runs: Table<Run>,
    sequences: Table<Sequence>,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    min_calls: usize,
    step_ns: u64,
    min_saving_ns: u64,
    min_saving_ratio: f64,
}

/// The calls that a process has just made one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    endpoints: [u64; CALLS_MAX],
    /// More than there is room for when it is too long.
    calls: usize,
    started_ns: u64,
    ended_ns: u64,
    total_ns: u64,
    longest_ns: u64,
    /// The last call, once there are enough: the finding is about it.
    last: Option<Observation>,
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
            runs: Table::new(budget.entries(PROCESSES)),
            sequences: Table::new(budget.entries(SEQUENCES)),
        }
    }
}

impl Detector for SerialWaterfall {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let is_read = call.verb == Verb::Read
            && call.reply == Reply::Success
            && call.parts.first(PartKind::Paging).is_none();
        let run = self.runs.of(call.process, Run::default);
        let follows = call.started_ns >= run.ended_ns && call.started_ns - run.ended_ns <= self.rules.step_ns;
        if is_read && follows {
            run.take(call, self.rules.min_calls);
            return;
        }
        let over = std::mem::take(run);
        // Calls that overlap have no last one until all of them are over.
        run.ended_ns = over.ended_ns.max(call.ended_ns);
        if is_read && call.started_ns >= over.ended_ns {
            run.take(call, self.rules.min_calls);
        }
        if over.calls >= self.rules.min_calls {
            self.judge(&over, desk);
        }
    }

    fn state(&self) -> State {
        State::of([(self.runs.len(), self.runs.evicted()), (self.sequences.len(), self.sequences.evicted())])
    }
}

impl SerialWaterfall {
    fn judge(&mut self, run: &Run, desk: &mut Desk) {
        let Run { started_ns, total_ns, longest_ns, last: Some(last), .. } = run else { return };
        let Some(endpoints) = run.endpoints.get(..run.calls) else { return };
        let saving_ns = total_ns.saturating_sub(*longest_ns);
        let rules = &self.rules;
        if endpoints.iter().all(|endpoint| Some(endpoint) == endpoints.first())
            || saving_ns < rules.min_saving_ns
            || (saving_ns as f64) < rules.min_saving_ratio * *total_ns as f64
        {
            return;
        }
        let about = endpoints.iter().fold(last.process, |about, &endpoint| combine(about, endpoint));
        let sequence = self.sequences.of(about, Sequence::default);
        let Some(first_ns) = sequence.take(*started_ns) else { return };
        let names = endpoints.iter().map(|&endpoint| desk.endpoint_name(endpoint)).collect::<Vec<_>>();
        let case = desk.case(CaseId::new(Pattern::SerialWaterfall, about), last, first_ns, 2 * RECURRENCE_NS);
        case.count(Sample::of(last, about));
        case.finding.confidence = Confidence::Heuristic;
        case.finding.latency_ns = case.finding.latency_ns.saturating_add(saving_ns);
        let evidence = &mut case.finding.evidence;
        evidence.set("sequence", Fact::Text(names.join(" → ").into()));
        evidence.set("calls", Fact::Count(run.calls as u64));
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

impl Run {
    fn take(&mut self, call: &Observation, min_calls: usize) {
        if self.calls == 0 {
            self.started_ns = call.started_ns;
        }
        match self.endpoints.get_mut(self.calls) {
            Some(endpoint) => {
                *endpoint = call.endpoint;
                self.calls += 1;
            }
            None => self.calls = CALLS_MAX + 1,
        }
        let duration_ns = call.ended_ns - call.started_ns;
        self.ended_ns = call.ended_ns;
        self.total_ns = self.total_ns.saturating_add(duration_ns);
        self.longest_ns = self.longest_ns.max(duration_ns);
        if self.calls >= min_calls {
            self.last = Some(*call);
        }
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
        let sequence = "api.test/v1/profiles/{id} → api.test/v1/inventories/{id} → api.test/v1/badges";
        check(often(5, |at| script(&JOIN, at, 2)), &[&format!("info {sequence} 1 500")]);
        check(often(9, |at| script(&JOIN, at, 2)), &[&format!("info {sequence} 5 2500")]);
    }

    #[test]
    fn calls_of_others_do_not_matter() {
        let others = (0..2000).map(|n| get("/v1/users/7").at_ms(n * 160).pid(5));
        let sequence = "api.test/v1/profiles/{id} → api.test/v1/inventories/{id} → api.test/v1/badges";
        check(
            often(5, |at| script(&JOIN, at, 2)).into_iter().chain(others),
            &[&format!("info {sequence} 1 500")],
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
