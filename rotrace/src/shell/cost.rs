//! Given: files that a configuration names, or measurements. Gives: the cost model that is in force, counts of players, and
//! `rotrace cost`. Refuses to know: how a price is made.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use tracing::{info, warn};

use super::cli;
use crate::catalogue::{Catalogue, Table};
use crate::config::Config;
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

/// The file that tells how many players there are, and the seconds that have been counted.
#[derive(Debug, Default)]
pub struct PlayerFeed {
    path: Option<PathBuf>,
    /// Of the file when it was last read, whether that went well or not; `None` while it is not there.
    modified: Option<SystemTime>,
    /// Whether the log says why nothing is counted.
    told: bool,
    seconds: PlayerSeconds,
}

impl PlayerFeed {
    /// Takes another file; what has been counted stays.
    pub fn follow(&mut self, path: Option<PathBuf>) {
        if self.path != path {
            self.path = path;
            self.modified = None;
            self.told = false;
        }
    }

    /// Counts until now, and reads the file again if it has changed. While it cannot be read, nothing is counted.
    pub fn tick(&mut self, now_ns: u64) {
        self.seconds.advance(now_ns);
        let modified = self.path.as_ref().map(|path| fs::metadata(path).and_then(|file| file.modified()));
        let modified = match modified.transpose() {
            Ok(modified) => modified,
            Err(why) => {
                self.lose(now_ns, &anyhow!(why));
                self.modified = None;
                return;
            }
        };
        let Some(path) = self.path.as_ref().filter(|_| modified.is_some()) else {
            return self.seconds.report(now_ns, &Players::default());
        };
        if modified == self.modified {
            return;
        }
        self.modified = modified;
        match text(path).and_then(|text| Ok(Players::parse(&text)?)) {
            Ok(players) => {
                self.told = false;
                info!("{} games have players, by {}", players.0.len(), path.display());
                self.seconds.report(now_ns, &players);
            }
            Err(why) => self.lose(now_ns, &why),
        }
    }

    /// What has been counted.
    pub fn seconds(&self) -> &PlayerSeconds {
        &self.seconds
    }

    fn lose(&mut self, now_ns: u64, why: &anyhow::Error) {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display();
        // Once for each time that the file goes away or goes bad.
        if !self.told {
            warn!("players are not counted: {path}: {why:#}");
        }
        self.told = true;
        self.seconds.report(now_ns, &Players::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
        };
        let mut feed = PlayerFeed::default();
        feed.tick(0);
        feed.follow(Some(path.clone()));
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
        feed.follow(None);
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
