//! Given: the sources of `rotrace-ebpf`. Gives: the BPF object that the daemon embeds, and beside it the hashes of the
//! sources and of the object; and from `xtask/floor` the object that benchmarks load. Refuses to know: what the probes do.
//!
//! The object is in the repository, so that building the daemon needs nothing but stable cargo.

mod object;
mod source;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::repository::{cargo, command, root, run, words};
use crate::setup::{RUSTC, llvm_directory, llvm_major};

/// The target: little-endian, as all hosts that rotrace runs on.
const TARGET: &str = "bpfel-unknown-none";

/// A program of the workspace that runs in the kernel.
struct Program {
    package: &'static str,
    binary: &'static str,
}

/// What the daemon embeds.
const PROBES: Program = Program { package: "rotrace-ebpf", binary: "rotrace-bpf" };

/// What it is measured against.
const FLOOR: Program = Program { package: "rotrace-floor", binary: "rotrace-floor" };

/// The object, and the hashes beside it, in `rotrace/bpf`.
const OBJECT: &str = "rotrace.bpf.o";
const HASHES: &str = "rotrace.bpf.sha256";

/// Builds the object, checks it and writes it.
pub(crate) fn build() -> anyhow::Result<()> {
    let object = compile(&PROBES)?;
    let kept = kept();
    let same = fs::read(kept.join(OBJECT)).is_ok_and(|kept| kept == object);
    fs::write(kept.join(OBJECT), &object).with_context(|| format!("write {OBJECT}"))?;
    fs::write(kept.join(HASHES), hashes(&object)?).with_context(|| format!("write {HASHES}"))?;
    let verdict = if same { "as before" } else { "changed: commit it with its sources" };
    println!("build-ebpf: rotrace/bpf/{OBJECT}, {} bytes, {verdict}", object.len());
    Ok(())
}

/// Builds the object, checks it and compares it with the one in the repository.
pub(crate) fn compare() -> anyhow::Result<()> {
    let object = compile(&PROBES)?;
    let kept = fs::read(kept().join(OBJECT)).with_context(|| format!("read rotrace/bpf/{OBJECT}"))?;
    if kept != object {
        bail!(
            "rotrace/bpf/{OBJECT} has {} bytes and is not what its sources give ({} bytes): run `cargo xtask \
             build-ebpf`; where the sources are the same, the compiler is not",
            kept.len(),
            object.len()
        );
    }
    println!("build-ebpf: rotrace/bpf/{OBJECT} is what its sources give");
    Ok(())
}

/// The bytes of the object with the probe that tracing is measured against; no file of the repository.
pub(crate) fn floor() -> anyhow::Result<Vec<u8>> {
    compile(&FLOOR)
}

/// The bytes of an object, made from its sources and checked.
fn compile(program: &Program) -> anyhow::Result<Vec<u8>> {
    let Program { package, binary } = program;
    let llvm = llvm_directory(llvm_major()?);
    let directory = root().join("target/bpf");
    let mut build = cargo();
    build
        .args(["build", "--quiet", "--package", package, "--bin", binary])
        .args(["--profile", "bpf", "--target", TARGET, "--target-dir"])
        .arg(&directory)
        .env("RUSTC", RUSTC)
        // BPF programs use features of the compiler that are not stable, and the compiler is pinned by its package.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker")
        .env("CARGO_ENCODED_RUSTFLAGS", flags());
    println!("build-ebpf: {}", words(&build));
    run(&mut build)
        .context("build the BPF object; `cargo xtask setup --for build` installs what it needs")?;
    let built = directory.join(TARGET).join("bpf").join(binary);
    // DWARF is five sixths of the file, and the kernel reads BTF alone.
    let stripped = directory.join(format!("{binary}.o"));
    run(command(llvm.join("bin/llvm-objcopy")).arg("--strip-debug").arg(&built).arg(&stripped))
        .context("strip the BPF object")?;
    let object = fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))?;
    object::check(&object).with_context(|| format!("check {}", stripped.display()))?;
    Ok(object)
}

/// Flags of the compiler, separated as cargo wants them where a flag may have spaces.
fn flags() -> OsString {
    let mut flags: Vec<OsString> = [
        // BTF is made from debug information.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Without this, bpf-linker has LLVM turn every small zeroing into a loop over bytes, and the verifier walks each
        // of its rounds: programs get too complex to load.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .map(OsString::from)
    .into();
    // The object holds names of source files. They are those of the repository, not of the machine that built it.
    let remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    };
    flags.push(remap(root(), "."));
    // One directory a registry, named after its address, which mirrors change.
    let registries = cargo_home().and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let mut registries: Vec<_> =
        registries.into_iter().flatten().flatten().map(|registry| registry.path()).collect();
    registries.sort();
    flags.extend(registries.iter().map(|registry| remap(registry, "registry")));
    flags.join("\u{1f}".as_ref())
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

fn hashes(object: &[u8]) -> anyhow::Result<String> {
    Ok(format!("{}  sources\n{}  {OBJECT}\n", source::hash(root())?, source::hex(object)))
}

fn kept() -> PathBuf {
    root().join("rotrace/bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_in_the_repository_is_of_these_sources() {
        let object = fs::read(kept().join(OBJECT)).expect("the object is in the repository");
        let kept = fs::read_to_string(kept().join(HASHES)).expect("the hashes are beside it");
        assert_eq!(
            kept,
            hashes(&object).expect("the sources can be read"),
            "rotrace-ebpf has changed since rotrace/bpf/{OBJECT} was built: run `cargo xtask build-ebpf`"
        );
    }

    #[test]
    fn the_object_in_the_repository_holds_no_path_of_a_machine() {
        let object = fs::read(kept().join(OBJECT)).expect("the object is in the repository");
        let text = String::from_utf8_lossy(&object);
        for part in text.split('\0').filter(|part| part.ends_with(".rs")) {
            let known = ["./", "rotrace-ebpf/", "registry/", "/usr/src/rustc-"];
            assert!(known.iter().any(|prefix| part.starts_with(prefix)), "{part}");
        }
    }
}
