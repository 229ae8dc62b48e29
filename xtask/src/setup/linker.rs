//! Given: the compiler for BPF. Gives: the LLVM of its version, and a bpf-linker that is linked with it. Refuses to know:
//! what is built with them.

use std::path::PathBuf;

use anyhow::Context;

use super::debian::Apt;
use super::{Found, Need};
use crate::repository::{cargo, command, output, program, run};

/// The compiler for BPF: Debian's, whose `core` for BPF is a package.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// The linker reads the bitcode of the compiler, and its options differ between versions.
pub(super) const VERSION: &str = "0.13.0";

/// LLVM of the compiler's version, and bpf-linker.
pub(super) fn set_up(apt: &mut Apt) -> anyhow::Result<()> {
    let major = llvm_major()?;
    let packages = [
        (format!("llvm-{major}-dev"), "bpf-linker is linked with the LLVM of the compiler"),
        (format!("libpolly-{major}-dev"), "LLVM is linked with it"),
        (format!("llvm-{major}"), "llvm-objcopy strips the BPF object"),
    ];
    let needs = packages.each_ref().map(|(package, why)| Need { package, found: Found::Package, why });
    apt.install(&needs.iter().filter(|need| !need.is_there()).collect::<Vec<_>>())?;
    if linker_version().as_deref() == Some(VERSION) {
        return Ok(());
    }
    println!("set-up: cargo install bpf-linker@{VERSION} (links BPF bitcode and makes BTF; about a minute)");
    let mut install = cargo();
    install
        .args(["install", "--locked", "--force", "--no-default-features", "--features"])
        .arg(format!("llvm-{major}"))
        .arg(format!("bpf-linker@{VERSION}"))
        .env("LLVM_PREFIX", llvm_directory(major));
    run(&mut install).with_context(|| format!("install bpf-linker; it knows llvm-{major} or does not"))?;
    linker_version().filter(|version| version == VERSION).with_context(|| {
        format!("find bpf-linker {VERSION} in PATH, where cargo install has put it: add ~/.cargo/bin")
    })?;
    Ok(())
}

/// The major version of LLVM in the compiler for BPF.
pub(crate) fn llvm_major() -> anyhow::Result<u32> {
    let told = output(command(RUSTC).arg("-vV"))
        .context("ask the compiler for BPF for its version; `cargo xtask setup --for build` installs it")?;
    major_of(&told).with_context(|| format!("find the LLVM version in what `{RUSTC} -vV` says: {told}"))
}

/// Where Debian has LLVM of a major version.
pub(crate) fn llvm_directory(major: u32) -> PathBuf {
    format!("/usr/lib/llvm-{major}").into()
}

fn major_of(told: &str) -> Option<u32> {
    let version = told.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn linker_version() -> Option<String> {
    let told = output(command(program("bpf-linker")?).arg("--version")).ok()?;
    Some(told.trim().strip_prefix("bpf-linker ")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_llvm() {
        assert_eq!(major_of("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(major_of("rustc 1.96.0\n"), None);
        assert_eq!(major_of("LLVM version: new\n"), None);
    }
}
