//! Given: calls in the order in which they began. Gives: of each, how the same process had the same request answered
//! before, whether the answer has changed, and whether a cache could have given it. Refuses to know: what of that is waste.
//!
//! `duplicate_request`, `poll_unchanged`, `missing_conditional`, `retry_storm` and `error_loop` ask this of the same
//! requests, so it is remembered and looked up once for all of them. Only what most requests need is here; what concerns
//! few of them (intervals, failures in a row) is kept by the detector that looks for it.
//!
//! A server that says how long an answer holds is taken at its word (RFC 9111 §4.2). One that says nothing is taken to
//! mean [`IMPLICIT_S`], which is what data stores of game platforms cache by themselves; then a repeat after a pause may
//! be a poll as well as a careless duplicate, and only its pace can tell ([`Requests::is_paced`]).

use super::detector::{Budget, State};
use super::observation::{Observation, Reply, Strength, Verb};
use super::query::PartKind;
use super::table::Table;
use crate::exchange::signals::Content;
use crate::keyed::combine;

/// How many seconds an answer can be used again when the server says nothing of it.
pub const IMPLICIT_S: u32 = 4;

/// A repeat that begins sooner than this after the last one was over is no poll.
pub const NO_POLL_NS: u64 = 50_000_000;

/// Growing intervals that make a poll that backs off.
const GROWING: u8 = 3;

/// For so long after a write, a read of the same is there to see what has become of it.
const VERIFY_NS: u64 = 10_000_000_000;

/// A response that took so long, and half of the time from call to call, was held back by the server until there was
/// something to say.
const HANGING_NS: u64 = 1_000_000_000;

/// Requests that are remembered; 8 MiB. As many as 1200 different ones a second for as long as a poll takes.
const REQUESTS: usize = 72 * 1024;

/// Paths that were written to, and the paths above them.
const WRITES: usize = 16 * 1024;

/// After so long, a call of the same request has nothing to do with the last, whatever the last was: failures and answers
/// with a validator are compared over ten minutes.
const OVER_NS: u64 = 600_000_000_000;

/// The same after an answer that cannot be validated and has no more use: what comes less often is no poll.
const SPENT_NS: u64 = 60_000_000_000;

/// Intervals of a like length after which a request has a pace.
const PACED: u8 = 4;

/// As steady as a pace can be; from here it takes two odd intervals to lose it.
const STEADIEST: u8 = 15;

/// The last answers of all requests.
#[derive(Debug)]
pub struct Requests {
    answers: Table<Memory>,
    writes: Table<Written>,
}

/// What a call repeats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeat {
    /// Number of the request in its process; `None` when it cannot be told from others.
    pub request: Option<u64>,
    /// It changes nothing.
    pub is_read: bool,
    /// The call before it.
    pub last: Option<Last>,
    /// The answer is the one that the last success gave, as surely as this.
    pub unchanged: Option<Strength>,
    /// The last answer had a validator, and what it validates has not changed.
    pub is_validated: bool,
    /// A cache could have given the answer.
    pub reuse: Option<Reuse>,
}

/// The last call of a request.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// First byte of the request.
    pub started_ns: u64,
    /// The last that was seen of it.
    pub ended_ns: u64,
    /// Status; 0 when there was none.
    pub status: u16,
    /// It failed in a way that another try may cure.
    pub is_transient: bool,
}

/// How a cache could have given an answer.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// Why the last answer still held.
    pub freshness: Freshness,
    /// How long it holds at all.
    pub holds_ns: u64,
    /// How sure it is that the answer is the same.
    pub strength: Strength,
    /// A key that is there to get past caches has another value than before.
    pub is_busted: bool,
    /// The server wants no cache to keep it.
    pub no_store: bool,
    /// There was a pause before it, so it may be a poll.
    pub may_be_poll: bool,
}

/// Why an answer still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It was still under way.
    InFlight,
    /// The server says so.
    Explicit,
    /// The server does not say anything, and it was a moment ago.
    Implicit,
}

/// What is remembered of a request.
#[derive(Debug, Default)]
struct Memory {
    last: Option<Last>,
    kept: Option<Kept>,
    /// `ETag` or `Last-Modified` of the last success; 0 when it had none.
    validator: u64,
    /// Values of keys that are there to get past caches.
    bust: u32,
    pace: Pace,
}

/// An answer that a cache would have kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    started_ns: u64,
    ended_ns: u64,
    print: u64,
    /// For so many seconds it can be used again.
    holds_s: u32,
    strength: Strength,
    is_explicit: bool,
    no_store: bool,
}

/// How evenly the calls of a request follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Smoothed.
    interval_ms: u32,
    steady: u8,
    /// Intervals, one after the other, that were longer than the one before by a quarter: somebody waits for something
    /// to be done, and looks less and less often.
    growing: u8,
}

/// When something was last written.
#[derive(Debug, Default)]
struct Written {
    here_ns: u64,
    /// To a path one segment longer.
    below_ns: u64,
}

impl Requests {
    /// Memory of its tables when they are full.
    pub const FULL_BYTES: usize =
        REQUESTS * Table::<Memory>::ENTRY_BYTES + WRITES * Table::<Written>::ENTRY_BYTES;

    /// As many as the budget has room for.
    pub fn new(budget: Budget) -> Self {
        Requests { answers: Table::new(budget.entries(REQUESTS)), writes: Table::new(budget.entries(WRITES)) }
    }

    /// Takes a call. `is_read` says whether it changes nothing.
    pub fn take(&mut self, call: &Observation, is_read: bool) -> Repeat {
        if call.verb == Verb::Other {
            return Repeat::default();
        }
        if !is_read {
            self.write(call);
        }
        if !call.is_body_known {
            return Repeat::default();
        }
        let request = combine(call.request, call.process);
        let Requests { answers, writes } = self;
        let is_over = |memory: &Memory| memory.is_over(call.started_ns);
        let memory = answers.of_live(request, is_over, Memory::default);
        let unchanged = memory.unchanged(call);
        let mut repeat = Repeat {
            request: Some(request),
            is_read,
            last: memory.last,
            unchanged,
            is_validated: memory.is_validated(call, unchanged),
            reuse: if is_read { unchanged.and_then(|strength| memory.reuse(call, strength)) } else { None },
        };
        if repeat.reuse.is_some() {
            let kept_ns = memory.kept.map_or(0, |kept| kept.started_ns);
            let since_ns = kept_ns.min(call.started_ns.saturating_sub(VERIFY_NS));
            repeat.reuse = repeat.reuse.filter(|_| !is_written_since(writes, call, since_ns));
        }
        memory.take(call, repeat.reuse.is_some());
        repeat
    }

    /// The calls of a request come at an even pace.
    pub fn is_paced(&self, request: u64) -> bool {
        self.answers
            .peek(request)
            .is_some_and(|memory| memory.pace.steady >= PACED || memory.pace.growing >= GROWING)
    }

    /// What it holds in memory.
    pub fn state(&self) -> State {
        State::of([(self.answers.len(), self.answers.evicted()), (self.writes.len(), self.writes.evicted())])
    }

    fn write(&mut self, call: &Observation) {
        let is_over = |written: &Written| {
            written.here_ns.max(written.below_ns).saturating_add(OVER_NS) < call.started_ns
        };
        let here = self.writes.of_live(combine(call.place, call.process), is_over, Written::default);
        here.here_ns = here.here_ns.max(call.started_ns);
        let above = self.writes.of_live(combine(call.place_above, call.process), is_over, Written::default);
        above.below_ns = above.below_ns.max(call.started_ns);
    }
}

/// The process has written to what the call reads, to something in it, or to what it is in.
fn is_written_since(writes: &Table<Written>, call: &Observation, since_ns: u64) -> bool {
    let of = |place| writes.peek(combine(place, call.process));
    of(call.place).is_some_and(|written| written.here_ns.max(written.below_ns) >= since_ns)
        || of(call.place_above).is_some_and(|written| written.here_ns >= since_ns)
}

impl Memory {
    /// No detector would make anything of a call of the same request.
    fn is_over(&self, now_ns: u64) -> bool {
        let Some(last) = self.last else { return true };
        let fresh_until_ns = self.kept.map_or(0, |kept| kept.fresh_until_ns());
        let is_spent =
            matches!(last.status, 200..300 | 304) && self.validator == 0 && fresh_until_ns < now_ns;
        let over_ns = if is_spent { SPENT_NS } else { OVER_NS };
        now_ns.saturating_sub(last.started_ns) > over_ns && fresh_until_ns < now_ns
    }

    fn unchanged(&self, call: &Observation) -> Option<Strength> {
        if call.reply == Reply::NotModified {
            return Some(Strength::NotModified);
        }
        if call.reply != Reply::Success || call.is_part() {
            return None;
        }
        let kept = self.kept?;
        let (strength, print) = call.fingerprint()?;
        (strength == kept.strength && print == kept.print).then_some(strength)
    }

    fn is_validated(&self, call: &Observation, unchanged: Option<Strength>) -> bool {
        self.validator != 0
            && (validator(call) == self.validator || unchanged.is_some_and(|known| known >= Strength::Body))
    }

    fn reuse(&self, call: &Observation, strength: Strength) -> Option<Reuse> {
        let (kept, last) = (self.kept?, self.last?);
        // After a failure it is another try.
        if !matches!(last.status, 200..300 | 304) || call.signals.response.content == Content::Stream {
            return None;
        }
        let duration_ns = call.ended_ns - call.started_ns;
        let is_busted = bust(call) != self.bust;
        let reuse = |freshness, may_be_poll| Reuse {
            freshness,
            holds_ns: kept.holds_ns(),
            strength,
            is_busted,
            no_store: kept.no_store,
            may_be_poll,
        };
        if call.started_ns < kept.ended_ns {
            return (call.ended_ns > kept.started_ns).then(|| reuse(Freshness::InFlight, false));
        }
        if call.started_ns >= kept.fresh_until_ns() {
            return None;
        }
        if kept.is_explicit {
            return Some(reuse(Freshness::Explicit, false));
        }
        let interval_ns = call.started_ns.saturating_sub(last.started_ns);
        if duration_ns >= HANGING_NS && duration_ns >= interval_ns / 2 {
            return None;
        }
        let pause_ns = call.started_ns.saturating_sub(last.ended_ns);
        Some(reuse(Freshness::Implicit, !is_busted && pause_ns >= NO_POLL_NS))
    }

    fn take(&mut self, call: &Observation, is_reused: bool) {
        if let Some(last) = self.last
            && let Some(interval_ns) = call.started_ns.checked_sub(last.started_ns)
        {
            self.pace.take((interval_ns / 1_000_000).min(u32::MAX.into()) as u32);
        }
        let started_ns = self.last.map_or(0, |last| last.started_ns);
        if call.started_ns >= started_ns {
            self.last = Some(Last {
                started_ns: call.started_ns,
                ended_ns: call.ended_ns,
                status: call.status,
                is_transient: call.is_transient_failure(),
            });
        }
        if !matches!(call.reply, Reply::Success | Reply::NotModified) || call.is_part() {
            return;
        }
        self.bust = bust(call);
        if call.reply == Reply::Success || validator(call) != 0 {
            self.validator = validator(call);
        }
        if !is_reused {
            self.kept = Kept::of(call, self.kept);
        }
    }
}

impl Kept {
    fn of(call: &Observation, before: Option<Kept>) -> Option<Kept> {
        let response = &call.signals.response;
        let fresh_s = match response.max_age_s {
            Some(max_age_s) if !response.no_store => {
                Some(max_age_s.saturating_sub(response.age_s.unwrap_or(0)))
            }
            _ => None,
        };
        // A 304 says that what the client has is still right.
        let confirmed = before.filter(|_| call.reply == Reply::NotModified);
        let (strength, print) = match confirmed {
            Some(kept) => (kept.strength, kept.print),
            None => call.fingerprint()?,
        };
        Some(Kept {
            started_ns: call.started_ns,
            ended_ns: call.ended_ns,
            print,
            holds_s: fresh_s.unwrap_or(IMPLICIT_S),
            strength,
            is_explicit: fresh_s.is_some(),
            no_store: response.no_store,
        })
    }

    fn holds_ns(&self) -> u64 {
        u64::from(self.holds_s) * 1_000_000_000
    }

    fn fresh_until_ns(&self) -> u64 {
        self.ended_ns.saturating_add(self.holds_ns())
    }
}

impl Pace {
    /// An interval is a like one when it is within half of the usual. An odd one halves the steadiness, so that a pause
    /// or a lost call does not end a pace.
    fn take(&mut self, interval_ms: u32) {
        let usual_ms = self.interval_ms;
        let has_grown = usual_ms > 0 && interval_ms >= usual_ms.saturating_add(usual_ms / 4);
        self.growing = if has_grown { (self.growing + 1).min(GROWING) } else { 0 };
        if usual_ms > 0 && interval_ms.abs_diff(usual_ms) <= usual_ms / 2 {
            self.steady = (self.steady + 1).min(STEADIEST);
            self.interval_ms = ((3 * u64::from(usual_ms) + u64::from(interval_ms)) / 4) as u32;
        } else {
            self.steady = if usual_ms == 0 { 1 } else { self.steady / 2 };
            self.interval_ms = interval_ms;
        }
    }
}

/// `ETag`, else `Last-Modified` with the size; 0 when there is none.
fn validator(call: &Observation) -> u64 {
    let response = &call.signals.response;
    match (response.etag, response.last_modified) {
        (Some(etag), _) => etag.max(1),
        (None, Some(modified)) => combine(modified, call.response_body_bytes).max(1),
        (None, None) => 0,
    }
}

fn bust(call: &Observation) -> u32 {
    let values = call.parts.iter().filter(|part| part.kind == PartKind::CacheBust);
    values.fold(0, |all, part| all.wrapping_add(combine(part.name.into(), part.value.into()) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Made, get, send};

    /// Calls of one process in the order of their starts, and for each `-` or why a cache could have answered it.
    fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str]) -> Requests {
        let mut requests = Requests::new(Budget { share: 1.0 });
        let words: Vec<String> = calls
            .into_iter()
            .map(|made| {
                let call = made.observation();
                let repeat = requests.take(&call, call.verb == Verb::Read);
                repeat.reuse.map_or_else(
                    || "-".to_owned(),
                    |reuse| {
                        let poll = if reuse.may_be_poll { "?" } else { "" };
                        let bust = if reuse.is_busted { " busted" } else { "" };
                        format!("{:?}{poll}{bust}", reuse.freshness)
                    },
                )
            })
            .collect();
        assert_eq!(words, expect);
        requests
    }

    fn read(at_ms: u64) -> Made {
        get("/v1/items/1").answer(1).at_ms(at_ms)
    }

    #[test]
    fn an_answer_holds_as_long_as_the_server_says() {
        let aged = |at_ms| read(at_ms).max_age(30);
        check([aged(0), aged(29_000), aged(30_009), aged(30_011)], &["-", "Explicit", "Explicit", "-"]);
        check([read(0).max_age(0), read(100).max_age(0)], &["-", "-"]);
        let old = |at_ms| aged(at_ms).with(|call| call.exchange.signals.response.age_s = Some(25));
        check([old(0), old(4000), old(6000)], &["-", "Explicit", "-"]);
    }

    #[test]
    fn without_a_word_of_the_server_it_holds_a_moment() {
        check([read(0), read(50), read(1000), read(4011)], &["-", "Implicit", "Implicit?", "-"]);
    }

    #[test]
    fn calls_that_are_under_way_at_the_same_time_share_an_answer() {
        let long = |at_ms| read(at_ms).lasting_ms(300);
        check([long(0), long(100), long(150), long(5000)], &["-", "InFlight", "InFlight", "-"]);
        // The order is that of ends when the order of starts was passed.
        check([long(100), long(0).lasting_ms(900)], &["-", "InFlight"]);
    }

    #[test]
    fn keys_that_get_past_caches_are_seen_through() {
        let busting = |n: u64| get(&format!("/v1/items?t={n}")).answer(1).at_ms(n);
        check([busting(0), busting(1000), busting(2000)], &["-", "Implicit busted", "Implicit busted"]);
    }

    #[test]
    fn what_differs_was_not_kept() {
        check([read(0), read(10).answer(2), read(20)], &["-", "-", "-"]);
        let credentials = |n| {
            move |call: &mut crate::call::Call| {
                call.exchange.signals.request.credentials = Some(n);
            }
        };
        check([read(0).with(credentials(1)), read(20).with(credentials(2))], &["-", "-"]);
        check([read(0), read(20).pid(2)], &["-", "-"]);
        check([read(0), read(20).status(503), read(40)], &["-", "-", "-"]);
    }

    #[test]
    fn after_a_write_everything_near_is_read_anew() {
        let put = |target: &str| send("PUT", target).at_ms(100);
        let near = ["/v1/items/1", "/v1/items", "/v1/items/1/tags"];
        for target in near {
            check([read(0), put(target), read(200)], &["-", "-", "-"]);
            check([put(target), read(200), read(300)], &["-", "-", "-"]);
        }
        check([read(0), put("/v1/items/2"), read(200)], &["-", "-", "Implicit?"]);
        check([read(0), put("/v1/items/1").pid(2), read(200)], &["-", "-", "Implicit?"]);
    }

    #[test]
    fn answers_that_were_waited_for_are_no_repeats() {
        let hanging = |n: u64| read(n * 2010).lasting_ms(2000);
        check((0..3).map(hanging), &["-", "-", "-"]);
    }

    #[test]
    fn an_even_pace_is_seen_after_four_intervals() {
        let is_paced = |times: &[u64]| {
            let mut requests = Requests::new(Budget { share: 1.0 });
            let mut request = None;
            for &at_ms in times {
                request = requests.take(&read(at_ms).observation(), true).request;
            }
            requests.is_paced(request.unwrap())
        };
        assert!(is_paced(&[0, 1000, 2000, 3000, 4000]));
        assert!(is_paced(&[0, 1000, 2300, 3000, 4200, 5100]));
        assert!(!is_paced(&[0, 1000, 2000, 3000]));
        assert!(!is_paced(&[0, 300, 2000, 2300, 6000, 6400]));
    }
}
