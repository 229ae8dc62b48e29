//! Given: connections that ask for too much. Gives: whether every bound holds and is counted, and the next call is found.
//! Refuses to know: pairing that is not about bounds.

use super::*;
use crate::http::h1::HEAD_BYTES_MAX;

fn piece(direction: Direction, bytes: &[u8]) -> Piece<'_> {
    Piece { direction, at_ns: 1, turn: false, frame: false, chunk: Chunk::Bytes(bytes) }
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
        events.extend(feed(&mut decoder, &[(direction, b"\0\0\0\0")]));
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
