//! Given: a score. Gives: tables in Markdown, or JSON. Refuses to know: how anything was counted.

use std::fmt::Write;
use std::ops::RangeInclusive;

use rotrace::detect::{Pattern, TABLE};
use serde_json::json;

use super::claims::ClaimedCalls;
use super::figures::{Errors, Share, quantile};
use super::{OfPattern, Score, View, look_alikes, operations};
use crate::lab::comparators;
use crate::lab::schedule::Settings;
use crate::lab::synth::Conditions;

/// Of all worlds of the seeds.
pub(super) fn text(
    score: &Score,
    seeds: &RangeInclusive<u64>,
    settings: &Settings,
    conditions: &Conditions,
    view: View,
) -> String {
    let (first, last) = (seeds.start(), seeds.end());
    let Settings { length_s, profile, .. } = settings;
    let title = format!(
        "Seeds {first} to {last}, each clear, above and below: {} calls of {} operations in {} minutes ({profile:?}, \
         {conditions:?}).",
        score.calls,
        operations(),
        length_s / 60,
    );
    titled(&title, score, seeds, settings, view)
}

/// Of one world that was played.
pub(super) fn text_of_play(score: &Score, settings: &Settings, view: View) -> String {
    let Settings { seed, length_s, intensity, .. } = *settings;
    let title = format!("Seed {seed}, {}, played for {length_s} s: {} calls.", intensity.name(), score.calls);
    titled(&title, score, &(seed..=seed), settings, view)
}

fn titled(
    title: &str,
    score: &Score,
    seeds: &RangeInclusive<u64>,
    settings: &Settings,
    view: View,
) -> String {
    if view.is_json {
        let is_missing = view.has_comparators && !comparators::is_installed();
        return format!("{}\n", json(score, seeds, settings, is_missing.then_some(comparators::MISSING)));
    }
    let mut text = format!("{title}\n\n");
    text += &detectors(score);
    text += &amounts(score);
    text += &claimed_calls(score);
    text += &confusion(score);
    text += &look_alike_table(score);
    let _ = writeln!(
        text,
        "\nFalse warnings of a million benign calls: {}. Calls claimed in all: {} of {}.",
        figure(&score.false_warnings),
        score.claimed_calls,
        score.calls
    );
    if view.has_comparators {
        if !comparators::is_installed() {
            let _ = writeln!(text, "\n**{}**", comparators::MISSING);
        }
        text += &score.others.text();
    }
    if view.is_list {
        text += "\n";
        score.faults.iter().for_each(|fault| {
            let _ = writeln!(text, "- {fault}");
        });
    }
    text
}

fn detectors(score: &Score) -> String {
    let mut text = String::from(
        "| pattern | precision (95 %) | recall clear (95 %) | above | below | info only | |error| median | p90 | bias | \
         latency s |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (pattern, own) in &score.patterns {
        let OfPattern { precision, recall: [clear, above, below], infos, errors, latencies_s, .. } = own;
        let has_row = TABLE.iter().any(|row| row.pattern == *pattern);
        let _ = writeln!(
            text,
            "| {}{} | {} | {} | {} | {} | {}/{}/{} | {} | {} | {} | {} |",
            pattern.name(),
            if has_row { "" } else { " (no detector)" },
            figure(precision),
            figure(clear),
            counted(above),
            counted(below),
            infos[0],
            infos[1],
            infos[2],
            percent(errors.relative(0.5)),
            percent(errors.relative(0.9)),
            number(errors.bias()),
            number(quantile(latencies_s, 0.5)),
        );
    }
    text
}

/// How right claims are beyond the number of calls.
fn amounts(score: &Score) -> String {
    let mut text = String::from(
        "\n| pattern | server seconds: |error| median | p90 | bias | cost units: |error| median | p90 | bias | truth between \
         low and high (95 %) |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (pattern, own) in &score.patterns {
        let OfPattern { server_errors, cost_errors, coverage, .. } = own;
        if server_errors.bias().is_none() && coverage.value().is_none() {
            continue;
        }
        let of = |errors: &Errors| {
            let (median, p90) = (percent(errors.relative(0.5)), percent(errors.relative(0.9)));
            format!("{median} | {p90} | {}", number(errors.bias()))
        };
        let (server, cost, covered) = (of(server_errors), of(cost_errors), figure(coverage));
        let _ = writeln!(text, "| {} | {server} | {cost} | {covered} |", pattern.name());
    }
    text
}

/// How right claims are call by call; nothing where nobody could tell which calls were claimed.
fn claimed_calls(score: &Score) -> String {
    let mut text = String::from(
        "\n| pattern | claimed calls | that were wasted: call by call (95 %) | by instance | wasted calls that were claimed: call \
         by call (95 %) | by instance |\n|---|---|---|---|---|---|\n",
    );
    let mut rows = 0;
    let own = score.patterns.iter().map(|(pattern, own)| (pattern.name(), &own.calls));
    for (name, calls) in own.chain([("all, as any pattern", &score.all_calls)]) {
        let ClaimedCalls { precision, recall, precision_of_instances, recall_of_instances } = calls;
        if precision.whole() + recall.whole() == 0.0 {
            continue;
        }
        rows += 1;
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            precision.whole(),
            figure(precision),
            number(precision_of_instances.value()),
            figure(recall),
            number(recall_of_instances.value()),
        );
    }
    if rows > 0 { text } else { String::new() }
}

fn confusion(score: &Score) -> String {
    let mut text = String::from(
        "\nWhat is (clear and above), and what was said of it:\n\n| truth | said |\n|---|---|\n",
    );
    for &pattern in score.patterns.keys() {
        let said = score.confusion.iter().filter(|((truth, _), _)| *truth == pattern);
        let said: Vec<String> = said
            .map(|((_, said), count)| format!("{} {count}", said.map_or("nothing", Pattern::name)))
            .collect();
        if !said.is_empty() {
            let _ = writeln!(text, "| {} | {} |", pattern.name(), said.join(", "));
        }
    }
    text
}

fn look_alike_table(score: &Score) -> String {
    let mut text = String::from(
        "\n| look-alike | instances | warned | claimed for certain | |\n|---|---|---|---|---|\n",
    );
    for (name, what) in look_alikes() {
        let Some(own) = score.look_alikes.get(name) else { continue };
        let list = |names: &std::collections::BTreeSet<&'static str>| {
            if names.is_empty() {
                "-".to_owned()
            } else {
                names.iter().copied().collect::<Vec<_>>().join(", ")
            }
        };
        let verdict = if own.warnings.is_empty() && own.claims.is_empty() { "pass" } else { "FAIL" };
        let (warnings, claims) = (list(&own.warnings), list(&own.claims));
        let _ = writeln!(text, "| {name} {what} | {} | {warnings} | {claims} | {verdict} |", own.instances);
    }
    text
}

fn json(
    score: &Score,
    seeds: &RangeInclusive<u64>,
    settings: &Settings,
    missing: Option<&str>,
) -> serde_json::Value {
    let share =
        |share: &Share| json!({ "value": share.value(), "of": share.whole(), "interval": share.interval() });
    let claimed = |calls: &ClaimedCalls| {
        json!({
            "precision": share(&calls.precision), "recall": share(&calls.recall),
            "precision_of_instances": share(&calls.precision_of_instances),
            "recall_of_instances": share(&calls.recall_of_instances),
        })
    };
    let pattern = |(pattern, own): (&Pattern, &OfPattern)| {
        let OfPattern { precision, recall: [clear, above, below], infos, errors, latencies_s, .. } = own;
        let amount = |errors: &Errors| json!({ "median_error": errors.relative(0.5), "p90_error": errors.relative(0.9), "bias": errors.bias() });
        json!({
            "pattern": pattern.name(), "precision": share(precision),
            "recall": { "clear": share(clear), "above": share(above), "below": share(below) },
            "info_only": infos,
            "waste": amount(errors), "server_seconds": amount(&own.server_errors),
            "cost_units": amount(&own.cost_errors), "claimed_calls": claimed(&own.calls), "coverage": share(&own.coverage),
            "latency_s": quantile(latencies_s, 0.5),
        })
    };
    let confusion = |((truth, said), count): (&(Pattern, Option<Pattern>), &u64)| json!({ "truth": truth.name(), "said": said.map(Pattern::name), "count": count });
    let look_alike = |(name, own): (&&'static str, &super::LookAlike)| json!({ "name": name, "instances": own.instances, "warnings": own.warnings, "claims": own.claims });
    json!({
        "seeds": [seeds.start(), seeds.end()], "seconds": settings.length_s, "calls": score.calls,
        "claimed_calls": score.claimed_calls, "claims": claimed(&score.all_calls),
        "patterns": score.patterns.iter().map(pattern).collect::<Vec<_>>(),
        "confusion": score.confusion.iter().map(confusion).collect::<Vec<_>>(),
        "look_alikes": score.look_alikes.iter().map(look_alike).collect::<Vec<_>>(),
        "false_warnings_per_million": share(&score.false_warnings),
        "comparators": score.others.json(), "not_compared": missing, "faults": score.faults,
    })
}

/// A share with its interval, and how many there are.
pub(super) fn figure(share: &Share) -> String {
    match (share.value(), share.interval()) {
        (Some(value), Some((low, high))) => format!("{value:.2} ({low:.2} to {high:.2})"),
        _ => "-".to_owned(),
    }
}

pub(super) fn counted(share: &Share) -> String {
    if share.whole() > 0.0 { format!("{}/{}", share.part(), share.whole()) } else { "-".to_owned() }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}
