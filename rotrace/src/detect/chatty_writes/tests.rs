//! Given: writes as scripts make them. Gives: whether those are found that could be fewer, and no others. Refuses to know:
//! other patterns.

use super::*;
use crate::detect::fixture::{Found, Made, found, send};
use crate::detect::subject::{Batch, Names};

/// Writes of one player's data, each with another body.
fn saves(player: u64, count: u64, every_ms: u64) -> impl Iterator<Item = Made> {
    (0..count).map(move |n| {
        let target = format!("/v2/stores/7/entries/{player}");
        let save = send("PATCH", &target).at_ms(player % 100 + n * every_ms);
        save.with(|call| call.exchange.request_body_bytes = Some(2000))
    })
}

/// One small write for each event.
fn events(count: u64, every_ms: u64) -> impl Iterator<Item = Made> {
    (0..count).map(move |n| {
        let event = send("POST", "/v1/events").at_ms(n * every_ms).cost(0.2);
        event.with(|call| call.exchange.request_body_bytes = Some(300))
    })
}

fn telemetry(_: &Names) -> Api {
    Api { is_telemetry: true, ..Api::default() }
}

fn batch_of_25(_: &Names) -> Api {
    let batch = Batch { endpoint: "POST api.test/v2/stores/{id}/entries:batch".into(), max: 25, cost_ucu: 0 };
    Api { batch: Some(batch), ..Api::default() }
}

fn check(found: &Found, expect: &[&str], wasted: (u64, u64)) {
    let lines = found.lines().into_iter().filter(|line| line.starts_with("chatty_writes"));
    assert_eq!(lines.collect::<Vec<_>>(), expect);
    assert_eq!(found.wasted(Pattern::ChattyWrites), wasted);
}

#[test]
fn a_value_that_is_written_every_two_seconds_is_written_too_often() {
    // Of the writes of two minutes four had to be made.
    let found = found(saves(5, 60, 2000), |_| Api::default());
    check(&found, &["chatty_writes coalescable warning 56"], (0, 56));
    assert_eq!(found.findings[0].calls, 60);
}

#[test]
fn at_full_half_minutes_more_writes_would_be_kept() {
    // Of the writes of five minutes, one in 36 s is kept, and ten would be.
    let bounds = |calls| found(calls, |_| Api::default()).bounds_of(Pattern::ChattyWrites);
    assert_eq!(bounds(saves(5, 34, 9000).collect::<Vec<_>>()), [[23, 25, 25]]);
    // Each comes in time.
    assert_eq!(bounds(saves(5, 60, 2000).collect()), [[56, 56, 56]]);
}

#[test]
fn every_player_has_data_of_their_own() {
    let four = (1..5).flat_map(|player| saves(player, 60, 2000));
    check(&found(four, |_| Api::default()), &["chatty_writes coalescable warning 224"], (0, 224));
}

#[test]
fn the_same_value_again_is_proven_waste() {
    let same = saves(5, 60, 2000).map(|made| made.with(|call| call.exchange.request_body_bytes = Some(0)));
    check(&found(same, |_| Api::default()), &["chatty_writes coalescable warning 56"], (56, 0));
}

#[test]
fn a_post_replaces_when_the_catalogue_says_so() {
    let posts = || saves(5, 60, 2000).map(|made| made.with(|call| call.exchange.method = "POST".into()));
    check(&found(posts(), |_| Api::default()), &[], (0, 0));
    let replaces = |_: &Names| Api { is_replacing_post: true, ..Api::default() };
    check(&found(posts(), replaces), &["chatty_writes coalescable warning 56"], (0, 56));
}

#[test]
fn one_write_for_each_event_could_be_few() {
    check(&found(events(600, 200), telemetry), &["chatty_writes unbatched warning 588"], (0, 588));
    let batched = |_: &Names| Api { is_telemetry: true, ..batch_of_25(&Names::unknown()) };
    check(&found(events(600, 200), batched), &["chatty_writes unbatched warning 576"], (576, 0));
}

#[test]
fn saves_of_all_players_could_be_one_when_they_come_again() {
    let round = |at_ms: u64| {
        (0..40).map(move |player| {
            send("PUT", &format!("/v2/stores/7/entries/{player}")).at_ms(at_ms + player * 20)
        })
    };
    let often = (0..3).flat_map(|n| round(n * 60_000));
    check(&found(often, batch_of_25), &["chatty_writes unbatched warning 114"], (114, 0));
    // A process that stops does so once.
    check(&found(round(0), batch_of_25), &["chatty_writes unbatched info 0"], (0, 0));
}

#[test]
fn near_misses_are_none() {
    // Five in a minute, or one in a minute for each of many players.
    check(&found(saves(5, 60, 12_500), |_| Api::default()), &[], (0, 0));
    let autosave = (0..40).flat_map(|player| saves(player, 10, 60_000));
    check(&found(autosave, |_| Api::default()), &[], (0, 0));
    // Increments, batches and messages are `POST`s, and none replaces another.
    let batches = (0..60).map(|n| send("POST", "/v1/users").at_ms(n * 500));
    check(&found(batches, |_| Api::default()), &[], (0, 0));
    // Failed writes that are made again are another detector's.
    check(&found(saves(5, 60, 2000).map(|made| made.status(503)), |_| Api::default()), &[], (0, 0));
    // Money.
    let paid = |_: &Names| Api { is_transactional: true, is_telemetry: true, ..Api::default() };
    check(&found(saves(5, 60, 2000), paid), &[], (0, 0));
    check(&found(events(600, 200), paid), &[], (0, 0));
    // Nineteen in ten seconds, or large ones.
    check(&found(events(100, 527), telemetry), &[], (0, 0));
    let large = events(600, 200).map(|made| made.with(|call| call.exchange.request_body_bytes = Some(1025)));
    check(&found(large, telemetry), &[], (0, 0));
}

#[test]
fn a_few_writes_are_only_good_to_know() {
    check(&found(saves(5, 8, 2000), |_| Api::default()), &["chatty_writes coalescable info 0"], (0, 0));
}

#[test]
fn a_ring_keeps_the_last() {
    let mut ring = Ring::<u32, 3>::default();
    assert_eq!((ring.nth_last(1), ring.len()), (None, 0));
    for item in 1..=5 {
        ring.push(item);
    }
    assert_eq!(ring.latest(9).copied().collect::<Vec<_>>(), [5, 4, 3]);
    assert_eq!((ring.nth_last(3), ring.nth_last(4), ring.nth_last(0)), (Some(3), None, None));
    ring.latest_mut(2).for_each(|item| *item += 10);
    assert_eq!(ring.latest(3).copied().collect::<Vec<_>>(), [15, 14, 3]);
}
