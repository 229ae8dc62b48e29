//! Given: transcripts of HTTP/2 connections. Gives: whether the decoder makes of them what a reader would. Refuses to know:
//! how.
//!
//! A transcript is one of [`crate::exchange::tests`] whose bytes are frames: `preface`;
//! `headers STREAM [end] name=value …`, `trailers` and `push` likewise, with `62=` for an index; `data STREAM [end] BYTES`;
//! `begin STREAM BYTES SHOWN` for a frame that ends its stream, of whose payload the first bytes are there; `rst STREAM`; `goaway STREAM`; `settings`; `text …`.

use super::*;
use crate::exchange::signals::Fingerprint;
use crate::exchange::tests::{Op, What, assert_events, decode, each_cut, parse, show};
use crate::http::h2::tests::frame;
use proptest::prelude::*;

/// Fields as literals that are inserted into the table, or as indices.
fn block<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut block = Vec::new();
    for field in fields {
        let at = field[1..].find('=').expect("a field") + 1;
        let (name, value) = (&field[..at], &field[at + 1..]);
        if let Ok(index) = name.parse::<u8>() {
            block.push(0x80 | index);
            continue;
        }
        block.extend([0x40, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

fn bytes(line: &str) -> Vec<u8> {
    let mut words = line.split(' ').peekable();
    let what = words.next().expect("a word");
    let mut number = || words.next().expect("a number").parse::<u32>().expect("a number");
    match what {
        "preface" => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        "settings" => frame(4, 0, 0, &[0; 6]),
        "rst" => frame(3, 0, number(), &[0; 4]),
        "goaway" => {
            let last = number().to_be_bytes();
            frame(7, 0, 0, &[last, [0; 4]].concat())
        }
        "text" => line[5..].replace("\\r\\n", "\r\n").into_bytes(),
        "data" => {
            let stream = number();
            let end = u8::from(words.next_if_eq(&"end").is_some());
            let size: usize = words.next().expect("a size").parse().expect("a size");
            frame(0, end, stream, &vec![0; size])
        }
        "begin" => {
            let (stream, size, shown) = (number(), number() as usize, number() as usize);
            let mut bytes = frame(0, 1, stream, &vec![0; size]);
            bytes.truncate(bytes.len() - size + shown);
            bytes
        }
        "headers" => {
            let stream = number();
            let end = u8::from(words.next_if_eq(&"end").is_some());
            frame(1, 4 | end, stream, &block(words))
        }
        "push" => {
            let stream = number();
            frame(5, 4, stream, &[vec![0, 0, 0, 2], block(words)].concat())
        }
        other => panic!("{other}"),
    }
}

fn line(event: &Event) -> String {
    let Event::Exchange(exchange) = event else { return show(event) };
    let mut line = show(event);
    if let Some(grpc) = exchange.grpc {
        line += &format!(" grpc {:?} {:?} {:?}", grpc.status, grpc.request_messages, grpc.response_messages);
    }
    if let Some(why) = exchange.unnamed {
        line += &format!(" {why:?}");
    }
    line
}

fn check_as(role: Role, transcript: &str, expect: &str) {
    let (ops, late) = parse(transcript, bytes);
    let compare = |ops: &[Op], how: &str| assert_events(&decode(ops, late, role), role, line, expect, how);
    compare(&ops, "whole");
    // Who joined late finds frames where pieces begin.
    if !late && !transcript.contains("gap") {
        each_cut(&ops, compare);
    }
}

/// As the client and as the server: the same exchanges.
fn check(transcript: &str, expect: &str) {
    check_as(Role::Client, transcript, expect);
    check_as(Role::Server, transcript, expect);
}

#[test]
fn streams_answer_in_any_order() {
    check(
        "> preface
         > settings
         < settings
         > headers 1 end :method=GET :scheme=http :path=/a :authority=API.test x-place=7
         > headers 3 :method=POST :path=/b :authority=api.test
         > data 3 100
         > data 3 end 20
         < headers 3 :status=103
         < headers 3 :status=201
         < headers 1 :status=200
         < data 1 300
         < data 3 end 5
         < data 1 end 0",
        "#1 POST /b api.test -> 201 request 54+120 response 22+5 at 5 9 12 Complete
         #0 GET /a api.test -> 200 request 78+0 response 22+300 at 4 10 13 Complete 0=7",
    );
}

#[test]
fn a_response_without_body_ends_with_its_head() {
    check(
        "> preface
         > headers 1 end :method=HEAD :path=/a :authority=a
         < settings
         < headers 1 end :status=404 content-length=900",
        "#0 HEAD /a a -> 404 request 47+0 response 42+0 at 2 4 4 Complete",
    );
}

#[test]
fn a_server_may_speak_first() {
    check(
        "< settings
         > preface
         > headers 1 end :method=GET :path=/a :authority=a
         < headers 1 end :status=200",
        "#0 GET /a a -> 200 request 46+0 response 22+0 at 3 4 4 Complete",
    );
}

#[test]
fn trailers_end_a_call_and_say_how_grpc_went() {
    check(
        "> preface
         > headers 1 :method=POST :path=/pkg.Svc/Get :authority=a content-type=application/grpc+proto
         > data 1 end 5
         < headers 1 :status=200
         < data 1 5
         < data 1 5
         < headers 1 end grpc-status=5 grpc-message=gone
         > headers 3 end :method=POST :path=/pkg.Svc/Get :authority=a content-type=application/grpc
         < headers 3 end :status=200 grpc-status=0
         > headers 5 end :method=POST :path=/pkg.Svc/Get :authority=a content-type=application/grpc-web
         < headers 5 end :status=200",
        "#0 POST /pkg.Svc/Get a -> 200 request 94+5 response 22+10 at 2 4 7 Complete grpc Some(5) Some(1) Some(2)
         #1 POST /pkg.Svc/Get a -> 200 request 88+0 response 37+0 at 8 9 9 Complete grpc Some(0) Some(0) Some(0)
         #2 POST /pkg.Svc/Get a -> 200 request 92+0 response 22+0 at 10 11 11 Complete",
    );
}

#[test]
fn resets_refusals_and_the_end_abort() {
    check(
        "> preface
         > headers 1 end :method=GET :path=/a :authority=a
         > headers 3 end :method=GET :path=/b :authority=a
         > headers 5 end :method=GET :path=/c :authority=a
         > headers 7 :method=POST :path=/d :authority=a
         < headers 1 :status=200
         < data 1 10
         > rst 1
         < goaway 5
         < rst 3
         > data 1 7
         close",
        "#0 GET /a a -> 200 request 46+0 response 22+10 at 2 6 8 Aborted
         #3 POST /d a -> ? request 47+0 response ?+? at 5 ? 9 Aborted
         #1 GET /b a -> ? request 46+0 response ?+? at 3 ? 10 Aborted
         #2 GET /c a -> ? request 46+0 response ?+? at 4 ? 12 Aborted",
    );
}

#[test]
fn an_answer_that_comes_before_the_body_is_sent_ends_the_call() {
    check(
        "> preface
         > headers 1 :method=POST :path=/a :authority=a
         > data 1 10
         < headers 1 end :status=413
         > data 1 end 10",
        "#0 POST /a a -> 413 request 47+? response 22+0 at 2 4 4 Complete",
    );
}

#[test]
fn pushed_responses_answer_nobody() {
    check(
        "> preface
         > headers 1 end :method=GET :path=/a :authority=a
         < push 1 :method=GET :path=/style :authority=a
         < headers 2 :status=200
         < data 2 end 50
         < headers 1 end :status=204",
        "#0 GET /a a -> 204 request 46+0 response 22+0 at 2 6 6 Complete",
    );
}

#[test]
fn tunnels_and_extended_connect() {
    check(
        "> preface
         > headers 1 :method=CONNECT :authority=db:5432
         > headers 3 :method=CONNECT :protocol=websocket :scheme=https :path=/chat :authority=a
         < headers 1 :status=200
         < headers 3 :status=200
         > data 3 8
         < data 3 9
         < data 3 end 1
         close",
        "#1 CONNECT /chat a -> 200 request 89+? response 22+10 at 3 5 8 Complete
         #0 CONNECT db:5432 db:5432 -> 200 request 46+0 response 22+0 at 2 4 9 Aborted",
    );
}

#[test]
fn an_upgrade_goes_on_with_stream_one() {
    check(
        "> text GET /a HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade, HTTP2-Settings\\r\\nUpgrade: h2c\\r\\n\\r\\n
         < text HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: h2c\\r\\n\\r\\n
         < settings
         > preface
         > settings
         < headers 1 :status=200
         < data 1 end 4
         > headers 3 end :method=GET :path=/b :authority=a
         < headers 3 end :status=204",
        "#0 GET /a a -> 200 request 79+0 response 22+4 at 1 6 7 Complete
         #1 GET /b a -> 204 request 46+0 response 22+0 at 8 9 9 Complete",
    );
}

#[test]
fn a_client_whose_response_is_recorded_first() {
    check_as(
        Role::Client,
        "> preface
         < settings
         < headers 1 :status=200
         < data 1 end 3
         > headers 1 end :method=GET :path=/a :authority=a
         < headers 5 end :status=200
         > headers 7 end :method=GET :path=/b :authority=a
         close",
        "#0 GET /a a -> 200 request 46+0 response 22+3 at 3 3 4 Complete
         Response
         #1 GET /b a -> ? request 46+0 response ?+? at 7 ? 8 Aborted",
    );
}

/// Two processors write the records: the second can be the one of the earlier time.
#[test]
fn a_request_that_is_recorded_later_with_an_earlier_time() {
    let (mut ops, _) = parse(
        "> preface
         < settings
         < headers 1 end :status=200
         > headers 1 end :method=GET :path=/a :authority=a
         close",
        bytes,
    );
    let Some(Op::Piece { at_ns, .. }) = ops.get_mut(3) else { panic!("the request") };
    *at_ns = 2;
    let events = decode(&ops, false, Role::Client);
    let Some(Event::Exchange(exchange)) = events.first() else { panic!("{events:?}") };
    assert_eq!((exchange.started_ns, exchange.first_byte_ns, exchange.ended_ns), (2, Some(3), Some(3)));
}

#[test]
fn who_joins_late_says_what_is_not_known() {
    check(
        "late
         < data 1 900
         > headers 9 end :method=GET :scheme=http 62=x 64=x
         < headers 9 end :status=200
         > headers 11 end :method=GET :path=/b :authority=a
         < headers 7 :status=200
         < headers 11 end :status=204
         > headers 13 end 64= 63= 62=
         < headers 13 end 62=",
        "#0 GET  ? -> 200 request 38+0 response 22+0 at 3 4 4 Complete JoinedLate
         Response
         #1 GET /b a -> 204 request 46+0 response 22+0 at 5 7 7 Complete
         #2 GET /b a -> 204 request 12+0 response 10+0 at 8 9 9 Complete",
    );
}

#[test]
fn a_field_that_is_not_known_makes_what_is_said_partial() {
    let (ops, late) = parse(
        "late
         > headers 9 end :method=GET :path=/a :authority=a 70=x
         < headers 9 end :status=200
         > headers 11 end :method=GET :path=/b :authority=a
         < headers 11 end :status=200",
        bytes,
    );
    let is_partial = |event: &Event| match event {
        Event::Exchange(exchange) => Some(exchange.signals.is_partial),
        _ => None,
    };
    let partial: Vec<_> = decode(&ops, late, Role::Client).iter().map(is_partial).collect();
    assert_eq!(partial, [Some(true), Some(false)]);
}

#[test]
fn a_gap_in_data_harms_nothing() {
    check(
        "> preface
         > headers 1 end :method=GET :path=/a :authority=a
         < headers 1 :status=200
         < text \0\0\x14\0\x01\0\0\0\x01
         <gap 20",
        "#0 GET /a a -> 200 request 46+0 response 22+20 at 2 3 5 Complete",
    );
}

/// Of each exchange, what its request and its response are recognised by, and whether that is all of them.
fn prints(role: Role, transcript: &str) -> Vec<[Option<(u64, bool)>; 2]> {
    let (ops, late) = parse(transcript, bytes);
    let exchanges = decode(&ops, late, role).into_iter().filter_map(|event| match event {
        Event::Exchange(exchange) => Some(exchange),
        _ => None,
    });
    let print = |body: Option<Fingerprint>| body.map(|body| (body.hash, body.is_whole));
    exchanges
        .map(|exchange| [exchange.signals.request.body, exchange.signals.response.body].map(print))
        .collect()
}

#[test]
fn bodies_are_recognised_by_their_first_bytes() {
    let check = |role: Role, request: &str, response: &str, expect: [Option<(usize, bool)>; 2]| {
        let transcript = format!(
            "> preface
             > headers 1 :method=POST :path=/a :authority=a
             {request}
             < headers 1 :status=200
             {response}"
        );
        let of_zeros = |(bytes, is_whole): (usize, bool)| {
            let mut running = Key::default().running();
            running.write(&vec![0; bytes]);
            (running.finish(), is_whole)
        };
        assert_eq!(
            prints(role, &transcript),
            [expect.map(|body| body.map(of_zeros))],
            "{request} {response}"
        );
    };
    let none = "> data 1 end 0";
    check(
        Role::Client,
        "> data 1 30\n> data 1 end 20",
        "< data 1 end 300",
        [Some((50, true)), Some((300, true))],
    );
    check(Role::Client, none, "< data 1 500\n< data 1 end 500", [None, Some((512, false))]);
    check(Role::Client, none, "< begin 1 900 520\n<gap 380", [None, Some((512, false))]);
    // What is missing of the first bytes may have been anything.
    check(Role::Client, none, "< begin 1 900 500\n<gap 400", [None, None]);
    check(Role::Client, none, "< data 1 end 0", [None, None]);
    check(Role::Server, "> data 1 end 50", "< data 1 end 300", [None, None]);
}

#[test]
fn a_gap_over_frames_of_the_server_gives_up_what_is_open() {
    check(
        "> preface
         > headers 1 end :method=GET :path=/a :authority=a
         > headers 3 end :method=GET :path=/b :authority=a
         < headers 1 :status=200
         <gap 30
         < headers 3 end :status=200
         > headers 5 end :method=GET :path=/c :authority=a
         < headers 5 end :status=204",
        "Resync
         #0 GET /a a -> 200 request 46+0 response 22+? at 2 4 ? Unbounded
         #1 GET /b a -> ? request 46+0 response ?+? at 3 ? ? Lost
         Response
         #2 GET /c a -> 204 request 46+0 response 22+0 at 7 8 8 Complete",
    );
}

#[test]
fn a_gap_over_frames_of_the_client_leaves_responses_their_requests() {
    check(
        "> preface
         > headers 1 end :method=GET :path=/a :authority=a
         >gap 30
         < headers 1 end :status=200
         > headers 5 end :method=GET 62=x 63=x
         < headers 5 end :status=204",
        "Resync
         #0 GET /a a -> 200 request 46+0 response 22+0 at 2 4 4 Complete
         #1 GET  ? -> 204 request 24+0 response 22+0 at 5 6 6 Complete BlockLost",
    );
}

#[test]
fn what_is_no_http2_gives_nothing() {
    check("> preface\n> text hello, is anybody there?\n< text no, there is nobody here at all\nclose", "");
}

proptest! {
    #[test]
    fn any_bytes_are_taken(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60), 0u64..50), 0..12), late: bool
    ) {
        let mut ops = vec![Op::Piece { from_client: true, turn: false, at_ns: 0, what: What::Bytes(bytes("preface")) }];
        for (from_client, bytes, gap) in pieces {
            ops.push(Op::Piece { from_client, turn: false, at_ns: 1, what: What::Bytes(bytes) });
            if gap > 30 {
                ops.push(Op::Piece { from_client, turn: false, at_ns: 1, what: What::Gap(gap) });
            }
        }
        ops.push(Op::Close { at_ns: 2 });
        decode(&ops, late, Role::Client);
    }

    /// Two peers that speak as they should, of which pieces are lost: no call is told that was not made.
    #[test]
    fn a_gap_invents_nothing(streams in prop::collection::vec(0usize..4, 1..10), lost in prop::collection::vec(any::<bool>(), 40)) {
        let mut transcript = "> preface\n> settings\n< settings\n".to_owned();
        for (nth, path) in streams.iter().enumerate() {
            let stream = 2 * nth + 1;
            transcript += &format!("> headers {stream} end :method=GET :path=/{path} :authority=a\n");
            transcript += &format!("< headers {stream} :status=20{path}\n< data {stream} end 7\n");
        }
        let (mut ops, _) = parse(&transcript, bytes);
        for (op, lost) in ops.iter_mut().skip(1).zip(lost) {
            if let Op::Piece { what, .. } = op
                && lost
                && let What::Bytes(bytes) = what
            {
                *what = What::Gap(bytes.len() as u64);
            }
        }
        for role in [Role::Client, Role::Server] {
            for event in decode(&ops, false, role) {
                let Event::Exchange(exchange) = event else { continue };
                let at = ((exchange.started_ns - 4) / 3) as usize;
                prop_assert_eq!(&*exchange.target, format!("/{}", streams[at]));
                prop_assert!(exchange.status.is_none_or(|status| status == 200 + streams[at] as u16));
            }
        }
    }
}
