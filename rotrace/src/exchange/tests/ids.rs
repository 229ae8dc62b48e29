//! Given: answers of many kinds, whole, in pieces and with gaps. Gives: whether their ids are looked for, and are the same
//! however they come. Refuses to know: how ids are found.

use super::*;
use crate::exchange::ids::{self, Ids};
use crate::keyed::Key;

const REQUEST: &str = "GET /v1/sessions/4711 HTTP/1.1\r\nHost: a.test\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n";
const BODY: &str = r#"{"player":90210,"n":"z"}"#;

/// What the exchanges of a client, or of a server, hold, when so many bytes may be looked through.
fn held(role: Role, scan_bytes: u32, chunks: &[(Direction, Chunk<'_>)]) -> (Vec<Ids>, u32) {
    let mut decoder = Decoder::from_start();
    decoder.allow_scan(scan_bytes);
    let mut held = Vec::new();
    for &(direction, chunk) in chunks {
        let of_server =
            |direction| if direction == Direction::Sent { Direction::Received } else { Direction::Sent };
        let direction = if role == Role::Client { direction } else { of_server(direction) };
        let piece = Piece { direction, at_ns: 1, turn: false, frame: false, chunk };
        decoder.feed(&Wanted::default(), piece, &mut |event| {
            if let Event::Exchange(exchange) = event {
                held.push(exchange.signals.response.ids);
            }
        });
    }
    (held, decoder.scan_bytes_left())
}

/// Of one call of a client, whether it is known of `90210` and `4712` that the answer holds them.
fn check(request: &str, response: &[Chunk<'_>], expect: [Option<bool>; 2]) {
    let asked = (Direction::Sent, Chunk::Bytes(request.as_bytes()));
    let answered = response.iter().map(|&chunk| (Direction::Received, chunk));
    let (held, _) = held(Role::Client, 1000, &[asked].into_iter().chain(answered).collect::<Vec<_>>());
    let [ids] = held.as_slice() else { panic!("{held:?}") };
    let of = ["90210", "4712"].map(|id| ids.holds(ids::number(&Key::default(), id.as_bytes())));
    assert_eq!(of, expect, "{request} {response:?}");
}

#[test]
fn ids_of_text_that_was_read_are_known() {
    let whole = [HEAD, BODY].concat();
    check(REQUEST, &[Chunk::Bytes(whole.as_bytes())], [Some(true), Some(false)]);
    let bytes: Vec<Chunk<'_>> = whole.as_bytes().chunks(1).map(Chunk::Bytes).collect();
    check(REQUEST, &bytes, [Some(true), Some(false)]);
    for at in 1..whole.len() {
        let (begin, rest) = whole.as_bytes().split_at(at);
        check(REQUEST, &[Chunk::Bytes(begin), Chunk::Bytes(rest)], [Some(true), Some(false)]);
    }
}

#[test]
fn other_answers_are_not_looked_through() {
    let unknown = [None, None];
    for (from, to) in [
        ("application/json", "image/png"),
        ("Content-Type", "X-Type"),
        ("\r\n\r\n", "\r\nContent-Encoding: br\r\n\r\n"),
        ("200 OK", "404 No"),
    ] {
        check(REQUEST, &[Chunk::Bytes([&*HEAD.replacen(from, to, 1), BODY].concat().as_bytes())], unknown);
    }
    let post = REQUEST.replacen("GET", "POST", 1);
    check(&post, &[Chunk::Bytes([HEAD, BODY].concat().as_bytes())], unknown);
    check(REQUEST, &[Chunk::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n")], unknown);
}

#[test]
fn what_was_not_seen_of_an_answer_is_not_known() {
    let (begin, rest) = BODY.split_at(16);
    let rest = (rest.len() as u64, rest.as_bytes());
    let begin = [HEAD, begin].concat();
    check(REQUEST, &[Chunk::Bytes(begin.as_bytes()), Chunk::Gap(rest.0)], [Some(true), None]);
    check(
        REQUEST,
        &[Chunk::Bytes(HEAD.as_bytes()), Chunk::Gap(24 - rest.0), Chunk::Bytes(rest.1)],
        [None, None],
    );
}

#[test]
fn no_more_is_looked_through_than_is_allowed_and_what_has_begun() {
    let call = [
        (Direction::Sent, Chunk::Bytes(REQUEST.as_bytes())),
        (Direction::Received, Chunk::Bytes(HEAD.as_bytes())),
        (Direction::Received, Chunk::Bytes(BODY.as_bytes())),
    ];
    let calls = [call, call, call].concat();
    let known = |(ids, left): (Vec<Ids>, u32)| {
        (ids.iter().map(|ids| *ids != Ids::default()).collect::<Vec<_>>(), left)
    };
    assert_eq!(known(held(Role::Client, 1000, &calls)), (vec![true; 3], 1000 - 3 * 24));
    assert_eq!(known(held(Role::Client, 25, &calls)), (vec![true, true, false], 0));
    assert_eq!(known(held(Role::Client, 0, &calls)), (vec![false; 3], 0));
    // What a server answers is nobody's to go on with.
    assert_eq!(known(held(Role::Server, 1000, &calls)), (vec![false; 3], 1000));
}
