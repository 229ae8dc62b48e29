//! Given: calls. Gives: processes that call an authority more often than it lets them, or are about to. Refuses to know:
//! limits that nobody told, and whose quota it is: one that several servers share can be used up by another.
//!
//! That a limit was exceeded is what the answers say (429, RFC 6585 §4), and each such answer is a call for nothing. That a
//! limit is near is seen in two ways: fields of the answers say what is left, or the catalogue has the limit of one server
//! process, and its calls are counted. Nothing is wasted by that yet, so it stays good to know.

use super::case::{Case, CaseId, FEW_CALLS, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Class, Confidence, Evidence, Fact, Sample};
use super::limit::{Limit, LimitUse, Limits};
use super::observation::{Observation, Reply};
use super::pattern::Pattern;
use super::pending::Pending;
use super::table::Table;
use super::window::Window;
use crate::keyed::combine;

pub(super) const ROW: Row = Row {
    pattern: Pattern::RateLimitPressure,
    thresholds: &[
        Threshold {
            name: "min_rejected_calls",
            default: 10.0,
            what: "answers with 429 in five minutes from which they are told",
        },
        Threshold {
            name: "min_rejected_share",
            default: 0.01,
            what: "share of the calls of a process to an authority that these must be as well",
        },
        Threshold {
            name: "min_used_share",
            default: 0.8,
            what: "share of a limit that is used within a minute from which the minute counts as full",
        },
        Threshold {
            name: "min_full_minutes",
            default: 3.0,
            what: "full minutes of the last five from which they are told",
        },
    ],
    full_bytes: GROUPS * Table::<Group>::ENTRY_BYTES
        + REJECTED * (Table::<Rejected>::ENTRY_BYTES + Pending::FULL_BYTES)
        + ENDPOINTS * Table::<Minutes<u32>>::ENTRY_BYTES
        + Limits::FULL_BYTES,
    make: |values, budget| Box::new(RateLimitPressure::new(values, budget)),
};

/// Processes and authorities whose calls are counted.
const GROUPS: usize = 8 * 1024;

/// Those of them that turn calls away.
const REJECTED: usize = 384;

/// Endpoints of processes that have a limit of their own and are followed.
const ENDPOINTS: usize = 4096;

const SECOND_NS: u64 = 1_000_000_000;

/// A process that has just started may use up what it has saved.
const START_NS: u64 = 60 * SECOND_NS;

/// A pause of this length after a 429 is one in which callers are held back: engines wait for half a minute. A longer one
/// may have any reason.
const STALL_NS: std::ops::RangeInclusive<u64> = 20 * SECOND_NS..=60 * SECOND_NS;

/// How long after its last call a case is over.
const IDLE_NS: u64 = 600 * SECOND_NS;

const REMEDY: &str = "Let a token bucket at 80 % of the limit stand before these calls, wait as long as Retry-After \
                      says, and ask for many things at once where the service lets you.";

type Minutes<V> = Window<V, 60, 5>;

#[derive(Debug)]
struct RateLimitPressure {
    min_rejected: u64,
    min_rejected_share: f64,
    min_used_share: f64,
    min_full_minutes: usize,
    groups: Table<Group>,
    rejected: Table<Rejected>,
    /// Calls to endpoints that have a limit of their own.
    limited: Table<Minutes<u32>>,
    uses: Limits,
}

/// What one process has to do with one authority.
#[derive(Debug, Default)]
struct Group {
    minutes: Minutes<Minute>,
    last_started_ns: u64,
    was_rejected: bool,
}

/// What is known of it once calls were turned away.
#[derive(Debug, Default)]
struct Rejected {
    stalls: u64,
    stalled_ns: u64,
    /// Endpoints whose calls were turned away most often.
    worst: [(u64, u32); 4],
    pending: Pending,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    calls: u32,
    rejected: u32,
    /// The largest share of a limit that an answer said to be used.
    used_share: f32,
}

impl RateLimitPressure {
    fn new(values: &Values, budget: Budget) -> Self {
        RateLimitPressure {
            min_rejected: values.count("min_rejected_calls"),
            min_rejected_share: values.of_name("min_rejected_share"),
            min_used_share: values.of_name("min_used_share"),
            min_full_minutes: values.count("min_full_minutes") as usize,
            groups: Table::new(budget.entries(GROUPS)),
            rejected: Table::new(budget.entries(REJECTED)),
            limited: Table::new(budget.entries(ENDPOINTS)),
            uses: Limits::new(budget),
        }
    }
}

impl Detector for RateLimitPressure {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let told = told_share(call);
        // How much is used is so whoever uses it, one that has just started too.
        if let Some(share) = told {
            self.uses.record(call, Limit::Answers, share, desk);
        }
        if call.process_age_ns.is_some_and(|age_ns| age_ns < START_NS) {
            return;
        }
        let api = desk.subject(call).map(|subject| &subject.api).filter(|api| api.is_limit_per_process);
        if let Some(limit) = api.and_then(|api| api.limit_per_minute) {
            self.count_limited(call, limit, desk);
        }
        let key = combine(call.process, call.authority);
        let group = self.groups.of(key, Group::default);
        let stalled_ns = group.take(call, told);
        if stalled_ns > 0
            && let Some(rejected) = self.rejected.find(key)
        {
            rejected.stalls += 1;
            rejected.stalled_ns += stalled_ns;
        }
        if call.reply == Reply::TooMany {
            self.rejected.of(key, Rejected::default).take(call);
            self.rejected(call, desk);
        } else if told.is_some_and(|share| f64::from(share) >= self.min_used_share) {
            self.nearly_rejected(call, desk);
        }
    }

    fn limits(&self, now_ns: u64) -> Vec<LimitUse> {
        self.uses.at(now_ns)
    }

    fn state(&self) -> State {
        let Self { groups, rejected, limited, uses, .. } = self;
        State::of([
            (groups.len(), groups.evicted()),
            (rejected.len(), rejected.evicted()),
            (limited.len(), limited.evicted()),
            uses.counts(),
        ])
    }
}

impl RateLimitPressure {
    /// The server has turned the call away.
    fn rejected(&mut self, call: &Observation, desk: &mut Desk) {
        let key = combine(call.process, call.authority);
        let Some((group, own)) = self.groups.peek(key).zip(self.rejected.find(key)) else { return };
        let (mut calls, mut rejected) = (0, 0);
        for minute in group.minutes.recent(call.started_ns) {
            calls += u64::from(minute.calls);
            rejected += u64::from(minute.rejected);
        }
        if rejected <= 1 {
            // What was long before is another matter.
            (own.stalls, own.stalled_ns) = (0, 0);
        }
        if rejected < self.min_rejected || (rejected as f64) < self.min_rejected_share * calls as f64 {
            return;
        }
        let worst = own.worst_names(desk);
        let started_ns = own.pending.started_ns().unwrap_or(call.started_ns);
        let id = CaseId::new(Pattern::RateLimitPressure, key);
        let case = desk.authority_case(id, call, started_ns, IDLE_NS);
        if calls >= FEW_CALLS {
            // What one is turned away for, others may want: it is a warning however little such an answer costs.
            case.allow(Grade::Warned);
        }
        case.finding.calls += own.pending.tell(rejected).saturating_sub(1);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.kind = "rejected";
        finding.confidence = Confidence::Proven;
        finding.latency_ns += std::mem::take(&mut own.stalled_ns);
        let evidence = &mut finding.evidence;
        evidence.say("limit_source", "answers with 429");
        evidence.set("calls_5min", Fact::Count(calls));
        evidence.set("rejected_5min", Fact::Count(rejected));
        let minutes = group.minutes.recent(call.started_ns);
        evidence.set("calls_by_minute", Fact::Counts(minutes.map(|minute| minute.calls.into()).collect()));
        evidence.set("stalls", Fact::Count(own.stalls));
        evidence.say("endpoints", &worst);
        set_limit(evidence, call);
        if finding.remedy.is_empty() {
            finding.remedy = REMEDY.to_owned();
        }
        own.pending.claim(id, Class::Avoidable, desk);
    }

    /// The server says that little is left.
    fn nearly_rejected(&mut self, call: &Observation, desk: &mut Desk) {
        let key = combine(call.process, call.authority);
        let Some(group) = self.groups.find(key) else { return };
        let minutes = group.minutes.recent(call.started_ns);
        let full = minutes.filter(|minute| f64::from(minute.used_share) >= self.min_used_share).count();
        if full < self.min_full_minutes {
            return;
        }
        let id = CaseId::new(Pattern::RateLimitPressure, key);
        let case = desk.authority_case(id, call, call.started_ns, IDLE_NS);
        // That calls were turned away says more.
        if case.finding.kind == "rejected" {
            return;
        }
        let minutes = group.minutes.recent(call.started_ns);
        let calls = minutes.map(|minute| minute.calls.into()).collect();
        near_limit(case, call, "fields of answers", full, calls);
        set_limit(&mut case.finding.evidence, call);
    }

    /// A call to an endpoint of which the catalogue knows how many calls one process may make.
    fn count_limited(&mut self, call: &Observation, limit: u32, desk: &mut Desk) {
        let minutes = self.limited.of(call.scope, Minutes::default);
        let Some(calls) = minutes.at(call.started_ns) else { return };
        *calls += 1;
        self.uses.record(call, Limit::Catalogue, *calls as f32 / limit.max(1) as f32, desk);
        let is_full = |calls: u32| f64::from(calls) >= self.min_used_share * f64::from(limit);
        if !is_full(*calls) {
            return;
        }
        let full = minutes.recent(call.started_ns).filter(|&calls| is_full(calls)).count();
        if full < self.min_full_minutes {
            return;
        }
        let calls = minutes.recent(call.started_ns).map(u64::from).collect();
        let id = CaseId::of(Pattern::RateLimitPressure, call);
        let case = desk.case(id, call, call.started_ns, IDLE_NS);
        near_limit(case, call, "catalogue", full, calls);
        case.finding.evidence.set("limit", Fact::Count(limit.into()));
    }
}

fn near_limit(case: &mut Case, call: &Observation, source: &str, full_minutes: usize, calls: Vec<u64>) {
    case.count(Sample::of(call, call.resource));
    let finding = &mut case.finding;
    finding.kind = "near_limit";
    finding.class = Class::Potential;
    finding.confidence = Confidence::Strong;
    finding.evidence.say("limit_source", source);
    finding.evidence.set("full_minutes_5min", Fact::Count(full_minutes as u64));
    finding.evidence.set("calls_by_minute", Fact::Counts(calls));
    if finding.remedy.is_empty() {
        finding.remedy = REMEDY.to_owned();
    }
}

fn set_limit(evidence: &mut Evidence, call: &Observation) {
    if let Some(limit) = call.signals.response.rate_limit {
        evidence.set("limit", Fact::Count(limit.limit.into()));
        evidence.set("remaining", Fact::Count(limit.remaining.into()));
    }
}

/// What part of a limit is used, as the answer says; `None` when it says nothing.
fn told_share(call: &Observation) -> Option<f32> {
    let limit = call.signals.response.rate_limit.filter(|limit| limit.limit > 0)?;
    Some(1.0 - (f64::from(limit.remaining) / f64::from(limit.limit)).min(1.0) as f32)
}

impl Group {
    /// Counts a call; gives how long it was held back.
    fn take(&mut self, call: &Observation, told_share: Option<f32>) -> u64 {
        let is_rejected = call.reply == Reply::TooMany;
        let Some(minute) = self.minutes.at(call.started_ns) else { return 0 };
        minute.calls += 1;
        minute.rejected += u32::from(is_rejected);
        minute.used_share = minute.used_share.max(told_share.unwrap_or_default());
        let pause_ns = call.started_ns.saturating_sub(self.last_started_ns);
        let is_stalled = self.was_rejected && STALL_NS.contains(&pause_ns);
        self.last_started_ns = self.last_started_ns.max(call.started_ns);
        self.was_rejected = is_rejected;
        if is_stalled { pause_ns } else { 0 }
    }
}

impl Rejected {
    /// Takes a call that was turned away.
    fn take(&mut self, call: &Observation) {
        let since_ns = call.started_ns.saturating_sub(Minutes::<Minute>::LENGTH_NS);
        self.pending.push(call.seq, call.started_ns, Some(Class::Avoidable), since_ns);
        self.blame(call.endpoint);
    }

    /// Counts for the endpoint, which takes the place of the least of the others when there is no room: the worst are
    /// found all the same (Metwally et al. 2005, Space-Saving).
    fn blame(&mut self, endpoint: u64) {
        let own = self.worst.iter().position(|&(known, count)| known == endpoint && count > 0);
        let least = || self.worst.iter().enumerate().min_by_key(|(_, (_, count))| *count).map(|(at, _)| at);
        let Some(place) = own.or_else(least).and_then(|at| self.worst.get_mut(at)) else { return };
        *place = (endpoint, place.1.saturating_add(1));
    }

    /// The three worst endpoints, the worst first.
    fn worst_names(&self, desk: &Desk) -> String {
        let mut worst = self.worst;
        worst.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let subjects = worst.iter().take(3).filter_map(|&(endpoint, _)| desk.subjects.peek(endpoint));
        let names: Vec<&str> = subjects.map(|subject| &*subject.names.endpoint).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Found, Made, found, get, send};
    use crate::detect::subject::{Api, Names};
    use crate::detect::{Detectors, Settings, Snapshot};
    use crate::exchange::signals::RateLimit;
    use std::sync::Arc;

    /// Writes of which each is another one, so many a minute, for so many minutes.
    fn writes(a_minute: u64, minutes: u64) -> impl Iterator<Item = Made> {
        (0..a_minute * minutes).map(move |n| {
            let made = send("POST", "/v1/events").at_ms(n * 60_000 / a_minute);
            made.with(|call| call.exchange.request_body_bytes = Some(300))
        })
    }

    /// The same when only `limit` of them are let through in a minute.
    fn limited(a_minute: u64, limit: u64, minutes: u64) -> impl Iterator<Item = Made> {
        writes(a_minute, minutes)
            .enumerate()
            .map(move |(n, made)| if n as u64 % a_minute < limit { made } else { made.status(429).cost(0.1) })
    }

    fn no_api(_: &Names) -> Api {
        Api::default()
    }

    fn of(calls: impl IntoIterator<Item = Made>, api: impl Fn(&Names) -> Api) -> Found {
        found(calls, api).only(Pattern::RateLimitPressure)
    }

    #[test]
    fn every_call_above_the_limit_is_for_nothing() {
        let found = of(limited(600, 500, 8), no_api);
        assert_eq!(found.lines(), ["rate_limit_pressure rejected warning 800"]);
        assert_eq!(found.wasted(Pattern::RateLimitPressure), (800, 0));
        let finding = &found.findings[0];
        assert_eq!((finding.calls, &*finding.endpoint), (800, "api.test"));
        let endpoints = finding.evidence.facts.iter().find(|(name, _)| *name == "endpoints");
        assert_eq!(endpoints, Some(&("endpoints", Fact::Text("api.test/v1/events".into()))));
    }

    #[test]
    fn few_rejections_or_a_small_share_are_none() {
        assert!(of(limited(510, 501, 1), no_api).findings.is_empty());
        let one_in_two_hundred =
            writes(1200, 5).enumerate().map(|(n, made)| if n % 200 == 0 { made.status(429) } else { made });
        assert!(of(one_in_two_hundred, no_api).findings.is_empty());
    }

    #[test]
    fn rejections_are_a_warning_however_little_they_cost() {
        let found = of(limited(600, 588, 1).map(|made| made.cost(0.05)), no_api);
        assert_eq!(found.lines(), ["rate_limit_pressure rejected warning 12"]);
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_not_pressing() {
        let chains = (0..3).flat_map(|chain| {
            let waits_ms = [0, 2100, 6300, 14_900];
            waits_ms.into_iter().enumerate().map(move |(attempt, wait_ms)| {
                let made = send("PUT", "/v1/save").at_ms(chain * 60_000 + wait_ms);
                if attempt < 3 { made.status(429).cost(0.1) } else { made }
            })
        });
        assert!(of(chains, no_api).findings.is_empty());
    }

    #[test]
    fn a_process_that_has_just_started_may_burst() {
        let young = limited(600, 500, 1).map(|made| {
            // Ticks are hundredths of a second: it started when the test did.
            made.with(|call| {
                let process = crate::call::Process::clone(&call.process);
                call.process = Arc::new(crate::call::Process { start_ticks: 360_000, ..process });
            })
        });
        assert!(of(young, no_api).findings.is_empty());
    }

    #[test]
    fn a_pause_after_a_rejection_is_time_that_somebody_waits() {
        let stalled = limited(600, 580, 1).chain(limited(600, 580, 1).map(|made| {
            let at_ms = made.started_ms() + 60_000 + 30_000;
            made.at_ms(at_ms)
        }));
        let found = of(stalled, no_api);
        assert_eq!(found.findings[0].latency_ns, 30_100_000_000);
    }

    #[test]
    fn a_limit_that_is_nearly_reached_is_good_to_know() {
        let per_process =
            |_: &Names| Api { limit_per_minute: Some(500), is_limit_per_process: true, ..Api::default() };
        let shared = |_: &Names| Api { limit_per_minute: Some(500), ..Api::default() };
        assert_eq!(of(writes(450, 4), per_process).lines(), ["rate_limit_pressure near_limit info 0"]);
        assert!(of(writes(390, 4), per_process).findings.is_empty());
        assert!(of(writes(450, 2), per_process).findings.is_empty());
        assert!(of(writes(450, 4), shared).findings.is_empty());
    }

    #[test]
    fn fields_of_answers_tell_of_a_limit_as_well() {
        let told = |limit: u64| {
            writes(400, 4).enumerate().map(move |(n, made)| {
                let remaining = (limit - n as u64 % 400) as u32;
                made.with(|call| {
                    let limit = RateLimit { limit: limit as u32, remaining, reset_s: None };
                    call.exchange.signals.response.rate_limit = Some(limit);
                })
            })
        };
        assert_eq!(of(told(450), no_api).lines(), ["rate_limit_pressure near_limit info 0"]);
        assert!(of(told(1000), no_api).findings.is_empty());
    }

    /// What is told of limits at the end of calls: who says so, and how much of it is used, in hundredths.
    fn uses(calls: impl IntoIterator<Item = Made>, api: Api) -> Vec<(&'static str, u64)> {
        let mut detectors = Detectors::new(&Settings::default());
        for made in calls {
            let call = made.call();
            detectors.tick(call.exchange.started_ns);
            detectors.observe(&call, 1, &mut |_| Arc::new(api.clone()));
        }
        let Snapshot { limits, .. } = detectors.snapshot();
        assert!(limits.iter().all(|used| (&*used.game, &*used.authority) == ("chess", "api.test")));
        limits.iter().map(|used| (used.limit.name(), (used.share * 100.0).round() as u64)).collect()
    }

    #[test]
    fn how_much_of_a_limit_is_used_is_told_while_it_is_known() {
        let told = |at_ms: u64, remaining: u32| {
            get("/v1/items").at_ms(at_ms).with(|call| {
                let limit = RateLimit { limit: 100, remaining, reset_s: None };
                call.exchange.signals.response.rate_limit = Some(limit);
            })
        };
        // The greatest of this minute and the last; a call whose answer says nothing changes nothing.
        let silent = |at_ms: u64| get("/v1/items").at_ms(at_ms);
        assert_eq!(
            uses([told(0, 60), told(1000, 70), silent(2000), silent(3000)], Api::default()),
            [("answers", 40)]
        );
        assert_eq!(uses([told(0, 60), told(60_000, 90), silent(61_000)], Api::default()), [("answers", 40)]);
        assert_eq!(uses([told(0, 60), told(60_000, 90), silent(121_000)], Api::default()), [("answers", 10)]);
        assert_eq!(uses([told(0, 60), silent(181_000)], Api::default()), []);
        assert_eq!(uses([silent(0), silent(1000)], Api::default()), []);
        // Of one process by itself, more may be used than there is.
        let api = Api { limit_per_minute: Some(10), is_limit_per_process: true, ..Api::default() };
        assert_eq!(uses((0..13).map(|n| silent(n * 1000)), api), [("catalogue", 120)]);
    }
}
