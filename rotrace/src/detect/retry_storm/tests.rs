//! Given: failures with pauses between them. Gives: whether those that were made too soon or too often are wasted, and
//! no others. Refuses to know: other patterns.

use super::*;
use crate::detect::fixture::{Made, found, get, send};
use crate::detect::subject::Api;
use crate::exchange::signals::RateLimit;

fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str], wasted: (u64, u64)) {
    let found = found(calls, |_| Api::default());
    assert_eq!(found.lines_of(Pattern::RetryStorm), expect);
    assert_eq!(found.wasted(Pattern::RetryStorm), wasted);
}

fn read(at_ms: u64) -> Made {
    get("/v1/items/1").answer(1).at_ms(at_ms)
}

fn failed(at_ms: u64) -> Made {
    read(at_ms).status(503)
}

/// Failures with these pauses between them.
fn paused(pauses_ms: &[u64]) -> Vec<Made> {
    let mut at_ms = 0;
    let mut calls = vec![failed(0)];
    for pause_ms in pauses_ms {
        at_ms += 10 + pause_ms;
        calls.push(failed(at_ms));
    }
    calls
}

#[test]
fn attempts_beyond_the_third_are_wasted_without_backoff() {
    // A window of 20 s: 400 attempts, then one that succeeds.
    let calls = (0..400).map(|n| failed(n * 50)).chain([read(20_000)]);
    check(calls, &["retry_storm no_backoff critical 397"], (397, 0));
    // Of each of several requests; together they are more than there should be before one of them is.
    let calls = (0..10)
        .flat_map(|id| (0..8).map(move |n| get(&format!("/v1/items/{id}")).status(502).at_ms(id + n * 100)));
    check(calls, &["retry_storm no_backoff warning 51"], (50, 1));
}

#[test]
fn what_succeeds_may_be_one_of_three_and_what_only_the_budget_forbids_may_be_free() {
    let window = |from_ms: u64| (0..100).map(move |n| failed(from_ms + n * 50)).chain([read(from_ms + 5000)]);
    let bounds = |calls: Vec<Made>| found(calls, |_| Api::default()).bounds_of(Pattern::RetryStorm);
    assert_eq!(bounds(window(0).collect()), [[97, 97, 98]]);
    // Of the second, two attempts more are claimed since there were so many before.
    assert_eq!(bounds(window(0).chain(window(20_000)).collect()), [[194, 196, 198]]);
    // One that never succeeded has had its three.
    assert_eq!(bounds((0..100).map(|n| failed(n * 50)).collect()), [[97, 97, 97]]);
}

#[test]
fn attempts_before_the_time_that_the_server_has_named_are_wasted() {
    // Each fifth keeps to it. What was asked for in vain is worth a warning however cheap it is.
    let limited = |n: u64| read(n * 1000).cost(0.1).status(429).retry_after(5 - (n % 5) as u32);
    let calls = (0..60).map(|n| if n % 5 == 4 { limited(n).retry_after(1) } else { limited(n) });
    check(calls, &["retry_storm retry_after_ignored critical 48"], (48, 0));
    let reset = |call: &mut crate::call::Call| {
        call.exchange.signals.response.rate_limit =
            Some(RateLimit { limit: 60, remaining: 0, reset_s: Some(60) });
    };
    check(
        (0..30).map(|n| read(n * 10_000).status(429).with(reset)),
        &["retry_storm retry_after_ignored critical 29"],
        (29, 0),
    );
}

#[test]
fn one_try_before_its_time_is_good_to_know() {
    check([failed(0).retry_after(5), failed(1000)], &["retry_storm retry_after_ignored info 0"], (0, 0));
    // It was right after all.
    check([failed(0).retry_after(5), read(1000)], &[], (0, 0));
}

#[test]
fn more_than_five_attempts_are_too_many_however_they_are_paced() {
    check(paused(&[100, 200, 400, 800]), &[], (0, 0));
    check(paused(&[100, 200, 400, 800, 1600]), &["retry_storm unbounded info 0"], (0, 0));
    let growing: Vec<u64> = (0..14).map(|n| 200 * 14_u64.pow(n) / 10_u64.pow(n)).collect();
    check(paused(&growing), &["retry_storm unbounded info 12"], (12, 0));
}

#[test]
fn tries_of_many_requests_have_a_budget() {
    let twice = |n: u64| {
        let target = format!("/v1/items/{n}");
        [get(&target).status(503).at_ms(n * 400), get(&target).status(503).at_ms(n * 400 + 100)]
    };
    // From the twentieth on.
    check((0..60).flat_map(twice), &["retry_storm budget warning 41"], (0, 41));
    check((0..19).flat_map(twice), &[], (0, 0));
    // Among enough other calls they are few.
    let others = (0..1200).map(|n| get(&format!("/v1/items/{}", 1000 + n)).at_ms(n * 20));
    check(others.chain((0..60).flat_map(twice)), &[], (0, 0));
}

#[test]
fn what_a_careful_client_does_is_right() {
    let all: [Vec<Made>; 9] = [
        // Backoff with jitter, and what the server says.
        [0, 2100, 6300, 14_500].map(failed).into_iter().chain([read(20_000)]).collect(),
        vec![
            failed(0).retry_after(2),
            failed(2100).retry_after(4),
            failed(6200).retry_after(8),
            read(14_300),
        ],
        // One try at once, after a reset.
        vec![read(0).unanswered(), read(11)],
        vec![failed(0), read(10)],
        // Hedges: the second is sent before the first has failed.
        (0..40).flat_map(|n| [0, 5].map(|offset| failed(n * 40_000 + offset))).collect(),
        // A schedule that does not care.
        (0..40).map(|n| failed(n * 31_000)).collect(),
        // It succeeds in between.
        (0..60).map(|n| if n % 3 == 2 { read(n * 100) } else { failed(n * 100) }).take(18).collect(),
        // What will never succeed is another pattern.
        (0..40).map(|n| read(n * 100).status(404)).collect(),
        // A 500 after what must not be done twice, with bodies that nobody saw.
        (0..40).map(|n| send("POST", "/v1/items").status(500).at_ms(n * 100)).collect(),
    ];
    for (at, calls) in all.into_iter().enumerate() {
        let found = found(calls, |_| Api::default());
        assert_eq!(found.lines_of(Pattern::RetryStorm), [""; 0], "{at}");
    }
}

#[test]
fn what_the_library_does_by_itself_is_one_attempt() {
    let reset = |n: u64| {
        let conn = move |call: &mut crate::call::Call| call.conn = n;
        read(n * 12).unanswered().with(conn)
    };
    check((0..40).map(reset), &[], (0, 0));
    let same_conn = (0..40).map(|n| read(n * 12).unanswered());
    check(same_conn, &["retry_storm no_backoff warning 37"], (37, 0));
}
