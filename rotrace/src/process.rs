//! Given: a procfs mount and the host's user file. Gives: the processes of this host and what rules and probes need to
//! know of one: [`crate::attribute::Facts`], PIDs of its namespaces, its mappings. Refuses to know: rules, and the
//! content of any memory.
//!
//! A process can end between any two reads, and its PID can be given to another. So a [`Process`] is an open directory
//! and not a number: once its process is gone nothing is found in it (`proc_pident_lookup` asks for the process that the
//! inode was made for, fs/proc/base.c), and what was read before still belongs together.

mod maps;
mod text;

pub use maps::{Mapping, mappings};
pub use text::{Stat, Users, cgroup_paths, container_id, uid};

use std::cell::OnceCell;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::attribute::{Facts, ProcessFacts};

/// Bytes of a command line that are looked at; longer ones are cut. The kernel allows 2 MiB in all, and what names a
/// process stands in front.
const CMDLINE_BYTES: u64 = 128 * 1024;

/// Bytes of an environment that are looked at: the kernel's own bound of arguments and environment together
/// (a quarter of the default stack limit of 8 MiB; execve(2)).
const ENVIRONMENT_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of a list of mappings that are looked at: 65530 mappings (`vm.max_map_count`) of 256 bytes.
const MAPS_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a status, stat, cgroup or user file.
const TEXT_BYTES: u64 = 1024 * 1024;

/// Why a process cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It has ended, or never was.
    Gone,
    /// This user may not look at it.
    Denied,
    /// A file of it is not what the kernel writes.
    Malformed(&'static str),
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Gone => f.write_str("no such process"),
            Unreadable::Denied => f.write_str("no permission to look at the process"),
            Unreadable::Malformed(file) => write!(f, "cannot make sense of {file} of the process"),
            Unreadable::Io(error) => write!(f, "cannot read the process: {error}"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::ESRCH), _) | (_, io::ErrorKind::NotFound) => Unreadable::Gone,
            (_, io::ErrorKind::PermissionDenied) => Unreadable::Denied,
            _ => Unreadable::Io(error),
        }
    }
}

/// A procfs mount, and the names of users.
#[derive(Debug)]
pub struct Procfs {
    root: PathBuf,
    users: Users,
}

impl Procfs {
    /// The mount at `root`, usually `/proc`, with the users of `passwd`, usually `/etc/passwd`. The user file is read
    /// once, here; without it users have numbers and no names.
    pub fn new(root: impl Into<PathBuf>, passwd: &Path) -> Procfs {
        let users = read_file(passwd, TEXT_BYTES).map(|text| Users::parse(&text)).unwrap_or_default();
        Procfs { root: root.into(), users }
    }

    /// The PIDs of all processes, ascending, in the namespace of the mount.
    pub fn list(&self) -> io::Result<Vec<u32>> {
        let mut pids: Vec<u32> = fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// The process that `pid` names in the namespace of the mount; for the ID of a thread, the process it belongs to.
    pub fn process(&self, pid: u32) -> Result<Process, Unreadable> {
        let process = self.open(pid)?;
        if process.pid == pid { Ok(process) } else { self.open(process.pid) }
    }

    /// Whether there is such a process; true where that cannot be said.
    pub fn has(&self, pid: u32) -> bool {
        self.root.join(pid.to_string()).try_exists().unwrap_or(true)
    }

    fn open(&self, pid: u32) -> Result<Process, Unreadable> {
        let directory = Directory::open(&self.root.join(pid.to_string()))?;
        let status = directory.read("status", TEXT_BYTES)?;
        let stat = Stat::parse(&directory.read("stat", TEXT_BYTES)?).ok_or(Unreadable::Malformed("stat"))?;
        let uid = uid(&status);
        Ok(Process {
            pid: text::tgid(&status).ok_or(Unreadable::Malformed("status"))?,
            stat,
            uid,
            user: uid.and_then(|uid| self.users.name(uid)).map(str::to_owned),
            directory,
            exe: OnceCell::new(),
            cgroups: OnceCell::new(),
            cmdline: OnceCell::new(),
        })
    }
}

/// One process, read as far as it was asked about. Each fact is read once and kept, so that all rules see the same;
/// only the environment is never kept.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    stat: Stat,
    uid: Option<u32>,
    user: Option<String>,
    directory: Directory,
    exe: OnceCell<Option<Exe>>,
    cgroups: OnceCell<Vec<String>>,
    cmdline: OnceCell<Vec<String>>,
}

#[derive(Debug)]
struct Exe {
    path: String,
    deleted: bool,
}

impl Process {
    /// In the namespace of the mount.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Start time since boot in clock ticks.
    pub fn start_ticks(&self) -> u64 {
        self.stat.start_ticks
    }

    /// The file of the executable was removed or replaced since it started.
    pub fn is_exe_deleted(&self) -> bool {
        self.executable().is_some_and(|exe| exe.deleted)
    }

    /// Everything but the environment, for a process that is a target. [`Unreadable::Gone`] when it has ended, because
    /// the facts may then be incomplete.
    pub fn facts(&self) -> Result<ProcessFacts, Unreadable> {
        let cgroup = self.cgroups().to_vec();
        let facts = ProcessFacts {
            pid: self.pid,
            start_ticks: self.stat.start_ticks,
            exe: self.exe().map(str::to_owned),
            cmdline: self.cmdline().to_vec(),
            comm: self.stat.comm.clone(),
            container_id: container_id(&cgroup),
            cgroup,
            uid: self.uid,
            user: self.user.clone(),
        };
        self.directory.read("stat", TEXT_BYTES)?;
        Ok(facts)
    }

    /// What is mapped into its memory, in the order of addresses.
    pub fn maps(&self) -> Result<Vec<Mapping>, Unreadable> {
        Ok(mappings(&self.directory.read("maps", MAPS_BYTES)?))
    }

    /// The path of one of its files in procfs, such as `map_files`. It holds while `self` lives, and leads nowhere once
    /// the process has ended.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    fn executable(&self) -> Option<&Exe> {
        self.exe.get_or_init(|| self.directory.link("exe").ok().map(Exe::parse)).as_ref()
    }
}

impl Facts for Process {
    fn exe(&self) -> Option<&str> {
        self.executable().map(|exe| exe.path.as_str())
    }

    fn uid(&self) -> Option<u32> {
        self.uid
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn cgroups(&self) -> &[String] {
        self.cgroups.get_or_init(|| {
            self.directory.read("cgroup", TEXT_BYTES).map(|text| cgroup_paths(&text)).unwrap_or_default()
        })
    }

    fn cmdline(&self) -> &[String] {
        self.cmdline.get_or_init(|| {
            self.directory
                .read("cmdline", CMDLINE_BYTES)
                .map(|text| text::arguments(&text))
                .unwrap_or_default()
        })
    }

    fn variable(&self, name: &str) -> Option<String> {
        text::variable(&self.directory.read("environ", ENVIRONMENT_BYTES).ok()?, name)
    }
}

impl Exe {
    /// The kernel writes ` (deleted)` behind the path of a removed file (`d_path`, fs/d_path.c). A file that is really
    /// called so reads the same.
    fn parse(target: PathBuf) -> Exe {
        let path = target.to_string_lossy().into_owned();
        match path.strip_suffix(" (deleted)") {
            Some(path) => Exe { path: path.into(), deleted: true },
            None => Exe { path, deleted: false },
        }
    }
}

/// An open directory of procfs.
#[derive(Debug)]
struct Directory {
    file: File,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Directory> {
        Ok(Directory { file: File::open(path)? })
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        read_file(&self.path(name), limit)
    }

    fn link(&self, name: &str) -> io::Result<PathBuf> {
        fs::read_link(self.path(name))
    }

    /// `openat` by path: the kernel goes on from the open directory, whatever its name leads to by now.
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.file.as_raw_fd().to_string()).join(name)
    }
}

fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
