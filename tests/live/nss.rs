//! Given: libcurl with NSS, whose connections have the functions that files have. Gives: proof that the calls are those of the
//! server's log, and that nothing else is read. Refuses to know: other TLS libraries.

use crate::call::Role;
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::Running;
use crate::tracer::Tracer;

fn client(what: &str, nginx: &Nginx, files: &[String]) -> Running {
    let arguments = [needs::script("nss.py"), what.to_owned(), nginx.tls_url(""), nginx.certificate()];
    Running::hold(needs::python(), arguments.iter().chain(files))
}

/// A file that looks like a request is read through NSPR besides.
#[test]
fn libcurl_and_a_file() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let (file, record) = (nginx.path("file"), nginx.path("record.rotrace"));
    std::fs::write(&file, "GET /of/the/file HTTP/1.1\r\nHost: file\r\n\r\n").unwrap();
    let mut client = client("calls", &nginx, &[file]);
    client.next_step();
    client.line("ready");
    let tracer = Tracer::attach_with(&[client.pid()], &["--unredacted", "--record", &record]);
    client.next_step();
    client.succeeded();
    let seen = tracer.finish();
    let text = String::from_utf8_lossy(&std::fs::read(&record).unwrap()).into_owned();
    assert!(text.contains("/v1/one/1") && !text.contains("/of/the/file"), "a file was read");
    let log = nginx.quit();
    assert_eq!(log.len(), 28);
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Client));
    assert_equal(&seen.calls, &log);
}

/// Which descriptors are TLS is only known of those that were imported since the tracer came.
#[test]
fn a_connection_that_is_older_than_the_tracer_is_counted() {
    let nginx = Nginx::start();
    let mut client = client("late", &nginx, &[]);
    let tracer = Tracer::attach_when_ready(&mut client);
    client.succeeded();
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 7);
    assert_equal(&seen.calls, &log[4..]);
    let summary: serde_json::Value = serde_json::from_str(seen.lines.last().unwrap()).unwrap();
    assert_eq!(summary["games"][0]["coverage"]["tls_opaque_connections"], 1, "{summary}");
}

/// From the first call of `PR_Writev` on a connection is not read, which is counted: one that has begun otherwise is seen up to there.
#[test]
fn a_connection_that_is_written_to_by_vectors_is_not_read_from_there_on() {
    let nginx = Nginx::start();
    let mut client = client("vectors", &nginx, &[]);
    let tracer = Tracer::attach_when_ready(&mut client);
    client.succeeded();
    let seen = tracer.finish_with_losses();
    let mut log = nginx.quit();
    assert_eq!(log.len(), 9);
    log.retain(|served| served.path == "/v1/mixed/0" || served.path.starts_with("/v1/plain/"));
    assert_equal(&seen.calls, &log);
    assert_eq!(seen.summary.lost("nspr_vectors"), Some(2));
    let summary: serde_json::Value = serde_json::from_str(seen.lines.last().unwrap()).unwrap();
    assert_eq!(summary["games"][0]["coverage"]["tls_opaque_connections"], 1, "{summary}");
}
