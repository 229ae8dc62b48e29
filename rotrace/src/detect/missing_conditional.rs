//! Given: calls, and what they repeat. Gives: reads that were answered in full although the client has the body already
//! and the server had told it how to say so. Refuses to know: whether the read was needed; when it was not, that is
//! another pattern, and these bytes are part of it.
//!
//! RFC 9110 §13.1: with `If-None-Match` or `If-Modified-Since` the answer is a 304 without a body. What of the price that
//! spares is taken from the default weights, by which a 304 costs three tenths of a full answer; that the server still has
//! to look is half of its time.

use super::case::{Case, CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Strength, Verb};
use super::pattern::Pattern;
use super::request::Repeat;
use super::table::Table;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::MissingConditional,
    thresholds: &[
        Threshold {
            name: "min_unchanged",
            default: 5.0,
            what: "unchanged full answers in an hour that are told at all",
        },
        Threshold {
            name: "warn_bytes",
            default: 65_536.0,
            what: "bytes of such answers in an hour from which it is a warning",
        },
        Threshold { name: "min_body_bytes", default: 1024.0, what: "smallest body that is looked at" },
    ],
    full_bytes: TRACKS * (Table::<Track>::ENTRY_BYTES + PENDING_MAX * size_of::<(u64, Amount)>()),
    make: |values, budget| Box::new(MissingConditional::new(values, budget)),
};

/// Endpoints of processes that have such answers.
const TRACKS: usize = 512;

/// Calls that wait for the warning threshold, and are then claimed.
const PENDING_MAX: usize = 64;

const HOUR_NS: u64 = 3_600_000_000_000;

/// What of its price a 304 spares.
const SPARED: f64 = 0.7;

#[derive(Debug)]
struct MissingConditional {
    min_unchanged: u32,
    warn_bytes: u64,
    min_body_bytes: u64,
    tracks: Table<Track>,
}

/// Unchanged full answers of one endpoint to one process, within an hour.
#[derive(Debug, Default)]
struct Track {
    started_ns: u64,
    unchanged: u32,
    bytes: u64,
    pending: Vec<(u64, Amount)>,
    is_claimed: bool,
}

impl MissingConditional {
    fn new(values: &Values, budget: Budget) -> Self {
        MissingConditional {
            min_unchanged: values.count("min_unchanged") as u32,
            warn_bytes: values.count("warn_bytes"),
            min_body_bytes: values.count("min_body_bytes"),
            tracks: Table::new(budget.entries(TRACKS)),
        }
    }
}

impl Detector for MissingConditional {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let repeat = desk.repeat();
        if !repeat.is_validated || call.status != 200 || call.response_body_bytes < self.min_body_bytes {
            return;
        }
        let request = &call.signals.request;
        let is_duplicate = repeat.reuse.is_some_and(|reuse| !reuse.may_be_poll);
        if call.verb != Verb::Read || request.is_conditional || request.is_range || is_duplicate {
            return;
        }
        let api = desk.api(call);
        if api.is_conditional == Some(false) {
            return;
        }
        let track = self.tracks.of(call.scope, Track::default);
        track.take(call);
        if track.unchanged < self.min_unchanged {
            return;
        }
        let id = CaseId::of(Pattern::MissingConditional, call);
        let case = desk.case(id, call, track.started_ns, 2 * HOUR_NS);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.calls = finding.calls.max(track.unchanged.into());
        finding.confidence =
            if call.signals.response.etag.is_some() { Confidence::Proven } else { Confidence::Strong };
        finding.remedy =
            "Keep the body with its ETag and send that in If-None-Match: what has not changed is then \
                          answered without a body."
                .to_owned();
        let evidence = &mut finding.evidence;
        evidence.set("unchanged_hour", Fact::Count(track.unchanged.into()));
        evidence.set("unchanged_bytes_hour", Fact::Bytes(track.bytes));
        evidence.say("same_by", same_by(call, &repeat));
        if !track.is_claimed && track.bytes < self.warn_bytes {
            return;
        }
        case.allow(Grade::Warned);
        track.is_claimed = true;
        for (seq, amount) in track.pending.drain(..) {
            desk.claim(id, seq, amount, Class::Avoidable);
        }
        if let Some(Case { finding, .. }) = desk.open_case(id) {
            // What another pattern has of them as whole calls was moved for nothing as well.
            let own = finding.calls.saturating_sub(finding.overlap_calls).max(1);
            finding.waste.high_share = finding.calls as f64 / own as f64;
        }
    }

    fn state(&self) -> State {
        State::of([(self.tracks.len(), self.tracks.evicted())])
    }
}

impl Track {
    fn take(&mut self, call: &Observation) {
        if call.started_ns > self.started_ns.saturating_add(HOUR_NS) {
            *self = Track { started_ns: call.started_ns, ..Track::default() };
        }
        self.unchanged += 1;
        self.bytes = self.bytes.saturating_add(call.response_body_bytes);
        if self.pending.len() < PENDING_MAX {
            self.pending.push((call.seq, spared(call)));
        }
    }
}

fn same_by(call: &Observation, repeat: &Repeat) -> &'static str {
    let response = &call.signals.response;
    match (response.etag, response.last_modified) {
        (None, Some(_)) => "last-modified",
        (Some(_), _) => Strength::Validator.name(),
        (None, None) => repeat.unchanged.map_or("", Strength::name),
    }
}

fn spared(call: &Observation) -> Amount {
    Amount {
        calls: 0,
        bytes: call.response_body_bytes,
        server_ns: call.server_ns / 2,
        cost_ucu: (call.cost_ucu as f64 * SPARED) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Made, found, get};
    use crate::detect::subject::{Api, Names};

    /// Severities of the findings, and the bytes that were counted as wasted.
    fn check_with(
        api: fn(&Names) -> Api,
        calls: impl IntoIterator<Item = Made>,
        expect: &[&str],
        bytes: u64,
    ) {
        let found = found(calls, api);
        assert_eq!(found.lines_of(Pattern::MissingConditional), expect);
        let wasted = found.detectors.snapshot().wasted;
        let of = wasted.iter().filter(|wasted| wasted.pattern == Pattern::MissingConditional);
        assert_eq!(of.map(|wasted| wasted.amount.bytes).sum::<u64>(), bytes);
        let told: u64 = found
            .findings
            .iter()
            .filter(|finding| finding.pattern == Pattern::MissingConditional)
            .map(|finding| finding.waste.expected.bytes)
            .sum();
        assert_eq!(told, bytes);
    }

    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str], bytes: u64) {
        check_with(|_| Api::default(), calls, expect, bytes);
    }

    /// One a minute, so that it is neither a duplicate nor a poll.
    fn read(n: u64) -> Made {
        get("/v1/items/1").etag(1).payload(200_000).at_ms(n * 61_000)
    }

    #[test]
    fn full_answers_to_those_who_have_them_are_wasted() {
        // The first is needed, and the one after the change.
        let calls = || (0..50).map(|n| read(n).etag(1 + n / 25));
        check(calls(), &["missing_conditional  warning 0"], 48 * 200_000);
        let modified = calls().map(|made| {
            made.with(|call| {
                let response = &mut call.exchange.signals.response;
                response.last_modified = response.etag.take();
            })
        });
        check(modified, &["missing_conditional  warning 0"], 48 * 200_000);
    }

    #[test]
    fn small_ones_are_good_to_know() {
        check((0..50).map(|n| read(n).payload(1024)), &["missing_conditional  info 0"], 0);
    }

    #[test]
    fn near_misses_are_none() {
        check((0..5).map(read), &[], 0);
        check((0..50).map(|n| read(n).payload(1000)), &[], 0);
        check((0..50).map(|n| read(n).etag(n)), &[], 0);
        let no_validator = |call: &mut crate::call::Call| call.exchange.signals.response.etag = None;
        check((0..50).map(|n| read(n).with(no_validator).answer(1)), &[], 0);
        let conditional = |call: &mut crate::call::Call| call.exchange.signals.request.is_conditional = true;
        check((0..50).map(|n| read(n).with(conditional)), &[], 0);
        check((0..50).map(|n| read(n).status(304)), &[], 0);
        check((0..50).map(|n| read(n).max_age(3600)), &[], 0);
        check_with(|_| Api { is_conditional: Some(false), ..Api::default() }, (0..50).map(read), &[], 0);
    }

    #[test]
    fn bytes_of_polls_are_wasted_with_the_polls() {
        // 200 calls in 1000 s. One in 30 s is needed as such, and its bytes are not; of the others all is wasted.
        let calls = (0..200).map(|n| read(0).at_ms(n * 5000));
        check(calls, &["missing_conditional  warning 0"], 33 * 200_000);
    }
}
