//! Given: a suite of Debian. Gives: what its packages depend on, and their files. Refuses to know: what they are for.
//!
//! The lists of packages are kept apart from those of this machine, whose own suites and packages stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::repository::{command, output, run};

/// Where this machine says what mirrors it uses.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
/// Mirrors for a machine that does not say.
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
/// Seconds that apt may take for lists, or for packages: a mirror that is slower is none.
const LIMIT_SECONDS: &str = "240";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite whose lists are there.
pub(super) struct Suite {
    directory: PathBuf,
    architecture: String,
}

impl Suite {
    /// Fetches the lists of a suite for an architecture, to a directory of their own below `cache`.
    pub(super) fn open(name: &str, architecture: &str, cache: &Path) -> anyhow::Result<Suite> {
        let directory = cache.join(format!("{name}-{architecture}"));
        for part in ["lists/partial", "cache/archives/partial", "sources", "preferences"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let known = fs::read_to_string(SOURCES).unwrap_or_default();
        let source = format!(
            "Types: deb\nURIs: {}\nSuites: {name}\nComponents: main\nSigned-By: {KEYS}\n",
            mirror(&known, name.ends_with("-security")),
        );
        for (file, content) in [("sources/suite.sources", &*source), ("status", "")] {
            let file = directory.join(file);
            fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
        }
        let suite = Suite { directory, architecture: architecture.to_owned() };
        run(suite.apt("apt-get").arg("update")).with_context(|| format!("fetch the lists of {name}"))?;
        Ok(suite)
    }

    /// The packages that the newest version of a package depends on; of alternatives the first.
    pub(super) fn depends(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let shown = output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(dependencies(&shown))
    }

    /// Downloads packages to a directory.
    pub(super) fn download(&self, packages: &[String], into: &Path) -> anyhow::Result<Vec<PathBuf>> {
        // As root, apt complains that its own user cannot write there; it downloads all the same.
        run(self
            .apt("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(packages)
            .current_dir(into))?;
        let files = fs::read_dir(into).with_context(|| format!("list {}", into.display()))?;
        let mut files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
        files.sort();
        Ok(files)
    }

    fn apt(&self, program: &str) -> Command {
        let path = |part: &str| self.directory.join(part).display().to_string();
        let mut apt = command("timeout");
        apt.args([LIMIT_SECONDS, program, "-qq"]);
        for (option, value) in [
            ("Dir::State::Lists", path("lists")),
            ("Dir::State::status", path("status")),
            ("Dir::Cache", path("cache")),
            ("Dir::Etc::sourcelist", "/dev/null".to_owned()),
            ("Dir::Etc::sourceparts", path("sources")),
            ("Dir::Etc::preferencesparts", path("preferences")),
            ("Acquire::Languages", "none".to_owned()),
            ("APT::Architecture", self.architecture.clone()),
            ("APT::Architectures", self.architecture.clone()),
        ] {
            apt.arg("-o").arg(format!("{option}={value}"));
        }
        apt
    }
}

/// The mirror that this machine uses, of the suites with security updates or of the others.
fn mirror(sources: &str, is_security: bool) -> &str {
    let uris = sources.lines().filter_map(|line| line.strip_prefix("URIs:")).flat_map(str::split_whitespace);
    let of_kind = |uri: &&str| uri.trim_end_matches('/').ends_with("-security") == is_security;
    uris.into_iter().find(of_kind).unwrap_or(if is_security { SECURITY_MIRROR } else { MIRROR })
}

/// Names in the `Depends` and `Pre-Depends` of a package's description.
fn dependencies(shown: &str) -> Vec<String> {
    let fields =
        shown.lines().filter_map(|line| line.strip_prefix("Pre-").unwrap_or(line).strip_prefix("Depends:"));
    let names = fields.flat_map(|field| field.split(',')).filter_map(|one| one.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_names_alone() {
        let shown = "Package: a\nPre-Depends: dpkg (>= 1.17)\nDepends: kmod, b (= 1) | c, linux-image-6.1.0-50-amd64 (= 6.1)\n";
        assert_eq!(dependencies(shown), ["dpkg", "kmod", "b", "linux-image-6.1.0-50-amd64"]);
    }

    #[test]
    fn the_mirror_is_that_of_this_machine() {
        let sources = "Types: deb\nURIs: http://mirror/debian\n\nURIs: http://mirror/debian-security\n";
        assert_eq!(mirror(sources, false), "http://mirror/debian");
        assert_eq!(mirror(sources, true), "http://mirror/debian-security");
        assert_eq!(mirror("", true), SECURITY_MIRROR);
    }
}
