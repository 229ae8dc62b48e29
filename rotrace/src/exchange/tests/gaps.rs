//! Given: connections of which parts were not seen. Gives: whether what is certain is told, the rest is counted, and
//! nothing is invented. Refuses to know: what was lost.

use super::*;

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
