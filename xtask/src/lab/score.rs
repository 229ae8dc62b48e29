//! Given: seeds. Gives: how right the product is about their worlds: what it finds, misses, confuses and invents, and how
//! much it claims of what is wasted. Refuses to know: how it finds anything.
//!
//! Each seed is a world in three intensities. A warning is a statement; what is only good to know is none. Below the
//! thresholds nobody has to warn, and who does is not wrong.

mod claims;
mod figures;
pub(crate) mod matching;
mod others;
mod report;
mod waste;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use rotrace::detect::finding::{Amount, Class, Finding, Severity};
use rotrace::detect::pattern::Pool;
use rotrace::detect::{Pattern, TABLE};

use self::claims::ClaimedCalls;
use self::figures::{Errors, Share};
use self::matching::{Fate, Statement, Worth, judge};
use self::others::Others;
use super::api::APIS;
use super::calls::EPOCH_NS;
use super::comparators::{self, Comparator};
use super::plan::{Episode, Intensity, Planned};
use super::scenarios::{Kind, rows};
use super::schedule::Settings;
use super::synth::{Conditions, Played, Told, play};

/// A claim of a game that is wrong by more than this part of it is listed.
const ERROR_LISTED: f64 = 0.1;

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) is_json: bool,
    pub(crate) is_list: bool,
    pub(crate) has_comparators: bool,
}

/// What is known of all worlds together.
#[derive(Debug, Default)]
struct Score {
    patterns: BTreeMap<Pattern, OfPattern>,
    /// How often a truth of a pattern was told as another, or not at all.
    confusion: BTreeMap<(Pattern, Option<Pattern>), u64>,
    look_alikes: BTreeMap<&'static str, LookAlike>,
    /// Warnings where nothing is wasted, of a million benign calls.
    false_warnings: Share,
    calls: u64,
    claimed_calls: u64,
    others: Others,
    /// What was not as it should be, for people.
    faults: Vec<String>,
    /// Calls of all patterns together.
    all_calls: ClaimedCalls,
}

/// How right one detector is.
#[derive(Debug, Default)]
struct OfPattern {
    precision: Share,
    /// By intensity.
    recall: [Share; 3],
    /// Truths of which only something good to know was said, by intensity.
    infos: [u64; 3],
    errors: Errors,
    /// Of the time that servers were busy, in seconds.
    server_errors: Errors,
    /// Of cost units.
    cost_errors: Errors,
    /// Games whose wasted calls lie between what is claimed at least and at most.
    coverage: Share,
    calls: ClaimedCalls,
    latencies_s: Vec<f64>,
}

/// How a look-alike was taken.
#[derive(Debug, Default)]
struct LookAlike {
    instances: u64,
    warnings: BTreeSet<&'static str>,
    /// Patterns that claim something of it for certain.
    claims: BTreeSet<&'static str>,
}

/// Scores the worlds of all seeds.
pub(crate) fn run(
    seeds: RangeInclusive<u64>,
    settings: &Settings,
    conditions: &Conditions,
    view: View,
) -> anyhow::Result<String> {
    if view.has_comparators && !comparators::is_installed() {
        eprintln!("{}", comparators::MISSING);
    }
    let mut score = Score::default();
    for row in TABLE {
        score.patterns.insert(row.pattern, OfPattern::default());
    }
    for (world, seed) in seeds.clone().enumerate() {
        for intensity in Intensity::ALL {
            let settings = Settings { seed, intensity, ..settings.clone() };
            let mut others: Vec<Box<dyn Comparator>> =
                if view.has_comparators { comparators::all() } else { Vec::new() };
            let played = play(&settings, conditions, |call| {
                others.iter_mut().for_each(|other| other.take(call));
            })?
            .played;
            score.add(world, seed, intensity, &played);
            for other in &mut others {
                let said = other.finish(&played.world, played.episodes.len())?;
                score.others.add(other.name(), world, &played, &said);
            }
        }
    }
    Ok(report::text(&score, &seeds, settings, conditions, view))
}

/// Scores one world that was played, by the calls of its plan.
pub(crate) fn of_play(
    played: &Played,
    planned: &[Planned],
    settings: &Settings,
    view: View,
) -> anyhow::Result<String> {
    let mut score = Score::default();
    score.add(0, settings.seed, settings.intensity, played);
    if view.has_comparators {
        for other in &mut comparators::all() {
            planned.iter().for_each(|call| other.take(call));
            let said = other.finish(&played.world, played.episodes.len())?;
            score.others.add(other.name(), 0, played, &said);
        }
    }
    Ok(report::text_of_play(&score, settings, view))
}

impl Score {
    fn add(&mut self, world: usize, seed: u64, intensity: Intensity, played: &Played) {
        let Played { episodes, instances, findings, .. } = played;
        let said: Vec<&Told> = findings.iter().filter(|told| told.warned_ns.is_some()).collect();
        let statements: Vec<Statement> = said.iter().map(|told| statement(told, played)).collect();
        let (fates, worths) = judge(episodes, &statements, instances);
        let infos = findings.iter().map(|told| statement(told, played)).collect::<Vec<_>>();
        let (known, known_worths) = judge(episodes, &infos, instances);
        // Of what is never more than good to know, that counts.
        for (statement, worth) in infos.iter().zip(&known_worths) {
            if statement.pattern == Some(Pattern::SerialWaterfall) {
                self.add_worth(world, episodes, statement, worth);
            }
        }
        let fault = |what: String| format!("seed {seed} {}: {what}", intensity.name());
        // That it is told at all is enough where nobody can be sure.
        let fates: Vec<Fate> = episodes
            .iter()
            .zip(fates.into_iter().zip(&known))
            .map(|(episode, (fate, known))| match known {
                Fate::Found { .. } if episode.is_told_only => known.clone(),
                _ => fate,
            })
            .collect();
        for ((episode, fate), known) in episodes.iter().zip(&fates).zip(&known) {
            self.add_fate(world, episode, fate, known);
            if !matches!(fate, Fate::Found { .. }) && intensity != Intensity::Below {
                let place = played.world.process(episode.process).pid;
                let told = if matches!(known, Fate::Found { .. }) { " (info)" } else { "" };
                let Episode { scenario, pattern, api, .. } = episode;
                let (pattern, endpoint) = (pattern.name(), api.terms().endpoint);
                let said = described(episode, played);
                self.faults.push(fault(format!(
                    "{scenario} {pattern} of {place} {endpoint} is {fate:?}{told}{said}"
                )));
            }
        }
        for (statement, worth) in statements.iter().zip(&worths) {
            self.add_worth(world, episodes, statement, worth);
            let is_confused =
                matches!(worth, Worth::Other(other) if Some(episodes[*other].pattern) != statement.pattern);
            if is_confused || matches!(worth, Worth::LookAlike(_) | Worth::Invented) {
                let place = played.world.process(statement.process).pid;
                let name = statement.pattern.map_or("", Pattern::name);
                self.faults.push(fault(format!("{name} of {place} {} is {worth:?}", statement.endpoint)));
            }
        }
        let wrong =
            worths.iter().filter(|worth| matches!(worth, Worth::LookAlike(_) | Worth::Invented)).count();
        self.false_warnings.add(world, wrong as f64, played.benign_calls as f64 / 1e6);
        self.add_look_alikes(played);
        if intensity != Intensity::Below {
            self.add_claims(world, played);
            let off = self.add_errors(world, played);
            self.faults.extend(off.into_iter().map(fault));
        }
        self.calls += played.calls;
        self.claimed_calls += played.wasted.iter().map(|wasted| wasted.amount.calls).sum::<u64>();
    }

    fn add_fate(&mut self, world: usize, episode: &Episode, fate: &Fate, known: &Fate) {
        let own = self.patterns.entry(episode.pattern).or_default();
        let level = episode.intensity as usize;
        let is_found = matches!(fate, Fate::Found { .. });
        own.recall[level].add(world, f64::from(u8::from(is_found)), 1.0);
        own.infos[level] += u64::from(!is_found && matches!(known, Fate::Found { .. }));
        if episode.intensity == Intensity::Below {
            return;
        }
        match fate {
            Fate::Found { latency_ns } => {
                own.latencies_s.push(*latency_ns as f64 / 1e9);
                *self.confusion.entry((episode.pattern, Some(episode.pattern))).or_default() += 1;
            }
            Fate::Confused(patterns) => {
                for &pattern in patterns {
                    *self.confusion.entry((episode.pattern, pattern)).or_default() += 1;
                }
            }
            Fate::Missed => *self.confusion.entry((episode.pattern, None)).or_default() += 1,
        }
    }

    fn add_worth(&mut self, world: usize, episodes: &[Episode], statement: &Statement, worth: &Worth) {
        let Some(pattern) = statement.pattern else { return };
        let own = self.patterns.entry(pattern).or_default();
        let right = match worth {
            Worth::Right(_) => 1.0,
            Worth::Other(index) if is_excused(&episodes[*index], pattern) => return,
            Worth::Other(_) | Worth::LookAlike(_) | Worth::Invented => 0.0,
        };
        own.precision.add(world, right, 1.0);
    }

    /// No warning, and nothing claimed for certain.
    fn add_look_alikes(&mut self, played: &Played) {
        for instance in played.instances.iter().filter(|instance| instance.is_benign) {
            self.look_alikes.entry(instance.name).or_default().instances += 1;
        }
        for told in &played.findings {
            let statement = statement(told, played);
            let (_, worths) = judge(&played.episodes, &[statement], &played.instances);
            let [Worth::LookAlike(name)] = worths[..] else { continue };
            let own = self.look_alikes.entry(name).or_default();
            let finding = &told.finding;
            if finding.severity >= Severity::Warning {
                own.warnings.insert(finding.pattern.name());
            }
            let wasted = finding.waste.expected;
            if finding.class == Class::Avoidable && (wasted.calls > 0 || wasted.bytes > 0) {
                own.claims.insert(finding.pattern.name());
            }
        }
    }

    fn add_claims(&mut self, world: usize, played: &Played) {
        let Some(claims) = &played.claims else { return };
        for row in TABLE.iter().filter(|row| row.pattern.pool() == Pool::Calls) {
            self.patterns.entry(row.pattern).or_default().calls.add(world, claims, Some(row.pattern));
        }
        self.all_calls.add(world, claims, None);
    }

    /// What is claimed of each game and pattern, beside what is true.
    fn add_errors(&mut self, world: usize, played: &Played) -> Vec<String> {
        let mut off = Vec::new();
        for ((game, pattern), claim) in waste::claims(played) {
            let own = self.patterns.entry(pattern).or_default();
            let (claimed, truth) = claim.counted;
            own.errors.add(claimed, truth);
            own.server_errors.add(claim.server_s.0, claim.server_s.1);
            own.cost_errors.add(claim.cost.0, claim.cost.1);
            let name = pattern.name();
            if let (Some((low, high)), Some(is_inside)) = (claim.bounds, claim.is_inside()) {
                own.coverage.add(world, f64::from(u8::from(is_inside)), 1.0);
                if !is_inside {
                    off.push(format!("{name} of {game}: {truth:.0} is not between {low} and {high}"));
                }
            }
            if (claimed - truth).abs() > ERROR_LISTED * truth.max(claimed) {
                off.push(format!("{name} of {game} claims {claimed} of {truth:.0}"));
            }
        }
        off
    }
}

/// A warning below the threshold is as good as none; and a response that is given up takes its connection with it.
fn is_excused(episode: &Episode, pattern: Pattern) -> bool {
    let is_below = episode.pattern == pattern && episode.intensity == Intensity::Below;
    is_below || (episode.pattern, pattern) == (Pattern::WastedResponse, Pattern::ConnectionChurn)
}

/// What was told of the process and the operations of an episode, for people.
fn described(episode: &Episode, played: &Played) -> String {
    let pid = played.world.process(episode.process).pid;
    let s = |ns: u64| ns.saturating_sub(EPOCH_NS) / 1_000_000_000;
    let told = played.findings.iter().filter(|told| told.finding.pid == pid).filter(|told| {
        told.finding.pattern == episode.pattern || *told.finding.endpoint == *episode.api.terms().endpoint
    });
    let lines = told.map(|told| {
        let Finding { pattern, kind, severity, calls, waste, started_ns, last_ns, .. } = &told.finding;
        let Amount { calls: wasted, bytes, cost_ucu, .. } = waste.expected;
        format!(
            "\n    {} {kind} {}: {calls} calls from {} s to {} s, wasted {wasted} calls, {bytes} bytes, {} CU",
            pattern.name(),
            severity.name(),
            s(*started_ns),
            s(*last_ns),
            cost_ucu / 1_000_000
        )
    });
    let (start_s, end_s) = (episode.start_ns / 1_000_000_000, episode.end_ns / 1_000_000_000);
    let truth = format!("; {} calls from {start_s} s to {end_s} s", episode.calls);
    std::iter::once(truth).chain(lines).collect()
}

fn statement(told: &Told, played: &Played) -> Statement {
    let Told { finding, warned_ns } = told;
    let process = played.world.processes().iter().position(|process| process.pid == finding.pid);
    Statement {
        pattern: Some(finding.pattern),
        process: process.unwrap_or_default() as u32,
        game: process.map_or(0, |process| played.world.process(process as u32).game),
        endpoint: finding.endpoint.to_string(),
        start_ns: finding.started_ns.saturating_sub(EPOCH_NS),
        end_ns: finding.last_ns.saturating_sub(EPOCH_NS),
        said_ns: warned_ns.unwrap_or(0),
    }
}

/// Every look-alike of the table, in its order.
fn look_alikes() -> impl Iterator<Item = (&'static str, &'static str)> {
    rows().filter(|(_, row)| row.kind == Kind::Benign).map(|(_, row)| (row.name, row.what))
}

/// Operations of the world, for the head of a report.
fn operations() -> usize {
    APIS.len()
}
