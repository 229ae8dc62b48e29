//! Given: transcripts of connections. Gives: whether the decoder makes of them what a reader would. Refuses to know: how.
//!
//! A transcript is one piece a line, at the time of its number: `> bytes` from the client and `< bytes` from the server
//! with escapes, `>gap n` and `<gap n`, `>end` and `<end`, `close`. A `!` behind the arrow says that the probes saw a
//! turn there, and `@n` at the beginning of a line sets the time. A line `late` says that the connection was joined late.
//! It is long because every rule of the decoder has its transcripts here.

use super::*;
use crate::http::h1::HEAD_BYTES_MAX;
use crate::stream::Chunk;

/// One piece of a transcript: whether the client sent it, the hint of a turn, the time, the content.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Piece { from_client: bool, turn: bool, at_ns: u64, what: What },
    Close { at_ns: u64 },
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Bytes(Vec<u8>),
    Gap(u64),
    End,
}

pub(super) fn decode(ops: &[Op], late: bool, role: Role) -> Vec<Event> {
    let mut decoder = if late { Decoder::joined_late() } else { Decoder::from_start() };
    let wanted = Wanted(vec!["x-place".into(), "user-agent".into()]);
    let mut events = Vec::new();
    for op in ops {
        let emit = &mut |event| events.push(event);
        match op {
            Op::Close { at_ns } => decoder.close(*at_ns, emit),
            Op::Piece { from_client, turn, at_ns, what } => {
                let sent = *from_client == (role == Role::Client);
                let direction = if sent { Direction::Sent } else { Direction::Received };
                let chunk = match what {
                    What::Bytes(bytes) => Chunk::Bytes(bytes),
                    What::Gap(length) => Chunk::Gap(*length),
                    What::End => Chunk::End,
                };
                decoder.feed(&wanted, Piece { direction, at_ns: *at_ns, turn: *turn, chunk }, emit);
            }
        }
        assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX, "{}", decoder.retained_bytes());
    }
    events
}

fn parse(transcript: &str) -> (Vec<Op>, bool) {
    let (mut ops, mut late, mut now) = (Vec::new(), false, 0);
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        now += 1;
        let mut line = line;
        if let Some(rest) = line.strip_prefix('@') {
            let (time, rest) = rest.split_once(' ').expect("a time and a piece");
            now = time.parse().expect("a time");
            line = rest;
        }
        if line == "late" {
            late = true;
            continue;
        }
        if line == "close" {
            ops.push(Op::Close { at_ns: now });
            continue;
        }
        let from_client = line.starts_with('>');
        let rest = line[1..].strip_prefix('!').unwrap_or(&line[1..]);
        let what = match rest.split_once(' ') {
            Some(("", text)) => What::Bytes(unescape(text)),
            Some(("gap", length)) => What::Gap(length.parse().expect("a length")),
            None if rest == "end" => What::End,
            _ => panic!("{line}"),
        };
        ops.push(Op::Piece { from_client, turn: line[1..].starts_with('!'), at_ns: now, what });
    }
    (ops, late)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match (byte, byte == b'\\') {
            (_, true) => match rest.next().expect("an escape") {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                b'f' => 0xff,
                other => panic!("\\{}", char::from(other)),
            },
            (byte, false) => byte,
        };
        bytes.push(byte);
    }
    bytes
}

/// One line an event: what `check` compares.
pub(super) fn show(event: &Event) -> String {
    let exchange = match event {
        Event::Unpaired(reason) => return format!("{reason:?}"),
        Event::Exchange(exchange) => exchange,
    };
    let known = |value: Option<u64>| value.map_or("?".into(), |value| value.to_string());
    let mut line = format!(
        "#{} {} {} {} -> {} request {}+{} response {}+{} at {} {} {} {:?}",
        exchange.ordinal,
        exchange.method,
        exchange.target,
        exchange.authority.as_deref().unwrap_or("?"),
        known(exchange.status.map(u64::from)),
        exchange.request_head_bytes,
        known(exchange.request_body_bytes),
        known(exchange.response_head_bytes),
        known(exchange.response_body_bytes),
        exchange.started_ns,
        known(exchange.first_byte_ns),
        known(exchange.ended_ns),
        exchange.outcome,
    );
    if exchange.protocol == Protocol::Http10 {
        line += " 1.0";
    }
    if exchange.ambiguous_framing {
        line += " ambiguous";
    }
    for (index, value) in &exchange.fields {
        line += &format!(" {index}={value}");
    }
    line
}

fn check_as(role: Role, transcript: &str, expect: &str) {
    let (ops, late) = parse(transcript);
    let expect: Vec<_> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let compare = |ops: &[Op], how: &str| {
        let events = decode(ops, late, role);
        for event in &events {
            if let Event::Exchange(exchange) = event {
                assert_eq!(exchange.role, role);
            }
        }
        let got: Vec<_> = events.iter().map(show).collect();
        assert_eq!(got, expect, "as {role:?}, {how}");
    };
    compare(&ops, "whole");
    let bytewise: Vec<_> = ops.iter().flat_map(|op| split(op, None)).collect();
    compare(&bytewise, "byte by byte");
    for (at, op) in ops.iter().enumerate() {
        let Op::Piece { what: What::Bytes(bytes), .. } = op else { continue };
        for point in 1..bytes.len() {
            let mut halves = ops.clone();
            halves.splice(at..=at, split(op, Some(point)));
            compare(&halves, &format!("piece {at} split at {point}"));
        }
    }
}

/// The piece in two at `point`, or in single bytes.
fn split(op: &Op, point: Option<usize>) -> Vec<Op> {
    let Op::Piece { from_client, turn, at_ns, what: What::Bytes(bytes) } = op else {
        return vec![op.clone()];
    };
    let parts: Vec<&[u8]> = match point {
        Some(point) => vec![&bytes[..point], &bytes[point..]],
        None => bytes.chunks(1).collect(),
    };
    let piece = |(index, part): (usize, &&[u8])| Op::Piece {
        from_client: *from_client,
        turn: *turn && index == 0,
        at_ns: *at_ns,
        what: What::Bytes(part.to_vec()),
    };
    parts.iter().enumerate().map(piece).collect()
}

/// As the client and as the server: the same exchanges.
fn check(transcript: &str, expect: &str) {
    check_as(Role::Client, transcript, expect);
    check_as(Role::Server, transcript, expect);
}

#[test]
fn calls_one_after_the_other() {
    check(
        r"> GET /a?b=c HTTP/1.1\r\nHost: API.example:8080\r\nUser-Agent: x\r\nX-Place: 7\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe
          < llo
          > GET /d HTTP/1.0\r\n\r\n
          < HTTP/1.1 404 \r\ncontent-length:0\r\n\r\n",
        r"#0 GET /a?b=c api.example:8080 -> 200 request 74+0 response 38+5 at 1 2 3 Complete 1=x 0=7
          #1 GET /d ? -> 404 request 19+0 response 35+0 at 4 5 5 Complete 1.0",
    );
}

#[test]
fn tolerated_forms() {
    check(
        r"> \r\n\nbrew! * HTTP/1.1\nHost: h\nX-Place: a\n b\n\n
          < HTTP/1.1 204\n\n
          > GET http://U:pw@Other:80/x HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n\r\n
          < \r\nHTTP/1.0 200 \r\nContent-Length : 1\r\n\r\n!
          > GET /\f HTTP/1.1\r\nHost: h\r\nX-Place: \f\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 brew! * h -> 204 request 40+0 response 14+0 at 1 2 2 Complete 0=a b
          #1 GET http://U:pw@Other:80/x other:80 -> 200 request 58+0 response 37+1 at 3 4 4 Complete
          #2 GET /� h -> 200 request 40+0 response 38+2 at 5 6 6 Complete 0=�",
    );
}

#[test]
fn bodies_of_requests() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nabc
          > defgPOST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 POST /a h -> 200 request 48+7 response 38+2 at 1 3 3 Complete
          #1 POST /b h -> 200 request 63+3 response 38+2 at 2 3 3 Complete",
    );
}

#[test]
fn bodies_of_responses() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n
          < A\r\n0123456789\r\n0\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\n\r\nuntil
          < the end
          <end
          close",
        r"#0 GET /a h -> 200 request 28+0 response 47+15 at 1 2 3 Complete
          #1 GET /b h -> 200 request 28+0 response 19+12 at 4 5 7 Complete",
    );
}

#[test]
fn responses_without_a_body() {
    check(
        r"> HEAD /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 HEAD /a h -> 200 request 29+0 response 39+0 at 1 2 2 Complete
          #1 GET /b h -> 204 request 28+0 response 55+0 at 1 2 2 Complete
          #2 GET /c h -> 304 request 28+0 response 48+0 at 1 2 2 Complete
          #3 GET /d h -> 200 request 28+0 response 38+2 at 1 2 2 Complete",
    );
}

#[test]
fn a_transfer_coding_overrides_a_length() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok",
        r"#0 POST /a h -> 200 request 76+1 response 66+0 at 1 2 2 Complete ambiguous
          #1 GET /b h -> 200 request 28+0 response 41+2 at 3 4 4 Complete ambiguous
          #2 GET /c h -> 200 request 28+0 response 57+2 at 5 6 6 Complete ambiguous",
    );
}

#[test]
fn a_response_whose_last_coding_is_not_chunked_ends_with_the_connection() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n
          <end",
        r"#0 GET /a h -> 200 request 28+0 response 53+5 at 1 2 3 Complete",
    );
}

#[test]
fn a_response_with_two_lengths_has_none() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          close",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 57+? at 1 2 ? Unbounded ambiguous
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
}

#[test]
fn a_request_without_a_usable_length_is_a_call_and_the_next_is_found_at_a_turn() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 POST /a h -> 501 request 54+? response 38+0 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n
          < HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 POST /a h -> 400 request 48+? response 38+0 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
}

#[test]
fn broken_chunks_lose_the_rest() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokx
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 POST /a h -> 200 request 57+? response 38+2 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
}

#[test]
fn interim_responses_are_not_the_response() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n
          < HTTP/1.1 100 Continue\r\n\r\n
          > hi
          < HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 POST /a h -> 200 request 70+2 response 38+2 at 1 5 5 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 6 7 7 Complete",
    );
}

#[test]
fn an_upgrade_ends_the_reading() {
    check(
        r"> GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n
          < HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\0\0GET
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          close",
        r"#0 GET /ws h -> 101 request 70+0 response 56+0 at 1 2 2 Complete
          Upgraded",
    );
}

#[test]
fn a_tunnel_ends_the_reading() {
    check(
        r"> CONNECT Db.example:443 HTTP/1.1\r\nHost: proxy\r\n\r\n
          < HTTP/1.1 200 Connection established\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          close",
        r"#0 CONNECT Db.example:443 db.example:443 -> 200 request 48+0 response 39+0 at 1 2 2 Complete
          Upgraded",
    );
    check(
        r"> CONNECT db:443 HTTP/1.1\r\n\r\n
          < HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 CONNECT db:443 db:443 -> 407 request 27+0 response 38+2 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check(
        r"> CONNECT db:443 HTTP/1.1\r\n\r\n
          > \0\0eager bytes of the tunnel
          < HTTP/1.1 200 OK\r\n\r\n
          > \0\0",
        r"#0 CONNECT db:443 db:443 -> 200 request 27+0 response 19+0 at 1 3 3 Complete
          Upgraded",
    );
}

#[test]
fn a_response_before_the_request_is_over() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc
          < HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n
          > GET / GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          close",
        r"#0 POST /a h -> 413 request 48+? response 45+0 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc
          < HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n
          > de
          <end
          close",
        r"#0 POST /a h -> 413 request 48+? response 45+0 at 1 2 4 Aborted",
    );
}

#[test]
fn pipelined_calls() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n
          > GET /d HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /e HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 3 3 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 1 3 3 Complete
          #2 GET /c h -> 200 request 28+0 response 38+2 at 1 5 5 Complete
          #3 GET /d h -> 200 request 28+0 response 38+2 at 2 5 5 Complete
          #4 GET /e h -> 200 request 28+0 response 38+2 at 4 6 6 Complete",
    );
}

#[test]
fn a_connection_that_ends_in_the_middle() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok
          @9 close",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 9 Aborted
          #1 GET /b h -> ? request 28+0 response ?+? at 1 ? 9 Aborted",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok
          @9 <end
          @11 close",
        r"#0 GET /a h -> 200 request 28+0 response 47+2 at 1 2 9 Aborted
          #1 GET /b h -> ? request 28+0 response ?+? at 1 ? 9 Aborted",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200
          @9 close",
        r"#0 GET /a h -> ? request 28+0 response ?+? at 1 ? 9 Aborted",
    );
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nok
          @9 close",
        r"#0 POST /a h -> ? request 48+2 response ?+? at 1 ? 9 Aborted",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1
          @9 close",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Request",
    );
    check(
        r"> GE
          close",
        r"",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          <end
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          @9 close",
        r"#0 GET /a h -> ? request 28+0 response ?+? at 1 ? 2 Aborted
          #1 GET /b h -> ? request 28+0 response ?+? at 3 ? 9 Aborted",
    );
}

#[test]
fn a_body_until_the_connection_ends() {
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.0 200 OK\r\n\r\nok
          @9 close",
        r"#0 GET /a h -> 200 request 28+0 response 19+2 at 1 2 9 Aborted",
    );
    check_as(
        Role::Server,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.0 200 OK\r\n\r\nok
          <gap 5
          @9 close",
        r"#0 GET /a h -> 200 request 28+0 response 19+7 at 1 2 9 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.0 200 OK\r\n\r\nok
          <gap 5
          @9 <end
          close",
        r"#0 GET /a h -> 200 request 28+0 response 19+7 at 1 2 9 Complete",
    );
}

#[test]
fn gaps_in_bodies_of_a_known_length_are_exact() {
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\na
          >gap 3
          > b
          >gap 4
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na
          <gap 8
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 8
          < \r\n0\r\n\r\n",
        r"#0 POST /a h -> 200 request 48+9 response 38+9 at 1 6 7 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 5 8 8 Complete
          #2 GET /c h -> 200 request 28+0 response 47+9 at 9 10 12 Complete",
    );
}

#[test]
fn a_gap_over_chunk_framing_loses_the_size_and_not_the_call() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 999
          < HTTP/1.1 500 In a body\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded
          #1 GET /b h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 999
          <end
          close",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 999
          close",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 999
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded
          #1 GET /b h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #2 GET /c h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          <gap 999
          <! HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 47+? at 1 2 ? Unbounded
          Response
          #1 GET /c h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na
          >gap 99
          > GET /x HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 POST /a h -> 200 request 57+? response 38+2 at 1 4 4 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
}

#[test]
fn a_gap_over_a_request_loses_it_and_what_follows_until_a_turn() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b
          >gap 9
          > .1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /d HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Request
          Resync
          Response
          #1 GET /d h -> 200 request 28+0 response 38+2 at 7 8 8 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          >gap 99
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /d HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Resync
          Response
          #1 GET /d h -> 200 request 28+0 response 38+2 at 6 7 7 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          >gap 99
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /d HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 38+2 at 1 3 3 Complete
          Response
          #1 GET /d h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          >gap 99
          >! GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Resync
          #1 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
}

#[test]
fn a_gap_over_a_response_loses_all_that_wait() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200
          <gap 9
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #1 GET /b h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #2 GET /c h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 99
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #1 GET /c h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 99
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #1 GET /b h -> ? request 28+0 response ?+? at 2 ? ? Lost
          #2 GET /c h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na
          <gap 99
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+9 at 1 2 ? Complete
          Resync
          #1 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
}

#[test]
fn requests_behind_a_lost_response_are_calls() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 99
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 99
          > GET /d HTTP
          > /1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /e HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          Resync
          #1 GET /b h -> ? request 28+0 response ?+? at 3 ? ? Lost
          #2 GET /c h -> ? request 28+0 response ?+? at 3 ? ? Lost
          #3 GET /d h -> 200 request 28+0 response 38+2 at 5 7 7 Complete
          #4 GET /e h -> 200 request 28+0 response 38+2 at 8 9 9 Complete",
    );
    check_as(
        Role::Client,
        r"> GET /a HT
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > TP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
    check_as(
        Role::Server,
        r"> GET /a HT
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > TP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #1 GET /b h -> ? request 28+0 response ?+? at 3 ? ? Lost
          Response
          #2 GET /c h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
}

#[test]
fn a_response_that_was_lost_does_not_stretch_the_call() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na
          @99 > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 8
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+9 at 1 2 ? Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 99 101 101 Complete",
    );
}

#[test]
fn joined_in_the_middle() {
    check(
        r"late
          < f a body
          > GET nonsense
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"late
          > GET /in-a-body HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
    check(
        r"late
          >! GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 2 3 3 Complete",
    );
    check(
        r"late
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /no-host HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.0\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a ? -> 200 request 19+0 response 38+2 at 5 6 6 Complete 1.0",
    );
    check(
        r"late
          <! HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < part of an older body
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a h -> ? request 28+0 response ?+? at 3 ? ? Lost
          #1 GET /b h -> 200 request 28+0 response 38+2 at 6 7 7 Complete",
    );
    check(
        r"late
          <! more
          >gap 9
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          <gap 5
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          Resync
          #0 GET /b h -> ? request 28+0 response ?+? at 6 ? ? Lost
          #1 GET /c h -> 200 request 28+0 response 38+2 at 9 10 10 Complete",
    );
    check(
        r"late
          < x
          > GET /a HT
          < y
          > TP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /b h -> 200 request 28+0 response 38+2 at 7 8 8 Complete",
    );
}

#[test]
fn lost_from_the_first_byte() {
    check(
        r">gap 9
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          Response
          #0 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
    check(
        r"<gap 9
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> 200 request 28+0 response 38+2 at 2 3 3 Complete",
    );
}

#[test]
fn a_response_to_nothing() {
    check_as(
        Role::Server,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Response
          #1 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
    check_as(
        Role::Server,
        r"> GET /a HTTP/1
          < HTTP/1.1 400 Bad\r\n\r\n
          close",
        r"Response
          Request",
    );
    check_as(
        Role::Server,
        r"< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /b h -> 200 request 28+0 response 38+2 at 2 3 3 Complete",
    );
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n
          <end
          close",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Response",
    );
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n
          @1000000099 > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Response
          #1 GET /b h -> 200 request 28+0 response 38+2 at 1000000099 1000000100 1000000100 Complete",
    );
}

#[test]
fn a_response_that_was_recorded_before_its_request() {
    check_as(
        Role::Client,
        r"< HTT
          < P/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 1 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
    check_as(
        Role::Client,
        r"late
          <! HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Response
          #0 GET /a h -> ? request 28+0 response ?+? at 3 ? ? Lost
          #1 GET /b h -> ? request 28+0 response ?+? at 4 ? ? Lost
          Response
          #2 GET /c h -> 200 request 28+0 response 38+2 at 6 7 7 Complete",
    );
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 100 Continue\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na
          <gap 8
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          <end
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          > GET /c HTTP/1.1\r\nHost: h\r\n\r\n
          close",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+9 at 4 4 5 Complete
          #2 GET /c h -> 200 request 28+0 response 38+2 at 6 6 6 Complete",
    );
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < \r\n\r\n
          > GET /b HT
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > TP/1.1\r\nHost: h\r\n\r\n
          close",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          #1 GET /b h -> 200 request 28+0 response 38+2 at 4 5 5 Complete",
    );
    check_as(
        Role::Client,
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          >gap 9
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Resync
          Response
          Response",
    );
}

#[test]
fn what_is_not_http() {
    check(
        r"> \0\0\0
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          close",
        r"NotHttp",
    );
    check(
        r"< 220 mail ESMTP\r\n
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        r"NotHttp",
    );
    check(
        r"> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        r"NotHttp",
    );
    check(
        r"> GET / HTTP/3.1\r\n\r\n
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        r"NotHttp",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
          > \0\0\r\n\r\n
          < \0
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"#0 GET /a h -> 200 request 28+0 response 38+2 at 1 2 2 Complete
          Resync
          #1 GET /b h -> 200 request 28+0 response 38+2 at 5 6 6 Complete",
    );
    check(
        r"> GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < nonsense\r\n\r\n
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        r"Resync
          #0 GET /a h -> ? request 28+0 response ?+? at 1 ? ? Lost
          #1 GET /b h -> 200 request 28+0 response 38+2 at 3 4 4 Complete",
    );
}

fn piece(direction: Direction, bytes: &[u8]) -> Piece<'_> {
    Piece { direction, at_ns: 1, turn: false, chunk: Chunk::Bytes(bytes) }
}

fn feed(decoder: &mut Decoder, pieces: &[(Direction, &[u8])]) -> Vec<Event> {
    let mut events = Vec::new();
    for (direction, bytes) in pieces {
        decoder.feed(&Wanted(vec!["a".into()]), piece(*direction, bytes), &mut |event| events.push(event));
        assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX);
    }
    events
}

fn count(events: &[Event], what: impl Fn(&Exchange) -> bool) -> usize {
    events.iter().filter(|event| matches!(event, Event::Exchange(exchange) if what(exchange))).count()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_large_head_with_many_fields_is_read() {
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
    for index in 0..400 {
        head.extend(format!("Field-{index}: {}\r\n", "v".repeat(40)).bytes());
    }
    head.extend(b"\r\n");
    assert!(head.len() > 20 * 1024);
    let mut decoder = Decoder::from_start();
    let (front, back) = head.split_at(9999);
    let events =
        feed(&mut decoder, &[(Direction::Sent, front), (Direction::Sent, back), (Direction::Received, OK)]);
    assert_eq!(count(&events, |exchange| exchange.request_head_bytes == head.len() as u64), 1);
}

#[test]
fn a_head_above_the_bound_is_counted_and_the_next_call_is_found() {
    let head = [b"GET / HTTP/1.1\r\nA: ", "x".repeat(HEAD_BYTES_MAX).as_bytes(), b"\r\n\r\n"].concat();
    for role in [(Direction::Sent, Direction::Received), (Direction::Received, Direction::Sent)] {
        let (requests, responses) = role;
        let mut decoder = Decoder::from_start();
        let pieces = [(requests, &*head), (responses, OK), (requests, GET), (responses, OK)];
        let events = feed(&mut decoder, &pieces);
        let expect = ["Request", "Resync", "Response"];
        assert_eq!(events[..3].iter().map(show).collect::<Vec<_>>(), expect);
        assert_eq!(count(&events[3..], |exchange| exchange.outcome == Outcome::Complete), 1);
        assert_eq!(events.len(), 4);
    }
}

#[test]
fn deep_pipelines_are_paired_up_to_the_bound() {
    for (depth, complete) in [(64, 64), (PENDING_MAX, PENDING_MAX), (PENDING_MAX + 1, 0)] {
        let mut decoder = Decoder::from_start();
        let events = feed(
            &mut decoder,
            &[(Direction::Sent, &GET.repeat(depth)), (Direction::Received, &OK.repeat(depth))],
        );
        assert_eq!(count(&events, |exchange| exchange.outcome == Outcome::Complete), complete, "{depth}");
        assert_eq!(count(&events, |_| true), depth);
        let events = feed(&mut decoder, &[(Direction::Sent, GET), (Direction::Received, OK)]);
        assert_eq!(count(&events, |exchange| exchange.outcome == Outcome::Complete), 1);
    }
}

#[test]
fn memory_is_bounded_where_everything_waits() {
    let request = [b"GET /", [0xff; TARGET_BYTES_MAX].as_slice(), b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    let mut decoder = Decoder::from_start();
    let mut most = 0;
    for index in 0..100 {
        let bytes = if index % 3 == 0 { &request } else { GET };
        feed(&mut decoder, &[(Direction::Sent, bytes)]);
        most = most.max(decoder.retained_bytes());
    }
    feed(&mut decoder, &[(Direction::Sent, &vec![b'x'; HEAD_BYTES_MAX - 1])]);
    most = most.max(decoder.retained_bytes());
    feed(
        &mut decoder,
        &[(Direction::Received, &[b"HTTP/1.1 ", vec![b'x'; HEAD_BYTES_MAX - 10].as_slice()].concat())],
    );
    most = most.max(decoder.retained_bytes());
    assert!(most >= 2 * HEAD_BYTES_MAX, "{most}");
}

#[test]
fn responses_ahead_of_requests_are_kept_up_to_the_bound() {
    let body = "x".repeat(AHEAD_BYTES_MAX);
    for (kept, complete) in [(20 * 1024, 1), (AHEAD_BYTES_MAX, 0)] {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {kept}\r\n\r\n{}", &body[..kept]);
        let mut decoder = Decoder::from_start();
        feed(&mut decoder, &[(Direction::Sent, GET), (Direction::Received, OK)]);
        let events =
            feed(&mut decoder, &[(Direction::Received, response.as_bytes()), (Direction::Sent, GET)]);
        assert_eq!(count(&events, |exchange| exchange.outcome == Outcome::Complete), complete);
        assert_eq!(events.len(), 1);
    }
}

#[test]
fn a_connection_that_is_never_http_is_given_up() {
    let mut decoder = Decoder::joined_late();
    let mut events = Vec::new();
    for turn in 0..=TURNS_HUNTED_MAX {
        assert!(!decoder.is_opaque(), "after {turn} turns");
        let direction = if turn % 2 == 0 { Direction::Sent } else { Direction::Received };
        events.extend(feed(&mut decoder, &[(direction, b"\0\0\0")]));
    }
    assert!(decoder.is_opaque());
    assert_eq!(events, [Event::Unpaired(Unpaired::NotHttp)]);
}

#[test]
fn long_targets_and_values_are_cut() {
    let head = format!("GET /{} HTTP/1.1\r\nA: {}\r\nA: b\r\n\r\n", "t".repeat(9000), "v".repeat(9000));
    let mut decoder = Decoder::from_start();
    let events = feed(&mut decoder, &[(Direction::Sent, head.as_bytes()), (Direction::Received, OK)]);
    let cut = |exchange: &Exchange| {
        exchange.target.len() == TARGET_BYTES_MAX
            && matches!(&*exchange.fields, [(0, value)] if value.len() == FIELD_BYTES_MAX)
    };
    assert_eq!(count(&events, cut), 1);
}

#[test]
fn in_flight_counts_the_requests_that_wait() {
    let mut decoder = Decoder::from_start();
    feed(&mut decoder, &[(Direction::Sent, &GET.repeat(3)), (Direction::Received, OK)]);
    assert_eq!(decoder.in_flight(), 2);
}
