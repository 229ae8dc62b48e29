//! Given: nothing; plain values. Gives: what can be wrong with another try, how sure that is, and what to do instead. Refuses
//! to know: which try is which.

use crate::detect::finding::{Class, Confidence};

/// What is wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    RetryAfterIgnored,
    NoBackoff,
    Unbounded,
    Budget,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::RetryAfterIgnored => "retry_after_ignored",
            Fault::NoBackoff => "no_backoff",
            Fault::Unbounded => "unbounded",
            Fault::Budget => "budget",
        }
    }

    /// Whoever spends the budget may have spent it well.
    pub(super) fn class(self) -> Class {
        match self {
            Fault::RetryAfterIgnored | Fault::NoBackoff | Fault::Unbounded => Class::Avoidable,
            Fault::Budget => Class::Potential,
        }
    }

    pub(super) fn confidence(self) -> Confidence {
        match self {
            Fault::RetryAfterIgnored => Confidence::Proven,
            Fault::NoBackoff | Fault::Unbounded => Confidence::Strong,
            Fault::Budget => Confidence::Heuristic,
        }
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Fault::RetryAfterIgnored => "Wait for as long as Retry-After says before the next try.",
            Fault::NoBackoff => "Wait 2, 4, 8 s with some jitter between tries, and give up after the third.",
            Fault::Unbounded => "Give up after the third try, and tell whoever waits.",
            Fault::Budget => {
                "Let other tries be no more than a tenth of all calls: a token bucket for all scripts."
            }
        }
    }
}
