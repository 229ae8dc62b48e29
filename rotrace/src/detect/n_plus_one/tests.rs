//! Given: calls of one endpoint for many ids. Gives: whether the bursts of them are told, and what of them is claimed. Refuses
//! to know: other patterns.

use super::*;
use crate::detect::fixture::{Made, found, get};
use crate::detect::subject::{Api, Batch, Names};

fn users(count: u64, distance_ms: u64, from_ms: u64) -> impl Iterator<Item = Made> {
    (0..count).map(move |n| get(&format!("/v1/users/{}", 100 + n)).at_ms(from_ms + n * distance_ms))
}

fn batch_of_100(_: &Names) -> Api {
    let batch = Batch { endpoint: "POST api.test/v1/users".into(), max: 100, cost_ucu: 21_000_000 };
    Api { batch: Some(batch), ..Api::default() }
}

#[test]
fn a_large_burst_is_a_warning_and_one_call_in_a_hundred_remains() {
    let found = found(users(140, 2, 0), batch_of_100);
    assert_eq!(found.lines(), ["n_plus_one concurrent warning 138"]);
    assert_eq!(found.wasted(Pattern::NPlusOne), (138, 0));
}

#[test]
fn three_bursts_of_ten_in_ten_minutes_are_a_warning() {
    let bursts = |count: u64| (0..count).flat_map(|n| users(12, 25, n * 60_000));
    assert_eq!(found(bursts(2), batch_of_100).lines(), ["n_plus_one loop info 0"]);
    assert_eq!(found(bursts(3), batch_of_100).lines(), ["n_plus_one loop warning 33"]);
}

#[test]
fn single_calls_between_bursts_do_not_hide_them() {
    let single = |n: u64| get(&format!("/v1/users/{}", 9000 + n)).at_ms(n * 5000);
    let bursts = (0..4).flat_map(|n| users(12, 25, n * 60_000 + 2000));
    let found = found(bursts.chain((0..48).map(single)), batch_of_100);
    assert_eq!(found.lines(), ["n_plus_one loop warning 44"]);
    assert_eq!(found.findings[0].started_ns, get("/").at_ms(2000).observation().started_ns);
}

#[test]
fn players_in_between_make_claims_less_certain() {
    let bounds = |calls: Vec<Made>| found(calls, batch_of_100).bounds_of(Pattern::NPlusOne);
    let bursts = || (0..4).flat_map(|n| users(12, 25, n * 60_000 + 2000));
    assert_eq!(bounds(bursts().collect()), [[44, 44, 44]]);
    // One may be among them, and the very first comes so soon before a burst that it may be a part of it.
    let single = |n: u64| get(&format!("/v1/users/{}", 9000 + n)).at_ms(n * 5000);
    assert_eq!(bounds(bursts().chain((0..48).map(single)).collect()), [[42, 44, 45]]);
    // Cut once, where one more is kept.
    assert_eq!(bounds(users(60, 210, 0).collect()), [[58, 58, 59]]);
}

#[test]
fn an_even_pace_is_a_burst_as_well() {
    assert_eq!(found(users(60, 210, 0), batch_of_100).lines(), ["n_plus_one paced warning 58"]);
}

#[test]
fn without_a_batch_endpoint_the_waste_is_potential() {
    let found = found(users(40, 2, 0), |_| Api::default());
    assert_eq!(found.wasted(Pattern::NPlusOne), (0, 39));
}

#[test]
fn near_misses_are_none() {
    let twice = (0..20).map(|n| get(&format!("/v1/users/{}", n % 4)).at_ms(n * 30));
    let pages = (0..20).map(|n| get(&format!("/v1/items?limit=100&cursor=c{n}")).at_ms(n * 30));
    let both = (0..20).map(|n| get(&format!("/v1/users/{n}/items/{n}")).at_ms(n * 30));
    let apart = users(20, 5000, 0);
    for calls in [twice.collect::<Vec<_>>(), pages.collect(), both.collect(), apart.collect()] {
        let found = found(calls, batch_of_100);
        assert!(
            found.findings.iter().all(|finding| finding.pattern != Pattern::NPlusOne),
            "{:?}",
            found.lines()
        );
    }
}
