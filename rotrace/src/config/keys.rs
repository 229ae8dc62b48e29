//! Given: nothing. Gives: every key that a configuration can have. Refuses to know: how files are read.
//! It is long because it is one table, and a key has no second place.

use std::collections::BTreeSet;
use std::time::Duration;

use super::detect;
use super::table::{Fault, Faults, Key, entries, rows};
use super::url::Url;
use super::value::{Value, duration, size_bytes};
use super::{Config, LogFormat};
use crate::attribute::{BadPattern, Condition, GameRule, Glob, Pattern, TargetRule};
use crate::cost::Mode;
use crate::endpoint::Rule;
use crate::exchange::Role;
use crate::probe::library::{self, Addresses, BuildId};
use crate::probe::tls::Function;

/// Rows of an array that no person writes; generated files are refused before they slow every call down.
const ROWS_MAX: usize = 10_000;

/// The whole file.
pub(super) const CONFIG: &[Key<Config>] = &[
    Key {
        name: "roles",
        takes: "an array of \"client\" and \"server\"",
        default: "",
        example: r#"["client", "server"]"#,
        meaning: "Which calls are taken: those that targets make (client), those that they serve (server). Not \
                  given, `run` takes the calls made, and `attach` and `report` take both.",
        set: |config, value| {
            let role = |name: &str| match name {
                "client" => Some(Role::Client),
                "server" => Some(Role::Server),
                _ => None,
            };
            let names = value.array()?.iter().map(|element| value.element(element).parsed(role));
            let roles = names.collect::<Result<BTreeSet<_>, _>>()?;
            if roles.is_empty() {
                return Err(value.unexpected().into());
            }
            config.roles = Some(roles);
            Ok(())
        },
    },
    Key {
        name: "target",
        takes: "rules, each under its own [[target]]",
        default: "[]",
        example: r#"[{ exe = "/opt/game/bin/*" }]"#,
        meaning: "Rules that select the processes to watch. A process is watched when one rule holds; the keys \
                  of a rule are below. `run` needs at least one.",
        set: |config, value| {
            config.targets = rows(value, TARGET, |conditions, at| {
                let no_key = "target: a rule without a key would select every process; give it exe, user, cgroup, \
                              cmdline or env";
                TargetRule::new(conditions).ok_or_else(|| Fault { at, message: no_key.into() }.into())
            })?;
            bounded(value, config.targets.len())
        },
    },
    Key {
        name: "game",
        takes: "rules, each under its own [[game]]",
        default: "[]",
        example: r#"[{ env = "GAME_ID" }]"#,
        meaning: "Rules that name the game, in order: the first that yields a name wins. The keys of a rule are \
                  below.",
        set: |config, value| {
            config.games = rows(value, GAME, GameRow::rule)?;
            bounded(value, config.games.len())
        },
    },
    Key {
        name: "endpoints.rule",
        takes: "rules, each under its own [[endpoints.rule]]",
        default: "[]",
        example: r#"[{ pattern = "/v1/users/{id}" }]"#,
        meaning: "Rules that name endpoints, in order: the first that fits a call decides. The keys of a rule are \
                  below. A call that no rule fits is named by the OpenAPI documents, then by the shape of its path.",
        set: |config, value| {
            config.endpoints.rules = rows(value, ENDPOINT, |rule: Rule, at| {
                if rule.pattern.is_empty() {
                    let message = "endpoints.rule: a rule needs a pattern, such as \"/v1/users/{id}\"";
                    return Err(Fault { at, message: message.into() }.into());
                }
                Ok(rule)
            })?;
            bounded(value, config.endpoints.rules.len())
        },
    },
    Key {
        name: "endpoints.openapi",
        takes: "an array of file names",
        default: "[]",
        example: r#"["openapi.json"]"#,
        meaning: "OpenAPI documents in JSON whose paths become templates. A relative name is relative to the \
                  directory of this file.",
        set: |config, value| {
            config.endpoints.openapi = value.texts()?.into_iter().map(Into::into).collect();
            bounded(value, config.endpoints.openapi.len())
        },
    },
    Key {
        name: "endpoints.templates_per_authority",
        takes: "a number from 1 to 100000",
        default: "400",
        example: "100",
        meaning: "Templates of one authority at most. What comes later is counted as `authority/**other**`.",
        set: |config, value| {
            config.endpoints.templates_per_authority = value.number(1..=100_000)?;
            Ok(())
        },
    },
    Key {
        name: "endpoints.templates",
        takes: "a number from 1 to 100000",
        default: "2000",
        example: "500",
        meaning: "Templates of all authorities at most.",
        set: |config, value| {
            config.endpoints.templates = value.number(1..=100_000)?;
            Ok(())
        },
    },
    Key {
        name: "endpoints.authorities",
        takes: "a number from 1 to 100000",
        default: "256",
        example: "64",
        meaning: "Authorities at most. What comes later is counted as `other`.",
        set: |config, value| {
            config.endpoints.authorities = value.number(1..=100_000)?;
            Ok(())
        },
    },
    Key {
        name: "endpoints.dictionary",
        takes: "a file name",
        default: "",
        example: r#""/var/lib/rotrace/endpoints.json""#,
        meaning: "Where `run` keeps what it has learned of paths, every 5 minutes and at its end, and finds it again at its \
                  start. It holds authorities and hashes of words, and no words.",
        set: |config, value| {
            config.endpoints.dictionary = Some(value.text()?.into());
            Ok(())
        },
    },
    Key {
        name: "catalogue.files",
        takes: "an array of file names",
        default: "[]",
        example: r#"["catalogue-roblox.toml"]"#,
        meaning: "Tables in TOML of what is known of operations: limits, batches, pages, tags. They go before the OpenAPI \
                  documents, and a later one before an earlier.",
        set: |config, value| {
            config.catalogue.files = value.texts()?.into_iter().map(Into::into).collect();
            bounded(value, config.catalogue.files.len())
        },
    },
    Key {
        name: "cost.weights",
        takes: "a file name",
        default: "",
        example: r#""weights.toml""#,
        meaning: "What calls cost, by class. Not given, the weights that `rotrace cost weights` prints.",
        set: |config, value| {
            config.cost.weights = Some(value.text()?.into());
            Ok(())
        },
    },
    Key {
        name: "cost.mode",
        takes: "\"list\", \"busy\" or \"blend\"",
        default: "",
        example: r#""blend""#,
        meaning: "What is priced: the class of a call, the time that it kept a server busy, or shares of both with bytes \
                  and TLS handshakes. Not given, what the weights say.",
        set: |config, value| {
            config.cost.mode = Some(value.parsed(Mode::parse)?);
            Ok(())
        },
    },
    Key {
        name: "cost.players",
        takes: "a file name",
        default: "",
        example: r#""/run/rotrace/players.json""#,
        meaning: "Players of each game on this host, `{\"game\": 12}` in JSON or `game = 12` in TOML. It is read again \
                  whenever it has changed.",
        set: |config, value| {
            config.cost.players = Some(value.text()?.into());
            Ok(())
        },
    },
    Key {
        name: "cost.players_url",
        takes: "\"http://HOST[:PORT][/PATH]\"",
        default: "",
        example: r#""http://127.0.0.1:8080/players""#,
        meaning: "The same from a server, by a plain `GET`, instead of from a file: an answer with 200 that is whole within 5 s. \
                  A count holds until the next answer; when that \
                  is none, no player seconds are counted.",
        set: |config, value| {
            config.cost.players_url = Some(value.parsed(Url::parse)?);
            Ok(())
        },
    },
    Key {
        name: "cost.players_every",
        takes: "a duration in ms, s, m, h or d, of 1s or more",
        default: r#""30s""#,
        example: r#""1m""#,
        meaning: "So long after an answer of `players_url` it is asked again.",
        set: |config, value| {
            config.cost.players_every =
                value.parsed(|text| duration(text).filter(|every| *every >= Duration::from_secs(1)))?;
            Ok(())
        },
    },
    Key {
        name: "cost.estimate_players",
        takes: "true or false",
        default: "false",
        example: "true",
        meaning: "Of a game of which neither a file nor a server says how many players it has, counts the distinct users in the \
                  paths of its calls of the last 5 to 10 minutes. Their player seconds have the source `estimated`.",
        set: |config, value| {
            config.cost.estimate_players = value.flag()?;
            Ok(())
        },
    },
    Key {
        name: "detect",
        takes: "a table of `budget`, `loopback` and of tables that are called as patterns",
        default: "",
        example: r#"{ budget = "32MiB", n_plus_one = { warn_ids = 20 } }"#,
        meaning: "How waste is looked for. `budget` is the memory of all detectors (64MiB); with `loopback = false` \
                  they do not look at calls to the host itself; under the name of a pattern stand its thresholds, and \
                  `enabled = false` turns it off. docs/findings.md has all of them. Changes with a restart only.",
        set: |config, value| detect::read(&mut config.detect, value),
    },
    Key {
        name: "metrics.listen",
        takes: "an IP address with a port",
        default: r#""127.0.0.1:9464""#,
        example: r#""[::]:9464""#,
        meaning: "Where `/metrics` is served.",
        set: |config, value| {
            config.metrics.listen = value.parsed(|text| text.parse().ok())?;
            Ok(())
        },
    },
    Key {
        name: "metrics.idle_series",
        takes: "a duration in ms, s, m, h or d, above 0",
        default: r#""1h""#,
        example: r#""15m""#,
        meaning: "Series of a game and endpoint without a call for so long are dropped.",
        set: |config, value| {
            config.metrics.idle_series =
                value.parsed(|text| duration(text).filter(|idle| !idle.is_zero()))?;
            Ok(())
        },
    },
    Key {
        name: "privacy.query_keys",
        takes: "an array of keys of queries",
        default: "[]",
        example: r#"["limit", "sortOrder"]"#,
        meaning: "Keys whose values in queries may be shown. All other values are not shown anywhere.",
        set: |config, value| {
            let keys = value.texts()?;
            bounded(value, keys.len())?;
            config.privacy.query_keys = keys.into_iter().map(str::to_owned).collect();
            Ok(())
        },
    },
    Key {
        name: "limits.ring_bytes",
        takes: "a power of two from \"64KiB\" to \"1GiB\"",
        default: r#""16MiB""#,
        example: r#""64MiB""#,
        meaning: "Size of the ring buffer between the kernel and the daemon. What does not fit is lost and counted.",
        set: |config, value| {
            let is_fit = |bytes: &u64| bytes.is_power_of_two() && (1 << 16..=1 << 30).contains(bytes);
            let bytes = value.parsed(|text| size_bytes(text).filter(is_fit)?.try_into().ok())?;
            config.limits.ring_bytes = bytes;
            Ok(())
        },
    },
    Key {
        name: "limits.sockets",
        takes: "a number from 64 to 4194304",
        default: "65536",
        example: "262144",
        meaning: "Sockets of targets that the kernel side tracks at one time.",
        set: |config, value| {
            config.limits.sockets = value.number(64..=1 << 22)?;
            Ok(())
        },
    },
    Key {
        name: "limits.targets",
        takes: "a number from 1 to 4194304",
        default: "16384",
        example: "1024",
        meaning: "Processes that are targets at one time.",
        set: |config, value| {
            config.limits.targets = value.number(1..=1 << 22)?;
            Ok(())
        },
    },
    Key {
        name: "limits.connections",
        takes: "a number from 1 to 4194304",
        default: "65536",
        example: "10000",
        meaning: "Connections that the daemon decodes at one time. The longest idle one makes room and is counted.",
        set: |config, value| {
            config.limits.connections = value.number(1..=1 << 22)?;
            Ok(())
        },
    },
    Key {
        name: "tls.openssl",
        takes: "true or false",
        default: "true",
        example: "false",
        meaning: "Whether the plaintext of TLS is taken at the calls of OpenSSL and its relatives.",
        set: |config, value| {
            config.tls.openssl = value.flag()?;
            Ok(())
        },
    },
    Key {
        name: "tls.library",
        takes: "entries, each under its own [[tls.library]]",
        default: "[]",
        example: r#"[{ build_id = "6c1f04e5", functions = { SSL_read = 0x4a30, SSL_write = 0x4b80, SSL_free = 0x3f10 } }]"#,
        meaning: "Where the functions of a TLS library stand in a file without symbols; the keys of an entry are below. \
                  docs/tls.md says how to find them.",
        set: |config, value| {
            let entries = rows(value, LIBRARY, |entry: LibraryRow, at| Ok((entry, at)))?;
            bounded(value, entries.len())?;
            let mut faults = Faults::default();
            let mut libraries = Addresses::default();
            for (LibraryRow { build_id, functions }, at) in entries {
                let inserted = match build_id {
                    None => Err("an entry needs build_id, which `file` and `readelf -n` show".to_owned()),
                    Some(id) => libraries.insert(id, functions).map_err(|why| why.to_string()),
                };
                faults.take(
                    inserted.map_err(|why| Fault { at, message: format!("{}: {why}", value.key) }.into()),
                );
            }
            config.tls.libraries = faults.or(libraries)?;
            Ok(())
        },
    },
    Key {
        name: "log.format",
        takes: "\"text\" or \"json\"",
        default: r#""text""#,
        example: r#""json""#,
        meaning: "How log lines are written.",
        set: |config, value| {
            config.log.format = value.parsed(|text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?;
            Ok(())
        },
    },
    Key {
        name: "log.level",
        takes: "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        default: r#""info""#,
        example: r#""debug""#,
        meaning: "The least grave events that are logged.",
        set: |config, value| {
            config.log.level = value.parsed(|text| match text {
                "error" => Some(tracing::Level::ERROR),
                "warn" => Some(tracing::Level::WARN),
                "info" => Some(tracing::Level::INFO),
                "debug" => Some(tracing::Level::DEBUG),
                "trace" => Some(tracing::Level::TRACE),
                _ => None,
            })?;
            Ok(())
        },
    },
];

/// One `[[target]]`. All that are given must match.
pub(super) const TARGET: &[Key<Vec<Condition>>] = &[
    Key {
        name: "exe",
        takes: "a glob",
        default: "",
        example: r#""/opt/game/bin/*""#,
        meaning: "The path of the executable.",
        set: |conditions, value| {
            conditions.push(Condition::Exe(value.rule(Glob::new)?));
            Ok(())
        },
    },
    Key {
        name: "user",
        takes: "a glob",
        default: "",
        example: r#""game-*""#,
        meaning: "The name, by this host's user file, or the number of the effective user.",
        set: |conditions, value| {
            conditions.push(Condition::User(value.rule(Glob::new)?));
            Ok(())
        },
    },
    Key {
        name: "cgroup",
        takes: "a glob",
        default: "",
        example: r#""/kubepods*/*""#,
        meaning: "One of the paths of its control groups, version 1 or 2.",
        set: |conditions, value| {
            conditions.push(Condition::Cgroup(value.rule(Glob::new)?));
            Ok(())
        },
    },
    Key {
        name: "cmdline",
        takes: "a glob",
        default: "",
        example: r#""*--mode=server*""#,
        meaning: "The arguments, joined by one space.",
        set: |conditions, value| {
            conditions.push(Condition::Cmdline(value.rule(Glob::new)?));
            Ok(())
        },
    },
    Key {
        name: "env",
        takes: "a table of variable names, each with a glob for its value",
        default: "",
        example: r#"{ GAME_ID = "*" }"#,
        meaning: "Variables of the environment, as it was when the program started. All must match.",
        set: |conditions, value| {
            let mut faults = Faults::default();
            for (name, value) in entries(value)? {
                let condition = value.rule(Glob::new).and_then(|glob| {
                    Condition::variable(name, glob).map_err(|error| value.refused(&error).into())
                });
                faults.take(condition.map(|condition| conditions.push(condition)));
            }
            faults.or(())
        },
    },
];

/// One `[[game]]`, before its keys are seen together.
#[derive(Default)]
pub(super) struct GameRow {
    sources: Vec<(Source, Written)>,
    name: Option<Written>,
}

struct Written {
    key: String,
    text: String,
    at: usize,
}

#[derive(Clone, Copy)]
enum Source {
    Exe,
    Cgroup,
    Cmdline,
    Env,
    Header,
}

/// One `[[game]]`: one of the sources, and for patterns a name.
pub(super) const GAME: &[Key<GameRow>] = &[
    Key {
        name: "exe",
        takes: "a regular expression",
        default: "",
        example: r"'/opt/games/(?P<game>[^/]+)/'",
        meaning: "The path of the executable; the game is what the group `game` took.",
        set: |row, value| row.take(Source::Exe, value),
    },
    Key {
        name: "cgroup",
        takes: "a regular expression",
        default: "",
        example: r"'/universe-(?P<game>\d+)'",
        meaning: "The first path of a control group that fits.",
        set: |row, value| row.take(Source::Cgroup, value),
    },
    Key {
        name: "cmdline",
        takes: "a regular expression",
        default: "",
        example: r"'--game[= ](?P<game>[\w-]+)'",
        meaning: "The arguments, joined by one space.",
        set: |row, value| row.take(Source::Cmdline, value),
    },
    Key {
        name: "env",
        takes: "the name of an environment variable",
        default: "",
        example: r#""GAME_ID""#,
        meaning: "The game is the value of this variable. A name that speaks of a secret is refused.",
        set: |row, value| row.take(Source::Env, value),
    },
    Key {
        name: "header",
        takes: "the name of a request field",
        default: "",
        example: r#""x-game-id""#,
        meaning: "The game of a call is the value of this field of its request, if no rule before this one named \
                  the game of the process. A name that speaks of a secret is refused.",
        set: |row, value| row.take(Source::Header, value),
    },
    Key {
        name: "name",
        takes: "a name, with `$group` for what a group of the pattern took",
        default: "\"$game\"",
        example: r#""lobby""#,
        meaning: "With `exe`, `cgroup` and `cmdline`: the game. `${group}` where a letter follows, `$$` for a dollar.",
        set: |row, value| {
            row.name = Some(Written::new(value)?);
            Ok(())
        },
    },
];

impl Written {
    fn new(value: &Value<'_>) -> Result<Written, Faults> {
        Ok(Written { key: value.key.clone(), text: value.text()?.into(), at: value.at() })
    }

    fn fault(&self, why: &dyn std::fmt::Display) -> Faults {
        Fault { at: self.at, message: format!("{}: {why}", self.key) }.into()
    }
}

impl GameRow {
    fn take(&mut self, source: Source, value: &Value<'_>) -> Result<(), Faults> {
        self.sources.push((source, Written::new(value)?));
        Ok(())
    }

    fn rule(self, at: usize) -> Result<GameRule, Faults> {
        let GameRow { sources, name } = self;
        let Ok([(source, written)]) = <[_; 1]>::try_from(sources) else {
            let message = "game: a rule has exactly one of exe, cgroup, cmdline, env and header";
            return Err(Fault { at, message: message.into() }.into());
        };
        let pattern = || {
            let text = name.as_ref().map(|name| name.text.as_str());
            Pattern::new(&written.text, text).map_err(|error| match (&error, &name) {
                (BadPattern::NoGroup(_) | BadPattern::Dollar | BadPattern::NoName, Some(name)) => {
                    name.fault(&error)
                }
                _ => written.fault(&error),
            })
        };
        let rule = match source {
            Source::Exe => return pattern().map(GameRule::Exe),
            Source::Cgroup => return pattern().map(GameRule::Cgroup),
            Source::Cmdline => return pattern().map(GameRule::Cmdline),
            Source::Env => GameRule::variable(&written.text),
            Source::Header => GameRule::header(&written.text),
        };
        if let Some(name) = name {
            return Err(name.fault(&"a name goes with a pattern: exe, cgroup or cmdline"));
        }
        rule.map_err(|error| written.fault(&error))
    }
}

/// One `[[endpoints.rule]]`.
pub(super) const ENDPOINT: &[Key<Rule>] = &[
    Key {
        name: "host",
        takes: "a glob",
        default: "",
        example: r#""*.example.com""#,
        meaning: "The authority, with its port where that is not the default one. Not given, any.",
        set: |rule, value| {
            rule.host = Some(value.rule(Glob::new)?.as_str().into());
            Ok(())
        },
    },
    Key {
        name: "method",
        takes: "a method, in its case",
        default: "",
        example: r#""GET""#,
        meaning: "The method. Not given, any.",
        set: |rule, value| {
            rule.method = Some(value.text()?.into());
            Ok(())
        },
    },
    Key {
        name: "pattern",
        takes: "a path pattern that begins with `/`",
        default: "",
        example: r#""/v1/users/{id}""#,
        meaning: "The path without its query. `{name}` is a segment or a part of one, `**` any number of segments. \
                  Needed.",
        set: |rule, value| {
            rule.pattern = value.parsed(|text| text.starts_with('/').then(|| text.into()))?;
            Ok(())
        },
    },
    Key {
        name: "template",
        takes: "a path template that begins with `/`",
        default: "",
        example: r#""/v1/users/{user}""#,
        meaning: "What the label shows. Not given, the pattern.",
        set: |rule, value| {
            rule.template = Some(value.parsed(|text| text.starts_with('/').then(|| text.into()))?);
            Ok(())
        },
    },
    Key {
        name: "ignore",
        takes: "true or false",
        default: "false",
        example: "true",
        meaning: "The calls are left out of everything that is counted by endpoint.",
        set: |rule, value| {
            rule.ignore = value.flag()?;
            Ok(())
        },
    },
];

/// One `[[tls.library]]`.
#[derive(Default)]
pub(super) struct LibraryRow {
    build_id: Option<BuildId>,
    functions: BTreeSet<(u64, Function)>,
}

/// The keys of a `[[tls.library]]`.
pub(super) const LIBRARY: &[Key<LibraryRow>] = &[
    Key {
        name: "build_id",
        takes: "hexadecimal digits",
        default: "",
        example: r#""6c1f04e5c3aa59aedeca4a94507b09b9d6cdc555""#,
        meaning: "The file: what its linker called it, as `readelf -n FILE` and `rotrace check PID` show it. Needed.",
        set: |entry, value| {
            entry.build_id = Some(value.parsed(BuildId::parse)?);
            Ok(())
        },
    },
    Key {
        name: "functions",
        takes: "a table of functions, each with its virtual address, as `nm` shows it",
        default: "",
        example: "{ SSL_read = 0x4a30, SSL_write = 0x4b80, SSL_free = 0x3f10 }",
        meaning: "Functions of those that rotrace knows. One that reads, one that writes and one that frees are needed; the more \
                  of `SSL_read`, `SSL_write`, `SSL_read_ex`, `SSL_write_ex`, `SSL_free` and `SSL_get_error`, the better.",
        set: |entry, value| {
            let mut faults = Faults::default();
            for (name, address) in entries(value)? {
                let known = library::functions().find(|(known, _)| *known == name);
                faults.take(match (known, address.number(1..=u64::MAX)) {
                    (Some((_, function)), Ok(address)) => {
                        entry.functions.insert((address, function));
                        Ok(())
                    }
                    (None, _) => {
                        let names: Vec<_> = library::functions().map(|(name, _)| name).collect();
                        let why = format!("no function that is probed; known: {}", names.join(", "));
                        Err(address.refused(&why).into())
                    }
                    (_, Err(faults)) => Err(faults),
                });
            }
            faults.or(())
        },
    },
];

fn bounded(value: &Value<'_>, rows: usize) -> Result<(), Faults> {
    if rows > ROWS_MAX {
        return Err(value.refused(&format!("{rows} entries, more than {ROWS_MAX}")).into());
    }
    Ok(())
}
