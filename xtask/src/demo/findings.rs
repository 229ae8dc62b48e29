//! Given: what the daemon says at `/api/v1/findings`. Gives: text that shows it, with what to do. Refuses to know: how
//! findings are found.

use std::fmt::Write;

use anyhow::Context;
use serde_json::Value;

/// Findings that are shown.
const SHOWN: usize = 8;

/// The findings of a page, those that waste the most calls first. A page that is no list of findings is an error.
pub(super) fn report(page: &str) -> anyhow::Result<String> {
    let mut findings: Vec<Value> = serde_json::from_str(page).context("read the findings")?;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding["calls"].as_u64()));
    let mut text =
        format!("{} findings, as they were told last; those with the most calls:\n", findings.len());
    for finding in findings.into_iter().take(SHOWN) {
        let of = |key: &str| finding[key].as_str().unwrap_or_default();
        let kind = if of("kind").is_empty() { String::new() } else { format!(" ({})", of("kind")) };
        let _ = writeln!(
            text,
            "  {:<8} {}{kind}  {}  {} {}  {} calls\n           {}",
            of("severity"),
            of("pattern"),
            of("game"),
            of("method"),
            of("endpoint"),
            finding["calls"].as_u64().unwrap_or_default(),
            of("remedy"),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_what_to_do() {
        let page = r#"[
            {"pattern": "retry_storm", "kind": "", "severity": "info", "game": "a", "method": "POST", "endpoint": "api/v2",
             "calls": 3, "remedy": "Wait longer."},
            {"pattern": "n_plus_one", "kind": "loop", "severity": "warning", "game": "a", "method": "GET",
             "endpoint": "api/v1/{id}", "calls": 50, "remedy": "Ask once."}]"#;
        assert_eq!(
            report(page).expect("findings"),
            "2 findings, as they were told last; those with the most calls:\n  \
             warning  n_plus_one (loop)  a  GET api/v1/{id}  50 calls\n           Ask once.\n  \
             info     retry_storm  a  POST api/v2  3 calls\n           Wait longer.\n"
        );
        assert!(report("{}").is_err() && report("").is_err());
    }
}
