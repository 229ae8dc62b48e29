//! Given: sets of calls. Gives: whether what is learned of them is a function of the set, and only ever makes more words
//! names. Refuses to know: how.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{Endpoints, Settings};
use super::*;

/// Who called which path.
type Call = (u64, u64, String);

fn learned(calls: &[Call]) -> Dictionary {
    let mut dictionary = Dictionary::default();
    for (process, game, path) in calls {
        dictionary.learn("a.x", path, Source::new(*process, Some(&game.to_string())));
    }
    dictionary.settle();
    dictionary
}

fn template(dictionary: &mut Dictionary, path: &str) -> String {
    let mut label = format!("a.x{path}");
    dictionary.apply("a.x", &mut label);
    label.split_off("a.x".len())
}

/// What the path becomes after so many calls, each by another process of its game.
fn check(calls: impl IntoIterator<Item = (u64, String)>, path: &str, expect: &str) {
    let calls = (0..).zip(calls).map(|(process, (game, path))| (process, game, path));
    assert_eq!(template(&mut learned(&calls.collect::<Vec<_>>()), path), expect, "{path}");
}

fn word(number: u64) -> String {
    (0..8).map(|at| char::from(b'a' + ((hash_of(number) >> (4 * at)) & 15) as u8)).collect()
}

fn hash_of(number: u64) -> u64 {
    hash(9, &number.to_le_bytes())
}

fn words(count: u64, behind: &'static str) -> impl Iterator<Item = (u64, String)> {
    (0..count).map(move |number| (1, format!("/v1/games/{}{behind}", word(number))))
}

#[test]
fn many_weak_words_are_names() {
    check(words(32, ""), "/v1/games/other", "/v1/games/other");
    check(words(33, ""), "/v1/games/other", "/v1/games/{name}");
    check(words(33, ""), "/v1/games/v2", "/v1/games/v2");
    check(words(33, ""), "/v1/games/{id}/other", "/v1/games/{id}/other");
    check(words(500, "/servers"), "/v1/games/other/servers", "/v1/games/{name}/servers");
}

#[test]
fn what_games_share_is_a_route() {
    // Whatever has the smallest hash is kept among any number of others.
    let route = (0..400).map(word).min_by_key(|word| Segment::of(word).hash).unwrap();
    let path = format!("/v1/games/{route}");
    let shared = |games: [u64; 3]| games.map(|game| (game, path.clone()));
    check(words(400, "").chain(shared([2, 3, 3])), &path, &path);
    check(words(400, "").chain(shared([1, 1, 1])), &path, "/v1/games/{name}");
    check(shared([2, 3, 2]).into_iter().chain(words(400, "")), &path, &path);
}

#[test]
fn words_that_go_on_alike_are_names() {
    check(words(7, "/servers/{id}"), "/v1/games/aa/x", "/v1/games/aa/x");
    let first = format!("/v1/games/{}/servers/{{id}}", word(0));
    check(words(7, "/servers/{id}"), &first, &first);
    check(words(8, "/servers/{id}"), &first, "/v1/games/{name}/servers/{id}");
    let plain = format!("/v1/games/{}/{{id}}", word(0));
    check(words(20, "/{id}"), &plain, &plain);
}

#[test]
fn words_beside_a_parameter_are_names() {
    let first = format!("/v1/games/{}", word(0));
    let beside = || [(1, "/v1/games/{id}".to_owned())];
    check(words(7, "").chain(beside()), &first, &first);
    check(words(8, "").chain(beside()), &first, "/v1/games/{name}");
    check(words(8, ""), &first, &first);
}

#[test]
fn codes_are_names_whoever_shares_them() {
    const CODES: [&str; 8] = ["en", "de", "fr", "es", "it", "ja", "ko", "pt"];
    let calls = |count| {
        (0..6).flat_map(move |game| CODES[..count].iter().map(move |code| (game, format!("/t/{code}"))))
    };
    check(calls(7), "/t/en", "/t/en");
    check(calls(8), "/t/en", "/t/{name}");
}

#[test]
fn snapshots_that_are_none_are_refused() {
    let dictionary = learned(&[(1, 1, "/v1/a".into())]);
    let bytes = dictionary.save();
    assert_eq!(Dictionary::load(&bytes), Ok(learned(&[(1, 1, "/v1/a".into())])));
    assert!(!String::from_utf8(bytes.clone()).unwrap().contains("v1"), "words are no part of it");
    assert_eq!(Dictionary::load(b"").unwrap_err(), Fault::Format);
    assert_eq!(Dictionary::load(&bytes[..bytes.len() - 3]).unwrap_err(), Fault::Damaged);
    let newer = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
    assert_eq!(Dictionary::load(newer.as_bytes()).unwrap_err(), Fault::Version(2));
}

#[test]
fn noise_takes_a_bounded_amount_of_memory_and_few_labels() {
    assert!(size_of::<tree::Child>() <= 72);
    let mut dictionary = Dictionary::default();
    let mut labels = BTreeSet::new();
    for number in 0..100_000_u64 {
        let authority = format!("{}.x", number % 100);
        let path = format!("/{}/{}/{}", word(number), word(number / 3), word(number / 7));
        dictionary.learn(&authority, &path, Source::new(number % 50, None));
        assert!(dictionary.segments <= SEGMENTS && dictionary.authorities.len() <= AUTHORITIES);
    }
    for number in 0..100_000_u64 {
        dictionary.learn(
            "a.x",
            &format!("/{}/{}", word(number), word(number / 3)),
            Source::new(number % 50, None),
        );
    }
    dictionary.settle();
    labels.extend(
        (0..100_000)
            .map(|number| template(&mut dictionary, &format!("/{}/{}", word(number), word(number / 3)))),
    );
    assert_eq!(labels, ["/{name}/{name}".to_owned()].into());
    let counted: usize = dictionary.authorities.values().map(|known| known.root.entries()).sum();
    assert_eq!(dictionary.segments, counted);
}

/// Few words, so that they meet; sometimes more of them than a node keeps.
fn calls(processes: u64) -> impl Strategy<Value = Vec<Call>> {
    let segment = prop_oneof![
        (0..100_u64).prop_map(|number| word(number / 2 * (number % 2) + number % 3)),
        (0..100_u64).prop_map(word),
        "[a-z]{2}|v[12]|\\{id\\}|\\{name\\}|[0-9]",
    ];
    let path = proptest::collection::vec(segment, 1..4).prop_map(|path| format!("/{}", path.join("/")));
    proptest::collection::vec((0..processes, path), 0..200)
        .prop_map(|calls| calls.into_iter().map(|(process, path)| (process, process / 2, path)).collect())
}

proptest! {
    #[test]
    fn the_order_makes_no_difference(calls in calls(8), places in proptest::collection::vec(any::<Index>(), 200)) {
        let mut shuffled = calls.clone();
        for (at, place) in (0..shuffled.len()).zip(&places) {
            let other = place.index(shuffled.len());
            shuffled.swap(at, other);
        }
        let (mut one, mut other) = (learned(&calls), learned(&shuffled));
        prop_assert_eq!(&one, &other);
        for (_, _, path) in &calls {
            prop_assert_eq!(template(&mut one, path), template(&mut other, path));
        }
        let again = [&calls[..], &shuffled].concat();
        prop_assert_eq!(&learned(&again), &one);
        let loaded = Dictionary::load(&one.save());
        prop_assert_eq!(loaded.as_ref(), Ok(&one));
    }

    #[test]
    fn two_become_one_in_any_order(all in proptest::array::uniform3(calls(8))) {
        let merged = |parts: &[&[Call]]| {
            let mut merged = Dictionary::default();
            parts.iter().for_each(|part| merged.merge(learned(part)));
            merged
        };
        let [a, b, c] = &all;
        let mut whole = learned(&all.concat());
        prop_assert_eq!(&merged(&[a, b, c]), &whole);
        prop_assert_eq!(&merged(&[c, b, a, b]), &whole);
        let mut right = merged(&[b, c]);
        right.merge(learned(a));
        prop_assert_eq!(&right, &whole);
        for (_, _, path) in a {
            prop_assert_eq!(template(&mut right, path), template(&mut whole, path));
        }
    }

    /// But where a word comes to be shared.
    #[test]
    fn more_paths_split_no_template(all in calls(1), count in any::<Index>()) {
        prop_assume!(!all.is_empty());
        let mut before = learned(&all[..count.index(all.len())]);
        let mut after = learned(&all);
        for (one, other) in all.iter().zip(all.iter().rev()) {
            if template(&mut before, &one.2) == template(&mut before, &other.2) {
                prop_assert_eq!(template(&mut after, &one.2), template(&mut after, &other.2));
            }
        }
    }

    #[test]
    fn a_template_is_its_own_template(calls in calls(8)) {
        let mut endpoints = Endpoints::new(&Settings::default(), &[]).unwrap();
        for (process, game, path) in &calls {
            let source = Source::new(*process, Some(&game.to_string()));
            endpoints.resolve_of(Some("a.x"), "GET", path, || Some(source));
        }
        endpoints.settle();
        for (_, _, path) in &calls {
            let once = endpoints.resolve(Some("a.x"), "GET", path).endpoint;
            let again = endpoints.resolve(Some("a.x"), "GET", once.strip_prefix("a.x").unwrap()).endpoint;
            prop_assert_eq!(&once, &again);
            prop_assert_eq!(endpoints.settled(&once).0, again);
            let spelt = format!("http://A.X:80{path}/");
            prop_assert_eq!(endpoints.resolve(Some("A.X:80"), "GET", &spelt).endpoint, once);
        }
        prop_assert_eq!(endpoints.labels, endpoints.authorities.values().map(|of| of.labels.len()).sum::<usize>());
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Dictionary::load(&bytes).is_err());
    }
}
