//! Given: transcripts of connections. Gives: whether the decoder makes of them what a reader would. Refuses to know: how.
//!
//! A transcript is one piece a line, at the time of its number: `> bytes` from the client and `< bytes` from the server
//! with escapes, `>gap n` and `<gap n`, `>end` and `<end`, `close`. A `!` behind the arrow says that the probes saw a
//! turn there, and `@n` at the beginning of a line sets the time. A line `late` says that the connection was joined late.
//! Transcripts of HTTP/2 are the same, with frames by name in place of bytes.

mod bounds;
mod doubts;
mod gaps;
mod ids;
mod whole;

use super::*;
use crate::http::websocket::Tally;
use crate::stream::Chunk;

/// One piece of a transcript: whether the client sent it, the hint of a turn, the time, the content.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Piece { from_client: bool, turn: bool, at_ns: u64, what: What },
    Close { at_ns: u64 },
}

#[derive(Clone)]
pub(super) enum What {
    Bytes(Vec<u8>),
    Gap(u64),
    End,
}

impl What {
    pub(super) fn chunk(&self) -> Chunk<'_> {
        match self {
            What::Bytes(bytes) => Chunk::Bytes(bytes),
            What::Gap(length) => Chunk::Gap(*length),
            What::End => Chunk::End,
        }
    }
}

/// Failures of properties are read by people.
impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Bytes(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            What::Gap(length) => write!(f, "gap {length}"),
            What::End => write!(f, "end"),
        }
    }
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
                let piece =
                    Piece { direction, at_ns: *at_ns, turn: *turn, frame: false, chunk: what.chunk() };
                decoder.feed(&wanted, piece, emit);
            }
        }
        assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX, "{}", decoder.retained_bytes());
    }
    let client = if role == Role::Client { Direction::Sent } else { Direction::Received };
    with_frames_added_up(events, client)
}

/// Frames are told piece by piece; the sums of both directions come last here, those of the client before those of the server.
fn with_frames_added_up(mut events: Vec<Event>, client: Direction) -> Vec<Event> {
    let server = if client == Direction::Sent { Direction::Received } else { Direction::Sent };
    for wanted in [client, server] {
        let mut sum = None;
        events.retain(|event| match *event {
            Event::Frames { direction, tally, at_ns: 1.. } if direction == wanted => {
                *sum.get_or_insert_default() += tally;
                false
            }
            _ => true,
        });
        events.extend(sum.map(|tally| Event::Frames { direction: wanted, at_ns: 0, tally }));
    }
    events
}

/// The pieces of a transcript, whose bytes are what `bytes` makes of the text, and whether it was joined late.
pub(super) fn parse(transcript: &str, bytes: fn(&str) -> Vec<u8>) -> (Vec<Op>, bool) {
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
            Some(("", text)) => What::Bytes(bytes(text)),
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
                b'x' => (0..2).fold(0, |byte, _| {
                    let digit = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                    byte << 4 | digit.expect("two digits") as u8
                }),
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
        Event::Frames { tally, .. } => {
            let Tally { data_frames, control_frames, messages, payload_bytes, unknown_bytes } = tally;
            return format!(
                "frames {data_frames}+{control_frames} messages {messages} bytes {payload_bytes}+{unknown_bytes}"
            );
        }
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
    let (ops, late) = parse(transcript, unescape);
    let compare = |ops: &[Op], how: &str| assert_events(&decode(ops, late, role), role, show, expect, how);
    compare(&ops, "whole");
    each_cut(&ops, compare);
}

/// Fails unless the events are those of `expect`, one a line.
pub(super) fn assert_events(
    events: &[Event],
    role: Role,
    line: fn(&Event) -> String,
    expect: &str,
    how: &str,
) {
    for event in events {
        if let Event::Exchange(exchange) = event {
            assert_eq!(exchange.role, role);
        }
    }
    let expect: Vec<_> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let got: Vec<_> = events.iter().map(line).collect();
    assert_eq!(got, expect, "as {role:?}, {how}");
}

/// The same pieces byte by byte, and with one of them cut at each point.
pub(super) fn each_cut(ops: &[Op], compare: impl Fn(&[Op], &str)) {
    let bytewise: Vec<_> = ops.iter().flat_map(|op| split(op, None)).collect();
    compare(&bytewise, "byte by byte");
    for (at, op) in ops.iter().enumerate() {
        let Op::Piece { what: What::Bytes(bytes), .. } = op else { continue };
        for point in 1..bytes.len() {
            let mut halves = ops.to_vec();
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
