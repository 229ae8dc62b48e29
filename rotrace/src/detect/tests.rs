//! Given: calls of several kinds at once. Gives: whether what holds for all detectors together does. Refuses to know: the
//! patterns themselves, which each detector tests.

use proptest::prelude::*;

use super::fixture::{Made, found, get, send};
use super::*;
use crate::exchange::signals::{Content, url};
use crate::summary::ttfb_ns;

/// A call of any kind that detectors look at.
fn any_call() -> impl Strategy<Value = Made> {
    let status = prop_oneof![
        4 => Just(Some(200)),
        1 => prop::sample::select(vec![206, 301, 302, 304, 308, 403, 404, 429, 500, 503]).prop_map(Some),
        1 => Just(None),
    ];
    let times = (0..400_000u64, 1..400u64);
    (status, times, 0..6u64, 0..6u64, 0..2_000_000u64, any::<bool>()).prop_map(
        |(status, (at_ms, lasting_ms), id, to, body_bytes, is_read)| {
            let target = format!("/v1/things/{id}?q={to}");
            let made = if is_read { get(&target) } else { send("POST", &target) };
            made.at_ms(at_ms).lasting_ms(lasting_ms).with(|call| {
                call.exchange.status = status;
                call.exchange.response_body_bytes = status.map(|_| body_bytes);
                let response = &mut call.exchange.signals.response;
                response.content = Content::Text;
                response.location =
                    Some(url("api.test", &format!("/v1/things/{to}?q={id}"), &Key::default()));
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_more_is_wasted_than_was_called(calls in prop::collection::vec(any_call(), 0..600)) {
        let mut all = Amount { cost_ucu: 1_000_000 * calls.len() as u64, ..Amount::default() };
        for made in &calls {
            let call = made.call();
            let call = Observation::of(&call, 0, 0, &Key::default()).expect("a call that was made");
            all = all.plus(Amount { calls: 1, bytes: call.bytes(), server_ns: call.server_ns, cost_ucu: 0 });
        }
        let found = found(calls, |_| Api::default());
        let wasted = found.detectors.wasted();
        let sum = wasted.iter().fold(Amount::default(), |sum, wasted| sum.plus(wasted.amount));
        prop_assert_eq!(sum.at_most(all), sum);
        let told = found.findings.iter().fold(Amount::default(), |sum, one| sum.plus(one.waste.expected));
        prop_assert_eq!(told.calls, sum.calls);
    }
}

#[test]
fn a_call_that_was_given_up_kept_the_server_busy_until_then() {
    let made = get("/").lasting_ms(250).with(|call| call.exchange.status = None);
    assert_eq!(ttfb_ns(&made.call().exchange), None);
    assert_eq!(made.observation().server_ns, 250_000_000);
}

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
