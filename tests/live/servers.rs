//! Given: servers as traced processes. Gives: proof that the calls they serve, and those they pass on, are those of the
//! logs. Refuses to know: how programs serve.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::access_log::{self, Served};
use crate::call::{Role, Seen};
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::{Nginx, certify};
use crate::process::{Running, outcome};
use crate::python::{PythonServer, Transport};
use crate::tracer::{Tracer, trace};

/// Runs a client that nobody traces.
pub(crate) fn load(program: impl AsRef<Path>, arguments: &[&str]) {
    let mut command = Command::new(program.as_ref());
    command.args(arguments);
    let (status, _, complaints) = outcome(command);
    assert_eq!(status, Some(0), "{} {arguments:?}: {complaints}", program.as_ref().display());
}

fn curl() -> PathBuf {
    needs::program("curl")
}

/// Traces nginx while clients call it, so many times; gives what was seen and what it logged.
pub(crate) fn serve(nginx: Nginx, requests: usize, clients: impl FnOnce(&Nginx)) -> (Seen, Vec<Served>) {
    let tracer = Tracer::attach(&nginx.pids());
    clients(&nginx);
    let log = nginx.quit();
    let seen = tracer.finish();
    assert_eq!(log.len(), requests, "the clients made other calls than the test expects");
    assert!(seen.calls.iter().all(|call| call.role == Role::Server));
    (seen, log)
}

/// A program that serves over TLS, called with `server CERTIFICATE KEY`, which says at which port it listens and prints a line
/// for each call.
pub(crate) struct TlsServer {
    directory: TempDir,
    running: Running,
    port: String,
}

impl TlsServer {
    pub(crate) fn start(program: &Path) -> TlsServer {
        let directory = TempDir::with_prefix("rotrace-live-").unwrap();
        certify(directory.path(), "FALSE");
        let [chain, key] = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
        let arguments = [Path::new("server"), &chain, &key];
        let mut running = Running::hold(program, arguments);
        running.next_step();
        let port = running.line("listening ");
        TlsServer { directory, running, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn certificate(&self) -> String {
        self.directory.path().join("certificate.pem").to_str().unwrap().to_owned()
    }

    /// Ends it, and gives what it served.
    pub(crate) fn quit(mut self) -> Vec<Served> {
        access_log::read_python(&self.running.succeeded())
    }
}

/// Traces such a program while curl calls it 28 times. The largest answer has so many bytes.
pub(crate) fn serve_over_tls(program: &Path, protocol: &str, largest: u32) {
    let server = TlsServer::start(program);
    let tracer = Tracer::attach(&[server.pid()]);
    let certificate = server.certificate();
    let options = ["-s", "-o", "/dev/null", "--cacert", &certificate, protocol];
    let paths =
        [server.url("/sized/[0-20]"), server.url(&format!("/sized/{largest}")), server.url("/missing")];
    load(curl(), &[&options[..], &paths.each_ref().map(String::as_str)].concat());
    load(curl(), &[&options[..], &["-d", "some=body", &server.url("/sized/[30-34]")]].concat());
    let log = server.quit();
    let seen = tracer.finish();
    assert_eq!(log.len(), 28);
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Server));
    assert_equal(&seen.calls, &log);
}

#[test]
fn nginx_with_two_workers_serves_what_its_log_says() {
    let (seen, log) = serve(Nginx::with(2, ""), 2010, |nginx| {
        let ab = needs::program("ab");
        load(ab, &["-q", "-k", "-n", "2000", "-c", "8", &nginx.url("/v1/price")]);
        load(curl(), &["-s", "-d", "some=body", &nginx.url("/echo/[1-5]")]);
        load(curl(), &["-s", &nginx.url("/missing/[1-5]")]);
    });
    assert_equal(&seen.calls, &log);
}

/// Bodies that never pass through the process have their exact length.
#[test]
fn nginx_with_sendfile_has_exact_lengths() {
    let nginx = Nginx::start();
    let sizes = [0, 1, 100, 4096, 1 << 20, 20_000_001];
    for size in sizes {
        nginx.serve_file(&format!("file-{size}"), size);
    }
    let (seen, log) = serve(nginx, sizes.len(), |nginx| {
        let urls = sizes.map(|size| nginx.url(&format!("/file-{size}")));
        let mut arguments = vec!["-s", "-o", "/dev/null"];
        arguments.extend(urls.iter().map(String::as_str));
        load(curl(), &arguments);
    });
    let bodies: Vec<_> = seen.calls.iter().map(|call| call.response_body_bytes).collect();
    assert_eq!(bodies, sizes.map(Some));
    assert_equal(&seen.calls, &log);
}

#[test]
fn nginx_as_proxy_has_both_roles() {
    let upstream = Nginx::start();
    let keeps = format!(
        "location /api/ {{ proxy_pass http://127.0.0.1:{}/v1/; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}",
        upstream.port
    );
    let proxy = Nginx::with(1, &keeps);
    let tracer = Tracer::attach(&proxy.pids());
    load(curl(), &["-s", &proxy.url("/api/users/[1-20]"), &proxy.url("/v1/own")]);
    load(needs::program("ab"), &["-q", "-k", "-n", "500", "-c", "4", &proxy.url("/api/price")]);
    let served = proxy.quit();
    let seen = tracer.finish();
    let passed_on = upstream.quit();
    assert_eq!((served.len(), passed_on.len()), (521, 520));
    assert_equal(&seen.of(Role::Server), &served);
    assert_equal(&seen.of(Role::Client), &passed_on);
}

#[test]
fn python_server_with_rare_framings() {
    let server = PythonServer::start(Transport::Plain);
    let tracer = Tracer::attach(&[server.pid()]);
    let urls = RARE.map(|path| server.url(path));
    load(curl(), &[&["-s"], &urls.each_ref().map(String::as_str)[..]].concat());
    load(curl(), &["-s", "-I", &server.url("/drip/50"), &server.url("/plain/50")]);
    let log = server.quit();
    let seen = tracer.finish();
    assert_eq!(log.len(), RARE.len() + 2);
    assert!(seen.calls.iter().all(|call| call.role == Role::Server));
    assert_equal(&seen.calls, &log);
}

#[test]
fn client_of_a_server_with_rare_framings() {
    let server = PythonServer::start(Transport::Plain);
    let urls = RARE.map(|path| server.url(path));
    let arguments = ["-s".to_owned()].into_iter().chain(urls);
    let seen = trace(Running::hold(needs::program("curl"), arguments));
    let log = server.quit();
    assert_eq!(log.len(), RARE.len());
    assert_equal(&seen.calls, &log);
}

/// See `scripts/server.py`; the one that closes the connection stands in the middle.
const RARE: [&str; 12] = [
    "/plain/0",
    "/drip/300",
    "/uneven/15000",
    "/early/10",
    "/none/204",
    "/close/5000",
    "/none/304",
    "/crumbs/700",
    "/uneven/1",
    "/drip/0",
    "/close/0",
    "/plain/100000",
];
