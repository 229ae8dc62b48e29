//! Given: labelled paths, or OpenAPI documents. Gives: how many paths get exactly the template that they should, and of how
//! many operations the documents say more than their path. Of header blocks, see [`hpack`]. Refuses to know: how templates
//! are found. For evaluation with data that this repository does not hold.

mod hpack;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use rotrace::catalogue::{Api, Catalogue};
use rotrace::endpoint::evaluate::{Figures, Grouping, Knowledge, Stability, cases, document, stability};
use rotrace::endpoint::openapi::Document;

/// Failures that are shown of each evaluation.
const SHOWN: usize = 25;

/// Evaluates what is given: a table of id, host, path, template, kind; and OpenAPI documents, for their templates and for
/// what they say of operations.
pub(crate) fn run(
    table: Option<PathBuf>,
    documents: &[PathBuf],
    catalogue: &[PathBuf],
    header_blocks: Option<PathBuf>,
) -> anyhow::Result<()> {
    if table.is_none() && documents.is_empty() && catalogue.is_empty() && header_blocks.is_none() {
        bail!("nothing to evaluate: name --cases FILE, --openapi FILE, --catalogue FILE or --hpack PATH");
    }
    if let Some(path) = header_blocks {
        hpack::run(&path)?;
    }
    if let Some(path) = table {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let [by_shape, by_learning, learned] =
            cases(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
        show("decidable from the shape", &by_shape);
        show("needs a rule, a document or learning", &by_learning);
        show("all, after calls with other values", &learned);
    }
    for path in documents {
        let parsed = read(path)?;
        let loaded = document(&parsed, Knowledge::Loaded)?;
        show(&format!("{}, loaded", path.display()), &loaded);
        show(&format!("{}, withheld", path.display()), &document(&parsed, Knowledge::Withheld)?);
        let started = Instant::now();
        let learned = document(&parsed, Knowledge::Learned)?;
        let ns_per_path = started.elapsed().as_nanos() / 2 / learned.tried.max(1) as u128;
        show(&format!("{}, withheld and learned from the calls", path.display()), &learned);
        let Stability { common, relabelled, doubtful } = stability(&parsed)?;
        println!(
            "  {common:.3} of the labels in every order; {relabelled:.4} of the calls relabelled, {doubtful:.4} held back"
        );
        println!("  {ns_per_path} ns a path, learned and asked once each");
        if !loaded.failures.is_empty() {
            bail!("{}: {} paths of a loaded document are not exact", path.display(), loaded.failures.len());
        }
    }
    for path in catalogue {
        let catalogue = Catalogue::new(&[read(path)?], Vec::new());
        println!("{}: {} operations", path.display(), catalogue.apis().count());
        for (what, says) in SAID {
            println!("  {:>5}  {what}", catalogue.apis().filter(|api| says(api)).count());
        }
    }
    Ok(())
}

/// What a document may say of an operation.
type Said = (&'static str, fn(&Api) -> bool);

const SAID: [Said; 8] = [
    ("with a rate limit in numbers", |api| !api.limits.is_empty()),
    ("deprecated", |api| api.deprecated),
    ("with a recommended alternative", |api| !api.alternatives.is_empty()),
    ("deprecated, without an alternative", |api| api.deprecated && api.alternatives.is_empty()),
    ("with a page size", |api| api.page_size.is_some()),
    ("with pages of 10 by default", |api| pages(api).0 == Some(10)),
    ("with pages of 10 by default and 100 at most", |api| pages(api) == (Some(10), Some(100))),
    ("that cannot be asked conditionally", |api| api.conditional == Some(false)),
];

/// Items of a page by default and at most.
fn pages(api: &Api) -> (Option<u64>, Option<u64>) {
    api.page_size.as_ref().map_or((None, None), |size| (size.default, size.maximum))
}

fn read(path: &Path) -> anyhow::Result<Document> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Document::parse(&bytes).with_context(|| format!("parse {}", path.display()))
}

fn show(what: &str, figures: &Figures) {
    println!("{what}: {figures} ({:.3})", figures.exact() as f64 / figures.tried.max(1) as f64);
    let grouping = figures.grouping();
    let Grouping { found, expected, right: _, right_paths, over_merged, over_split } = grouping;
    let accuracy = right_paths as f64 / figures.tried.max(1) as f64;
    println!(
        "  grouping accuracy {accuracy:.3}, of templates {:.3}; {found} templates of {expected}, \
         {over_merged} over-merged, {over_split} over-split",
        grouping.f1()
    );
    for failure in figures.failures.iter().take(SHOWN) {
        println!("  {} → {} (expected {})", failure.path, failure.found, failure.expected);
    }
    let more = figures.failures.len().saturating_sub(SHOWN);
    if more > 0 {
        println!("  … and {more} more");
    }
}
