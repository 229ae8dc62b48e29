//! Given: the text of a configuration file and its path. Gives: a [`Config`], or every fault of the file, each in one
//! line with its place. Refuses to know: what the values are used for, and whether they are in force.
//!
//! One table, in `config/keys.rs`, holds for each key its name, what it takes, its default, an example, its meaning and
//! how it is set. Reading, errors and the reference page (`docs/configuration.md`) all follow it. Unknown keys are
//! errors: a misspelt limit that is silently not in force is worse than a daemon that does not start.

mod detect;
mod keys;
mod table;
mod url;
mod value;

pub use url::Url;
pub use value::{duration, size_bytes};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rotrace_ebpf::limits;
use toml::de::DeTable;

use crate::attribute::{GameRule, Rules, TargetRule};
use crate::cost::Mode;
use crate::detect::{Pattern, Values};
use crate::endpoint::Rule;
use crate::exchange::Role;
use crate::probe::library::Addresses;

/// Everything that can be configured. [`Default`] is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Which calls are taken; `None` leaves it to the command.
    pub roles: Option<BTreeSet<Role>>,
    /// Which processes are watched.
    pub targets: Vec<TargetRule>,
    /// How games are named, in order.
    pub games: Vec<GameRule>,
    /// How paths become endpoints.
    pub endpoints: Endpoints,
    /// What is known of operations.
    pub catalogue: Catalogue,
    /// What calls cost.
    pub cost: Cost,
    /// How waste is looked for.
    pub detect: Detect,
    /// What is exported.
    pub metrics: Metrics,
    /// What may be shown of calls.
    pub privacy: Privacy,
    /// How much may be used.
    pub limits: Limits,
    /// Which TLS libraries are read.
    pub tls: Tls,
    /// What is logged.
    pub log: Log,
}

/// The table `[endpoints]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// In order; the first that fits a call decides.
    pub rules: Vec<Rule>,
    /// OpenAPI documents, in JSON.
    pub openapi: Vec<PathBuf>,
    /// Templates of one authority at most.
    pub templates_per_authority: usize,
    /// Templates of all authorities at most.
    pub templates: usize,
    /// Authorities at most.
    pub authorities: usize,
    /// Where what is learned is kept; nowhere when `None`.
    pub dictionary: Option<PathBuf>,
}

/// The table `[catalogue]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Tables in TOML, the later before the earlier.
    pub files: Vec<PathBuf>,
}

/// The table `[cost]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The weights file; the built-in weights when `None`.
    pub weights: Option<PathBuf>,
    /// What is priced; as the weights say when `None`.
    pub mode: Option<Mode>,
    /// A file of counts of players.
    pub players: Option<PathBuf>,
    /// Where counts of players are asked for, `http://…`.
    pub players_url: Option<Url>,
    /// So long after an answer it is asked for again.
    pub players_every: Duration,
    /// Where nobody says how many players there are, the users that calls are about are counted.
    pub estimate_players: bool,
}

/// The table `[detect]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Detect {
    /// Memory of all detectors.
    pub budget_bytes: usize,
    /// Calls to the host itself are looked at as well.
    pub loopback: bool,
    /// Thresholds by pattern, where they are given; `None` where the detector is turned off.
    pub patterns: BTreeMap<Pattern, Option<Values>>,
}

impl Default for Detect {
    fn default() -> Self {
        let crate::detect::Settings { budget_bytes, loopback, values, .. } =
            crate::detect::Settings::default();
        Detect { budget_bytes, loopback, patterns: values }
    }
}

/// The table `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics` is served.
    pub listen: SocketAddr,
    /// Series without a call for so long are dropped.
    pub idle_series: Duration,
}

/// The table `[privacy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Keys of queries whose values may be shown.
    pub query_keys: BTreeSet<String>,
}

/// The table `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the ring buffer, a power of two.
    pub ring_bytes: u32,
    /// Sockets that the kernel side tracks at one time.
    pub sockets: u32,
    /// Processes that are targets at one time.
    pub targets: u32,
    /// Connections that are decoded at one time.
    pub connections: usize,
}

/// The table `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Plaintext is taken at the calls of OpenSSL.
    pub openssl: bool,
    /// Where functions stand in files without symbols.
    pub libraries: Addresses,
}

/// The table `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// Events of this level and above.
    pub level: tracing::Level,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Default for Endpoints {
    fn default() -> Endpoints {
        Endpoints {
            rules: Vec::new(),
            openapi: Vec::new(),
            templates_per_authority: 400,
            templates: 2000,
            authorities: 256,
            dictionary: None,
        }
    }
}

impl Default for Cost {
    fn default() -> Cost {
        Cost {
            weights: None,
            mode: None,
            players: None,
            players_url: None,
            players_every: Duration::from_secs(30),
            estimate_players: false,
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            // Only this host: who may know what games call is not for a default to say.
            listen: (Ipv4Addr::LOCALHOST, 9464).into(),
            idle_series: Duration::from_secs(3600),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            ring_bytes: limits::RING_BYTES,
            sockets: limits::SOCKETS_MAX,
            targets: limits::TARGETS_MAX,
            connections: limits::SOCKETS_MAX as usize,
        }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { openssl: true, libraries: Addresses::default() }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, level: tracing::Level::INFO }
    }
}

/// Reads the file at `path`.
pub fn load(path: &Path) -> Result<Config, Error> {
    let text = fs::read_to_string(path).map_err(|error| Error::Read { path: path.into(), error })?;
    Config::parse(&text, path)
}

/// Every key, as the Markdown tables of the reference page.
pub fn reference() -> String {
    let tables = [
        ("## All keys", table::reference(keys::CONFIG)),
        ("## Keys of a `[[target]]`", table::reference(keys::TARGET)),
        ("## Keys of a `[[game]]`", table::reference(keys::GAME)),
        ("## Keys of an `[[endpoints.rule]]`", table::reference(keys::ENDPOINT)),
        ("## Keys of a `[[tls.library]]`", table::reference(keys::LIBRARY)),
    ];
    tables.map(|(heading, table)| format!("{heading}\n\n{table}")).join("\n")
}

impl Config {
    /// Reads the text of the file at `path`. Files that it names relative are relative to the directory of `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut faults: Vec<_> = errors.iter().map(table::Fault::of_syntax).collect();
        let mut config = Config::default();
        // A key that the parser could not read would look like one that is missing.
        if faults.is_empty()
            && let Err(table::Faults(found)) = table::read(&mut config, keys::CONFIG, "", document.get_ref())
        {
            faults = found;
        }
        if !faults.is_empty() {
            faults.sort_by_key(|fault| fault.at);
            let faults = faults.into_iter().map(|fault| fault.place(text)).collect();
            return Err(Error::Faults { path: path.into(), faults });
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let Config { endpoints, catalogue, cost, .. } = &mut config;
        let files = endpoints.openapi.iter_mut().chain(&mut endpoints.dictionary).chain(&mut catalogue.files);
        for file in files.chain(&mut cost.weights).chain(&mut cost.players) {
            *file = directory.join(&*file);
        }
        Ok(config)
    }

    /// The rules over processes and calls.
    pub fn rules(&self) -> Rules {
        Rules::new(self.targets.clone(), self.games.clone())
    }

    /// The daemon watches what rules select, so without a rule it would watch nothing and look healthy. `path` is the
    /// file that the configuration came from.
    pub fn require_targets(&self, path: &Path) -> Result<(), Error> {
        if self.targets.is_empty() {
            return Err(Error::NoTarget { path: path.into() });
        }
        Ok(())
    }

    /// The top-level keys whose values differ, in the order of the reference.
    pub fn changes(&self, new: &Config) -> Vec<&'static str> {
        let Config {
            roles,
            targets,
            games,
            endpoints,
            catalogue,
            cost,
            detect,
            metrics,
            privacy,
            limits,
            tls,
            log,
        } = self;
        let changed = [
            ("roles", *roles != new.roles),
            ("target", *targets != new.targets),
            ("game", *games != new.games),
            ("endpoints", *endpoints != new.endpoints),
            ("catalogue", *catalogue != new.catalogue),
            ("cost", *cost != new.cost),
            ("detect", *detect != new.detect),
            ("metrics", *metrics != new.metrics),
            ("privacy", *privacy != new.privacy),
            ("limits", *limits != new.limits),
            ("tls", *tls != new.tls),
            ("log", *log != new.log),
        ];
        changed.into_iter().filter(|key| key.1).map(|key| key.0).collect()
    }
}

/// Why there is no configuration. One line for each fault.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file has faults, in the order of their places.
    Faults {
        /// The file.
        path: PathBuf,
        /// At least one.
        faults: Vec<Fault>,
    },
    /// No rule selects a process.
    NoTarget {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In one line, with the key.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Error::NoTarget { path } => write!(
                f,
                "{}: no [[target]] selects a process, so nothing would be watched; add one with exe, cmdline, env, \
                 cgroup or user, such as: target = [{{ exe = \"/opt/game/bin/*\" }}]",
                path.display()
            ),
            Error::Faults { path, faults } => {
                for (index, Fault { line, column, message }) in faults.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{line}:{column}: {message}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message holds the system's already.
        None
    }
}

#[cfg(test)]
mod tests;
