//! Given: calls. Gives: endpoints whose responses their client does not wait for: the server works, and nobody reads it.
//! Refuses to know: why the client gave up, beyond what the times and sizes of such calls say.
//!
//! A call that ends before its response is over is not looked at before its process was seen alive some seconds later,
//! because the end of a process ends all that it waits for. By then it is also known whether the server closed the
//! connection, and whether the same request was answered on another connection just then: of requests that are sent twice
//! to be safe, the loser is no mistake. What a process gave up in its last seconds is therefore never told.
//!
//! Calls that are given up after the same time each hit a timeout. Of the others, those whose response had begun came
//! too late for their client, and those without one were cancelled.

use std::collections::VecDeque;

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, ConnectionEnd, Detector, Row, State, Threshold, Values};
use super::finding::{Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply};
use super::pattern::Pattern;
use super::pending::Pending;
use super::subject::Subject;
use super::table::Table;
use super::window::Window;
use crate::exchange::signals::Content;

pub(super) const ROW: Row = Row {
    pattern: Pattern::WastedResponse,
    thresholds: &[
        Threshold {
            name: "min_aborted_calls",
            default: 10.0,
            what: "calls of one endpoint that a process gives up in ten minutes, from which they are told",
        },
        Threshold {
            name: "warn_aborted_share",
            default: 0.05,
            what: "share of its calls to that endpoint from which cost decides whether it is a warning",
        },
        Threshold {
            name: "timeout_share",
            default: 0.6,
            what: "share of these calls that end after the same time, within 5 %, from which it is a timeout",
        },
        Threshold {
            name: "exit_seconds",
            default: 5.0,
            what: "time that a process has to live on after a call for the call to count as given up",
        },
    ],
    full_bytes: SCOPES * Table::<TenMinutes>::ENTRY_BYTES
        + TRACKS * (Table::<Track>::ENTRY_BYTES + HELD_MAX * size_of::<Held>() + Pending::FULL_BYTES)
        + PROCESSES * Table::<u64>::ENTRY_BYTES
        + CONNECTIONS * Table::<u64>::ENTRY_BYTES,
    make: |values, budget| Box::new(WastedResponse::new(values, budget)),
};

/// Endpoints of processes whose calls are counted.
const SCOPES: usize = 16 * 1024;

/// Endpoints of processes that give calls up; 1.3 MiB.
const TRACKS: usize = 256;

/// Calls of one endpoint that wait until it is certain that they were given up; another one lets the oldest go.
const HELD_MAX: usize = 32;

/// Processes of which it is known that they live.
const PROCESSES: usize = 1024;

/// Connections of which it is known that the server closed them.
const CONNECTIONS: usize = 1024;

/// Durations by which a timeout is known.
const DURATIONS: usize = 32;

/// The fewest of them that show anything.
const DURATIONS_MIN: usize = 5;

/// Largest over smallest of durations that are the same: within 5 % of what lies between.
const SAME_DURATION: f64 = 1.05 / 0.95;

/// Answers that are remembered to know the loser of two requests.
const ANSWERS: usize = 16;

/// A loser is given up so soon after the winner was answered.
const HEDGE_NS: u64 = 50_000_000;

/// A connection that the server closed ended a call that ended at the same time, as far as times agree.
const CLOSE_NS: u64 = 1_000_000_000;

/// Nobody asks any more whether a call ended with its connection.
const CLOSED_NS: u64 = 60_000_000_000;

/// How long after its last such call a case is over.
const IDLE_NS: u64 = 1_200_000_000_000;

type TenMinutes = Window<Calls, 120, 5>;

#[derive(Debug)]
struct WastedResponse {
    min_aborted: u64,
    warn_share: f64,
    timeout_share: f64,
    exit_ns: u64,
    /// By endpoint of a process.
    calls: Table<TenMinutes>,
    /// The same, where calls were given up.
    tracks: Table<Track>,
    /// When a process that gives calls up was last seen to begin one.
    alive: Table<u64>,
    /// When the server closed a connection.
    closed_by_server: Table<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    all: u32,
    aborted: u32,
}

#[derive(Debug)]
struct Track {
    last: Observation,
    held: VecDeque<Held>,
    /// How long the last ones were waited for, in microseconds, and whether the response had begun.
    waits: [(u32, bool); DURATIONS],
    aborted: usize,
    answers: [Answer; ANSWERS],
    answered: usize,
    pending: Pending,
}

/// A call that ended before its response was over.
#[derive(Clone, Copy, Debug)]
struct Held {
    seq: u64,
    request: u64,
    conn: u64,
    started_ns: u64,
    ended_ns: u64,
    status: u16,
    sample: Sample,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    request: u64,
    ended_ns: u64,
}

/// How calls are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// After the same time each.
    Timeout { after_ns: u64 },
    /// When the response had begun.
    LateResponse,
    /// Before.
    Cancelled,
}

impl WastedResponse {
    fn new(values: &Values, budget: Budget) -> Self {
        WastedResponse {
            min_aborted: values.count("min_aborted_calls"),
            warn_share: values.of_name("warn_aborted_share"),
            timeout_share: values.of_name("timeout_share"),
            exit_ns: values.ns("exit_seconds"),
            calls: Table::new(budget.entries(SCOPES)),
            tracks: Table::new(budget.entries(TRACKS)),
            alive: Table::new(budget.entries(PROCESSES)),
            closed_by_server: Table::new(budget.entries(CONNECTIONS)),
        }
    }
}

impl Detector for WastedResponse {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if let Some(calls) = self.calls.of(call.scope, TenMinutes::default).at(call.started_ns) {
            calls.all += 1;
        }
        if let Some(seen_ns) = self.alive.find(call.process) {
            *seen_ns = (*seen_ns).max(call.started_ns);
        }
        if is_given_up(call) && !is_meant_to_be(call, desk) {
            self.alive.of(call.process, || call.started_ns);
            self.tracks.of(call.scope, || Track::new(call)).hold(call);
        } else if call.reply == Reply::Success
            && !self.tracks.is_empty()
            && let Some(track) = self.tracks.find(call.scope)
        {
            track.answer(call);
        }
    }

    fn tick(&mut self, _: u64, desk: &mut Desk) {
        let waiting = self.tracks.iter().filter(|(_, track)| !track.held.is_empty());
        let scopes: Vec<u64> = waiting.map(|(scope, _)| scope).collect();
        for scope in scopes {
            self.judge(scope, desk);
        }
    }

    fn connection_ended(&mut self, end: &ConnectionEnd, _: &mut Desk) {
        if end.by_client == Some(false) {
            let is_over = |&closed_ns: &u64| closed_ns.saturating_add(CLOSED_NS) < end.at_ns;
            *self.closed_by_server.of_live(end.conn, is_over, || end.at_ns) = end.at_ns;
        }
    }

    fn state(&self) -> State {
        let Self { calls, tracks, alive, closed_by_server, .. } = self;
        State::of([
            (calls.len(), calls.evicted()),
            (tracks.len(), tracks.evicted()),
            (alive.len(), alive.evicted()),
            (closed_by_server.len(), closed_by_server.evicted()),
        ])
    }
}

/// It ended before its response was over, and the server had not turned it away.
fn is_given_up(call: &Observation) -> bool {
    call.is_aborted && matches!(call.reply, Reply::None | Reply::Success)
}

/// The end of the call is no sign that it was for nothing.
fn is_meant_to_be(call: &Observation, desk: &Desk) -> bool {
    let is_endless = |subject: &Subject| subject.api.is_long_poll || &*subject.names.method == "HEAD";
    call.signals.response.content == Content::Stream || desk.subject(call).is_some_and(is_endless)
}

impl WastedResponse {
    /// Takes the calls that are certain by now.
    fn judge(&mut self, scope: u64, desk: &mut Desk) {
        let Self { tracks, calls, alive, closed_by_server, exit_ns, .. } = self;
        let (Some(track), Some(ten_minutes)) = (tracks.find(scope), calls.find(scope)) else { return };
        let alive_ns = alive.peek(track.last.process).copied().unwrap_or(0);
        let mut judged = None;
        while let Some(held) = track.held.pop_front_if(|held| held.ended_ns + *exit_ns <= alive_ns) {
            let closed_ns = closed_by_server.peek(held.conn);
            if closed_ns.is_some_and(|closed_ns| closed_ns.abs_diff(held.ended_ns) <= CLOSE_NS) {
                continue;
            }
            let Some(calls) = ten_minutes.at(held.started_ns) else { continue };
            calls.aborted += 1;
            track.give_up(&held);
            judged = Some(held);
        }
        if let Some(held) = judged {
            self.found(scope, &held, desk);
        }
    }

    /// The last of the calls that are certain is `held`.
    fn found(&mut self, scope: u64, held: &Held, desk: &mut Desk) {
        let (Some(track), Some(ten_minutes)) = (self.tracks.find(scope), self.calls.find(scope)) else {
            return;
        };
        let (mut calls, mut aborted) = (0, 0);
        for sum in ten_minutes.recent(held.started_ns) {
            calls += u64::from(sum.all);
            aborted += u64::from(sum.aborted);
        }
        if aborted < self.min_aborted {
            return;
        }
        let share = aborted as f64 / calls.max(1) as f64;
        let kind = track.kind(aborted, self.timeout_share);
        let usual_ns = desk.subject(&track.last).map_or(0, |subject| subject.server.quantile(0.5));
        let id = CaseId::of(Pattern::WastedResponse, &track.last);
        let started_ns = track.pending.started_ns().unwrap_or(held.started_ns);
        let case = desk.case(id, &track.last, started_ns, IDLE_NS);
        case.finding.calls += track.pending.tell(aborted).saturating_sub(1);
        case.count(held.sample);
        let finding = &mut case.finding;
        finding.confidence = kind.confidence();
        finding.evidence.set("aborted_10min", Fact::Count(aborted));
        finding.evidence.set("calls_10min", Fact::Count(calls));
        finding.evidence.set("share", Fact::Ratio(share));
        finding.evidence.set("usual_server_time", Fact::Ns(usual_ns));
        if let Kind::Timeout { after_ns } = kind {
            finding.evidence.set("timeout", Fact::Ns(after_ns));
        }
        if finding.kind != kind.name() {
            finding.kind = kind.name();
            finding.remedy = kind.remedy();
        }
        if share >= self.warn_share {
            case.allow(Grade::Scored);
            track.pending.claim(id, kind.class(), desk);
        }
    }
}

impl Track {
    fn new(call: &Observation) -> Self {
        Track {
            last: *call,
            held: VecDeque::new(),
            waits: [(0, false); DURATIONS],
            aborted: 0,
            answers: [Answer::default(); ANSWERS],
            answered: 0,
            pending: Pending::default(),
        }
    }

    /// Keeps a call until it is certain that it was given up.
    fn hold(&mut self, call: &Observation) {
        self.last = *call;
        let is_loser = |answer: &Answer| {
            answer.request == call.request
                && answer.ended_ns > call.started_ns
                && answer.ended_ns.abs_diff(call.ended_ns) <= HEDGE_NS
        };
        if self.answers.iter().any(is_loser) {
            return;
        }
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(Held {
            seq: call.seq,
            request: call.request,
            conn: call.conn,
            started_ns: call.started_ns,
            ended_ns: call.ended_ns,
            status: call.status,
            sample: Sample::of(call, call.resource),
        });
    }

    /// Remembers an answer, and lets go the calls that it has won against.
    fn answer(&mut self, call: &Observation) {
        let Observation { request, started_ns, ended_ns, .. } = *call;
        let is_loser = |held: &Held| {
            held.request == request
                && held.ended_ns > started_ns
                && held.ended_ns.abs_diff(ended_ns) <= HEDGE_NS
        };
        self.held.retain(|held| !is_loser(held));
        if let Some(place) = self.answers.get_mut(self.answered % ANSWERS) {
            *place = Answer { request, ended_ns };
        }
        self.answered += 1;
    }

    /// A call was given up for certain.
    fn give_up(&mut self, held: &Held) {
        let wait_us = (held.ended_ns - held.started_ns) / 1000;
        if let Some(place) = self.waits.get_mut(self.aborted % DURATIONS) {
            *place = (wait_us.min(u32::MAX.into()) as u32, held.status != 0);
        }
        self.aborted += 1;
        let since_ns = held.started_ns.saturating_sub(TenMinutes::LENGTH_NS);
        self.pending.push(held.seq, held.started_ns, Some(Class::Avoidable), since_ns);
    }

    /// What the last calls that were given up, no more of them than `recent`, have in common.
    fn kind(&self, recent: u64, timeout_share: f64) -> Kind {
        let known = recent.min(self.aborted as u64).min(DURATIONS as u64) as usize;
        let places = (self.aborted - known..self.aborted).map(|at| at % DURATIONS);
        let mut waits: Vec<(u32, bool)> = places.filter_map(|at| self.waits.get(at).copied()).collect();
        waits.sort_unstable();
        let same_as = |&(first, _): &(u32, bool)| {
            let last = f64::from(first) * SAME_DURATION;
            waits.iter().filter(|&&(wait, _)| wait >= first && f64::from(wait) <= last).count()
        };
        let most = waits.iter().map(|wait| (same_as(wait), wait.0)).max().unwrap_or_default();
        let (same, first_us) = most;
        if waits.len() >= DURATIONS_MIN && same as f64 >= timeout_share * waits.len() as f64 {
            return Kind::Timeout { after_ns: u64::from(first_us) * 1000 };
        }
        let begun = waits.iter().filter(|(_, has_begun)| *has_begun).count();
        if begun * 2 > waits.len() { Kind::LateResponse } else { Kind::Cancelled }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Timeout { .. } => "timeout",
            Kind::LateResponse => "late_response",
            Kind::Cancelled => "cancelled",
        }
    }

    /// A limit that the client sets itself could be set otherwise; that somebody has gone away is nobody's fault.
    fn class(self) -> Class {
        match self {
            Kind::Timeout { .. } => Class::Avoidable,
            Kind::LateResponse | Kind::Cancelled => Class::Potential,
        }
    }

    fn confidence(self) -> Confidence {
        match self {
            Kind::Timeout { .. } => Confidence::Strong,
            Kind::LateResponse | Kind::Cancelled => Confidence::Heuristic,
        }
    }

    fn remedy(self) -> String {
        match self {
            Kind::Timeout { after_ns } => format!(
                "Set the timeout, now {} ms, above the time that 999 of 1000 responses take, or make the endpoint faster.",
                after_ns / 1_000_000
            ),
            Kind::LateResponse => {
                "Ask for less at once, or give the response the time that it takes.".to_owned()
            }
            Kind::Cancelled => "Make the call only when it is certain that its answer is wanted.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
