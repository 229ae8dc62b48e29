//! Given: labelled paths, or an OpenAPI document. Gives: how many get exactly the template that they should. Refuses to
//! know: how templates are found. For evaluation with data that this repository does not hold.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use rotrace::endpoint::evaluate::{Figures, Knowledge, cases, document};
use rotrace::endpoint::openapi::Document;

/// Failures that are shown of each evaluation.
const SHOWN: usize = 25;

/// Evaluates what is given: a table of id, host, path, template, kind; and OpenAPI documents.
pub(crate) fn run(table: Option<PathBuf>, documents: &[PathBuf]) -> anyhow::Result<()> {
    if table.is_none() && documents.is_empty() {
        bail!("nothing to evaluate: name --cases FILE or --openapi FILE");
    }
    if let Some(path) = table {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let [by_shape, by_learning] = cases(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
        show("decidable from the shape", &by_shape);
        show("needs a rule, a document or learning", &by_learning);
    }
    for path in documents {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let parsed = Document::parse(&bytes).with_context(|| format!("parse {}", path.display()))?;
        let loaded = document(&parsed, Knowledge::Loaded)?;
        show(&format!("{}, loaded", path.display()), &loaded);
        show(&format!("{}, withheld", path.display()), &document(&parsed, Knowledge::Withheld)?);
        if !loaded.failures.is_empty() {
            bail!("{}: {} paths of a loaded document are not exact", path.display(), loaded.failures.len());
        }
    }
    Ok(())
}

fn show(what: &str, figures: &Figures) {
    println!("{what}: {figures}");
    for failure in figures.failures.iter().take(SHOWN) {
        println!("  {} → {} (expected {})", failure.path, failure.found, failure.expected);
    }
    let more = figures.failures.len().saturating_sub(SHOWN);
    if more > 0 {
        println!("  … and {more} more");
    }
}
