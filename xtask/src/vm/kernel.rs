//! Given: the kernels that the probes must run on. Gives: for each a directory with its image and the modules that a virtual
//! machine needs, made of Debian's packages once and kept. Refuses to know: how a machine is run.
//!
//! Packages are downloaded and unpacked and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::package::Suite;
use crate::repository::{command, output, program, root, words};

/// A kernel of Debian.
pub(crate) struct Kernel {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// The suite that has it.
    suite: &'static str,
    /// The package that depends on the newest build of it.
    package: &'static str,
    /// As Debian calls it.
    pub(super) architecture: &'static str,
}

/// Oldest first. The first three are those of Debian 11, 12 and 13; the last moves by itself.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye", package: "linux-image-amd64", architecture: "amd64" },
    Kernel { name: "6.1", suite: "bookworm", package: "linux-image-amd64", architecture: "amd64" },
    Kernel {
        name: "6.12",
        suite: "bookworm-security",
        package: "linux-image-6.12-amd64",
        architecture: "amd64",
    },
    Kernel { name: "newest", suite: "trixie-backports", package: "linux-image-amd64", architecture: "amd64" },
];

/// Those of another architecture than the machines that this is built on.
pub(crate) const FOREIGN: [Kernel; 2] = [
    Kernel { name: "arm64-6.1", suite: "bookworm", package: "linux-image-arm64", architecture: "arm64" },
    Kernel {
        name: "arm64-newest",
        suite: "trixie-backports",
        package: "linux-image-arm64",
        architecture: "arm64",
    },
];

/// What is unpacked of the packages: the image, and modules of these names.
const WANTED: [&str; 10] = [
    "vmlinuz*",
    "virtio*.ko*",
    "9p*.ko*",
    "netfs.ko*",
    "fscache.ko*",
    "overlay.ko*",
    "tls.ko*",
    "veth.ko*",
    "kernel/crypto/*.ko*",
    "kernel/lib/crypto/*.ko*",
];

/// The suite whose busybox runs on kernels of other architectures: it needs nothing of the rest of its suite.
const BUSYBOX_SUITE: &str = "bookworm";

/// Compressions that an image may carry its kernel in: the first bytes, and the program that undoes it.
const COMPRESSIONS: [(&[u8], &str); 2] = [(b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];

const ELF: &[u8] = b"\x7fELF";

/// What an image of arm64 has in its header (Documentation/arch/arm64/booting.rst): the kernel itself, mostly not compressed.
const ARM64: &[u8] = b"ARM\x64";
const ARM64_AT: usize = 56;

/// The files of a kernel.
pub(super) struct Files {
    /// Where they are.
    pub(super) directory: PathBuf,
    /// The build, as its package is named.
    pub(super) build: String,
}

impl Kernel {
    /// The files of the kernel, which are fetched when they are not there.
    pub(super) fn files(&self) -> anyhow::Result<Files> {
        let directory = root().join("target/vm").join(self.name);
        let complete = directory.join("build");
        let kept = fs::read_to_string(&complete).unwrap_or_default();
        if let Some(build) = whole(&kept) {
            return Ok(Files { directory, build: build.to_owned() });
        }
        let build = self.fetch(&directory).with_context(|| {
            format!("fetch the kernel {} ({} of {})", self.name, self.package, self.suite)
        })?;
        // Written last: it says that the rest is there.
        let content = format!("{build}\n{}\n", WANTED.join(" "));
        fs::write(&complete, content).with_context(|| format!("write {}", complete.display()))?;
        Ok(Files { directory, build })
    }

    /// It is of another architecture than the programs of this machine.
    pub(super) fn is_foreign(&self) -> bool {
        FOREIGN.iter().any(|foreign| foreign.name == self.name)
    }

    /// A busybox that runs on the kernel, which has to have been fetched.
    pub(super) fn busybox(&self) -> anyhow::Result<PathBuf> {
        if !self.is_foreign() {
            return program("busybox").context("there is no busybox; `cargo xtask setup` installs it");
        }
        let directory = root().join("target/vm").join(format!("busybox-{}", self.architecture));
        let kept = directory.join("busybox");
        if kept.is_file() {
            return Ok(kept);
        }
        let unpacked = directory.join("root");
        fs::create_dir_all(&unpacked).with_context(|| format!("make {}", unpacked.display()))?;
        let suite = Suite::open(BUSYBOX_SUITE, self.architecture, &root().join("target/vm/apt"))?;
        println!("vm: fetching busybox-static of {}", self.architecture);
        for file in suite.download(&["busybox-static".to_owned()], &directory)? {
            unpack(&file, &unpacked, &["busybox"])?;
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
        let found = find(&unpacked, &|name| name == "busybox")?.context("busybox-static has no busybox")?;
        fs::rename(&found, &kept).with_context(|| format!("move {}", found.display()))?;
        Ok(kept)
    }

    fn fetch(&self, directory: &Path) -> anyhow::Result<String> {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| format!("clear {}", directory.display()))?;
        }
        let unpacked = directory.join("root");
        fs::create_dir_all(&unpacked).with_context(|| format!("make {}", unpacked.display()))?;
        let suite = Suite::open(self.suite, self.architecture, &root().join("target/vm/apt"))?;
        let newest = suite.depends(self.package)?;
        let build = newest
            .into_iter()
            .find(|name| is_build(name, &["linux-image-"]))
            .with_context(|| format!("{} depends on no kernel", self.package))?;
        // Since 7.0 the package of an image is empty and depends on one with the image and one with the modules.
        let wanted = ["linux-binary-", "linux-modules-"];
        let parts = suite.depends(&build)?.into_iter().filter(|name| is_build(name, &wanted));
        let packages: Vec<String> = [build.clone()].into_iter().chain(parts).collect();
        println!("vm: fetching {}", packages.join(" "));
        for file in suite.download(&packages, directory)? {
            unpack(&file, &unpacked, &WANTED)?;
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
        let image = find(&unpacked, &|name| name.starts_with("vmlinuz"))?
            .with_context(|| format!("{} has no image", packages.join(" ")))?;
        let image = fs::read(&image).with_context(|| format!("read {}", image.display()))?;
        let kernel = directory.join("vmlinux");
        fs::write(&kernel, uncompressed(&image)?).with_context(|| format!("write {}", kernel.display()))?;
        Ok(build.trim_start_matches("linux-image-").to_owned())
    }
}

/// The build whose files are kept, if they are all that are wanted.
fn whole(kept: &str) -> Option<&str> {
    let (build, wanted) = kept.split_once('\n')?;
    (wanted.trim_end() == WANTED.join(" ")).then_some(build)
}

/// Whether a package is a build of a kernel: its prefix, and then a version.
fn is_build(name: &str, prefixes: &[&str]) -> bool {
    let version = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

/// Takes what is wanted out of a package.
fn unpack(package: &Path, into: &Path, wanted: &[&str]) -> anyhow::Result<()> {
    let mut list = command("dpkg-deb");
    list.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut list = list.spawn().context("run dpkg-deb")?;
    let files = list.stdout.take().context("dpkg-deb has an output")?;
    let mut tar = command("tar");
    tar.arg("-x").arg("-C").arg(into).args(["--wildcards", "--no-anchored"]).args(wanted);
    // It ends with an error when the archive lacks one of the names, as most do; what matters is looked for by name.
    tar.stdin(files).stderr(Stdio::null()).status().context("run tar")?;
    let status = list.wait().context("wait for dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb ended with {status} on {}", package.display());
    }
    Ok(())
}

/// The kernel in an image. It boots without its own loader, which would take the emulated processor seconds.
fn uncompressed(image: &[u8]) -> anyhow::Result<Vec<u8>> {
    if image.get(ARM64_AT..).is_some_and(|header| header.starts_with(ARM64)) {
        return Ok(image.to_vec());
    }
    for (mark, program) in COMPRESSIONS {
        // The mark may stand in the loader by chance, so each place is tried.
        for at in image.windows(mark.len()).enumerate().filter(|(_, bytes)| *bytes == mark).map(|(at, _)| at)
        {
            let kernel = decompress(program, &image[at..])?;
            if kernel.starts_with(ELF) {
                return Ok(kernel);
            }
        }
    }
    bail!("the image holds no kernel that xz or zstd can read")
}

/// What a program that undoes a compression makes of bytes, with whatever follows them.
pub(super) fn decompress(program: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(["-dqc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("run `{}`", words(&command)))?;
    let mut stdin = child.stdin.take().context("it has an input")?;
    std::thread::scope(|scope| {
        // It may stop reading before the end, and says so by its output.
        scope.spawn(move || std::io::Write::write_all(&mut stdin, bytes));
        let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
        Ok(output.stdout)
    })
}

/// The first file below a directory whose name is accepted.
pub(super) fn find(directory: &Path, accept: &dyn Fn(&str) -> bool) -> anyhow::Result<Option<PathBuf>> {
    let listed = output(command("find").arg(directory).args(["-type", "f"]))?;
    let mut files: Vec<&str> = listed.lines().collect();
    files.sort_unstable();
    Ok(files.into_iter().find(|file| file.rsplit('/').next().is_some_and(accept)).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_has_a_version_in_its_name() {
        assert!(is_build("linux-image-6.1.0-50-amd64", &["linux-image-"]));
        assert!(is_build("linux-modules-7.3.4+deb13-amd64", &["linux-binary-", "linux-modules-"]));
        assert!(!is_build("linux-image-amd64", &["linux-image-"]));
        assert!(!is_build("linux-base", &["linux-binary-", "linux-modules-"]));
    }

    #[test]
    fn files_of_another_list_are_not_whole() {
        assert_eq!(whole(&format!("6.1\n{}\n", WANTED.join(" "))), Some("6.1"));
        assert_eq!(whole("6.1\nvmlinuz*\n"), None);
        assert_eq!(whole("6.1"), None);
    }

    #[test]
    fn an_image_without_a_kernel_is_no_kernel() {
        assert!(uncompressed(b"MZ and nothing else").is_err());
        let arm64 = [&[0; ARM64_AT][..], b"ARM\x64 and more"].concat();
        assert_eq!(uncompressed(&arm64).expect("a kernel"), arm64);
    }
}
