//! Given: what comparators say. Gives: how right each of them is, on the patterns that it claims to find. Refuses to know:
//! how they find anything.

use std::collections::BTreeMap;
use std::fmt::Write;

use rotrace::detect::Pattern;

use super::figures::Share;
use super::matching::{Fate, Statement, Worth, judge};
use super::report::{counted, figure};
use crate::lab::plan::Intensity;
use crate::lab::synth::Played;

/// How right comparators are, by name and pattern; `None` is that of one who only points.
#[derive(Debug, Default)]
pub(super) struct Others {
    all: BTreeMap<(&'static str, Option<Pattern>), Other>,
}

#[derive(Debug, Default)]
struct Other {
    precision: Share,
    recall: [Share; 3],
    /// What its statements were about, when they were wrong.
    wrong: BTreeMap<String, u64>,
}

impl Others {
    pub(super) fn add(&mut self, name: &'static str, world: usize, played: &Played, said: &[Statement]) {
        let (fates, worths) = judge(&played.episodes, said, &played.instances);
        for (statement, worth) in said.iter().zip(&worths) {
            let own = self.all.entry((name, statement.pattern)).or_default();
            let is_right = matches!(worth, Worth::Right(_));
            own.precision.add(world, f64::from(u8::from(is_right)), 1.0);
            let about = match worth {
                Worth::Right(_) => continue,
                Worth::Other(index) => played.episodes[*index].pattern.name().to_owned(),
                Worth::LookAlike(name) => (*name).to_owned(),
                Worth::Invented => "background".to_owned(),
            };
            *own.wrong.entry(about).or_default() += 1;
        }
        for ((_, pattern), own) in self.all.iter_mut().filter(|((known, _), _)| *known == name) {
            for (episode, fate) in played.episodes.iter().zip(&fates) {
                let is_its = pattern.is_none_or(|pattern| pattern == episode.pattern);
                if is_its {
                    let is_found = matches!(fate, Fate::Found { .. });
                    let level: Intensity = episode.intensity;
                    own.recall[level as usize].add(world, f64::from(u8::from(is_found)), 1.0);
                }
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "\n| who | pattern | precision (95 %) | recall clear (95 %) | above | below | wrong about |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for ((name, pattern), Other { precision, recall: [clear, above, below], wrong }) in &self.all {
            let mut wrong: Vec<(&String, &u64)> = wrong.iter().collect();
            wrong.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            let wrong: Vec<String> = wrong.iter().map(|(about, count)| format!("{about} {count}")).collect();
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                pattern.map_or("any", Pattern::name),
                figure(precision),
                figure(clear),
                counted(above),
                counted(below),
                wrong.join(", ")
            );
        }
        text
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let other = |((name, pattern), own): (&(&'static str, Option<Pattern>), &Other)| {
            let Other { precision, recall: [clear, above, below], wrong } = own;
            serde_json::json!({
                "name": name, "pattern": pattern.map(Pattern::name), "precision": precision.value(),
                "recall": { "clear": clear.value(), "above": above.value(), "below": below.value() },
                "wrong_about": wrong,
            })
        };
        self.all.iter().map(other).collect()
    }
}
