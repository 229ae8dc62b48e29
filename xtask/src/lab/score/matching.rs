//! Given: what is true of a world, and what somebody says of it. Gives: which belongs to which: what was found, missed,
//! taken for something else, or invented. Refuses to know: who says it.
//!
//! A statement belongs to a truth of the same pattern, process and endpoint when what both cover is at least half of what
//! either covers. An operation has one injected instance in a game, so there is nothing to assign: several statements of
//! one truth are its fragments, judged by all that they cover together.

use std::collections::{BTreeMap, BTreeSet};

use rotrace::detect::Pattern;

use crate::lab::plan::{Episode, SECOND};
use crate::lab::scenarios::row;
use crate::lab::schedule::Instance;

/// Common time over all time from which two intervals are the same episode.
const OVERLAP_MIN: f64 = 0.5;

/// How long a look-alike may go on.
const LOOK_ALIKE_NS: u64 = 700 * SECOND;

/// What somebody says of a process and an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// `None` when somebody only points at an endpoint.
    pub(crate) pattern: Option<Pattern>,
    pub(crate) process: u32,
    /// Index of the game; it matters of patterns alone that are judged of a game as a whole.
    pub(crate) game: usize,
    /// Authority and template, or the authority alone.
    pub(crate) endpoint: String,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// When it was said.
    pub(crate) said_ns: u64,
}

/// What became of a truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// With the time from its begin until it was said.
    Found {
        latency_ns: u64,
    },
    /// It was said to be something else.
    Confused(BTreeSet<Option<Pattern>>),
    Missed,
}

/// What a statement is worth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Worth {
    /// It belongs to the truth of this index.
    Right(usize),
    /// It is about this truth, and says that it is something else, or has taken place at another time.
    Other(usize),
    /// It is about a look-alike.
    LookAlike(&'static str),
    /// There is nothing where it points.
    Invented,
}

/// Which belongs to which.
pub(crate) fn judge(
    episodes: &[Episode],
    statements: &[Statement],
    instances: &[Instance],
) -> (Vec<Fate>, Vec<Worth>) {
    let mut fragments: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, statement) in statements.iter().enumerate() {
        let own = episodes.iter().position(|episode| {
            concerns(statement, episode) && statement.pattern.is_none_or(|pattern| pattern == episode.pattern)
        });
        if let Some(own) = own {
            fragments.entry(own).or_default().push(index);
        }
    }
    fragments.retain(|&episode, own| {
        let start_ns = own.iter().map(|&index| statements[index].start_ns).min();
        let end_ns = own.iter().map(|&index| statements[index].end_ns).max();
        let Episode { start_ns: truth_ns, end_ns: truth_end_ns, .. } = episodes[episode];
        let of_both = overlap((start_ns.unwrap_or(0), end_ns.unwrap_or(0)), (truth_ns, truth_end_ns));
        of_both >= OVERLAP_MIN
    });
    let right: BTreeMap<usize, usize> =
        fragments.iter().flat_map(|(&episode, own)| own.iter().map(move |&index| (index, episode))).collect();
    let worths = statements.iter().enumerate().map(|(index, statement)| {
        if let Some(&episode) = right.get(&index) {
            return Worth::Right(episode);
        }
        if let Some(other) = episodes.iter().position(|episode| concerns(statement, episode)) {
            return Worth::Other(other);
        }
        let look_alike = instances.iter().find(|instance| {
            let until_ns = instance.begin_ns + LOOK_ALIKE_NS;
            let is_then = statement.start_ns < until_ns && statement.end_ns >= instance.begin_ns;
            instance.is_benign
                && instance.process == statement.process
                && is_then
                && calls(instance.name, statement)
        });
        look_alike.map_or(Worth::Invented, |instance| Worth::LookAlike(instance.name))
    });
    let worths: Vec<Worth> = worths.collect();
    let fates = episodes.iter().enumerate().map(|(index, episode)| {
        if let Some(own) = fragments.get(&index) {
            let said_ns = own.iter().map(|&index| statements[index].said_ns).min().unwrap_or(0);
            return Fate::Found { latency_ns: said_ns.saturating_sub(episode.start_ns) };
        }
        let others = statements.iter().zip(&worths).filter(|(_, worth)| **worth == Worth::Other(index));
        let patterns: BTreeSet<Option<Pattern>> = others.map(|(statement, _)| statement.pattern).collect();
        if patterns.is_empty() { Fate::Missed } else { Fate::Confused(patterns) }
    });
    (fates.collect(), worths)
}

/// Whether a statement points at the process, the endpoint and the time of an episode.
fn concerns(statement: &Statement, episode: &Episode) -> bool {
    let Statement { process, game, endpoint, start_ns, end_ns, .. } = statement;
    let is_there = *endpoint == episode.api.terms().endpoint || *endpoint == episode.api.authority();
    // What is serial concerns all of its calls, and so does a chain of redirects.
    let is_chain = matches!(episode.pattern, Pattern::SerialWaterfall | Pattern::RedirectChain);
    let is_part = is_chain && calls(episode.scenario, statement);
    // How large bodies are is judged of a game as a whole.
    let is_whose = match statement.pattern {
        Some(Pattern::OversizedPayload | Pattern::UncompressedPayload) => *game == episode.game,
        _ => *process == episode.process,
    };
    is_whose && (is_there || is_part) && *start_ns <= episode.end_ns && *end_ns >= episode.start_ns
}

/// Whether a row of the table calls what a statement is about.
fn calls(name: &str, statement: &Statement) -> bool {
    let apis = row(name).map_or(&[][..], |row| row.apis);
    apis.iter().any(|api| statement.endpoint == api.terms().endpoint || statement.endpoint == api.authority())
}

/// Common time over all time.
fn overlap(one: (u64, u64), other: (u64, u64)) -> f64 {
    let common = one.1.min(other.1).saturating_sub(one.0.max(other.0));
    let all = one.1.max(other.1).saturating_sub(one.0.min(other.0));
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use rotrace::detect::finding::Class;

    use super::*;
    use crate::lab::api::Api;
    use crate::lab::plan::Intensity;

    fn episode(pattern: Pattern, api: Api, start_s: u64, end_s: u64) -> Episode {
        Episode {
            scenario: "S1",
            cause: 1,
            pattern,
            process: 3,
            game: 1,
            api,
            start_ns: start_s * SECOND,
            end_ns: end_s * SECOND,
            calls: 10,
            wasted_calls: 9.0,
            wasted_bytes: 0.0,
            class: Class::Avoidable,
            is_told_only: false,
            intensity: Intensity::Clear,
        }
    }

    fn statement(pattern: Pattern, api: Api, start_s: u64, end_s: u64) -> Statement {
        Statement {
            pattern: Some(pattern),
            process: 3,
            game: 1,
            endpoint: api.terms().endpoint.to_owned(),
            start_ns: start_s * SECOND,
            end_ns: end_s * SECOND,
            said_ns: (start_s + 7) * SECOND,
        }
    }

    /// One truth, from 100 s to 200 s, and what is said.
    fn check(statements: &[Statement], fate: &Fate, worths: &[Worth]) {
        let truth = [episode(Pattern::NPlusOne, Api::USER, 100, 200)];
        let mut instance = Instance::default();
        (instance.name, instance.process, instance.is_benign) = ("B24", 3, true);
        let (fates, judged) = judge(&truth, statements, &[instance]);
        assert_eq!((&fates[0], judged.as_slice()), (fate, worths));
    }

    #[test]
    fn what_is_said_of_the_same_belongs_together() {
        let found = Fate::Found { latency_ns: 17 * SECOND };
        check(&[statement(Pattern::NPlusOne, Api::USER, 110, 210)], &found, &[Worth::Right(0)]);
        // Fragments count as one.
        let fragments =
            [(110, 130), (150, 200)].map(|(start, end)| statement(Pattern::NPlusOne, Api::USER, start, end));
        check(&fragments, &found, &[Worth::Right(0), Worth::Right(0)]);
    }

    #[test]
    fn what_takes_place_at_another_time_does_not() {
        let said = [statement(Pattern::NPlusOne, Api::USER, 190, 400)];
        check(&said, &Fate::Confused([Some(Pattern::NPlusOne)].into()), &[Worth::Other(0)]);
    }

    #[test]
    fn another_pattern_is_a_confusion_and_another_endpoint_an_invention() {
        let poll = statement(Pattern::PollUnchanged, Api::USER, 100, 200);
        let confused = Fate::Confused([Some(Pattern::PollUnchanged)].into());
        check(&[poll], &confused, &[Worth::Other(0)]);
        let elsewhere = statement(Pattern::NPlusOne, Api::GROUP, 100, 200);
        check(&[elsewhere], &Fate::Missed, &[Worth::Invented]);
        let health = statement(Pattern::PollUnchanged, Api::HEALTH, 100, 200);
        check(&[health], &Fate::Missed, &[Worth::LookAlike("B24")]);
    }
}
