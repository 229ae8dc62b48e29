//! Given: connections and pieces of their bytes. Gives: whether what is said of each is right. Refuses to know: probes.

use super::*;
use crate::limits::BODY_COPIED_BYTES;
use crate::memory::Bytes;
use crate::record::role;
use proptest::prelude::*;
use std::vec::Vec;

const SENT: u8 = 0;
const RECEIVED: u8 = 1;

fn from_start() -> Connection {
    Connection::new(1, role::CLIENT, true)
}

fn joined_late() -> Connection {
    Connection::new(1, role::UNKNOWN, false)
}

fn text(connection: &mut Connection, direction: u8, bytes: &[u8]) -> Admit {
    let first = Prefix::from_bytes(bytes);
    let admit = connection.admit(direction, bytes.len() as u64, &first);
    let is_answer = connection.protocol == protocol::HTTP1 && first.is_switching_protocols();
    if is_answer && matches!(admit, Admit::Copy { turn: true, .. }) {
        let position = connection.flows[direction as usize].position - bytes.len() as u64;
        connection.switch(direction, position);
        return Admit::Frames;
    }
    admit
}

fn body(connection: &mut Connection, direction: u8, size: u64) -> Admit {
    connection.admit(direction, size, &Prefix::EMPTY)
}

#[test]
fn a_start_line_in_pieces_is_copied_and_recognised() {
    let mut connection = from_start();
    assert_eq!(text(&mut connection, SENT, b"GE"), Admit::Copy { bytes: 2, turn: true });
    assert_eq!(connection.protocol, protocol::NEW);
    assert_eq!(text(&mut connection, SENT, b"T "), Admit::Copy { bytes: 2, turn: false });
    assert_eq!(text(&mut connection, SENT, b"/"), Admit::Copy { bytes: 1, turn: false });
    assert_eq!(connection.protocol, protocol::HTTP1);
    assert_eq!(connection.flows[0].position, 5);
}

#[test]
fn a_body_is_length_only_when_the_credit_is_spent_and_small_pieces_are_not() {
    let mut connection = from_start();
    text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(body(&mut connection, RECEIVED, 16_384), Admit::Copy { bytes: 16_384, turn: true });
    assert_eq!(body(&mut connection, RECEIVED, 65_536), Admit::Copy { bytes: 4_096, turn: false });
    assert_eq!(body(&mut connection, RECEIVED, 65_536), Admit::Copy { bytes: 0, turn: false });
    assert_eq!(body(&mut connection, RECEIVED, 200), Admit::Copy { bytes: 200, turn: false });
    assert_eq!(body(&mut connection, RECEIVED, 201), Admit::Copy { bytes: 0, turn: false });
    assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n"), Admit::Copy { bytes: 18, turn: true });
    assert_eq!(
        body(&mut connection, RECEIVED, 300),
        Admit::Copy { bytes: 300, turn: true },
        "credit is back"
    );
}

#[test]
fn an_empty_line_before_the_first_request_is_copied_with_it() {
    for mut connection in [from_start(), joined_late()] {
        assert_eq!(text(&mut connection, SENT, b"\r\n"), Admit::Copy { bytes: 2, turn: true });
        assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1"), Admit::Copy { bytes: 14, turn: false });
        assert_eq!(connection.protocol, protocol::HTTP1);
    }
    let mut connection = joined_late();
    assert_eq!(text(&mut connection, SENT, b"\r\nthe words of a body"), Admit::Ignore);
    assert_eq!(connection.protocol, protocol::NEW);
}

#[test]
fn another_protocol_from_the_start_is_ignored_at_once() {
    let mut connection = from_start();
    assert_eq!(text(&mut connection, SENT, b"\0\x01\x02"), Admit::Ignore);
    assert_eq!(connection.protocol, protocol::IGNORED);
    assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1"), Admit::Ignore);
}

#[test]
fn a_connection_that_is_joined_late_is_recognised_at_a_turn_and_nowhere_else() {
    let mut connection = joined_late();
    assert_eq!(text(&mut connection, RECEIVED, b"the middle of a body"), Admit::Ignore);
    assert_eq!(text(&mut connection, RECEIVED, b"GET / HTTP/1.1 in a body"), Admit::Ignore);
    assert_eq!(connection.protocol, protocol::NEW);
    assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1\r\n"), Admit::Copy { bytes: 16, turn: true });
    assert_eq!(connection.protocol, protocol::HTTP1);
    assert_eq!(connection.flows[1].position, 44, "positions count from the first byte seen");
}

#[test]
fn a_late_connection_that_is_never_http_is_given_up() {
    let mut connection = joined_late();
    for turn in 0..TURNS_BEFORE_IGNORED {
        assert_eq!(connection.protocol, protocol::NEW, "turn {turn}");
        text(&mut connection, turn % 2, b"\0binary");
    }
    assert_eq!(connection.protocol, protocol::IGNORED);
}

#[test]
fn of_tls_the_hello_is_copied_and_the_rest_counted() {
    let mut connection = from_start();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert_eq!(text(&mut connection, SENT, hello), Admit::Encrypted { report: 11, bytes: 11 });
    assert_eq!(body(&mut connection, RECEIVED, ENCRYPTED_REPORT_BYTES - 1), Admit::Ignore);
    let all = ENCRYPTED_REPORT_BYTES + 9;
    assert_eq!(body(&mut connection, RECEIVED, 10), Admit::Encrypted { report: all, bytes: 0 });
    assert_eq!(body(&mut connection, RECEIVED, 10), Admit::Ignore);
}

/// The records of a piece, as sizes and captured bytes; what the first says where it is no frames.
fn parts(connection: &mut Connection, direction: u8, bytes: &[u8]) -> Result<Vec<(u64, u64)>, Admit> {
    let admit = text(connection, direction, bytes);
    if admit != Admit::Frames {
        return Err(admit);
    }
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < bytes.len() as u64 {
        let (part, turn) = next(connection, direction, &Bytes(bytes), 1 + at, bytes.len() as u64 - at);
        assert!(!turn || at == 0);
        assert!(part.size > 0 && part.captured <= part.size);
        parts.push((part.size, part.captured));
        at += part.size;
    }
    assert_eq!(at, bytes.len() as u64);
    Ok(parts)
}

/// The next part, as the probes take it.
fn next(
    connection: &mut Connection,
    direction: u8,
    memory: &Bytes<'_>,
    address: u64,
    size: u64,
) -> (Part, bool) {
    if connection.protocol == protocol::HTTP2 {
        return connection.part(direction, memory, address, size);
    }
    let mut part = match connection.upgraded(direction) {
        Upgraded::Answer => connection.part_of_answer(direction, memory, address, size),
        Upgraded::Header => connection.part_of_header(direction, memory, address, size),
        Upgraded::Frames => connection.part_of_frames(direction, memory, address, size).0,
    };
    let turn = connection.settle(direction, &mut part);
    (part, turn)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame on stream 1, or 0 for SETTINGS.
fn frame(kind: u8, size: usize) -> Vec<u8> {
    let mut bytes = (size as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, 0, 0, 0, 0, u8::from(kind != frames::kind::SETTINGS)]);
    bytes.extend(std::vec![b'.'; size]);
    bytes
}

#[test]
fn of_http2_all_is_copied_but_data_behind_its_first_bytes() {
    use frames::kind::{DATA, HEADERS, SETTINGS};
    for mut connection in [from_start(), joined_late()] {
        let begin = [PREFACE, &frame(SETTINGS, 12), &frame(HEADERS, 300)].concat();
        assert_eq!(parts(&mut connection, SENT, &begin), Ok(std::vec![(354, 354)]));
        let answer =
            [frame(SETTINGS, 0), frame(HEADERS, 100), frame(DATA, 16_384), frame(DATA, 500)].concat();
        let body = BODY_COPIED_BYTES as u64;
        let expect = std::vec![(9 + 109 + 9 + 16_384, 9 + 109 + 9 + body), (509, 15)];
        assert_eq!(parts(&mut connection, RECEIVED, &answer), Ok(expect));
        assert_eq!(connection.flows[1].position, answer.len() as u64);
    }
}

#[test]
fn a_server_that_speaks_first_is_recognised() {
    let mut connection = from_start();
    let settings = frame(frames::kind::SETTINGS, 18);
    assert_eq!(parts(&mut connection, SENT, &settings), Ok(std::vec![(27, 27)]));
    assert_eq!(parts(&mut connection, RECEIVED, PREFACE), Ok(std::vec![(24, 24)]));
    assert_eq!(connection.flows[1].frames, Frames::preface(0));
}

#[test]
fn a_preface_in_pieces_is_copied() {
    let mut connection = from_start();
    let (begin, rest) = PREFACE.split_at(20);
    assert_eq!(text(&mut connection, SENT, begin), Admit::Copy { bytes: 20, turn: true });
    let rest = [rest, &frame(frames::kind::SETTINGS, 0)].concat();
    assert_eq!(parts(&mut connection, SENT, &rest), Ok(std::vec![(13, 13)]));
    assert_eq!(connection.flows[0].frames, Frames::preface(0));
}

#[test]
fn http2_that_is_joined_late_is_recognised_by_a_frame_that_fills_its_piece() {
    use frames::kind::{DATA, HEADERS};
    let mut connection = joined_late();
    assert_eq!(parts(&mut connection, RECEIVED, &frame(DATA, 900)), Err(Admit::Ignore));
    assert_eq!(parts(&mut connection, SENT, &frame(HEADERS, 40)), Ok(std::vec![(49, 49)]));
    let mut cut = frame(HEADERS, 400);
    cut.pop();
    assert_eq!(parts(&mut connection, RECEIVED, &cut), Ok(std::vec![(408, 0)]), "not yet there");
    assert_eq!(parts(&mut connection, RECEIVED, &frame(HEADERS, 400)), Ok(std::vec![(409, 409)]));
}

/// A spliced body has no bytes that could be looked at. Were a part of it told of, what is passed over behind it would be a
/// gap in which the next response may have been.
#[test]
fn bytes_that_are_not_seen_begin_nothing_of_a_connection_joined_late() {
    let mut connection = joined_late();
    for size in [5, 1000] {
        assert_eq!(body(&mut connection, RECEIVED, size), Admit::Ignore);
    }
    assert_ne!(text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n"), Admit::Ignore);
    assert_eq!(connection.protocol, protocol::HTTP1);
}

#[test]
fn a_switch_of_protocols_is_recognised() {
    let check = |bytes: &[u8], expect| {
        assert_eq!(Prefix::from_bytes(bytes).is_switching_protocols(), expect, "{bytes:?}");
    };
    check(b"HTTP/1.1 101 Switching Protocols", true);
    check(b"HTTP/1.0 101", true);
    check(b"HTTP/1.1 10", false);
    check(b"HTTP/1.1 100 Continue", false);
    check(b"HTTP/2.1 101 ", false);
    check(b"GET /101 101", false);
}

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// A connection whose server, which answers in this direction, has switched protocols in its call of this number.
fn switched(mut connection: Connection, answers: u8, call: usize) -> Connection {
    for _ in 0..call {
        text(&mut connection, 1 - answers, b"GET / HTTP/1.1\r\n\r\n");
        text(&mut connection, answers, b"HTTP/1.1 401 Unauthorized\r\n\r\n");
    }
    text(&mut connection, 1 - answers, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    let size = ANSWER.len() as u64;
    assert_eq!(parts(&mut connection, answers, ANSWER), Ok(std::vec![(size, size)]));
    assert_eq!(connection.protocol, protocol::UPGRADED);
    connection
}

#[test]
fn of_a_websocket_headers_are_copied() {
    for (answers, call) in [(SENT, 0), (RECEIVED, 0), (RECEIVED, 1), (SENT, 9)] {
        for connection in [from_start(), joined_late()] {
            let mut connection = switched(connection, answers, call);
            let before = connection.flows[answers as usize].position;
            let long = [b"\x82\x7e\xea\x60", &[b'.'; 60_000][..]].concat();
            assert_eq!(parts(&mut connection, answers, &long), Ok(std::vec![(60_004, 4)]));
            let masked = [b"\x81\xfe\x00\xc8mask", &[b'.'; 200][..], b"\x81\x81mask."].concat();
            assert_eq!(parts(&mut connection, 1 - answers, &masked), Ok(std::vec![(208, 4), (7, 2)]));
            let (cut, rest) = long.split_at(3);
            assert_eq!(parts(&mut connection, answers, cut), Ok(std::vec![(3, 3)]));
            assert_eq!(parts(&mut connection, answers, rest), Ok(std::vec![(1, 1), (60_000, 0)]));
            assert_eq!(connection.flows[answers as usize].position, before + 2 * long.len() as u64);
        }
    }
}

#[test]
fn frames_may_stand_behind_their_answer() {
    let mut connection = from_start();
    text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
    let size = ANSWER.len() as u64;
    let bytes = [ANSWER, b"\x81\x02hi"].concat();
    assert_eq!(parts(&mut connection, RECEIVED, &bytes), Ok(std::vec![(size, size), (4, 2)]));
}

/// Each of two threads records what it moved when its call ends.
#[test]
fn a_request_may_be_recorded_behind_its_answer() {
    let mut connection = from_start();
    parts(&mut connection, RECEIVED, &[ANSWER, b"\x81\x02hi"].concat()).expect("frames");
    let request = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(parts(&mut connection, SENT, request), Ok(std::vec![(38, 38)]));
    assert_eq!(parts(&mut connection, SENT, b"\x81\x82maskhi"), Ok(std::vec![(8, 2)]));
}

#[test]
fn of_another_protocol_that_was_switched_to_the_first_bytes_of_each_piece_are_copied() {
    let mut connection = switched(from_start(), RECEIVED, 0);
    let words = [b'w'; 60_000];
    let copied = |bytes| Ok(std::vec![(60_000, bytes)]);
    for _ in 0..9 {
        assert_eq!(parts(&mut connection, RECEIVED, &words), copied(UPGRADED_COPIED_BYTES));
    }
    assert_eq!(parts(&mut connection, SENT, &words[..300]), Ok(std::vec![(300, 300)]));
    assert_eq!(parts(&mut connection, RECEIVED, &words), copied(CREDIT_BYTES));
    assert_eq!(parts(&mut connection, RECEIVED, &words), copied(UPGRADED_COPIED_BYTES));
}

#[test]
fn an_upgrade_to_http2_is_seen_at_its_preface() {
    let settings = frame(frames::kind::SETTINGS, 12);
    for is_first in [true, false] {
        let mut connection = switched(from_start(), RECEIVED, 0);
        if is_first {
            assert_eq!(parts(&mut connection, RECEIVED, &settings), Ok(std::vec![(21, 21)]));
        }
        let begin = [PREFACE, &settings].concat();
        assert_eq!(parts(&mut connection, SENT, &begin), Ok(std::vec![(24, 24), (21, 21)]));
        assert_eq!(connection.protocol, protocol::HTTP2);
        assert_eq!(parts(&mut connection, RECEIVED, &settings), Ok(std::vec![(21, 21)]));
    }
}

#[test]
fn only_at_the_begin_the_first_bytes_are_asked_for() {
    let mut connection = from_start();
    assert!(connection.asks());
    text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
    assert!(!connection.asks());
}

#[test]
fn behind_bytes_that_no_call_has_shown_a_head_may_begin() {
    let mut connection = from_start();
    text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
    body(&mut connection, RECEIVED, CREDIT_BYTES);
    assert_eq!(body(&mut connection, RECEIVED, 300), Admit::Copy { bytes: 0, turn: false });
    connection.pass_over(RECEIVED, 1000);
    assert_eq!(connection.flows[1].position, CREDIT_BYTES + 1300);
    assert_eq!(body(&mut connection, RECEIVED, 300), Admit::Copy { bytes: 300, turn: false });
    assert_eq!(connection.flows[0].position, 18, "the other direction is where it was");
}

/// What follows may be the middle of a body, which would be another protocol at the start of a connection.
#[test]
fn a_connection_whose_first_bytes_no_call_has_shown_is_one_that_is_joined_late() {
    let mut connection = from_start();
    assert_ne!(text(&mut connection, SENT, b"GE"), Admit::Ignore);
    connection.pass_over(SENT, 100);
    assert_eq!(text(&mut connection, SENT, b"T / not a request"), Admit::Ignore);
    assert_eq!(connection.protocol, protocol::NEW);
    assert_eq!(text(&mut connection, RECEIVED, b"HTTP/1.1 200 OK"), Admit::Copy { bytes: 15, turn: true });
    assert_eq!(connection.protocol, protocol::HTTP1);
}

/// Two calls at one time: the first to end finds the bytes of both counted.
#[test]
fn bytes_that_were_passed_over_and_then_shown_are_gone_back_over() {
    let mut connection = from_start();
    text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
    connection.pass_over(SENT, 30);
    body(&mut connection, SENT, 100);
    connection.step_back(SENT, 30);
    body(&mut connection, SENT, 30);
    assert_eq!(connection.flows[0].position, 148, "as many as TCP has counted");
    connection.step_back(SENT, 30);
    assert_eq!(connection.flows[0].position, 148, "no byte was passed over");
}

#[test]
fn frames_of_http2_go_on_behind_a_gap_that_ends_in_one() {
    use frames::kind::{DATA, HEADERS, SETTINGS};
    let begun = || {
        let mut connection = from_start();
        parts(&mut connection, SENT, &[PREFACE, &frame(SETTINGS, 0)].concat()).expect("HTTP/2");
        parts(&mut connection, SENT, &frame(DATA, 1000)[..509]).expect("HTTP/2");
        connection
    };
    let (mut within, mut beyond) = (begun(), begun());
    within.pass_over(SENT, 400);
    let rest = [&[b'.'; 100][..], &frame(HEADERS, 300)].concat();
    assert_eq!(parts(&mut within, SENT, &rest), Ok(std::vec![(100, 0), (309, 309)]));
    beyond.pass_over(SENT, 501);
    assert_eq!(parts(&mut beyond, SENT, &rest), Ok(std::vec![(409, 0)]), "where a frame begins is not known");
    assert_eq!(within.flows[0].position + 101, beyond.flows[0].position);
}

proptest! {
    #[test]
    fn no_more_is_copied_than_there_is_nor_than_the_credit_between_turns(
        calls in proptest::collection::vec((0u8..2, 1u64..100_000), 1..60)
    ) {
        let mut connection = from_start();
        text(&mut connection, SENT, b"POST / HTTP/1.1\r\n");
        let (mut last, mut large) = (SENT, 0);
        for (direction, size) in calls {
            let before = connection.flows[direction as usize].position;
            let Admit::Copy { bytes, turn } = body(&mut connection, direction, size) else {
                panic!("HTTP/1 stays HTTP/1");
            };
            prop_assert_eq!(turn, direction != last);
            large = if turn { 0 } else { large };
            large += if size > ALWAYS_COPIED_BYTES { u64::from(bytes) } else { 0 };
            last = direction;
            prop_assert!(u64::from(bytes) <= size && large <= CREDIT_BYTES);
            prop_assert_eq!(connection.flows[direction as usize].position, before + size);
        }
    }

    #[test]
    fn a_start_line_is_recognised_in_whatever_pieces(cuts in proptest::collection::vec(1usize..8, 1..10)) {
        let mut rest = &b"DELETE /v1/users/7 HTTP/1.1\r\n"[..];
        let mut connection = from_start();
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            if piece.is_empty() {
                break;
            }
            prop_assert_ne!(text(&mut connection, SENT, piece), Admit::Ignore);
            let seen = 29 - rest.len();
            let expect = if seen >= 8 { protocol::HTTP1 } else { protocol::NEW };
            prop_assert_eq!(connection.protocol, expect);
        }
    }
}
