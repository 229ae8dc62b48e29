//! Given: an address and where snapshots come from. Gives: `/metrics`, `/api/v1/findings`, `/healthz`, `/readyz` and a page
//! at `/`. Refuses
//! to know: how the figures come about.
//!
//! A scrape costs the pipeline one snapshot: the text is made here. Each connection answers one request and then ends,
//! so that a slow or silent client holds one of few places for a short, known time.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::detect::finding::FindingId;
use crate::metrics::accept::negotiate;
use crate::metrics::{Scrape, render};
use crate::report::{WallClock, json};

/// Connections at one time; more wait in the kernel's backlog. A host has a scraper or two, and somebody with a browser.
const MAX_CONNECTIONS: usize = 16;

/// From the start of a connection to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// From the start of a connection to its end. Prometheus gives up after 10 s unless told otherwise.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that hyper buffers of a request; its least value. A scraper's head has some hundred.
const MAX_HEAD_BYTES: usize = 8192;

/// How long to wait when a connection cannot be accepted, which is so until some descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where findings are; behind it a slash and the number of one.
const FINDINGS: &str = "/api/v1/findings";

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Takes a snapshot of everything that a scrape shows. It runs on the thread of the server, which answers nobody else
/// meanwhile.
pub type Snapshot = Box<dyn Fn() -> Scrape + Send + Sync>;

/// Whether the daemon does what it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The probes are attached.
    Ready,
    /// They are not, for this reason.
    NotReady(String),
}

/// What the answers are made of; shared between the server and the rest of the shell.
pub struct State {
    version: &'static str,
    clock: WallClock,
    snapshot: RwLock<Snapshot>,
    readiness: RwLock<Readiness>,
}

impl State {
    /// Not ready yet.
    pub fn new(version: &'static str, clock: WallClock, snapshot: Snapshot) -> Self {
        let readiness = Readiness::NotReady("the probes are not attached yet".to_owned());
        State { version, clock, snapshot: RwLock::new(snapshot), readiness: RwLock::new(readiness) }
    }

    /// Takes snapshots from elsewhere from now on.
    pub fn replace_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Says what `/readyz` answers from now on.
    pub fn replace_readiness(&self, readiness: Readiness) {
        *self.readiness.write().unwrap_or_else(PoisonError::into_inner) = readiness;
    }

    fn scrape(&self) -> Scrape {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)()
    }

    fn readiness(&self) -> Readiness {
        self.readiness.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("readiness", &self.readiness()).finish_non_exhaustive()
    }
}

/// Listens at an address, so that a wrong one is an error before anything is attached.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.with_context(|| {
        format!("listen on {address} for /metrics; another address can be set by `listen` under [metrics] in the config")
    })
}

/// Answers until `shutdown` is done; what is being answered then is cut off. Runs on a current-thread runtime with IO
/// and time.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("give the listener to the runtime")?;
    // Tasks of the set end with it: nothing is answered after the shutdown.
    let mut connections = tokio::task::JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.context("wait for a place")?;
            anyhow::Ok((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_ended) = connections.join_next() => continue,
            accepted = accepted => accepted?,
        };
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&state, &request);
                async { Ok::<_, std::convert::Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            // How a client went away is of no interest: it asks again, or it does not.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

fn answer<B>(state: &State, request: &Request<B>) -> Response<Full<Bytes>> {
    let page: fn(&State, &Request<B>) -> Response<Full<Bytes>> = match request.uri().path() {
        "/" => |state, _| response(StatusCode::OK, HTML, index(state)),
        "/metrics" => metrics,
        path if path.strip_prefix(FINDINGS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) => {
            findings
        }
        "/healthz" => |_, _| response(StatusCode::OK, TEXT, "running\n".to_owned()),
        "/readyz" => |state, _| match state.readiness() {
            Readiness::Ready => response(StatusCode::OK, TEXT, "ready\n".to_owned()),
            Readiness::NotReady(reason) => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"))
            }
        },
        _ => return response(StatusCode::NOT_FOUND, TEXT, "not found; try /metrics\n".to_owned()),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    page(state, request)
}

fn metrics<B>(state: &State, request: &Request<B>) -> Response<Full<Bytes>> {
    // A field that stands more than once is a list in pieces (RFC 9110 §5.3).
    let accept: Vec<_> =
        request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate((!accept.is_empty()).then(|| accept.join(",")).as_deref());
    match render(state.scrape(), format) {
        Ok(text) => response(StatusCode::OK, format.content_type(), text),
        Err(fmt::Error) => {
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics could not be written\n".to_owned())
        }
    }
}

/// All findings, or the one that the path names.
fn findings<B>(state: &State, request: &Request<B>) -> Response<Full<Bytes>> {
    let Scrape { waste, .. } = state.scrape();
    let id =
        request.uri().path().strip_prefix(FINDINGS).and_then(|rest| rest.strip_prefix('/')).unwrap_or("");
    let json = match (id, FindingId::parse(id)) {
        ("", _) => json::findings(waste.findings.iter().map(|finding| &**finding), state.clock),
        (_, Some(id)) if let Some(finding) = waste.findings.iter().find(|finding| finding.id == id) => {
            json::finding_line(finding, state.clock)
        }
        _ => {
            let text = "no such finding; it may have made room for later ones\n";
            return response(StatusCode::NOT_FOUND, TEXT, text.to_owned());
        }
    };
    match json {
        Ok(json) => response(StatusCode::OK, JSON, json + "\n"),
        Err(why) => {
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("cannot show findings: {why}\n"))
        }
    }
}

fn index(state: &State) -> String {
    let version = state.version;
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>rotrace</title></head><body>\n<h1>rotrace {version}</h1>\n\
         <p>The HTTP calls of the game servers on this host, seen from the kernel.</p>\n<ul>\n\
         <li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n\
         <li><a href=\"/api/v1/findings\">/api/v1/findings</a>: what is wasted, with the evidence</li>\n\
         <li><a href=\"/readyz\">/readyz</a>: whether the probes are attached</li>\n\
         <li><a href=\"/healthz\">/healthz</a>: whether the daemon runs</li>\n</ul>\n</body></html>\n"
    )
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test runs the server on a thread of its own")]
mod tests {
    use super::*;
    use crate::detect::fixture::{found as found_in, get};
    use crate::detect::subject::Api;
    use crate::metrics::SelfMetrics;
    use crate::summary::Summary;
    use crate::summary::fixture::call;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use tokio::sync::oneshot;

    fn state() -> Arc<State> {
        Arc::new(State::new("1.2.3", WallClock::default(), snapshot(1)))
    }

    fn snapshot(calls: usize) -> Snapshot {
        let mut summary = Summary::default();
        (0..calls).for_each(|_| summary.record(&call("chess", "api/a")));
        let summary = Arc::new(summary);
        let found = (0..40).map(|n| get(&format!("/v1/users/{n}")).at_ms(n));
        let waste = Arc::new(found_in(found, |_| Api::default()).detectors.snapshot());
        Box::new(move || Scrape {
            summary: Arc::clone(&summary),
            waste: Arc::clone(&waste),
            own: SelfMetrics::default(),
        })
    }

    /// Runs a server as the daemon does, lets the test talk to it, and stops it.
    fn with_server(state: Arc<State>, talk: impl FnOnce(SocketAddr)) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, state, async {
                let _ = stopped.await;
            }))
        });
        talk(address);
        drop(stop);
        server.join().expect("no panic").expect("no error");
    }

    /// Sends the bytes of a request and gives status line and fields, and the body.
    fn ask(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(request.as_bytes()).expect("a request sent");
        let mut answer = Vec::new();
        // A server that does not read a request to its end resets the connection behind its answer.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn pages_methods_and_formats() {
        with_server(state(), |address| {
            let check = |request: &str, status: &str, head_has: &str, body_has: &str| {
                let (head, body) = ask(address, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n"));
                assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
                assert!(head.contains(head_has), "{request}: {head}");
                assert!(body.contains(body_has), "{request}: {body}");
                body
            };
            check("GET /", "200", "text/html", "rotrace 1.2.3");
            check("GET /healthz", "200", "text/plain", "running");
            check(
                "GET /metrics",
                "200",
                "version=0.0.4",
                "rotrace_http_client_requests_total{game=\"chess\"",
            );
            check("GET /metrics?x=1", "200", "version=0.0.4", "rotrace_http_client_requests_total");
            check("GET /metric", "404", "text/plain", "/metrics");
            check("POST /metrics", "405", "allow: GET, HEAD", "only GET");
            check("DELETE /nothing", "404", "text/plain", "not found");
            assert_eq!(check("HEAD /metrics", "200", "content-length: ", ""), "");
        });
    }

    #[test]
    fn findings_are_shown_with_their_evidence() {
        with_server(state(), |address| {
            let of = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let (head, body) = of(FINDINGS);
            assert!(head.contains("application/json"), "{head}");
            let all: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(all[0]["pattern"], "n_plus_one");
            assert_eq!(all[0]["evidence"]["facts"]["ids"], 30);
            let id = all[0]["id"].as_str().expect("a number");
            let one: serde_json::Value =
                serde_json::from_str(&of(&format!("{FINDINGS}/{id}")).1).expect("JSON");
            assert_eq!(one, all[0]);
            assert!(of(&format!("{FINDINGS}/000000000000")).0.starts_with("HTTP/1.1 404"));
            assert!(of(&format!("{FINDINGS}/elsewhere/x")).0.starts_with("HTTP/1.1 404"));
        });
    }

    #[test]
    fn accept_may_stand_in_pieces() {
        with_server(state(), |address| {
            let (head, body) = ask(
                address,
                "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.1\r\n\
                 Accept: application/openmetrics-text;version=1.0.0\r\n\r\n",
            );
            assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
            assert!(body.ends_with("# EOF\n"));
        });
    }

    #[test]
    fn readiness_and_snapshots_can_be_replaced() {
        let state = state();
        with_server(Arc::clone(&state), |address| {
            let of = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let (head, body) = of("/readyz");
            assert!(head.starts_with("HTTP/1.1 503"), "{head}");
            assert_eq!(body, "not ready: the probes are not attached yet\n");
            state.replace_readiness(Readiness::Ready);
            assert!(of("/readyz").0.starts_with("HTTP/1.1 200"));
            state.replace_snapshot(snapshot(41));
            assert!(of("/metrics").1.contains("code=\"2xx\"} 41\n"));
        });
    }

    #[test]
    fn more_clients_than_places_wait_and_are_answered() {
        with_server(state(), |address| {
            let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
            let connect = |_| TcpStream::connect(address).expect("a connection");
            let mut silent: Vec<_> = (0..MAX_CONNECTIONS).map(connect).collect();
            let mut late = connect(0);
            late.write_all(request.as_bytes()).expect("a request sent");
            for stream in &mut silent {
                stream.write_all(request.as_bytes()).expect("a request sent");
            }
            silent.push(late);
            for mut stream in silent {
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer");
                assert!(answer.ends_with("running\n"), "{answer}");
            }
        });
    }

    #[test]
    fn bytes_that_are_no_request_end_the_connection_and_nothing_else() {
        with_server(state(), |address| {
            let (head, _) = ask(address, "\x16\x03\x01 no HTTP\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 400"), "{head}");
            let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
            let (head, _) = ask(address, &long);
            assert!(head.starts_with("HTTP/1.1 431"), "{head}");
            assert!(ask(address, "GET /healthz HTTP/1.0\r\n\r\n").1.contains("running"));
        });
    }

    #[test]
    fn an_address_in_use_is_named_with_what_to_do() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = taken.local_addr().expect("an address");
        let error = format!("{:#}", bind(address).expect_err("in use"));
        assert!(error.contains(&address.to_string()) && error.contains("[metrics]"), "{error}");
        assert!(error.contains("in use"), "{error}");
    }
}
