//! Given: nothing. Gives: QEMU and what else virtual machines are made with, installed where it is missing. Refuses to know:
//! what runs in them.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::repository::{command, output, program, run};
use crate::vm::FOREIGN_TARGET;

/// Debian's packages, and a program of each.
const PACKAGES: [(&str, &str); 5] = [
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("qemu-system-arm", "qemu-system-aarch64"),
    ("busybox-static", "busybox"),
    ("xz-utils", "xz"),
    ("zstd", "zstd"),
];

/// Where apt reads what suites there are.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";

/// Installs what is missing. Nothing that is there is removed for it: where a part of QEMU is there from the backports, the
/// suite of this machine has none that fits it, and the backports have.
pub(super) fn set_up() -> anyhow::Result<()> {
    foreign_target()?;
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, name)| program(name).is_none()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if program("apt-get").is_none() {
        bail!("virtual machines need {} (so they are named in Debian)", missing.join(", "));
    }
    println!("set-up: apt-get install {} (they run other kernels)", missing.join(" "));
    install(&missing, &[]).or_else(|_| from_backports(&missing))
}

/// The standard library for machines of another architecture, by rustup where it is missing.
fn foreign_target() -> anyhow::Result<()> {
    let libraries = output(command("rustc").args(["--print", "target-libdir", "--target", FOREIGN_TARGET]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    println!("set-up: rustup target add {FOREIGN_TARGET} (what is built with it runs on kernels of arm64)");
    run(command("rustup").args(["target", "add", FOREIGN_TARGET])).with_context(|| {
        format!("add {FOREIGN_TARGET}; without rustup, install its standard library as rustc was installed")
    })
}

fn install(packages: &[&str], options: &[String]) -> anyhow::Result<()> {
    let mut apt = command("apt-get");
    apt.args(["-qq", "-y", "--no-install-recommends", "--no-remove", "-o", "Dpkg::Use-Pty=0"]);
    apt.args(options).arg("install").args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut apt)
}

/// The same, with lists of the backports that this machine's own know nothing of.
fn from_backports(packages: &[&str]) -> anyhow::Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = format!("{}-backports", codename.context("/etc/os-release names no release")?);
    let directory = tempfile::tempdir().context("make a directory for apt")?;
    let part = |name: &str| directory.path().join(name);
    for name in ["lists/partial", "sources"] {
        fs::create_dir_all(part(name)).with_context(|| format!("make {name} for apt"))?;
    }
    let known = fs::read_to_string(SOURCES).with_context(|| format!("read {SOURCES}"))?;
    for (name, content) in [("own.sources", &*known), ("backports.sources", &only(&known, &suite))] {
        let file = part("sources").join(name);
        fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    }
    let place = |option: &str, path: &Path| format!("-o{option}={}", path.display());
    let mut options =
        vec![place("Dir::State::Lists", &part("lists")), place("Dir::Etc::sourceparts", &part("sources"))];
    options.push("-oAPT::Sandbox::User=root".to_owned());
    run(command("apt-get").arg("-qq").args(&options).arg("update"))
        .context("fetch the lists of backports")?;
    options.push(format!("-t{suite}"));
    install(packages, &options).with_context(|| format!("install {} from {suite}", packages.join(" ")))
}

/// The first of some sources, with another suite.
fn only(sources: &str, suite: &str) -> String {
    let first = sources.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().map(|line| match line.strip_prefix("Suites:") {
        Some(_) => format!("Suites: {suite}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_come_from_the_mirror_of_the_rest() {
        let sources =
            "Types: deb\nURIs: http://mirror\nSuites: a a-updates\n\nURIs: http://security\nSuites: b\n";
        assert_eq!(only(sources, "a-backports"), "Types: deb\nURIs: http://mirror\nSuites: a-backports\n");
    }
}
