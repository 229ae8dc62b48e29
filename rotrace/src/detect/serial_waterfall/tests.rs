//! Given: scripts that call one endpoint after the other. Gives: whether they are told, how often, what could be saved, and
//! how surely. Refuses to know: how a sequence is followed.

use super::*;
use crate::detect::finding::Finding;
use crate::detect::fixture::{Made, found, get, send};
use crate::detect::subject::Api;

/// Of each finding the severity, the sequence, how often it came and what could be saved, in milliseconds.
fn check(calls: impl IntoIterator<Item = Made>, expect: &[&str]) {
    let found = found(calls, |_| Api::default());
    let waterfall = |finding: &&Finding| finding.pattern == Pattern::SerialWaterfall;
    let lines = found.findings.iter().filter(waterfall).map(|finding| {
        let Some(Fact::Text(sequence)) = finding.evidence.fact("sequence") else { return String::new() };
        let latency_ms = finding.latency_ns / 1_000_000;
        format!("{} {sequence} {} {latency_ms}", finding.severity.name(), finding.calls)
    });
    assert_eq!(lines.collect::<Vec<_>>(), expect);
    assert_eq!(found.wasted(Pattern::SerialWaterfall), (0, 0));
}

/// A script that makes calls one after the other, each of so many milliseconds, and so long a pause between them.
fn script(calls: &[(&str, u64)], from_ms: u64, pause_ms: u64) -> Vec<Made> {
    let mut at_ms = from_ms;
    let made = calls.iter().map(|&(target, lasting_ms)| {
        let made = get(target).at_ms(at_ms).lasting_ms(lasting_ms);
        at_ms += lasting_ms + pause_ms;
        made
    });
    made.collect()
}

const JOIN: [(&str, u64); 3] =
    [("/v1/profiles/7", 300), ("/v1/inventories/7", 400), ("/v1/badges?user=7", 200)];

/// The script runs so often; then the process makes one more call.
fn often(times: u64, run: impl Fn(u64) -> Vec<Made>) -> Vec<Made> {
    let last = get("/v1/other").at_ms(times * 60_000);
    (0..times).flat_map(|n| run(n * 60_000)).chain([last]).collect()
}

#[test]
fn a_sequence_that_comes_again_is_good_to_know() {
    check(often(5, |at| script(&JOIN, at, 2)), &[&format!("info {SEQUENCE} 1 500")]);
    check(often(9, |at| script(&JOIN, at, 2)), &[&format!("info {SEQUENCE} 5 2500")]);
}

const SEQUENCE: &str = "api.test/v1/profiles/{id} → api.test/v1/inventories/{id} → api.test/v1/badges";

/// Of the first finding the confidence, and of the calls behind the first of a sequence how many were checked, and how
/// many of them depend.
fn checked(calls: impl IntoIterator<Item = Made>) -> Option<(Confidence, u64, u64)> {
    let found = found(calls, |_| Api::default()).only(Pattern::SerialWaterfall);
    let finding = found.findings.first()?;
    let count = |name| match finding.evidence.fact(name) {
        Some(Fact::Count(count)) => *count,
        _ => u64::MAX,
    };
    Some((finding.confidence, count("checked"), count("dependent")))
}

/// A script of four calls of 400 ms; each asks for the id that `asked` says of it, and is answered with what `brings` says.
fn chain(at: u64, asked: [&str; 4], brings: [Option<&str>; 4]) -> Vec<Made> {
    let paths = ["sessions", "profiles", "bags", "trophies"].iter().zip(asked);
    let calls: Vec<String> = paths.map(|(path, id)| format!("/v1/{path}/{id}")).collect();
    let calls: Vec<(&str, u64)> = calls.iter().map(|target| (&**target, 400)).collect();
    let made = script(&calls, at, 2).into_iter().zip(brings);
    made.map(|(made, id)| id.into_iter().fold(made, |made, id| made.brings(&[id]))).collect()
}

/// An id of its own for each place and round.
fn ids(at: u64) -> [String; 4] {
    [1, 2, 3, 4].map(|place| format!("{}", place * 1_000_000 + at))
}

const CHAIN: &str = "api.test/v1/sessions/{id} → api.test/v1/profiles/{id} → api.test/v1/bags/{id} → api.test/v1/trophies/{id}";

/// Each call asks for what the answer before it has brought.
fn dependent(at: u64) -> Vec<Made> {
    let [a, b, c, d] = &ids(at);
    chain(at, [a, b, c, d], [b, c, d, "x9999"].map(Some))
}

/// Each asks for an id of its own, and of the answers nothing is known but what `brings` says.
fn unrelated(at: u64, brings: Option<&str>) -> Vec<Made> {
    let asked = ids(at);
    chain(at, asked.each_ref().map(|id| &**id), [brings; 4])
}

#[test]
fn calls_that_go_on_with_what_they_were_answered_are_none() {
    check(often(9, dependent), &[]);
    // Of most rounds nothing is known.
    let seldom = |at| if at % 180_000 == 0 { dependent(at) } else { unrelated(at, None) };
    check(often(9, seldom), &[]);
}

#[test]
fn calls_that_need_none_of_what_was_answered_are_told_as_such() {
    let independent = |at| unrelated(at, Some("77777"));
    check(often(6, independent), &[&format!("info {CHAIN} 2 2400")]);
    assert_eq!(checked(often(6, independent)), Some((Confidence::Strong, 3, 0)));
    // All ask for what the first asks for: the answers hold it as well, or nobody need look into them.
    for brings in [Some("4711"), None] {
        let same = |at| chain(at, ["4711"; 4], [brings; 4]);
        assert_eq!(checked(often(6, same)), Some((Confidence::Strong, 3, 0)));
    }
}

#[test]
fn what_nobody_knows_is_told_as_it_looks() {
    let unseen = |at| unrelated(at, None);
    check(often(6, unseen), &[&format!("info {CHAIN} 2 2400")]);
    assert_eq!(checked(often(6, unseen)), Some((Confidence::Heuristic, 0, 0)));
    // What they ask for is no id, though the answers were seen.
    let short = |at| chain(at, ["1", "2", "3", "4"], [Some("77777"); 4]);
    assert_eq!(checked(often(6, short)), Some((Confidence::Heuristic, 0, 0)));
    // Each has other credentials than the one before it, which the answer may have brought.
    let renewed = |at| {
        let made = chain(at, ["4711"; 4], [Some("77777"); 4]).into_iter().zip(0..);
        made.map(|(made, n)| made.with(|call| call.exchange.signals.request.credentials = Some(n))).collect()
    };
    assert_eq!(checked(often(6, renewed)), Some((Confidence::Heuristic, 0, 0)));
}

#[test]
fn what_the_first_brings_lets_the_others_go_on_at_once() {
    // The session says which player it is of, and the rest is about that.
    let login = |at| {
        let [session, player, ..] = &ids(at);
        chain(at, [session, player, player, player], [Some(player), Some("x9999"), None, None])
    };
    // Of 1600 ms it takes the session and one other.
    check(often(6, login), &[&format!("info {CHAIN} 2 1600")]);
    assert_eq!(checked(often(6, login)), Some((Confidence::Strong, 3, 1)));
}

#[test]
fn one_that_turns_out_to_depend_is_told_no_more() {
    let later = |at| if at < 6 * 60_000 { unrelated(at, None) } else { dependent(at) };
    check(often(20, later), &[&format!("info {CHAIN} 2 2400")]);
}

#[test]
fn other_calls_of_the_process_do_not_matter() {
    // Each goes on over the beginning or the end of one of the sequence.
    let busy = |at| {
        let others = (0..20).map(move |n| get("/v1/users/7").at_ms(at - 300 + n * 97).lasting_ms(350));
        script(&JOIN, at, 2)
            .into_iter()
            .chain(others.filter(|made| made.started_ms() % 60_000 > 400))
            .collect()
    };
    let beside = |at| {
        let write = send("PUT", "/v1/items/1").at_ms(at + 301).lasting_ms(50);
        script(&JOIN, at, 2).into_iter().chain([write]).collect()
    };
    let two = |at| {
        let other = script(&[("/v1/a", 310), ("/v1/b", 305), ("/v1/c", 300)], at + 20, 3);
        script(&JOIN, at, 2).into_iter().chain(other).collect()
    };
    check(often(5, |at| busy(at + 1000)), &[&format!("info {SEQUENCE} 1 500")]);
    check(often(5, |at| beside(at + 1000)), &[&format!("info {SEQUENCE} 1 500")]);
    // How long calls last is not known in the first round, so its second call comes late.
    let other = "info api.test/v1/a → api.test/v1/b → api.test/v1/c 2 1210";
    check(often(6, |at| two(at + 1000)), &[other, &format!("info {SEQUENCE} 1 500")]);
}

#[test]
fn calls_of_others_do_not_matter() {
    let others = (0..2000).map(|n| get("/v1/users/7").at_ms(n * 160).pid(5));
    check(
        often(5, |at| script(&JOIN, at, 2)).into_iter().chain(others),
        &[&format!("info {SEQUENCE} 1 500")],
    );
}

#[test]
fn near_misses_are_none() {
    check(often(4, |at| script(&JOIN, at, 2)), &[]);
    check(often(9, |at| script(&JOIN, at, 15)), &[]);
    check(often(9, |at| script(&JOIN[..2], at, 2)), &[]);
    // They are short.
    let short = JOIN.map(|(target, _)| (target, 200));
    check(often(9, |at| script(&short, at, 2)), &[]);
    // One of them takes all the time.
    let one = [("/v1/a", 2000), ("/v1/b", 300), ("/v1/c", 300)];
    check(often(9, |at| script(&one, at, 2)), &[]);
    // One endpoint, or the pages of a list.
    let same = [("/v1/users/1", 400), ("/v1/users/2", 400), ("/v1/users/3", 400)];
    check(often(9, |at| script(&same, at, 2)), &[]);
    let pages = [("/v1/a?cursor=1", 400), ("/v1/b?cursor=2", 400), ("/v1/c?cursor=3", 400)];
    check(often(9, |at| script(&pages, at, 2)), &[]);
    // They overlap.
    let at_once = |at| {
        let calls = JOIN.iter().zip(0..);
        calls.map(|(&(target, ms), n)| get(target).at_ms(at + n).lasting_ms(ms)).collect()
    };
    check(often(9, at_once), &[]);
    // What is written is read after it.
    let write = |at| {
        let mut calls = script(&JOIN, at, 2);
        calls[1] = send("PUT", "/v1/inventories/7").at_ms(at + 302).lasting_ms(400);
        calls
    };
    check(often(9, write), &[]);
    // A loop over more than there is room for.
    let long: Vec<_> = (0..5).flat_map(|_| [("/v1/users/1", 200), ("/v1/items/1", 200)]).collect();
    check(often(9, |at| script(&long, at, 2)), &[]);
}
