//! Given: a kernel's modules and busybox. Gives: the first file system of a machine: what mounts the files of this one and
//! runs a job on them. Refuses to know: which job.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::archive::Archive;
use super::kernel::{decompress, find};

/// The first program of the machine.
const INIT: &str = include_str!("init.sh");

/// Programs of busybox that it runs.
const APPLETS: [&str; 15] = [
    "cat", "chroot", "cp", "insmod", "ip", "kill", "ln", "mkdir", "mount", "poweroff", "sh", "sleep", "stty",
    "tr", "uname",
];

/// Modules for the devices and file systems of the machine, and for what the tests use. A kernel that has one built in, or
/// has none such, needs none.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    "tls",
    // What kTLS encrypts with, `gcm(aes)`: the kernel would look for it by itself if there were a modprobe.
    "cryptomgr",
    "aes_generic",
    "aes",
    "ctr",
    "ghash_generic",
    "gcm",
];

/// The archive for a kernel whose modules are somewhere below `directory`, with a busybox that runs on it.
pub(super) fn make(directory: &Path, busybox: &Path) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::new();
    for name in ["bin", "dev", "proc", "sys", "modules", "host", "memory", "root"] {
        archive.directory(name);
    }
    let busybox = fs::read(busybox).with_context(|| format!("read {}", busybox.display()))?;
    archive.program("bin/busybox", &busybox);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.program("init", INIT.as_bytes());
    let mut modules = Modules { directory, seen: BTreeSet::new(), ordered: Vec::new() };
    for name in MODULES {
        modules.add(name)?;
    }
    for (place, (name, module)) in modules.ordered.iter().enumerate() {
        // Names are in the order of loading.
        archive.program(&format!("modules/{place:02}-{name}.ko"), module);
    }
    Ok(archive.finish())
}

/// Modules in the order in which they can be loaded.
struct Modules<'a> {
    directory: &'a Path,
    seen: BTreeSet<String>,
    ordered: Vec<(String, Vec<u8>)>,
}

impl Modules<'_> {
    /// Adds a module behind those that it depends on.
    fn add(&mut self, name: &str) -> anyhow::Result<()> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let is_it =
            |file: &str| file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name);
        let Some(file) = find(self.directory, &is_it)? else { return Ok(()) };
        let module = read(&file)?;
        for other in depends(&module) {
            self.add(&other)?;
        }
        self.ordered.push((name.to_owned(), module));
        Ok(())
    }
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => decompress("xz", &bytes),
        Some("zst") => decompress("zstd", &bytes),
        _ => Ok(bytes),
    }
}

/// The modules that a module depends on, as it says in its own `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    let fields = module.split(|&byte| byte == 0).filter_map(|field| field.strip_prefix(b"depends="));
    let text: Vec<_> = fields.map(|field| String::from_utf8_lossy(field).replace('-', "_")).collect();
    text.iter()
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0name=x\0"),
            ["virtio", "virtio_ring"]
        );
        assert!(depends(b"\0depends=\0name=x\0").is_empty());
    }
}
