//! Given: connections that are seen whole. Gives: whether every call is told exactly. Refuses to know: losses.

use super::*;

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
        r"> GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: resocket \r\n\r\n
          < HTTP/1.1 101 Switching Protocols\r\nUpgrade: resocket \r\n\r\n\0\0GET
          > GET /b HTTP/1.1\r\nHost: h\r\n\r\n
          close",
        r"#0 GET /ws h -> 101 request 70+0 response 56+0 at 1 2 2 Complete
          Upgraded",
    );
}

#[test]
fn a_websocket_goes_on_with_frames() {
    check(
        r"> GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n
          < HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\x81\x02hi\x89\x00
          > \x01\x83maskabc\x80\x82maskde\x8a\x80mask
          < \x82\x7e\x00\x80
          <gap 128
          < \x88\x02by
          close",
        r"#0 GET /ws h -> 101 request 70+0 response 56+0 at 1 2 2 Complete
          frames 2+1 messages 1 bytes 5+0
          frames 2+2 messages 2 bytes 132+0",
    );
}

/// On another thread, the answer to the handshake may have been recorded before it, and frames before their handshake.
#[test]
fn frames_are_read_in_whatever_order_the_handshake_is_recorded() {
    check_as(
        Role::Client,
        r"< HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi
          < \x81\x01h
          > GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n
          < \x81\x03hey",
        r"#0 GET /ws h -> 101 request 49+0 response 56+0 at 1 1 1 Complete
          frames 0+0 messages 0 bytes 0+0
          frames 3+0 messages 3 bytes 6+0",
    );
    check_as(
        Role::Server,
        r"> GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n
          > \x81\x83maskabc
          < HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n
          > \x81\x82maskab",
        r"#0 GET /ws h -> 101 request 49+0 response 56+0 at 1 3 3 Complete
          frames 2+0 messages 2 bytes 5+0
          frames 0+0 messages 0 bytes 0+0",
    );
}

#[test]
fn frames_whose_handshake_was_not_seen_are_nothing() {
    check(
        r"late
          > \x81\x83maskabc
          < \x81\x03hey
          > \x81\x83maskabc
          close",
        "",
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
