//! Given: frames. Gives: proof that they are counted as they were sent, whatever becomes of their bytes. Refuses to know: how.

use proptest::prelude::*;
use rotrace_ebpf::frames::{Frames, Part};
use rotrace_ebpf::limits::ALWAYS_COPIED_BYTES;
use rotrace_ebpf::memory::Bytes;
use rotrace_ebpf::websocket::KEY_BYTES;

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
    /// The same, and the probes say that a frame begins with them.
    Frame(&'a [u8]),
    Gap(u64),
}

fn read(mut reader: FrameReader, steps: &[Step<'_>]) -> Tally {
    let mut tally = Tally::default();
    for step in steps {
        tally += match *step {
            Step::Bytes(bytes) => reader.bytes(bytes),
            Step::Frame(bytes) => {
                reader.begin();
                reader.bytes(bytes)
            }
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
fn of_a_masked_frame_a_gap_may_begin_in_the_key() {
    let bytes = frame(Sender::Client, 0x82, 1000);
    let next = frame(Sender::Client, 0x81, 3);
    let reader = FrameReader::new(Sender::Client);
    for captured in 4..12 {
        let gap = (bytes.len() - captured) as u64;
        let steps = [Step::Bytes(&bytes[..captured]), Step::Gap(gap), Step::Bytes(&next)];
        check_steps(&reader, &steps, [2, 0, 2, 1003, 0]);
    }
    check_steps(&reader, &[Step::Bytes(&bytes[..4]), Step::Gap(3)], [1, 0, 1, 0, 0]);
}

#[test]
fn a_gap_over_a_header_is_unknown_until_the_probes_say_where_a_frame_begins() {
    let reader = FrameReader::new(Sender::Server);
    let two = frames(Sender::Server, &[(0x81, 10), (0x81, 20)]);
    let (before, behind) = two.split_at(15);
    // Lost over the second header; what follows begins in its payload.
    let steps = [Step::Bytes(&two[..12]), Step::Gap(5), Step::Bytes(&two[17..]), Step::Frame(&two)];
    check_steps(&reader, &steps, [3, 0, 3, 40, 22]);
    // What looks like frames is none unless they say so.
    let steps = [Step::Bytes(&two[..12]), Step::Gap(22), Step::Bytes(&two), Step::Gap(9), Step::Frame(&two)];
    check_steps(&reader, &steps, [3, 0, 3, 40, 22 + 34 + 9]);
    // In the middle of a header that has begun in the piece before.
    let steps = [Step::Bytes(&two[..13]), Step::Gap(1), Step::Bytes(before), Step::Frame(&two[12..])];
    check_steps(&reader, &steps, [2, 0, 2, 30, 2 + 15]);
    check_steps(&reader, &[Step::Gap(3), Step::Bytes(behind), Step::Frame(&two)], [2, 0, 2, 30, 22]);
    // A gap that goes beyond its payload.
    check_steps(&reader, &[Step::Bytes(&two[..2]), Step::Gap(11), Step::Frame(&two)], [3, 0, 3, 40, 1]);
    // Who knows where a frame begins needs not be told.
    check_steps(&reader, &[Step::Frame(&two), Step::Frame(&two)], [4, 0, 4, 60, 0]);
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

/// A record of the probes: what it copies, how many bytes it passes over, and whether a frame begins with it.
type Probed<'a> = (&'a [u8], u64, bool);

/// The records of pieces.
fn probed<'a>(sender: Sender, pieces: &[&'a [u8]]) -> Vec<Probed<'a>> {
    let (mut frames, mut held) = (Frames::FIRST, Prefix::default());
    let mut records = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (memory, size) = (Bytes(rest), rest.len() as u64);
            let (Part { size, captured }, begins) = if frames.is_in_header(&held) {
                (frames.part_of_header(&mut held, sender as u32, &memory, 1, size), false)
            } else {
                frames.part_of_frames(&mut held, sender as u32, &memory, 1, size)
            };
            assert!(captured <= size && captured <= ALWAYS_COPIED_BYTES);
            let (record, behind) = rest.split_at(size as usize);
            records.push((&record[..captured as usize], size - captured, begins));
            rest = behind;
        }
    }
    records
}

/// Feeds records, of which every one that is `lost` is a gap.
fn read_probed(sender: Sender, records: &[Probed<'_>], lost: &[bool]) -> Tally {
    let (mut reader, mut tally) = (FrameReader::new(sender), Tally::default());
    for (&(copied, passed, begins), &is_lost) in records.iter().zip(lost.iter().cycle()) {
        if is_lost {
            tally += reader.gap(copied.len() as u64 + passed);
            continue;
        }
        if begins {
            reader.begin();
        }
        tally += reader.bytes(copied);
        tally += reader.gap(passed);
    }
    tally += reader.end();
    tally
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
        let begins: Vec<usize> =
            (0..sent.len()).map(|behind| frames(sender, &sent[..behind]).len()).collect();
        for (piece, &captured) in bytes.chunks(size).zip(fates.iter().cycle()) {
            let (now, left) = piece.split_at(captured.min(piece.len()));
            if !now.is_empty() {
                let at = now.as_ptr() as usize - bytes.as_ptr() as usize;
                let step = if begins.contains(&at) { Step::Frame(now) } else { Step::Bytes(now) };
                steps.extend([Step::Gap(gap), step]);
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

    /// However they are cut; and what is lost is not invented, and known again from the next record that begins a frame.
    #[test]
    fn what_the_probes_copy_tells_what_all_bytes_do(
        sent in any_frames(),
        sender in sender(),
        sizes in proptest::collection::vec(1usize..2000, 1..20),
        lost in proptest::collection::vec(prop_oneof![5 => Just(false), 1 => Just(true)], 1..30),
    ) {
        let sent = [&[(0x81, 5)], &sent[..]].concat();
        let bytes = frames(sender, &sent);
        let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let whole = read(FrameReader::new(sender), &[Step::Bytes(&bytes)]);
        let records = probed(sender, &pieces);
        prop_assert_eq!(read_probed(sender, &records, &[false]), whole);
        let less = read_probed(sender, &records, &lost);
        prop_assert!(less.data_frames <= whole.data_frames && less.control_frames <= whole.control_frames);
        prop_assert!(less.messages <= whole.messages && less.payload_bytes <= whole.payload_bytes);
        prop_assert!(less == whole || less.unknown_bytes > 0);
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
        prop_assert!(counted + 2 * frames <= all && all <= counted + (HEADER_BYTES_MAX as u64 + KEY_BYTES) * frames);
    }
}
