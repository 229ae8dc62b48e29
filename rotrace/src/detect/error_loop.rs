//! Given: calls, and what they repeat. Gives: requests that are refused again and again in a way that asking again does
//! not change. Refuses to know: what is wrong with them.
//!
//! `request`: one request has the same 4xx five times in ten minutes without a success in between; those beyond the second
//! are wasted. `contention`: the same of 409 and 412, where three are the price of not locking. `endpoint`: nearly all
//! calls of one endpoint are refused, whatever they ask for; a 404 says nothing there, it may be the answer to a question.
//! 408, 425 and 429 ask for another try, and are `retry_storm`'s.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Verb};
use super::pattern::Pattern;
use super::table::Table;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::ErrorLoop,
    thresholds: &[
        Threshold {
            name: "warn_repeats",
            default: 5.0,
            what: "refusals of one request in ten minutes from which it is a warning; 8 at most",
        },
        Threshold {
            name: "warn_calls",
            default: 50.0,
            what: "calls of one endpoint from which its share counts",
        },
        Threshold {
            name: "warn_refused_ratio",
            default: 0.95,
            what: "share of them that is refused, from which it is a warning",
        },
        Threshold { name: "free_refusals", default: 2.0, what: "refusals that one has to see" },
        Threshold { name: "free_conflicts", default: 3.0, what: "the same of 409 and 412" },
    ],
    full_bytes: REFUSED * Table::<Refused>::ENTRY_BYTES
        + ENDPOINTS * (Table::<Endpoint>::ENTRY_BYTES + PENDING_MAX * size_of::<u64>()),
    make: |values, budget| Box::new(ErrorLoop::new(values, budget)),
};

/// Requests that were refused.
const REFUSED: usize = 4096;

/// Endpoints of processes that have refused.
const ENDPOINTS: usize = 1024;

/// Refusals of a request that are remembered one by one.
const RECENT: usize = 8;

/// Refusals of an endpoint that wait for the warning threshold.
const PENDING_MAX: usize = 64;

/// Refusals this far apart do not belong together.
const WINDOW_NS: u64 = 600_000_000_000;

#[derive(Debug)]
struct ErrorLoop {
    warn_repeats: usize,
    warn_calls: u32,
    warn_refused_ratio: f64,
    free_refusals: u64,
    free_conflicts: u64,
    refused: Table<Refused>,
    endpoints: Table<Endpoint>,
}

/// Refusals of one request, since its last success.
#[derive(Debug, Default)]
struct Refused {
    status: u16,
    is_claimed: bool,
    count: u64,
    started_ns: u64,
    /// Start and number.
    recent: [(u64, u64); RECENT],
}

/// Calls of one endpoint by one process since its first refusal.
#[derive(Debug, Default)]
struct Endpoint {
    started_ns: u64,
    last_ns: u64,
    calls: u32,
    refused: u32,
    pending: Vec<u64>,
    is_claimed: bool,
}

impl ErrorLoop {
    fn new(values: &Values, budget: Budget) -> Self {
        ErrorLoop {
            warn_repeats: values.count("warn_repeats").clamp(1, RECENT as u64) as usize,
            warn_calls: values.count("warn_calls") as u32,
            warn_refused_ratio: values.of_name("warn_refused_ratio"),
            free_refusals: values.count("free_refusals"),
            free_conflicts: values.count("free_conflicts"),
            refused: Table::new(budget.entries(REFUSED)),
            endpoints: Table::new(budget.entries(ENDPOINTS)),
        }
    }
}

impl Detector for ErrorLoop {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if call.verb == Verb::Other {
            return;
        }
        let repeat = desk.repeat();
        if !is_refusal(call.status) {
            if !self.endpoints.is_empty()
                && let Some(endpoint) = self.endpoints.find(call.scope)
            {
                endpoint.take(call, false);
            }
            if let (Some(last), Some(request), 200..400) = (repeat.last, repeat.request, call.status)
                && is_refusal(last.status)
            {
                self.refused.remove(request);
            }
            return;
        }
        if let Some(request) = repeat.request {
            let refused = self.refused.of(request, Refused::default);
            refused.take(call);
            if refused.is_claimed || refused.within(call.started_ns) >= self.warn_repeats {
                self.request_found(call, request, desk);
                return;
            }
        }
        let endpoint = self.endpoints.of(call.scope, Endpoint::default);
        endpoint.take(call, says_all(call.status));
        if says_all(call.status)
            && endpoint.calls >= self.warn_calls
            && f64::from(endpoint.refused) >= self.warn_refused_ratio * f64::from(endpoint.calls)
        {
            self.endpoint_found(call, desk);
        }
    }

    fn state(&self) -> State {
        State::of([
            (self.refused.len(), self.refused.evicted()),
            (self.endpoints.len(), self.endpoints.evicted()),
        ])
    }
}

impl ErrorLoop {
    fn request_found(&mut self, call: &Observation, request: u64, desk: &mut Desk) {
        let Some(refused) = self.refused.find(request) else { return };
        let is_conflict = matches!(call.status, 409 | 412);
        let free = if is_conflict { self.free_conflicts } else { self.free_refusals };
        let id = CaseId::of(Pattern::ErrorLoop, call);
        let case = desk.case(id, call, refused.started_ns, 2 * WINDOW_NS);
        case.allow(Grade::Scored);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.calls = finding.calls.max(refused.count);
        finding.kind = if is_conflict { "contention" } else { "request" };
        finding.confidence = Confidence::Strong;
        finding.remedy = remedy(call.status).to_owned();
        finding.evidence.set("status", Fact::Count(call.status.into()));
        finding.evidence.set("refusals", Fact::Count(refused.count));
        let waiting = if refused.is_claimed { 1 } else { refused.within(call.started_ns) };
        refused.is_claimed = true;
        let beyond = refused.count.saturating_sub(free).min(waiting as u64);
        for back in (0..beyond).rev() {
            let at = ((refused.count - 1 - back) % RECENT as u64) as usize;
            let (_, seq) = refused.recent[at];
            desk.claim(id, seq, Amount::WHOLE_CALL, Class::Avoidable);
        }
    }

    fn endpoint_found(&mut self, call: &Observation, desk: &mut Desk) {
        let Some(endpoint) = self.endpoints.find(call.scope) else { return };
        let id = CaseId::of(Pattern::ErrorLoop, call);
        let case = desk.case(id, call, endpoint.started_ns, 2 * WINDOW_NS);
        case.allow(Grade::Scored);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        if finding.kind.is_empty() {
            finding.kind = "endpoint";
        }
        finding.calls = finding.calls.max(endpoint.refused.into());
        finding.confidence = finding.confidence.max(Confidence::Heuristic);
        finding.remedy = remedy(call.status).to_owned();
        finding.evidence.set("status", Fact::Count(call.status.into()));
        finding.evidence.set("calls", Fact::Count(endpoint.calls.into()));
        let refused = f64::from(endpoint.refused) / f64::from(endpoint.calls.max(1));
        finding.evidence.set("refused", Fact::Ratio(refused));
        let free = if endpoint.is_claimed { 0 } else { self.free_refusals as usize };
        endpoint.is_claimed = true;
        for seq in endpoint.pending.drain(..).skip(free) {
            desk.claim(id, seq, Amount::WHOLE_CALL, Class::Potential);
        }
    }
}

impl Refused {
    fn take(&mut self, call: &Observation) {
        let (last_ns, _) = self.recent[(self.count.wrapping_sub(1) % RECENT as u64) as usize];
        let is_apart = call.started_ns > last_ns.saturating_add(WINDOW_NS);
        if self.count == 0 || call.status != self.status || is_apart {
            *self = Refused { status: call.status, started_ns: call.started_ns, ..Refused::default() };
        }
        self.recent[(self.count % RECENT as u64) as usize] = (call.started_ns, call.seq);
        self.count += 1;
    }

    fn within(&self, now_ns: u64) -> usize {
        let known = self.recent.iter().take(self.count.min(RECENT as u64) as usize);
        known.filter(|&&(started_ns, _)| started_ns + WINDOW_NS > now_ns).count()
    }
}

impl Endpoint {
    fn take(&mut self, call: &Observation, is_refused: bool) {
        if self.calls == 0 || call.started_ns > self.last_ns.saturating_add(WINDOW_NS) {
            *self = Endpoint { started_ns: call.started_ns, ..Endpoint::default() };
        }
        self.last_ns = self.last_ns.max(call.started_ns);
        // What was long ago fades.
        if self.calls >= 4096 {
            (self.calls, self.refused) = (self.calls / 2, self.refused / 2);
        }
        self.calls += 1;
        self.refused += u32::from(is_refused);
        if is_refused && self.pending.len() < PENDING_MAX {
            self.pending.push(call.seq);
        }
    }
}

/// A 4xx that another try does not change.
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..500) && !matches!(status, 408 | 425 | 429)
}

/// It says something of the endpoint, not only of what was asked for.
fn says_all(status: u16) -> bool {
    !matches!(status, 404 | 409 | 410 | 412)
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "Correct the credentials or their rights: asking again changes nothing.",
        404 | 410 => "Remember for some minutes that it does not exist.",
        405 => "Correct the method: the endpoint does not take this one.",
        409 | 412 => {
            "Read the current version again before writing, with a pause that grows from try to try."
        }
        _ => "Correct the request, and do not repeat what was refused.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Made, found, get, send};
    use crate::detect::subject::Api;

    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str], wasted: (u64, u64)) {
        let found = found(calls, |_| Api::default());
        assert_eq!(found.lines_of(Pattern::ErrorLoop), expect);
        assert_eq!(found.wasted(Pattern::ErrorLoop), wasted);
    }

    fn refused(n: u64) -> Made {
        get("/v1/items/1").status(403).at_ms(n * 5000)
    }

    #[test]
    fn all_but_two_of_the_same_refusals_are_wasted() {
        check((0..100).map(refused), &["error_loop request warning 98"], (98, 0));
        let gone = (0..10).flat_map(|n| {
            [1, 2, 3].map(|id| get(&format!("/v1/assets/{id}")).status(404).at_ms(n * 60_000 + id))
        });
        check(gone, &["error_loop request warning 24"], (24, 0));
    }

    #[test]
    fn five_in_ten_minutes_is_where_it_begins() {
        check((0..4).map(refused), &[], (0, 0));
        // Of an endpoint that is called so rarely, nothing is more than good to know.
        check((0..19).map(refused), &["error_loop request info 17"], (17, 0));
        check((0..20).map(refused), &["error_loop request warning 18"], (18, 0));
        check((0..5).map(refused), &["error_loop request info 3"], (3, 0));
        check((0..40).map(|n| refused(0).at_ms(n * 151_000)), &[], (0, 0));
    }

    #[test]
    fn a_success_or_another_answer_begins_anew() {
        let recovers = (0..40).map(|n| if n % 5 == 4 { refused(n).status(200) } else { refused(n) });
        check(recovers, &[], (0, 0));
        let varies = (0..40).map(|n| refused(n).status(if n % 4 < 2 { 403 } else { 404 }));
        check(varies, &[], (0, 0));
    }

    #[test]
    fn conflicts_are_the_price_of_not_locking() {
        let put = |n: u64, status| send("PUT", "/v1/items/1").status(status).at_ms(n * 1000);
        check((0..40).map(|n| put(n, if n % 4 == 3 { 200 } else { 409 })), &[], (0, 0));
        check((0..10).map(|n| put(n, 412)), &["error_loop contention info 7"], (7, 0));
    }

    #[test]
    fn an_endpoint_that_refuses_nearly_all_is_one() {
        let of = |n: u64, status| get(&format!("/v1/users/{n}")).status(status).at_ms(n * 500);
        check((0..80).map(|n| of(n, 401)), &["error_loop endpoint warning 78"], (0, 78));
        check((0..49).map(|n| of(n, 401)), &[], (0, 0));
        check((0..80).map(|n| of(n, if n % 15 == 7 { 200 } else { 401 })), &[], (0, 0));
        // Whether somebody exists is a question.
        check((0..80).map(|n| of(n, 404)), &[], (0, 0));
    }

    #[test]
    fn near_misses_are_none() {
        let token = |n: u64| {
            move |call: &mut crate::call::Call| {
                call.exchange.signals.request.credentials = Some(n);
            }
        };
        // A token is renewed each time that it has run out.
        let renewed = (0..40u64).map(|n| {
            let status = if n.is_multiple_of(2) { 401 } else { 200 };
            refused(n).status(status).with(token(n.div_ceil(2)))
        });
        check(renewed, &[], (0, 0));
        let limited = (0..40).map(|n| refused(n).status(429));
        check(limited, &[], (0, 0));
        let preflight = (0..40).map(|n| send("OPTIONS", "/v1/items").status(403).at_ms(n * 1000));
        check(preflight, &[], (0, 0));
    }
}
