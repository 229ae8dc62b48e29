//! Given: connections that are joined late, out of order, or not what they should be. Gives: whether what is certain is
//! told, and the rest is counted. Refuses to know: gaps.

use super::*;

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
fn a_candidate_is_no_request_however_it_is_cut_when_its_method_begins_with_a_sign() {
    check(
        r"late
          >! AA H
          >! ~GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        r"",
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
fn an_interim_response_to_nothing_is_not_counted() {
    check(
        r"late
          <! HTTP/1.1 100 Continue\r\n\r\n
          > body
          < HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          > GET /a HTTP/1.1\r\nHost: h\r\n\r\n
          < HTTP/1.1 204 No\r\n\r\n",
        r"Response
          #0 GET /a h -> 204 request 28+0 response 19+0 at 5 6 6 Complete",
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
        r"> \0\0\0\0
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

#[test]
fn what_may_be_tls_and_has_a_blank_line_is_no_http2() {
    let mut decoder = Decoder::from_start();
    let chunk = Chunk::Bytes(b"\x16\x03\x00\n\n");
    let mut events = Vec::new();
    let piece = Piece { direction: Direction::Sent, at_ns: 1, turn: false, frame: false, chunk };
    decoder.feed(&Wanted::default(), piece, &mut |event| events.push(event));
    assert!(decoder.is_opaque() && !decoder.is_http2());
    assert_eq!(events, [Event::Unpaired(Unpaired::NotHttp)]);
}
