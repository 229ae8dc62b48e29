//! Given: the repository. Gives: one hash over everything that the BPF object is made from. Refuses to know: how it is
//! built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// What the object is made from, besides the profile in the workspace's manifest.
const MANIFEST: &str = "rotrace-ebpf/Cargo.toml";
const SOURCES: &str = "rotrace-ebpf/src";

/// SHA-256 over name and content of each source file in the order of their names, and over the build profile.
pub(super) fn hash(root: &Path) -> anyhow::Result<String> {
    let mut files = vec![root.join(MANIFEST)];
    sources_of(&root.join(SOURCES), &mut files)?;
    let mut named = Vec::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        named.push((name, content));
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("read Cargo.toml")?;
    named.push(("[profile.bpf]".to_owned(), section(&manifest, "[profile.bpf]").into_bytes()));
    named.sort();
    let mut hash = Sha256::new();
    for (name, content) in &named {
        // Lengths keep the border between name and content.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// SHA-256 of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sources_of(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let listing = || format!("list {}", directory.display());
    for entry in fs::read_dir(directory).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        if path.is_dir() {
            sources_of(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The settings of a section of a manifest, without comments and empty lines.
fn section(manifest: &str, header: &str) -> String {
    let lines = manifest.lines().skip_while(|line| line.trim() != header).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: &str =
        "[profile.release]\nlto = \"thin\"\n\n# Why.\n[profile.bpf]\nlto = \"fat\"\n\n# Why.\n[lints]\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a directory can be made");
        let profiles = [("Cargo.toml", PROFILES), (MANIFEST, "[package]")];
        for (name, content) in profiles.iter().chain(files) {
            let file = tree.path().join(name);
            fs::create_dir_all(file.parent().expect("it is in the tree")).expect("a directory can be made");
            fs::write(file, content).expect("a file can be written");
        }
        tree
    }

    fn check(one: &[(&str, &str)], other: &[(&str, &str)], same: bool) {
        let [one, other] = [one, other].map(|files| hash(tree(files).path()).expect("it can be read"));
        assert_eq!(one == other, same);
    }

    #[test]
    fn names_contents_and_the_profile_count() {
        let lib = ("rotrace-ebpf/src/lib.rs", "mod a;");
        check(&[lib, ("rotrace-ebpf/src/a.rs", "")], &[("rotrace-ebpf/src/a.rs", ""), lib], true);
        check(&[lib], &[("rotrace-ebpf/src/lib.rs", "mod b;")], false);
        check(&[lib, ("rotrace-ebpf/src/a.rs", "x")], &[lib, ("rotrace-ebpf/src/b.rs", "x")], false);
        check(&[lib, ("rotrace-ebpf/src/a/b.rs", "x")], &[lib, ("rotrace-ebpf/src/a/b.rs", "y")], false);
        check(&[lib, ("rotrace-ebpf/src/notes.txt", "x")], &[lib], true);
        check(&[lib, ("Cargo.toml", "[profile.bpf]\nlto = false\n")], &[lib], false);
    }

    #[test]
    fn a_section_ends_at_the_next() {
        assert_eq!(section(PROFILES, "[profile.bpf]"), "lto = \"fat\"\n");
        assert_eq!(section(PROFILES, "[profile.none]"), "");
    }
}
