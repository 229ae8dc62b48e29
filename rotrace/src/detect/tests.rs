//! Given: calls of several kinds at once. Gives: whether what holds for all detectors together does. Refuses to know: the
//! patterns themselves, which each detector tests.

use super::fixture::{found, get};
use super::*;

#[test]
fn the_table_names_every_pattern_at_most_once_and_the_budget_is_kept() {
    let mut patterns: Vec<Pattern> = TABLE.iter().map(|row| row.pattern).collect();
    patterns.sort_unstable();
    patterns.dedup();
    assert_eq!(patterns.len(), TABLE.len());
}

#[test]
fn the_same_calls_give_the_same_findings() {
    let calls = || (0..400).map(|n| get(&format!("/v1/users/{}", n % 90)).at_ms(n * 40));
    assert_eq!(found(calls(), |_| Api::default()).findings, found(calls(), |_| Api::default()).findings);
}
