//! Given: any bytes, read as pieces of a connection. Gives: whether the decoder takes them without a panic, within its
//! memory, and whether other cuts of the same bytes give the same events. Refuses to know: what the events should be.
//!
//! The first byte of the input says whether the connection was joined late. Then each piece begins with a byte: the
//! upper bits say which way it went, whether the probes saw a turn, and what it is; the lower ones its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::exchange::{Decoder, Direction, Event, Piece, RETAINED_BYTES_MAX, Wanted};
use rotrace::stream::Chunk;

const RECEIVED: u8 = 0x80;
const TURN: u8 = 0x40;
const OTHER: u8 = 0x20;
const LENGTH: u8 = 0x1f;

fuzz_target!(|input: &[u8]| {
    let Some((late, pieces)) = input.split_first() else { return };
    let whole = decode(late % 2 == 1, pieces, usize::MAX);
    let in_bytes = decode(late % 2 == 1, pieces, 1);
    // Frames of HTTP/2 that are lost are found again where pieces begin, so there cuts may make a difference.
    if let (Some(whole), Some(in_bytes)) = (whole, in_bytes) {
        assert_eq!(whole, in_bytes);
    }
});

/// `None` when the connection turned out to be one of HTTP/2.
fn decode(late: bool, mut input: &[u8], size: usize) -> Option<Vec<Event>> {
    let mut decoder = if late { Decoder::joined_late() } else { Decoder::from_start() };
    let wanted = Wanted(vec!["a".into()]);
    let mut events = Vec::new();
    let mut at_ns = 0;
    while let Some((control, rest)) = input.split_first() {
        at_ns += 1;
        let direction = if control & RECEIVED == 0 { Direction::Sent } else { Direction::Received };
        let turn = control & TURN != 0;
        let length = usize::from(control & LENGTH);
        let mut feed = |turn, chunk| {
            decoder.feed(&wanted, Piece { direction, at_ns, turn, chunk }, &mut |event| events.push(event));
            assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX);
        };
        input = rest;
        if control & OTHER == 0 {
            // Four times the length, so that a start line fits into a piece.
            let (bytes, rest) = input.split_at((4 * length).min(input.len()));
            input = rest;
            for (index, part) in bytes.chunks(size.min(bytes.len().max(1))).enumerate() {
                feed(turn && index == 0, Chunk::Bytes(part));
            }
        } else if length == 0 {
            feed(turn, Chunk::End);
        } else {
            feed(turn, Chunk::Gap(length as u64));
        }
    }
    let is_http2 = decoder.is_http2();
    decoder.close(at_ns + 1, &mut |event| events.push(event));
    assert!(decoder.is_opaque());
    assert_eq!(decoder.in_flight(), 0);
    (!is_http2).then_some(events)
}
