//! Given: which calls the ledger has claimed, and what is true of each. Gives: precision and recall of claimed calls. Refuses to
//! know: who has claimed them, and what they cost.
//!
//! Which call of a burst remains when the others go into a batch is nobody's to say, and so with polls, pages and writes that
//! are one too many: there a claim is right as long as no more calls of the instance are claimed than are wasted. A repeated
//! request or an attempt that came too early is one call and no other. So each share is given both ways.

use std::collections::BTreeMap;

use rotrace::detect::Pattern;

use super::figures::Share;
use crate::lab::calls::Truth;
use crate::lab::synth::Claims;

/// How right claims of calls are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClaimedCalls {
    /// Claimed calls that the plan has marked.
    pub(super) precision: Share,
    pub(super) recall: Share,
    /// The same by instances: as many calls as both are marked and claimed.
    pub(super) precision_of_instances: Share,
    pub(super) recall_of_instances: Share,
}

impl ClaimedCalls {
    /// Adds the claims of a pattern in a world; `None`: those of any pattern, right wherever a call need not have been made.
    pub(super) fn add(&mut self, world: usize, claims: &Claims, pattern: Option<Pattern>) {
        let is_own = |other: Option<Pattern>| other.is_some() && (pattern.is_none() || other == pattern);
        let (mut right, mut claimed, mut marked) = (0, 0, 0);
        let mut instances: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (&(Truth { cause, wasted }, claimed_by), &calls) in claims {
            let of_instance = instances.entry(cause).or_default();
            if is_own(wasted) {
                marked += calls;
                of_instance.0 += calls;
            }
            if is_own(claimed_by) {
                claimed += calls;
                of_instance.1 += calls;
            }
            if is_own(wasted) && is_own(claimed_by) {
                right += calls;
            }
        }
        let of_instances: u64 = instances.values().map(|&(marked, claimed)| marked.min(claimed)).sum();
        let add = |share: &mut Share, part: u64, whole: u64| share.add(world, part as f64, whole as f64);
        add(&mut self.precision, right, claimed);
        add(&mut self.recall, right, marked);
        add(&mut self.precision_of_instances, of_instances, claimed);
        add(&mut self.recall_of_instances, of_instances, marked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Option<Pattern> = Some(Pattern::NPlusOne);
    const OTHER: Option<Pattern> = Some(Pattern::TinyPages);

    /// Calls of each cause, mark and claim; and precision and recall, exact and by instances.
    fn check(
        calls: &[(u32, Option<Pattern>, Option<Pattern>, u64)],
        pattern: Option<Pattern>,
        expect: [f64; 4],
    ) {
        let claims = calls.iter().map(|&(cause, wasted, by, calls)| ((Truth { cause, wasted }, by), calls));
        let mut own = ClaimedCalls::default();
        own.add(0, &claims.collect(), pattern);
        let shares = [own.precision, own.recall, own.precision_of_instances, own.recall_of_instances];
        assert_eq!(shares.map(|share| share.value().expect("calls")), expect);
    }

    #[test]
    fn another_call_of_the_same_instance_is_as_good() {
        check(&[(1, OWN, OWN, 6), (1, OWN, None, 2), (1, None, OWN, 2)], OWN, [0.75, 0.75, 1.0, 1.0]);
        // Of another instance it is not.
        check(&[(1, OWN, OWN, 6), (1, OWN, None, 2), (2, None, OWN, 2)], OWN, [0.75; 4]);
        // No more than are wasted.
        check(&[(1, OWN, OWN, 6), (1, None, OWN, 2)], OWN, [0.75, 1.0, 0.75, 1.0]);
    }

    #[test]
    fn another_pattern_is_right_only_of_all_together() {
        let calls = [(1, OWN, OWN, 5), (1, OTHER, OWN, 5), (0, None, None, 90)];
        check(&calls, OWN, [0.5, 1.0, 0.5, 1.0]);
        check(&calls, None, [1.0; 4]);
    }
}
