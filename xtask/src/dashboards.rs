//! Given: the table of metrics. Gives: the Grafana dashboards and the Prometheus rules under `dashboards/`. Refuses to know:
//! where the metrics come from, and which Prometheus has them.
//!
//! Names, units and help texts come from [`rotrace::metrics::families::all`], so a metric that is renamed there is
//! renamed here, and one that is gone does not compile into a panel without data: the tests say so.

mod grafana;
mod panels;
mod query;
mod rules;
mod waste;
mod websocket;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::repository::root;

/// Writes the files of `dashboards/`.
pub(crate) fn run() -> anyhow::Result<()> {
    for (name, text) in generate() {
        let path = directory().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Names of files, and their texts.
fn generate() -> Vec<(String, String)> {
    let dashboards = [panels::overview(), waste::dashboard()];
    let mut files: Vec<_> = dashboards
        .iter()
        .map(|dashboard| (format!("{}.json", dashboard.uid), grafana::text(dashboard)))
        .collect();
    files.push((RULES.to_owned(), rules::generate()));
    files
}

const RULES: &str = "rotrace-rules.yml";

fn directory() -> PathBuf {
    root().join("dashboards")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotrace::metrics::families;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_committed_files_are_the_generated_ones() {
        for (name, text) in generate() {
            let committed = fs::read_to_string(directory().join(&name)).expect("a file under dashboards/");
            assert!(
                committed == text,
                "{name} is not what the metric table says: run `cargo xtask dashboards`"
            );
        }
    }

    #[test]
    fn dashboards_and_rules_use_each_metric_and_no_other() {
        let table: BTreeSet<_> = families::all().map(|family| family.name()).collect();
        let shown = dashboards().into_iter().flat_map(|dashboard| metrics(&expressions(&panels(&dashboard))));
        let used: BTreeSet<_> = shown.chain(metrics(&rules::generate())).collect();
        assert_eq!(used, table);
    }

    #[test]
    fn recordings_that_panels_show_are_in_the_rules() {
        let rules = rules::generate();
        for dashboard in dashboards() {
            let shown = expressions(&panels(&dashboard));
            let names = shown.split(|char: char| !char.is_ascii_alphanumeric() && !"_:".contains(char));
            for name in names.filter(|name| name.contains(":rotrace_")) {
                assert!(rules.contains(&format!("record: {name}\n")), "{name}");
            }
        }
    }

    /// Names of metrics, those of histograms without what stands behind them.
    fn metrics(text: &str) -> BTreeSet<String> {
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && !"_:".contains(char));
        // Names with a colon are those of recording rules.
        let names = words.filter(|word| word.starts_with("rotrace_") && !word.contains(':'));
        names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
    }

    fn expressions(panels: &[Value]) -> String {
        let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
        targets.map(|target| target["expr"].as_str().expect("a query")).collect::<Vec<_>>().join("\n")
    }

    fn dashboards() -> Vec<Value> {
        let files = generate();
        let dashboards = files.iter().filter(|(name, _)| name.ends_with(".json"));
        dashboards.map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect()
    }

    /// All panels, those of folded rows too.
    fn panels(dashboard: &Value) -> Vec<Value> {
        let top = dashboard["panels"].as_array().expect("panels").clone();
        let folded: Vec<_> =
            top.iter().filter_map(|panel| panel["panels"].as_array()).flatten().cloned().collect();
        [top, folded].concat()
    }

    #[test]
    fn panels_have_their_own_number_and_place() {
        for dashboard in dashboards() {
            let mut cells = BTreeSet::new();
            let mut numbers = BTreeSet::new();
            for panel in panels(&dashboard) {
                let title = panel["title"].as_str().expect("a title");
                assert!(numbers.insert(panel["id"].as_u64()), "{title}");
                let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
                assert!(at("x") + at("w") <= 24, "{title}");
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(cells.insert((x, y)), "{title} lies on another panel");
                    }
                }
            }
        }
    }

    #[test]
    fn panels_say_what_they_show() {
        let panels: Vec<_> = dashboards().iter().flat_map(panels).collect();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        }
    }

    #[test]
    fn variables_of_queries_exist() {
        for dashboard in dashboards() {
            let variables = dashboard["templating"]["list"].as_array().expect("variables");
            let names: BTreeSet<_> =
                variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
            for word in expressions(&panels(&dashboard)).split('$').skip(1) {
                let end = word
                    .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
                    .unwrap_or(word.len());
                let name = &word[..end];
                assert!(name.starts_with("__") || names.contains(name), "{name}");
            }
        }
    }
}
