//! Given: a seed. Gives: a world of games whose waste is known, what the product finds in it, and how right that is.
//! Refuses to know: sockets and probes; whoever plays a plan through them reads it as NDJSON.

mod api;
mod calls;
mod comparators;
mod live;
mod plan;
mod random;
mod scenarios;
mod scene;
mod schedule;
mod score;
mod synth;
mod world;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use self::calls::Harm;
use self::live::{Age, Live};
use self::plan::Intensity;
use self::scene::Tempo;
use self::schedule::{Schedule, Settings};
use self::synth::{Beside, Conditions};
use self::world::Profile;
use crate::repository::{cargo, run as run_command};

/// What is done with a world.
#[derive(Subcommand)]
pub(crate) enum Lab {
    /// Write all calls of a world, and what is true of them, as NDJSON
    Plan {
        #[command(flatten)]
        plan: Plan,
        /// Where to; standard output unless it is said
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Hand the calls of a world to the product, and say how fast it takes them
    Synth {
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        harm: HarmArguments,
        /// Best of so many
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Measure each detector alone as well
        #[arg(long)]
        shares: bool,
        /// Measure others on the same calls as well
        #[arg(long)]
        comparators: bool,
    },
    /// Let real clients and a real server play a plan, with the daemon watching, and compare (needs root)
    Live {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long the plan goes on
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = seconds)]
        length_s: u64,
        /// Only these scenarios and look-alikes
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        only: Vec<String>,
        /// Begin at once; whatever is told of the young processes counts, for no severity is
        #[arg(long)]
        young: bool,
        /// This daemon instead of the one of the sources
        #[arg(long, value_name = "FILE")]
        daemon: Option<PathBuf>,
        /// Leave all that the daemon says in this file
        #[arg(long, value_name = "FILE")]
        said: Option<PathBuf>,
        /// Score others on the planned calls as well
        #[arg(long)]
        comparators: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Say of each miss, false warning and confusion which one it was
        #[arg(long)]
        list: bool,
    },
    /// Compare what the product finds in worlds with what is true of them
    Score {
        /// Seeds `A..B`, the last one with them; those from 1000 on draw from wider ranges
        #[arg(long, value_parser = seeds)]
        seeds: (u64, u64),
        /// How large the worlds are
        #[arg(long, default_value = "usual")]
        profile: Profile,
        /// How long they go on
        #[arg(long, default_value_t = 25)]
        minutes: u32,
        /// Only these scenarios and look-alikes
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        only: Vec<String>,
        #[command(flatten)]
        harm: HarmArguments,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Say of each miss, false warning and confusion which one it was
        #[arg(long)]
        list: bool,
        /// Score others on the same calls as well
        #[arg(long)]
        comparators: bool,
    },
}

/// Which world.
#[derive(Args)]
#[group(skip)]
pub(crate) struct Plan {
    #[arg(long)]
    seed: u64,
    #[arg(long, default_value = "usual")]
    profile: Profile,
    /// How far from the thresholds scenarios are
    #[arg(long, default_value = "clear")]
    intensity: Intensity,
    #[arg(long, default_value_t = 25)]
    minutes: u32,
    /// Only these scenarios and look-alikes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// What is taken away from what could be seen.
#[derive(Args)]
pub(crate) struct HarmArguments {
    /// Share of calls that are lost
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    drop: f64,
    /// Calls come up to 200 ms late
    #[arg(long)]
    reorder: bool,
    /// Answers can be told apart by their length alone
    #[arg(long)]
    no_fingerprints: bool,
    /// The memory of the detectors is so many times smaller
    #[arg(long, default_value_t = 1, value_name = "N")]
    budget_div: usize,
}

impl Plan {
    fn settings(self) -> Settings {
        let Plan { seed, profile, intensity, minutes, only } = self;
        Settings { seed, profile, length_s: u64::from(minutes) * 60, tempo: Tempo::Real, intensity, only }
    }
}

impl HarmArguments {
    fn conditions(&self) -> Conditions {
        let HarmArguments { drop, reorder, no_fingerprints, budget_div } = *self;
        Conditions { harm: Harm { drop, reorder, no_fingerprints }, budget_div, without: Vec::new() }
    }
}

/// From 5 s to 10 minutes.
fn seconds(text: &str) -> Result<u64, String> {
    let seconds =
        text.strip_suffix('s').unwrap_or(text).parse().map_err(|error| format!("{text}: {error}"))?;
    if (5..=600).contains(&seconds) { Ok(seconds) } else { Err("from 5s to 600s".to_owned()) }
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err("the first is above the last".to_owned()) } else { Ok((first, last)) }
}

/// Plays with optimised programs, whatever this one is; what is played live takes its time anyhow.
pub(crate) fn run(lab: Lab) -> anyhow::Result<()> {
    if cfg!(debug_assertions) && !matches!(lab, Lab::Live { .. }) {
        let this = ["run", "--quiet", "--release", "--package", "xtask", "--"];
        return run_command(cargo().args(this).args(std::env::args_os().skip(1)));
    }
    match lab {
        Lab::Plan { plan, out } => write_plan(&plan.settings(), out),
        Lab::Synth { plan, harm, rounds, shares, comparators } => {
            let beside = Beside { shares, comparators };
            print!("{}", synth::run(&plan.settings(), &harm.conditions(), rounds, beside)?);
            Ok(())
        }
        Lab::Live { seed, length_s: seconds, only, young, daemon, said, comparators, json, list } => {
            let view = score::View { is_json: json, is_list: list, has_comparators: comparators };
            let age = if young { Age::Young } else { Age::Grown };
            print!("{}", live::run(&Live { seed, seconds, only, age, daemon, said, view })?);
            Ok(())
        }
        Lab::Score { seeds: (first, last), profile, minutes, only, harm, json, list, comparators } => {
            let length_s = u64::from(minutes) * 60;
            let (tempo, intensity) = (Tempo::Real, Intensity::Clear);
            let settings = Settings { seed: first, profile, length_s, tempo, intensity, only };
            let view = score::View { is_json: json, is_list: list, has_comparators: comparators };
            print!("{}", score::run(first..=last, &settings, &harm.conditions(), view)?);
            Ok(())
        }
    }
}

/// First the world, then calls in the order in which they begin, each episode when it begins.
fn write_plan(settings: &Settings, out: Option<PathBuf>) -> anyhow::Result<()> {
    let out: Box<dyn Write> = match out {
        Some(path) => Box::new(File::create(&path).with_context(|| format!("create {}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let mut out = BufWriter::new(out);
    let mut schedule = Schedule::new(settings);
    for (index, process) in schedule.world.processes().iter().enumerate() {
        let game = schedule.world.game(index as u32);
        let line = json!({
            "kind": "process", "pid": process.pid, "game": game.name, "universe": game.universe,
            "started_s": process.started_s, "players": process.sessions.len(),
        });
        writeln!(out, "{line}")?;
    }
    let mut told = 0;
    while let Some(slice) = schedule.next() {
        for episode in &schedule.episodes[told..] {
            writeln!(out, "{}", episode.json(&schedule.world))?;
        }
        told = schedule.episodes.len();
        for call in &slice.calls {
            writeln!(out, "{}", call.json(&schedule.world))?;
        }
    }
    out.flush()?;
    Ok(())
}
