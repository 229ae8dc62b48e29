//! Given: calls that end before their responses are over. Gives: whether it is told which of them were for nothing.
//! Refuses to know: other patterns.

use super::*;
use crate::detect::fixture::{Found, Made, found, get, send};
use crate::detect::subject::{Api, Names};
use crate::exchange::Outcome;

/// A call that its client gives up, before anything is answered.
fn given_up(made: Made) -> Made {
    made.with(|call| call.exchange.status = None)
}

/// A call that its client gives up while it is answered.
fn cut_off(made: Made) -> Made {
    made.with(|call| call.exchange.outcome = Outcome::Aborted)
}

/// A search each second; `change` makes something of it.
fn searches(count: u64, change: impl Fn(u64, Made) -> Made) -> impl Iterator<Item = Made> {
    (0..count).map(move |n| change(n, get(&format!("/v1/search?q={n}")).at_ms(n * 1000).lasting_ms(150)))
}

/// Calls that show that the process lives on.
fn later(from_ms: u64) -> impl Iterator<Item = Made> {
    (0..10).map(move |n| get("/v1/alive").at_ms(from_ms + n * 1000))
}

fn no_api(_: &Names) -> Api {
    Api::default()
}

fn of(calls: impl IntoIterator<Item = Made>) -> Found {
    found(calls, no_api).only(Pattern::WastedResponse)
}

#[test]
fn calls_that_run_into_a_timeout_are_wasted() {
    let calls =
        searches(60, |n, made| if n % 3 == 2 { made } else { given_up(made).lasting_ms(198 + n % 5) });
    let found = of(calls.chain(later(60_000)));
    assert_eq!(found.lines(), ["wasted_response timeout warning 40"]);
    assert_eq!(found.wasted(Pattern::WastedResponse), (40, 0));
    let finding = &found.findings[0];
    assert_eq!(finding.calls, 40);
    // The server was busy for as long as they were waited for.
    let waited_ms: u64 = (0..60).filter(|n| n % 3 != 2).map(|n| 198 + n % 5).sum();
    assert_eq!(finding.waste.expected.server_ns, waited_ms * 1_000_000);
    assert!(finding.remedy.contains("198 ms"), "{}", finding.remedy);
}

#[test]
fn a_slow_caller_is_found_as_well() {
    let calls = (0..24).map(|n| {
        let made = get(&format!("/v1/search?q={n}")).at_ms(n * 50_000);
        if n < 23 { given_up(made).lasting_ms(200) } else { made }
    });
    assert_eq!(of(calls).lines(), ["wasted_response timeout warning 23"]);
}

#[test]
fn responses_that_had_begun_came_too_late() {
    let calls =
        searches(60, |n, made| if n % 2 == 0 { made } else { cut_off(made).lasting_ms(100 + n * 37) });
    let found = of(calls.chain(later(63_000)));
    assert_eq!(found.lines(), ["wasted_response late_response warning 30"]);
    assert_eq!(found.wasted(Pattern::WastedResponse), (0, 30));
}

#[test]
fn calls_that_are_given_up_at_any_time_were_cancelled() {
    let calls =
        searches(60, |n, made| if n % 2 == 0 { made } else { given_up(made).lasting_ms(100 + n * 37) });
    let found = of(calls.chain(later(63_000)));
    assert_eq!(found.lines(), ["wasted_response cancelled warning 30"]);
    assert_eq!(found.wasted(Pattern::WastedResponse), (0, 30));
}

#[test]
fn one_in_a_hundred_is_good_to_know() {
    let change = |n, made| if n % 100 == 50 { given_up(made).lasting_ms(20 + n / 10) } else { made };
    let calls = (0..2000).map(|n| change(n, get("/v1/page").at_ms(n * 200)));
    let found = of(calls.chain(later(400_000)));
    assert_eq!(found.lines(), ["wasted_response cancelled info 0"]);
    assert_eq!(found.wasted(Pattern::WastedResponse), (0, 0));
    let nine = searches(60, |n, made| if n < 9 { given_up(made).lasting_ms(200) } else { made });
    assert!(of(nine).findings.is_empty());
}

#[test]
fn the_end_of_the_process_ends_its_calls() {
    let calls =
        searches(60, |n, made| if n < 40 { made } else { given_up(made).lasting_ms(60_000 - n * 1000) });
    assert!(of(calls).findings.is_empty());
}

#[test]
fn the_loser_of_two_requests_is_no_mistake() {
    let first_wins = (0..60u64).flat_map(|n| {
        let made = || get("/v1/profile").at_ms(n * 1000);
        [made().lasting_ms(100), given_up(made().at_ms(n * 1000 + 50)).lasting_ms(52)]
    });
    let second_wins = (0..60u64).flat_map(|n| {
        let made = || get("/v1/profile").at_ms(n * 1000);
        [given_up(made()).lasting_ms(102), made().at_ms(n * 1000 + 50).lasting_ms(50)]
    });
    assert!(of(first_wins.chain(later(60_000))).findings.is_empty());
    assert!(of(second_wins.chain(later(60_000))).findings.is_empty());
}

#[test]
fn a_second_attempt_is_no_winner() {
    let again = (0..60u64).flat_map(|n| {
        let made = || get("/v1/profile").at_ms(n * 1000);
        [given_up(made()).lasting_ms(200), made().at_ms(n * 1000 + 201).lasting_ms(20)]
    });
    assert_eq!(of(again.chain(later(60_000))).lines(), ["wasted_response timeout warning 60"]);
}

#[test]
fn what_is_meant_to_end_early_does() {
    let stream = searches(60, |n, made| {
        cut_off(made)
            .lasting_ms(200 + n)
            .with(|call| call.exchange.signals.response.content = Content::Stream)
    });
    assert!(of(stream.chain(later(60_000))).findings.is_empty());
    let head = (0..60).map(|n| given_up(send("HEAD", "/v1/file").at_ms(n * 1000)).lasting_ms(200));
    assert!(of(head.chain(later(60_000))).findings.is_empty());
    let refused = searches(60, |_, made| cut_off(made).status(413));
    assert!(of(refused.chain(later(60_000))).findings.is_empty());
    let polls = searches(60, |_, made| given_up(made).lasting_ms(200)).chain(later(60_000));
    let long_poll = |_: &Names| Api { is_long_poll: true, ..Api::default() };
    assert!(found(polls, long_poll).only(Pattern::WastedResponse).findings.is_empty());
}

/// Hands calls of one connection to the detector, which the server closes or the client does; cases that come of it.
fn cases(by_client: Option<bool>) -> usize {
    let mut detector = WastedResponse::new(&Values::of(&ROW), Budget { share: 1.0 });
    let mut desk = Desk::new(Budget { share: 1.0 });
    for n in 0..40 {
        let call = given_up(get("/v1/page").at_ms(n * 1000).seq(n)).lasting_ms(200).observation();
        detector.observe(&call, &mut desk);
        let end = ConnectionEnd { conn: call.conn, at_ns: call.ended_ns, by_client };
        detector.connection_ended(&end, &mut desk);
        detector.tick(call.ended_ns, &mut desk);
        // Each on a connection of its own would be the same; the last end of this one counts.
        detector.observe(&get("/v1/alive").at_ms(n * 1000 + 6000).observation(), &mut desk);
        detector.tick(call.ended_ns, &mut desk);
    }
    desk.cases_state().entries
}

#[test]
fn what_the_server_closes_is_not_given_up_by_the_client() {
    assert_eq!(cases(Some(false)), 0);
    assert_eq!(cases(Some(true)), 1);
    assert_eq!(cases(None), 1);
}
