//! Given: clients and a server that encrypt through rustls, built as `cargo build --release` does. Gives: proof that the calls in
//! the plaintext are those of the server's log. Refuses to know: other TLS libraries.

use crate::call::{Role, Seen};
use crate::compare::assert_equal;
use crate::http2::assert_equal_in_any_order;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::Running;
use crate::servers::{TlsServer, serve_over_tls};
use crate::tracer::Tracer;

/// Traces a client from before its first call; a program that was just executed makes calls before its file is read.
fn client(arguments: &[&str]) -> Seen {
    let mut client = Running::hold(needs::rustls(), arguments);
    let tracer = Tracer::attach_when_ready(&mut client);
    client.succeeded();
    let seen = tracer.finish();
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Client));
    assert_eq!(seen.opaque(), [].into(), "TLS that is not decoded");
    seen
}

fn http1(client_name: &str) {
    let nginx = Nginx::start_without_authority();
    nginx.serve_file("page", 3_000_000);
    let seen = client(&["client", client_name, &nginx.tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 117);
    assert_equal(&seen.calls, &log);
    let is_named =
        |authority: &Option<String>| authority.as_deref().is_some_and(|it| it.starts_with("localhost:"));
    assert!(seen.calls.iter().all(|call| is_named(&call.authority)));
}

/// Blocking, from several threads.
#[test]
fn ureq() {
    http1("ureq");
}

/// By tasks that change threads, over values that are moved.
#[test]
fn hyper_over_tokio() {
    http1("http1");
}

/// There the keys of data have encrypted a part of the handshake before.
#[test]
fn hyper_over_tokio_with_tls_1_2() {
    http1("http1-tls1.2");
}

/// A connection whose keys are replaced is no new one.
#[test]
fn hyper_over_tokio_with_updated_keys() {
    http1("http1-updated");
}

#[test]
fn hyper_over_tokio_with_http2() {
    let nginx = Nginx::start_without_authority();
    nginx.serve_file("page", 3_000_000);
    let seen = client(&["client", "http2", &nginx.http2_tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 117);
    assert!(seen.calls.iter().all(|call| call.protocol == "http/2"));
    assert_equal_in_any_order(&seen.calls, &log);
}

fn late(client_name: &str) {
    let nginx = Nginx::start_without_authority();
    let seen = client(&["late", client_name, &nginx.tls_url(""), &nginx.certificate()]);
    let log = nginx.quit();
    assert_eq!(log.len(), 8);
    assert_equal(&seen.calls, &log[3..]);
}

/// Its connection is older than the tracer.
#[test]
fn ureq_joined_late() {
    late("ureq");
}

#[test]
fn hyper_joined_late() {
    late("http1");
}

fn server(protocol: &str, largest: u32) {
    serve_over_tls(&needs::rustls(), protocol, largest);
}

#[test]
fn server_of_hyper() {
    server("--http1.1", 3_000_000);
}

#[test]
fn server_of_hyper_with_http2() {
    server("--http2", 3_000);
}

/// Which connection it is that receives, the process says with the first record that it encrypts: the request before that is lost.
#[test]
fn a_server_joined_late() {
    let server = TlsServer::start(&needs::rustls());
    let mut client = Running::hold(needs::rustls(), ["late", "ureq", &server.url(""), &server.certificate()]);
    client.next_step();
    client.line("ready");
    let tracer = Tracer::attach(&[server.pid()]);
    client.next_step();
    client.succeeded();
    let log = server.quit();
    let seen = tracer.finish_with_losses();
    assert_eq!(log.len(), 8);
    assert_eq!(seen.summary.lost("rustls_unread"), Some(1));
    assert_equal(&seen.calls, &log[4..]);
}
