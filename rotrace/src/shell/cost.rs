//! Given: files that a configuration names, or measurements. Gives: the cost model that is in force, counts of players, and
//! `rotrace cost`. Refuses to know: how a price is made.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use tracing::{info, warn};

use super::cli;
use super::players::Asking;
use crate::catalogue::{Catalogue, Table};
use crate::config::{self, Config, Url};
use crate::cost::calibrate::{Calibration, Fitted, calibrate};
use crate::cost::players::{PlayerSeconds, Players};
use crate::cost::weights::BUILT_IN;
use crate::cost::{Prices, Weights};
use crate::endpoint::openapi::Document;

/// What `cost` is asked for.
#[derive(Debug, Subcommand)]
pub(super) enum Cost {
    /// Prints the built-in weights, to be changed and named in the config
    Weights,
    /// Fits weights to measurements: processor seconds of the backends, and calls of each class, by interval
    Calibrate(Calibrate),
}

/// What `cost calibrate` is asked for.
#[derive(Debug, Args)]
pub(super) struct Calibrate {
    /// Columns cpu_seconds, perhaps bytes, and classes; a row for each interval
    #[arg(value_name = "CSV")]
    measurements: PathBuf,
    /// Weights that hold for what was not measured; the built-in ones when not given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What the new weights call themselves
    #[arg(long = "name", value_name = "TEXT", default_value = "calibrated")]
    version: String,
    /// Where the new weights are written; nowhere when not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `rotrace cost`.
pub(super) fn run(asked: &Cost) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match asked {
        Cost::Weights => out.write_all(BUILT_IN.as_bytes())?,
        Cost::Calibrate(asked) => {
            let before = weights(asked.weights.as_deref())?;
            let path = asked.measurements.display();
            let csv = text(&asked.measurements)?;
            let found = calibrate(&csv, &before, &asked.version).with_context(|| format!("{path}"))?;
            if let Some(output) = &asked.output {
                fs::write(output, &found.weights).with_context(|| format!("write {}", output.display()))?;
            }
            out.write_all(table(&found).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}

/// What was fitted, for people. What is not known is a dash.
fn table(found: &Calibration) -> String {
    let Calibration { intervals, classes, seconds_per_byte, r_squared, weights: _ } = found;
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.4}"));
    let mut table =
        format!("{:<26}{:>14}{:>14}{:>12}{:>12}\n", "CLASS", "CALLS", "MS/CALL", "CU BEFORE", "CU");
    for Fitted { class, calls, before, seconds_per_call, after } in classes {
        let milliseconds = number(seconds_per_call.map(|seconds| seconds * 1e3));
        let (before, after) = (number(Some(before.cu())), number(after.map(|after| after.cu())));
        table += &format!("{class:<26}{calls:>14}{milliseconds:>14}{before:>12}{after:>12}\n");
    }
    table +=
        &format!("{:<26}{:>14}\n", "ms a MiB", number(seconds_per_byte.map(|one| one * 1e3 * 1_048_576.0)));
    table +=
        &format!("{intervals} intervals; part of the variance that is explained: {}\n", number(*r_squared));
    table
}

/// The cost model of a configuration, whose OpenAPI documents have been read.
pub fn prices(config: &Config, documents: &[Document]) -> anyhow::Result<Prices> {
    let table = |path: &PathBuf| {
        Table::parse(&text(path)?).with_context(|| format!("the catalogue {}", path.display()))
    };
    let tables = config.catalogue.files.iter().map(table).collect::<anyhow::Result<_>>()?;
    let catalogue = Catalogue::new(documents, tables);
    if catalogue.refused() > 0 {
        warn!("the catalogue is full: {} operations are left out", catalogue.refused());
    }
    let weights = weights(config.cost.weights.as_deref())?;
    let weights = match config.cost.mode {
        Some(mode) => weights.with_mode(mode),
        None => weights,
    };
    Ok(Prices::new(weights, Arc::new(catalogue))?)
}

fn weights(path: Option<&Path>) -> anyhow::Result<Weights> {
    let Some(path) = path else { return Ok(Weights::default()) };
    Weights::parse(&text(path)?).with_context(|| format!("the weights {}", path.display()))
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(cli::read(path)?).map_err(|_| anyhow!("{} is not UTF-8", path.display()))
}

/// Who tells how many players there are, and the seconds that have been counted.
#[derive(Debug, Default)]
pub struct PlayerFeed {
    origin: Option<Origin>,
    /// Whether the log says why nothing is counted.
    told: bool,
    seconds: PlayerSeconds,
}

#[derive(Debug)]
enum Origin {
    File {
        path: PathBuf,
        /// Of the file when it was last read, whether that went well or not; `None` while it is not there.
        modified: Option<SystemTime>,
    },
    Server {
        url: Url,
        every: Duration,
        asking: Asking,
    },
}

impl PlayerFeed {
    /// Takes what a configuration names; what has been counted stays. A server goes before a file.
    pub fn follow(&mut self, cost: &config::Cost) -> anyhow::Result<()> {
        let config::Cost { players, players_url, players_every, .. } = cost;
        let is_same = match (&self.origin, players_url, players) {
            (Some(Origin::Server { url, every, .. }), Some(new), _) => url == new && every == players_every,
            (Some(Origin::File { path, .. }), None, Some(new)) => path == new,
            (origin, url, path) => origin.is_none() && url.is_none() && path.is_none(),
        };
        if is_same {
            return Ok(());
        }
        self.told = false;
        self.origin = match (players_url, players) {
            (Some(url), _) => Some(Origin::Server {
                url: url.clone(),
                every: *players_every,
                asking: Asking::start(url.clone(), *players_every)?,
            }),
            (None, Some(path)) => Some(Origin::File { path: path.clone(), modified: None }),
            (None, None) => None,
        };
        Ok(())
    }

    /// Counts until now, and takes what is new. While nobody tells, nothing is counted.
    pub fn tick(&mut self, now_ns: u64) {
        self.seconds.advance(now_ns);
        let news = match &mut self.origin {
            None => Some(Ok(Players::default())),
            Some(Origin::File { path, modified }) => of_file(path, modified),
            Some(Origin::Server { asking, .. }) => asking.answer(),
        };
        let Some(news) = news else { return };
        let players = match news {
            Ok(players) => {
                // Once for each time that it comes back.
                if self.told {
                    info!("players are counted again");
                }
                self.told = false;
                players
            }
            Err(why) => {
                // Once for each time that it goes away or goes bad.
                if !self.told {
                    let origin = self.origin.as_ref().map(Origin::to_string).unwrap_or_default();
                    warn!("players are not counted: {origin}: {why:#}");
                }
                self.told = true;
                Players::default()
            }
        };
        self.seconds.report(now_ns, &players);
    }

    /// Takes what calls let estimate, for games of which nobody tells.
    pub fn estimate(&mut self, now_ns: u64, players: &Players) {
        self.seconds.estimate(now_ns, players);
    }

    /// What has been counted.
    pub fn seconds(&self) -> &PlayerSeconds {
        &self.seconds
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, .. } => path.display().fmt(f),
            Origin::Server { url, .. } => url.fmt(f),
        }
    }
}

/// What a file says, if it has changed or cannot be read.
fn of_file(path: &Path, modified: &mut Option<SystemTime>) -> Option<anyhow::Result<Players>> {
    match fs::metadata(path).and_then(|file| file.modified()) {
        Ok(now) if *modified == Some(now) => None,
        Ok(now) => {
            *modified = Some(now);
            Some(text(path).and_then(|text| Ok(Players::parse(&text)?)))
        }
        Err(why) => {
            *modified = None;
            Some(Err(why.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cost;

    const SECOND_NS: u64 = 1_000_000_000;

    fn total(feed: &PlayerFeed) -> f64 {
        feed.seconds().totals().map(|(_, _, seconds)| seconds).sum()
    }

    #[test]
    fn a_feed_is_read_when_it_has_changed_and_not_counted_when_it_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("players.json");
        // Times of files may be coarse, so they are set here.
        let write = |text: &str, second: u64| {
            fs::write(&path, text).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        let mut feed = PlayerFeed::default();
        feed.tick(0);
        feed.follow(&Cost { players: Some(path.clone()), ..Cost::default() }).unwrap();
        feed.tick(SECOND_NS);
        assert_eq!(total(&feed), 0.0);
        write(r#"{"a": 2}"#, 1);
        feed.tick(2 * SECOND_NS);
        feed.tick(5 * SECOND_NS);
        assert_eq!(total(&feed), 6.0);
        write(r#"{"a": 9}"#, 1);
        feed.tick(6 * SECOND_NS);
        feed.tick(7 * SECOND_NS);
        assert_eq!(total(&feed), 10.0, "the time of the file is the same");
        write(r#"{"a": "#, 2);
        feed.tick(8 * SECOND_NS);
        feed.tick(20 * SECOND_NS);
        assert_eq!(total(&feed), 12.0);
        write(r#"{"a": 1}"#, 3);
        feed.tick(21 * SECOND_NS);
        feed.tick(22 * SECOND_NS);
        assert_eq!(total(&feed), 13.0);
        fs::remove_file(&path).unwrap();
        feed.tick(23 * SECOND_NS);
        feed.tick(30 * SECOND_NS);
        assert_eq!(total(&feed), 14.0);
        // A file that comes back is read, whatever its time.
        write(r#"{"a": 1}"#, 3);
        feed.tick(31 * SECOND_NS);
        feed.tick(32 * SECOND_NS);
        assert_eq!(total(&feed), 15.0);
        feed.follow(&Cost::default()).unwrap();
        feed.tick(33 * SECOND_NS);
        feed.tick(40 * SECOND_NS);
        assert_eq!(total(&feed), 16.0);
    }

    #[test]
    fn a_configuration_with_a_bad_file_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.toml");
        let mut config = Config::default();
        assert!(prices(&config, &[]).is_ok());
        config.catalogue.files = vec![path.clone()];
        let why = |config: &Config| format!("{:#}", prices(config, &[]).unwrap_err());
        assert!(why(&config).contains("read ") && why(&config).contains("table.toml"));
        fs::write(&path, "[[api]]\nendpoint = \"/a\"\nmethod = \"GET\"\nclass = \"gold\"").unwrap();
        assert!(why(&config).contains("class `gold`"), "{}", why(&config));
        config = Config::default();
        config.cost.weights = Some(path);
        assert!(why(&config).contains("table.toml: line 1, column "), "{}", why(&config));
    }
}
