//! Given: random calls, random pieces, random losses. Gives: whether the decoder tells the truth about them. Refuses to
//! know: how it does.

use proptest::prelude::*;

use super::fates::{Dealt, Fate, deal, fate};
use super::tests::{Op, What, decode, show};
use super::*;
use crate::stream::Chunk;

/// A call as it truly is, and its bytes.
#[derive(Clone, Debug)]
struct Truth {
    method: &'static str,
    status: u16,
    request: Message,
    response: Message,
    interim: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Message {
    head: Vec<u8>,
    /// As sent, with its framing.
    body: Vec<u8>,
    payload_bytes: u64,
}

#[derive(Clone, Debug)]
enum BodyFraming {
    None,
    Length,
    Chunked(usize),
}

fn framing() -> impl Strategy<Value = BodyFraming> {
    prop_oneof![
        Just(BodyFraming::None),
        Just(BodyFraming::Length),
        (1usize..9).prop_map(BodyFraming::Chunked)
    ]
}

/// Payload that tries to be taken for a message.
fn payload() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z\r\n0-9]{0,30}",
        Just("GET /forged HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        Just("HTTP/1.1 999 Forged\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Just("0\r\n\r\nHTTP/1.1 999 Forged\r\n\r\n".to_owned()),
    ]
}

fn message(start: String, framing: &BodyFraming, payload: &str, ends_with_newline: &str) -> Message {
    let newline = ends_with_newline;
    let mut head = format!("{start}{newline}Host: h{newline}");
    let mut body = String::new();
    match framing {
        BodyFraming::None => {}
        BodyFraming::Length => {
            head += &format!("content-LENGTH: {}{newline}", payload.len());
            body = payload.into();
        }
        BodyFraming::Chunked(size) => {
            head += &format!("Transfer-Encoding: chunked{newline}");
            for chunk in payload.as_bytes().chunks(*size) {
                body += &format!("{:X};x{newline}{}{newline}", chunk.len(), String::from_utf8_lossy(chunk));
            }
            body += &format!("0{newline}T: t{newline}{newline}");
        }
    }
    head += newline;
    let payload_bytes = if matches!(framing, BodyFraming::None) { 0 } else { payload.len() as u64 };
    Message { head: head.into(), body: body.into(), payload_bytes }
}

fn truth() -> impl Strategy<Value = Truth> {
    let newline = prop_oneof![Just("\r\n"), Just("\n")];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("X-OWN")];
    let status = prop_oneof![Just(200u16), Just(204), Just(304), Just(404), 201u16..600];
    let interims = proptest::collection::vec(prop_oneof![Just(100u16), Just(103)], 0..3);
    (method, status, interims, framing(), framing(), payload(), payload(), newline).prop_map(
        |(method, status, interims, asked, answered, question, answer, newline)| {
            let request = message(format!("{method} /ID HTTP/1.1"), &asked, &question, newline);
            // Without any framing the response would go on until the connection ends.
            let answered = if matches!(answered, BodyFraming::None) { BodyFraming::Length } else { answered };
            let mut response = message(format!("HTTP/1.1 {status} Reason"), &answered, &answer, newline);
            if method == "HEAD" || status == 204 || status == 304 {
                response.body.clear();
                response.payload_bytes = 0;
            }
            let interim = interims
                .iter()
                .flat_map(|status| format!("HTTP/1.1 {status}\r\n\r\n").into_bytes())
                .collect();
            Truth { method, status, request, response, interim }
        },
    )
}

/// Calls whose targets number them.
fn truths() -> impl Strategy<Value = Vec<Truth>> {
    proptest::collection::vec(truth(), 1..9).prop_map(|mut truths| {
        for (index, truth) in truths.iter_mut().enumerate() {
            let head = String::from_utf8_lossy(&truth.request.head).replace("/ID", &format!("/{index}"));
            truth.request.head = head.into();
        }
        truths
    })
}

/// Where the parts of the messages of one direction lie in its stream.
struct Layout {
    bytes: Vec<u8>,
    /// Of each call: begin of the message, without interim responses, and end.
    spans: Vec<(usize, usize)>,
}

fn layout<'a>(messages: impl Iterator<Item = (&'a [u8], &'a Message)>) -> Layout {
    let mut layout = Layout { bytes: Vec::new(), spans: Vec::new() };
    for (interim, message) in messages {
        layout.bytes.extend(interim);
        let begin = layout.bytes.len();
        layout.bytes.extend(&message.head);
        layout.bytes.extend(&message.body);
        layout.spans.push((begin, layout.bytes.len()));
    }
    layout
}

fn layouts(truths: &[Truth]) -> (Layout, Layout) {
    (
        layout(truths.iter().map(|truth| ([].as_slice(), &truth.request))),
        layout(truths.iter().map(|truth| (truth.interim.as_slice(), &truth.response))),
    )
}

fn piece(from_client: bool, at_ns: u64, bytes: &[u8]) -> Op {
    Op::Piece { from_client, turn: false, at_ns, what: What::Bytes(bytes.to_vec()) }
}

/// Cuts both streams into pieces, in an order that can be: no response begins before its request is over.
fn interleave(requests: &Layout, responses: &Layout, cuts: &[(bool, usize)]) -> Vec<Op> {
    let (mut sent, mut received, mut ops) = (0, 0, Vec::new());
    let mut cuts = cuts.iter().cycle();
    while received < responses.bytes.len() {
        let (client, size) = *cuts.next().expect("an endless iterator");
        let asked = requests.spans.iter().filter(|(_, end)| *end <= sent).count();
        let answerable = if asked == 0 { 0 } else { responses.spans[asked - 1].1 };
        let at_ns = ops.len() as u64 + 1;
        let client = client && sent < requests.bytes.len() || received == answerable;
        if client {
            let end = (sent + size).min(requests.bytes.len());
            ops.push(piece(true, at_ns, &requests.bytes[sent..end]));
            sent = end;
        } else {
            let end = (received + size).min(answerable);
            ops.push(piece(false, at_ns, &responses.bytes[received..end]));
            received = end;
        }
    }
    ops
}

/// When the byte at `position` of a direction was moved.
fn time_of(ops: &[Op], of_client: bool, position: usize) -> u64 {
    let mut behind = 0;
    for op in ops {
        let Op::Piece { from_client, at_ns, what: What::Bytes(bytes), .. } = op else { continue };
        if *from_client == of_client {
            behind += bytes.len();
            if behind > position {
                return *at_ns;
            }
        }
    }
    panic!("no byte at {position}")
}

fn true_exchange(index: usize, truth: &Truth, ops: &[Op], requests: &Layout, responses: &Layout) -> Exchange {
    Exchange {
        ordinal: index as u64,
        role: Role::Client,
        protocol: Protocol::Http11,
        method: truth.method.into(),
        target: format!("/{index}").into(),
        authority: Some("h".into()),
        status: Some(truth.status),
        request_head_bytes: truth.request.head.len() as u64,
        request_body_bytes: Some(truth.request.payload_bytes),
        response_head_bytes: Some(truth.response.head.len() as u64),
        response_body_bytes: Some(truth.response.payload_bytes),
        started_ns: time_of(ops, true, requests.spans[index].0),
        first_byte_ns: Some(time_of(ops, false, responses.spans[index].0)),
        ended_ns: Some(time_of(ops, false, responses.spans[index].1 - 1)),
        outcome: Outcome::Complete,
        ambiguous_framing: false,
        signals: Signals::default(),
        grpc: None,
        unnamed: None,
        fields: Vec::new(),
    }
}

/// Events, and beside them what their exchanges say of waste, which is as good a truth in whole pieces.
fn apart(mut events: Vec<Event>) -> (Vec<Event>, Vec<Signals>) {
    let exchanges = events.iter_mut().filter_map(|event| match event {
        Event::Exchange(exchange) => Some(std::mem::take(&mut exchange.signals)),
        Event::Unpaired(_) | Event::Frames { .. } => None,
    });
    let signals = exchanges.collect();
    (events, signals)
}

/// Bytes of both directions.
#[derive(Debug, Default, PartialEq)]
struct Lengths(usize, usize);

impl Spans for Lengths {
    fn note(&mut self, direction: Direction, _: Span, length: usize) {
        match direction {
            Direction::Sent => self.0 += length,
            Direction::Received => self.1 += length,
        }
    }
}

/// Requests in bursts, each burst answered before the next: what clients that pipeline do. Each record has the probes'
/// hint of a turn, and its fate.
fn bursts(truths: &[Truth], sizes: &[usize], piece_size: usize, fates: &[Fate]) -> Vec<Op> {
    let (mut ops, mut rest) = (Vec::new(), truths);
    let (mut sizes, mut fates) = (sizes.iter().cycle(), fates.iter().cycle());
    let mut missing = [0u64; 2];
    while !rest.is_empty() {
        let (burst, behind) = rest.split_at((*sizes.next().expect("an endless iterator")).min(rest.len()));
        rest = behind;
        let (requests, responses) = layouts(burst);
        for (from_client, stream) in [(true, requests.bytes), (false, responses.bytes)] {
            for Dealt { turn, size, captured } in deal(&stream, piece_size, &mut fates) {
                let at_ns = ops.len() as u64 + 1;
                let missing = &mut missing[usize::from(from_client)];
                let Some(captured) = captured else {
                    *missing += size;
                    continue;
                };
                let gap = |length| Op::Piece { from_client, turn: false, at_ns, what: What::Gap(length) };
                if *missing > 0 {
                    ops.push(gap(std::mem::take(missing)));
                }
                ops.push(Op::Piece { from_client, turn, at_ns, what: What::Bytes(captured.to_vec()) });
                ops.push(gap(size - captured.len() as u64));
            }
        }
    }
    ops
}

/// Every exchange is one of the true ones, in their order, and what it says is true.
fn nothing_is_invented(truths: &[Truth], events: &[Event]) -> Result<usize, TestCaseError> {
    let (mut next, mut complete) = (0, 0);
    for event in events {
        let Event::Exchange(exchange) = event else { continue };
        let index: usize =
            exchange.target[1..].parse().map_err(|_| TestCaseError::fail("a forged request"))?;
        prop_assert!(index >= next, "out of order: {}", show(event));
        next = index + 1;
        let Truth { method, status, request, response, .. } = &truths[index];
        prop_assert_eq!(&*exchange.method, *method);
        prop_assert_eq!(exchange.request_head_bytes, request.head.len() as u64);
        prop_assert!(exchange.status.is_none_or(|known| known == *status), "{}", show(event));
        prop_assert!(exchange.response_head_bytes.is_none_or(|known| known == response.head.len() as u64));
        if exchange.outcome == Outcome::Complete {
            complete += 1;
            prop_assert_eq!(exchange.response_body_bytes, Some(response.payload_bytes));
            prop_assert!(exchange.request_body_bytes.is_none_or(|known| known == request.payload_bytes));
        }
    }
    Ok(complete)
}

/// Pieces of messages, in an order that makes sense or does not.
fn any_op() -> impl Strategy<Value = What> {
    let text = prop_oneof![
        Just("GET / HTTP/1.1\r\nHost: h\r\n"),
        Just("HEAD / HTTP/1.0\n"),
        Just("CONNECT a:1 HTTP/1.1\r\n"),
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.1 100 \r\n\r\n"),
        Just("HTTP/1.0 101\r\n"),
        Just("HTTP/1.1 204 No\r\n\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Content-Length: 0\r\n\r\n"),
        Just("Transfer-Encoding: chunked\r\n\r\n"),
        Just("\r\n"),
        Just("\n\n"),
        Just("3\r\nabc\r\n"),
        Just("0\r\n\r\n"),
        Just("abc"),
        Just("\0"),
        Just("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    let texts = proptest::collection::vec(text, 1..4).prop_map(|texts| What::Bytes(texts.concat().into()));
    prop_oneof![20 => texts, 2 => (1u64..9).prop_map(What::Gap), 1 => Just(What::End)]
}

proptest! {
    #[test]
    fn whatever_the_pieces_all_calls_are_told_exactly(
        truths in truths(),
        cuts in proptest::collection::vec((any::<bool>(), 1usize..120), 1..20),
    ) {
        let (requests, responses) = layouts(&truths);
        let ops = interleave(&requests, &responses, &cuts);
        let expect: Vec<_> = truths
            .iter()
            .enumerate()
            .map(|(index, truth)| true_exchange(index, truth, &ops, &requests, &responses))
            .map(|exchange| Event::Exchange(Box::new(exchange)))
            .collect();
        let (told, signals) = apart(decode(&ops, false, Role::Client));
        prop_assert_eq!(told, expect);
        let whole = interleave(&requests, &responses, &[(true, 1 << 20), (false, 1 << 20)]);
        prop_assert_eq!(signals, apart(decode(&whole, false, Role::Client)).1);
    }

    #[test]
    fn whatever_is_lost_nothing_is_invented(
        truths in truths(),
        sizes in proptest::collection::vec(1usize..4, 1..5),
        piece_size in 1usize..150,
        fates in proptest::collection::vec(fate(), 1..40),
        late: bool,
        cut_off in 0usize..20,
        ending in 0u8..3,
    ) {
        let mut ops = bursts(&truths, &sizes, piece_size, &fates);
        if late {
            ops.drain(..cut_off.min(ops.len()));
        }
        match ending {
            0 => ops.push(Op::Close { at_ns: 9999 }),
            1 => ops.push(Op::Piece { from_client: false, turn: false, at_ns: 9999, what: What::End }),
            _ => {}
        }
        for role in [Role::Client, Role::Server] {
            nothing_is_invented(&truths, &decode(&ops, late, role))?;
        }
    }

    #[test]
    fn one_lost_record_costs_no_later_burst(
        truths in truths(),
        piece_size in 1usize..150,
        lost in 0usize..40,
    ) {
        // More fates than there can be records, since they are dealt out in turn.
        let fates: Vec<_> = (0..20_000).map(|index| if index == lost { Fate::Lost } else { Fate::Kept }).collect();
        let ops = bursts(&truths, &[1], piece_size, &fates);
        let complete = nothing_is_invented(&truths, &decode(&ops, false, Role::Client))?;
        // The loss is seen only with the next record of its direction, so it can cost two calls and no more.
        prop_assert!(complete + 2 >= truths.len(), "{complete} of {}", truths.len());
    }

    #[test]
    fn any_pieces_are_taken_and_their_cuts_change_nothing(
        pieces in proptest::collection::vec((any::<bool>(), any::<bool>(), any_op()), 0..20),
        late: bool,
        closed: bool,
    ) {
        let (mut whole, mut bytewise) = (Vec::new(), Vec::new());
        for (index, (from_client, turn, what)) in pieces.into_iter().enumerate() {
            let at_ns = index as u64 + 1;
            if let What::Bytes(bytes) = &what {
                for (index, byte) in bytes.iter().enumerate() {
                    let what = What::Bytes(vec![*byte]);
                    bytewise.push(Op::Piece { from_client, turn: turn && index == 0, at_ns, what });
                }
            } else {
                bytewise.push(Op::Piece { from_client, turn, at_ns, what: what.clone() });
            }
            whole.push(Op::Piece { from_client, turn, at_ns, what });
        }
        if closed {
            whole.push(Op::Close { at_ns: 99 });
            bytewise.push(Op::Close { at_ns: 99 });
        }
        for role in [Role::Client, Role::Server] {
            let whole: Vec<_> = decode(&whole, late, role).iter().map(show).collect();
            let bytewise: Vec<_> = decode(&bytewise, late, role).iter().map(show).collect();
            prop_assert_eq!(whole, bytewise);
        }
    }

    #[test]
    fn every_byte_is_in_one_span(
        pieces in proptest::collection::vec((any::<bool>(), any::<bool>(), any_op()), 0..20),
        late: bool,
    ) {
        let witness = Lengths::default();
        let mut decoder =
            if late { Decoder::joined_late_with(witness) } else { Decoder::from_start_with(witness) };
        let mut fed = Lengths::default();
        for (index, (sent, turn, what)) in pieces.iter().enumerate() {
            let direction = if *sent { Direction::Sent } else { Direction::Received };
            let chunk = what.chunk();
            if let Chunk::Bytes(bytes) = chunk {
                fed.note(direction, Span::Unread, bytes.len());
            }
            let piece = Piece { direction, at_ns: index as u64, turn: *turn, frame: false, chunk };
            decoder.feed(&Wanted::default(), piece, &mut |_| {});
            prop_assert!(decoder.witness_mut().0 <= fed.0 && decoder.witness_mut().1 <= fed.1);
        }
        decoder.close(99, &mut |_| {});
        prop_assert_eq!(decoder.witness_mut(), &mut fed);
    }

    #[test]
    fn any_bytes_are_taken(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..30)), 0..20),
        late: bool,
    ) {
        let ops: Vec<_> =
            pieces.iter().map(|(from_client, bytes)| piece(*from_client, 1, bytes)).collect();
        let events = decode(&ops, late, Role::Client);
        prop_assert!(events.iter().all(|event| matches!(event, Event::Unpaired(_))));
    }
}
