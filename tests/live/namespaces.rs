//! Given: processes in a PID namespace of their own. Gives: proof that rotrace takes and shows the PIDs of its user's
//! namespace. Refuses to know: other kinds of namespace.

use std::process::Command;

use crate::call::Seen;
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, until};
use crate::tracer::{Tracer, trace};

/// `unshare` with a new PID namespace that ends with it.
fn inside() -> Command {
    let mut command = Command::new(needs::program("unshare"));
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

#[test]
fn a_tracer_in_a_pid_namespace_takes_and_shows_its_pids() {
    let nginx = Nginx::start();
    let mut command = inside();
    command.arg(needs::python()).arg(needs::script("inside.py")).arg(needs::rotrace());
    command.args(needs::probes()).arg("--").arg(needs::program("curl"));
    command.args(["-s", "-o", "/dev/null", &nginx.url("/v1/inside/[1-10]")]);
    let printed = Running::start(command).succeeded();
    let log = nginx.quit();
    let (pid, lines) = printed.split_first().unwrap();
    let pid: u32 = pid.parse().unwrap();
    let seen = Seen::read(lines);
    assert!(seen.summary.lost.is_empty(), "lost: {:?}", seen.summary.lost);
    assert_eq!(log.len(), 10);
    assert_equal(&seen.calls, &log);
    assert!(seen.calls.iter().all(|call| call.pid == pid), "the PID that the user typed");
}

/// As in most containers: on overlayfs `stat` and `/proc/PID/maps` give a file different devices.
#[test]
fn a_process_whose_files_are_on_an_overlay() {
    let nginx = Nginx::start();
    let directory = tempfile::TempDir::with_prefix("rotrace-live-").unwrap();
    let root = directory.path().to_str().unwrap();
    // The upper layer may not itself be on an overlay, so all of it is in memory.
    let script = format!(
        "mount -t tmpfs none {root} && mkdir {root}/upper {root}/work {root}/all && \
         mount -t overlay overlay -o lowerdir=/,upperdir={root}/upper,workdir={root}/work {root}/all && \
         mount --rbind /dev {root}/all/dev && read -r _ && exec chroot {root}/all \"$@\""
    );
    let mut command = Command::new(needs::program("unshare"));
    command.args(["--mount", "/bin/sh", "-c", &script, "sh"]).arg(needs::program("curl"));
    command.args(["-s", "-o", "/dev/null", "--http1.1", "--insecure", &nginx.tls_url("/v1/overlay/[1-10]")]);
    let client = Running::start(command);
    let seen = trace(client);
    let log = nginx.quit();
    assert_eq!(log.len(), 10);
    assert_equal(&seen.calls, &log);
    assert!(seen.calls.iter().all(|call| call.tls));
}

#[test]
fn a_process_in_a_pid_namespace_is_traced_by_its_pid_outside() {
    let nginx = Nginx::start();
    let mut command = inside();
    command.args(["/bin/sh", "-c", r#"read -r _ && exec "$@""#, "sh"]);
    command.arg(needs::program("curl")).args(["-s", "-o", "/dev/null", &nginx.url("/v1/outside/[1-10]")]);
    let mut outer = Running::start(command);
    let parent = outer.pid();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let pid = until("the process in the namespace", || {
        std::fs::read_to_string(&children).unwrap().split_whitespace().next()?.parse::<u32>().ok()
    });
    let tracer = Tracer::attach(&[pid]);
    outer.next_step();
    outer.succeeded();
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 10);
    assert_equal(&seen.calls, &log);
    assert!(seen.calls.iter().all(|call| call.pid == pid));
}
