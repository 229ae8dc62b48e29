//! Given: the bytes of `/proc/PID/maps`. Gives: the mappings they list. Refuses to know: files and memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One line (proc_pid_maps(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// `r` or `-`, `w` or `-`, `x` or `-`, `p`rivate or `s`hared.
    pub permissions: [u8; 4],
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Major and minor number of the device of the file; 0 and 0 without a file.
    pub device: (u32, u32),
    /// Of the file; 0 without a file.
    pub inode: u64,
    /// Path as the process sees it, or a name of the kernel such as `[heap]`; a line end in it is `\012`.
    pub path: Option<PathBuf>,
    /// The file was removed since it was mapped, so `path` leads to another file or none.
    pub deleted: bool,
}

impl Mapping {
    /// Holds code.
    pub fn is_executable(&self) -> bool {
        self.permissions[2] == b'x'
    }
}

/// Reads all lines. One that is no mapping, such as a last one that was cut, is left out.
pub fn mappings(maps: &[u8]) -> Vec<Mapping> {
    maps.split(|&byte| byte == b'\n').filter_map(mapping).collect()
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    // The path is separated by any number of spaces and may hold some, so it is what five fields leave.
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (start, end) = pair(fields.next()?, '-')?;
    let permissions = fields.next()?.try_into().ok()?;
    let offset = hexadecimal(str::from_utf8(fields.next()?).ok()?)?;
    let (major, minor) = pair(fields.next()?, ':')?;
    let inode = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let path = fields.next().unwrap_or_default();
    let path =
        path.get(path.iter().position(|&byte| byte != b' ').unwrap_or(path.len())..).unwrap_or_default();
    let (path, deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    Some(Mapping {
        start,
        end,
        permissions,
        offset,
        device: (major.try_into().ok()?, minor.try_into().ok()?),
        inode,
        path: (!path.is_empty()).then(|| OsStr::from_bytes(path).into()),
        deleted,
    })
}

fn pair(field: &[u8], between: char) -> Option<(u64, u64)> {
    let (left, right) = str::from_utf8(field).ok()?.split_once(between)?;
    Some((hexadecimal(left)?, hexadecimal(right)?))
}

/// Without the sign that `from_str_radix` would take.
fn hexadecimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok())?
}
