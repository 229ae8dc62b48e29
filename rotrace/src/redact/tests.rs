//! Given: records with secrets in them. Gives: proof that no secret is left, and that the calls are. Refuses to know: how.

mod frames;
mod told;

use proptest::prelude::*;

use super::*;
use crate::exchange::fates::{Dealt, Fate, deal, fate};
use told::told;

const SECRET: &str = "SECRET";

/// Values that stand where [`SECRET`] does; as long.
const SECRETS: [&str; 3] = [SECRET, "SEcRET", "token7"];

fn kept() -> Kept {
    Kept { query_keys: vec!["page".into()], fields: Wanted(vec!["x-game".into()]), key: Key::new([3; 16]) }
}

fn redact(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut redactor, mut out) = (Redactor::new(kept(), 64), Vec::new());
    for record in records {
        redactor.feed(record, &mut |record| out.push(record.to_vec()));
    }
    redactor.finish(&mut |record| out.push(record.to_vec()));
    assert_eq!(redactor.queue.bytes, 0);
    out
}

fn redaction() -> Redaction {
    let kept = kept();
    Redaction { letters: Letters::new(kept.key), kept }
}

fn shows_secret(records: &[Vec<u8>]) -> Option<String> {
    let is_secret = |window: &[u8]| SECRETS.iter().any(|secret| window == secret.as_bytes());
    let shows = |record: &&Vec<u8>| record.windows(SECRET.len()).any(is_secret);
    records.iter().find(shows).map(|record| String::from_utf8_lossy(record).into_owned())
}

/// Makes the records of a few connections.
#[derive(Default)]
struct Probe {
    records: Vec<Vec<u8>>,
    positions: std::collections::BTreeMap<(u64, u8), u64>,
    now_ns: u64,
}

impl Probe {
    fn record(&mut self, kind: u8, change: impl FnOnce(&mut Header), payload: &[u8]) {
        self.now_ns += 1;
        let length = (HEADER_BYTES + payload.len()) as u32;
        let mut header = Header {
            length,
            version: rotrace_ebpf::record::VERSION,
            kind,
            time_ns: self.now_ns,
            pid: 7,
            ..Header::default()
        };
        change(&mut header);
        self.records.push([&header.to_bytes()[..], payload].concat());
    }

    /// `left_out` bytes behind the captured ones were not captured.
    fn data(&mut self, conn: u64, direction: u8, flags: u8, captured: &[u8], left_out: u64) {
        let position = *self.positions.entry((conn, direction)).or_default();
        let size = captured.len() as u64 + left_out;
        self.positions.insert((conn, direction), position + size);
        let change = |header: &mut Header| {
            *header = Header { conn, direction, flags, position, size, ..*header };
        };
        self.record(kind::DATA, change, captured);
    }

    fn lose(&mut self, conn: u64, direction: u8, bytes: u64) {
        *self.positions.entry((conn, direction)).or_default() += bytes;
    }

    fn end(&mut self, conn: u64, direction: u8) {
        let position = self.positions.get(&(conn, direction)).copied().unwrap_or(0);
        self.record(kind::END, |header| *header = Header { conn, direction, position, ..*header }, &[]);
    }

    fn close(&mut self, conn: u64) {
        let mut total = |direction| self.positions.remove(&(conn, direction)).unwrap_or(0);
        let (position, size) = (total(direction::SENT), total(direction::RECEIVED));
        self.record(kind::CLOSE, |header| *header = Header { conn, position, size, ..*header }, &[]);
    }
}

/// `x` stands for any letter that may be written in place of something.
fn assert_like(redacted: &[u8], expect: &str) {
    let is_like = |own: &u8, like: &u8| {
        own == like || *like == b'x' && b"bdfghjklmnpqrswxyz".contains(&own.to_ascii_lowercase())
    };
    let are_alike = redacted.len() == expect.len()
        && redacted.iter().zip(expect.as_bytes()).all(|(own, like)| is_like(own, like));
    assert!(are_alike, "{:?}, not {expect:?}", String::from_utf8_lossy(redacted));
}

/// The payloads of redacted records of one direction, as text.
fn check(sent: &[&str], received: &[&str], expect: &[&str]) {
    let mut probe = Probe::default();
    for (direction, texts) in [(direction::SENT, sent), (direction::RECEIVED, received)] {
        for text in texts {
            probe.data(1, direction, flag::FROM_START, text.as_bytes(), 0);
        }
    }
    let redacted = redact(&probe.records);
    assert_eq!(redacted.len(), expect.len());
    redacted.iter().zip(expect).for_each(|(record, expect)| assert_like(&record[HEADER_BYTES..], expect));
    assert_eq!(told(&redacted), told(&probe.records));
}

#[test]
fn a_call_stays_and_what_it_carries_does_not() {
    check(
        &["POST /v1/a?page=2&key=abc;token HTTP/1.1\r\nHost: api\r\nCookie: a=b; c\r\nContent-Length: 3\r\n\
           x-game:  9 \r\nUser-Agent: a b\r\n\tc\r\n\r\nabc"],
        &["HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\r\n\
           3;e=f\r\nabc\r\n0\r\nA: b\r\n\r\n"],
        &[
            "POST /v1/a?page=2&key=xxx;xxxxx HTTP/1.1\r\nHost: api\r\nCookie: xxxx x\r\nContent-Length: 3\r\n\
             x-game:  9 \r\nUser-Agent: x x\r\n\tx\r\n\r\nxxx",
            "HTTP/1.1 404 xxx xxxxx\r\nTransfer-Encoding: chunked\r\nSet-Cookie: x\r\n\r\n\
             3;xxx\r\nxxx\r\n0\r\nxxxx\r\n\r\n",
        ],
    );
}

#[test]
fn credentials_in_targets_and_hosts_do_not_stay() {
    let check_target = |target: &str, expect: &str| {
        let mut head = format!("GET {target} HTTP/1.0\r\n\r\n").into_bytes();
        head::overwrite(&mut head, &redaction());
        assert_like(&head, &format!("GET {expect} HTTP/1.0\r\n\r\n"));
    };
    check_target("/a/b:c@d", "/a/b:c@d");
    check_target("http://u:p@h:1/a@b?c=d#e?f=g", "http://xxx@h:1/a@b?c=x#xxxxx");
    check_target("http://u@p@h", "http://xxx@h");
    check_target("u:p@h", "xxx@h");
    check_target("/a?b=c=d&e==&f&page=1&page&&=g", "/a?b=xxx&xxx&x&page=1&page&&=x");
    check_target("/a?b c=d e", "/a?b c=x x");
    let connect = |user: &str| format!("CONNECT {user}@h:443 HTTP/1.1\r\nHost: {user}@h\r\n\r\n");
    check(&[&connect("u/?:p")], &[], &[&connect("xxxxx")]);
}

#[test]
fn what_detectors_read_stays() {
    let check_field = |field: &str, expect: &str| {
        let mut head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n").into_bytes();
        head::overwrite(&mut head, &redaction());
        assert_like(&head, &format!("HTTP/1.1 200 xx\r\n{expect}\r\n\r\n"));
    };
    let as_it_is = |field: &str| check_field(field, field);
    as_it_is("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT");
    as_it_is("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT");
    as_it_is("Sunset: Sun, 06 Nov 1994 08:49:37 GMT");
    as_it_is("Deprecation: ?0");
    as_it_is("X-Poll-Interval: 60");
    check_field("ETag: W/\"a,b\"", "ETag: W/\"xxx\"");
    check_field("ETag: W/a", "ETag: xxx");
    check_field("If-None-Match: \"a\", W/\"b c\" ,*", "If-None-Match: \"x\", W/\"x x\" ,*");
    check_field("Location: /a?b=c&page=2#d", "Location: /a?b=x&page=2#x");
    check_field("Location: https://u:p@h/a?b", "Location: https://xxx@h/a?x");
    check_field("Location: //u:p@h/a@b", "Location: //xxx@h/a@b");
    check_field("Location: /a\r\n b", "Location: xx\r\n x");
    check_field("Content-Disposition: Attachment; filename=a", "Content-Disposition: Attachment; xxxxxxxxxx");
    check_field("Content-Disposition: b", "Content-Disposition: x");
}

#[test]
fn the_same_value_is_the_same_wherever_it_stands() {
    let mut head = b"GET /?key=Wert-17&a=wert-17 HTTP/1.1\r\nX-Api-Key:  Wert-17 \r\nIf-None-Match: \"b\", \"Wert-17\"\r\n\r\n".to_vec();
    head::overwrite(&mut head, &redaction());
    let head = String::from_utf8(head).expect("letters");
    let letters = &head[10..17];
    assert_eq!(head.matches(letters).count(), 3, "{head}");
}

#[test]
fn bodies_are_compared_however_they_were_cut() {
    let answers = |bodies: &[&[&str]]| {
        let mut probe = Probe::default();
        for pieces in bodies {
            probe.data(1, 0, flag::FROM_START, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 0);
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            probe.data(1, 1, flag::FROM_START, head.as_bytes(), 0);
            pieces.iter().for_each(|piece| probe.data(1, 1, 0, piece.as_bytes(), 0));
        }
        let redacted = redact(&probe.records);
        assert_eq!(told(&redacted), told(&probe.records));
        redacted
    };
    let long = "0123456789".repeat(60);
    let redacted = answers(&[
        &["{\"page\": 1}"],
        &["{\"pa", "ge\": 1}"],
        &["{\"page\": 2}"],
        &[&long[..300], &long[300..]],
    ]);
    let payload = |at: usize| &redacted[at][HEADER_BYTES..];
    assert_eq!(*payload(2), [payload(5), payload(6)].concat());
    assert_ne!(payload(2), payload(9));
    let compared = FINGERPRINT_BYTES as usize - 300;
    assert_eq!(payload(13)[compared..], [OVERWRITTEN; 88]);
    assert_ne!(payload(13)[compared - 9..compared], [OVERWRITTEN; 9]);
}

#[test]
fn a_head_in_many_records_is_redacted_as_a_whole() {
    let request = "GET http://u:p@h/a?bcd=ef HTTP/1.1\r\nHost: api\r\nCookie: ab\r\n\r\n";
    let expect = "GET http://xxx@h/a?bcd=xx HTTP/1.1\r\nHost: api\r\nCookie: xx\r\n\r\n";
    for at in 1..request.len() {
        let ((a, b), (x, y)) = (request.split_at(at), expect.split_at(at));
        check(&[a, b], &[], &[x, y]);
    }
    let split = |text: &'static str| (0..text.len()).map(|at| &text[at..=at]).collect::<Vec<_>>();
    check(&split(request), &[], &split(expect));
}

#[test]
fn what_is_no_http_is_left_without_content() {
    check(&["AUTH secret word\r\n: a\r\n\r\nb"], &[], &["xxxx xxxxxx xxxx\r\n- x\r\n\r\nx"]);
    check(&["\u{16}\u{3}\u{1}", "abcd"], &[], &["\u{16}\u{3}\u{1}", "abcx"]);
    check(&["\0\n\n"], &[], &["\0\n\n"]);
    check(&["*2\r\n$4\r\nAUTH\r\n", "secret"], &[], &["*0\r\n-0\r\nxxxx\r\n", ""]);
}

#[test]
fn of_http2_only_the_preface_is_left() {
    let mut probe = Probe::default();
    for text in ["PRI * HTTP/2.0\r\n\r\n", "SM\r\n\r\nabc", "secret"] {
        probe.data(1, direction::SENT, flag::FROM_START, text.as_bytes(), 0);
    }
    let redacted = redact(&probe.records);
    let left: Vec<_> = redacted.iter().map(|record| &record[HEADER_BYTES..]).collect();
    assert_eq!(left[0], b"PRI * HTTP/2.0\r\n\r\n");
    assert!(left[1..].iter().all(|record| record.is_empty()), "{left:?}");
}

#[test]
fn what_a_host_would_not_tell_is_left_out() {
    let mut probe = Probe::default();
    probe.data(1, 0, flag::ENCRYPTED, SECRET.as_bytes(), 9);
    probe.data(1, 0, 0, SECRET.as_bytes(), 0);
    probe.record(kind::EXEC, |_| {}, b"game\0--token=SECRET");
    probe.record(
        kind::OPEN,
        |header| header.conn = 2,
        &Open { socket: 0xffff_8880, ..Open::default() }.to_bytes(),
    );
    probe.record(kind::PROCESS, |_| {}, b"{}");
    probe.records.push(b"SECRET".to_vec());
    let redacted = redact(&probe.records);
    let lengths: Vec<_> = redacted.iter().map(|record| record.len() - HEADER_BYTES).collect();
    assert_eq!(lengths, [0, 0, 0, 64, 2]);
    assert_eq!(shows_secret(&redacted), None);
    let socket = |record: &[u8]| Record::decode(record).expect("a record").open().map(|open| open.socket);
    assert_eq!(socket(&redacted[3]), Some(0));
    assert_eq!(socket(&unredacted(&probe.records[3])), Some(0));
    assert_eq!(*unredacted(&probe.records[0]), *probe.records[0]);
}

#[test]
fn records_wait_in_order_and_not_for_ever() {
    let mut probe = Probe::default();
    probe.data(1, 0, flag::FROM_START, b"GET /a HTTP/1.1\r\nHo", 0);
    probe.data(2, 0, flag::FROM_START, b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    probe.now_ns += WAITING_NS_MAX;
    probe.record(kind::LOSS, |_| {}, b"{}");
    let (mut redactor, mut given) = (Redactor::new(kept(), 64), Vec::new());
    for (record, expect) in probe.records.iter().zip([0, 0, 3]) {
        redactor.feed(record, &mut |record| given.push(record.to_vec()));
        assert_eq!(given.len(), expect);
    }
    assert_eq!(Record::decode(&given[0]).expect("a record").payload, b"");
    // The rest of the head comes, and then a call.
    probe.records.clear();
    probe.data(1, 0, 0, b"st: SECRET\r\n\r\n", 0);
    probe.data(1, 1, flag::TURN, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0);
    probe.data(1, 0, flag::TURN, b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    probe.data(1, 1, flag::TURN, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0);
    for record in &probe.records {
        redactor.feed(record, &mut |record| given.push(record.to_vec()));
    }
    redactor.finish(&mut |record| given.push(record.to_vec()));
    assert_eq!(shows_secret(&given), None);
    let told = told(&given);
    assert!(told.iter().any(|line| line.contains("path: \"/c\"") && line.contains("Complete")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("path: \"/a\"")), "{told:#?}");
}

#[test]
fn waiting_records_take_no_more_memory_than_the_bound() {
    let (mut redactor, mut given) = (Redactor::new(kept(), 64), 0);
    let mut probe = Probe::default();
    probe.data(1, 0, flag::FROM_START, b"GET / HTTP/1.1\r\n", 0);
    for _ in 0..2 * WAITING_BYTES_MAX / 20_000 {
        probe.now_ns = 0;
        probe.data(2, 0, flag::FROM_START, &[b'\n'; 20_000], 0);
    }
    for record in &probe.records {
        redactor.feed(record, &mut |_| given += 1);
        assert!(redactor.queue.bytes <= WAITING_BYTES_MAX);
    }
    assert!(given > 0);
}

/// A text with a secret everywhere where there may be one.
fn message(start: &str, framing: u8, payload: &str, secret: usize) -> String {
    let fields = "Host: h\r\nCookie: SECRET\r\nX-Game: 3\r\nAuthorization : Bearer SECRET\r\nA: b\r\n SECRET\r\n\
                  ETag: W/\"SECRET\"\r\nIf-None-Match: SECRET\r\nLocation: /a/1?page=1&key=SECRET&SECRET==#SECRET\r\n\
                  X-Poll-Interval: 9\r\nContent-Disposition: attachment;filename=SECRET\r\nLast-Modified: 0\r\n";
    let message = match framing {
        0 => format!("{start}\r\n{fields}Content-Length: 0\r\n\r\n"),
        1 => format!("{start}\r\n{fields}Content-Length: {}\r\n\r\n{payload}", payload.len()),
        _ => format!(
            "{start}\r\nTransfer-Encoding: chunked\r\n{fields}\r\n{:x};SECRET=SECRET\r\n{payload}\r\n0;SECRET\r\n\
             T: SECRET\r\nSECRET\r\n\r\n",
            payload.len()
        ),
    };
    message.replace(SECRET, SECRETS[secret])
}

fn target() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("/a/1"),
        Just("/a/1?SECRET"),
        Just("/a/1?page=1&key=SECRET&SECRET=="),
        Just("/a/1#SECRET"),
        Just("http://SECRET:SECRET@h/a/1?SECRET"),
    ]
}

fn call() -> impl Strategy<Value = (String, String)> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("X-OWN")];
    let payload = prop_oneof![Just("SECRET"), Just("a\r\nSECRET\r\n\r\nSECRET"), Just("0\r\n\r\nSECRET")];
    let secrets = (0..SECRETS.len(), 0..SECRETS.len());
    (method, target(), 0u8..3, 0u8..3, payload, 200u16..600, secrets).prop_map(
        |(method, target, asked, answered, payload, status, secrets)| {
            let start = format!("HTTP/1.1 {status} SECRET");
            let answered = if status == 204 || status == 304 { 0 } else { answered };
            (
                message(&format!("{method} {target} HTTP/1.1"), asked, payload, secrets.0),
                message(&start, answered, payload, secrets.1),
            )
        },
    )
}

/// Bursts of calls on two connections, cut into records.
fn bursts(
    calls: &[(String, String)],
    burst: usize,
    piece: usize,
    fates: &[Fate],
    flags: u8,
    closes: bool,
) -> Probe {
    let (mut probe, mut fates) = (Probe::default(), fates.iter().cycle());
    for (index, calls) in calls.chunks(burst).enumerate() {
        let conn = index as u64 % 2 + 1;
        for (direction, own) in [(0, 0), (1, 1)] {
            let texts: String =
                calls.iter().map(|(asked, answered)| [asked, answered][own].as_str()).collect();
            for Dealt { turn, size, captured } in deal(texts.as_bytes(), piece, &mut fates) {
                let flags = if turn { flags | flag::TURN } else { flags };
                match captured {
                    None => probe.lose(conn, direction, size),
                    Some(captured) => {
                        probe.data(conn, direction, flags, captured, size - captured.len() as u64);
                    }
                }
            }
        }
    }
    if closes {
        probe.close(1);
        probe.close(2);
    }
    probe
}

/// Pieces of messages, in an order that makes sense or does not. A secret is no name and no method.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just("GET /a HTTP/1.1\r\nHost: h\r\n"),
        Just("HEAD /?=SECRET= HTTP/1.0\n"),
        Just("CONNECT =SECRET=@a:1 HTTP/1.1\r\n"),
        Just("HTTP/1.1 200 =SECRET=\r\n"),
        Just("HTTP/1.1 100 \r\n\r\n"),
        Just("HTTP/1.0 101\r\n"),
        Just("HTTP/1.1 101\r\nUpgrade: websocket\r\n\r\n"),
        Just("\x01\x08=SECRET="),
        Just("\x09\x04ping"),
        Just("Content-Length: 3\r\n"),
        Just("Content-Length: 0\r\n\r\n"),
        Just("Transfer-Encoding: chunked\r\n\r\n"),
        Just("A: =SECRET=\r\n"),
        Just("Host: =SECRET=@h\r\n"),
        Just("\r\n"),
        Just("\n\n"),
        Just("c\r\n0123=SECRET=\r\n"),
        Just("0\r\n\r\n"),
        Just("=SECRET="),
        Just(" =SECRET=\n"),
        Just("\0"),
        Just("GE"),
        Just("HTTP/"),
        Just("\x16\x03"),
        Just("PRI * HTTP/2\r\n"), // No preface: what comes behind one is left out.
    ];
    let texts = proptest::collection::vec(text, 1..4).prop_map(|texts| texts.concat().into_bytes());
    prop_oneof![9 => texts, 1 => proptest::collection::vec(any::<u8>(), 1..30)]
}

proptest! {
    #[test]
    fn the_calls_stay_and_no_secret_does(
        calls in proptest::collection::vec(call(), 1..9),
        burst in 1usize..4,
        piece in 1usize..300,
        fates in proptest::collection::vec(fate(), 1..40),
        lossless: bool,
        from_start: bool,
        closes: bool,
    ) {
        let fates = if lossless { vec![Fate::Kept] } else { fates };
        let flags = if from_start { flag::FROM_START } else { 0 };
        let probe = bursts(&calls, burst, piece, &fates, flags, closes);
        let redacted = redact(&probe.records);
        prop_assert_eq!(shows_secret(&redacted), None);
        prop_assert_eq!(redacted.len(), probe.records.len());
        let (redacted, expect) = (told(&redacted), told(&probe.records));
        prop_assert!(!lossless || !from_start || expect.len() == calls.len() + 1);
        prop_assert_eq!(redacted, expect);
    }

    #[test]
    fn whatever_the_bytes_the_same_is_told(
        pieces in proptest::collection::vec((1u64..3, 0u8..2, any::<bool>(), 0u8..12, any_bytes()), 0..30),
        from_start: bool,
    ) {
        let mut probe = Probe::default();
        for (conn, direction, turn, kind, bytes) in pieces {
            let flags = if from_start { flag::FROM_START } else { 0 } | if turn { flag::TURN } else { 0 };
            match kind {
                0 => probe.lose(conn, direction, bytes.len() as u64),
                1 => probe.end(conn, direction),
                2 => probe.close(conn),
                3 => probe.data(conn, direction, flags, &bytes, 5),
                _ => probe.data(conn, direction, flags, &bytes, 0),
            }
        }
        let redacted = redact(&probe.records);
        prop_assert_eq!(shows_secret(&redacted), None);
        prop_assert_eq!(told(&redacted), told(&probe.records));
    }

    #[test]
    fn any_records_are_taken(
        records in proptest::collection::vec(
            (1u8..12, 0u8..32, 0u64..3, 0u64..3, 0u64..200, 0u64..200, any_bytes()),
            0..30,
        ),
        noise in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut probe = Probe::default();
        for (kind, flags, conn, extra, position, more, bytes) in records {
            // Addresses, and what user space says of processes and losses, are no secret.
            let is_told = matches!(kind, kind::OPEN | kind::PROCESS | kind::LOSS);
            let payload = if is_told { &[] } else { bytes.as_slice() };
            let size = payload.len() as u64 + more;
            let direction = flags & 1;
            let change = |header: &mut Header| {
                *header = Header { conn, direction, flags, position, size, extra, ..*header };
            };
            probe.record(kind, change, payload);
        }
        probe.records.push(noise);
        prop_assert_eq!(shows_secret(&redact(&probe.records)), None);
    }

    #[test]
    fn what_is_no_head_goes_on_looking_as_it_did(bytes in any_bytes(), random in proptest::collection::vec(any::<u8>(), 0..30)) {
        for bytes in [bytes, random] {
            let mut redacted = bytes.clone();
            head::overwrite_no_head(&mut redacted);
            for length in 0..=bytes.len() {
                let look = |bytes: &[u8]| crate::http::sniff::sniff(&bytes[..length]);
                prop_assert_eq!(look(&redacted), look(&bytes));
            }
        }
    }
}
