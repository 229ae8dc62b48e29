//! Given: captures that `attach --record` wrote. Gives: proof that a report from a capture says what was said live, that a
//! capture cut anywhere still counts, and that no secret of the traffic is in it or in any line. Refuses to know: the
//! format of the file.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::call::{Call, Seen, kind};
use crate::identity::script;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome};
use crate::refusals::rotrace;
use crate::tracer::{ATTACHED, Tracer};

/// A capture of 300 calls.
fn capture(nginx: &Nginx) -> String {
    let path = nginx.path("calls.rotrace");
    let mut client = script("counted", nginx.port, &["captured"]);
    let tracer = Tracer::attach_with(&[client.pid()], &["--record", &path]);
    client.next_step();
    client.succeeded();
    assert_eq!(tracer.finish().calls.len(), 300);
    path
}

/// What a report of a capture says.
pub(crate) fn reported(path: &str) -> Seen {
    let (status, printed, complaints) = outcome(rotrace(&["report", path, "--format", "json"]));
    assert_eq!(status, Some(0), "{complaints}");
    let lines: Vec<_> = printed.lines().map(str::to_owned).collect();
    Seen::read(&lines)
}

/// A tracer that was killed leaves a capture that ends anywhere: what is in it counts, and it is said that it is cut.
#[test]
fn a_capture_that_is_cut_off_gives_what_is_in_it() {
    let nginx = Nginx::start();
    let path = capture(&nginx);
    assert_eq!(reported(&path).calls.len(), 300, "the whole capture");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2 + 1]).unwrap();
    let (_, printed, complaints) = outcome(rotrace(&["report", &path, "--format", "json"]));
    assert_eq!(complaints.lines().count(), 1, "one line says that it is cut: {complaints}");
    let calls = printed.lines().filter(|line| kind(line) == "call").count();
    assert!((100..200).contains(&calls), "{calls} calls in half of the capture");
}

/// A disk of 64 KiB, in a mount namespace that ends with the tracer, and with which the disk ends.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" || exit 9
disk=$1 kept=$2 rotrace=$3
shift 3
"$rotrace" attach "$@" --format json --record "$disk/calls.rotrace"
status=$?
cp "$disk/calls.rotrace" "$kept" || exit 9
exit $status
"#;

/// The tracer ends, and says why and what to do; the calls up to there are in the file. Its probes end with it, since the
/// kernel keeps none of them without a process that holds it.
#[test]
fn a_full_disk_ends_the_recording_and_keeps_what_is_written() {
    let nginx = Nginx::start();
    let (full, kept) = (nginx.path("full"), nginx.path("kept.rotrace"));
    std::fs::create_dir(&full).unwrap();
    let url = nginx.url("/v1/full/[1-5000]");
    let mut client = Running::hold(needs::program("curl"), ["-s", "-o", "/dev/null", &url]);
    let mut command = Command::new(needs::program("unshare"));
    command.args([
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        ON_A_SMALL_DISK,
        "sh",
        &full,
        &kept,
    ]);
    command.arg(needs::rotrace()).arg(client.pid().to_string()).args(needs::probes());
    let mut tracer = Running::start(command);
    let attached = |lines: &[String]| lines.iter().any(|line| line.contains(ATTACHED)).then_some(());
    assert!(tracer.stderr.wait_for("rotrace to attach", attached).is_some(), "{}", tracer.complaints());
    client.next_step();
    assert_eq!(tracer.ended().code(), Some(1), "{}", tracer.complaints());
    client.succeeded();
    let complaints = tracer.stderr.so_far();
    let [_, said] = &complaints[..] else { panic!("more or less than a line: {complaints:?}") };
    for part in [&format!("{full}/calls.rotrace"), "No space left", "make room"] {
        assert!(said.contains(part), "does not say {part:?}: {said}");
    }
    let (_, printed, complaints) = outcome(rotrace(&["report", &kept, "--format", "json"]));
    assert!(complaints.lines().count() <= 1, "{complaints}");
    let lines = printed.lines().filter(|line| kind(line) == "call");
    let calls: Vec<Call> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<_> = calls.iter().map(|call| &*call.path).collect();
    let expected: Vec<_> = (1..=calls.len()).map(|number| format!("/v1/full/{number}")).collect();
    assert!((50..4000).contains(&calls.len()), "{} calls in 64 KiB", calls.len());
    assert_eq!(paths, expected, "the first ones, without a gap");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let nginx = Nginx::start();
    let path = capture(&nginx);
    for format in ["json", "text"] {
        let mut command = rotrace(&["report", &path, "--format", format]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{format}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_tracer_with_success() {
    let nginx = Nginx::start();
    let client = script("counted", nginx.port, &["unread"]);
    let mut command = rotrace(&["attach", &client.pid().to_string(), "--format", "json"]);
    command.args(needs::probes());
    let mut tracer =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(tracer.stdout.take());
    let mut stderr = BufReader::new(tracer.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains(ATTACHED)), "rotrace ended before it attached");
    client.run();
    // What it still says is read first: it must not wait for room in the pipe.
    let complaints: Vec<_> = stderr.map(Result::unwrap).collect();
    assert_eq!(tracer.wait().unwrap().code(), Some(0), "{complaints:?}");
}

/// One pipeline, two sources: the lines are the same to the byte.
#[test]
fn a_report_says_what_was_said_live() {
    let nginx = Nginx::start();
    let path = nginx.path("calls.rotrace");
    let arguments = [needs::script("client.py"), "http_client".to_owned(), nginx.url("")];
    let mut client = Running::hold(needs::python(), arguments);
    let tracer = Tracer::attach_with(&[client.pid()], &["--record", &path]);
    client.next_step();
    client.succeeded();
    let live = tracer.finish().lines;
    let (status, printed, complaints) = outcome(rotrace(&["report", &path, "--format", "json"]));
    assert_eq!((status, complaints.as_str()), (Some(0), ""));
    let calls =
        |lines: &[String]| lines.iter().filter(|line| kind(line) == "call").cloned().collect::<Vec<_>>();
    let reported: Vec<_> = printed.lines().map(str::to_owned).collect();
    assert_eq!(calls(&live).len(), 17);
    assert_eq!(calls(&live), calls(&reported));
}

#[test]
fn no_secret_of_the_traffic_is_written_down() {
    const SECRETS: [&str; 6] = ["hunter2", "s3ss10n", "t0k3n", "k3y", "b0dy", "passw0rd"];
    let nginx = Nginx::start();
    let path = nginx.path("calls.rotrace");
    let url = nginx.url("/echo/secret?access=t0k3n").replace("127.0.0.1", "user:passw0rd@127.0.0.1");
    // In a file: the arguments of a process are no traffic.
    let options = nginx.path("options");
    let fields = ["Cookie: id=s3ss10n", "X-Api-Key: k3y", "Authorization: Bearer hunter2"];
    let fields = fields.map(|field| format!("header = \"{field}\"\n")).concat();
    std::fs::write(&options, format!("{fields}data = \"secret=b0dy\"\nurl = \"{url}\"\n")).unwrap();
    let mut client = Running::hold(needs::program("curl"), ["-s", "-K", &options]);
    let tracer = Tracer::attach_with(&[client.pid()], &["--record", &path]);
    client.next_step();
    client.succeeded();
    let lines = tracer.finish().lines.join("\n");
    assert!(lines.contains("/echo/secret"), "{lines}");
    let recorded = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let recorded = String::from_utf8_lossy(&recorded);
    assert!(recorded.contains("/echo/secret"), "the call is in the capture");
    for secret in SECRETS {
        assert!(!lines.contains(secret), "{secret} in a line: {lines}");
        assert!(!recorded.contains(secret), "{secret} in the capture");
    }
    assert_eq!(nginx.quit().len(), 1);
}
