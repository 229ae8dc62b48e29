//! Given: the bytes of the text files of procfs and of a user file. Gives: their values. Refuses to know: where the
//! bytes come from; any bytes give a value or none.

use std::collections::BTreeMap;

/// Hexadecimal digits of a container ID.
const CONTAINER_ID_DIGITS: usize = 64;

/// What is taken of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the main thread.
    pub comm: String,
    /// Field 22: start time since boot in clock ticks.
    pub start_ticks: u64,
}

impl Stat {
    /// The name may hold spaces and parentheses, so it reaches to the last one.
    pub fn parse(stat: &[u8]) -> Option<Stat> {
        let stat = String::from_utf8_lossy(stat);
        let (_, behind) = stat.split_once('(')?;
        let (comm, fields) = behind.rsplit_once(')')?;
        // The first field behind the name is the third.
        let start_ticks = fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
        Some(Stat { comm: comm.into(), start_ticks })
    }
}

/// The effective user ID in `/proc/PID/status`: `Uid` has the real, effective, saved and file-system ID.
pub fn uid(status: &[u8]) -> Option<u32> {
    numbers(status, b"Uid:").nth(1)
}

/// The process of a thread in `/proc/PID/status`.
pub(super) fn tgid(status: &[u8]) -> Option<u32> {
    numbers(status, b"Tgid:").next()
}

/// The paths in `/proc/PID/cgroup`, each once, in the order of the lines `hierarchy:controllers:path` (cgroups(7)).
/// ` (deleted)` behind the path of a removed group is not part of it.
pub fn cgroup_paths(cgroup: &[u8]) -> Vec<String> {
    let mut paths = Vec::new();
    for line in cgroup.split(|&byte| byte == b'\n') {
        let Some(path) = line.splitn(3, |&byte| byte == b':').nth(2) else { continue };
        let path = String::from_utf8_lossy(path);
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        if !path.is_empty() && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

/// The container of control groups: 64 hexadecimal digits as a directory, `ID`, or behind what a runtime puts in front
/// of them, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `…:cri-containerd:ID`.
/// The innermost wins. A `conmon` scope holds the monitor of a container and not the container.
pub fn container_id(cgroups: &[String]) -> Option<String> {
    cgroups.iter().find_map(|path| path.rsplit('/').find_map(container_of_directory)).map(str::to_owned)
}

fn container_of_directory(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (runtime, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    let is_id = id.len() == CONTAINER_ID_DIGITS
        && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (is_id && !runtime.ends_with("conmon")).then_some(id)
}

/// The arguments in `/proc/PID/cmdline`: each ends with a zero byte. A process that writes a title over them leaves
/// more zero bytes behind it, or none. An empty last argument cannot be told from those and is left out.
pub(super) fn arguments(cmdline: &[u8]) -> Vec<String> {
    let mut arguments: Vec<String> =
        cmdline.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    while arguments.last().is_some_and(String::is_empty) {
        arguments.pop();
    }
    arguments
}

/// The value of a variable in `/proc/PID/environ`; of several the first, as getenv(3) gives it.
pub(super) fn variable(environment: &[u8], name: &str) -> Option<String> {
    environment.split(|&byte| byte == 0).find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// The names of users by number.
#[derive(Clone, Debug, Default)]
pub struct Users(BTreeMap<u32, String>);

impl Users {
    /// Reads `name:password:uid:…` lines (passwd(5)). Of two names of one number the first counts.
    pub fn parse(passwd: &[u8]) -> Users {
        let mut users = BTreeMap::new();
        for line in String::from_utf8_lossy(passwd).lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Ok(uid) = uid.parse() else { continue };
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
        Users(users)
    }

    /// The name of a user.
    pub fn name(&self, uid: u32) -> Option<&str> {
        self.0.get(&uid).map(String::as_str)
    }
}

/// The numbers of one line of a status file. The name of the process is a line before these and cannot feign one: the
/// kernel escapes line ends in it (`proc_task_name`, fs/proc/array.c).
fn numbers<'a>(status: &'a [u8], label: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(label));
    str::from_utf8(line.unwrap_or_default())
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map_while(|number| number.parse().ok())
}
