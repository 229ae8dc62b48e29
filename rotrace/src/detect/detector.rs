//! Given: nothing. Gives: what a detector is, and how one is set up. Refuses to know: any of them.

use super::desk::Desk;
use super::limit::LimitUse;
use super::observation::Observation;
use super::pattern::Pattern;

/// Finds one pattern in the calls of all processes.
pub trait Detector: std::fmt::Debug + Send {
    /// Takes a call. Calls come in the order in which they began, but for late ones.
    fn observe(&mut self, call: &Observation, desk: &mut Desk);

    /// Time has passed; called about once a second.
    fn tick(&mut self, _now_ns: u64, _desk: &mut Desk) {}

    /// Nothing more will come: what waits to be sure is judged by what is known.
    fn finish(&mut self, _desk: &mut Desk) {}

    /// A connection has ended.
    fn connection_ended(&mut self, _end: &ConnectionEnd, _desk: &mut Desk) {}

    /// What it knows of how much of limits is used at this time, for detectors that look at limits.
    fn limits(&self, _now_ns: u64) -> Vec<LimitUse> {
        Vec::new()
    }

    /// What it holds in memory.
    fn state(&self) -> State;
}

/// What a detector holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Entries in its tables.
    pub entries: usize,
    /// Entries that made room for others.
    pub evicted: u64,
}

impl State {
    /// Of several tables.
    pub fn of<const N: usize>(tables: [(usize, u64); N]) -> Self {
        let entries = tables.iter().map(|(entries, _)| entries).sum();
        State { entries, evicted: tables.iter().map(|(_, evicted)| evicted).sum() }
    }
}

/// A connection of a process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// Its number, as in [`Observation::conn`].
    pub conn: u64,
    /// When; CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The client closed it first; `None` when that was not seen.
    pub by_client: Option<bool>,
}

/// A row of the table of detectors.
#[derive(Debug)]
pub struct Row {
    /// What it finds.
    pub pattern: Pattern,
    /// What can be set, in the order in which [`Values`] has it.
    pub thresholds: &'static [Threshold],
    /// Memory that its tables take when they are full, unless the budget is smaller.
    pub full_bytes: usize,
    /// Sets it up.
    pub make: fn(&Values, Budget) -> Box<dyn Detector>,
}

/// A number that can be set in `[detect.NAME]`.
#[derive(Debug)]
pub struct Threshold {
    /// The key; the unit is in it.
    pub name: &'static str,
    /// What it is unless it is set.
    pub default: f64,
    /// What it does, for the documentation.
    pub what: &'static str,
}

/// The thresholds of one detector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    set: Vec<(&'static str, f64)>,
}

impl Values {
    /// Those of a row, none of them set.
    pub fn of(row: &Row) -> Self {
        Values { set: row.thresholds.iter().map(|threshold| (threshold.name, threshold.default)).collect() }
    }

    /// Sets one; false when there is none of that name.
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        let known = self.set.iter_mut().find(|(known, _)| *known == name);
        known.map(|(_, own)| *own = value).is_some()
    }

    /// The value of a threshold that the row has.
    pub fn of_name(&self, name: &str) -> f64 {
        self.set.iter().find(|(known, _)| *known == name).map_or(0.0, |&(_, value)| value)
    }

    /// The value of a threshold in seconds, in nanoseconds.
    pub fn ns(&self, name: &str) -> u64 {
        (self.of_name(name) * 1e9) as u64
    }

    /// The value of a threshold that is a whole number.
    pub fn count(&self, name: &str) -> u64 {
        self.of_name(name) as u64
    }
}

/// What part of the memory that detectors may take, a detector may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// From 0 to 1 and beyond: the budget of the node over what all detectors would take.
    pub share: f64,
}

impl Budget {
    /// Entries of a table that would have so many.
    pub fn entries(self, full: usize) -> usize {
        ((full as f64 * self.share.min(1.0)) as usize).max(16)
    }
}
