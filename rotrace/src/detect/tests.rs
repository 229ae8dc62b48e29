//! Given: calls of several kinds at once. Gives: whether what holds for all detectors together does. Refuses to know: the
//! patterns themselves, which each detector tests.

use proptest::prelude::*;

use super::fixture::{Made, found, get, send};
use super::*;
use crate::exchange::signals::{Content, url};

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
            let call = made.observation();
            all = all.plus(Amount { calls: 1, bytes: call.bytes(), server_ns: call.server_ns, cost_ucu: 0 });
        }
        let found = found(calls, |_| Api::default());
        let wasted = found.detectors.snapshot().wasted;
        let sum = wasted.iter().fold(Amount::default(), |sum, wasted| sum.plus(wasted.amount));
        prop_assert_eq!(sum.at_most(all), sum);
        let told = found.findings.iter().fold(Amount::default(), |sum, one| sum.plus(one.waste.expected));
        prop_assert_eq!(told.calls, sum.calls);
    }
}

#[test]
fn a_call_that_was_given_up_kept_the_server_busy_until_then() {
    let made = get("/").lasting_ms(250).with(|call| call.exchange.status = None);
    assert_eq!(made.call().exchange.ttfb_ns(), None);
    assert_eq!(made.observation().server_ns, 250_000_000);
}

#[test]
fn everything_that_detectors_may_remember_fits_the_budget() {
    let rows = TABLE.iter().map(|row| (row.pattern.name(), row.full_bytes));
    let shared = [("order", Order::FULL_BYTES), ("phases", Phases::FULL_BYTES), ("desk", Desk::FULL_BYTES)];
    let all: Vec<String> =
        rows.chain(shared).map(|(holder, bytes)| format!("{holder} {} KiB", bytes >> 10)).collect();
    assert!(full_bytes() <= Settings::default().budget_bytes, "{} KiB of {all:#?}", full_bytes() >> 10);
}

#[test]
fn the_table_names_every_pattern_at_most_once() {
    let mut patterns: Vec<Pattern> = TABLE.iter().map(|row| row.pattern).collect();
    patterns.sort_unstable();
    patterns.dedup();
    assert_eq!(patterns.len(), TABLE.len());
}

/// The tables at the end of the page of findings.
fn thresholds() -> String {
    let mut page = String::from("| pattern | threshold | default | |\n|---|---|---|---|\n");
    for pattern in Pattern::ALL {
        let row = TABLE.iter().find(|row| row.pattern == pattern).expect("a row of each pattern");
        for Threshold { name, default, what } in row.thresholds {
            page += &format!("| `{}` | `{name}` | {default} | {what} |\n", pattern.name());
        }
    }
    page
}

#[test]
fn the_page_of_findings_has_every_pattern_and_threshold() {
    let page = include_str!("../../../docs/findings.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, Pattern::ALL.map(|pattern| format!("`{}`", pattern.name())));
    let table = thresholds();
    assert!(page.ends_with(&table), "docs/findings.md ends with this table:\n\n{table}");
}

#[test]
fn the_same_calls_give_the_same_findings() {
    let calls = || (0..400).map(|n| get(&format!("/v1/users/{}", n % 90)).at_ms(n * 40));
    assert_eq!(found(calls(), |_| Api::default()).findings, found(calls(), |_| Api::default()).findings);
}

#[test]
fn what_only_looks_like_waste_is_at_most_good_to_know() {
    let read = |at_ms: u64| get("/v1/items/1").answer(1).at_ms(at_ms);
    let user = |n: u64| get(&format!("/v1/users/{n}")).answer(n);
    let growing = [0, 1000, 3000, 7000, 15_000, 31_000, 63_000, 127_000, 255_000];
    let all: Vec<(&str, Vec<Made>)> = vec![
        ("pages", (0..8).map(|n| get(&format!("/v1/items?limit=100&cursor={n}")).at_ms(n * 40)).collect()),
        ("players that join", (0..12).map(|n| user(n).at_ms(n * 25)).collect()),
        ("revalidation", (0..200).map(|n| read(n * 30_000).status(304)).collect()),
        ("a hanging read", (0..60).map(|n| read(n * 20_020).lasting_ms(20_000)).collect()),
        ("backoff", [0, 2100, 6200, 14_300].map(|at_ms| read(at_ms).status(503).retry_after(2)).into()),
        ("a try after a reset", vec![read(0).unanswered(), read(11)]),
        (
            "hedges",
            (0..50).flat_map(|n| [0, 60].map(|o| read(n * 31_000 + o).status(503).lasting_ms(90))).collect(),
        ),
        ("probes of existence", (0..80).map(|n| user(n).status(404).at_ms(n * 9000)).collect()),
        (
            "a new token",
            [401, 200]
                .into_iter()
                .enumerate()
                .map(|(n, status)| read(n as u64 * 90).status(status))
                .collect(),
        ),
        (
            "a look at what was written",
            (0..3)
                .flat_map(|n| {
                    [read(n * 700), send("PUT", "/v1/items/1").at_ms(n * 700 + 20), read(n * 700 + 40)]
                })
                .collect(),
        ),
        ("an operation", growing.map(|at_ms| get("/v2/operations/7").answer(1).at_ms(at_ms)).into()),
        ("probes of health", (0..200).map(|n| get("/health").answer(1).at_ms(n * 5000)).collect()),
    ];
    for (what, calls) in all {
        let found = found(calls, |_| Api::default());
        for pattern in Pattern::ALL {
            assert!(found.is_harmless(pattern), "{what}: {:?}", found.lines());
        }
    }
}

/// Calls of all kinds at once: target, pause before it, duration and status, 0 for none.
fn any_calls() -> impl Strategy<Value = Vec<(u8, u64, u64, u16)>> {
    let status = prop::sample::select(vec![200, 200, 200, 200, 304, 403, 404, 409, 429, 503, 0]);
    prop::collection::vec((0..9u8, 0..1500u64, 1..900u64, status), 1..200)
}

fn made(target: u8, at_ms: u64, lasting_ms: u64, status: u16) -> Made {
    let call = match target {
        0 => get("/v1/items").answer(1).etag(1),
        1 => get("/v1/items/1").answer(1),
        2 => get("/v1/items/2").answer(at_ms % 3).max_age(3),
        3 => get(&format!("/v1/items?t={at_ms}")).answer(1),
        4 => send("PUT", "/v1/items/1").retry_after(2),
        5 => send("POST", "/v1/items"),
        _ => get(&format!("/v1/users/{}", at_ms % 50)).payload(5000),
    };
    let call = call.at_ms(at_ms).lasting_ms(lasting_ms);
    if status == 0 { call.unanswered() } else { call.status(status) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However patterns overlap, no more is wasted than there was, and nothing but calls that were made.
    #[test]
    fn nothing_is_wasted_twice(calls in any_calls()) {
        let mut at_ms = 0;
        let calls: Vec<Made> = calls
            .into_iter()
            .map(|(target, pause_ms, lasting_ms, status)| {
                at_ms += pause_ms;
                made(target, at_ms, lasting_ms, status)
            })
            .collect();
        let all = calls.iter().map(Made::observation).fold(Amount::default(), |all, call| {
            let (bytes, server_ns, cost_ucu) = (call.bytes(), call.server_ns, call.cost_ucu);
            all.plus(Amount { calls: 1, bytes, server_ns, cost_ucu })
        });
        let found = found(calls, |_| Api::default());
        let wasted = found.detectors.snapshot().wasted;
        let wasted = wasted.iter().filter(|wasted| wasted.pattern.pool() != pattern::Pool::Seconds);
        let wasted = wasted.fold(Amount::default(), |sum, wasted| sum.plus(wasted.amount));
        prop_assert_eq!(wasted, wasted.at_most(all));
    }
}

/// One game after the other, each of which asks the same again and again, beside one that stays.
#[test]
fn games_that_come_and_go_leave_nothing_behind() {
    const IDLE_NS: u64 = 60_000_000_000;
    let mut detectors = Detectors::new(&Settings::default());
    let mut summary = Summary::default();
    let mut live_calls = 0;
    for number in 0..10_000 {
        let asked = |name: &str, n: u64| {
            let name: Arc<str> = name.into();
            let made = get("/v1/items/1").answer(1).at_ms(number * 100 + n * 15);
            made.with(|call| call.game = Some(name)).call()
        };
        let game = format!("game-{number}");
        for call in (0..6).flat_map(|n| [asked(&game, n), asked("live", n)]) {
            summary.record(&call);
            detectors.observe(&call, 1_000_000, &mut |_| Arc::default());
        }
        if number % 10 < 9 {
            continue;
        }
        let now_ns = get("/").at_ms(number * 100 + 99).call().exchange.started_ns;
        detectors.tick(now_ns);
        summary.expire(now_ns, IDLE_NS);
        detectors.expire(now_ns, IDLE_NS, &summary);
        let Snapshot { wasted, episodes, findings, .. } = detectors.snapshot();
        // A minute has 600 such games, and claims are settled for a while after; each reaches two severities.
        assert!(wasted.len() <= 800 && episodes.len() <= 2 * 800, "{} {}", wasted.len(), episodes.len());
        assert!(findings.len() <= desk::CASES_MAX + OVER_MAX, "{}", findings.len());
        let live = wasted.iter().filter(|wasted| &*wasted.names.game == "live");
        let live = live.map(|wasted| wasted.amount.calls).sum::<u64>();
        assert!(live >= live_calls, "{live} after {live_calls}");
        live_calls = live;
    }
    let Snapshot { expired, states, .. } = detectors.snapshot();
    assert!(live_calls > 50_000, "{live_calls}");
    // Each has one endpoint, and one episode at least.
    assert!(expired > 18_000, "{expired}");
    let wasted = states.iter().find(|(name, _)| *name == "wasted").map(|&(_, state)| state);
    assert!(wasted.is_some_and(|state| state.entries <= 800 && state.evicted == 0), "{wasted:?}");
}

#[test]
fn a_finding_is_told_at_once_when_it_matters_more_and_else_when_it_has_changed() {
    let mut detectors = Detectors::new(&Settings::default());
    let mut told = Vec::new();
    // Reads that repeat for 40 s, then nothing.
    for second in 0..60u64 {
        for n in 0..if second < 40 { 20 } else { 0 } {
            let call = get("/v1/items/1").answer(1).at_ms(second * 1000 + n * 45).call();
            detectors.observe(&call, 1_000_000, &mut |_| Arc::default());
        }
        let now_ns = get("/").at_ms((second + 1) * 1000).call().exchange.started_ns;
        for finding in detectors.tick(now_ns) {
            told.push((finding.pattern, second, finding.severity, finding.calls));
        }
    }
    told.retain(|(pattern, ..)| *pattern == Pattern::DuplicateRequest);
    let seconds: Vec<u64> = told.iter().map(|&(_, second, ..)| second).collect();
    assert!(seconds[0] <= 2, "{told:?}");
    for pair in told.windows(2) {
        let [(_, from, was, before), (_, to, is, after)] = [pair[0], pair[1]];
        assert!(is > was || to - from >= 10 && after > before, "{told:?}");
    }
    assert!(seconds.iter().any(|second| (30..42).contains(second)) && seconds.len() < 8, "{told:?}");
}

#[test]
fn where_much_was_lost_findings_count_half() {
    let severity = |lost: u64| {
        let mut detectors = Detectors::new(&Settings::default());
        for n in 0..20 {
            let call = get("/v1/items/1").answer(1).at_ms(n * 20).lasting_ms(400).call();
            detectors.observe(&call, 80_000, &mut |_| Arc::default());
        }
        detectors.count_loss(1, lost, 1000);
        let finding = detectors.finish().pop().expect("a finding");
        (finding.severity, finding.evidence.fact("lost_share").cloned())
    };
    assert_eq!(severity(50), (Severity::Warning, None));
    assert_eq!(severity(250), (Severity::Info, Some(finding::Fact::Ratio(0.2))));
}

#[test]
fn calls_to_the_host_itself_are_looked_at_where_that_is_wanted() {
    let found = |loopback: bool| {
        let mut detectors = Detectors::new(&Settings { loopback, ..Settings::default() });
        for n in 0..40 {
            let made = get("/v1/items/1").answer(1).at_ms(n * 20).lasting_ms(900);
            let call = made.with(|call| call.endpoint = "127.0.0.1:8080/v1/items/{id}".into()).call();
            assert_eq!(detectors.observe(&call, 1_000_000, &mut |_| Arc::default()), Some(n));
        }
        !detectors.finish().is_empty()
    };
    assert_eq!((found(true), found(false)), (true, false));
}
