//! Given: clients and servers that encrypt through OpenSSL. Gives: proof that the calls in the plaintext are those of
//! the server's log. Refuses to know: other TLS libraries, and keys.

use std::process::Command;

use aya::maps::{Map, MapData, MapInfo};

use crate::call::{Role, Seen};
use crate::clients;
use crate::compare::{assert_equal, assert_suffix};
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome, until, words};
use crate::python::{PythonServer, Transport};
use crate::servers::{load, serve};
use crate::stopping::held_by;
use crate::tracer::{Tracer, trace};

#[test]
fn curl_over_tls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let urls = [nginx.tls_url("/v1/items/[1-10]"), nginx.tls_url("/page"), nginx.tls_url("/missing")];
    let arguments =
        words(["-s", "--http1.1", "--cacert"]).into_iter().chain([nginx.certificate()]).chain(urls);
    let seen = clients::check(nginx, needs::program("curl"), arguments, 12);
    assert!(seen.calls[0].authority.as_deref().is_some_and(|name| name.starts_with("localhost:")));
}

#[test]
fn curl_over_tls_1_2() {
    let nginx = Nginx::start();
    let url = nginx.tls_url("/v1/items/[1-10]");
    let arguments = ["-s", "--http1.1", "--tls-max", "1.2", "--cacert", &nginx.certificate(), &url];
    clients::check(nginx, needs::program("curl"), arguments, 10);
}

fn python_library(library: &str, requests: usize) {
    let nginx = Nginx::start();
    let arguments = [needs::script("client.py"), library.to_owned(), nginx.tls_url(""), nginx.certificate()];
    clients::check(nginx, needs::venv_python(), arguments, requests);
}

#[test]
fn python_http_client_over_tls() {
    python_library("http_client", 17);
}

#[test]
fn python_requests_over_tls() {
    python_library("requests", 18);
}

#[test]
fn python_httpx_over_tls() {
    python_library("httpx", 18);
}

#[test]
fn python_httpx_async_over_tls() {
    python_library("httpx_async", 18);
}

/// A library that the client brings and has loaded when the tracer comes.
fn loaded(library: &str, url: &str, nginx: Nginx, requests: usize) -> Seen {
    let arguments = [needs::script("client.py"), library.to_owned(), url.to_owned(), nginx.certificate()];
    let mut client = Running::hold(needs::venv_python(), arguments);
    client.next_step();
    client.line("loaded");
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    client.succeeded();
    let log = nginx.quit();
    assert_eq!(log.len(), requests);
    let seen = tracer.finish();
    assert_equal(&seen.calls, &log);
    seen
}

/// It brings its own libssl, of 1.1.
#[test]
fn python_pycurl_with_openssl_1_1() {
    let nginx = Nginx::start();
    loaded("pycurl", &nginx.tls_url(""), nginx, 17);
}

/// Its libcurl has BoringSSL linked in, with symbols that nobody exports.
#[test]
fn python_curl_cffi_with_boringssl() {
    let nginx = Nginx::start();
    loaded("curl_cffi", &nginx.tls_url(""), nginx, 18);
}

#[test]
fn python_curl_cffi_with_boringssl_over_http2() {
    let nginx = Nginx::start();
    let seen = loaded("curl_cffi_http2", &nginx.http2_tls_url(""), nginx, 18);
    assert!(seen.calls.iter().all(|call| call.protocol == "http/2"));
}

#[test]
fn python_awscrt_with_s2n() {
    let nginx = Nginx::start();
    loaded("awscrt", &nginx.tls_url(""), nginx, 17);
}

/// A library that no other program has is opened late and used within milliseconds: its probes may come when calls have
/// been made. Those are missed, not taken for others, and the connection is said not to be decoded.
#[test]
fn a_library_that_is_used_as_soon_as_it_is_opened() {
    let nginx = Nginx::start();
    let arguments =
        [needs::script("client.py"), "pycurl_at_once".to_owned(), nginx.tls_url(""), nginx.certificate()];
    let seen = trace(Running::hold(needs::venv_python(), arguments));
    let log = nginx.quit();
    assert_eq!(log.len(), 17);
    assert_suffix(&seen.calls, &log, i64::MAX);
    let summary: serde_json::Value = serde_json::from_str(seen.lines.last().unwrap()).unwrap();
    let not_decoded = &summary["games"][0]["coverage"]["tls_opaque_connections"];
    assert_eq!(*not_decoded, u64::from(seen.calls.is_empty()), "{summary}");
}

/// What cannot be read is told by the name that its client asked for.
#[test]
fn tls_that_is_not_read_is_named_by_its_client_hello() {
    let nginx = Nginx::start();
    let config = nginx.path("rotrace.toml");
    std::fs::write(&config, "[tls]\nopenssl = false\n").unwrap();
    let url = nginx.tls_url("/v1/items/[1-5]");
    let arguments = ["-s", "--http1.1", "--cacert", &nginx.certificate(), &url];
    let client = Running::hold(needs::program("curl"), arguments);
    let tracer = Tracer::attach_with(&[client.pid()], &["--config", &config]);
    client.run();
    let seen = tracer.finish();
    assert_eq!((seen.calls.len(), nginx.quit().len()), (0, 5));
    assert_eq!(seen.opaque(), [("localhost".to_owned(), 1)].into());
}

/// asyncio keeps OpenSSL away from the socket.
#[test]
fn python_aiohttp_over_tls_through_memory() {
    python_library("aiohttp", 18);
}

fn node(api: &str, requests: usize) {
    let nginx = Nginx::start();
    // Node takes further certificates from its environment alone.
    let mut arguments = vec![format!("NODE_EXTRA_CA_CERTS={}", nginx.certificate())];
    arguments.extend([needs::program("node").to_str().unwrap().to_owned(), needs::script("client.mjs")]);
    arguments.extend([api.to_owned(), nginx.tls_url("")]);
    clients::check(nginx, needs::program("env"), arguments, requests);
}

/// Node carries its own OpenSSL, and it too writes to memory.
#[test]
fn node_https_with_an_agent_that_keeps_connections() {
    node("http", 25);
}

#[test]
fn node_fetch_over_tls() {
    node("fetch", 50);
}

#[test]
fn asyncio_server_over_tls_through_memory() {
    let server = PythonServer::start(Transport::Tls);
    let tracer = Tracer::attach(&[server.pid()]);
    let mut curl = Command::new(needs::program("curl"));
    curl.args(["-s", "--http1.1", "--cacert", &server.certificate(), "-d", "some=body"]);
    curl.args(
        ["/plain/[1-5]", "/uneven/5000", "/drip/100", "/early/3", "/close/900"]
            .map(|path| server.tls_url(path)),
    );
    assert_eq!(outcome(curl).0, Some(0));
    let log = server.quit();
    let seen = tracer.finish();
    assert_eq!(log.len(), 9);
    assert!(seen.calls.iter().all(|call| call.role == Role::Server && call.tls));
    assert_equal(&seen.calls, &log);
}

/// wget has GnuTLS on Debian.
#[test]
fn wget_over_tls_of_gnutls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let arguments = ["-q", "-O", "/dev/null", "--no-config", "--ca-certificate", &nginx.certificate()];
    let paths = ["/v1/items/1", "/v1/items/2", "/page", "/v1/items/3"].map(|path| nginx.tls_url(path));
    let arguments = arguments.into_iter().map(str::to_owned).chain(paths);
    let seen = clients::check(nginx, needs::program("wget"), arguments, 4);
    assert!(seen.calls.iter().all(|call| call.tls));
}

/// GnuTLS says by a result of 0 that the peer has ended its direction.
#[test]
fn wget_reads_a_response_that_ends_with_close_notify() {
    let server = PythonServer::start(Transport::Tls);
    let arguments = ["-q", "-O", "/dev/null", "--no-config", "--ca-certificate", &server.certificate()];
    let paths = ["/close/1000", "/close/1001"].map(|path| server.tls_url(path));
    let seen =
        trace(Running::hold(needs::program("wget"), arguments.into_iter().map(str::to_owned).chain(paths)));
    let log = server.quit();
    assert_eq!(log.len(), 2);
    assert_equal(&seen.calls, &log);
}

/// Reads responses that end with their connections, through an API of `scripts/until_close.py`.
fn until_close(api: &str, paths: &[&str]) {
    let server = PythonServer::start(Transport::Tls);
    let mut arguments = vec![needs::script("until_close.py"), api.to_owned(), "localhost".to_owned()];
    arguments.extend([server.port.to_string(), server.certificate()]);
    arguments.extend(paths.iter().map(|&path| path.to_owned()));
    let seen = trace(Running::hold(needs::python(), arguments));
    let log = server.quit();
    assert_eq!(log.len(), paths.len());
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Client));
    assert_equal(&seen.calls, &log);
}

/// One ends with close_notify, one with its socket.
#[test]
fn responses_that_end_with_the_connection() {
    until_close("socket", &["/close/5000", "/torn/5000", "/close/0", "/torn/90000"]);
}

#[test]
fn responses_that_end_with_close_notify_through_memory() {
    until_close("memory", &["/close/5000", "/close/0"]);
}

/// curl takes the result of `SSL_read` where Python takes that of `SSL_read_ex`.
#[test]
fn curl_reads_a_response_that_ends_with_close_notify() {
    let server = PythonServer::start(Transport::Tls);
    let arguments =
        ["-s", "--http1.1", "--cacert", &server.certificate(), &server.tls_url("/close/[1000-1004]")];
    let seen = trace(Running::hold(needs::program("curl"), arguments));
    let log = server.quit();
    assert_eq!(log.len(), 5);
    assert_equal(&seen.calls, &log);
}

#[test]
fn nginx_as_traced_server_over_tls() {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    let (seen, log) = serve(nginx, 11, |nginx| {
        let options = ["-s", "--http1.1", "-o", "/dev/null", "--cacert", &nginx.certificate()];
        let urls = [&*nginx.tls_url("/v1/items/[1-10]"), &nginx.tls_url("/page")];
        load(needs::program("curl"), &[&options[..], &urls].concat());
    });
    assert_equal(&seen.calls, &log);
}

/// Threads that the probes of a tracer know to be within a TLS library.
fn threads_within(tracer: &Tracer) -> usize {
    let ids = held_by(tracer.pid(), "map_id:\t");
    let is_it = |id: &u32| MapInfo::from_id(*id).is_ok_and(|map| map.name_as_str() == Some("TLS_CALLS"));
    let id = ids.into_iter().find(is_it).expect("the tracer holds its maps");
    let map = Map::HashMap(MapData::from_id(id).unwrap());
    aya::maps::HashMap::<_, u64, [u64; 5]>::try_from(map).unwrap().keys().count()
}

/// It waits for its server within OpenSSL, and never returns.
#[test]
fn what_a_killed_process_was_doing_is_forgotten() {
    const CODE: &str = "import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
connection = http.client.HTTPSConnection('localhost', int(sys.argv[1]), context=context)
connection.request('GET', '/v1/before')
connection.getresponse().read()
print('waits', flush=True)
connection.sock.recv(1)";
    let nginx = Nginx::start();
    let client =
        || Running::hold(needs::python(), ["-c", CODE, &nginx.tls_port.to_string(), &nginx.certificate()]);
    let mut clients = [client(), client()];
    let tracer = Tracer::attach(&clients.each_ref().map(Running::pid));
    for client in &mut clients {
        client.next_step();
        client.line("waits");
    }
    for left in [2, 1] {
        until("threads within OpenSSL", || (threads_within(&tracer) == left).then_some(()));
        let client = &mut clients[left - 1];
        client.signal(libc::SIGKILL);
        assert!(!client.ended().success());
    }
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 2);
    assert_equal(&seen.calls, &log);
}

/// The plaintext of a process that is no target stays its own, although it runs the same library.
#[test]
fn plaintext_of_others_is_never_captured() {
    let nginx = Nginx::start();
    let record = nginx.path("record.rotrace");
    let arguments = |name: &str| {
        let url = nginx.tls_url(&format!("/v1/{name}/[1-50]"));
        [words(["-s", "--http1.1", "--cacert"]), vec![nginx.certificate(), url]].concat()
    };
    let mut target = Running::hold(needs::program("curl"), arguments("target"));
    let mut other = Running::hold(needs::program("curl"), arguments("bystander"));
    let tracer = Tracer::attach_with(&[target.pid()], &["--unredacted", "--record", &record]);
    other.next_step();
    target.next_step();
    target.succeeded();
    other.succeeded();
    let seen = tracer.finish();
    let text = String::from_utf8_lossy(&std::fs::read(&record).unwrap()).into_owned();
    assert!(
        text.contains("/v1/target/1") && !text.contains("bystander"),
        "bytes of a process that is no target"
    );
    let mut log = nginx.quit();
    log.retain(|served| served.path.starts_with("/v1/target/"));
    assert_equal(&seen.calls, &log);
}
