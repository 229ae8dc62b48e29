//! Given: clients and servers of HTTP/2 and gRPC. Gives: proof that the calls are those of the server's log, however many are
//! under way at one time, that bodies are not copied, and that who joins late invents nothing. Refuses to know: frames.

use std::collections::{BTreeMap, BTreeSet};

use crate::access_log::{self, Served};
use crate::call::{self, Call, Seen};
use crate::clients;
use crate::compare::{assert_equal, assert_equal_but_times};
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, words};
use crate::servers::{load, serve};
use crate::tracer::{Tracer, trace};

/// Streams end in another order than they began: calls with paths of their own are compared in the order of those. Calls
/// that are begun together have no times of their own that a log could confirm; those of the other tests do.
pub(crate) fn assert_equal_in_any_order(calls: &[Call], log: &[Served]) {
    let mut calls = calls.to_vec();
    calls.sort_by(|one, other| one.path.cmp(&other.path));
    let mut log = log.to_vec();
    log.sort_by(|one, other| one.path.cmp(&other.path));
    log.iter_mut().zip(1..).for_each(|(served, ordinal)| served.ordinal = ordinal);
    assert_equal_but_times(&calls, &log);
}

/// The same calls; their times are not compared, where a server looks at its clock long after it has read.
fn assert_same(calls: &[Call], log: &[Served]) {
    let told = |call: &Call| {
        assert!(call.complete && call.ttfb_ns <= call.duration_ns, "{call:?}");
        let sizes = (call.request_body_bytes, call.response_body_bytes);
        (call.method.clone(), call.path.clone(), call.protocol.clone(), call.status, sizes)
    };
    let logged = |served: &Served| {
        let sizes = (served.request_body_bytes, served.response_body_bytes);
        let protocol = served.protocol.to_lowercase();
        (served.method.clone(), served.path.clone(), protocol, Some(served.status), sizes)
    };
    assert_eq!(calls.iter().map(told).collect::<Vec<_>>(), log.iter().map(logged).collect::<Vec<_>>());
}

fn script(arguments: &[&str]) -> Vec<String> {
    let rest = arguments.iter().map(|&argument| argument.to_owned());
    [needs::script("http2.py")].into_iter().chain(rest).collect()
}

/// One call: curl before 8 does not use such a connection again.
#[test]
fn curl_with_prior_knowledge() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let arguments = ["-s", "--http2-prior-knowledge", &nginx.http2_url("/page")];
    clients::check(nginx, needs::program("curl"), arguments, 1);
}

#[test]
fn curl_head_post_upload_and_errors() {
    let nginx = Nginx::start();
    let file = nginx.path("body");
    std::fs::write(&file, vec![b'u'; 300_000]).unwrap();
    let mut arguments = Vec::new();
    for (options, path) in [
        (vec!["-I"], "/v1/head"),
        (vec!["-d", "name=value&other=1"], "/echo/post"),
        (vec!["-X", "DELETE"], "/empty/x"),
        (vec!["-T", &file], "/upload/file"),
        (vec![], "/missing"),
    ] {
        arguments.extend(words(["-s", "--http2", "--cacert"]));
        arguments.push(nginx.certificate());
        arguments.extend(options.into_iter().map(str::to_owned));
        arguments.extend([nginx.http2_tls_url(path), "--next".to_owned()]);
    }
    arguments.pop();
    let seen = clients::check(nginx, needs::program("curl"), arguments, 5);
    let statuses: Vec<_> = seen.calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 200, 204, 201, 404].map(Some));
    assert_eq!(seen.calls[3].request_body_bytes, Some(300_000));
}

#[test]
fn curl_over_tls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let urls = [nginx.http2_tls_url("/v1/items/[1-10]?page=2"), nginx.http2_tls_url("/page")];
    let arguments = words(["-s", "--http2", "--cacert"]).into_iter().chain([nginx.certificate()]).chain(urls);
    let seen = clients::check(nginx, needs::program("curl"), arguments, 11);
    assert!(seen.calls.iter().all(|call| call.tls && call.connection == seen.calls[0].connection));
    assert!(seen.calls[0].endpoint.ends_with("/v1/items/{id}"), "{}", seen.calls[0].endpoint);
}

#[test]
fn curl_in_parallel_on_one_connection() {
    let nginx = Nginx::start();
    let rest = [nginx.certificate(), nginx.http2_tls_url("/v1/parallel/[1-300]")];
    let arguments = words(["-s", "--http2", "-Z", "--parallel-max", "50", "--cacert"]);
    let seen = trace(Running::hold(needs::program("curl"), arguments.into_iter().chain(rest)));
    let log = nginx.quit();
    assert_eq!(log.len(), 300);
    assert_equal_in_any_order(&seen.calls, &log);
}

#[test]
fn nginx_as_traced_server() {
    let (seen, log) = serve(Nginx::start(), 119, |nginx| {
        let arguments = script(&["many", "127.0.0.1", &nginx.http2_port.to_string()]);
        load(needs::venv_python(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    });
    assert_equal_in_any_order(&seen.calls, &log);
}

#[test]
fn nginx_as_traced_server_over_tls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let (seen, log) = serve(nginx, 11, |nginx| {
        let options = ["-s", "--http2", "-o", "/dev/null", "--cacert", &nginx.certificate()];
        let urls = [&*nginx.http2_tls_url("/v1/items/[1-10]"), &nginx.http2_tls_url("/page")];
        load(needs::program("curl"), &[&options[..], &urls].concat());
    });
    assert_equal(&seen.calls, &log);
}

#[test]
fn httpx_with_sixty_calls_at_one_time_over_tls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 200_000);
    let port = nginx.http2_tls_port.to_string();
    let arguments = script(&["httpx", "localhost", &port, &nginx.certificate()]);
    let seen = trace(Running::hold(needs::venv_python(), arguments));
    let log = nginx.quit();
    assert_eq!(log.len(), 63);
    assert_equal_in_any_order(&seen.calls, &log);
}

#[test]
fn a_hundred_streams_at_one_time() {
    let nginx = Nginx::start();
    let port = nginx.http2_port.to_string();
    let seen = trace(Running::hold(needs::venv_python(), script(&["many", "127.0.0.1", &port])));
    let log = nginx.quit();
    assert_eq!(log.len(), 119);
    assert_equal_in_any_order(&seen.calls, &log);
}

/// Its server says nothing of it by which it could be known.
#[test]
fn an_answer_that_comes_again_is_known_by_its_body() {
    let answer = "a".repeat(400);
    let nginx = Nginx::with(1, &format!("location /same {{ return 200 '{answer}'; }}"));
    let port = nginx.http2_port.to_string();
    let seen = trace(Running::hold(needs::venv_python(), script(&["same", "127.0.0.1", &port])));
    assert_equal_in_any_order(&seen.calls, &nginx.quit());
    let findings = seen.lines.iter().filter(|line| call::kind(line) == "finding");
    let known_by = findings.filter_map(|line| {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_wanted = finding["pattern"] == "duplicate_request";
        is_wanted.then(|| finding["evidence"]["facts"]["same_by"].clone())
    });
    let known_by: BTreeSet<String> = known_by.map(|strength| strength.to_string()).collect();
    assert_eq!(known_by, BTreeSet::from(["\"body\"".to_owned()]));
}

#[test]
fn a_download_that_is_given_up_is_aborted() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 50_000_000);
    let port = nginx.http2_port.to_string();
    let seen = trace(Running::hold(needs::venv_python(), script(&["given_up", "127.0.0.1", &port])));
    let [aborted, behind] = &seen.calls[..] else { panic!("{:?}", seen.calls) };
    assert_eq!((&*aborted.path, aborted.status, aborted.complete), ("/page", Some(200), false));
    assert_eq!((&*behind.path, behind.status, behind.complete), ("/v1/behind", Some(200), true));
    assert_eq!(nginx.quit().len(), 2);
}

/// What was sent before the tracer came is a number now: it stays unknown, and is counted under its own endpoint.
#[test]
fn a_connection_that_is_joined_late() {
    let nginx = Nginx::start();
    let port = nginx.http2_port.to_string();
    let mut client = Running::hold(needs::venv_python(), script(&["late", "127.0.0.1", &port]));
    client.next_step();
    client.line("joined");
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    client.succeeded();
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 11);
    assert_eq!(seen.calls.len(), 8, "{:?}", seen.calls);
    for (call, served) in seen.calls.iter().zip(&log[3..]) {
        let is_known = served.path != "/v1/before";
        assert_eq!(call.path, if is_known { &*served.path } else { "" });
        assert_eq!(call.path_unknown.as_deref(), if is_known { None } else { Some("joined_late") });
        assert_eq!(call.endpoint == "unknown", !is_known || call.authority.is_none(), "{call:?}");
        assert_eq!((call.status, call.response_body_bytes), (Some(200), served.response_body_bytes));
        assert!(call.complete && call.protocol == "http/2");
    }
}

#[test]
fn of_a_gigabyte_that_is_downloaded_nothing_is_copied() {
    const SIZE: u64 = 1 << 30;
    let nginx = Nginx::start();
    nginx.serve_file("large", SIZE);
    let arguments = ["-s", "--http2-prior-knowledge", "-o", "/dev/null", &nginx.http2_url("/large")];
    let seen = clients::check(nginx, needs::program("curl"), arguments, 1);
    assert_eq!(seen.calls[0].response_body_bytes, Some(SIZE));
    let captured = seen.summary.captured_bytes.unwrap();
    // The headers of frames of 8 KiB or more, and the first bytes of their payload.
    assert!(captured < SIZE / 400, "{captured} bytes of {SIZE} were copied");
}

/// A hypercorn that logs what it served; it ends with its input.
fn hypercorn() -> (Running, u16) {
    needs::rotrace();
    let mut server = Running::hold(needs::venv_python(), [needs::script("upgraded.py")]);
    server.next_step();
    let port = server.line("listening ").parse().unwrap();
    (server, port)
}

#[test]
fn curl_that_upgrades_from_http1() {
    let (mut server, port) = hypercorn();
    let url = format!("http://127.0.0.1:{port}/upgraded/[1-5]");
    let seen = trace(Running::hold(needs::program("curl"), ["-s", "--http2", &url]));
    let mut log = access_log::read_python(&server.succeeded());
    // The first request was one of HTTP/1.1, and was answered in HTTP/2.
    log[0].protocol = "HTTP/1.1".to_owned();
    assert_eq!(log.len(), 5);
    assert_same(&seen.calls, &log);
}

/// It is one of the active requests, and a call when it ends.
#[test]
fn a_stream_of_events_ends_when_its_server_ends_it() {
    let (mut server, port) = hypercorn();
    let url = format!("http://127.0.0.1:{port}/stream/10");
    let mut client = Running::hold(needs::program("curl"), ["-s", "-N", "--http2-prior-knowledge", &url]);
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    server.line("streaming");
    server.next_step();
    client.succeeded();
    let seen = tracer.finish();
    let log = access_log::read_python(&server.succeeded());
    assert_eq!(log.len(), 1);
    assert_same(&seen.calls, &log);
}

/// Status, messages of the request, messages of the response.
type Said = (Option<u32>, Option<u64>, Option<u64>);

/// Method → status, messages of the request, messages of the response, of each call.
fn grpc_calls(seen: &Seen) -> BTreeMap<String, Vec<Said>> {
    let mut calls = BTreeMap::<_, Vec<_>>::new();
    for call in &seen.calls {
        let name = call.path.strip_prefix("/live.Games/").unwrap_or(&call.path).to_owned();
        let said = (call.grpc_status, call.grpc_request_messages, call.grpc_response_messages);
        calls.entry(name).or_default().push(said);
        assert!(call.complete && call.status == Some(200), "{call:?}");
        assert!(call.endpoint.ends_with(&call.path), "{call:?}");
    }
    calls.values_mut().for_each(|calls| calls.sort());
    calls
}

fn grpc(traces_server: bool) {
    needs::rotrace();
    let mut server =
        Running::hold(needs::venv_python(), [needs::script("grpc_calls.py"), "serve".to_owned()]);
    server.next_step();
    let port: String = server.line("listening ");
    let mut client = Running::hold(needs::venv_python(), [needs::script("grpc_calls.py"), port]);
    let tracer = Tracer::attach(&[if traces_server { server.pid() } else { client.pid() }]);
    client.next_step();
    client.succeeded();
    server.succeeded();
    let calls = grpc_calls(&tracer.finish());
    assert_eq!(calls["Get"], vec![(Some(0), Some(1), Some(1)); 30]);
    assert_eq!(calls["Watch"], [0, 1, 25].map(|count| (Some(0), Some(1), Some(count))));
    assert_eq!(calls["Add"], [(Some(0), Some(7), Some(1))]);
    assert_eq!(calls["Chat"], [(Some(0), Some(5), Some(5))]);
    assert_eq!(calls["Missing"], [(Some(5), Some(1), Some(0))]);
    assert_eq!(calls["Nothing"].len(), 1);
    assert_eq!(calls["Nothing"][0].0, Some(12));
    assert_eq!(calls.len(), 6, "{calls:?}");
}

#[test]
fn grpc_calls_made() {
    grpc(false);
}

#[test]
fn grpc_calls_served() {
    grpc(true);
}
