//! Given: calls, and what they repeat. Gives: reads whose last answer still held: a cache in the process, or waiting for
//! the one that is under way, would have spared them. Refuses to know: what the answers are.
//!
//! `coalescable`: the same was under way already. `cache_buster`: a key of the query that is there to get past caches
//! makes the same answer look like another. Requests that differ in credentials are different requests, and so are never
//! duplicates of each other; neither is a read that looks what a write has done, nor another try after a failure.
//!
//! Where the server does not say how long an answer holds, a repeat after a pause of 50 ms is a duplicate or a poll: it is held
//! back until its pace can tell. At more calls than the ledger remembers for so long, what was held back is then no longer
//! counted.

use std::collections::VecDeque;

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Strength};
use super::pattern::Pattern;
use super::request::{Freshness, Reuse};
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::DuplicateRequest,
    thresholds: &[
        Threshold {
            name: "min_duplicates",
            default: 2.0,
            what: "duplicates to one endpoint in ten minutes that are told at all",
        },
        Threshold {
            name: "warn_duplicates",
            default: 5.0,
            what: "such duplicates from which it is a warning; 8 at most",
        },
    ],
    full_bytes: TRACKS * Table::<Track>::ENTRY_BYTES + HELD_MAX * size_of::<Held>(),
    make: |values, budget| Box::new(DuplicateRequest::new(values, budget)),
};

/// Endpoints of processes that have duplicates.
const TRACKS: usize = 2048;

/// Duplicates that are remembered one by one.
const RECENT: usize = 8;

/// Duplicates this far apart do not belong together.
const WINDOW_NS: u64 = 600_000_000_000;

/// How long a repeat is held back that may be a poll: four intervals of a poll that is as slow as an answer holds.
const HELD_NS: u64 = 16_000_000_000;

/// Calls that are held back at one time; another one has the oldest judged by what is known.
const HELD_MAX: usize = 2048;

#[derive(Debug)]
struct DuplicateRequest {
    min_duplicates: usize,
    warn_duplicates: usize,
    tracks: Table<Track>,
    held: VecDeque<Held>,
}

/// A repeat that may be a poll.
#[derive(Debug)]
struct Held {
    due_ns: u64,
    request: u64,
    reuse: Reuse,
    call: Observation,
}

/// Duplicates to one endpoint by one process.
#[derive(Debug, Default)]
struct Track {
    recent: [Option<Duplicate>; RECENT],
    duplicates: u64,
    last_ns: u64,
    kinds: [u64; 3],
    is_claimed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Duplicate {
    seq: u64,
    started_ns: u64,
    /// `None` when nothing but the size says that the answer is the same.
    class: Option<Class>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Coalescable,
    CacheBuster,
}

impl DuplicateRequest {
    fn new(values: &Values, budget: Budget) -> Self {
        DuplicateRequest {
            min_duplicates: values.count("min_duplicates") as usize,
            warn_duplicates: values.count("warn_duplicates").min(RECENT as u64) as usize,
            tracks: Table::new(budget.entries(TRACKS)),
            held: VecDeque::new(),
        }
    }
}

impl Detector for DuplicateRequest {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let repeat = desk.repeat();
        let (Some(reuse), Some(request)) = (repeat.reuse, repeat.request) else { return };
        if !reuse.may_be_poll {
            return self.found(call, &reuse, desk);
        }
        if self.held.len() >= HELD_MAX
            && let Some(oldest) = self.held.pop_front()
        {
            self.judge(&oldest, desk);
        }
        let due_ns = call.started_ns + HELD_NS;
        self.held.push_back(Held { due_ns, request, reuse, call: *call });
    }

    fn tick(&mut self, now_ns: u64, desk: &mut Desk) {
        while let Some(held) = self.held.pop_front_if(|held| held.due_ns <= now_ns) {
            self.judge(&held, desk);
        }
    }

    fn finish(&mut self, desk: &mut Desk) {
        while let Some(held) = self.held.pop_front() {
            self.judge(&held, desk);
        }
    }

    fn state(&self) -> State {
        State::of([(self.tracks.len(), self.tracks.evicted()), (self.held.len(), 0)])
    }
}

impl DuplicateRequest {
    fn judge(&mut self, held: &Held, desk: &mut Desk) {
        if !desk.is_paced(held.request) {
            self.found(&held.call, &held.reuse, desk);
        }
    }

    fn found(&mut self, call: &Observation, reuse: &Reuse, desk: &mut Desk) {
        let is_meant =
            desk.subject(call).is_some_and(|subject| subject.api.is_heartbeat || subject.api.is_long_poll);
        if is_meant {
            return;
        }
        let track = self.tracks.of(call.scope, Track::default);
        let kind = Kind::of(reuse);
        let class = class(reuse);
        track.take(call, kind, class);
        if track.within(call.started_ns, |_| true) < self.min_duplicates {
            return;
        }
        let kind = track.kind();
        let id = CaseId::of(Pattern::DuplicateRequest, call);
        let case = desk.case(id, call, track.started_ns(), 2 * WINDOW_NS);
        case.finding.kind = kind.name();
        case.finding.confidence = case.finding.confidence.max(confidence(reuse));
        case.finding.remedy = kind.remedy(reuse);
        case.count(Sample::of(call, combine(call.resource, call.parts.query)));
        case.finding.calls = case.finding.calls.max(track.duplicates);
        let evidence = &mut case.finding.evidence;
        evidence.set("duplicates", Fact::Count(track.duplicates));
        evidence.say("same_by", reuse.strength.name());
        evidence.set("answer_holds", Fact::Ns(reuse.holds_ns));
        evidence.say("holds_by", source(reuse.freshness));
        let is_sure = |one: &Duplicate| one.class.is_some();
        if !track.is_claimed && track.within(call.started_ns, is_sure) < self.warn_duplicates {
            return;
        }
        case.allow(Grade::Scored);
        if !track.is_claimed {
            track.is_claimed = true;
            let waiting = track.recent.iter().flatten().filter(|one| one.seq != call.seq);
            let waiting = waiting.filter(|one| one.started_ns + WINDOW_NS > call.started_ns);
            for (seq, class) in waiting.filter_map(|one| Some((one.seq, one.class?))) {
                desk.claim(id, seq, Amount::WHOLE_CALL, class);
            }
        }
        if let Some(class) = class {
            desk.claim(id, call.seq, Amount::WHOLE_CALL, class);
        }
    }
}

impl Track {
    fn take(&mut self, call: &Observation, kind: Kind, class: Option<Class>) {
        if call.started_ns > self.last_ns.saturating_add(WINDOW_NS) {
            *self = Track::default();
        }
        self.last_ns = self.last_ns.max(call.started_ns);
        let at = (self.duplicates % RECENT as u64) as usize;
        self.recent[at] = Some(Duplicate { seq: call.seq, started_ns: call.started_ns, class });
        self.duplicates += 1;
        self.kinds[kind as usize] += 1;
    }

    fn within(&self, now_ns: u64, accept: impl Fn(&Duplicate) -> bool) -> usize {
        let recent = self.recent.iter().flatten().filter(|one| one.started_ns + WINDOW_NS > now_ns);
        recent.filter(|one| accept(one)).count()
    }

    fn started_ns(&self) -> u64 {
        self.recent.iter().flatten().map(|one| one.started_ns).min().unwrap_or(self.last_ns)
    }

    /// What most of them are.
    fn kind(&self) -> Kind {
        let [plain, coalescable, cache_buster] = self.kinds;
        if cache_buster > plain.max(coalescable) {
            Kind::CacheBuster
        } else if coalescable > plain {
            Kind::Coalescable
        } else {
            Kind::Plain
        }
    }
}

impl Kind {
    fn of(reuse: &Reuse) -> Kind {
        match reuse.freshness {
            _ if reuse.is_busted => Kind::CacheBuster,
            Freshness::InFlight => Kind::Coalescable,
            Freshness::Explicit | Freshness::Implicit => Kind::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "",
            Kind::Coalescable => "coalescable",
            Kind::CacheBuster => "cache_buster",
        }
    }

    fn remedy(self, reuse: &Reuse) -> String {
        let seconds = reuse.holds_ns / 1_000_000_000;
        match self {
            Kind::Plain => format!("Keep the answer for {seconds} s and use it again."),
            Kind::Coalescable => {
                "Let whoever asks while the same request is under way wait for its answer.".to_owned()
            }
            Kind::CacheBuster => format!(
                "Leave out the query key that changes with every call, and keep the answer for {seconds} s."
            ),
        }
    }
}

fn class(reuse: &Reuse) -> Option<Class> {
    match reuse.strength {
        Strength::Length => None,
        // The server has its reasons, and does not tell them.
        _ if reuse.no_store => Some(Class::Potential),
        _ => Some(Class::Avoidable),
    }
}

fn confidence(reuse: &Reuse) -> Confidence {
    match reuse.freshness {
        _ if reuse.strength == Strength::Length => Confidence::Heuristic,
        Freshness::Explicit => Confidence::Proven,
        Freshness::InFlight | Freshness::Implicit => Confidence::Strong,
    }
}

fn source(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::InFlight => "in flight",
        Freshness::Explicit => "max-age",
        Freshness::Implicit => "default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Made, found, get, send};
    use crate::detect::subject::Api;

    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str], wasted: (u64, u64)) {
        let found = found(calls, |_| Api::default());
        assert_eq!(found.lines_of(Pattern::DuplicateRequest), expect);
        assert_eq!(found.wasted(Pattern::DuplicateRequest), wasted);
    }

    fn read(at_ms: u64) -> Made {
        get("/v1/items/1").answer(1).at_ms(at_ms)
    }

    #[test]
    fn of_scripts_that_ask_at_once_one_needs_to() {
        let calls = (0..12).map(|n| read(n * 20).lasting_ms(400));
        check(calls, &["duplicate_request coalescable info 11"], (11, 0));
        // Some after the answer, some before it, some after a pause.
        let calls = [0, 5, 10, 200, 700, 750, 900].map(read);
        check(calls, &["duplicate_request  info 6"], (6, 0));
    }

    #[test]
    fn what_the_server_says_of_its_answer_holds() {
        // 1.5 s apart for ten minutes: 401 calls, and the first and one in 31.5 s are needed.
        let calls = (0..401).map(|n| read(n * 1500).max_age(30));
        check(calls, &["duplicate_request  critical 381"], (381, 0));
    }

    #[test]
    fn keys_that_get_past_caches_change_nothing() {
        // The first and one in 5 s are needed: 4 s from its end are over with the fifth after it.
        let calls = (0..100).map(|n| get(&format!("/v1/items?t={n}")).answer(1).at_ms(n * 1000));
        check(calls, &["duplicate_request cache_buster warning 80"], (80, 0));
    }

    #[test]
    fn few_are_good_to_know() {
        check([read(0), read(10)], &[], (0, 0));
        check([read(0), read(50), read(100), read(150)], &["duplicate_request  info 0"], (0, 0));
        // Ten minutes later it is another matter.
        let apart = (0..8).map(|n| read(n / 2 * 700_000 + n % 2 * 50));
        check(apart, &[], (0, 0));
    }

    #[test]
    fn the_size_alone_proves_nothing() {
        let calls = (0..20).map(|n| get("/v1/items/1").at_ms(n * 50));
        check(calls, &["duplicate_request  info 0"], (0, 0));
    }

    #[test]
    fn what_must_not_be_stored_may_be_needed() {
        let calls = (0..25).map(|n| read(n * 40).with(|call| call.exchange.signals.response.no_store = true));
        check(calls, &["duplicate_request  warning 24"], (0, 24));
    }

    #[test]
    fn polls_tries_and_checks_are_no_duplicates() {
        let polls = (0..300).map(|n| read(n * 1000));
        let slow_polls = (0..300).map(|n| read(n * 3900));
        let many_polls = (0..3000).map(|n| get(&format!("/v1/items/{}", n % 10)).answer(1).at_ms(n * 100));
        let tries = (0..20).map(|n| read(n * 100).status(503));
        let checks = (0..20u64).map(|n| {
            if n.is_multiple_of(2) { read(n * 300) } else { send("PUT", "/v1/items/1").at_ms(n * 300) }
        });
        let credentials =
            (0..20).map(|n| read(n * 50).with(|call| call.exchange.signals.request.credentials = Some(n)));
        let hops = (0..20).map(|n| read(n * 50).status(302));
        let parts = (0..20).map(|n| read(n * 50).status(206));
        let hanging = (0..20).map(|n| read(n * 3001).lasting_ms(3000));
        let changing = (0..20).map(|n| read(n * 50).answer(n));
        let all: [Vec<Made>; 10] = [
            polls.collect(),
            slow_polls.collect(),
            many_polls.collect(),
            tries.collect(),
            checks.collect(),
            credentials.collect(),
            hops.collect(),
            parts.collect(),
            hanging.collect(),
            changing.collect(),
        ];
        for calls in all {
            check(calls, &[], (0, 0));
        }
    }

    #[test]
    fn heartbeats_and_probes_are_meant_to_be_repeated() {
        let beats = (0..20).map(|n| read(n * 50));
        let found = found(beats, |_| Api { is_heartbeat: true, ..Api::default() });
        assert_eq!(found.lines_of(Pattern::DuplicateRequest), [""; 0]);
        let probes = (0..20).map(|n| get("/healthz").answer(1).at_ms(n * 50));
        check(probes, &[], (0, 0));
    }

    #[test]
    fn several_scripts_that_each_poll_ask_for_the_same() {
        let calls = (0..60).flat_map(|n| [0, 130, 390].map(|offset| read(n * 1000 + offset)));
        let found = found(calls, |_| Api::default());
        assert!(found.wasted(Pattern::DuplicateRequest).0 > 100, "{:?}", found.lines());
    }
}
