//! Given: a WebSocket client and server that others wrote, each of which counts the frames that it writes. Gives: proof that
//! rotrace counts the same, in both directions, under the endpoint of the handshake. Refuses to know: what frames carry.

use serde_json::Value;
use tempfile::TempDir;

use crate::call::{Role, Seen};
use crate::captures::reported;
use crate::needs;
use crate::nginx::certificate;
use crate::process::Running;
use crate::python::Transport;
use crate::tracer::Tracer;

/// What a program wrote.
fn wrote(lines: &[String]) -> Value {
    let line = lines.iter().find_map(|line| line.strip_prefix("wrote ")).expect("a count at the end");
    serde_json::from_str(line).unwrap()
}

/// Server and client, of which the client is held.
struct Talk {
    server: Running,
    client: Running,
    directory: TempDir,
}

impl Talk {
    fn new(mode: &str, transport: Transport) -> Talk {
        needs::rotrace();
        let directory = TempDir::with_prefix("rotrace-live-").unwrap();
        let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
        let (mut own, mut trusted) = (Vec::new(), Vec::new());
        if transport == Transport::Tls {
            certificate(directory.path());
            own = vec![path("certificate.pem"), path("key.pem")];
            trusted = vec![path("certificate.pem")];
        }
        let script = |what: String, files: Vec<String>| {
            Running::hold(needs::venv_python(), [vec![needs::script("websocket.py"), what], files].concat())
        };
        let mut server = script("serve".to_owned(), own);
        server.next_step();
        let port = server.line("listening ");
        let client = script(format!("{port}:{mode}"), trusted);
        Talk { server, client, directory }
    }

    /// What rotrace sees of one of them; and of what that sent and received, what was counted and what was written. A report
    /// of the capture, which is redacted, says the same.
    fn seen(mut self, traced: Role) -> (Seen, [(Value, Value); 2]) {
        let capture = self.directory.path().join("calls.rotrace").to_str().unwrap().to_owned();
        let pid = if traced == Role::Server { self.server.pid() } else { self.client.pid() };
        let tracer = Tracer::attach_with(&[pid], &["--record", &capture]);
        let client = wrote(&self.client.run());
        let server = wrote(&self.server.succeeded());
        let seen = tracer.finish();
        let [sent, received] = frames(&seen, traced);
        assert_eq!(frames(&reported(&capture), traced), [sent.clone(), received.clone()]);
        let (own, others) = if traced == Role::Server { (server, client) } else { (client, server) };
        (seen, [(sent, own), (received, others)])
    }
}

/// What rotrace counted: sent and received.
fn frames(seen: &Seen, traced: Role) -> [Value; 2] {
    let role = if traced == Role::Server { "server" } else { "client" };
    let summary: Value = serde_json::from_str(seen.lines.last().unwrap()).unwrap();
    let endpoints = summary["games"][0][role]["endpoints"].as_array().unwrap_or_else(|| panic!("{summary}"));
    assert_eq!(endpoints.len(), 1, "{summary}");
    let endpoint = endpoints[0]["endpoint"].as_str().unwrap();
    assert!(endpoint.ends_with("/play/{id}"), "{summary}");
    ["sent", "received"].map(|direction| endpoints[0]["websocket"][direction].clone())
}

/// Of what was written nothing is missing, and nothing is unknown.
fn assert_whole(seen: &Value, wrote: &Value) {
    let mut expect = wrote.clone();
    expect["unknown_bytes"] = 0.into();
    assert_eq!(*seen, expect);
}

fn check(mode: &str, transport: Transport, traced: Role) -> Seen {
    let (seen, directions) = Talk::new(mode, transport).seen(traced);
    let handshake = seen.calls.last().unwrap();
    assert!(handshake.status == Some(101) && seen.calls.iter().all(|call| call.complete), "{:?}", seen.calls);
    directions.iter().for_each(|(seen, wrote)| assert_whole(seen, wrote));
    let before = if mode == "greeted" { 1 } else { 0 };
    assert_eq!(seen.calls.len(), before + 1, "{:?}", seen.calls);
    assert!(seen.calls.iter().all(|call| call.connection == handshake.connection), "{:?}", seen.calls);
    seen
}

#[test]
fn a_client() {
    check("talk", Transport::Plain, Role::Client);
}

#[test]
fn a_server() {
    check("talk", Transport::Plain, Role::Server);
}

#[test]
fn a_client_that_compresses() {
    check("compressed", Transport::Plain, Role::Client);
}

#[test]
fn a_client_over_tls() {
    check("talk", Transport::Tls, Role::Client);
}

#[test]
fn a_server_over_tls() {
    check("talk", Transport::Tls, Role::Server);
}

/// A read brings many frames.
#[test]
fn a_client_that_is_flooded() {
    check("flood", Transport::Plain, Role::Client);
}

#[test]
fn a_server_that_floods() {
    check("flood", Transport::Plain, Role::Server);
}

/// A read brings thousands.
#[test]
fn a_client_that_is_flooded_with_small_messages() {
    check("burst", Transport::Plain, Role::Client);
}

/// The connection has carried another call before, and a read may bring the answer with what follows on it.
#[test]
fn a_client_that_is_spoken_to_first() {
    check("greeted", Transport::Plain, Role::Client);
}

#[test]
fn a_client_that_is_spoken_to_first_over_tls() {
    check("greeted", Transport::Tls, Role::Client);
}

#[test]
fn of_large_messages_nothing_is_copied() {
    for traced in [Role::Client, Role::Server] {
        let seen = check("download", Transport::Plain, traced);
        let captured = seen.summary.captured_bytes.unwrap();
        assert!(captured < 64 * 1024, "{captured} bytes of 256 MiB were copied");
    }
}

#[test]
fn a_connection_whose_handshake_was_not_seen_is_not_known() {
    let Talk { mut server, mut client, directory: _directory } = Talk::new("late", Transport::Plain);
    client.next_step();
    client.line("talking");
    let tracer = Tracer::attach(&[client.pid()]);
    client.next_step();
    client.succeeded();
    server.succeeded();
    let seen = tracer.finish();
    assert_eq!(seen.calls.len(), 0);
    assert!(!seen.lines.last().unwrap().contains("websocket"), "{:?}", seen.lines);
}
