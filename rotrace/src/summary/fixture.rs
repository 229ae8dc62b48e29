//! Given: names of a game and an endpoint. Gives: a call for the tests of everything that reads a summary. Refuses to know:
//! what is tested.

use super::*;
use crate::call::Process;
use crate::exchange::{Exchange, Outcome};
use crate::http::Protocol;

/// A complete `GET` that took 12 ms, to be changed by the test.
pub(crate) fn call(game: &str, endpoint: &str) -> Call {
    let (authority, path) = endpoint.split_at(endpoint.find('/').expect("a path"));
    let game: Option<Arc<str>> = (game != UNKNOWN_GAME).then(|| game.into());
    let process = Process { pid: 4711, start_ticks: 1, exe: "/bin/game".into(), game: game.clone() };
    Call {
        exchange: Exchange {
            ordinal: 0,
            role: Role::Client,
            protocol: Protocol::Http11,
            method: "GET".into(),
            target: path.into(),
            authority: Some(authority.into()),
            status: Some(200),
            request_head_bytes: 100,
            request_body_bytes: Some(0),
            response_head_bytes: Some(200),
            response_body_bytes: Some(1000),
            started_ns: 1_000_000_000,
            first_byte_ns: Some(1_010_000_000),
            ended_ns: Some(1_012_000_000),
            outcome: Outcome::Complete,
            ambiguous_framing: false,
            signals: crate::exchange::Signals::default(),
            grpc: None,
            unnamed: None,
            fields: Vec::new(),
        },
        process: Arc::new(process),
        game,
        endpoint: endpoint.into(),
        path: path.into(),
        conn: 77,
        tls: false,
        cost_ucu: None,
        peer: None,
    }
}
