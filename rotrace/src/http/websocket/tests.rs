//! Given: frames. Gives: proof that they are counted as they were sent, whatever becomes of their bytes. Refuses to know: how.

use proptest::prelude::*;

use super::*;

/// A frame whose payload looks like no frame: no peer sets the reserved bits of `x`.
fn frame(sender: Sender, first: u8, length: usize) -> Vec<u8> {
    let mask = if sender == Sender::Client { MASK } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask | length as u8),
        126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if sender == Sender::Client {
        bytes.extend(b"mask");
    }
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

fn frames(sender: Sender, frames: &[(u8, usize)]) -> Vec<u8> {
    frames.iter().flat_map(|&(first, length)| frame(sender, first, length)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Bytes(&'a [u8]),
    Gap(u64),
}

fn read(mut reader: FrameReader, steps: &[Step<'_>]) -> Tally {
    let mut tally = Tally::default();
    for step in steps {
        tally += match *step {
            Step::Bytes(bytes) => reader.bytes(bytes),
            Step::Gap(length) => reader.gap(length),
        };
    }
    tally += reader.end();
    tally
}

/// Data frames, control frames, messages, payload bytes, unknown bytes.
fn check_steps(reader: &FrameReader, steps: &[Step<'_>], expect: [u64; 5]) {
    let [data_frames, control_frames, messages, payload_bytes, unknown_bytes] = expect;
    let expect = Tally { data_frames, control_frames, messages, payload_bytes, unknown_bytes };
    assert_eq!(read(reader.clone(), steps), expect, "{steps:?}");
}

/// Whole, byte by byte, and in two at each point.
fn check(input: &[(u8, usize)], expect: [u64; 5]) {
    for sender in [Sender::Client, Sender::Server] {
        let (bytes, reader) = (frames(sender, input), FrameReader::new(sender));
        check_steps(&reader, &[Step::Bytes(&bytes)], expect);
        let single: Vec<_> = bytes.chunks(1).map(Step::Bytes).collect();
        check_steps(&reader, &single, expect);
        for point in 1..bytes.len() {
            let (before, behind) = bytes.split_at(point);
            check_steps(&reader, &[Step::Bytes(before), Step::Bytes(behind)], expect);
        }
    }
}

#[test]
fn frames_of_each_kind() {
    check(&[(0x81, 5)], [1, 0, 1, 5, 0]);
    check(&[(0x82, 0), (0xc1, 126)], [2, 0, 2, 126, 0]);
    check(&[(0x01, 3), (0x89, 4), (0x00, 0), (0x80, 7), (0x8a, 4)], [3, 2, 1, 18, 0]);
    check(&[(0x88, 2)], [0, 1, 0, 2, 0]);
    check(&[(0x82, 125), (0x82, 126), (0x42, 70)], [3, 0, 2, 321, 0]);
}

#[test]
fn a_long_payload_is_passed_over_by_its_length() {
    let bytes = frame(Sender::Server, 0x82, 1 << 16);
    let reader = FrameReader::new(Sender::Server);
    check_steps(&reader, &[Step::Bytes(&bytes)], [1, 0, 1, 1 << 16, 0]);
    let (head, left) = (&bytes[..100], bytes.len() as u64 - 100);
    let next = frame(Sender::Server, 0x81, 1);
    check_steps(&reader, &[Step::Bytes(head), Step::Gap(left), Step::Bytes(&next)], [2, 0, 2, 65537, 0]);
    check_steps(&reader, &[Step::Bytes(head), Step::Gap(9), Step::Gap(left - 9)], [1, 0, 1, 1 << 16, 0]);
    // The last of it never came.
    check_steps(&reader, &[Step::Bytes(head), Step::Gap(9)], [1, 0, 1, 99, 0]);
}

#[test]
fn a_gap_over_a_header_is_unknown_until_a_piece_is_frames() {
    let reader = FrameReader::new(Sender::Server);
    let two = frames(Sender::Server, &[(0x81, 10), (0x81, 20)]);
    let (before, behind) = two.split_at(15);
    // Lost over the second header; what follows begins in its payload.
    let steps = [Step::Bytes(&two[..12]), Step::Gap(5), Step::Bytes(&two[17..]), Step::Bytes(&two)];
    check_steps(&reader, &steps, [3, 0, 3, 40, 22]);
    // In the middle of a header that has begun in the piece before.
    check_steps(&reader, &[Step::Bytes(&two[..13]), Step::Gap(1), Step::Bytes(before)], [1, 0, 1, 10, 17]);
    check_steps(&reader, &[Step::Gap(3), Step::Bytes(behind), Step::Bytes(&two)], [2, 0, 2, 30, 22]);
    // A gap that goes beyond its payload.
    check_steps(&reader, &[Step::Bytes(&two[..2]), Step::Gap(11), Step::Bytes(&two)], [3, 0, 3, 40, 1]);
}

#[test]
fn a_piece_whose_rest_was_left_out_shows_where_frames_begin() {
    for sender in [Sender::Client, Sender::Server] {
        let reader = FrameReader::lost(sender);
        let long = frames(sender, &[(0x82, 300), (0x82, 1000)]);
        let next = frame(sender, 0x81, 1);
        let left = long.len() as u64 - 500;
        check_steps(
            &reader,
            &[Step::Bytes(&long[..500]), Step::Gap(left), Step::Bytes(&next)],
            [3, 0, 3, 1301, 0],
        );
        // The frames do not end where the piece does.
        let unknown = 500 + left + 1;
        check_steps(
            &reader,
            &[Step::Bytes(&long[..500]), Step::Gap(left + 1), Step::Bytes(&next)],
            [1, 0, 1, 1, unknown],
        );
    }
}

#[test]
fn a_header_and_its_payload_in_two_pieces_show_where_frames_begin() {
    let reader = FrameReader::lost(Sender::Server);
    let bytes = frame(Sender::Server, 0x82, 300);
    let (header, payload) = bytes.split_at(4);
    check_steps(&reader, &[Step::Bytes(header), Step::Bytes(payload)], [1, 0, 1, 300, 0]);
    let cut = [Step::Bytes(header), Step::Bytes(&payload[..200]), Step::Gap(100)];
    check_steps(&reader, &cut, [1, 0, 1, 300, 0]);
    let torn = [Step::Bytes(header), Step::Bytes(&payload[..200]), Step::Bytes(&payload[200..])];
    check_steps(&reader, &torn, [0, 0, 0, 0, 304]);
    check_steps(&reader, &[Step::Bytes(header)], [0, 0, 0, 0, 4]);
}

#[test]
fn what_no_peer_sends_is_no_frame() {
    let check = |sender, bytes: &[u8]| {
        let reader = FrameReader::new(sender);
        check_steps(&reader, &[Step::Bytes(bytes)], [0, 0, 0, 0, bytes.len() as u64]);
        check_steps(&FrameReader::lost(sender), &[Step::Bytes(bytes)], [0, 0, 0, 0, bytes.len() as u64]);
    };
    // A server that masks, a client that does not.
    check(Sender::Server, b"\x81\x80mask");
    check(Sender::Client, b"\x81\x00");
    // Opcodes and bits that nobody has defined.
    for first in [0x83, 0x87, 0x8b, 0x8f, 0xa1, 0x91, 0xc0, 0xc9] {
        check(Sender::Server, &[first, 0]);
    }
    // Control frames that are long, or in fragments.
    check(Sender::Server, b"\x89\x7e\x00\x7e");
    check(Sender::Server, b"\x09\x00");
    // Lengths that have a shorter form, and one that has none.
    check(Sender::Server, b"\x81\x7e\x00\x7d");
    check(Sender::Server, b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff");
    check(Sender::Server, b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00");
    check(Sender::Server, b"HTTP/1.1 200 OK\r\n\r\n");
}

fn any_frames() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let data = (prop_oneof![Just(0x81u8), Just(0x82), Just(0x01), Just(0x00), Just(0xc2)], 0usize..400);
    let control = (prop_oneof![Just(0x88u8), Just(0x89), Just(0x8a)], 0usize..126);
    proptest::collection::vec(prop_oneof![4 => data, 1 => control], 1..20)
}

fn sender() -> impl Strategy<Value = Sender> {
    prop_oneof![Just(Sender::Client), Just(Sender::Server)]
}

proptest! {
    #[test]
    fn splits_change_nothing(sent in any_frames(), sender in sender(), sizes in proptest::collection::vec(1usize..300, 1..40)) {
        let bytes = frames(sender, &sent);
        let whole = read(FrameReader::new(sender), &[Step::Bytes(&bytes)]);
        let (mut steps, mut rest) = (Vec::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (now, behind) = rest.split_at((*size).min(rest.len()));
            steps.push(Step::Bytes(now));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(FrameReader::new(sender), &steps), whole);
        prop_assert_eq!(whole.data_frames + whole.control_frames, sent.len() as u64);
        prop_assert_eq!(whole.payload_bytes, sent.iter().map(|(_, length)| *length as u64).sum::<u64>());
        prop_assert_eq!(whole.unknown_bytes, 0);
    }

    /// Pieces are lost, or only their first bytes are captured.
    #[test]
    fn nothing_is_invented(
        sent in any_frames(),
        sender in sender(),
        size in 1usize..600,
        fates in proptest::collection::vec(prop_oneof![3 => Just(usize::MAX), 1 => 0usize..300], 1..40),
    ) {
        let bytes = frames(sender, &sent);
        let (mut steps, mut gap) = (Vec::new(), 0);
        for (piece, &captured) in bytes.chunks(size).zip(fates.iter().cycle()) {
            let (now, left) = piece.split_at(captured.min(piece.len()));
            if !now.is_empty() {
                steps.extend([Step::Gap(gap), Step::Bytes(now)]);
                gap = 0;
            }
            gap += left.len() as u64;
        }
        steps.push(Step::Gap(gap));
        let whole = read(FrameReader::new(sender), &[Step::Bytes(&bytes)]);
        let seen = read(FrameReader::new(sender), &steps);
        prop_assert!(seen.data_frames <= whole.data_frames && seen.control_frames <= whole.control_frames);
        prop_assert!(seen.messages <= whole.messages && seen.payload_bytes <= whole.payload_bytes);
        prop_assert!(seen == whole || seen.unknown_bytes > 0);
        prop_assert!(seen.payload_bytes + seen.unknown_bytes <= bytes.len() as u64);
    }

    /// Every byte is one of a header, of a payload, or unknown.
    #[test]
    fn no_byte_is_counted_twice_and_none_is_left_out(
        pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), 0u64..100), 0..20),
        sender in sender(),
        is_lost: bool,
    ) {
        let reader = if is_lost { FrameReader::lost(sender) } else { FrameReader::new(sender) };
        let steps: Vec<_> =
            pieces.iter().flat_map(|(bytes, gap)| [Step::Bytes(bytes), Step::Gap(*gap)]).collect();
        let all: u64 = pieces.iter().map(|(bytes, gap)| bytes.len() as u64 + gap).sum();
        let Tally { data_frames, control_frames, messages, payload_bytes, unknown_bytes } = read(reader, &steps);
        let counted = payload_bytes + unknown_bytes;
        let frames = data_frames + control_frames;
        prop_assert!(messages <= data_frames);
        prop_assert!(counted + 2 * frames <= all && all <= counted + HEADER_BYTES_MAX as u64 * frames);
    }
}
