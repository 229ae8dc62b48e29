//! Given: calls. Gives: endpoints that a process goes on to call although they only send it elsewhere. Refuses to know:
//! where; the address is a number.
//!
//! A redirect counts when its process asks for the address at once. Whether it was for nothing depends on what the server
//! says of it: one that is permanent (301, 308) could have been remembered from the first one on (RFC 9110 §15.4), which is
//! proof. One that is temporary might lead elsewhere the next time, so the first one had to be made; when the same request
//! is sent to the same address again, that is potential waste. One that leads elsewhere each time is a signed address or
//! a log-in, and a write that is answered by the address of its result is no detour.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Class, Confidence, Fact, Sample};
use super::observation::{Observation, Verb};
use super::pattern::Pattern;
use super::pending::Pending;
use super::table::Table;
use super::window::Window;
use crate::keyed::combine;

pub(super) const ROW: Row = Row {
    pattern: Pattern::RedirectChain,
    thresholds: &[
        Threshold {
            name: "min_redirects_per_hour",
            default: 3.0,
            what: "redirects of one endpoint that a process follows in an hour, from which they are told",
        },
        Threshold {
            name: "warn_redirects_per_hour",
            default: 10.0,
            what: "those of them that could have been left out, from which cost decides whether it is a warning",
        },
        Threshold {
            name: "min_chain_redirects",
            default: 2.0,
            what: "redirects one after another from which a single chain is enough for both",
        },
        Threshold {
            name: "follow_seconds",
            default: 1.0,
            what: "time within which the address of a redirect has to be asked for",
        },
    ],
    full_bytes: WAITING * (Table::<Vec<Hop>>::ENTRY_BYTES + HOPS_MAX * size_of::<Hop>())
        + TRACKS * (Table::<Track>::ENTRY_BYTES + Pending::FULL_BYTES)
        + REQUESTS * Table::<u64>::ENTRY_BYTES,
    make: |values, budget| Box::new(RedirectChain::new(values, budget)),
};

/// Addresses to which somebody was sent a moment ago; 1 MiB.
const WAITING: usize = 512;

/// Redirects to one address that wait to be followed; further ones are not looked at.
const HOPS_MAX: usize = 4;

/// Endpoints of processes that redirect; 1 MiB.
const TRACKS: usize = 256;

/// Requests whose last address is remembered.
const REQUESTS: usize = 4096;

/// Calls that last long come late; so long a redirect waits for the one that follows it.
const RETENTION_NS: u64 = 60_000_000_000;

/// How long after its last redirect a case is over: two hours.
const IDLE_NS: u64 = 7_200_000_000_000;

type Hour = Window<Redirects, 600, 6>;

#[derive(Debug)]
struct RedirectChain {
    min_redirects: u64,
    warn_redirects: u64,
    min_chain: u64,
    follow_ns: u64,
    /// By process and address.
    waiting: Table<Vec<Hop>>,
    tracks: Table<Track>,
    /// Where each request was sent the last time.
    addresses: Table<u64>,
}

/// A redirect that was not followed yet.
#[derive(Debug)]
struct Hop {
    /// The first call of its chain: the case is about that one's endpoint.
    origin: Observation,
    /// How many redirects the chain has with this one.
    length: u64,
    seq: u64,
    started_ns: u64,
    ended_ns: u64,
    status: u16,
    leads: Leads,
}

/// What is known of the address of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    /// The server says that it will not change.
    ForGood,
    /// It is where the same request was sent before.
    SameAsBefore,
    /// The request was not sent anywhere before, that anybody saw.
    FirstTime,
    /// The same request was sent elsewhere before.
    Elsewhere,
}

/// Redirects of one endpoint in one process.
#[derive(Debug, Default)]
struct Track {
    hour: Hour,
    longest: u64,
    /// Time that redirects took of which no finding has told.
    latency_ns: u64,
    pending: Pending,
}

#[derive(Clone, Copy, Debug, Default)]
struct Redirects {
    followed: u32,
    /// Those of them that could have been left out.
    wasted: u32,
}

impl RedirectChain {
    fn new(values: &Values, budget: Budget) -> Self {
        RedirectChain {
            min_redirects: values.count("min_redirects_per_hour"),
            warn_redirects: values.count("warn_redirects_per_hour"),
            min_chain: values.count("min_chain_redirects"),
            follow_ns: values.ns("follow_seconds"),
            waiting: Table::new(budget.entries(WAITING)),
            tracks: Table::new(budget.entries(TRACKS)),
            addresses: Table::new(budget.entries(REQUESTS)),
        }
    }
}

impl Detector for RedirectChain {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let is_redirect = matches!(call.status, 301 | 302 | 303 | 307 | 308);
        if self.waiting.is_empty() && !is_redirect {
            return;
        }
        let followed = self.take_followed(call);
        if is_redirect {
            self.wait(call, followed.as_ref(), desk);
        }
        if let Some(hop) = followed {
            self.count(&hop, desk);
        }
    }

    fn tick(&mut self, now_ns: u64, _: &mut Desk) {
        while let Some(key) = self.forgotten(now_ns) {
            self.waiting.remove(key);
        }
    }

    fn state(&self) -> State {
        let Self { waiting, tracks, addresses, .. } = self;
        State::of([
            (waiting.len(), waiting.evicted()),
            (tracks.len(), tracks.evicted()),
            (addresses.len(), addresses.evicted()),
        ])
    }
}

impl RedirectChain {
    /// The address that was waited for longest, when nobody will ask for it any more.
    fn forgotten(&self, now_ns: u64) -> Option<u64> {
        let (key, hops) = self.waiting.iter().next()?;
        hops.iter().all(|hop| hop.ended_ns + RETENTION_NS < now_ns).then_some(key)
    }

    /// The redirect that the call follows.
    fn take_followed(&mut self, call: &Observation) -> Option<Hop> {
        let key = combine(call.process, call.url);
        let hops = self.waiting.find(key)?;
        let follow_ns = self.follow_ns;
        let is_followed = |hop: &Hop| {
            call.started_ns.checked_sub(hop.ended_ns).is_some_and(|pause_ns| pause_ns <= follow_ns)
        };
        let hop = hops.iter().position(is_followed).map(|at| hops.remove(at))?;
        if hops.is_empty() {
            self.waiting.remove(key);
        }
        Some(hop)
    }

    /// Lets a redirect wait for the call that follows it.
    fn wait(&mut self, call: &Observation, before: Option<&Hop>, desk: &Desk) {
        let Some(location) = call.signals.response.location else { return };
        // A write that is answered like this has been done, and a read of its result follows (RFC 9110 §15.4.4).
        let is_result =
            matches!(call.verb, Verb::Write | Verb::IdempotentWrite) && matches!(call.status, 301..=303);
        // Whoever delivers files by addresses that it hands out means to.
        let is_by_design = desk.subject(call).is_some_and(|subject| subject.api.is_asset);
        if is_result || is_by_design {
            return;
        }
        let leads = self.leads(call, location);
        let hops = self.waiting.of(combine(call.process, location), Vec::new);
        if hops.len() < HOPS_MAX {
            hops.push(Hop {
                origin: before.map_or(*call, |hop| hop.origin),
                length: before.map_or(1, |hop| hop.length + 1),
                seq: call.seq,
                started_ns: call.started_ns,
                ended_ns: call.ended_ns,
                status: call.status,
                leads,
            });
        }
    }

    fn leads(&mut self, call: &Observation, location: u64) -> Leads {
        if matches!(call.status, 301 | 308) {
            return Leads::ForGood;
        }
        let Some(before) = self.addresses.find(call.request_of_anyone) else {
            self.addresses.of(call.request_of_anyone, || location);
            return Leads::FirstTime;
        };
        match std::mem::replace(before, location) == location {
            true => Leads::SameAsBefore,
            false => Leads::Elsewhere,
        }
    }

    /// A redirect was followed.
    fn count(&mut self, hop: &Hop, desk: &mut Desk) {
        let Hop { origin, length, seq, started_ns, ended_ns, status, leads } = hop;
        let track = self.tracks.of(origin.scope, Track::default);
        let Some(sum) = track.hour.at(*started_ns) else { return };
        let class = leads.class();
        sum.followed += 1;
        sum.wasted += u32::from(class.is_some());
        track.longest = track.longest.max(*length);
        track.pending.push(*seq, *started_ns, class, started_ns.saturating_sub(Hour::LENGTH_NS));
        let (mut followed, mut wasted) = (0, 0);
        for sum in track.hour.recent(*started_ns) {
            followed += u64::from(sum.followed);
            wasted += u64::from(sum.wasted);
        }
        // What was long before is another matter.
        let before_ns = if followed > 1 { track.latency_ns } else { 0 };
        track.latency_ns = before_ns + (ended_ns - started_ns);
        let is_chain = *length >= self.min_chain;
        if followed < self.min_redirects && !is_chain {
            return;
        }
        let id = CaseId::of(Pattern::RedirectChain, origin);
        let first_ns = track.pending.started_ns().unwrap_or(*started_ns);
        let case = desk.case(id, origin, first_ns, IDLE_NS);
        case.finding.calls += track.pending.tell(followed).saturating_sub(1);
        case.count(Sample {
            seq: *seq,
            started_ns: *started_ns,
            duration_ns: ended_ns - started_ns,
            status: *status,
            ..Sample::of(origin, origin.resource)
        });
        let finding = &mut case.finding;
        finding.latency_ns += std::mem::take(&mut track.latency_ns);
        finding.confidence = finding.confidence.max(leads.confidence());
        finding.evidence.set("redirects_1h", Fact::Count(followed));
        finding.evidence.set("avoidable_1h", Fact::Count(wasted));
        finding.evidence.set("longest_chain", Fact::Count(track.longest));
        let kind = if is_chain && class.is_some() { "chain" } else { leads.kind() };
        if finding.kind != "chain" && finding.kind != kind {
            finding.kind = kind;
            finding.remedy = leads.remedy().to_owned();
        }
        if wasted >= self.warn_redirects || is_chain && class.is_some() {
            case.allow(Grade::Scored);
            track.pending.claim(id, Class::Avoidable, desk);
        }
    }
}

impl Leads {
    /// Whether the redirect could have been left out; `None` when it could not.
    fn class(self) -> Option<Class> {
        match self {
            Leads::ForGood => Some(Class::Avoidable),
            Leads::SameAsBefore => Some(Class::Potential),
            Leads::FirstTime | Leads::Elsewhere => None,
        }
    }

    fn confidence(self) -> Confidence {
        match self {
            Leads::ForGood => Confidence::Proven,
            Leads::SameAsBefore => Confidence::Strong,
            Leads::FirstTime | Leads::Elsewhere => Confidence::Heuristic,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Leads::ForGood => "permanent",
            Leads::SameAsBefore | Leads::FirstTime => "temporary",
            Leads::Elsewhere => "signed_url",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Leads::ForGood => "Call the final URL: the server says that the old one has moved for good.",
            Leads::SameAsBefore | Leads::FirstTime => {
                "Call the final URL, or keep the address of the last redirect for a while."
            }
            Leads::Elsewhere => "Keep a signed address until it expires, if the service says when that is.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Found, Made, found, get, send};
    use crate::detect::subject::{Api, Names};
    use crate::exchange::signals::url;
    use crate::keyed::Key;

    /// A call at a time that is answered by the address `to`.
    fn redirect(made: Made, status: u16, to: &str) -> Made {
        let location = url("api.test", to, &Key::default());
        made.status(status).with(|call| call.exchange.signals.response.location = Some(location))
    }

    /// `count` times a minute apart: a redirect of `/old` to an address, and a call of that address.
    fn pairs(count: u64, status: u16, to: impl Fn(u64) -> String) -> impl Iterator<Item = Made> {
        (0..count).flat_map(move |n| {
            let at_ms = n * 60_000;
            let to = to(n);
            [redirect(get("/old").at_ms(at_ms), status, &to), get(&to).at_ms(at_ms + 15)]
        })
    }

    fn no_api(_: &Names) -> Api {
        Api::default()
    }

    fn of(calls: impl IntoIterator<Item = Made>) -> Found {
        found(calls, no_api).only(Pattern::RedirectChain)
    }

    #[test]
    fn a_permanent_redirect_is_wasted_each_time() {
        let found = of(pairs(24, 301, |_| "/new".to_owned()));
        assert_eq!(found.lines(), ["redirect_chain permanent warning 24"]);
        assert_eq!(found.wasted(Pattern::RedirectChain), (24, 0));
        let finding = &found.findings[0];
        assert_eq!((finding.calls, &*finding.endpoint), (24, "api.test/old"));
        assert_eq!(finding.latency_ns, 24 * 10_000_000);
    }

    #[test]
    fn fewer_are_good_to_know_and_two_are_nothing() {
        let found = of(pairs(9, 308, |_| "/new".to_owned()));
        assert_eq!(found.lines(), ["redirect_chain permanent info 0"]);
        assert!(of(pairs(2, 308, |_| "/new".to_owned())).findings.is_empty());
    }

    #[test]
    fn every_hop_of_a_chain_counts() {
        // To https, where nothing but the scheme differs, and to the path with a slash.
        let chains = (0..16u64).flat_map(|n| {
            let at_ms = n * 60_000;
            [
                redirect(get("/v1/list").at_ms(at_ms), 301, "/v1/list"),
                redirect(get("/v1/list").at_ms(at_ms + 20), 308, "/v1/list/"),
                get("/v1/list/").at_ms(at_ms + 40),
            ]
        });
        let found = of(chains);
        assert_eq!(found.lines(), ["redirect_chain chain warning 32"]);
        assert_eq!(found.wasted(Pattern::RedirectChain), (32, 0));
    }

    #[test]
    fn a_temporary_redirect_to_the_same_address_is_potential_after_the_first() {
        let found = of(pairs(24, 302, |_| "/shard/a".to_owned()));
        assert_eq!(found.lines(), ["redirect_chain temporary warning 23"]);
        assert_eq!(found.wasted(Pattern::RedirectChain), (0, 23));
    }

    #[test]
    fn two_calls_at_once_are_each_redirected() {
        let calls = (0..24u64).flat_map(|n| {
            let at_ms = n / 2 * 60_000 + n % 2;
            [redirect(get("/old").at_ms(at_ms), 301, "/new"), get("/new").at_ms(at_ms + 15)]
        });
        assert_eq!(of(calls).lines(), ["redirect_chain permanent warning 24"]);
    }

    #[test]
    fn a_signed_address_is_not_waste() {
        let found = of(pairs(40, 302, |n| format!("/cdn/file?sig={n}")));
        assert_eq!(found.lines(), ["redirect_chain signed_url info 0"]);
        assert_eq!(found.wasted(Pattern::RedirectChain), (0, 0));
    }

    #[test]
    fn near_misses_are_none() {
        let new = |_| "/new".to_owned();
        let not_followed = pairs(40, 301, new).step_by(2);
        let late = pairs(40, 301, new).enumerate().map(|(n, made)| {
            let at_ms = made.started_ms();
            if n % 2 == 0 { made } else { made.at_ms(at_ms + 1000) }
        });
        let by_another =
            pairs(40, 301, new).enumerate().map(|(n, made)| if n % 2 == 0 { made } else { made.pid(99) });
        let result = pairs(40, 303, new).enumerate().map(|(n, made)| {
            if n % 2 == 0 { made.with(|call| call.exchange.method = "POST".into()) } else { made }
        });
        let elsewhere = pairs(40, 301, new)
            .enumerate()
            .map(|(n, made)| if n % 2 == 0 { made } else { get("/other").at_ms(made.started_ms()) });
        let unchanged = pairs(40, 304, new);
        for calls in [
            not_followed.collect::<Vec<_>>(),
            late.collect(),
            by_another.collect(),
            result.collect(),
            elsewhere.collect(),
            unchanged.collect(),
        ] {
            assert!(of(calls).findings.is_empty());
        }
        let by_design = |_: &Names| Api { is_asset: true, ..Api::default() };
        assert!(found(pairs(40, 301, new), by_design).only(Pattern::RedirectChain).findings.is_empty());
    }

    #[test]
    fn a_write_that_has_to_be_sent_again_is_waste() {
        let calls = (0..24u64).flat_map(|n| {
            let at_ms = n * 60_000;
            let again = |target: &str| send("POST", target);
            [redirect(again("/old").at_ms(at_ms), 308, "/new"), again("/new").at_ms(at_ms + 15)]
        });
        assert_eq!(of(calls).lines(), ["redirect_chain permanent warning 24"]);
    }

    #[test]
    fn what_was_not_followed_is_forgotten() {
        let values = Values::of(&ROW);
        let mut detector = RedirectChain::new(&values, Budget { share: 1.0 });
        let mut desk = Desk::new(Budget { share: 1.0 });
        let call = redirect(get("/old"), 301, "/new").observation();
        detector.observe(&call, &mut desk);
        detector.tick(call.ended_ns + RETENTION_NS, &mut desk);
        assert_eq!(detector.state().entries, 1);
        detector.tick(call.ended_ns + RETENTION_NS + 1, &mut desk);
        assert_eq!(detector.state().entries, 0);
    }
}
