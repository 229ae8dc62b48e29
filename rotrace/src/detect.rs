//! Given: calls with their prices. Gives: findings: which process calls the platform wastefully, how, how much that
//! costs and what to do; and the ledger of it, in which nothing is counted twice. Refuses to know: where calls come from,
//! and how findings are shown.
//!
//! Every detector is a file and a row of [`TABLE`]. All state is bounded, and what makes room is counted; the same calls
//! always give the same findings.

pub mod case;
pub mod desk;
pub mod detector;
mod episodes;
mod excess;
pub mod finding;
#[cfg(test)]
pub(crate) mod fixture;
mod in_flight;
mod index;
pub mod labels;
pub mod ledger;
pub mod limit;
mod loss;
pub mod observation;
pub mod order;
pub mod pattern;
mod pending;
pub mod phase;
pub mod profile;
pub mod query;
pub mod request;
pub mod subject;
pub mod table;
mod template;
pub mod totals;
mod window;

mod chatty_writes;
mod connection_churn;
mod duplicate_request;
mod error_loop;
mod missing_conditional;
mod n_plus_one;
mod oversized_payload;
mod poll_unchanged;
mod rate_limit_pressure;
mod redirect_chain;
mod retry_storm;
mod serial_waterfall;
mod suboptimal_endpoint;
mod tiny_pages;
mod uncompressed_payload;
mod wasted_response;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::cache::Cache;
use crate::call::Call;
use crate::endpoint::canonical::divided;
use crate::keyed::Key;
use crate::summary::{Summary, UNKNOWN_GAME};

use self::desk::Desk;
use self::detector::Budget;
pub use self::detector::{ConnectionEnd, Detector, Row, State, Threshold, Values};
use self::episodes::Episodes;
use self::finding::{Amount, Class, Finding, FindingId, Severity};
use self::labels::Labels;
use self::limit::LimitUse;
use self::observation::Observation;
use self::order::Order;
pub use self::pattern::Pattern;
use self::phase::{Phase, Phases};
use self::subject::{Api, Names, Subject};

/// Every detector.
pub const TABLE: &[&Row] = &[
    &chatty_writes::ROW,
    &connection_churn::ROW,
    &duplicate_request::ROW,
    &error_loop::ROW,
    &missing_conditional::ROW,
    &n_plus_one::ROW,
    &oversized_payload::ROW,
    &poll_unchanged::ROW,
    &rate_limit_pressure::ROW,
    &redirect_chain::ROW,
    &retry_storm::ROW,
    &serial_waterfall::ROW,
    &suboptimal_endpoint::ROW,
    &tiny_pages::ROW,
    &uncompressed_payload::ROW,
    &wasted_response::ROW,
];

/// Endpoints of any game of which is remembered what the catalogue knows of them; 24 KiB.
const APIS: usize = 1024;

/// Findings that are over and can still be asked for; 1 MiB.
const OVER_MAX: usize = 1000;

/// How detectors are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory that all of them may take, in bytes.
    pub budget_bytes: usize,
    /// Calls to the host itself are looked at as well.
    pub loopback: bool,
    /// Thresholds by pattern, where they are not the default; `None` turns the detector off.
    pub values: BTreeMap<Pattern, Option<Values>>,
    /// Hashes what must not be kept.
    pub key: Key,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { budget_bytes: 64 << 20, loopback: true, values: BTreeMap::new(), key: Key::default() }
    }
}

/// All detectors, and what they have found.
#[derive(Debug)]
pub struct Detectors {
    labels: Labels,
    loopback: bool,
    order: Order,
    detectors: Vec<(Pattern, Box<dyn Detector>)>,
    desk: Desk,
    phases: Phases,
    realtime_offset_ns: Option<i64>,
    next_seq: u64,
    /// What is known of endpoints, by [`Observation::endpoint_of_any_game`]: games that call the same one share it.
    apis: Cache<(u64, Arc<Api>)>,
    episodes: Episodes,
    /// As they were told last: those that are open, and the last that are over.
    told: BTreeMap<FindingId, Arc<Finding>>,
    over: VecDeque<FindingId>,
}

/// What all detectors have found, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Waste that was counted for good, in the order of names, patterns and classes.
    pub wasted: Vec<Wasted>,
    /// Episodes so far, by game, pattern and severity: each is counted once for each severity that it has reached.
    pub episodes: BTreeMap<(Arc<str>, Pattern, Severity), u64>,
    /// Findings that are open, and the last that are over, as they were told last.
    pub findings: Vec<Arc<Finding>>,
    /// What each detector holds in memory, by its name; then what is held for all of them: endpoints and requests
    /// (`shared`), first calls (`phases`), open findings (`findings`), and endpoints that have wasted something
    /// (`wasted`), where an amount that found no room is counted for its game as a whole.
    pub states: Vec<(&'static str, State)>,
    /// How much of limits is used.
    pub limits: Vec<LimitUse>,
    /// In which seconds of the minute the processes of a game begin to call an endpoint with a method.
    pub phases: Vec<(Arc<Names>, Phase)>,
    /// Calls that came too late to be put in order.
    pub late_calls: u64,
    /// Claims of calls that had made room for others.
    pub claims_too_late: u64,
    /// Endpoints and games whose counts of waste, episodes and first calls were forgotten since they were idle.
    pub expired: u64,
}

/// Waste that was counted for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wasted {
    /// Of what.
    pub names: Arc<Names>,
    /// By which pattern.
    pub pattern: Pattern,
    /// Whether it could be avoided for certain.
    pub class: Class,
    /// How much.
    pub amount: Amount,
}

impl Detectors {
    /// Sets all detectors up that are not turned off.
    pub fn new(settings: &Settings) -> Self {
        let budget = Budget { share: settings.budget_bytes as f64 / full_bytes() as f64 };
        let detectors = TABLE.iter().filter_map(|row| {
            let values = match settings.values.get(&row.pattern) {
                Some(None) => return None,
                Some(Some(values)) => values.clone(),
                None => Values::of(row),
            };
            Some((row.pattern, (row.make)(&values, budget)))
        });
        Detectors {
            labels: Labels::new(settings.key),
            loopback: settings.loopback,
            order: Order::new(budget),
            detectors: detectors.collect(),
            desk: Desk::new(budget),
            phases: Phases::new(budget),
            realtime_offset_ns: None,
            next_seq: 0,
            apis: Cache::new(APIS),
            episodes: Episodes::default(),
            told: BTreeMap::new(),
            over: VecDeque::new(),
        }
    }

    /// Takes a call that has ended, and its price. `api` is asked once for each endpoint of a game.
    pub fn observe(
        &mut self,
        call: &Call,
        cost_ucu: u64,
        api: &mut dyn FnMut(&Names) -> Arc<Api>,
    ) -> Option<u64> {
        let observation = self.order.next_place();
        if !observation.fill(call, self.next_seq, cost_ucu, &mut self.labels) {
            return None;
        }
        let (observation, seq) = (&*observation, self.next_seq);
        self.next_seq += 1;
        let Desk { subjects, ledger, spent_ucu, now_ns, .. } = &mut self.desk;
        let apis = &mut self.apis;
        *now_ns = (*now_ns).max(observation.ended_ns);
        *spent_ucu.of(observation.game, || 0) += cost_ucu;
        let subject = subjects.of(observation.endpoint, || {
            let names = names(call);
            let api = api(&names);
            let endpoint = observation.endpoint_of_any_game;
            let is_it = |(own, _): &(u64, _)| *own == endpoint;
            let (_, known) = apis.of(endpoint as usize, is_it, || (endpoint, Arc::clone(&api)));
            // The catalogue may have been read anew since.
            if *known != api {
                *known = api;
            }
            Subject::new(names, Arc::clone(known))
        });
        subject.record(observation);
        // Nobody asks too often whether a service is up.
        if subject.is_probe || subject.is_loopback && !self.loopback {
            return Some(seq);
        }
        ledger.push(observation);
        self.in_order(Order::push);
        Some(seq)
    }

    /// From now on CLOCK_REALTIME is so far from CLOCK_MONOTONIC. Before it is known, no phases are counted.
    pub fn set_realtime_offset_ns(&mut self, offset_ns: i64) {
        self.realtime_offset_ns = Some(offset_ns);
    }

    /// So many more events were lost and seen until now.
    pub fn count_loss(&mut self, now_ns: u64, lost: u64, seen: u64) {
        self.desk.loss.count(now_ns, lost, seen);
    }

    /// Keeps from now on which calls are counted as waste, until [`Detectors::take_claims`].
    pub fn follow_claims(&mut self) {
        self.desk.ledger.totals.follow();
    }

    /// Calls that were counted as waste for good since the last time, by the number that [`Detectors::observe`] gave, and
    /// the pattern that has them.
    pub fn take_claims(&mut self) -> Vec<(u64, Pattern)> {
        self.desk.ledger.totals.take_followed()
    }

    /// A connection has ended.
    pub fn connection_ended(&mut self, end: &ConnectionEnd) {
        let Detectors { detectors, desk, .. } = self;
        detectors.iter_mut().for_each(|(_, detector)| detector.connection_ended(end, desk));
    }

    /// Time has passed: findings that are new, have gone on or are over.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Arc<Finding>> {
        self.in_order(|order, out| order.advance(now_ns, out));
        let Detectors { detectors, desk, .. } = self;
        detectors.iter_mut().for_each(|(_, detector)| detector.tick(now_ns, desk));
        desk.tick(now_ns);
        self.changes()
    }

    /// Forgets what was counted of endpoints and games that have been idle for `idle_ns`, as far as `summary` has their
    /// calls.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64, summary: &Summary) {
        self.desk.ledger.totals.expire(now_ns, idle_ns, summary);
        self.episodes.expire(now_ns, idle_ns, summary);
        let subjects = &self.desk.subjects;
        let is_called = |endpoint| {
            let names = subjects.peek(endpoint).map(|subject| &subject.names);
            names.is_some_and(|names| summary.has_endpoint(&names.game, &names.endpoint))
        };
        self.phases.expire(now_ns, idle_ns, is_called);
    }

    /// Nothing more will come: everything that is open ends.
    pub fn finish(&mut self) -> Vec<Arc<Finding>> {
        self.in_order(|order, out| order.finish(out));
        let Detectors { detectors, desk, .. } = self;
        let now_ns = desk.now_ns;
        detectors.iter_mut().for_each(|(_, detector)| detector.tick(now_ns, desk));
        detectors.iter_mut().for_each(|(_, detector)| detector.finish(desk));
        desk.finish();
        self.changes()
    }

    /// Everything that is known now.
    pub fn snapshot(&self) -> Snapshot {
        let Detectors { desk, order, detectors, phases, episodes, told, .. } = self;
        let phase = |(endpoint, phase): (u64, &Phase)| {
            Some((Arc::clone(&desk.subjects.peek(endpoint)?.names), *phase))
        };
        let totals = &desk.ledger.totals;
        let of =
            |(names, pattern, class, amount)| Wasted { names: Arc::clone(names), pattern, class, amount };
        let mut wasted: Vec<Wasted> = totals.iter().map(of).collect();
        wasted.sort_by(|a, b| (&a.names, a.pattern, a.class).cmp(&(&b.names, b.pattern, b.class)));
        Snapshot {
            wasted,
            episodes: episodes.iter().collect(),
            findings: told.values().cloned().collect(),
            states: detectors
                .iter()
                .map(|(pattern, detector)| (pattern.name(), detector.state()))
                .chain([
                    ("shared", self.shared_state()),
                    ("phases", phases.state()),
                    ("findings", desk.cases_state()),
                    ("wasted", totals.state()),
                ])
                .collect(),
            limits: detectors.iter().flat_map(|(_, detector)| detector.limits(desk.now_ns)).collect(),
            phases: phases.iter().filter_map(phase).collect(),
            late_calls: order.late(),
            claims_too_late: desk.ledger.too_late,
            expired: totals.expired() + episodes.expired() + phases.expired(),
        }
    }

    /// Hands calls whose turn it is to whoever looks at them.
    fn in_order(&mut self, advance: impl FnOnce(&mut Order, &mut dyn FnMut(&Observation))) {
        let Detectors { order, detectors, desk, phases, realtime_offset_ns, .. } = self;
        advance(order, &mut |call| {
            desk.remember(call);
            detectors.iter_mut().for_each(|(_, detector)| detector.observe(call, desk));
            if let Some(offset_ns) = *realtime_offset_ns {
                phases.observe(call, offset_ns);
            }
        });
        desk.passed_ns = order.passed_ns();
    }

    /// What is held in memory for all of them.
    fn shared_state(&self) -> State {
        let subjects = &self.desk.subjects;
        let requests = self.desk.requests.state();
        State::of([(subjects.len(), subjects.evicted()), (requests.entries, requests.evicted)])
    }

    fn changes(&mut self) -> Vec<Arc<Finding>> {
        let changes = self.desk.take_changes();
        for finding in &changes {
            let from = self.told.insert(finding.id, Arc::clone(finding)).map(|told| told.severity);
            for severity in Severity::ALL {
                if severity <= finding.severity && from.is_none_or(|from| severity > from) {
                    self.episodes.count(&finding.game, finding.pattern, severity, self.desk.now_ns);
                }
            }
            if finding.is_over {
                self.over.push_back(finding.id);
            }
        }
        while self.over.len() > OVER_MAX {
            if let Some(id) = self.over.pop_front() {
                self.told.remove(&id);
            }
        }
        changes
    }
}

/// What everything takes when it is full and the budget is no smaller.
fn full_bytes() -> usize {
    TABLE.iter().map(|row| row.full_bytes).sum::<usize>()
        + Order::FULL_BYTES
        + Phases::FULL_BYTES
        + Desk::FULL_BYTES
}

fn names(call: &Call) -> Names {
    let (authority, _) = divided(&call.endpoint);
    Names {
        game: call.game.clone().unwrap_or_else(|| Arc::from(UNKNOWN_GAME)),
        endpoint: Arc::clone(&call.endpoint),
        authority: Arc::from(authority),
        method: Arc::from(&*call.exchange.method),
    }
}

#[cfg(test)]
mod tests;
