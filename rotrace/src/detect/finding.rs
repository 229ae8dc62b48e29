//! Given: what a detector has found out. Gives: a finding: what is wasted, where, since when, how surely, and what to do
//! instead. Refuses to know: how it was found, and how it is shown.

use std::sync::Arc;

use super::pattern::Pattern;
use crate::cache::is_name;
use crate::keyed::combine;

/// Things of one kind that are kept as evidence.
pub const SAMPLES_MAX: usize = 5;

/// An inefficiency of one process, from its first call to the last that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Names it for as long as anybody speaks of it.
    pub id: FindingId,
    /// What it is.
    pub pattern: Pattern,
    /// What of that it is; `""` when the pattern has no kinds.
    pub kind: &'static str,
    /// Whose it is.
    pub game: Arc<str>,
    /// Authority and template; of patterns that concern an authority, that alone.
    pub endpoint: Arc<str>,
    /// The method; `""` when it concerns all.
    pub method: Arc<str>,
    /// PID of the process.
    pub pid: u32,
    /// First call that belongs to it; CLOCK_MONOTONIC.
    pub started_ns: u64,
    /// When it was sure enough to be told.
    pub confirmed_ns: u64,
    /// Last call that belongs to it.
    pub last_ns: u64,
    /// It is over.
    pub is_over: bool,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// Whether the waste could be avoided for certain.
    pub class: Class,
    /// Calls that belong to it.
    pub calls: u64,
    /// Calls of it that a pattern of higher precedence has claimed.
    pub overlap_calls: u64,
    /// What it wastes.
    pub waste: Estimate,
    /// Time that whoever waits for the calls could have been spared, in nanoseconds. Never converted to cost.
    pub latency_ns: u64,
    /// What speaks for it.
    pub evidence: Evidence,
    /// What to do, in one sentence.
    pub remedy: String,
}

/// Twelve hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(u64);

impl FindingId {
    pub(super) fn of(pattern: Pattern, subject: u64, started_ns: u64) -> Self {
        FindingId(combine(combine(pattern as u64, subject), started_ns) >> 16)
    }

    /// That of its digits.
    pub fn parse(digits: &str) -> Option<Self> {
        (digits.len() == 12).then(|| u64::from_str_radix(digits, 16).ok().map(FindingId))?
    }
}

impl std::fmt::Display for FindingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Worth somebody's time.
    Warning,
    /// Costs much, or harms others.
    Critical,
}

impl Severity {
    /// Each of them.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// As in the `severity` label.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It looks like it.
    #[default]
    Heuristic,
    /// Nothing else is likely.
    Strong,
    /// The server says so, or the bytes do.
    Proven,
}

impl Confidence {
    /// As a factor.
    pub fn factor(self) -> f64 {
        match self {
            Confidence::Heuristic => 0.4,
            Confidence::Strong => 0.7,
            Confidence::Proven => 1.0,
        }
    }

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Heuristic => "heuristic",
            Confidence::Strong => "strong",
            Confidence::Proven => "proven",
        }
    }
}

/// Whether waste could be avoided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It is proven that it could.
    #[default]
    Avoidable,
    /// It may be.
    Potential,
}

impl Class {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Class::Avoidable => "avoidable",
            Class::Potential => "potential",
        }
    }
}

/// An amount of waste.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Whole calls.
    pub calls: u64,
    /// Bytes, both directions.
    pub bytes: u64,
    /// Time that the server was busy, in nanoseconds.
    pub server_ns: u64,
    /// Millionths of a cost unit.
    pub cost_ucu: u64,
}

impl Amount {
    /// All of a call, whatever it was: a claim is cut to that.
    pub const WHOLE_CALL: Amount =
        Amount { calls: 1, bytes: u64::MAX, server_ns: u64::MAX, cost_ucu: u64::MAX };

    /// Both together.
    pub fn plus(self, other: Amount) -> Amount {
        Amount {
            calls: self.calls.saturating_add(other.calls),
            bytes: self.bytes.saturating_add(other.bytes),
            server_ns: self.server_ns.saturating_add(other.server_ns),
            cost_ucu: self.cost_ucu.saturating_add(other.cost_ucu),
        }
    }

    /// What is left without the other.
    pub fn minus(self, other: Amount) -> Amount {
        Amount {
            calls: self.calls.saturating_sub(other.calls),
            bytes: self.bytes.saturating_sub(other.bytes),
            server_ns: self.server_ns.saturating_sub(other.server_ns),
            cost_ucu: self.cost_ucu.saturating_sub(other.cost_ucu),
        }
    }

    /// No part greater than the other's.
    pub fn at_most(self, other: Amount) -> Amount {
        Amount {
            calls: self.calls.min(other.calls),
            bytes: self.bytes.min(other.bytes),
            server_ns: self.server_ns.min(other.server_ns),
            cost_ucu: self.cost_ucu.min(other.cost_ucu),
        }
    }

    /// A share of it.
    pub fn scaled(self, share: f64) -> Amount {
        let of = |value: u64| (value as f64 * share) as u64;
        Amount {
            calls: of(self.calls),
            bytes: of(self.bytes),
            server_ns: of(self.server_ns),
            cost_ucu: of(self.cost_ucu),
        }
    }
}

/// Waste that is known as exactly as the pattern allows. Where it is calls that are not certain, their number says how far it
/// may be off; where it is a part of each of them, a share does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// What is claimed in the ledger.
    pub expected: Amount,
    /// `low / expected`, from 0 to 1.
    pub low_share: f64,
    /// `high / expected`, from 1.
    pub high_share: f64,
    /// So many calls that are claimed may not be waste.
    pub fewer_calls: u64,
    /// So many calls that are not claimed may be waste.
    pub more_calls: u64,
}

impl Estimate {
    /// What it is at least.
    pub fn low(&self) -> Amount {
        self.of_calls(self.expected.calls.saturating_sub(self.fewer_calls)).scaled(self.low_share)
    }

    /// What it is at most.
    pub fn high(&self) -> Amount {
        self.of_calls(self.expected.calls.saturating_add(self.more_calls)).scaled(self.high_share)
    }

    /// What so many calls take, each as much as those that are claimed. Where none is, there is nothing to be unsure of.
    fn of_calls(&self, calls: u64) -> Amount {
        match self.expected.calls {
            0 => self.expected,
            own => Amount { calls, ..self.expected.scaled(calls as f64 / own as f64) },
        }
    }
}

/// What speaks for a finding. No value of a request is in it, only numbers of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Some of its calls.
    pub samples: Vec<Sample>,
    /// What was measured, in a fixed order.
    pub facts: Vec<(&'static str, Fact)>,
}

/// A call that belongs to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its number.
    pub seq: u64,
    /// When it began.
    pub started_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Status; 0 when there was none.
    pub status: u16,
    /// A number of what it asked for, the same for the same.
    pub resource: u32,
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A number of things.
    Count(u64),
    /// A size.
    Bytes(u64),
    /// A time.
    Ns(u64),
    /// A part of something, from 0.
    Ratio(f64),
    /// A word of ours, or a name from the catalogue.
    Text(Arc<str>),
    /// Several numbers, in the order in which they were seen.
    Counts(Vec<u64>),
    /// Several times, in the order in which they were seen.
    Times(Vec<u64>),
}

impl Evidence {
    /// What was measured under a name.
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|(known, _)| is_name(known, name)).map(|(_, fact)| fact)
    }

    /// Sets the word under a name.
    pub fn say(&mut self, name: &'static str, word: &str) {
        if !matches!(self.fact(name), Some(Fact::Text(known)) if **known == *word) {
            self.set(name, Fact::Text(word.into()));
        }
    }

    /// Sets what was measured under a name.
    pub fn set(&mut self, name: &'static str, fact: Fact) {
        match self.facts.iter_mut().find(|(known, _)| is_name(known, name)) {
            Some((_, known)) => *known = fact,
            None => self.facts.push((name, fact)),
        }
    }
}
