//! Given: this host. Gives: the programs and rights that the live tests stand on, or a failure that names what is
//! missing. Refuses to know: what they are used for; and it never skips.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::outcome;

/// The `rotrace` under test; tracing needs root.
pub(crate) fn rotrace() -> PathBuf {
    // SAFETY: takes nothing and cannot fail (geteuid(2)).
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "live tests need root: they load probes and start servers");
    PathBuf::from(env!("CARGO_BIN_EXE_rotrace"))
}

/// The options of `rotrace run` and `attach` that ask for the family of probes that is to see it, if it has to be one.
pub(crate) fn probes() -> Vec<String> {
    let family = std::env::var("ROTRACE_LIVE_PROBES").ok();
    family.map_or(Vec::new(), |family| vec!["--probes".to_owned(), family])
}

/// Whether this kernel can be preempted within a probe, as rotrace says.
pub(crate) fn is_preempted_within_probes() -> bool {
    checked().contains(r#""what":"preemption""#)
}

/// Whether this kernel probes many functions by one link, as rotrace says; from 6.10 on it does.
pub(crate) fn has_uprobe_links() -> bool {
    checked().contains("probed by uprobe_multi links")
}

/// Whether this kernel is one before 5.11.
pub(crate) fn counts_maps_as_locked_memory() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>());
    let version = numbers.next().zip(numbers.next());
    let Some((Ok(major), Ok(minor))) = version else { panic!("what version is {release}?") };
    (major, minor) < (5, 11)
}

/// What rotrace says of this host.
fn checked() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(|| {
        let mut command = Command::new(rotrace());
        command.args(["check", "--format", "json"]);
        let (status, told, complaints) = outcome(command);
        assert_eq!(status, Some(0), "{complaints}");
        told
    })
}

/// The program of `tests/mover`.
pub(crate) fn mover() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let is_debug =
        Path::new(env!("CARGO_BIN_EXE_rotrace")).parent().is_some_and(|parent| parent.ends_with("debug"));
    BUILT.get_or_init(|| built("rotrace-mover", if is_debug { "dev" } else { "release" })).clone()
}

/// The program of `tests/rustls`, as programs are shipped: what is done to its functions is what is tried.
pub(crate) fn rustls() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("rotrace-rustls", "shipped")).clone()
}

/// The program of another package. Cargo does not build it for the tests of this one, so where cargo runs them it is asked to.
fn built(package: &str, profile: &str) -> PathBuf {
    let directory = if profile == "dev" { "debug" } else { profile };
    let target = Path::new(env!("CARGO_BIN_EXE_rotrace")).parent().and_then(Path::parent).unwrap();
    let path = target.join(directory).join(package);
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", package, "--profile", profile]);
        let (status, _, complaints) = outcome(command);
        assert_eq!(status, Some(0), "cannot build {package}: {complaints}");
    }
    assert!(
        is_executable(&path),
        "live tests need {}: `cargo build -p {package} --profile {profile}` makes it",
        path.display()
    );
    path
}

/// A program of the search path.
pub(crate) fn program(name: &str) -> PathBuf {
    let directories = std::env::var("PATH").expect("live tests need PATH");
    let found =
        directories.split(':').chain(["/usr/sbin", "/sbin"]).map(|directory| Path::new(directory).join(name));
    found.into_iter().find(|path| is_executable(path)).unwrap_or_else(|| {
        panic!("live tests need {name}: it is not in PATH; `cargo xtask setup` says how to get it")
    })
}

/// The cargo that runs these tests.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into()
}

/// The system's Python, which uses the system's OpenSSL.
pub(crate) fn python() -> PathBuf {
    let path = PathBuf::from("/usr/bin/python3");
    assert!(is_executable(&path), "live tests need {}", path.display());
    path
}

/// Python with requests, httpx and aiohttp.
pub(crate) fn venv_python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    assert!(
        is_executable(&path),
        "live tests need {}: a venv of /usr/bin/python3 with tests/requirements.txt; `cargo xtask setup` makes it",
        path.display()
    );
    path
}

/// A script of these tests.
pub(crate) fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/live/scripts").join(name);
    assert!(path.is_file(), "no script {}", path.display());
    path.to_str().unwrap().to_owned()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
