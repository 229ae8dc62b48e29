//! Given: the public corpus of header blocks, hpack-test-case: for each encoder stories, each the blocks of one direction of
//! a connection with the fields they stand for. Gives: how many stories are decoded exactly; and for a decoder that joins
//! each story at each of its blocks, how many fields it cannot know. What it says wrongly is a failure. Refuses to know:
//! how blocks are decoded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rotrace::http::hpack::{Decoder, Field};
use serde_json::Value;

use crate::repository::{command, output};

/// A block, and the names and values in it.
struct Block {
    wire: Vec<u8>,
    fields: Vec<(String, String)>,
}

/// What was decoded of an encoder's stories.
#[derive(Default)]
struct Figures {
    stories: usize,
    passed: usize,
    /// Fields behind all the late joins, and those of them with a name or a value that is not known.
    late_fields: usize,
    late_unknown: usize,
    wrong: usize,
}

/// Evaluates all encoders under `path`, a directory or a compressed archive.
pub(super) fn run(path: &Path) -> anyhow::Result<()> {
    let unpacked = tempfile::tempdir().context("make a directory for the corpus")?;
    let root = if path.is_dir() {
        path.to_owned()
    } else {
        output(command("tar").arg("-xzf").arg(path).arg("-C").arg(unpacked.path()))
            .with_context(|| format!("unpack {}", path.display()))?;
        unpacked.path().to_owned()
    };
    let encoders = encoders(&root)?;
    ensure!(!encoders.is_empty(), "{}: no stories are there", path.display());
    let mut wrong = 0;
    for encoder in &encoders {
        let mut figures = Figures::default();
        for story in files(encoder)?.iter().filter(|file| is_story(file)) {
            evaluate(&blocks(story)?, &mut figures);
        }
        let Figures { stories, passed, late_fields, late_unknown, .. } = figures;
        let name = encoder.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name}: {passed} of {stories} stories exact; joined at each block: {late_unknown} of {late_fields} fields \
             not known ({:.4}), {} wrong",
            late_unknown as f64 / late_fields.max(1) as f64,
            figures.wrong,
        );
        wrong += stories - passed + figures.wrong;
    }
    ensure!(wrong == 0, "not all of it was decoded rightly");
    Ok(())
}

fn evaluate(story: &[Block], figures: &mut Figures) {
    figures.stories += 1;
    let mut whole = Figures::default();
    follow(story, &mut whole);
    figures.passed += usize::from(whole.wrong == 0 && whole.late_unknown == 0);
    (1..story.len()).for_each(|join| follow(&story[join..], figures));
}

/// Decodes the blocks from here on with a decoder that has seen nothing before.
fn follow(blocks: &[Block], figures: &mut Figures) {
    let mut decoder = Decoder::default();
    for Block { wire, fields } in blocks {
        let mut expected = fields.iter();
        let (mut unknown, mut wrong) = (0, 0);
        let result = decoder.decode(wire, &mut |Field { name, value }| {
            let Some((expected_name, expected_value)) = expected.next() else {
                wrong += 1;
                return;
            };
            let is_so = |said: Option<&[u8]>, text: &str| said.is_none_or(|said| said == text.as_bytes());
            unknown += usize::from(name.is_none() || value.is_none());
            wrong += usize::from(!is_so(name, expected_name) || !is_so(value, expected_value));
        });
        figures.late_fields += fields.len();
        figures.late_unknown += unknown;
        figures.wrong += wrong + expected.count() + usize::from(result.is_err());
    }
}

/// Directories that hold stories, in the order of their names.
fn encoders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let files = files(&directory)?;
        if files.iter().any(|file| is_story(file)) {
            found.push(directory);
        }
        open.extend(files.into_iter().filter(|file| file.is_dir()));
    }
    found.sort();
    Ok(found)
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn is_story(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("story_") && name.ends_with(".json")
}

fn blocks(file: &Path) -> anyhow::Result<Vec<Block>> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let story: Value = serde_json::from_slice(&text).with_context(|| format!("parse {}", file.display()))?;
    let cases = story["cases"].as_array().context("a story without cases")?;
    cases.iter().map(block).collect::<anyhow::Result<_>>().with_context(|| file.display().to_string())
}

fn block(case: &Value) -> anyhow::Result<Block> {
    let headers = case["headers"].as_array().context("a case without headers")?;
    let pairs = headers.iter().flat_map(|header| header.as_object().into_iter().flatten());
    let fields = pairs.map(|(name, value)| {
        let value = value.as_str().context("a value that is no text")?;
        Ok((name.clone(), value.to_owned()))
    });
    Ok(Block {
        wire: bytes(case["wire"].as_str().context("a case without wire")?)?,
        fields: fields.collect::<anyhow::Result<_>>()?,
    })
}

fn bytes(hexadecimal: &str) -> anyhow::Result<Vec<u8>> {
    if !hexadecimal.is_ascii() || !hexadecimal.len().is_multiple_of(2) {
        bail!("wire that is no hexadecimal number");
    }
    let byte =
        |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).context("wire that is no hexadecimal number");
    (0..hexadecimal.len()).step_by(2).map(byte).collect()
}
