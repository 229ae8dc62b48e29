//! Given: clients and servers that encrypt through Go's `crypto/tls`. Gives: proof that the calls in the plaintext are those
//! of the server's log, with symbols and without. Refuses to know: other TLS libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::call::{Role, Seen};
use crate::compare::assert_equal;
use crate::http2::assert_equal_in_any_order;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome};
use crate::servers::serve_over_tls;
use crate::tracer::Tracer;

/// How a program is linked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    Plain,
    Stripped,
    StrippedPie,
}

/// `scripts/http.go`, which Go compiles once where cargo runs the tests. Where they run alone, it is there.
pub(crate) fn program(link: Link) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let program = directory.join(format!("{link:?}"));
    if std::env::var_os("CARGO").is_some() {
        compile(link, &directory, &program);
    }
    assert!(program.is_file(), "there is no {}: `go::the_program_compiles` makes it", program.display());
    program
}

fn compile(link: Link, directory: &Path, program: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let mut command = Command::new(needs::program("go"));
    let arguments: &[&str] = match link {
        Link::Plain => &[],
        Link::Stripped => &["-ldflags=-s -w"],
        Link::StrippedPie => &["-ldflags=-s -w", "-buildmode=pie"],
    };
    command.arg("build").args(arguments).arg("-o").arg(program).arg(needs::script("http.go"));
    command.env("GOCACHE", directory.join("cache")).env("GOPATH", directory).current_dir(directory);
    command.env("GOFLAGS", "").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    let (status, _, complaints) = outcome(command);
    assert_eq!(status, Some(0), "{complaints}");
}

/// For those who run the other tests where there is no compiler.
#[test]
fn the_program_compiles() {
    for link in [Link::Plain, Link::Stripped, Link::StrippedPie] {
        program(link);
    }
}

/// Traces a client from before its first call; a program that was just executed makes calls before its file is read.
fn client(link: Link, arguments: &[&str]) -> Seen {
    let mut client = Running::hold(program(link), arguments);
    let tracer = Tracer::attach_when_ready(&mut client);
    client.succeeded();
    let seen = tracer.finish();
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Client));
    seen
}

fn http1(link: Link) {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let seen = client(link, &["client", "http1", &nginx.tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 116);
    assert_equal(&seen.calls, &log);
}

fn http2(link: Link) {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let seen = client(link, &["client", "http2", &nginx.http2_tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 116);
    assert!(seen.calls.iter().all(|call| call.protocol == "http/2"));
    assert_equal_in_any_order(&seen.calls, &log);
}

#[test]
fn client_with_symbols() {
    http1(Link::Plain);
}

#[test]
fn client_without_symbols() {
    http1(Link::Stripped);
}

#[test]
fn client_without_symbols_that_is_relocated() {
    http1(Link::StrippedPie);
}

#[test]
fn client_of_http2_with_symbols() {
    http2(Link::Plain);
}

#[test]
fn client_of_http2_without_symbols() {
    http2(Link::Stripped);
}

/// The connection is idle when the tracer comes: its next answer is read by a call that began before.
#[test]
fn a_read_that_waits_since_before_the_tracer_came() {
    let nginx = Nginx::start();
    let seen = client(Link::Stripped, &["late", &nginx.tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 8);
    assert_equal(&seen.calls, &log[3..]);
}

fn server(link: Link, protocol: &str, largest: u32) {
    serve_over_tls(&program(link), protocol, largest);
}

#[test]
fn server_with_symbols() {
    server(Link::Plain, "--http1.1", 3_000_000);
}

#[test]
fn server_without_symbols() {
    server(Link::Stripped, "--http1.1", 3_000_000);
}

/// Of a long body Go sends the end in a frame of its own, and curl resets a stream once it has as much as it was told: such a
/// call is complete or not, as they race.
#[test]
fn server_of_http2() {
    server(Link::Stripped, "--http2", 3_000);
}
