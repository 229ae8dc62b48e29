//! Given: calls, and what they repeat. Gives: requests that failed and were made again too soon or too often. Refuses to
//! know: why they failed; what will never succeed is `error_loop`.
//!
//! A chain is one request of one process from its first failure to its success. An attempt of it is wasted when it fails
//! as well, and
//! - `retry_after_ignored`: it began before the time that the server had named (RFC 9110 §10.2.3);
//! - `no_backoff`: it is beyond the third, and three pauses in a row did not grow and were short;
//! - `unbounded`: it is beyond the third, and there are more than five of them;
//! - `budget`: the process makes more other tries at this authority than one in ten calls, however well each is paced.
//!
//! How many of them are waste at least leaves those out that only the budget speaks against. At most, each chain that ended well
//! had one more: of three attempts, the one that succeeded may be the last.
//!
//! Three attempts and one in ten are what Google's and Amazon's guides for clients ask for. An attempt that begins before
//! the last one has failed is a hedge, and one within 5 ms on another connection after a reset is the library's own: both
//! are part of the attempt before them. Whoever comes back after half a minute does not retry, he asks anew.

mod fault;

use self::fault::Fault;
use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Class, Fact, Sample};
use super::observation::Observation;
use super::pattern::Pattern;
use super::pending::Pending;
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::RetryStorm,
    thresholds: &[
        Threshold {
            name: "free_attempts",
            default: 3.0,
            what: "attempts of one request that are never too many",
        },
        Threshold {
            name: "max_attempts",
            default: 5.0,
            what: "attempts of one request, however they are paced",
        },
        Threshold { name: "min_growth", default: 1.3, what: "factor by which a pause has to grow" },
        Threshold { name: "enough_seconds", default: 2.0, what: "pause that need not grow" },
        Threshold {
            name: "budget_ratio",
            default: 0.1,
            what: "other tries per first try of a process at an authority within a minute",
        },
        Threshold { name: "budget_min", default: 20.0, what: "other tries from which that ratio counts" },
        Threshold {
            name: "warn_wasted",
            default: 10.0,
            what: "wasted attempts to one endpoint in ten minutes from which it is a warning; 64 at most",
        },
        Threshold {
            name: "warn_ignored",
            default: 3.0,
            what: "of them, those before the time that the server had named",
        },
    ],
    full_bytes: CHAINS * Table::<Chain>::ENTRY_BYTES
        + TRACKS * (Table::<Track>::ENTRY_BYTES + Pending::FULL_BYTES)
        + BUDGETS * Table::<Tries>::ENTRY_BYTES,
    make: |values, budget| Box::new(RetryStorm::new(values, budget)),
};

/// Requests that have failed.
const CHAINS: usize = 4096;

/// Endpoints of processes with wasted attempts.
const TRACKS: usize = 512;

/// Authorities of processes with more than one try.
const BUDGETS: usize = 1024;

/// Attempts of a chain that are shown.
const SHOWN: usize = 8;

/// Pauses in a row that do not grow.
const FLAT_PAUSES: u32 = 3;

/// After a longer pause it is not another try.
const HORIZON_NS: u64 = 30_000_000_000;

/// Clocks and rounding: what is so close to the time that the server has named keeps to it.
const SLACK_NS: u64 = 50_000_000;

/// Within so long after a reset, it is the library that tries again.
const REPLAY_NS: u64 = 5_000_000;

/// Wasted attempts this far apart do not belong together.
const WINDOW_NS: u64 = 600_000_000_000;

/// Part of the minute in which tries are counted.
const SLOT_NS: u64 = 10_000_000_000;
const SLOTS: usize = 6;

const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug)]
struct RetryStorm {
    limits: Limits,
    budget_ratio: f64,
    budget_min: u32,
    warn_wasted: u32,
    warn_ignored: u32,
    chains: Table<Chain>,
    tracks: Table<Track>,
    budgets: Table<Tries>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    free_attempts: u32,
    max_attempts: u32,
    min_growth: f64,
    enough_ns: u64,
}

/// One request from its first failure on.
#[derive(Debug)]
struct Chain {
    attempts: u32,
    ended_ns: u64,
    /// The server wants no other try before.
    allowed_ns: u64,
    pause_ns: u64,
    flat: u32,
    conn: u64,
    was_reset: bool,
    /// Attempts beyond the free ones that are not wasted yet.
    pending: [u64; 4],
    pending_length: usize,
    is_confirmed: bool,
    started_ns: u64,
    statuses: [u16; SHOWN],
    pauses_ns: [u64; SHOWN],
}

/// Wasted attempts to one endpoint by one process.
#[derive(Debug, Default)]
struct Track {
    last_ns: u64,
    wasted: u32,
    ignored: u32,
    kinds: [u32; 4],
    pending: Pending,
    is_claimed: bool,
}

/// Tries of one process at one authority within the last minute.
#[derive(Debug, Default)]
struct Tries {
    /// Calls, and those of them that are other tries.
    slots: [(u32, u32); SLOTS],
    slot: u64,
}

/// What a call is in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Part of the attempt before it.
    Same,
    /// The first try of another chain.
    Anew,
    /// Another try.
    Again(Timing),
}

/// When another try is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    /// The server has not named a time.
    Free,
    /// After the time that the server has named.
    Invited,
    /// Before it.
    Early,
}

impl RetryStorm {
    fn new(values: &Values, budget: Budget) -> Self {
        RetryStorm {
            limits: Limits {
                free_attempts: values.count("free_attempts") as u32,
                max_attempts: values.count("max_attempts") as u32,
                min_growth: values.of_name("min_growth"),
                enough_ns: values.ns("enough_seconds"),
            },
            budget_ratio: values.of_name("budget_ratio"),
            budget_min: values.count("budget_min") as u32,
            warn_wasted: values.count("warn_wasted").min(Pending::MOST as u64) as u32,
            warn_ignored: values.count("warn_ignored") as u32,
            chains: Table::new(budget.entries(CHAINS)),
            tracks: Table::new(budget.entries(TRACKS)),
            budgets: Table::new(budget.entries(BUDGETS)),
        }
    }
}

impl Detector for RetryStorm {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if !self.budgets.is_empty()
            && let Some(tries) = self.budgets.find(combine(call.process, call.authority))
        {
            tries.count(call.started_ns).0 += 1;
        }
        let repeat = desk.repeat();
        let has_failed = call.is_transient_failure();
        let is_another = repeat.last.is_some_and(|last| last.is_transient);
        if !has_failed && !is_another {
            return;
        }
        let Some(request) = repeat.request else { return };
        let limits = self.limits;
        let step = match self.chains.find(request) {
            Some(chain) if is_another => chain.step(call),
            _ => Step::Anew,
        };
        match step {
            Step::Anew if has_failed => *self.chains.of(request, || Chain::new(call)) = Chain::new(call),
            Step::Anew => {
                self.chains.remove(request);
            }
            Step::Same if has_failed => {
                if let Some(chain) = self.chains.find(request) {
                    chain.ends(call);
                }
            }
            Step::Same => {}
            Step::Again(timing) => {
                // What the server has asked for is nobody's fault.
                let is_over_budget = timing != Timing::Invited && self.spends(call);
                if !has_failed {
                    let chain = self.chains.remove(request);
                    // Of the attempts that are never too many, it may be the last.
                    if timing == Timing::Free
                        && chain.is_some_and(|chain| chain.is_confirmed)
                        && let Some(case) = desk.open_case(CaseId::of(Pattern::RetryStorm, call))
                    {
                        case.finding.waste.more_calls += 1;
                    }
                    return;
                }
                let over_budget = is_over_budget.then_some(Fault::Budget);
                let Some(chain) = self.chains.find(request) else { return };
                if let Some(fault) = chain.take(call, timing, over_budget, &limits) {
                    self.found(call, request, fault, desk);
                }
            }
        }
    }

    fn state(&self) -> State {
        State::of([
            (self.chains.len(), self.chains.evicted()),
            (self.tracks.len(), self.tracks.evicted()),
            (self.budgets.len(), self.budgets.evicted()),
        ])
    }
}

impl RetryStorm {
    /// Counts another try; true when there are too many of them.
    fn spends(&mut self, call: &Observation) -> bool {
        let key = combine(call.process, call.authority);
        let is_new = self.budgets.peek(key).is_none();
        let tries = self.budgets.of(key, Tries::default);
        let slot = tries.count(call.started_ns);
        slot.0 += u32::from(is_new);
        slot.1 += 1;
        let (calls, others) = tries.sums();
        others >= self.budget_min
            && f64::from(others) > self.budget_ratio * f64::from(calls.saturating_sub(others))
    }

    fn found(&mut self, call: &Observation, request: u64, fault: Fault, desk: &mut Desk) {
        let Some(chain) = self.chains.find(request) else { return };
        let track = self.tracks.of(call.scope, Track::default);
        track.take(call, fault, chain.release());
        let kind = track.kind();
        let id = CaseId::of(Pattern::RetryStorm, call);
        let case = desk.case(id, call, chain.started_ns, 2 * WINDOW_NS);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.calls = finding.calls.max(track.wasted.into());
        finding.kind = kind.name();
        finding.confidence = finding.confidence.max(kind.confidence());
        // A process may make them, if only it made fewer others.
        finding.waste.fewer_calls += u64::from(fault == Fault::Budget);
        finding.remedy = kind.remedy().to_owned();
        let evidence = &mut finding.evidence;
        let shown = (chain.attempts as usize).min(SHOWN);
        let statuses = chain.statuses.iter().take(shown).map(|&status| status.into());
        evidence.set("statuses", Fact::Counts(statuses.collect()));
        let pauses = chain.pauses_ns.iter().take(shown).skip(1).copied();
        evidence.set("pauses", Fact::Times(pauses.collect()));
        evidence.set("attempts", Fact::Count(chain.attempts.into()));
        evidence.set("wasted_10min", Fact::Count(track.wasted.into()));
        if fault == Fault::RetryAfterIgnored {
            evidence.set("before_retry_after", Fact::Count(track.ignored.into()));
            evidence.set("waited", Fact::Ns(chain.pause_ns));
        }
        let is_ignoring = track.ignored >= self.warn_ignored;
        if !track.is_claimed && !is_ignoring && track.wasted < self.warn_wasted {
            return;
        }
        // The server has asked for it: that is worth somebody's time whatever it costs. Whoever goes on while there are too
        // many takes what is left from others.
        let is_pressing = track.ignored >= self.warn_wasted && call.status == 429;
        case.allow(match (is_pressing, is_ignoring) {
            (true, _) => Grade::Harmful,
            (false, true) => Grade::Warned,
            (false, false) => Grade::Scored,
        });
        track.is_claimed = true;
        track.pending.claim(id, Class::Avoidable, desk);
    }
}

impl Chain {
    fn new(call: &Observation) -> Self {
        let mut statuses = [0; SHOWN];
        statuses[0] = call.status;
        Chain {
            attempts: 1,
            ended_ns: call.ended_ns,
            allowed_ns: allowed_ns(call).unwrap_or(0),
            pause_ns: 0,
            flat: 0,
            conn: call.conn,
            was_reset: call.status == 0,
            pending: [0; 4],
            pending_length: 0,
            is_confirmed: false,
            started_ns: call.started_ns,
            statuses,
            pauses_ns: [0; SHOWN],
        }
    }

    fn step(&self, call: &Observation) -> Step {
        let Some(pause_ns) = call.started_ns.checked_sub(self.ended_ns) else { return Step::Same };
        if self.was_reset && pause_ns <= REPLAY_NS && call.conn != self.conn {
            return Step::Same;
        }
        let is_early = call.started_ns.saturating_add(SLACK_NS) < self.allowed_ns;
        if !is_early && pause_ns > HORIZON_NS {
            return Step::Anew;
        }
        Step::Again(match self.allowed_ns {
            _ if is_early => Timing::Early,
            0 => Timing::Free,
            _ => Timing::Invited,
        })
    }

    /// Another try has failed.
    fn take(
        &mut self,
        call: &Observation,
        timing: Timing,
        over_budget: Option<Fault>,
        limits: &Limits,
    ) -> Option<Fault> {
        let Limits { free_attempts, max_attempts, min_growth, enough_ns } = *limits;
        let pause_ns = call.started_ns.saturating_sub(self.ended_ns);
        let before_ns = if self.attempts == 1 { pause_ns } else { self.pause_ns.max(1_000_000) };
        let is_flat = pause_ns < enough_ns && pause_ns as f64 <= before_ns as f64 * min_growth;
        self.flat = if is_flat { self.flat + 1 } else { 0 };
        self.pause_ns = pause_ns;
        let at = self.attempts as usize;
        if let (Some(status), Some(pause)) = (self.statuses.get_mut(at), self.pauses_ns.get_mut(at)) {
            (*status, *pause) = (call.status, pause_ns);
        }
        self.attempts += 1;
        self.ends(call);
        self.is_confirmed |= self.flat >= FLAT_PAUSES || self.attempts > max_attempts;
        match timing {
            Timing::Early => Some(Fault::RetryAfterIgnored),
            Timing::Invited => None,
            Timing::Free if self.attempts <= free_attempts => over_budget,
            Timing::Free if self.flat >= FLAT_PAUSES => Some(Fault::NoBackoff),
            Timing::Free if self.is_confirmed => Some(Fault::Unbounded),
            Timing::Free if over_budget.is_some() => over_budget,
            Timing::Free => {
                if let Some(place) = self.pending.get_mut(self.pending_length) {
                    *place = call.seq;
                    self.pending_length += 1;
                }
                None
            }
        }
    }

    fn ends(&mut self, call: &Observation) {
        self.ended_ns = self.ended_ns.max(call.ended_ns);
        self.conn = call.conn;
        self.was_reset = call.status == 0;
        self.allowed_ns = self.allowed_ns.max(allowed_ns(call).unwrap_or(0));
    }

    /// Attempts that turn out to be wasted now that the chain is confirmed.
    fn release(&mut self) -> impl Iterator<Item = u64> + '_ {
        let length = if self.is_confirmed { std::mem::take(&mut self.pending_length) } else { 0 };
        self.pending.iter().take(length).copied()
    }
}

/// When the server wants to be asked again.
fn allowed_ns(call: &Observation) -> Option<u64> {
    let response = &call.signals.response;
    let by_limit_s = response.rate_limit.filter(|limit| limit.remaining == 0).and_then(|limit| limit.reset_s);
    let wait_s = response.retry_after_s.or(by_limit_s)?;
    Some(call.ended_ns.saturating_add(u64::from(wait_s) * SECOND_NS))
}

impl Track {
    fn take(&mut self, call: &Observation, fault: Fault, released: impl Iterator<Item = u64>) {
        if call.started_ns > self.last_ns.saturating_add(WINDOW_NS) {
            *self = Track::default();
        }
        self.last_ns = self.last_ns.max(call.started_ns);
        for seq in released {
            self.add(seq, call.started_ns, fault);
        }
        self.add(call.seq, call.started_ns, fault);
    }

    fn add(&mut self, seq: u64, at_ns: u64, fault: Fault) {
        self.wasted += 1;
        self.ignored += u32::from(fault == Fault::RetryAfterIgnored);
        self.kinds[fault as usize] += 1;
        self.pending.push(seq, at_ns, Some(fault.class()), at_ns.saturating_sub(WINDOW_NS));
    }

    /// What most of them are.
    fn kind(&self) -> Fault {
        let all = [Fault::RetryAfterIgnored, Fault::NoBackoff, Fault::Unbounded, Fault::Budget];
        let most = self.kinds.iter().max().copied().unwrap_or(0);
        all.into_iter().find(|&fault| self.kinds[fault as usize] == most).unwrap_or(Fault::Unbounded)
    }
}

impl Tries {
    /// The place where calls are counted now.
    fn count(&mut self, now_ns: u64) -> &mut (u32, u32) {
        let slot = now_ns / SLOT_NS;
        // What is counted late counts with what is counted now.
        for passed in (self.slot + 1..=slot).rev().take(SLOTS) {
            self.slots[(passed % SLOTS as u64) as usize] = (0, 0);
        }
        self.slot = self.slot.max(slot);
        &mut self.slots[(self.slot % SLOTS as u64) as usize]
    }

    fn sums(&self) -> (u32, u32) {
        self.slots.iter().fold((0, 0), |(calls, others), slot| (calls + slot.0, others + slot.1))
    }
}

#[cfg(test)]
mod tests;
