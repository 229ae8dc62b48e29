//! Given: records as the probes write them. Gives: proof that the pipeline makes the calls of them that were made, and
//! counts what it could not see. Refuses to know: how the probes come to write them.

use rotrace_ebpf::record::{HEADER_BYTES, Open, VERSION, role};

use super::*;
use crate::attribute::GameRule;
use crate::capture::{loss_record, process_record};
use crate::endpoint;
use crate::exchange::Exchange;
use crate::keyed::Key;
use crate::summary::{Frames, TlsFigures};

const PID: u32 = 7;
const SOCKET: u64 = 100;
const OBJECT: u64 = rotrace_ebpf::record::TLS_OBJECT | 1;

/// Writes records, the clock going on by a millisecond for each.
struct Probes {
    pipeline: Pipeline,
    now_ns: u64,
    positions: BTreeMap<(u64, u8), u64>,
    /// [`flag::FROM_START`], or nothing for connections that are older than the tracer.
    age: u8,
    lines: Vec<String>,
}

impl Probes {
    fn settings() -> Settings {
        let rules = Rules::new(Vec::new(), vec![GameRule::header("x-game").expect("a field name")]);
        Settings {
            rules,
            endpoints: Endpoints::new(&endpoint::Settings::default(), &[]).expect("no rules"),
            roles: [Role::Client, Role::Server].into(),
            connections: 16,
            prices: Prices::default(),
            detect: detect::Settings::default(),
        }
    }

    fn new() -> Self {
        Probes {
            pipeline: Pipeline::new(Self::settings()),
            now_ns: 0,
            positions: BTreeMap::new(),
            age: flag::FROM_START,
            lines: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let lines = &mut self.lines;
        self.pipeline.feed(bytes, &mut |output| {
            lines.push(match output {
                Output::Call(call) => {
                    let Exchange { role, status, response_body_bytes, outcome, .. } = &call.exchange;
                    let game = call.game.as_deref().unwrap_or("-");
                    let tls = if call.tls { " tls" } else { "" };
                    format!(
                        "{role:?} {game} {} {} {status:?} {response_body_bytes:?} {outcome:?}{tls}",
                        call.process.pid, call.endpoint
                    )
                }
                Output::Finding(finding) => format!("finding {}", finding.pattern.name()),
                Output::Ignore { socket, conn } => format!("ignore {socket} {conn}"),
            });
        });
    }

    fn record(&mut self, header: Header, payload: &[u8]) {
        self.now_ns += 1_000_000;
        let length = (HEADER_BYTES + payload.len()) as u32;
        let header = Header { length, version: VERSION, time_ns: self.now_ns, pid: PID, tid: PID, ..header };
        self.feed(&[&header.to_bytes()[..], payload].concat());
    }

    fn process(&mut self, game: Option<&str>) {
        let facts = ProcessFacts {
            pid: 1007,
            game: game.map(str::to_owned),
            headers_before: 1,
            ..ProcessFacts::default()
        };
        let record = process_record(self.now_ns, PID, &facts).expect("plain values");
        self.feed(&record);
    }

    fn open(&mut self, conn: u64, role: u8) {
        let open = Open {
            remote: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1],
            remote_port: 80,
            role,
            connect_started_ns: 1,
            established_ns: 501,
            socket: 0xdead,
            ..Open::default()
        };
        let header = Header { kind: kind::OPEN, conn, flags: flag::FROM_START, ..Header::default() };
        self.record(header, &open.to_bytes());
    }

    /// A connection older than the tracer, on which so many bytes have been passed over.
    fn open_late(&mut self, conn: u64, [sent, received]: [u64; 2]) {
        self.age = 0;
        self.positions.extend([((conn, direction::SENT), sent), ((conn, direction::RECEIVED), received)]);
        let header = Header { kind: kind::OPEN, conn, position: sent, size: received, ..Header::default() };
        self.record(header, &Open::default().to_bytes());
    }

    fn data(&mut self, conn: u64, direction: u8, flags: u8, bytes: &[u8], size: u64) {
        let position = self.positions.entry((conn, direction)).or_default();
        let header = Header {
            kind: kind::DATA,
            conn,
            direction,
            flags: flags | self.age,
            position: *position,
            size,
            ..Header::default()
        };
        *position += size;
        self.record(header, bytes);
    }

    fn text(&mut self, conn: u64, direction: u8, text: &str) {
        self.data(conn, direction, flag::TURN, text.as_bytes(), text.len() as u64);
    }

    fn end(&mut self, conn: u64) {
        let position = self.positions.get(&(conn, direction::RECEIVED)).copied().unwrap_or(0);
        let header =
            Header { kind: kind::END, direction: direction::RECEIVED, conn, position, ..Header::default() };
        self.record(header, &[]);
    }

    fn close(&mut self, conn: u64) {
        let at = |direction| self.positions.get(&(conn, direction)).copied().unwrap_or(0);
        let header = Header { kind: kind::CLOSE, conn, position: at(0), size: at(1), ..Header::default() };
        self.record(header, &[]);
    }

    fn coverage(&mut self, game: &str) -> crate::summary::Coverage {
        let summary = self.pipeline.summary();
        let found = summary.games().find(|(name, _)| *name == game).map(|(_, game)| game.coverage.clone());
        found.unwrap_or_default()
    }
}

const GET: &str = "GET /v1/users/7 HTTP/1.1\r\nHost: api\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn other_settings_leave_the_key_as_it_is() {
    let keyed = |key| Settings {
        detect: detect::Settings { key, ..detect::Settings::default() },
        ..Probes::settings()
    };
    let mut pipeline = Pipeline::new(keyed(Key::new([7; 16])));
    pipeline.replace_settings(keyed(Key::default()));
    assert_eq!(pipeline.settings.detect.key.hash(b"token"), Key::new([7; 16]).hash(b"token"));
}

#[test]
fn a_call_of_a_known_process() {
    let mut probes = Probes::new();
    probes.process(Some("chess"));
    probes.open(SOCKET, role::CLIENT);
    probes.text(SOCKET, direction::SENT, GET);
    probes.text(SOCKET, direction::RECEIVED, OK);
    probes.close(SOCKET);
    assert_eq!(probes.lines, ["Client chess 1007 api/v1/users/{id} Some(200) Some(2) Complete"]);
    let coverage = probes.coverage("chess");
    assert_eq!((coverage.opened.client.plain, coverage.connect_ns), (1, 500));
}

/// What went by before the first request cannot hold its response.
#[test]
fn the_first_call_of_a_connection_that_was_joined_in_the_middle_of_a_response() {
    let mut probes = Probes::new();
    probes.process(Some("chess"));
    probes.open_late(SOCKET, [50, 700]);
    probes.text(SOCKET, direction::SENT, GET);
    probes.text(SOCKET, direction::RECEIVED, OK);
    assert_eq!(probes.lines, ["Client chess 1007 api/v1/users/{id} Some(200) Some(2) Complete"]);
}

#[test]
fn a_field_of_the_request_names_the_game() {
    let mut probes = Probes::new();
    probes.process(None);
    probes.open(SOCKET, role::SERVER);
    probes.text(SOCKET, direction::RECEIVED, "GET /a HTTP/1.1\r\nHost: api\r\nX-Game: go\r\n\r\n");
    probes.text(SOCKET, direction::SENT, OK);
    assert_eq!(probes.lines, ["Server go 1007 api/a Some(200) Some(2) Complete"]);
}

/// Calls to `/games/` and the words, each answered with the status line; how many there are in the end by endpoint.
fn games_called(probes: &mut Probes, words: impl Iterator<Item = String>, answer: &str) {
    for word in words {
        let request = format!("GET /games/{word} HTTP/1.1\r\nHost: api\r\n\r\n");
        probes.text(SOCKET, direction::SENT, &request);
        probes.text(SOCKET, direction::RECEIVED, &format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n"));
    }
}

/// Words without digits.
fn words(range: std::ops::Range<u8>) -> impl Iterator<Item = String> {
    range.map(|number| format!("game-{}{}", char::from(b'a' + number / 26), char::from(b'a' + number % 26)))
}

fn shown(probes: &mut Probes) -> Vec<(String, u64)> {
    let summary = probes.pipeline.summary();
    let series = summary.games().flat_map(|(_, game)| game.series(Role::Client));
    series.map(|(endpoint, series)| (endpoint.to_owned(), series.total())).collect()
}

#[test]
fn calls_are_shown_once_it_is_known_what_is_a_name() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    games_called(&mut probes, words(0..4), "200 OK");
    let early = shown(&mut probes);
    assert_eq!(early.len(), 4, "so few words may be routes");
    games_called(&mut probes, words(4..40), "200 OK");
    assert_eq!(probes.pipeline.summary().calls(), 40);
    probes.pipeline.finish_all(probes.now_ns, &mut |_| {});
    let shown = shown(&mut probes);
    let names: u64 =
        shown.iter().filter(|(endpoint, _)| endpoint == "api/games/{name}").map(|(_, calls)| calls).sum();
    assert_eq!(shown.iter().map(|(_, calls)| calls).sum::<u64>(), 40);
    assert!(names >= 32 && shown.len() <= 8, "{shown:?}");
}

#[test]
fn what_is_not_there_teaches_nothing_and_a_reload_forgets_nothing() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    games_called(&mut probes, words(0..40), "404 Not Found");
    games_called(&mut probes, words(0..1), "200 OK");
    assert!(probes.lines.iter().all(|line| !line.contains("{name}")));
    games_called(&mut probes, words(0..40), "200 OK");
    probes.pipeline.replace_settings(Probes::settings());
    games_called(&mut probes, words(50..51), "404 Not Found");
    assert!(probes.lines.last().is_some_and(|line| line.contains(" api/games/{name} ")));
}

#[test]
fn what_was_left_out_of_a_body_is_counted_and_what_is_lost_at_the_end_is_a_gap() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.text(SOCKET, direction::SENT, GET);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    probes.data(SOCKET, direction::RECEIVED, flag::TURN, head, head.len() as u64 + 50_000);
    probes.data(SOCKET, direction::RECEIVED, 0, &[], 40_000);
    // The record of the last 10 000 bytes is lost; only the close record tells of them.
    *probes.positions.entry((SOCKET, direction::RECEIVED)).or_default() += 10_000;
    probes.close(SOCKET);
    assert_eq!(probes.lines, ["Client - 7 api/v1/users/{id} Some(200) Some(100000) Complete"]);
}

#[test]
fn a_tunnel_is_ignored_from_then_on() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.text(SOCKET, direction::SENT, "CONNECT api:443 HTTP/1.1\r\nHost: api:443\r\n\r\n");
    probes.text(SOCKET, direction::RECEIVED, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(probes.lines.last().map(String::as_str), Some("ignore 57005 100"));
    assert_eq!(probes.coverage("unknown").opaque.get("upgraded"), Some(&1));
}

#[test]
fn plaintext_of_a_bound_object_takes_the_address_of_its_socket() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.data(SOCKET, direction::SENT, flag::ENCRYPTED, b"\x16\x03\x01", 500);
    let bind = Header { kind: kind::BIND, conn: OBJECT, extra: SOCKET, ..Header::default() };
    probes.record(bind, &[]);
    probes.text(OBJECT, direction::SENT, GET);
    probes.text(OBJECT, direction::RECEIVED, OK);
    probes.close(SOCKET);
    assert_eq!(probes.lines, ["Client - 7 api/v1/users/{id} Some(200) Some(2) Complete tls"]);
    let coverage = probes.coverage("unknown");
    assert_eq!((coverage.opened.client.tls, coverage.tls_opaque.all().connections), (1, 0));
}

#[test]
fn plaintext_from_before_the_probes_of_its_library_is_not_taken_to_be_there() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.data(SOCKET, direction::SENT, flag::ENCRYPTED, b"\x16\x03\x01", 500);
    probes.record(Header { kind: kind::BIND, conn: OBJECT, extra: SOCKET, ..Header::default() }, &[]);
    // The first response is to a request that was written before the library was probed.
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let turns =
        [(direction::RECEIVED, 0, OK), (direction::SENT, 0, GET), (direction::RECEIVED, OK.len(), missing)];
    for (direction, position, text) in turns {
        let (position, size) = (position as u64, text.len() as u64);
        let flags = flag::PLAINTEXT | flag::TURN;
        let header =
            Header { kind: kind::DATA, conn: OBJECT, direction, flags, position, size, ..Header::default() };
        probes.record(header, text.as_bytes());
    }
    assert_eq!(probes.lines, ["Client - 7 api/v1/users/{id} Some(404) Some(0) Complete tls"]);
}

#[test]
fn a_request_in_flight_ends_with_the_socket_that_carries_its_tls() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.data(SOCKET, direction::SENT, flag::ENCRYPTED, &[], 500);
    probes.record(Header { kind: kind::BIND, conn: OBJECT, extra: SOCKET, ..Header::default() }, &[]);
    probes.text(OBJECT, direction::SENT, GET);
    probes.close(SOCKET);
    assert_eq!(probes.lines, ["Client - 7 api/v1/users/{id} None None Aborted tls"]);
}

#[test]
fn a_response_without_length_ends_with_the_plaintext_or_with_the_socket_that_carries_it() {
    for (conn, expect) in [(OBJECT, "Some(4) Complete"), (SOCKET, "Some(4) Complete"), (0, "Some(4) Aborted")]
    {
        let mut probes = Probes::new();
        probes.open(SOCKET, role::CLIENT);
        probes.data(SOCKET, direction::SENT, flag::ENCRYPTED, &[], 500);
        probes.record(Header { kind: kind::BIND, conn: OBJECT, extra: SOCKET, ..Header::default() }, &[]);
        probes.text(OBJECT, direction::SENT, GET);
        probes.text(OBJECT, direction::RECEIVED, "HTTP/1.0 200 OK\r\n\r\nbody");
        probes.end(conn);
        probes.close(SOCKET);
        assert_eq!(probes.lines, [format!("Client - 7 api/v1/users/{{id}} Some(200) {expect} tls")]);
    }
}

#[test]
fn tls_without_plaintext_is_counted_in_connections_and_bytes() {
    let mut probes = Probes::new();
    probes.process(Some("chess"));
    probes.open(SOCKET, role::CLIENT);
    probes.data(SOCKET, direction::SENT, flag::ENCRYPTED, &[], 500);
    let early = probes.now_ns + 1;
    probes.pipeline.tick(early, &mut |_| {});
    assert_eq!(probes.coverage("chess").tls_opaque.all().connections, 0, "it is too early to say");
    probes.pipeline.tick(early + TLS_JUDGED_AFTER_NS, &mut |_| {});
    probes.data(SOCKET, direction::RECEIVED, flag::ENCRYPTED, &[], 700);
    probes.close(SOCKET);
    let coverage = probes.coverage("chess");
    assert_eq!((coverage.tls_opaque.all().connections, coverage.tls_opaque.all().bytes), (1, 1200));
}

#[test]
fn the_name_that_a_client_hello_asks_for_tells_where_dark_tls_goes() {
    let mut probes = Probes::new();
    probes.process(Some("chess"));
    for (socket, name) in [(SOCKET, "API.example.com"), (SOCKET + 1, "api.example.com"), (SOCKET + 2, "")] {
        let hello = if name.is_empty() { Vec::new() } else { client_hello(name) };
        probes.open(socket, role::CLIENT);
        probes.data(socket, direction::SENT, flag::ENCRYPTED, &hello, 500);
        probes.data(socket, direction::RECEIVED, flag::ENCRYPTED, &[], 700);
        probes.close(socket);
    }
    let coverage = probes.coverage("chess");
    let figures = |connections, bytes| TlsFigures { connections, bytes };
    let authorities: Vec<_> = coverage.tls_opaque.authorities().collect();
    assert_eq!(authorities, [("api.example.com", figures(2, 2400)), ("unknown", figures(1, 1200))]);
}

/// The front of a TLS stream: a record with a ClientHello (RFC 8446 §4.1.2) whose only extension is server_name.
fn client_hello(name: &str) -> Vec<u8> {
    let sized = |body: &[u8]| [&(body.len() as u16).to_be_bytes(), body].concat();
    let names = sized(&[&[0], &*sized(name.as_bytes())].concat());
    let extensions = sized(&[&[0, 0], &*sized(&names)].concat());
    let body = [&[3; 34], &[0][..], &[0, 2, 0x13, 1], &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[0x16, 3, 1][..], &sized(&message)].concat()
}

#[test]
fn an_object_without_a_socket_stands_for_one_tls_connection_of_its_process() {
    let mut probes = Probes::new();
    for socket in [SOCKET, SOCKET + 1] {
        probes.open(socket, role::CLIENT);
        probes.data(socket, direction::SENT, flag::ENCRYPTED, &[], 500);
    }
    probes.record(Header { kind: kind::BIND, conn: OBJECT, extra: 0, ..Header::default() }, &[]);
    probes.text(OBJECT, direction::SENT, GET);
    probes.text(OBJECT, direction::RECEIVED, OK);
    probes.close(SOCKET);
    probes.close(SOCKET + 1);
    assert_eq!(probes.lines.len(), 1);
    assert_eq!(probes.coverage("unknown").tls_opaque.all().connections, 1, "the other one is dark");
}

#[test]
fn a_child_is_of_its_parents_game_until_it_is_read() {
    let mut probes = Probes::new();
    probes.process(Some("chess"));
    let fork = Header { kind: kind::FORK, extra: u64::from(PID + 1) | 1008 << 32, ..Header::default() };
    probes.record(fork, &[]);
    assert_eq!(probes.pipeline.processes_by_game().get("chess"), Some(&2));
}

#[test]
fn losses_are_those_that_the_last_record_says() {
    let mut probes = Probes::new();
    let losses = |count| {
        let ring = |count| [("ring_full".to_owned(), count)].into();
        Losses::from([("kernel".to_owned(), ring(count)), ("kernel_bytes".to_owned(), ring(100 * count))])
    };
    for count in [3, 5] {
        let record = loss_record(1, &losses(count)).expect("plain values");
        probes.feed(&record);
    }
    assert_eq!(probes.pipeline.summary().losses.get(&("kernel", "ring_full")), Some(&5));
    assert_eq!(probes.pipeline.summary().shortfall.bytes.get(&("kernel", "ring_full")), Some(&500));
    probes.feed(b"not a record");
    assert_eq!(probes.pipeline.summary().losses.get(&("pipeline", "malformed_record")), Some(&1));
}

#[test]
fn bytes_that_arrive_twice_and_names_that_are_changed_are_counted() {
    let mut probes = Probes::new();
    probes.process(Some("a b"));
    probes.open(SOCKET, role::CLIENT);
    probes.text(SOCKET, direction::SENT, GET);
    *probes.positions.entry((SOCKET, direction::SENT)).or_default() -= 7;
    probes.text(SOCKET, direction::SENT, "t: a\r\n\r\n");
    let shortfall = probes.pipeline.summary().shortfall;
    assert_eq!(shortfall.bytes.get(&("pipeline", "overlap")), Some(&7));
    assert_eq!((shortfall.games_refused, shortfall.games_altered), (0, 1));
}

#[test]
fn connections_are_bounded_and_what_makes_room_is_counted() {
    let mut probes = Probes::new();
    for conn in 1..=40 {
        probes.open(conn, role::CLIENT);
        probes.text(conn, direction::SENT, GET);
    }
    let summary = probes.pipeline.summary();
    assert!(summary.tracked_connections <= 17, "{}", summary.tracked_connections);
    assert_eq!(
        summary.losses.get(&("pipeline", "connection_evicted")),
        Some(&(40 - summary.tracked_connections))
    );
    assert_eq!(probes.lines.len() as u64, 40 - summary.tracked_connections, "each evicted request is a call");
}

const HANDSHAKE: &str = "GET /rooms/7 HTTP/1.1\r\nHost: api\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

/// Messages, payload bytes, and unknown bytes of both directions, by endpoint.
fn frames(probes: &mut Probes) -> Vec<(String, [u64; 6])> {
    let summary = probes.pipeline.summary();
    let series = summary.games().flat_map(|(_, game)| game.series(Role::Client));
    let frames =
        series.filter_map(|(endpoint, series)| Some((endpoint.to_owned(), **series.frames.as_ref()?)));
    let figures = frames.map(|(endpoint, Frames { sent, received })| {
        let [sent, received] =
            [sent, received].map(|tally| [tally.messages, tally.payload_bytes, tally.unknown_bytes]);
        (endpoint, [sent[0], sent[1], sent[2], received[0], received[1], received[2]])
    });
    figures.collect()
}

#[test]
fn frames_of_a_websocket_are_counted_while_it_lives() {
    let mut probes = Probes::new();
    probes.open(SOCKET, role::CLIENT);
    probes.text(SOCKET, direction::SENT, HANDSHAKE);
    probes.text(SOCKET, direction::RECEIVED, SWITCHED);
    let endpoint = "api/rooms/{id}".to_owned();
    assert_eq!(frames(&mut probes), [(endpoint.clone(), [0; 6])], "it stands at zero first");
    probes.data(SOCKET, direction::SENT, 0, b"\x82\xfe\x10\x00mask", 8 + 0x1000);
    probes.data(SOCKET, direction::RECEIVED, 0, b"\x81\x02hi", 4);
    assert_eq!(frames(&mut probes), [(endpoint.clone(), [1, 0x1000, 0, 1, 2, 0])]);
    // A record is lost, and then one comes that begins with a frame.
    *probes.positions.entry((SOCKET, direction::RECEIVED)).or_default() += 9;
    probes.data(SOCKET, direction::RECEIVED, flag::FRAME, b"\x81\x02hi", 4);
    probes.close(SOCKET);
    assert_eq!(frames(&mut probes), [(endpoint, [1, 0x1000, 0, 2, 4, 9])]);
    assert_eq!(probes.lines, ["Client - 7 api/rooms/{id} Some(101) Some(0) Complete"]);
    assert!(probes.coverage("unknown").opaque.is_empty());
}

#[test]
fn frames_go_under_the_endpoint_that_their_handshake_gets() {
    let mut probes = Probes::new();
    for (conn, word) in (SOCKET..).zip(words(0..40)) {
        probes.open(conn, role::CLIENT);
        probes.text(conn, direction::SENT, &HANDSHAKE.replace("rooms/7", &format!("rooms/{word}")));
        probes.text(conn, direction::RECEIVED, SWITCHED);
        probes.data(conn, direction::RECEIVED, 0, b"\x81\x02hi", 4);
        probes.close(conn);
    }
    probes.pipeline.finish_all(probes.now_ns, &mut |_| {});
    let calls = shown(&mut probes);
    let messages = frames(&mut probes).into_iter().map(|(endpoint, figures)| (endpoint, figures[3]));
    assert_eq!(messages.collect::<Vec<_>>(), calls);
    assert_eq!(calls.iter().map(|(_, calls)| calls).sum::<u64>(), 40);
    assert!(calls.iter().any(|(endpoint, _)| endpoint == "api/rooms/{name}"), "{calls:?}");
}
