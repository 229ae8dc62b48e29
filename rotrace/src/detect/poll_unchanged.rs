//! Given: calls, and what they repeat. Gives: requests that are made at an even pace and find nothing new, and the pace
//! that would have been enough. Refuses to know: what they ask for.
//!
//! `poll_empty`: the answer is too small to say anything. `poll_operation`: it asks whether something is done. The pace
//! that would have been enough is the longest of what the server says (`max-age`, `X-Poll-Interval`), half of the usual
//! time from change to change, and 30 s; one call in so long is needed, and so is every call that finds a change. What a
//! cache would have answered for certain is `duplicate_request`, and no part of the pace.

use std::collections::VecDeque;
use std::sync::Arc;

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply, Strength};
use super::pattern::Pattern;
use super::request::{Last, Repeat};
use super::subject::Subject;
use super::table::Table;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::PollUnchanged,
    thresholds: &[
        Threshold { name: "min_polls", default: 8.0, what: "calls at an even pace that are told at all" },
        Threshold {
            name: "min_unchanged_ratio",
            default: 0.8,
            what: "share of the answers that say nothing new",
        },
        Threshold {
            name: "warn_unchanged",
            default: 60.0,
            what: "answers in an hour that say nothing new, from which it is a warning; 128 at most",
        },
        Threshold { name: "enough_seconds", default: 30.0, what: "pace that is never too fast" },
        Threshold { name: "slow_seconds", default: 60.0, what: "pace that is not looked at" },
    ],
    full_bytes: PACES * (Table::<Pace>::ENTRY_BYTES + PENDING_MAX * size_of::<u64>()),
    make: |values, budget| Box::new(PollUnchanged::new(values, budget)),
};

/// Requests whose pace is followed.
const PACES: usize = 1536;

/// Intervals that the pace is taken from.
const INTERVALS: usize = 16;

/// Calls that wait until there are enough, and are then claimed.
const PENDING_MAX: usize = 128;

/// What is faster is a loop and no poll.
const FASTEST_MS: u32 = 100;

/// Payload that has no room for anything but an empty list and its frame.
const EMPTY_BYTES: u64 = 128;

const HOUR_NS: u64 = 3_600_000_000_000;

/// A pause after which the pace begins anew.
const PAUSE_NS: u64 = 600_000_000_000;

/// Deviation from the usual interval that is even; half of all lie within it.
const EVEN: f64 = 0.15;

/// Standard deviation over mean that is even when it has gone on for [`LONG`] intervals: clients that add jitter.
const JITTERED: f64 = 0.5;
const LONG: u32 = 30;

#[derive(Debug)]
struct PollUnchanged {
    min_polls: u32,
    min_unchanged_ratio: f64,
    warn_unchanged: u32,
    enough_ns: u64,
    slow_ns: u64,
    paces: Table<Pace>,
}

/// The pace of one request in one process.
#[derive(Debug, Default)]
struct Pace {
    started_ns: u64,
    last_started_ns: u64,
    intervals_ms: [u32; INTERVALS],
    intervals: u32,
    /// The usual interval, and how far off half of them are as a share of it; `None` while there is no even pace.
    even: Option<(u64, f64)>,
    /// Smoothed duration.
    busy_ns: u64,
    /// What the server says of the pace.
    told_ns: u64,
    last_change_ns: u64,
    changes: u32,
    /// Smoothed time from change to change.
    change_ns: u64,
    this: Window,
    before: Window,
    /// The next call from then on is needed.
    needed_ns: u64,
    /// Those that were needed, brought nothing, and are not told yet.
    needed: u32,
    pending: VecDeque<u64>,
    is_claimed: bool,
}

/// What was answered within an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    started_ns: u64,
    polls: u32,
    unchanged: u32,
    /// Those that are unchanged by more than their size.
    surely: u32,
}

impl PollUnchanged {
    fn new(values: &Values, budget: Budget) -> Self {
        PollUnchanged {
            min_polls: values.count("min_polls") as u32,
            min_unchanged_ratio: values.of_name("min_unchanged_ratio"),
            warn_unchanged: values.count("warn_unchanged").min(PENDING_MAX as u64) as u32,
            enough_ns: values.ns("enough_seconds"),
            slow_ns: values.ns("slow_seconds"),
            paces: Table::new(budget.entries(PACES)),
        }
    }
}

impl Detector for PollUnchanged {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let repeat = desk.repeat();
        let Some(last) = repeat.last else { return };
        let is_answered = matches!(call.reply, Reply::Success | Reply::NotModified) && !call.is_part();
        if !repeat.is_read || !is_answered || repeat.reuse.is_some_and(|reuse| !reuse.may_be_poll) {
            return;
        }
        let Some(request) = repeat.request else { return };
        let enough_ns = self.enough_ns;
        let pace = self.paces.of(request, || Pace::new(&last, enough_ns));
        pace.take(call, &repeat, enough_ns);
        self.found(call, &repeat, request, desk);
    }

    fn state(&self) -> State {
        State::of([(self.paces.len(), self.paces.evicted())])
    }
}

impl PollUnchanged {
    fn found(&mut self, call: &Observation, repeat: &Repeat, request: u64, desk: &mut Desk) {
        let Some(pace) = self.paces.find(request) else { return };
        let Some((interval_ns, jitter)) = pace.even else { return };
        let Some(strength) = repeat.unchanged else { return };
        let enough_ns = pace.enough_ns(self.enough_ns);
        let is_slow = interval_ns >= self.slow_ns || interval_ns >= enough_ns - enough_ns / 10;
        // The server holds the answer back until there is something to say.
        let is_hanging = pace.busy_ns >= interval_ns / 2;
        let (polls, unchanged) = pace.answers();
        let is_mostly_new = f64::from(unchanged) < self.min_unchanged_ratio * f64::from(polls);
        if is_slow || is_hanging || is_mostly_new || polls + 1 < self.min_polls {
            return;
        }
        let Some(subject) = desk.subject(call) else { return };
        let api = Arc::clone(&subject.api);
        if api.is_heartbeat || api.is_long_poll {
            return;
        }
        let kind = kind(call, subject);
        let id = CaseId::of(Pattern::PollUnchanged, call);
        let case = desk.case(id, call, pace.started_ns, 2 * PAUSE_NS);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.calls = finding.calls.max(polls.into());
        finding.kind = kind;
        finding.confidence = finding.confidence.max(confidence(strength));
        if finding.evidence.fact("enough_interval") != Some(&Fact::Ns(enough_ns)) {
            finding.remedy = match &api.push {
                Some(push) => {
                    format!("Ask to be told of changes ({push}) instead of asking again and again.")
                }
                None => format!(
                    "Ask once in {} s, not at the same moment in every server, and with If-None-Match.",
                    enough_ns / 1_000_000_000
                ),
            };
        }
        // One in so long may not be enough, and then as many again are needed; with another way to be told of changes, or
        // where they are rarer than could be seen so far, none is.
        let needed = u64::from(std::mem::take(&mut pace.needed));
        finding.waste.fewer_calls += needed;
        finding.waste.more_calls += needed;
        let evidence = &mut finding.evidence;
        evidence.set("interval", Fact::Ns(interval_ns));
        evidence.set("jitter", Fact::Ratio(jitter));
        evidence.set("polls", Fact::Count(polls.into()));
        evidence.set("unchanged", Fact::Count(unchanged.into()));
        evidence.say("same_by", strength.name());
        evidence.set("changes", Fact::Count(pace.changes.into()));
        evidence.set("unchanged_for", Fact::Ns(call.ended_ns.saturating_sub(pace.last_change_ns)));
        evidence.set("enough_interval", Fact::Ns(enough_ns));
        if pace.this.surely >= self.warn_unchanged {
            case.allow(Grade::Scored);
        }
        // What is proven is waste, whether it is enough for a warning or not.
        if !pace.is_claimed && u64::from(pace.this.surely) + 1 < u64::from(self.min_polls) {
            return;
        }
        pace.is_claimed = true;
        for seq in pace.pending.drain(..) {
            desk.claim(id, seq, Amount::WHOLE_CALL, Class::Avoidable);
        }
    }
}

impl Pace {
    /// Of a request that is made for the second time.
    fn new(first: &Last, enough_ns: u64) -> Self {
        Pace {
            started_ns: first.started_ns,
            last_started_ns: first.started_ns,
            last_change_ns: first.started_ns,
            needed_ns: first.started_ns + enough_ns,
            this: Window { started_ns: first.started_ns, ..Window::default() },
            ..Pace::default()
        }
    }

    fn take(&mut self, call: &Observation, repeat: &Repeat, least_ns: u64) {
        if call.started_ns > self.last_started_ns.saturating_add(PAUSE_NS) {
            let first = Last { started_ns: call.started_ns, ended_ns: 0, status: 0, is_transient: false };
            *self = Pace::new(&first, least_ns);
            return;
        }
        if call.started_ns > self.this.started_ns.saturating_add(HOUR_NS) {
            self.before = self.this;
            self.this = Window { started_ns: call.started_ns, ..Window::default() };
        }
        self.take_interval(call);
        let busy_ns = call.ended_ns - call.started_ns;
        self.busy_ns = if self.busy_ns == 0 { busy_ns } else { (self.busy_ns * 7 + busy_ns) / 8 };
        let response = &call.signals.response;
        let told_s = response.poll_interval_s.max(response.max_age_s).unwrap_or(0);
        self.told_ns = u64::from(told_s) * 1_000_000_000;
        self.this.polls += 1;
        let Some(strength) = repeat.unchanged else {
            self.change(call);
            return;
        };
        self.this.unchanged += 1;
        let is_sure = strength > Strength::Length;
        self.this.surely += u32::from(is_sure);
        let slack_ns = self.even.map_or(0, |(interval_ns, _)| interval_ns / 2);
        if call.started_ns.saturating_add(slack_ns) >= self.needed_ns {
            self.needed_ns = call.started_ns + self.enough_ns(least_ns);
            self.needed += 1;
        } else if is_sure {
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
            }
            self.pending.push_back(call.seq);
        }
    }

    fn take_interval(&mut self, call: &Observation) {
        let Some(interval_ns) = call.started_ns.checked_sub(self.last_started_ns) else { return };
        self.last_started_ns = call.started_ns;
        let interval_ms = (interval_ns / 1_000_000).min(u32::MAX.into()) as u32;
        self.intervals_ms[self.intervals as usize % INTERVALS] = interval_ms;
        self.intervals = self.intervals.wrapping_add(1);
        if self.intervals % 4 == 3 {
            self.even = self.evenness();
        }
    }

    fn change(&mut self, call: &Observation) {
        let distance_ns = call.started_ns.saturating_sub(self.last_change_ns);
        self.change_ns = match self.changes {
            // The change before the first was not seen: it is at least so long ago.
            0 | 1 => distance_ns.max(self.change_ns),
            _ => (3 * self.change_ns + distance_ns) / 4,
        };
        self.changes += 1;
        self.last_change_ns = call.started_ns;
    }

    /// The pace that would be enough.
    fn enough_ns(&self, least_ns: u64) -> u64 {
        let by_changes_ns = if self.changes > 0 { self.change_ns / 2 } else { 0 };
        least_ns.max(self.told_ns).max(by_changes_ns)
    }

    fn answers(&self) -> (u32, u32) {
        (self.before.polls + self.this.polls, self.before.unchanged + self.this.unchanged)
    }

    fn evenness(&self) -> Option<(u64, f64)> {
        let known = (self.intervals as usize).min(INTERVALS);
        let mut sorted = self.intervals_ms;
        let sorted = sorted.get_mut(..known).filter(|sorted| sorted.len() >= 7)?;
        let usual = median(sorted)?;
        sorted.iter_mut().for_each(|interval| *interval = interval.abs_diff(usual));
        let off = f64::from(median(sorted)?) / f64::from(usual.max(1));
        let is_even = off <= EVEN || self.intervals >= LONG && self.variation() <= JITTERED;
        (is_even && usual >= FASTEST_MS).then_some((u64::from(usual) * 1_000_000, off))
    }

    /// Standard deviation over mean of the last intervals.
    fn variation(&self) -> f64 {
        let values = self.intervals_ms.map(f64::from);
        let mean = values.iter().sum::<f64>() / INTERVALS as f64;
        let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / INTERVALS as f64;
        square.sqrt() / mean.max(1.0)
    }
}

fn median(values: &mut [u32]) -> Option<u32> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn kind(call: &Observation, subject: &Subject) -> &'static str {
    if subject.is_operation {
        "poll_operation"
    } else if call.response_body_bytes <= EMPTY_BYTES && call.reply == Reply::Success {
        "poll_empty"
    } else {
        ""
    }
}

fn confidence(strength: Strength) -> Confidence {
    match strength {
        Strength::Length => Confidence::Heuristic,
        Strength::Prefix => Confidence::Strong,
        Strength::Body | Strength::Validator | Strength::NotModified => Confidence::Proven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Made, found, get};
    use crate::detect::subject::{Api, Names};

    fn check_with(
        api: fn(&Names) -> Api,
        calls: impl IntoIterator<Item = Made>,
        expect: &[&str],
        wasted: u64,
    ) {
        let found = found(calls, api);
        assert_eq!(found.lines_of(Pattern::PollUnchanged), expect);
        assert_eq!(found.wasted(Pattern::PollUnchanged), (wasted, 0));
    }

    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str], wasted: u64) {
        check_with(|_| Api::default(), calls, expect, wasted);
    }

    fn poll(at_ms: u64) -> Made {
        get("/v1/items/1").answer(1).at_ms(at_ms)
    }

    #[test]
    fn one_poll_in_half_a_minute_would_be_enough() {
        // 600 calls in ten minutes, of which 20 are needed.
        check((0..600).map(|n| poll(n * 1000)), &["poll_unchanged  critical 580"], 580);
    }

    #[test]
    fn twice_as_many_may_be_needed_or_none() {
        let found = found((0..600).map(|n| poll(n * 1000)), |_| Api::default());
        assert_eq!(found.bounds_of(Pattern::PollUnchanged), [[561, 580, 599]]);
    }

    #[test]
    fn half_of_the_time_from_change_to_change_is_enough() {
        // A change every 200 s, 18 in an hour: of 3600 calls 17 find one. Before the first, one in 30 s is needed, then
        // one in 100 s.
        let calls = (0..3600).map(|n| poll(n * 1000).answer(n / 200));
        check(calls, &["poll_unchanged  critical 3542"], 3542);
    }

    #[test]
    fn jitter_does_not_hide_it() {
        let jitter = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let calls = (0..600).map(|n| poll(n * 2000 + jitter(n)));
        let found = found(calls, |_| Api::default());
        let (wasted, _) = found.wasted(Pattern::PollUnchanged);
        assert!((550..=562).contains(&wasted), "{:?}", found.lines());
    }

    #[test]
    fn an_empty_queue_and_an_operation_are_kinds() {
        let empty = (0..100).map(|n| poll(n * 3000).payload(40));
        check(empty, &["poll_unchanged poll_empty warning 90"], 90);
        let operation = (0..100).map(|n| get("/v2/operations/77").answer(1).at_ms(n * 3000));
        check(operation, &["poll_unchanged poll_operation warning 90"], 90);
    }

    #[test]
    fn what_the_server_asks_for_is_enough() {
        let told = |call: &mut crate::call::Call| {
            call.exchange.signals.response.poll_interval_s = Some(60);
        };
        check((0..100).map(|n| poll(n * 5000).with(told)), &["poll_unchanged  warning 91"], 91);
    }

    #[test]
    fn what_a_cache_would_answer_is_no_poll() {
        let calls = (0..400).map(|n| poll(n * 1500).max_age(30));
        check(calls, &[], 0);
    }

    #[test]
    fn few_are_good_to_know() {
        check((0..40).map(|n| poll(n * 5000)), &["poll_unchanged  info 33"], 33);
        check((0..7).map(|n| poll(n * 5000)), &[], 0);
        check((0..100).map(|n| poll(n * 5000).answer(n / 3)), &[], 0);
        // Only the size says that nothing has changed.
        check((0..100).map(|n| get("/v1/items/1").at_ms(n * 5000)), &["poll_unchanged  info 0"], 0);
    }

    #[test]
    fn near_misses_are_none() {
        let slow = (0..100).map(|n| poll(n * 61_000));
        let conditional = (0..200).map(|n| poll(n * 30_000).status(304));
        let hanging = (0..100).map(|n| poll(n * 20_010).lasting_ms(20_000));
        let growing = (0..20).scan((0, 1000), |(at_ms, gap_ms), _| {
            *at_ms += *gap_ms;
            *gap_ms = *gap_ms * 13 / 10;
            Some(poll(*at_ms))
        });
        let by_chance = [0, 1, 9, 11, 30, 31, 47, 80, 82, 110, 111, 140].map(|at_s| poll(at_s * 1000));
        let probes = (0..200).map(|n| get("/health").answer(1).at_ms(n * 5000));
        let failing = (0..200).map(|n| poll(n * 5000).status(503));
        let all: [Vec<Made>; 7] = [
            slow.collect(),
            conditional.collect(),
            hanging.collect(),
            growing.collect(),
            by_chance.into(),
            probes.collect(),
            failing.collect(),
        ];
        for calls in all {
            check(calls, &[], 0);
        }
        let beats = || (0..200).map(|n| poll(n * 5000));
        check_with(|_| Api { is_heartbeat: true, ..Api::default() }, beats(), &[], 0);
        check_with(|_| Api { is_long_poll: true, ..Api::default() }, beats(), &[], 0);
    }

    #[test]
    fn with_a_way_to_be_told_no_poll_is_needed() {
        let api = |_: &Names| Api { push: Some("topics".into()), ..Api::default() };
        let found = found((0..100).map(|n| poll(n * 5000)), api);
        let finding =
            found.findings.iter().find(|finding| finding.pattern == Pattern::PollUnchanged).unwrap();
        assert!(finding.remedy.contains("topics"));
        assert!((98..=100).contains(&finding.waste.high().calls), "{:?}", finding.waste);
    }
}
