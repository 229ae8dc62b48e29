//! Given: rules, documents and calls. Gives: whether each call has the endpoint it should. Refuses to know: how.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn endpoints(rules: &[Rule]) -> Endpoints {
    let document = br#"{"openapi": "3.0.0", "servers": [{"url": "https://a.x"}], "paths": {
        "/games/{slug}": {"get": {}},
        "/games/{slug}/servers/{id}": {"get": {}},
        "/v1/users/{userId}": {"get": {"parameters": [{"name": "userId", "in": "path", "schema": {"type": "integer"}}]}}
    }}"#;
    let settings = Settings { rules: rules.to_vec(), ..Settings::default() };
    Endpoints::new(&settings, &[Document::parse(document).unwrap()]).unwrap()
}

fn rule(pattern: &str) -> Rule {
    Rule { pattern: pattern.into(), ..Rule::default() }
}

/// A call, `METHOD authority target` with `-` for no authority, and its tier, endpoint and path. Asked twice: the
/// second answer is a remembered one.
fn check(endpoints: &mut Endpoints, call: &str, expect: &str) {
    let [method, authority, target] = call.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{call}") };
    let authority = Some(authority).filter(|authority| *authority != "-");
    for _ in 0..2 {
        let Resolved { endpoint, path, tier, is_doubtful: _ } = endpoints.resolve(authority, method, target);
        assert_eq!(format!("{} {endpoint} {path}", tier.as_str()), expect, "{call}");
    }
}

#[test]
fn rules_before_documents_before_shapes() {
    let template = Rule { template: Some("/games/{game}".into()), ..rule("/games/adopt-*") };
    let ignore = Rule { ignore: true, method: Some("HEAD".into()), ..rule("/**") };
    let host = Rule { host: Some("*.cdn.x".into()), ..rule("/**") };
    let mut endpoints = endpoints(&[template, ignore, host]);
    for (call, expect) in [
        ("GET a.x /games/adopt-me", "rule a.x/games/{game} /games/adopt-me"),
        ("GET a.x /games/brookhaven", "openapi a.x/games/{slug} /games/brookhaven"),
        ("GET b.x /games/brookhaven", "shape b.x/games/brookhaven /games/brookhaven"),
        ("GET a.x /v1/users/7", "openapi a.x/v1/users/{userId} /v1/users/7"),
        ("GET a.x /v1/users/authenticated", "shape a.x/v1/users/authenticated /v1/users/authenticated"),
        ("GET b.x /v1/users/7", "shape b.x/v1/users/{id} /v1/users/7"),
        ("HEAD a.x /v1/users/7", "ignored a.x/** /v1/users/7"),
        ("HEAD a.x /games/adopt-me", "rule a.x/games/{game} /games/adopt-me"),
        ("GET t1.cdn.x /0123/x.png", "rule t1.cdn.x/** /0123/x.png"),
    ] {
        check(&mut endpoints, call, expect);
    }
    let templates: Vec<_> = endpoints.templates().collect();
    assert_eq!(
        templates,
        [
            ("a.x", Tier::Rule, 1),
            ("a.x", Tier::OpenApi, 2),
            ("a.x", Tier::Shape, 1),
            ("b.x", Tier::Shape, 2),
            ("t1.cdn.x", Tier::Rule, 1)
        ]
    );
    assert_eq!(endpoints.overflow().count(), 0);
}

/// Calls of one game with other words each; more than may all be routes.
fn teach(endpoints: &mut Endpoints, before: &str) {
    for number in 0..40 {
        let source = Source::new(number % 5, Some("chess"));
        endpoints.resolve_of(Some("a.x"), "GET", &format!("{before}/{}", slug(number)), || Some(source));
    }
    endpoints.settle();
}

#[test]
fn what_is_learned_comes_last() {
    let mut endpoints = endpoints(&[rule("/rule/{x}")]);
    for before in ["/rule", "/games", "/v1/shops"] {
        teach(&mut endpoints, before);
    }
    for (call, expect) in [
        ("GET a.x /rule/any", "rule a.x/rule/{x} /rule/any"),
        ("GET a.x /games/any", "openapi a.x/games/{slug} /games/any"),
        ("GET a.x /v1/shops/7", "shape a.x/v1/shops/{id} /v1/shops/7"),
        ("GET a.x /v1/shops/any", "learned a.x/v1/shops/{name} /v1/shops/any"),
        ("GET b.x /v1/shops/any", "shape b.x/v1/shops/any /v1/shops/any"),
    ] {
        check(&mut endpoints, call, expect);
    }
    // Those that were given out before have given their places back; what others know has taught nothing.
    let found: Vec<_> = endpoints.templates().filter(|(authority, ..)| *authority == "a.x").collect();
    assert_eq!(
        found,
        [
            ("a.x", Tier::Rule, 1),
            ("a.x", Tier::OpenApi, 1),
            ("a.x", Tier::Shape, 1),
            ("a.x", Tier::Learned, 1)
        ]
    );
    let (settled, is_doubtful) = endpoints.settled("a.x/v1/shops/any");
    assert_eq!((&*settled, is_doubtful), ("a.x/v1/shops/{name}", false));
    let mut other = Endpoints::new(&Settings::default(), &[]).unwrap();
    other.inherit(&mut endpoints);
    check(&mut other, "GET a.x /v1/shops/any", "learned a.x/v1/shops/{name} /v1/shops/any");
    check(&mut other, "GET a.x /rule/any", "shape a.x/rule/any /rule/any");
}

#[test]
fn a_call_that_is_remembered_teaches_who_makes_it() {
    let mut endpoints = endpoints(&[]);
    // Whatever has the smallest hash is kept among others.
    for process in 0..6 {
        for _ in 0..3 {
            let source = Source::new(process, Some(if process % 2 == 0 { "chess" } else { "go" }));
            for word in ["amber", "coins", "river", "moss"] {
                endpoints.resolve_of(Some("a.x"), "GET", &format!("/v1/shops/{word}"), || Some(source));
            }
        }
    }
    teach(&mut endpoints, "/v1/shops");
    check(&mut endpoints, "GET a.x /v1/shops/amber", "shape a.x/v1/shops/amber /v1/shops/amber");
    check(&mut endpoints, "GET a.x /v1/shops/any", "learned a.x/v1/shops/{name} /v1/shops/any");
}

#[test]
fn words_that_may_be_names_are_in_doubt() {
    let mut endpoints = endpoints(&[]);
    let mut doubts = Vec::new();
    for number in 0..40 {
        let source = Source::new(1, Some("chess"));
        let path = format!("/v1/{}", slug(number));
        let Resolved { is_doubtful, .. } = endpoints.resolve_of(Some("a.x"), "GET", &path, || Some(source));
        doubts.push(is_doubtful);
        endpoints.settle();
    }
    assert_eq!(doubts.iter().position(|doubt| *doubt), Some(5));
    assert!(doubts[5..33].iter().all(|doubt| *doubt) && !doubts[39]);
}

#[test]
fn spellings_of_one_call_are_one() {
    let mut endpoints = endpoints(&[]);
    for call in [
        "GET a.x /v1/users/7",
        "GET A.X:443 /v1/users/7/",
        "GET a.x:80 //v1/users/7?x=y",
        "GET a.x http://a.x:80/v1/users/7",
        "GET u:p@a.x /%76%31/users/7#z",
    ] {
        check(&mut endpoints, call, "openapi a.x/v1/users/{userId} /v1/users/7");
    }
    assert!(endpoints.templates().eq([("a.x", Tier::OpenApi, 1)]));
}

#[test]
fn special_targets() {
    let mut endpoints = endpoints(&[]);
    for (call, expect) in [
        ("OPTIONS a.x *", "shape a.x* *"),
        ("CONNECT b.x:8443 b.x:8443", "shape b.x:8443 "),
        ("GET - /v1/users/7", "unknown unknown /v1/users/7"),
        ("GET a\u{e9} /v1/users/7", "unknown unknown /v1/users/7"),
        ("GET [2001:DB8::1]:80 /", "shape [2001:db8::1]/ /"),
    ] {
        check(&mut endpoints, call, expect);
    }
}

#[test]
fn lines_are_annotated() {
    let ignore = Rule { ignore: true, ..rule("/health") };
    let mut endpoints = endpoints(&[ignore]);
    let mut check = |line: &str, expect: Result<&str, &str>| {
        let found = endpoints.annotate(line);
        let expect = expect.map(|template| format!("{line}\t{template}")).map_err(ToOwned::to_owned);
        assert_eq!(found, expect);
    };
    check("a.x\tGET\t/games/adopt-me?x=1", Ok("/games/{slug}"));
    check("A.x:443\tGET\t/v2/users/7", Ok("/v2/users/{id}"));
    check("a.x\tGET\t/health", Ok("ignored"));
    check("\tGET\t/v2/users/7", Ok("unknown"));
    check("a.x GET /", Err("expected authority<TAB>method<TAB>path, found 1 fields"));
    check("a.x\tGET\t/\t", Err("expected authority<TAB>method<TAB>path, found 4 fields"));
    check("a.x\t\t/", Err("the method is empty"));
    check("a.x\tGET\t", Err("the path is empty"));
    for number in 0..40 {
        endpoints.learn_line(&format!("a.x\tGET\t/shops/{}", slug(number)));
    }
    endpoints.learn_line("no line");
    endpoints.settle();
    assert_eq!(endpoints.annotate("a.x\tGET\t/shops/any").unwrap(), "a.x\tGET\t/shops/any\t/shops/{name}");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let settings = Settings { rules: vec![rule("/**"), rule("/{id")], ..Settings::default() };
    let error = Endpoints::new(&settings, &[]).unwrap_err().to_string();
    assert_eq!(error, "endpoint rule 2: pattern `/{id`: a `{` is not closed in its segment");
    let json = br#"{"swagger": "2.0", "host": "a.x", "paths": {"/": {}}}"#;
    let none = Settings { authorities: 0, ..Settings::default() };
    let error = Endpoints::new(&none, &[Document::parse(json).unwrap()]).unwrap_err();
    assert_eq!(error, Error::Authorities(1));
}

/// A word without digits, so that its path is its own template.
fn slug(number: u64) -> String {
    let hash = cache::hash(7, &number.to_le_bytes());
    (0..10).map(|at| char::from(b'a' + u8::try_from(hash >> (5 * at) & 15).unwrap())).collect()
}

#[test]
fn random_paths_find_a_bounded_number_of_places() {
    let mut endpoints = endpoints(&[]);
    let mut labels = BTreeSet::new();
    let mut overflow = 0;
    for number in 0..100_000 {
        let authority = format!("{}.x", slug(number % 700));
        let resolved = endpoints.resolve(Some(&authority), "GET", &format!("/{}", slug(number)));
        overflow += u64::from(resolved.tier == Tier::Overflow);
        labels.insert(resolved.endpoint);
    }
    let places: usize = endpoints.templates().map(|(_, _, found)| found).sum();
    assert!(places <= 2000, "{places}");
    assert!(endpoints.authorities.len() <= 256, "{}", endpoints.authorities.len());
    assert!(labels.len() <= 2000 + 256 + 1, "{}", labels.len());
    assert_eq!(endpoints.overflow().map(|(_, calls)| calls).sum::<u64>(), overflow);
    assert!(endpoints.overflow().any(|(authority, calls)| authority == OTHER && calls > 0));
}

#[test]
fn noise_leaves_room_for_what_is_called_often_and_what_is_written_down() {
    let mut endpoints = endpoints(&[rule("/rule/{x}")]);
    for number in 0..100_000 {
        endpoints.resolve(Some("a.x"), "GET", &format!("/{}", slug(number)));
    }
    let noise: usize = endpoints.templates().map(|(_, _, found)| found).sum();
    assert!((200..400).contains(&noise), "{noise}");
    check(&mut endpoints, "GET a.x /games/brookhaven", "openapi a.x/games/{slug} /games/brookhaven");
    check(&mut endpoints, "GET a.x /rule/7", "rule a.x/rule/{x} /rule/7");
    let often: Vec<_> = (0..500).map(|_| endpoints.resolve(Some("a.x"), "GET", "/v1/often").tier).collect();
    assert_eq!(often.first(), Some(&Tier::Overflow));
    assert_eq!(often.last(), Some(&Tier::Shape));
    assert!(endpoints.overflow().any(|(authority, _)| authority == "a.x"));
}

#[test]
fn the_first_half_of_the_places_is_for_anybody() {
    let settings = Settings { templates_per_authority: 10, ..Settings::default() };
    let mut endpoints = Endpoints::new(&settings, &[]).unwrap();
    for number in 0..5 {
        assert_eq!(endpoints.resolve(Some("a.x"), "GET", &format!("/{}", slug(number))).tier, Tier::Shape);
    }
    let overflow =
        (5..1000).map(|number| endpoints.resolve(Some("a.x"), "GET", &format!("/{}", slug(number))));
    let overflow = overflow.filter(|resolved| resolved.tier == Tier::Overflow).last().unwrap();
    assert_eq!(&*overflow.endpoint, "a.x/**other**");
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,80}",
        "(/[a-z]{1,3}|/[0-9]{1,3}|/games|/v1|/users|/\\{slug\\}){0,6}/?(\\?[a-z=]{0,5})?",
        "(http://[a-z.]{1,5}(:80)?)?(/%[0-9a-f]{2}|/\\.\\.?|/;[a-z]){0,5}",
    ]
}

proptest! {
    #[test]
    fn a_template_is_its_own_template(target in target(), with_rules in 0..3_usize) {
        let rules = [rule("/v1/{name}/**"), rule("/games/x*")];
        let mut endpoints = endpoints(&rules[..with_rules]);
        let once = endpoints.resolve(Some("a.x"), "GET", &target).endpoint;
        let path = once.strip_prefix("a.x").unwrap();
        prop_assert_eq!(&endpoints.resolve(Some("a.x"), "GET", path).endpoint, &once);
    }

    /// Secrets and people stay out of labels, whatever is learned.
    #[test]
    fn values_never_reach_a_label(
        values in proptest::collection::vec(
            "[0-9]{7,12}|[a-z]{1,5}@[a-z]{1,5}\\.com|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}|eyJ[a-zA-Z0-9]{20}\\.eyJ[a-zA-Z0-9]{20}\\.[a-zA-Z0-9_-]{20}",
            1..60
        ),
    ) {
        let mut endpoints = Endpoints::new(&Settings::default(), &[]).unwrap();
        for value in values.iter().chain(&values) {
            let source = Source::new(1, None);
            let path = format!("/v1/{value}/x/{value}");
            let label = endpoints.resolve_of(Some("a.x"), "GET", &path, || Some(source)).endpoint;
            prop_assert!(!label.contains(&**value), "{} in {}", value, label);
            endpoints.settle();
        }
    }

    #[test]
    fn memory_of_answers_changes_none(
        calls in proptest::collection::vec(("[ab]\\.x|.{0,3}", "GET|HEAD", target(), 0..4_u64), 1..40)
    ) {
        let settings = Settings { templates_per_authority: 4, templates: 6, authorities: 3, ..Settings::default() };
        let mut remembering = Endpoints::new(&settings, &[]).unwrap();
        let mut forgetting = Endpoints::new(&settings, &[]).unwrap();
        for (authority, method, target, process) in calls.iter().chain(&calls) {
            forgetting.cache = Cache::default();
            let source = || Some(Source::new(*process, Some(if *process == 0 { "chess" } else { "go" })));
            let remembered = remembering.resolve_of(Some(authority), method, target, source);
            prop_assert_eq!(remembered, forgetting.resolve_of(Some(authority), method, target, source));
        }
        prop_assert_eq!(remembering.learned(), forgetting.learned());
        prop_assert!(remembering.overflow().eq(forgetting.overflow()));
        prop_assert!(remembering.labels <= 6 && remembering.authorities.len() <= 3);
    }
}
