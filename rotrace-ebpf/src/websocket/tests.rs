//! Given: frames of a direction, cut into pieces anywhere. Gives: whether the walk finds each header as a reader of the whole
//! bytes does, and copies little else. Refuses to know: how it walks.

use super::*;
use crate::memory::Bytes;
use proptest::prelude::*;
use std::vec::Vec;

/// A header as RFC 6455 §5.2 writes it, its masking key, and a payload of bytes that begin no frame.
pub(crate) fn frame(sender: Sender, first: u8, length: u64) -> Vec<u8> {
    let mask = if sender == Sender::Client { MASK } else { 0 };
    let mut bytes = std::vec![first];
    match length {
        0..126 => bytes.push(mask | length as u8),
        126..0x1_0000 => bytes.extend([&[mask | 126], &(length as u16).to_be_bytes()[..]].concat()),
        _ => bytes.extend([&[mask | 127], &length.to_be_bytes()[..]].concat()),
    }
    bytes.extend(if sender == Sender::Client { &b"mask"[..] } else { b"" });
    bytes.resize(bytes.len() + length as usize, b'x');
    bytes
}

/// What is known of a direction.
struct Walk {
    frames: Frames,
    held: Prefix,
    sender: Sender,
}

/// A part of a piece, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    size: u64,
    captured: u64,
    begins: bool,
}

impl Walk {
    fn of(frames: Frames, sender: Sender) -> Walk {
        Walk { frames, held: Prefix::EMPTY, sender }
    }

    /// The parts of a piece, as the probes take them.
    fn piece(&mut self, piece: &[u8]) -> Vec<Found> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at < piece.len() as u64 {
            let part = self.part(&Bytes(piece), 1 + at, piece.len() as u64 - at);
            assert!(part.size > 0 && at + part.size <= piece.len() as u64, "{part:?}");
            assert!(part.captured <= part.size && part.captured <= ALWAYS_COPIED_BYTES, "{part:?}");
            found.push(part);
            at += part.size;
        }
        found
    }

    fn part(&mut self, memory: &Bytes<'_>, address: u64, size: u64) -> Found {
        let Walk { frames, held, sender } = self;
        let is_masked = *sender as u32;
        let (Part { size, captured }, begins) = if frames.is_answer() {
            (frames.part_of_answer(held, memory, address, size), false)
        } else if frames.is_in_header(held) {
            (frames.part_of_header(held, is_masked, memory, address, size), false)
        } else {
            frames.part_of_frames(held, is_masked, memory, address, size)
        };
        Found { size, captured, begins }
    }
}

fn parsed(sender: Sender, bytes: &[u8]) -> Parsed {
    Frame::of(&Prefix::from_bytes(bytes), sender)
}

#[test]
fn headers_are_read() {
    let check = |sender, bytes: &[u8], header_bytes, length| {
        let key_bytes = if sender == Sender::Client { KEY_BYTES } else { 0 };
        let whole = Parsed::Whole(Frame { first: bytes[0], header_bytes, key_bytes, length });
        assert_eq!(parsed(sender, bytes), whole, "{bytes:x?}");
        for cut in 0..header_bytes as usize {
            assert_eq!(parsed(sender, &bytes[..cut]), Parsed::More, "{bytes:x?}, the first {cut}");
        }
    };
    check(Sender::Server, b"\x81\x05hello", 2, 5);
    check(Sender::Client, b"\x02\x80mask\x80", 2, 0);
    check(Sender::Server, b"\xc1\x7e\x00\x7e", 4, 126);
    check(Sender::Server, b"\x00\x7e\xff\xff", 4, 0xffff);
    check(Sender::Client, b"\x80\xff\x00\x00\x00\x00\x00\x01\x00\x00", 10, 0x1_0000);
    check(Sender::Server, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10, i64::MAX as u64);
    check(Sender::Server, b"\x89\x7d", 2, 125);
}

#[test]
fn what_no_peer_sends_is_no_header() {
    let check = |sender, bytes: &[u8]| {
        assert_eq!(parsed(sender, bytes), Parsed::Malformed, "{bytes:x?}");
    };
    check(Sender::Server, b"\x81\x80");
    check(Sender::Client, b"\x81\x00");
    for first in [0x83, 0x87, 0x8b, 0x8f, 0xa1, 0x91, 0xc0, 0x40, 0xc8, 0xc9, 0x08, 0x09] {
        check(Sender::Server, &[first, 0]);
    }
    check(Sender::Server, b"\x89\x7e");
    check(Sender::Server, b"\x81\x7e\x00\x7d");
    check(Sender::Server, b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff");
    check(Sender::Server, b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00");
    check(Sender::Server, b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff");
}

/// How long a head is, by what RFC 9112 §2.2 says of its lines.
fn end_of(bytes: &[u8]) -> Option<usize> {
    (0..=bytes.len()).find(|&end| bytes[..end].ends_with(b"\n\n") || bytes[..end].ends_with(b"\n\r\n"))
}

/// The bytes of a direction that begins with an answer: how many of the first are copied whole, in pieces of this size.
fn copied_of_answer(bytes: &[u8], size: usize) -> u64 {
    let mut walk = Walk::of(Frames::ANSWER, Sender::Server);
    let (mut copied, mut at) = (0, 0);
    for piece in bytes.chunks(size) {
        let mut within = 0;
        while within < piece.len() as u64 && walk.frames.is_answer() {
            let part = walk.part(&Bytes(piece), 1 + within, piece.len() as u64 - within);
            within += part.size;
            copied += part.captured;
            assert_eq!(copied, at + within, "all of it is copied");
        }
        at += piece.len() as u64;
        if !walk.frames.is_answer() {
            assert_eq!(walk.frames, Frames::FIRST);
            return copied;
        }
    }
    copied
}

#[test]
fn an_answer_ends_with_an_empty_line() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 \nUpgrade: websocket\n\n",
        "HTTP/1.1 101 \nUpgrade: websocket\n\r\n",
        "HTTP/1.1 101 \r\r\n\rUpgrade: websocket\r\n\r\r\n\n",
    ] {
        for filler in 0..20 {
            let answer = answer.replace(" 101 ", &std::format!(" 101 {}", "-".repeat(filler * 31)));
            let bytes = [answer.as_bytes(), b"\x81\x02\n\n\r\n\r\n"].concat();
            for size in [1, 2, 3, 5, 7, 8, 9, 50, 10_000] {
                assert_eq!(copied_of_answer(&bytes, size), answer.len() as u64, "{answer:?}, by {size}");
            }
        }
    }
}

#[test]
fn an_answer_without_an_end_is_none() {
    for size in [1, 8, 700, 100_000] {
        let mut walk = Walk::of(Frames::ANSWER, Sender::Server);
        let bytes = std::vec![b'a'; 2 * CREDIT_BYTES as usize];
        let mut copied = 0;
        for piece in bytes.chunks(size) {
            let mut at = 0;
            while at < piece.len() as u64 && walk.frames.is_answer() {
                let part = walk.part(&Bytes(piece), 1 + at, piece.len() as u64 - at);
                assert!(part.size > 0);
                at += part.size;
                copied += part.captured;
            }
        }
        assert!(walk.frames.is_other() && copied <= CREDIT_BYTES, "{copied} by {size}");
    }
}

#[test]
fn what_is_no_frame_behind_an_answer_is_another_protocol() {
    // The preface of an HTTP/2 client, the first frames of its server, and words.
    for bytes in [&b"PRI * HTTP/2.0"[..], b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x06\x04\0\0\0\0\0", b"hello"] {
        for sender in [Sender::Client, Sender::Server] {
            let mut walk = Walk::of(Frames::FIRST, sender);
            walk.piece(bytes);
            assert!(walk.frames.is_other(), "{bytes:x?}");
            assert_eq!(walk.held.words()[0], Prefix::from_bytes(bytes).words()[0], "{bytes:x?}");
        }
    }
}

#[test]
fn of_frames_the_headers_are_copied() {
    for sender in [Sender::Client, Sender::Server] {
        let key = if sender == Sender::Client { KEY_BYTES } else { 0 };
        let piece = |lengths: &[u64]| {
            let frames: Vec<_> = lengths.iter().flat_map(|&length| frame(sender, 0x82, length)).collect();
            let found = Walk::of(Frames::FIRST, sender).piece(&frames);
            assert!(found.iter().all(|part| part.begins));
            found.iter().map(|part| (part.size, part.captured)).collect::<Vec<_>>()
        };
        assert_eq!(piece(&[100]), [(102 + key, 2)]);
        assert_eq!(piece(&[1 << 20]), [((1 << 20) + 10 + key, 10)]);
        assert_eq!(piece(&[5, 7, 300]), [(5 + 7 + 300 + 8 + 3 * key, 5 + 7 + 8 + 2 * key)]);
        assert_eq!(
            piece(&[300, 5, 300]),
            [(304 + key, 4), (5 + 300 + 6 + 2 * key, 5 + 6 + key)],
            "what stands behind a long payload is another record"
        );
        let small = piece(&[0; 20]);
        let each = 2 + key;
        assert_eq!(small, [(8 * each, 7 * each + 2), (8 * each, 7 * each + 2), (4 * each, 3 * each + 2)]);
    }
}

#[test]
fn a_buffer_that_cannot_be_read_is_passed_over() {
    let sender = Sender::Server;
    let mut walk = Walk::of(Frames::FIRST, sender);
    walk.piece(&frame(sender, 0x82, 1000)[..104]);
    let unseen = |size| Found { size, captured: 0, begins: false };
    assert_eq!(walk.part(&Bytes(b""), 0, 900), unseen(900));
    assert_eq!(walk.piece(b"\x81\x01a"), [Found { size: 3, captured: 2, begins: true }]);
    assert_eq!(walk.part(&Bytes(b""), 77, 9), unseen(9), "where a frame begins nothing can be read");
    assert_eq!(walk.frames.lost, 1);
}

#[test]
fn frames_that_are_lost_are_found_by_a_chain() {
    let sender = Sender::Server;
    let lost = || {
        let mut walk = Walk::of(Frames::FIRST, sender);
        walk.piece(&frame(sender, 0x81, 1));
        walk.frames.pass_over(&mut walk.held, 1);
        walk
    };
    let found = |bytes: &[u8]| lost().piece(bytes).first().is_some_and(|part| part.begins);
    let two = [frame(sender, 0x81, 3), frame(sender, 0x82, 200)].concat();
    assert!(found(&two));
    assert!(!found(&two[..two.len() - 1]), "the last goes on");
    assert!(!found(&[&two[..], b"\x81"].concat()));
    assert!(!found(&[&two[..], b"xx"].concat()));
    assert!(!found(&two[1..]));
    assert!(!found(&[0; 8]), "zeroes look like frames");
    let nine = [0x81, 0].repeat(9);
    assert!(found(&nine) && found(&[&nine[..], b"xx"].concat()), "a record full of headers is no chance");
    assert_eq!(lost().piece(&two[..9]), [Found { size: 9, captured: 0, begins: false }]);
}

/// Where headers stand in frames: at which byte, and how many.
fn headers(sender: Sender, frames: &[(u8, u64)]) -> (Vec<u8>, Vec<(usize, usize)>) {
    let (mut bytes, mut headers) = (Vec::new(), Vec::new());
    for &(first, length) in frames {
        let more = frame(sender, first, length);
        let Parsed::Whole(Frame { header_bytes, .. }) = parsed(sender, &more) else { panic!("a header") };
        headers.push((bytes.len(), header_bytes as usize));
        bytes.extend(more);
    }
    (bytes, headers)
}

fn any_frames() -> impl Strategy<Value = Vec<(u8, u64)>> {
    let length = prop_oneof![6 => 0u64..20, 4 => 100u64..400, 1 => 65_000u64..70_000];
    let data = (prop_oneof![Just(0x81u8), Just(0x82), Just(0x02), Just(0x80), Just(0xc1)], length);
    let control = (prop_oneof![Just(0x88u8), Just(0x89), Just(0x8a)], 0u64..126);
    proptest::collection::vec(prop_oneof![4 => data, 1 => control], 1..40)
        .prop_filter("no message begins with a continuation", |frames| frames[0].0 & 15 != 0)
}

fn sender() -> impl Strategy<Value = Sender> {
    prop_oneof![Just(Sender::Client), Just(Sender::Server)]
}

proptest! {
    #[test]
    fn each_header_is_copied_in_whatever_pieces(
        frames in any_frames(), sender in sender(), sizes in proptest::collection::vec(1usize..3000, 1..20)
    ) {
        let (bytes, headers) = headers(sender, &frames);
        let mut walk = Walk::of(Frames::FIRST, sender);
        let mut is_copied = Vec::new();
        let mut begins = Vec::new();
        let (mut records, mut pieces) = (0, 0);
        let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().expect("a size")));
            for Found { size, captured, begins: is_begin } in walk.piece(piece) {
                if is_begin {
                    begins.push(is_copied.len());
                }
                is_copied.extend((0..size).map(|at| at < captured));
                records += 1;
            }
            pieces += 1;
            rest = behind;
        }
        prop_assert_eq!(is_copied.len(), bytes.len());
        for &(at, length) in &headers {
            prop_assert!(is_copied[at..at + length].iter().all(|&is_copied| is_copied), "at {}", at);
        }
        prop_assert!(begins.iter().all(|at| headers.iter().any(|header| header.0 == *at)));
        prop_assert_eq!((walk.frames.left, walk.frames.lost, walk.held.length()), (0, 0, 0));
        // A record is full of headers, or stands for as many bytes as the smallest carries, or ends with its piece; and the
        // rest of a header that was cut is one.
        let full = headers.len() / FRAMES_IN_RECORD + bytes.len() / HEADERS_WITHIN_BYTES as usize;
        prop_assert!(records <= full + 2 * pieces, "{} records", records);
    }

    #[test]
    fn any_bytes_are_taken(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
        begins in prop_oneof![Just(Frames::ANSWER), Just(Frames::FIRST), Just(Frames::LOST)],
        sender in sender(),
    ) {
        let mut walk = Walk::of(begins, sender);
        for piece in pieces {
            let found = walk.piece(&piece);
            prop_assert_eq!(found.iter().map(|part| part.size).sum::<u64>(), piece.len() as u64);
        }
    }

    #[test]
    fn a_head_ends_where_its_first_empty_line_does(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 1..300), size in 1usize..40
    ) {
        let expect = end_of(&bytes).unwrap_or(bytes.len());
        prop_assert_eq!(copied_of_answer(&bytes, size), expect as u64);
    }
}
