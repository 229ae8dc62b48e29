//! Given: any bytes, read as pieces of one direction of HTTP/2. Gives: whether the reader of frames takes them without a
//! panic and within its memory, gives no more than went by, and gives the same however they are cut, until it is lost.
//! Refuses to know: header blocks, and what the frames should be.
//!
//! The first byte of the input says where the reader begins. Then each piece begins with a byte: the uppermost bit says
//! that it was not captured; the others are its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::http::h2::{BLOCK_BYTES_MAX, Event, FrameReader};

/// Bytes that a reader may retain beside a block, whose buffer grows by doubling.
const SLACK_BYTES: usize = BLOCK_BYTES_MAX + 1024;

fuzz_target!(|input: &[u8]| {
    let Some((&begins, pieces)) = input.split_first() else { return };
    let whole = read(begins, pieces, usize::MAX);
    let in_bytes = read(begins, pieces, 1);
    // What is lost is found again where pieces begin, so behind there cuts make a difference.
    if begins % 3 != 2 {
        assert_eq!(until_lost(&whole), until_lost(&in_bytes));
    }
});

fn until_lost(events: &[String]) -> &[String] {
    let end = events.iter().position(|event| event == "Lost").unwrap_or(events.len());
    &events[..end]
}

/// Events as text. A stream's body is given in parts, as the bytes come, so it is left to the sums.
fn read(begins: u8, mut pieces: &[u8], size: usize) -> Vec<String> {
    let mut reader = match begins % 3 {
        0 => FrameReader::client(),
        1 => FrameReader::server(),
        _ => FrameReader::lost(),
    };
    let mut events = Vec::new();
    let (mut went_by, mut of_bodies) = (0u64, 0u64);
    let mut mark = 0;
    while let Some((&control, rest)) = pieces.split_first() {
        mark += 1;
        let length = usize::from(control & 0x7f);
        pieces = rest;
        let mut each = |event: Event<'_>| match event {
            Event::Data { size, bytes, .. } => {
                assert!(bytes.len() as u64 <= size);
                of_bodies += size;
            }
            event => {
                let event = format!("{event:?}");
                // That a body's length is not known is said with each part of it.
                if !event.starts_with("DataUnknown") || events.last() != Some(&event) {
                    events.push(event);
                }
            }
        };
        if control & 0x80 != 0 {
            went_by += length as u64;
            reader.gap(length as u64, &mut each);
        } else {
            let (bytes, rest) = pieces.split_at(length.min(pieces.len()));
            pieces = rest;
            went_by += bytes.len() as u64;
            bytes.chunks(size.min(bytes.len().max(1))).for_each(|part| reader.bytes(part, mark, &mut each));
        }
        assert!(reader.retained_bytes() <= BLOCK_BYTES_MAX + SLACK_BYTES);
    }
    assert!(of_bodies <= went_by);
    events
}
