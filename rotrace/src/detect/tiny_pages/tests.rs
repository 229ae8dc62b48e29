//! Given: walks through lists as scripts make them. Gives: whether those are found that could be shorter, and no others.
//! Refuses to know: other patterns.

use super::*;
use crate::detect::fixture::{Found, Made, found, get};
use crate::detect::subject::{Api, Names};
use crate::exchange::signals::Fingerprint;

/// A walk of so many pages; what they hold is told by `version`.
fn walk(query: &str, pages: u64, from_ms: u64, version: u64) -> Vec<Made> {
    let page = |n: u64| {
        let cursor = if n == 0 { String::new() } else { format!("cursor=c{n}") };
        let target = match (query, &*cursor) {
            ("", "") => "/v1/groups/7/users".to_owned(),
            ("", cursor) => format!("/v1/groups/7/users?{cursor}"),
            (query, "") => format!("/v1/groups/7/users?{query}"),
            (query, cursor) => format!("/v1/groups/7/users?{query}&{cursor}"),
        };
        let body = Fingerprint { hash: combine(version, n), is_whole: true };
        let made = get(&target).at_ms(from_ms + n * 40).cost(0.5);
        made.with(|call| call.exchange.signals.response.body = Some(body))
    };
    (0..pages).map(page).collect()
}

fn offsets(step: u64, pages: u64) -> impl Iterator<Item = Made> {
    (0..pages).map(move |n| get(&format!("/v1/groups/7/users?offset={}", n * step)).at_ms(n * 40).cost(0.5))
}

fn ten_of_100(_: &Names) -> Api {
    let page_size_key = Some("limit".into());
    Api { default_page: Some(10), max_page: Some(100), page_size_key, ..Api::default() }
}

fn check(found: &Found, expect: &[&str], wasted: (u64, u64)) {
    let lines = found.lines().into_iter().filter(|line| line.starts_with("tiny_pages"));
    assert_eq!(lines.collect::<Vec<_>>(), expect);
    assert_eq!(found.wasted(Pattern::TinyPages), wasted);
}

#[test]
fn ten_of_a_hundred_is_tiny() {
    // 240 items: 24 pages that could be 3.
    let one = found(walk("", 24, 0, 1), ten_of_100);
    check(&one, &["tiny_pages default_limit warning 21"], (21, 0));
    assert_eq!(one.findings[0].calls, 24);
    assert!(one.findings[0].remedy.contains("limit=100"));
    // Again and again, and each time the list is another one: 21 of each.
    let six = (0..6).flat_map(|n| walk("", 24, n * 20_000, n));
    check(&found(six, ten_of_100), &["tiny_pages default_limit warning 126"], (126, 0));
}

#[test]
fn a_few_tiny_pages_are_only_good_to_know() {
    check(&found(walk("", 5, 0, 1), ten_of_100), &["tiny_pages default_limit info 0"], (0, 0));
    check(&found(walk("", 4, 0, 1), ten_of_100), &[], (0, 0));
    // With those that come later they are many.
    let three = (0..3).flat_map(|n| walk("", 8, n * 20_000, n));
    check(&found(three, ten_of_100), &["tiny_pages default_limit warning 21"], (21, 0));
}

#[test]
fn a_limit_that_is_given_can_be_too_small() {
    check(&found(walk("limit=30", 24, 0, 1), ten_of_100), &["tiny_pages small_limit warning 16"], (16, 0));
    check(&found(walk("limit=100", 24, 0, 1), ten_of_100), &[], (0, 0));
    // Nobody knows how large a page can be, but somebody has asked for a larger one.
    let with_large = walk("limit=30", 24, 0, 1).into_iter().chain(walk("limit=60", 1, 0, 1));
    check(&found(with_large, |_| Api::default()), &["tiny_pages small_limit warning 12"], (0, 12));
    check(&found(walk("limit=30", 24, 0, 1), |_| Api::default()), &[], (0, 0));
}

#[test]
fn a_list_that_has_not_changed_is_walked_through_in_vain() {
    let twice =
        |second: u64| walk("limit=100", 24, 0, 1).into_iter().chain(walk("limit=100", 24, 60_000, second));
    check(&found(twice(1), ten_of_100), &["tiny_pages full_rescan warning 24"], (24, 0));
    check(&found(twice(2), ten_of_100), &[], (0, 0));
    // Eleven minutes later it is not the same any more.
    let late = walk("limit=100", 24, 0, 1).into_iter().chain(walk("limit=100", 24, 660_000, 1));
    check(&found(late, ten_of_100), &[], (0, 0));
    // As many bytes are no proof.
    let no_bodies = twice(1).map(|made| made.with(|call| call.exchange.signals.response.body = None));
    check(&found(no_bodies, ten_of_100), &["tiny_pages full_rescan info 0"], (0, 0));
    // A walk in tiny pages that comes again is wasted as a whole.
    let tiny = walk("", 24, 0, 1).into_iter().chain(walk("", 24, 60_000, 1));
    let expect = ["tiny_pages default_limit warning 21", "tiny_pages full_rescan warning 24"];
    check(&found(tiny, ten_of_100), &expect, (45, 0));
}

#[test]
fn what_has_changed_in_the_middle_is_judged_by_its_size() {
    let mut second = walk("", 24, 60_000, 1);
    second[9] = second[9].clone().with(|call| call.exchange.signals.response.body = None);
    let both = walk("", 24, 0, 1).into_iter().chain(second);
    check(&found(both, ten_of_100), &["tiny_pages default_limit warning 42"], (42, 0));
}

#[test]
fn offsets_that_skip_much_are_good_to_know() {
    check(&found(offsets(50, 21), |_| Api::default()), &[], (0, 0));
    check(&found(offsets(50, 22), |_| Api::default()), &["tiny_pages offset_scan info 0"], (0, 0));
    // Numbers of pages are no offsets.
    let pages = (0..30).map(|n| get(&format!("/v1/groups/7/users?page={}", 1000 + n)).at_ms(n * 40));
    check(&found(pages, |_| Api::default()), &[], (0, 0));
}

#[test]
fn near_misses_are_none() {
    // A player turns the pages.
    let slow = walk("", 24, 0, 1).into_iter().zip(0..).map(|(made, n)| made.at_ms(n * 2100));
    check(&found(slow, ten_of_100), &[], (0, 0));
    // The same page again and again.
    let same = (0..40).map(|n| get("/v1/groups/7/users?cursor=x").at_ms(n * 40));
    check(&found(same, ten_of_100), &[], (0, 0));
    // Reads of one group after the other.
    let groups = (0..40).map(|n| get(&format!("/v1/groups/{n}/users")).at_ms(n * 40));
    check(&found(groups, ten_of_100), &[], (0, 0));
}

#[test]
fn a_long_walk_is_judged_to_its_end() {
    check(&found(walk("", 200, 0, 1), ten_of_100), &["tiny_pages default_limit warning 180"], (180, 0));
}
