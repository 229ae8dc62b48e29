//! Given: a call or the summary. Gives: one JSON object on one line, as DESIGN promises it to scripts. Refuses to know:
//! who reads it.
//!
//! The order of the keys is fixed, and what is not known is `null`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use rotrace_ebpf::record::TLS_OBJECT;
use serde::Serialize;

use super::cost::{self, CostObject};
use super::finding::object;
use super::visible::{allowed_query, is_unsafe};
use super::wall::WallClock;
use crate::call::Call;
use crate::cost::Prices;
use crate::detect::finding::Finding;
use crate::exchange::{Outcome, Role};
use crate::summary::{
    Coverage, Frames, Game, Opened, Series, Summary, TlsFigures, UNKNOWN_GAME, unnamed_reason,
};

#[derive(Serialize)]
struct CallLine<'a> {
    r#type: &'static str,
    time: String,
    pid: u32,
    game: Option<&'a str>,
    connection: String,
    role: &'static str,
    method: Option<&'a str>,
    authority: Option<&'a str>,
    path: Option<String>,
    endpoint: &'a str,
    status: Option<u16>,
    protocol: &'static str,
    tls: bool,
    request_head_bytes: u64,
    request_body_bytes: Option<u64>,
    response_head_bytes: Option<u64>,
    response_body_bytes: Option<u64>,
    ttfb_ns: Option<u64>,
    duration_ns: Option<u64>,
    complete: bool,
    outcome: &'static str,
    /// Whom the call was made to, or came from: address and port.
    peer: Option<SocketAddr>,
    /// Only there when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_unknown: Option<&'static str>,
    /// Only there for calls of gRPC.
    #[serde(flatten)]
    grpc: Option<GrpcFigures>,
}

#[derive(Serialize)]
struct GrpcFigures {
    grpc_status: Option<u32>,
    grpc_request_messages: Option<u64>,
    grpc_response_messages: Option<u64>,
}

/// By stage and reason.
type ByReason = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

#[derive(Serialize)]
struct SummaryLine<'a> {
    r#type: &'static str,
    calls: u64,
    lost: ByReason,
    lost_bytes: ByReason,
    /// Values of game rules that were not taken as they stand.
    games_refused: u64,
    games_altered: u64,
    observed_ns: Option<u64>,
    /// Calls whose endpoint is `other` because there were too many.
    overflow_calls: u64,
    tracked_connections: u64,
    records: u64,
    captured_bytes: u64,
    games: Vec<GameFigures<'a>>,
    cost: CostObject<'a>,
}

#[derive(Serialize)]
struct GameFigures<'a> {
    game: Option<&'a str>,
    client: Option<RoleFigures<'a>>,
    server: Option<RoleFigures<'a>>,
    coverage: CoverageFigures<'a>,
}

#[derive(Serialize)]
struct RoleFigures<'a> {
    #[serde(flatten)]
    total: Figures,
    endpoints: Vec<EndpointFigures<'a>>,
}

#[derive(Serialize)]
struct EndpointFigures<'a> {
    endpoint: &'a str,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize)]
struct Figures {
    calls: u64,
    errors: u64,
    unanswered: u64,
    codes: BTreeMap<&'static str, u64>,
    request_bytes: u64,
    response_bytes: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    /// Only there for WebSockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<Frames>,
}

#[derive(Serialize)]
struct CoverageFigures<'a> {
    tls_opaque_connections: u64,
    tls_opaque_bytes: u64,
    tls_opaque_by_authority: BTreeMap<&'a str, TlsFigures>,
    opaque_connections: &'a BTreeMap<&'static str, u64>,
    unpaired: &'a BTreeMap<&'static str, u64>,
    unnamed: &'a BTreeMap<&'static str, u64>,
    connections_made: u64,
    connections_accepted: u64,
    active_requests: u64,
}

/// The line of a call, without the line end. `path` has no query but the items whose keys are allowed.
pub fn call_line(call: &Call, clock: WallClock, allowed_keys: &[Box<str>]) -> serde_json::Result<String> {
    let exchange = &call.exchange;
    let path = match allowed_query(&exchange.target, allowed_keys) {
        Some(query) => format!("{}?{query}", call.path),
        None => call.path.to_string(),
    };
    line(&CallLine {
        r#type: "call",
        time: clock.rfc3339(exchange.started_ns),
        pid: call.process.pid,
        game: call.game.as_deref(),
        connection: connection(call.conn),
        role: match exchange.role {
            Role::Client => "client",
            Role::Server => "server",
        },
        method: Some(&*exchange.method).filter(|method| !method.is_empty()),
        authority: exchange.authority.as_deref(),
        path: exchange.unnamed.is_none().then_some(path),
        endpoint: &call.endpoint,
        status: exchange.status,
        protocol: exchange.protocol.name(),
        tls: call.tls,
        request_head_bytes: exchange.request_head_bytes,
        request_body_bytes: exchange.request_body_bytes,
        response_head_bytes: exchange.response_head_bytes,
        response_body_bytes: exchange.response_body_bytes,
        ttfb_ns: exchange.ttfb_ns(),
        duration_ns: exchange.duration_ns(),
        complete: exchange.outcome == Outcome::Complete,
        outcome: match exchange.outcome {
            Outcome::Complete => "complete",
            Outcome::Aborted => "aborted",
            Outcome::Unbounded => "unbounded",
            Outcome::Lost => "lost",
        },
        peer: call.peer,
        path_unknown: exchange.unnamed.map(unnamed_reason),
        grpc: exchange.grpc.map(|grpc| GrpcFigures {
            grpc_status: grpc.status,
            grpc_request_messages: grpc.request_messages,
            grpc_response_messages: grpc.response_messages,
        }),
    })
}

/// The line of a finding, without the line end.
pub fn finding_line(finding: &Finding, clock: WallClock) -> serde_json::Result<String> {
    line(&object(finding, clock))
}

/// Findings as one array, the latest first.
pub fn findings<'a>(
    findings: impl IntoIterator<Item = &'a Finding>,
    clock: WallClock,
) -> serde_json::Result<String> {
    let mut findings: Vec<&Finding> = findings.into_iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse((finding.last_ns, finding.id)));
    line(&findings.into_iter().map(|finding| object(finding, clock)).collect::<Vec<_>>())
}

/// The line at the end, without the line end. `lost` has only what was lost: `{}` is nothing.
pub fn summary_line(summary: &Summary, prices: &Prices) -> serde_json::Result<String> {
    line(&SummaryLine {
        r#type: "summary",
        calls: summary.calls(),
        lost: by_reason(&summary.losses),
        lost_bytes: by_reason(&summary.shortfall.bytes),
        games_refused: summary.shortfall.games_refused,
        games_altered: summary.shortfall.games_altered,
        observed_ns: summary.observed_ns(),
        overflow_calls: summary.overflow_calls(),
        tracked_connections: summary.tracked_connections,
        records: summary.records,
        captured_bytes: summary.captured_bytes,
        games: summary.games().map(|(name, game)| game_figures(name, game)).collect(),
        cost: cost::object(summary, prices),
    })
}

fn by_reason(counts: &BTreeMap<(&'static str, &'static str), u64>) -> ByReason {
    let mut by_reason = ByReason::new();
    for (&(stage, reason), &count) in counts.iter().filter(|&(_, &count)| count > 0) {
        by_reason.entry(stage).or_default().insert(reason, count);
    }
    by_reason
}

fn game_figures<'a>(name: &'a str, game: &'a Game) -> GameFigures<'a> {
    let Coverage { tls_opaque, opaque, unpaired, unnamed, opened, active_requests, .. } = &game.coverage;
    GameFigures {
        game: (name != UNKNOWN_GAME).then_some(name),
        client: role_figures(game, Role::Client),
        server: role_figures(game, Role::Server),
        coverage: CoverageFigures {
            tls_opaque_connections: tls_opaque.all().connections,
            tls_opaque_bytes: tls_opaque.all().bytes,
            tls_opaque_by_authority: tls_opaque.authorities().collect(),
            opaque_connections: opaque,
            unpaired,
            unnamed,
            connections_made: all(opened.client),
            connections_accepted: all(opened.server),
            active_requests: active_requests.client + active_requests.server,
        },
    }
}

fn all(Opened { plain, tls }: Opened) -> u64 {
    plain + tls
}

fn role_figures(game: &Game, role: Role) -> Option<RoleFigures<'_>> {
    let endpoints = game.series(role);
    let endpoints =
        endpoints.map(|(endpoint, series)| EndpointFigures { endpoint, figures: figures(series) });
    Some(RoleFigures { total: figures(&game.total(role)?), endpoints: endpoints.collect() })
}

fn figures(series: &Series) -> Figures {
    let mut codes = BTreeMap::new();
    for (_, code, calls) in series.calls() {
        *codes.entry(code.name()).or_default() += calls;
    }
    Figures {
        calls: series.total(),
        errors: series.errors(),
        unanswered: series.unanswered(),
        codes,
        request_bytes: series.request_bytes,
        response_bytes: series.response_bytes,
        request_body_bytes: series.request_body_bytes,
        response_body_bytes: series.response_body_bytes,
        p50_ns: series.durations.quantile_ns(0.5),
        p99_ns: series.durations.quantile_ns(0.99),
        websocket: series.frames.as_deref().copied(),
    }
}

/// A connection as it is named: `socket:INODE`, or `tls:NUMBER` for a TLS object.
fn connection(conn: u64) -> String {
    if conn & TLS_OBJECT == 0 { format!("socket:{conn}") } else { format!("tls:{}", conn & !TLS_OBJECT) }
}

/// JSON must escape C0 only (RFC 8259 §7), but lines also end up on terminals. Outside of strings JSON is ASCII, so what
/// is unsafe stands in a string, where `\u` may stand for it.
fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    if !json.contains(is_unsafe) {
        return Ok(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if !is_unsafe(character) {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").map_err(serde::ser::Error::custom)?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Unpaired;
    use crate::report::text::{Style, end_report};
    use crate::summary::fixture::call;
    use proptest::prelude::*;

    const CLOCK: WallClock = WallClock { offset_ns: 1_755_000_000_000_000_000 };

    fn check(call: &Call, expect: &str) {
        let allowed: Vec<Box<str>> = vec!["page".into()];
        assert_eq!(call_line(call, CLOCK, &allowed).expect("a line"), expect);
    }

    #[test]
    fn a_call() {
        let mut call = call("chess", "api.example.com/v1/users");
        call.exchange.target = "/v1/users?page=2&token=abc".into();
        call.peer = Some(([203, 0, 113, 7], 443).into());
        check(
            &call,
            r#"{"type":"call","time":"2025-08-12T12:00:01.000000000Z","pid":4711,"game":"chess","connection":"socket:77","role":"client","method":"GET","authority":"api.example.com","path":"/v1/users?page=2","endpoint":"api.example.com/v1/users","status":200,"protocol":"http/1.1","tls":false,"request_head_bytes":100,"request_body_bytes":0,"response_head_bytes":200,"response_body_bytes":1000,"ttfb_ns":10000000,"duration_ns":12000000,"complete":true,"outcome":"complete","peer":"203.0.113.7:443"}"#,
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let mut call = call(UNKNOWN_GAME, "api/a");
        let exchange = &mut call.exchange;
        exchange.role = Role::Server;
        exchange.authority = None;
        exchange.status = None;
        exchange.request_body_bytes = None;
        exchange.response_head_bytes = None;
        exchange.response_body_bytes = None;
        exchange.first_byte_ns = None;
        exchange.ended_ns = None;
        exchange.outcome = Outcome::Lost;
        call.conn = TLS_OBJECT | 5;
        call.tls = true;
        check(
            &call,
            r#"{"type":"call","time":"2025-08-12T12:00:01.000000000Z","pid":4711,"game":null,"connection":"tls:5","role":"server","method":"GET","authority":null,"path":"/a","endpoint":"api/a","status":null,"protocol":"http/1.1","tls":true,"request_head_bytes":100,"request_body_bytes":null,"response_head_bytes":null,"response_body_bytes":null,"ttfb_ns":null,"duration_ns":null,"complete":false,"outcome":"lost","peer":null}"#,
        );
    }

    /// Of calls that have no price.
    fn cost() -> String {
        let version = Prices::default().model().label();
        format!(r#""cost":{{"mode":"list","version":"{version}","games":[],"ranking":null}}"#)
    }

    #[test]
    fn the_summary_of_nothing() {
        let summary = Summary::default();
        assert_eq!(
            summary_line(&summary, &Prices::default()).expect("a line"),
            r#"{"type":"summary","calls":0,"lost":{},"lost_bytes":{},"games_refused":0,"games_altered":0,"observed_ns":null,"overflow_calls":0,"tracked_connections":0,"records":0,"captured_bytes":0,"games":[],COST}"#.replace("COST", &cost())
        );
    }

    #[test]
    fn a_summary() {
        let mut summary = Summary::default();
        summary.record(&call("chess", "api/a"));
        let mut failed = call("chess", "api/a");
        failed.exchange.status = Some(503);
        summary.record(&failed);
        summary.observe(0);
        summary.losses.insert(("probe", "ring_full"), 3);
        summary.losses.insert(("probe", "fault"), 0);
        summary.shortfall.bytes = [(("kernel", "ring_full"), 700), (("pipeline", "overlap"), 0)].into();
        summary.shortfall.games_altered = 2;
        let coverage = summary.coverage_mut(Some(&"chess".into()), 0);
        coverage.add_unpaired(Unpaired::Response);
        coverage.opened.client = Opened { plain: 1, tls: 2 };
        let figures = r#""calls":2,"errors":1,"unanswered":0,"codes":{"2xx":1,"5xx":1},"request_bytes":200,"response_bytes":2400,"request_body_bytes":0,"response_body_bytes":2000,"p50_ns":12000000,"p99_ns":12000000"#;
        let expect = [
            r#"{"type":"summary","calls":2,"lost":{"probe":{"ring_full":3}},"lost_bytes":{"kernel":{"ring_full":700}},"games_refused":0,"games_altered":2,"observed_ns":1012000000,"overflow_calls":0,"tracked_connections":0,"records":0,"captured_bytes":0,"games":[{"game":"chess","client":{"#,
            figures,
            r#","endpoints":[{"endpoint":"api/a","#,
            figures,
            r#"}]},"server":null,"coverage":{"tls_opaque_connections":0,"tls_opaque_bytes":0,"tls_opaque_by_authority":{},"opaque_connections":{},"unpaired":{"response":1},"unnamed":{},"connections_made":3,"connections_accepted":0,"active_requests":0}}],COST}"#,
        ];
        assert_eq!(
            summary_line(&summary, &Prices::default()).expect("a line"),
            expect.concat().replace("COST", &cost())
        );
    }

    proptest! {
        #[test]
        fn the_order_of_calls_changes_no_report(
            calls in proptest::collection::vec((0u8..3, 0u8..5, 0u16..700, any::<u32>()), 0..50),
        ) {
            let reports = |calls: &mut dyn Iterator<Item = &(u8, u8, u16, u32)>| {
                let mut summary = Summary::default();
                for (game, endpoint, status, duration_ns) in calls {
                    let mut call = call(&format!("g{game}"), &format!("api/{endpoint}"));
                    call.exchange.status = Some(*status);
                    call.exchange.ended_ns = Some(call.exchange.started_ns + u64::from(*duration_ns));
                    summary.record(&call);
                }
                (summary_line(&summary, &Prices::default()).expect("a line"), end_report(&summary, Style::Plain))
            };
            prop_assert_eq!(reports(&mut calls.iter()), reports(&mut calls.iter().rev()));
        }

        #[test]
        fn any_text_is_one_line_of_json_that_reads_back(text in any::<String>()) {
            let mut call = call("chess", "api/a");
            call.exchange.method = text.clone().into();
            call.path = text.as_str().into();
            let line = call_line(&call, CLOCK, &[]).expect("a line");
            prop_assert!(!line.contains(is_unsafe), "{line:?}");
            let back: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            prop_assert_eq!(back["method"].as_str(), Some(&*text).filter(|text| !text.is_empty()));
            prop_assert_eq!(back["path"].as_str(), Some(&*text));
        }
    }
}
