//! Given: rules and processes. Gives: what is asked of a process and in which order, and the games that come of it.
//! Refuses to know: files; the facts are made up.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// Facts that remember which of them were asked for.
#[derive(Default)]
struct Asked {
    facts: ProcessFacts,
    environment: Vec<(&'static str, &'static str)>,
    asked: RefCell<Vec<String>>,
}

impl Asked {
    fn note(&self, what: &str) {
        self.asked.borrow_mut().push(what.into());
    }
}

impl Facts for Asked {
    fn exe(&self) -> Option<&str> {
        self.note("exe");
        self.facts.exe()
    }

    fn uid(&self) -> Option<u32> {
        self.facts.uid()
    }

    fn user(&self) -> Option<&str> {
        self.note("user");
        self.facts.user()
    }

    fn cgroups(&self) -> &[String] {
        self.note("cgroup");
        self.facts.cgroups()
    }

    fn cmdline(&self) -> &[String] {
        self.note("cmdline");
        self.facts.cmdline()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.note(&format!("env {name}"));
        self.environment.iter().find(|variable| variable.0 == name).map(|variable| variable.1.into())
    }
}

/// A game server: `/opt/game/bin/server --game=7 --place=a b`, user game (1000), GAME=seven.
fn server() -> Asked {
    Asked {
        facts: ProcessFacts {
            exe: Some("/opt/game/bin/server".into()),
            cmdline: vec!["server".into(), "--game=7".into(), "--place=a b".into()],
            cgroup: vec!["/user.slice".into(), "/games/universe-12/place-34".into()],
            uid: Some(1000),
            user: Some("game".into()),
            ..ProcessFacts::default()
        },
        environment: vec![("GAME", "seven"), ("EMPTY", " \n")],
        asked: RefCell::default(),
    }
}

fn glob(text: &str) -> Glob {
    Glob::new(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text, None).unwrap()
}

fn target(conditions: Vec<Condition>) -> TargetRule {
    TargetRule::new(conditions).unwrap()
}

fn variable(name: &str, value: &str) -> Condition {
    Condition::variable(name, glob(value)).unwrap()
}

/// Holds rules against the server: whether it is a target, and what was asked of it for that.
fn check_target(rules: Vec<TargetRule>, expect: bool, asked: &[&str]) {
    let facts = server();
    assert_eq!(Rules::new(rules, vec![]).matches_target(&facts), expect);
    assert_eq!(*facts.asked.borrow(), asked);
}

/// The game of a call of the server that carries these values for the wanted fields.
fn check_game(rules: Vec<GameRule>, fields: &[(usize, &str)], expect: Option<&str>) {
    let rules = Rules::new(vec![], rules);
    let mut games = Games::default();
    let by_process = rules.game_of_process(&server(), &mut games);
    let fields: Vec<(usize, Box<str>)> = fields.iter().map(|&(index, value)| (index, value.into())).collect();
    assert_eq!(rules.game_of_call(&by_process, &fields, &mut games).as_deref(), expect);
}

#[test]
fn without_rules_nothing_is_a_target_and_nothing_is_asked() {
    check_target(vec![], false, &[]);
    assert_eq!(TargetRule::new(vec![]), None);
}

#[test]
fn each_condition_matches_its_fact() {
    check_target(vec![target(vec![Condition::Exe(glob("/opt/*/server"))])], true, &["exe"]);
    check_target(vec![target(vec![Condition::Exe(glob("*/client"))])], false, &["exe"]);
    check_target(vec![target(vec![Condition::User(glob("ga*"))])], true, &["user"]);
    check_target(vec![target(vec![Condition::User(glob("1000"))])], true, &["user"]);
    check_target(vec![target(vec![Condition::Cgroup(glob("/games/*"))])], true, &["cgroup"]);
    check_target(vec![target(vec![Condition::Cmdline(glob("server * --place=a b"))])], true, &["cmdline"]);
    check_target(vec![target(vec![Condition::Cmdline(glob("--game=7"))])], false, &["cmdline"]);
    check_target(vec![target(vec![variable("GAME", "seven")])], true, &["env GAME"]);
    check_target(vec![target(vec![variable("ABSENT", "*")])], false, &["env ABSENT"]);
}

#[test]
fn a_rule_asks_the_cheapest_first_and_stops_where_it_fails() {
    let all = |exe, user, cgroup, cmdline| {
        target(vec![
            variable("GAME", "seven"),
            Condition::Cmdline(glob(cmdline)),
            Condition::Cgroup(glob(cgroup)),
            Condition::User(glob(user)),
            Condition::Exe(glob(exe)),
        ])
    };
    check_target(vec![all("/no", "*", "*", "*")], false, &["exe"]);
    check_target(vec![all("*", "no", "*", "*")], false, &["exe", "user"]);
    check_target(vec![all("*", "*", "/no", "*")], false, &["exe", "user", "cgroup"]);
    check_target(vec![all("*", "*", "*", "no")], false, &["exe", "user", "cgroup", "cmdline"]);
    check_target(vec![all("*", "*", "*", "*")], true, &["exe", "user", "cgroup", "cmdline", "env GAME"]);
}

#[test]
fn a_rule_that_asks_less_goes_before_one_that_asks_more() {
    let rules = vec![
        target(vec![variable("GAME", "*")]),
        target(vec![Condition::Cmdline(glob("*"))]),
        target(vec![Condition::Exe(glob("*"))]),
    ];
    check_target(rules, true, &["exe"]);
}

#[test]
fn what_is_not_known_matches_nothing() {
    let rules = [
        Condition::Exe(glob("*")),
        Condition::User(glob("*")),
        Condition::Cgroup(glob("*")),
        Condition::Cmdline(glob("*")),
        variable("GAME", "*"),
    ];
    for condition in rules {
        assert!(!Rules::new(vec![target(vec![condition])], vec![]).matches_target(&ProcessFacts::default()));
    }
}

#[test]
fn a_game_comes_from_each_fact() {
    check_game(vec![GameRule::Exe(pattern("bin/(?P<game>.*)"))], &[], Some("server"));
    check_game(vec![GameRule::Cgroup(pattern("universe-(?P<game>[0-9]+)"))], &[], Some("12"));
    check_game(vec![GameRule::Cmdline(pattern(r"--game[= ](?P<game>[\w-]+)"))], &[], Some("7"));
    check_game(vec![GameRule::variable("GAME").unwrap()], &[], Some("seven"));
    check_game(vec![GameRule::header("X-Game-Id").unwrap()], &[(0, "9")], Some("9"));
    check_game(vec![], &[(0, "9")], None);
}

#[test]
fn a_name_is_made_of_groups() {
    let both = r"universe-(?<u>\d+)/place-(?<p>\d+)";
    let named = |name| vec![GameRule::Cgroup(Pattern::new(both, Some(name)).unwrap())];
    check_game(named("$u-$p"), &[], Some("12-34"));
    check_game(named("${u}x$$$p"), &[], Some("12x$34"));
    check_game(named("lobby"), &[], Some("lobby"));
}

#[test]
fn a_group_that_took_no_part_is_no_match() {
    let optional = Pattern::new("server(?<v>-[0-9]+)?", Some("a$v")).unwrap();
    check_game(vec![GameRule::Exe(optional), GameRule::variable("GAME").unwrap()], &[], Some("seven"));
}

#[test]
fn a_blank_value_is_no_match() {
    let rules = vec![GameRule::variable("EMPTY").unwrap(), GameRule::variable("GAME").unwrap()];
    check_game(rules, &[], Some("seven"));
    let rules = vec![GameRule::header("a").unwrap(), GameRule::header("b").unwrap()];
    check_game(rules, &[(0, "  "), (1, "b")], Some("b"));
}

#[test]
fn the_first_rule_wins_and_headers_keep_their_place() {
    let header = || GameRule::header("x-game-id").unwrap();
    let process = || GameRule::variable("GAME").unwrap();
    let silent = || GameRule::variable("ABSENT").unwrap();
    check_game(vec![header(), process()], &[(0, "9")], Some("9"));
    check_game(vec![header(), process()], &[], Some("seven"));
    check_game(vec![process(), header()], &[(0, "9")], Some("seven"));
    check_game(vec![silent(), header()], &[(0, "9")], Some("9"));
    check_game(vec![silent(), header(), process()], &[(0, "9")], Some("9"));
}

#[test]
fn each_wanted_field_is_named_once() {
    let header = |name| GameRule::header(name).unwrap();
    let rules =
        Rules::new(vec![], vec![header("B"), GameRule::variable("X").unwrap(), header("a"), header("b")]);
    assert_eq!(rules.wanted_fields().0, ["b".into(), "a".into()]);
}

#[test]
fn games_of_a_process_ask_only_what_rules_need() {
    let facts = server();
    let rules = vec![GameRule::Exe(pattern("bin/(?P<game>.*)")), GameRule::variable("GAME").unwrap()];
    Rules::new(vec![], rules).game_of_process(&facts, &mut Games::default());
    assert_eq!(*facts.asked.borrow(), ["exe"]);
}

#[test]
fn bad_rules_say_why_in_one_line() {
    let check = |error: BadPattern, expect: &str| assert_eq!(error.to_string(), expect);
    let named = |pattern, name| Pattern::new(pattern, Some(name)).unwrap_err();
    check(Pattern::new("a", None).unwrap_err(), "no group called game: write (?P<game>…), or give a name");
    check(Pattern::new("(?P<game>", None).unwrap_err(), "bad pattern: unclosed group");
    check(Pattern::new(r"(?P<game>\w{1000}){100}", None).unwrap_err(), "bad pattern: it repeats too much");
    check(named("a", "$game"), "no group called game: write (?P<game>…), or give a name");
    check(named("(?<a>a)", "$ab"), "no group called ab in the pattern");
    check(named("a", "a$"), "$ is not followed by a group: write $name, ${name}, or $$ for a dollar");
    check(named("a", "${a"), "$ is not followed by a group: write $name, ${name}, or $$ for a dollar");
    check(named("a", ""), "an empty name names no game");
    check(Glob::new("[a").unwrap_err(), "bad glob: unclosed character class; missing ']'");
    check(Glob::new(&"a".repeat(1025)).unwrap_err(), "longer than 1024 bytes");
    check(GameRule::header("x game").unwrap_err(), "not the name of a request field");
    check(GameRule::variable("A=B").unwrap_err(), "not the name of an environment variable");
}

#[test]
fn secrets_are_no_games() {
    for name in ["Authorization", "cookie", "x-api-key", "X-Csrf-Token"] {
        assert_eq!(GameRule::header(name), Err(BadPattern::Secretive));
    }
    assert_eq!(GameRule::variable("OPEN_CLOUD_API_KEY"), Err(BadPattern::Secretive));
}

#[test]
fn a_name_is_visible_and_short() {
    let mut games = Games::default();
    let mut name = |value: &str| games.name(value).map(|name| name.to_string());
    assert_eq!(name(" Adopt Me! "), Some("Adopt_Me!".into()));
    assert_eq!(name("a\u{202e}\n\"\u{1b}"), Some("a__\"_".into()));
    assert_eq!(name("größe"), Some("größe".into()));
    assert_eq!(name(&"é".repeat(40)), Some("é".repeat(32)));
    assert_eq!(name(&format!("a{}", "é".repeat(40))), Some(format!("a{}", "é".repeat(31))));
    assert_eq!(name("\t"), None);
    assert_eq!((games.count(), games.altered()), (5, 4));
}

#[test]
fn too_many_games_are_other_until_some_are_gone() {
    let mut games = Games::default();
    let mut held: Vec<_> = (0..GAMES_MAX).map(|n| games.name(&n.to_string()).unwrap()).collect();
    let name = |games: &mut Games, value: &str| games.name(value).unwrap().to_string();
    assert_eq!(name(&mut games, "new"), "other");
    assert_eq!(name(&mut games, "7"), "7");
    held.truncate(GAMES_MAX / 2);
    for _ in 0..GAMES_MAX {
        assert_eq!(name(&mut games, "new"), "other");
    }
    assert_eq!(name(&mut games, "new"), "new");
    assert_eq!((games.count(), games.refused()), (GAMES_MAX / 2 + 1, GAMES_MAX as u64 + 1));
}

proptest! {
    #[test]
    fn globs_never_panic(text in "[\\[\\]{},*?!^\\\\/a-cé-ÿ€-]{0,40}|\\PC{0,40}", value in "\\PC{0,20}") {
        if let Ok(glob) = Glob::new(&text) {
            glob.matches(&value);
        }
    }

    #[test]
    fn patterns_never_panic(text in "[()?P<game>\\[\\]a$^*+{}|\\\\w0-9]{0,40}", name in "[$a-z{}]{0,10}", value in "\\PC*") {
        if let Ok(pattern) = Pattern::new(&text, Some(&name)) {
            pattern.game(&value);
        }
    }

    #[test]
    fn names_keep_their_bounds(values in proptest::collection::vec("\\PC{0,80}|[ -~\\x00-\\x20]{0,80}", 0..20)) {
        let mut games = Games::default();
        for value in values {
            let Some(name) = games.name(&value) else { continue };
            prop_assert!(!name.is_empty() && name.len() <= GAME_BYTES);
            prop_assert!(!name.chars().any(|c| c.is_control() || c.is_whitespace()));
            prop_assert_eq!(games.name(&name), Some(name));
        }
    }
}
