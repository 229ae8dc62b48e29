//! Given: calls with their prices. Gives: findings: which process calls the platform wastefully, how, how much that
//! costs and what to do; and the ledger of it, in which nothing is counted twice. Refuses to know: where calls come from,
//! and how findings are shown.
//!
//! Every detector is a file and a row of [`TABLE`]. All state is bounded, and what makes room is counted; the same calls
//! always give the same findings.

pub mod desk;
pub mod detector;
pub mod finding;
#[cfg(test)]
pub(crate) mod fixture;
pub mod ledger;
pub mod observation;
pub mod order;
pub mod pattern;
pub mod profile;
pub mod query;
pub mod request;
pub mod subject;
pub mod table;

mod duplicate_request;
mod error_loop;
mod missing_conditional;
mod n_plus_one;
mod poll_unchanged;
mod retry_storm;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::call::Call;
use crate::keyed::Key;
use crate::summary::UNKNOWN_GAME;

use self::desk::Desk;
use self::detector::Budget;
pub use self::detector::{ConnectionEnd, Detector, Row, State, Threshold, Values};
use self::finding::{Amount, Class, Finding, Severity};
use self::ledger::{Ledger, RING_CALLS};
use self::observation::{Observation, split};
use self::order::Order;
pub use self::pattern::Pattern;
use self::request::Requests;
use self::subject::{Api, Names, Subject};
use self::table::Table;

/// Every detector.
pub const TABLE: &[&Row] = &[
    &duplicate_request::ROW,
    &error_loop::ROW,
    &missing_conditional::ROW,
    &n_plus_one::ROW,
    &poll_unchanged::ROW,
    &retry_storm::ROW,
];

/// Endpoints of games that are remembered unless the budget says otherwise; 8 MiB.
const SUBJECTS: usize = 8192;

/// How detectors are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory that all of them may take, in bytes.
    pub budget_bytes: usize,
    /// Thresholds by pattern, where they are not the default; `None` turns the detector off.
    pub values: BTreeMap<Pattern, Option<Values>>,
    /// Hashes what must not be kept.
    pub key: Key,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { budget_bytes: 64 << 20, values: BTreeMap::new(), key: Key::default() }
    }
}

/// All detectors, and what they have found.
#[derive(Debug)]
pub struct Detectors {
    key: Key,
    order: Order,
    detectors: Vec<(Pattern, Box<dyn Detector>)>,
    desk: Desk,
    next_seq: u64,
    episodes: BTreeMap<(Arc<str>, Pattern, Severity), u64>,
    told: BTreeMap<finding::FindingId, Severity>,
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
        let full_bytes: usize = TABLE.iter().map(|row| row.full_bytes).sum::<usize>()
            + RING_CALLS * Ledger::ENTRY_BYTES
            + SUBJECTS * Table::<Subject>::ENTRY_BYTES
            + Requests::FULL_BYTES;
        let budget = Budget { share: settings.budget_bytes as f64 / full_bytes as f64 };
        let detectors = TABLE.iter().filter_map(|row| {
            let values = match settings.values.get(&row.pattern) {
                Some(None) => return None,
                Some(Some(values)) => values.clone(),
                None => Values::of(row),
            };
            Some((row.pattern, (row.make)(&values, budget)))
        });
        Detectors {
            key: settings.key,
            order: Order::default(),
            detectors: detectors.collect(),
            desk: Desk::new(budget.entries(RING_CALLS), budget.entries(SUBJECTS), Requests::new(budget)),
            next_seq: 0,
            episodes: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Takes a call that has ended, and its price. `api` is asked once for each endpoint of a game.
    pub fn observe(
        &mut self,
        call: &Call,
        cost_ucu: u64,
        api: &mut dyn FnMut(&Names) -> Arc<Api>,
    ) -> Option<u64> {
        let observation = Observation::of(call, self.next_seq, cost_ucu, &self.key)?;
        self.next_seq += 1;
        let Desk { subjects, ledger, spent_ucu, now_ns, .. } = &mut self.desk;
        *now_ns = (*now_ns).max(observation.ended_ns);
        *spent_ucu.entry(observation.game).or_default() += cost_ucu;
        let subject = subjects.of(observation.endpoint, || {
            let names = names(call);
            let api = api(&names);
            Subject::new(names, api)
        });
        subject.record(&observation);
        ledger.push(&observation);
        let Detectors { order, detectors, desk, .. } = self;
        order.push(observation, &mut |call| show(detectors, desk, call));
        Some(observation.seq)
    }

    /// A connection has ended.
    pub fn connection_ended(&mut self, end: &ConnectionEnd) {
        let Detectors { detectors, desk, .. } = self;
        detectors.iter_mut().for_each(|(_, detector)| detector.connection_ended(end, desk));
    }

    /// Time has passed: findings that are new, have gone on or are over.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Finding> {
        let Detectors { order, detectors, desk, .. } = self;
        order.advance(now_ns, &mut |call| show(detectors, desk, call));
        detectors.iter_mut().for_each(|(_, detector)| detector.tick(now_ns, desk));
        desk.tick(now_ns);
        self.changes()
    }

    /// Nothing more will come: everything that is open ends.
    pub fn finish(&mut self) -> Vec<Finding> {
        let Detectors { order, detectors, desk, .. } = self;
        order.finish(&mut |call| show(detectors, desk, call));
        let now_ns = desk.now_ns;
        detectors.iter_mut().for_each(|(_, detector)| detector.tick(now_ns, desk));
        detectors.iter_mut().for_each(|(_, detector)| detector.finish(desk));
        desk.finish();
        self.changes()
    }

    /// Waste that was counted for good, in the order of endpoints, patterns and classes.
    pub fn wasted(&self) -> Vec<Wasted> {
        let totals = self.desk.ledger.totals().filter_map(|((endpoint, pattern, class), amount)| {
            let names = Arc::clone(self.desk.names.get(&endpoint)?);
            Some(Wasted { names, pattern, class, amount })
        });
        let mut wasted: Vec<Wasted> = totals.collect();
        wasted.sort_by(|a, b| {
            let key = |one: &Wasted| (Arc::clone(&one.names), one.pattern, one.class);
            key(a).cmp(&key(b))
        });
        wasted
    }

    /// Episodes so far, by game, pattern and severity: each is counted once for each severity that it has reached.
    pub fn episodes(&self) -> &BTreeMap<(Arc<str>, Pattern, Severity), u64> {
        &self.episodes
    }

    /// Findings that are not over.
    pub fn open_findings(&self) -> impl Iterator<Item = &Finding> {
        self.desk.open_findings()
    }

    /// What each detector holds in memory.
    pub fn states(&self) -> impl Iterator<Item = (Pattern, State)> {
        self.detectors.iter().map(|(pattern, detector)| (*pattern, detector.state()))
    }

    /// What is held in memory for all of them.
    pub fn shared_state(&self) -> State {
        let subjects = &self.desk.subjects;
        let requests = self.desk.requests.state();
        State::of([(subjects.len(), subjects.evicted()), (requests.entries, requests.evicted)])
    }

    /// Calls that came too late to be put in order.
    pub fn late_calls(&self) -> u64 {
        self.order.late()
    }

    fn changes(&mut self) -> Vec<Finding> {
        let changes = self.desk.take_changes();
        for finding in &changes {
            let from = self.told.get(&finding.id).copied();
            for severity in Severity::ALL {
                if severity <= finding.severity && from.is_none_or(|from| severity > from) {
                    let key = (Arc::clone(&finding.game), finding.pattern, severity);
                    *self.episodes.entry(key).or_default() += 1;
                }
            }
            if finding.is_over {
                self.told.remove(&finding.id);
            } else {
                self.told.insert(finding.id, finding.severity);
            }
        }
        changes
    }
}

fn show(detectors: &mut [(Pattern, Box<dyn Detector>)], desk: &mut Desk, call: &Observation) {
    desk.remember(call);
    detectors.iter_mut().for_each(|(_, detector)| detector.observe(call, desk));
}

fn names(call: &Call) -> Names {
    let (authority, _) = split(&call.endpoint);
    Names {
        game: call.game.clone().unwrap_or_else(|| Arc::from(UNKNOWN_GAME)),
        endpoint: Arc::clone(&call.endpoint),
        authority: Arc::from(authority),
        method: Arc::from(&*call.exchange.method),
    }
}

#[cfg(test)]
mod tests;
