//! Given: a process. Gives: its files that hold TLS functions, opened, with where to probe them; and those whose TLS will
//! not be seen, with the reason. Refuses to know: how probes are attached, and where the bytes of a file come from.
//!
//! Engines link TLS into the executable or a plugin of any name, so every file that is mapped with code is looked at,
//! once per host: [`Cache`]. Of a copy without symbols somebody must tell where its functions are: [`Addresses`]. Else it
//! is said to be missed where it left traces, and its connections show as opaque.
//!
//! What a process says about its files is not believed. A path of `/proc/PID/maps` means something in the process's own
//! mount namespace, and may lead elsewhere by now; the bare path on the host could steer probes to a file of the host.
//! So a file is opened in one of two ways, and only its descriptor is used from then on:
//!
//! 1. `/proc/PID/map_files/START-END`: the kernel hands over the mapped file itself, even a removed one. If something
//!    else was mapped there meanwhile, it is still a file of this process. Needs CAP_CHECKPOINT_RESTORE or
//!    CAP_SYS_ADMIN (`proc_map_files_get_link`, fs/proc/base.c, 6.1).
//! 2. The path below `/proc/PID/root`, by `openat2` with `RESOLVE_IN_ROOT`, so that no symbolic link leaves that root.
//!    The inode number must be that of the mapping. The device need not be: on overlayfs and btrfs `stat` gives another
//!    one than `maps` for the same file. What that leaves open is another file of the same root with the same number,
//!    and probes are placed in this one process only, at offsets that it does not map.

mod elf;

pub use elf::{Addresses, BadEntry, BuildId, Lack, Machine, NotElf, Points, Stack, functions, points};

use std::collections::{BTreeSet, VecDeque};
use std::ffi::CString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::tls::Function;
use crate::attribute::Facts;
use crate::process::{Mapping, Process, Unreadable};

/// Files of one process that are looked at. Large games map two hundred.
const FILES_MAX: usize = 512;

/// Files whose points are remembered, [`FILES_MAX`] and the same again of other processes; about 100 bytes each.
const CACHE_FILES: usize = 1024;

/// Bytes that are read of an executable or of a TLS library: symbols and names of the largest
/// engines come to 300 MiB.
const EXPECTED_BYTES: u64 = 512 * 1024 * 1024;

/// Bytes that are read of any other file.
const UNEXPECTED_BYTES: u64 = 64 * 1024 * 1024;

/// File names up to the first `.` or `-` (bundled copies are called `libssl-5e2c8f.so.3`) and what is in such a file.
const NAMES: [(&[u8], Expectation); 10] = [
    (b"libssl", Expectation::Followed),
    (b"libssl3", Expectation::Followed),
    (b"libnspr4", Expectation::Followed),
    (b"libgnutls", Expectation::Followed),
    (b"libmbedtls", Expectation::Followed),
    (b"libwolfssl", Expectation::Followed),
    (b"libs2n", Expectation::Followed),
    (b"librustls", Expectation::Carries(Stack::Rustls(Lack::Symbols))),
    (b"libjvm", Expectation::Carries(Stack::Java)),
    (b"UnityPlayer", Expectation::Carries(Stack::Unity)),
];

/// What the name of a file promises; the order is the one in which files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expectation {
    /// A library whose functions are probed.
    Followed,
    /// The program itself, which may have any stack linked into it.
    Executable,
    /// A stack that the probes do not follow.
    Carries(Stack),
    /// Nothing; most files are this.
    Nothing,
}

/// A file to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// What its name promises.
    pub expectation: Expectation,
    /// The first of its mappings that holds code.
    pub mapping: &'a Mapping,
}

/// A file with functions to probe, held open until the probes are attached.
#[derive(Debug)]
pub struct Library {
    file: File,
    /// Its path as the process sees it, for people.
    pub name: String,
    /// Device and inode number of the opened file.
    pub identity: (u64, u64),
    /// Function and file offset.
    pub points: Vec<(Function, u64)>,
}

impl Library {
    /// A path that leads the kernel to the opened file, whatever its name leads to by now, for as long as `self` lives.
    ///
    /// The kernel looks it up like any other (`bpf_uprobe_multi_link_attach`, kernel/trace/bpf_trace.c, 6.12;
    /// `create_local_trace_uprobe`, kernel/trace/trace_uprobe.c, 6.1), and it holds no byte that the text interface of tracefs, aya's fallback, would stumble over.
    pub fn path(&self) -> PathBuf {
        descriptor(&self.file)
    }
}

/// A file whose TLS will not be seen, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Its path as the process sees it.
    pub name: String,
    /// Why not.
    pub why: Why,
    /// What its linker called it, where that was read.
    pub build_id: Option<BuildId>,
}

/// Why the TLS of a file is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It carries a stack that the probes do not follow.
    Stack(Stack),
    /// It is called like a library whose functions are probed, and has none of them.
    NoFunctions,
    /// No function begins at this address, which is told of it.
    Misplaced(u64),
    /// It is for another architecture than this host's.
    Machine,
    /// It cannot be made sense of.
    NotElf(NotElf),
    /// What has its path now is not what is mapped, and this user may not open what is.
    Replaced,
    /// It cannot be opened.
    Unopened(io::ErrorKind),
}

impl Uncovered {
    /// It would be seen if somebody told where its functions are: [`Addresses`].
    pub fn can_be_told(&self) -> bool {
        let is_c = matches!(
            self.why,
            Why::NoFunctions | Why::Stack(Stack::OpenSsl | Stack::BoringSsl | Stack::Unity)
        );
        is_c && self.build_id.is_some()
    }
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uncovered { name, why, build_id } = self;
        match why {
            Why::Stack(stack) => write!(f, "{name} has {stack}, which is not followed"),
            Why::NoFunctions => write!(f, "{name} has none of the functions that are probed"),
            Why::Misplaced(address) => {
                write!(f, "{name} has no function that begins at {address:#x}, as its [[tls.library]] says")
            }
            Why::Machine => write!(f, "{name} is for another architecture"),
            Why::NotElf(why) => write!(f, "{name} is not looked into: {why}"),
            Why::Replaced => write!(f, "{name} was replaced since it was mapped"),
            Why::Unopened(kind) => write!(f, "{name} cannot be opened: {kind}"),
        }?;
        build_id.as_ref().map_or(Ok(()), |id| write!(f, " (build id {id})"))
    }
}

/// What a process was found to have beside libraries to probe.
#[derive(Debug, Default)]
pub struct Scan {
    /// Known to be missed; each stack is named once, for the first file with it, unless each file can be told of.
    pub uncovered: Vec<Uncovered>,
    /// Other files with code that could not be looked at, so that nothing is known about them.
    pub unread: usize,
}

/// Looks at the files that `process` has mapped by now; it may map more later. A library to probe goes to `found` before
/// the next file is read, for the process may be about to use it.
pub fn scan(
    process: &Process,
    cache: &mut Cache,
    found: &mut dyn FnMut(Library),
) -> Result<Scan, Unreadable> {
    let maps = process.maps()?;
    let candidates = candidates(&maps, process.exe());
    let mut scan = Scan { unread: candidates.len().saturating_sub(FILES_MAX), ..Scan::default() };
    for candidate in candidates.into_iter().take(FILES_MAX) {
        if let Some(library) = scan.look(process, candidate, cache) {
            found(library);
        }
    }
    Ok(scan)
}

/// Where distributions keep libraries: Debian and its relatives by architecture, Red Hat and its relatives, the others.
const DIRECTORIES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
const INSTALLED: [&str; 3] = ["libssl.so.3", "libssl.so.1.1", "libgnutls.so.30"];

/// The TLS libraries that `process` would load if it, or a program that it executes, asked for them. Probes that are
/// attached before a library is mapped see its first call: attaching takes longer than a small program lives.
pub fn installed(process: &Process, cache: &mut Cache) -> Vec<Library> {
    let paths =
        DIRECTORIES.iter().flat_map(|directory| INSTALLED.map(|name| Path::new(directory).join(name)));
    let mut found: Vec<Library> = Vec::new();
    for path in paths {
        let Ok(file) = below_root(process, &path) else { continue };
        let Ok((identity, points)) = cache.points(&file, EXPECTED_BYTES) else { continue };
        let is_new = found.iter().all(|library| library.identity != identity);
        if is_new && points.carries_plaintext() && Machine::HOST == Some(points.machine) {
            let name = path.to_string_lossy().into_owned();
            found.push(Library { file, name, identity, points: points.functions });
        }
    }
    found
}

impl Scan {
    /// Looks at one file; gives it when it is one to probe.
    fn look(
        &mut self,
        process: &Process,
        Candidate { expectation, mapping }: Candidate<'_>,
        cache: &mut Cache,
    ) -> Option<Library> {
        let name = name(mapping);
        let looked = open(process, mapping).and_then(|file| {
            let bytes_max =
                if expectation == Expectation::Nothing { UNEXPECTED_BYTES } else { EXPECTED_BYTES };
            let (identity, points) = cache.points(&file, bytes_max)?;
            Ok((file, identity, points))
        });
        let (file, identity, points) = match looked {
            Ok(looked) => looked,
            Err(why) => {
                match expectation {
                    // A file that is no ELF file has been looked at, and has no functions.
                    Expectation::Nothing => self.unread += usize::from(why != Why::NotElf(NotElf::Magic)),
                    Expectation::Carries(stack) => self.miss(name, Why::Stack(stack), None),
                    Expectation::Followed | Expectation::Executable => self.miss(name, why, None),
                }
                return None;
            }
        };
        let carries_plaintext = points.carries_plaintext();
        let Points { machine, functions, stacks, build_id, misplaced } = points;
        let mut miss = |why| self.miss(name.clone(), why, build_id.clone());
        stacks.into_iter().map(Why::Stack).for_each(&mut miss);
        if let Some(address) = misplaced {
            miss(Why::Misplaced(address));
        }
        if !carries_plaintext {
            match expectation {
                Expectation::Carries(stack) => miss(Why::Stack(stack)),
                Expectation::Followed if misplaced.is_none() => miss(Why::NoFunctions),
                Expectation::Followed | Expectation::Executable | Expectation::Nothing => {}
            }
            return None;
        }
        if Machine::HOST != Some(machine) {
            miss(Why::Machine);
            return None;
        }
        Some(Library { file, name, identity, points: functions })
    }

    fn miss(&mut self, name: String, why: Why, build_id: Option<BuildId>) {
        let missed = Uncovered { name, why, build_id };
        let is_named = |known: &Uncovered| {
            matches!(why, Why::Stack(_))
                && known.why == why
                && (!missed.can_be_told() || known.build_id == missed.build_id)
        };
        if !self.uncovered.iter().any(is_named) {
            self.uncovered.push(missed);
        }
    }
}

/// The files that are mapped with code, each once, those of which most is expected first. `exe` is the path of the
/// program.
pub fn candidates<'a>(maps: &'a [Mapping], exe: Option<&str>) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    let mut seen = BTreeSet::new();
    for mapping in maps {
        if mapping.inode == 0 || !mapping.is_executable() || !seen.insert((mapping.device, mapping.inode)) {
            continue;
        }
        let Some(path) = &mapping.path else { continue };
        let stem = path.file_name().unwrap_or_default().as_bytes().split(|byte| b".-".contains(byte)).next();
        let known = NAMES.iter().find(|(name, _)| Some(*name) == stem).map(|(_, expectation)| *expectation);
        let expectation = match known {
            Some(expectation) => expectation,
            None if exe.is_some_and(|exe| Path::new(exe) == path) => Expectation::Executable,
            None => Expectation::Nothing,
        };
        candidates.push(Candidate { expectation, mapping });
    }
    candidates.sort_by_key(|candidate| candidate.expectation);
    candidates
}

/// Its path, with nothing in it that a terminal would obey.
fn name(mapping: &Mapping) -> String {
    let path = mapping.path.as_deref().unwrap_or(Path::new("")).to_string_lossy();
    path.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

/// Opens the mapped file, only to be named: reading takes another descriptor, which is rarely needed.
fn open(process: &Process, mapping: &Mapping) -> Result<File, Why> {
    let Mapping { start, end, .. } = mapping;
    let exact = process.path("map_files").join(format!("{start:x}-{end:x}"));
    match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(exact) {
        Ok(file) => regular(file),
        Err(_) => open_in_root(process, mapping),
    }
}

fn open_in_root(process: &Process, mapping: &Mapping) -> Result<File, Why> {
    let path = mapping.path.as_deref().filter(|_| !mapping.deleted).ok_or(Why::Replaced)?;
    let file = below_root(process, path)?;
    let inode = file.metadata().map_err(|error| Why::Unopened(error.kind()))?.ino();
    if inode == mapping.inode { Ok(file) } else { Err(Why::Replaced) }
}

/// Opens a path as the process would see it; no symbolic link leaves its root.
fn below_root(process: &Process, path: &Path) -> Result<File, Why> {
    let unopened = |error: io::Error| Why::Unopened(error.kind());
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Why::Replaced)?;
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(process.path("root"))
        .map_err(unopened)?;
    // SAFETY: `open_how` is three integers, for which zero is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT;
    // SAFETY: an open descriptor, a string that ends in NUL, and a structure of the size that is passed with it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    if fd < 0 {
        return Err(unopened(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    regular(unsafe { File::from_raw_fd(fd as RawFd) })
}

/// Only regular files: opening a pipe to read would wait, and opening a device may do anything.
fn regular(file: File) -> Result<File, Why> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Why::NotElf(NotElf::Magic)),
        Err(error) => Err(Why::Unopened(error.kind())),
    }
}

fn descriptor(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

/// Points of files that were looked at, so that a library of many processes is read once.
#[derive(Debug, Default)]
pub struct Cache {
    /// The one used last stands last.
    entries: VecDeque<(Key, Result<Points, NotElf>)>,
    told: Addresses,
}

/// What a file was when it was read. The time is that of the last change of anything (`ctime`), which unlike `mtime`
/// nobody can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
    bytes_max: u64,
}

impl Cache {
    /// Files are looked at with what is `told` of them.
    pub fn new(told: Addresses) -> Cache {
        Cache { entries: VecDeque::new(), told }
    }

    /// Identity and points of an open file.
    fn points(&mut self, file: &File, bytes_max: u64) -> Result<((u64, u64), Points), Why> {
        let metadata = file.metadata().map_err(|error| Why::Unopened(error.kind()))?;
        let key = Key {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes_max,
        };
        let known = self.entries.iter().position(|(known, _)| *known == key);
        let entry = match known.and_then(|index| self.entries.remove(index)) {
            Some(entry) => entry,
            None => {
                let file = File::open(descriptor(file)).map_err(|error| Why::Unopened(error.kind()))?;
                let found = points(file, bytes_max, &self.told);
                if let Err(NotElf::Unreadable(_)) = found {
                    // The next attempt may do better.
                    return found.map(|points| ((key.device, key.inode), points)).map_err(Why::NotElf);
                }
                if self.entries.len() == CACHE_FILES {
                    self.entries.pop_front();
                }
                (key, found)
            }
        };
        let found = entry.1.clone();
        self.entries.push_back(entry);
        found.map(|points| ((key.device, key.inode), points)).map_err(Why::NotElf)
    }
}

#[cfg(test)]
mod tests;
