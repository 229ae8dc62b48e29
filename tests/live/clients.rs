//! Given: the HTTP clients that programs use. Gives: proof that the calls they make are those of the server's log.
//! Refuses to know: TLS.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use crate::call::{Role, Seen};
use crate::compare::{assert_equal, assert_equal_but_cut_off};
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, words};
use crate::tracer::trace;

/// Runs a client under the tracer and compares; the log must have so many requests.
pub(crate) fn check<S: AsRef<OsStr>>(
    nginx: Nginx,
    program: impl AsRef<Path>,
    arguments: impl IntoIterator<Item = S>,
    requests: usize,
) -> Seen {
    let seen = trace(Running::hold(program.as_ref(), arguments));
    let ports = nginx.ports();
    let log = nginx.quit();
    assert_eq!(log.len(), requests, "the client made other calls than the test expects");
    assert!(seen.calls.iter().all(|call| call.role == Role::Client), "a client serves nothing");
    let is_nginx = |peer: SocketAddr| peer.ip().is_loopback() && ports.contains(&peer.port());
    // Nobody says on which socket a TLS library works that has memory for one.
    assert!(seen.calls.iter().all(|call| call.peer.map_or(call.tls, is_nginx)), "{:?}", seen.calls);
    assert_equal(&seen.calls, &log);
    seen
}

#[test]
fn curl_with_many_urls_on_one_connection() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 100_000);
    let url = nginx.url("");
    let urls = [format!("{url}/v1/items/[1-20]?page=2"), format!("{url}/page"), format!("{url}/missing")];
    let seen = check(nginx, needs::program("curl"), words(["-s"]).into_iter().chain(urls), 22);
    let authority = seen.calls[0].authority.clone().unwrap();
    assert!(authority.starts_with("127.0.0.1:"), "{authority}");
    assert!(
        seen.calls.iter().all(|call| call.connection == seen.calls[0].connection),
        "curl keeps its connection"
    );
    assert_eq!(seen.calls[0].endpoint, format!("{authority}/v1/items/{{id}}"));
}

#[test]
fn curl_head_post_delete_and_errors() {
    let nginx = Nginx::start();
    let url = nginx.url("");
    let next = || "--next".to_owned();
    let mut arguments = words(["-s", "-I"]);
    arguments.extend([format!("{url}/v1/head"), next()]);
    arguments.extend(
        words(["-s", "-d", "name=value&other=1"]).into_iter().chain([format!("{url}/echo/post"), next()]),
    );
    arguments.extend(words(["-s", "-X", "DELETE"]).into_iter().chain([format!("{url}/empty/x"), next()]));
    arguments.extend(words(["-s", "-L"]).into_iter().chain([format!("{url}/moved/x"), next()]));
    arguments.extend(words(["-s", "-H", "Host:"]).into_iter().chain([format!("{url}/v1/no-host"), next()]));
    arguments.extend(words(["-s", "-0"]).into_iter().chain([format!("{url}/v1/old")]));
    let seen = check(nginx, needs::program("curl"), arguments, 7);
    let statuses: Vec<_> = seen.calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 200, 204, 302, 200, 400, 200].map(Some));
}

#[test]
fn curl_upload_that_waits_for_continue() {
    let nginx = Nginx::start();
    let (file, url) = (nginx.path("body"), nginx.url("/upload/file"));
    std::fs::write(&file, vec![b'u'; 300_000]).unwrap();
    let seen =
        check(nginx, needs::program("curl"), ["-s", "-T", &file, "-H", "Expect: 100-continue", &url], 1);
    assert_eq!(seen.calls[0].status, Some(201));
    assert_eq!(seen.calls[0].request_body_bytes, Some(300_000));
}

fn upload_in_chunks(bytes: usize) -> Option<u64> {
    let nginx = Nginx::start();
    let (file, url) = (nginx.path("body"), nginx.url("/echo/chunked"));
    std::fs::write(&file, vec![b'u'; bytes]).unwrap();
    let body = format!("@{file}");
    let arguments = ["-s", "-H", "Transfer-Encoding: chunked", "--data-binary", &body, &url];
    check(nginx, needs::program("curl"), arguments, 1).calls[0].request_body_bytes
}

#[test]
fn curl_upload_in_chunks_counts_payload_alone() {
    assert_eq!(upload_in_chunks(15_000), Some(15_000));
}

/// Where chunk sizes lie behind what is copied of a body, its payload cannot be told from its framing.
#[test]
fn curl_upload_in_large_chunks_is_counted_or_not_known() {
    let counted = upload_in_chunks(3_000_000);
    assert!(matches!(counted, None | Some(3_000_000)), "{counted:?}");
}

#[test]
fn curl_over_ipv6() {
    let nginx = Nginx::start();
    let connect = format!("six.test:{}:[::1]", nginx.port);
    let url = format!("http://six.test:{}/v1/six/[1-5]", nginx.port);
    let seen = check(nginx, needs::program("curl"), ["-s", "--resolve", &connect, &url], 5);
    let named = |authority: &Option<String>| authority.as_deref() == Some(&connect[..connect.len() - 6]);
    assert!(seen.calls.iter().all(|call| named(&call.authority)));
}

#[test]
fn wget_with_a_connection_for_each_run_of_urls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 70_000);
    let urls: Vec<_> = ["/v1/a", "/v1/b?x=1", "/page"].iter().map(|path| nginx.url(path)).collect();
    check(nginx, needs::program("wget"), words(["-q", "-O", "/dev/null"]).into_iter().chain(urls), 3);
}

fn python_library(library: &str, requests: usize) {
    let nginx = Nginx::start();
    let arguments = [needs::script("client.py"), library.to_owned(), nginx.url("")];
    let seen = check(nginx, needs::venv_python(), arguments, requests);
    let chunked = seen.calls.iter().find(|call| call.path.ends_with("/chunked")).unwrap();
    assert_eq!(chunked.request_body_bytes, Some(9_706), "payload without chunk framing");
}

#[test]
fn python_http_client() {
    python_library("http_client", 17);
}

#[test]
fn python_requests() {
    python_library("requests", 18);
}

#[test]
fn python_httpx() {
    python_library("httpx", 18);
}

#[test]
fn python_httpx_async() {
    python_library("httpx_async", 18);
}

#[test]
fn python_aiohttp() {
    python_library("aiohttp", 18);
}

#[test]
fn node_http_with_an_agent_that_keeps_connections() {
    let nginx = Nginx::start();
    let arguments = [needs::script("client.mjs"), "http".to_owned(), nginx.url("")];
    check(nginx, needs::program("node"), arguments, 25);
}

#[test]
fn node_fetch() {
    let nginx = Nginx::start();
    let arguments = [needs::script("client.mjs"), "fetch".to_owned(), nginx.url("")];
    check(nginx, needs::program("node"), arguments, 50);
}

#[test]
fn ab_ten_thousand_calls_on_ten_connections() {
    let nginx = Nginx::start();
    let url = nginx.url("/v1/price");
    check(nginx, needs::program("ab"), ["-q", "-k", "-n", "10000", "-c", "10", &url], 10_000);
}

#[test]
fn wrk_for_two_seconds_with_numbered_paths() {
    let nginx = Nginx::start();
    let arguments = ["-t", "1", "-c", "8", "-d", "2s", "-s", &needs::script("numbered.lua"), &nginx.url("/")];
    let seen = trace(Running::hold(needs::program("wrk"), arguments));
    let log = nginx.quit();
    assert!(log.len() > 1000, "wrk made {} calls", log.len());
    assert_equal_but_cut_off(&seen.calls, &log);
}
