//! Given: texts of configuration files. Gives: what they set, or their faults as a person reads them. Refuses to know:
//! files, but for those that are shipped.

use proptest::prelude::*;

use super::*;
use crate::attribute::{Condition, Games, Glob, Pattern, ProcessFacts};
use crate::probe::library::BuildId;
use crate::probe::tls::Function;

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/etc/rotrace.toml"))
}

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Holds the faults of a text, one a line and without the file, against `expect`.
fn check_faults(text: &str, expect: &[&str]) {
    let error = parse(text).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().map(|line| line.strip_prefix("/etc/rotrace.toml:").unwrap()).collect();
    assert_eq!(lines, expect, "{text}");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(config(""), Config::default());
    assert_eq!(config("[metrics]\n[limits]\n"), Config::default());
}

/// Each key: its default as written is the default, its example is valid and sets something.
#[test]
fn every_key_does_what_its_table_says() {
    let check = |default: &str, example: &str, plain: &Config| {
        if !default.is_empty() {
            assert_eq!(config(default), *plain, "{default}");
        }
        assert_ne!(config(example), *plain, "{example}");
    };
    let written =
        |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("{name} = {value}") };
    for key in keys::CONFIG {
        check(&written(key.name, key.default), &written(key.name, key.example), &Config::default());
    }
    for key in keys::TARGET {
        check("", &format!("[[target]]\n{}", written(key.name, key.example)), &Config::default());
    }
    for key in keys::GAME {
        let (row, plain) = match key.name {
            "name" => ("[[game]]\nexe = '(?<game>a)'\n", config("[[game]]\nexe = '(?<game>a)'")),
            _ => ("[[game]]\n", Config::default()),
        };
        let line = |value| {
            if written(key.name, value).is_empty() {
                String::new()
            } else {
                row.to_owned() + &written(key.name, value)
            }
        };
        check(&line(key.default), &line(key.example), &plain);
    }
    for key in keys::ENDPOINT {
        let row = if key.name == "pattern" {
            "[[endpoints.rule]]\n"
        } else {
            "[[endpoints.rule]]\npattern = \"/\"\n"
        };
        let plain = if key.name == "pattern" { Config::default() } else { config(row) };
        let default = written(key.name, key.default);
        let default = if default.is_empty() { default } else { row.to_owned() + &default };
        check(&default, &(row.to_owned() + &written(key.name, key.example)), &plain);
    }
    // An entry needs both of its keys.
    let lines: Vec<_> = keys::LIBRARY.iter().map(|key| written(key.name, key.example)).collect();
    check("", &format!("[[tls.library]]\n{}", lines.join("\n")), &Config::default());
}

#[test]
fn libraries_without_symbols_are_read() {
    let id = |digits| BuildId::parse(digits).unwrap();
    let config = config(
        r#"
        [[tls.library]]
        build_id = "0A1b"
        functions = { SSL_read = 0x4a30, SSL_write = 19328, SSL_free = 0x3f10 }
        [[tls.library]]
        build_id = "ff"
        [tls.library.functions]
        gnutls_record_recv = 1
        gnutls_record_send = 2
        gnutls_deinit = 3
    "#,
    );
    let mut expect = Addresses::default();
    let openssl = [(0x4a30, Function::Read), (0x4b80, Function::Write), (0x3f10, Function::Free)];
    expect.insert(id("0a1b"), openssl.into()).unwrap();
    let gnutls = [(1, Function::Receive), (2, Function::Write), (3, Function::Free)];
    expect.insert(id("ff"), gnutls.into()).unwrap();
    assert_eq!(config.tls, Tls { openssl: true, libraries: expect });
}

#[test]
fn libraries_that_cannot_be_probed_are_faults() {
    let incomplete = "an entry needs a function that reads, one that writes and one that frees, such as SSL_read, SSL_write and \
                      SSL_free";
    check_faults(
        "[[tls.library]]\nbuild_id = \"0\"",
        &["2:12: tls.library.build_id: found \"0\", expected hexadecimal digits, such as \
           \"6c1f04e5c3aa59aedeca4a94507b09b9d6cdc555\""],
    );
    let whole = "functions = { SSL_read = 1, SSL_write = 2, SSL_free = 3 }";
    check_faults(
        &format!("[[tls.library]]\n{whole}"),
        &["1:1: tls.library: an entry needs build_id, which `file` and `readelf -n` show"],
    );
    check_faults(
        "[[tls.library]]\nbuild_id = \"00\"\nfunctions = { SSL_read = 1, SSL_write = 2 }",
        &[&format!("1:1: tls.library: {incomplete}")],
    );
    check_faults(
        &format!("[[tls.library]]\nbuild_id = \"00\"\n{whole}\n[[tls.library]]\nbuild_id = \"00\"\n{whole}"),
        &["4:1: tls.library: another entry has this build_id"],
    );
    check_faults(
        "[[tls.library]]\nfunctions = { SSL_read = 0 }",
        &[
            "2:26: tls.library.functions.SSL_read: found 0, expected a table of functions, each with its virtual address, \
           as `nm` shows it",
        ],
    );
    let error = parse("[[tls.library]]\nfunctions = { SSL_raed = 1 }").unwrap_err().to_string();
    let fault =
        "2:26: tls.library.functions.SSL_raed: no function that is probed; known: SSL_read, SSL_write, ";
    assert!(error.contains(fault), "{error}");
}

#[test]
fn rules_are_read() {
    let config = config(
        r#"
        roles = ["server", "client"]
        [[target]]
        exe = "/opt/*"
        env = { GAME = "*", MODE = "live" }
        [[target]]
        user = "game"
        [[game]]
        cmdline = '--u=(?<u>\d+) --p=(?<p>\d+)'
        name = "$u-$p"
        [[game]]
        header = "X-Game"
        [[endpoints.rule]]
        host = "*.example.com"
        method = "GET"
        pattern = "/games/{slug}"
        template = "/games/{game}"
        "#,
    );
    let glob = |text| Glob::new(text).unwrap();
    let variable = |name, text| Condition::variable(name, glob(text)).unwrap();
    let first = vec![Condition::Exe(glob("/opt/*")), variable("GAME", "*"), variable("MODE", "live")];
    let rules = [first, vec![Condition::User(glob("game"))]].map(|rule| TargetRule::new(rule).unwrap());
    assert_eq!(config.targets, rules);
    let pattern = Pattern::new(r"--u=(?<u>\d+) --p=(?<p>\d+)", Some("$u-$p")).unwrap();
    assert_eq!(config.games, [GameRule::Cmdline(pattern), GameRule::Header("x-game".into())]);
    assert_eq!(config.roles, Some([Role::Client, Role::Server].into()));
    let rule = Rule {
        host: Some("*.example.com".into()),
        method: Some("GET".into()),
        pattern: "/games/{slug}".into(),
        template: Some("/games/{game}".into()),
        ignore: false,
    };
    assert_eq!(config.endpoints.rules, [rule]);
}

#[test]
fn files_are_relative_to_the_configuration() {
    let config = config(
        "endpoints.openapi = [\"a.json\", \"/srv/b.json\"]\nendpoints.dictionary = \"/var/lib/d\"\ncatalogue.files = [\"c.toml\"]\n[cost]\nweights = \"w.toml\"\n\
         players = \"/run/players\"",
    );
    assert_eq!(config.endpoints.openapi, [Path::new("/etc/a.json"), Path::new("/srv/b.json")]);
    assert_eq!(config.endpoints.dictionary.as_deref(), Some(Path::new("/var/lib/d")));
    assert_eq!(config.catalogue.files, [Path::new("/etc/c.toml")]);
    assert_eq!(config.cost.weights.as_deref(), Some(Path::new("/etc/w.toml")));
    assert_eq!(config.cost.players.as_deref(), Some(Path::new("/run/players")));
}

#[test]
fn unknown_keys_name_the_nearest() {
    check_faults("metric = 1", &["1:1: unknown key `metric`; did you mean `metrics`?"]);
    check_faults(
        "[metrics]\nlisten = \"[::]:1\"\nlisen = 1",
        &["3:1: unknown key `metrics.lisen`; did you mean `metrics.listen`?"],
    );
    check_faults("level = \"info\"", &["1:1: unknown key `level`; did you mean `log.level`?"]);
    check_faults("  metrics.x = 1", &["1:11: unknown key `metrics.x`; known here: listen, idle_series"]);
    check_faults(
        "[[target]]\nexec = \"/a\"\nuser = \"a\"",
        &["2:1: unknown key `target.exec`; did you mean `target.exe`?"],
    );
    check_faults(
        "[[endpoints.rules]]\npattern = \"/\"",
        &["1:13: unknown key `endpoints.rules`; did you mean `endpoints.rule`?"],
    );
    check_faults(
        "[price]",
        &[
            "1:2: unknown key `price`; known here: roles, target, game, endpoints, catalogue, cost, detect, metrics, privacy, limits, tls, log",
        ],
    );
}

#[test]
fn wrong_values_say_what_was_found_and_what_is_expected() {
    check_faults(
        "[metrics]\nlisten = 9464",
        &["2:10: metrics.listen: found 9464, expected an IP address with a port, such as \"[::]:9464\""],
    );
    check_faults(
        "[metrics]\nidle_series = \"0s\"",
        &[
            "2:15: metrics.idle_series: found \"0s\", expected a duration in ms, s, m, h or d, above 0, such as \"15m\"",
        ],
    );
    check_faults(
        "limits.ring_bytes = \"17MiB\"",
        &[
            "1:21: limits.ring_bytes: found \"17MiB\", expected a power of two from \"64KiB\" to \"1GiB\", such as \"64MiB\"",
        ],
    );
    check_faults(
        "limits.targets = 0x0",
        &["1:18: limits.targets: found 0x0, expected a number from 1 to 4194304, such as 1024"],
    );
    check_faults(
        "limits.targets = -1",
        &["1:18: limits.targets: found -1, expected a number from 1 to 4194304, such as 1024"],
    );
    check_faults(
        "tls.openssl = \"é\"",
        &["1:15: tls.openssl: found \"é\", expected true or false, such as false"],
    );
    check_faults(
        "roles = []",
        &[
            "1:9: roles: found an empty array, expected an array of \"client\" and \"server\", such as [\"client\", \"server\"]",
        ],
    );
    check_faults(
        "roles = [\"both\"]",
        &[
            "1:10: roles: found \"both\", expected an array of \"client\" and \"server\", such as [\"client\", \"server\"]",
        ],
    );
    check_faults("log = 1", &["1:7: log: found 1, expected a table"]);
    check_faults(
        "[target]\nexe = \"/a\"",
        &[
            "1:1: target: found a table, expected rules, each under its own [[target]], such as [{ exe = \"/opt/game/bin/*\" }]",
        ],
    );
    check_faults(
        "target = [1]",
        &[
            "1:11: target: found 1, expected rules, each under its own [[target]], such as [{ exe = \"/opt/game/bin/*\" }]",
        ],
    );
    check_faults(
        "[[target]]\nenv.A = 1",
        &["2:9: target.env.A: found 1, expected a table of variable names, each with a glob for its value"],
    );
}

#[test]
fn bad_rules_have_the_place_of_the_value() {
    check_faults(
        "[[target]]\nexe = \"[\"",
        &["2:7: target.exe: bad glob: unclosed character class; missing ']'"],
    );
    check_faults(
        "[[target]]\nenv = { \"A=B\" = \"*\" }",
        &["2:17: target.env.A=B: not the name of an environment variable"],
    );
    check_faults(
        "\n[[target]]\n",
        &[
            "2:1: target: a rule without a key would select every process; give it exe, user, cgroup, cmdline or env",
        ],
    );
    check_faults("[[game]]\nexe = '('", &["2:7: game.exe: bad pattern: unclosed group"]);
    check_faults(
        "[[game]]\nexe = 'a'",
        &["2:7: game.exe: no group called game: write (?P<game>…), or give a name"],
    );
    check_faults("[[game]]\nexe = 'a'\nname = \"$a\"", &["3:8: game.name: no group called a in the pattern"]);
    check_faults(
        "[[game]]\nenv = \"A\"\nname = \"a\"",
        &["3:8: game.name: a name goes with a pattern: exe, cgroup or cmdline"],
    );
    check_faults(
        "[[game]]\nheader = \"cookie\"",
        &["2:10: game.header: named like a secret, and a game is shown to everyone"],
    );
    check_faults(
        "[[game]]\nname = \"a\"\n[[game]]\nenv = \"A\"\nexe = 'a'",
        &[
            "1:1: game: a rule has exactly one of exe, cgroup, cmdline, env and header",
            "3:1: game: a rule has exactly one of exe, cgroup, cmdline, env and header",
        ],
    );
    check_faults(
        "[[endpoints.rule]]\nignore = true",
        &["1:1: endpoints.rule: a rule needs a pattern, such as \"/v1/users/{id}\""],
    );
}

#[test]
fn all_faults_are_told_in_the_order_of_the_file() {
    check_faults(
        "roles = 1\n[[target]]\nexe = 2\n[log]\nlevel = \"loud\"\nx = 1",
        &[
            "1:9: roles: found 1, expected an array of \"client\" and \"server\", such as [\"client\", \"server\"]",
            "3:7: target.exe: found 2, expected a glob, such as \"/opt/game/bin/*\"",
            "5:9: log.level: found \"loud\", expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\", such as \"debug\"",
            "6:1: unknown key `log.x`; known here: format, level",
        ],
    );
}

#[test]
fn broken_toml_has_its_place() {
    check_faults("[log\n", &["1:5: unclosed table, expected `]`"]);
    assert!(parse(&format!("game = {}", "[".repeat(100_000))).is_err());
    check_faults("[log]\nlevel = \"info\"\nlevel = \"info\"", &["3:1: duplicate key"]);
}

#[test]
fn the_daemon_needs_a_target() {
    let path = Path::new("/etc/rotrace.toml");
    let error = Config::default().require_targets(path).unwrap_err().to_string();
    assert!(error.starts_with("/etc/rotrace.toml: no [[target]] selects a process"), "{error}");
    // What the message proposes works.
    let (_, proposal) = error.split_once("such as: ").unwrap();
    assert!(config(proposal).require_targets(path).is_ok());
}

#[test]
fn changes_are_told_by_their_keys() {
    let (old, new) =
        (config(""), config("roles = [\"client\"]\nlog.level = \"debug\"\ngame = [{ env = \"A\" }]"));
    assert_eq!(old.changes(&new), ["roles", "game", "log"]);
    assert!(old.changes(&old.clone()).is_empty());
}

#[test]
fn durations_and_sizes_are_a_number_and_a_unit() {
    let check =
        |text, expect: Option<u64>| assert_eq!(duration(text), expect.map(Duration::from_millis), "{text}");
    check("500ms", Some(500));
    check("30s", Some(30_000));
    check("5m", Some(300_000));
    check("1h", Some(3_600_000));
    check("1d", Some(86_400_000));
    for text in
        ["", "30", "s", "-1s", "1.5h", "1h30m", "1 h", "1H", "99999999999999999999s", "18446744073709551615d"]
    {
        check(text, None);
    }
    let check = |text, expect| assert_eq!(size_bytes(text), expect, "{text}");
    check("512B", Some(512));
    check("64KiB", Some(65_536));
    check("16MiB", Some(16_777_216));
    check("1GiB", Some(1 << 30));
    for text in ["", "16", "16MB", "16 MiB", "18446744073709551615GiB"] {
        check(text, None);
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let error = load(Path::new("/nowhere/rotrace.toml")).unwrap_err().to_string();
    assert_eq!(error, "cannot read /nowhere/rotrace.toml: No such file or directory (os error 2)");
}

#[test]
fn the_shipped_example_works() {
    let config = config(include_str!("../../../docs/rotrace.toml"));
    let server = ProcessFacts {
        exe: Some("/opt/game/bin/server".into()),
        cmdline: vec!["server".into(), "--game=adopt-me".into()],
        ..ProcessFacts::default()
    };
    assert!(config.rules().matches_target(&server));
    let by_process = config.rules().game_of_process(&server, &mut Games::default());
    assert_eq!(by_process.game.as_deref(), Some("adopt-me"));
}

/// Every key that the example shows commented out is known and has a good value, too.
#[test]
fn the_shipped_example_works_with_everything_in_it() {
    let is_setting = |line: &str| {
        line.starts_with("#[")
            || line.split_once(" = ").is_some_and(|(key, _)| key.starts_with('#') && !key.contains("# "))
    };
    let all: Vec<_> = include_str!("../../../docs/rotrace.toml")
        .lines()
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .collect();
    let all = config(&all.join("\n"));
    assert_eq!(Config::default().changes(&all).len(), 11);
}

#[test]
fn the_reference_page_has_every_key() {
    let page = include_str!("../../../docs/configuration.md");
    assert!(page.ends_with(&reference()), "docs/configuration.md ends with these tables:\n\n{}", reference());
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,80}|([a-z.\\[\\]={}\"'#é\n ]|target|game|exe){0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().lines().all(|line| line.starts_with("/etc/rotrace.toml:")));
        }
    }

    #[test]
    fn any_value_of_any_key_is_read_without_panic(
        key in proptest::sample::select(keys::CONFIG.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in "[0-9]{1,22}|\"[a-zA-Z0-9:.\\[\\]*]{0,12}\"|\\[\\]|\\[\"a\"\\]|true|\\{\\}|\\[\\{\\}\\]|1.5|2026-01-01",
    ) {
        let _ = parse(&format!("{key} = {value}"));
    }
}
