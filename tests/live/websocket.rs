//! Given: a WebSocket client and server that others wrote, each of which counts the frames that it writes. Gives: proof that
//! rotrace counts the same, in both directions, under the endpoint of the handshake. Refuses to know: what frames carry.

use serde_json::Value;
use tempfile::TempDir;

use crate::call::Seen;
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

    /// What rotrace sees of one of them, and what the traced and the other one wrote. A report of the capture, which is
    /// redacted, says the same.
    fn seen(mut self, traces_server: bool) -> (Seen, Value, Value) {
        let capture = self.directory.path().join("calls.rotrace").to_str().unwrap().to_owned();
        let pid = if traces_server { self.server.pid() } else { self.client.pid() };
        let tracer = Tracer::attach_with(&[pid], &["--record", &capture]);
        let client = wrote(&self.client.run());
        let server = wrote(&self.server.succeeded());
        let seen = tracer.finish();
        let role = if traces_server { "server" } else { "client" };
        assert_eq!(frames(&reported(&capture), role), frames(&seen, role));
        if traces_server { (seen, server, client) } else { (seen, client, server) }
    }
}

/// What rotrace counted: sent and received.
fn frames(seen: &Seen, role: &str) -> [Value; 2] {
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

fn check(mode: &str, transport: Transport, traces_server: bool) {
    let (seen, own, others) = Talk::new(mode, transport).seen(traces_server);
    assert_eq!(seen.calls.len(), 1, "{:?}", seen.calls);
    assert!(seen.calls[0].status == Some(101) && seen.calls[0].complete, "{:?}", seen.calls);
    let [sent, received] = frames(&seen, if traces_server { "server" } else { "client" });
    assert_whole(&sent, &own);
    assert_whole(&received, &others);
}

#[test]
fn a_client() {
    check("talk", Transport::Plain, false);
}

#[test]
fn a_server() {
    check("talk", Transport::Plain, true);
}

#[test]
fn a_client_that_compresses() {
    check("compressed", Transport::Plain, false);
}

#[test]
fn a_client_over_tls() {
    check("talk", Transport::Tls, false);
}

#[test]
fn a_server_over_tls() {
    check("talk", Transport::Tls, true);
}

/// A read may bring many small frames, of which the headers are not seen: those are bytes, and never more than there were.
fn flood(traces_server: bool) {
    let (seen, own, others) = Talk::new("flood", Transport::Plain).seen(traces_server);
    for (seen, wrote) in
        frames(&seen, if traces_server { "server" } else { "client" }).iter().zip([own, others])
    {
        let unknown = seen["unknown_bytes"].as_u64().unwrap();
        for (name, wrote) in wrote.as_object().unwrap() {
            let (seen, wrote) = (seen[name].as_u64().unwrap(), wrote.as_u64().unwrap());
            assert!(
                seen == wrote || seen < wrote && unknown > 0,
                "{name}: {seen} of {wrote}, {unknown} unknown"
            );
        }
    }
}

#[test]
fn a_client_that_is_flooded_invents_nothing() {
    flood(false);
}

#[test]
fn a_server_that_floods_invents_nothing() {
    flood(true);
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
