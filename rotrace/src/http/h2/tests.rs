//! Given: frames of one direction, whole, in pieces, and with gaps. Gives: whether the reader says what is in them, and of
//! what it missed that it did. Refuses to know: how it reads.

use super::*;
use proptest::prelude::*;

/// A frame as it is sent.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Bytes, or so many that are missing.
#[derive(Clone, Debug)]
enum Op {
    Bytes(Vec<u8>),
    Gap(u64),
}

/// One line an event; DATA of one stream is summed.
fn read(mut reader: FrameReader, ops: &[Op]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut data: Option<(u32, u64)> = None;
    for op in ops {
        let each = &mut |event: Event<'_>| {
            if let Event::Data { stream, size, .. } = event {
                let before = data.take().filter(|(known, _)| *known == stream);
                data = Some((stream, size + before.map_or(0, |(_, bytes)| bytes)));
                return;
            }
            if let Some((stream, size)) = data.take() {
                lines.push(format!("data {stream} {size}"));
            }
            lines.push(match event {
                Event::Block(block) => {
                    let mut line = format!(
                        "block {} {:?} {}",
                        block.stream,
                        String::from_utf8_lossy(block.fields),
                        block.wire_bytes
                    );
                    line += if block.is_whole { "" } else { " cut" };
                    line += if block.ends_stream { " end" } else { "" };
                    line + if block.is_promise { " promise" } else { "" }
                }
                Event::Data { .. } => return,
                Event::DataUnknown { stream } => format!("data {stream} ?"),
                Event::End { stream } => format!("end {stream}"),
                Event::Reset { stream } => format!("reset {stream}"),
                Event::GoAway { last_stream } => format!("goaway {last_stream}"),
                Event::Lost => "lost".to_owned(),
            });
        };
        match op {
            Op::Bytes(bytes) => reader.bytes(bytes, 0, each),
            Op::Gap(length) => reader.gap(*length, each),
        }
        assert!(reader.retained_bytes() <= BLOCK_BYTES_MAX + 64);
    }
    lines.extend(data.map(|(stream, size)| format!("data {stream} {size}")));
    lines
}

fn check(bytes: &[u8], expect: &[&str]) {
    let compare = |ops: &[Op], how: &str| assert_eq!(read(FrameReader::server(), ops), expect, "{how}");
    compare(&[Op::Bytes(bytes.to_vec())], "whole");
    let single: Vec<_> = bytes.chunks(1).map(|byte| Op::Bytes(byte.to_vec())).collect();
    compare(&single, "byte by byte");
    for point in 1..bytes.len() {
        let (one, other) = bytes.split_at(point);
        compare(&[Op::Bytes(one.to_vec()), Op::Bytes(other.to_vec())], &format!("split at {point}"));
    }
}

#[test]
fn blocks_with_padding_priority_and_continuations() {
    check(&frame(1, 0x05, 3, b"ab"), &["block 3 \"ab\" 11 end"]);
    check(&frame(1, 0x0c, 3, b"\x02ab\0\0"), &["block 3 \"ab\" 14"]);
    check(&frame(1, 0x2c, 3, b"\x01\0\0\0\0\x10ab\0"), &["block 3 \"ab\" 18"]);
    let parts = [frame(1, 0x01, 3, b"ab"), frame(9, 0, 3, b""), frame(9, 4, 3, b"cd")].concat();
    check(&parts, &["block 3 \"abcd\" 31 end"]);
    check(&frame(5, 0x0c, 3, b"\x01\0\0\0\x02ab\0"), &["block 3 \"ab\" 17 promise"]);
}

#[test]
fn data_ends_resets_and_what_is_passed_over() {
    let all = [
        frame(4, 0, 0, &[0; 12]),
        frame(0, 0, 1, b"abc"),
        frame(0, 0x09, 1, b"\x03ab\0\0\0"),
        frame(8, 0, 1, &[0; 4]),
        frame(2, 0, 1, &[0; 5]),
        frame(6, 0, 0, &[0; 8]),
        frame(0x63, 0xff, 9, b"of an extension"),
        frame(3, 0, 5, &[0, 0, 0, 8]),
        frame(7, 0, 0, &[0x80, 0, 0, 7, 0, 0, 0, 0, b'x']),
        frame(0, 1, 7, b""),
    ];
    check(&all.concat(), &["data 1 5", "end 1", "reset 5", "goaway 7", "end 7"]);
}

#[test]
fn the_preface_of_a_client_comes_first() {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(1, 5, 1, b"x")].concat();
    for size in 1..=bytes.len() {
        let ops: Vec<_> = bytes.chunks(size).map(|piece| Op::Bytes(piece.to_vec())).collect();
        assert_eq!(read(FrameReader::client(), &ops), ["block 1 \"x\" 10 end"]);
    }
}

#[test]
fn what_no_peer_sends_is_a_loss() {
    check(&frame(0, 0, 0, b"a"), &["lost"]);
    check(&frame(9, 4, 1, b"a"), &["lost"]);
    check(&[frame(1, 0, 1, b"a"), frame(0, 0, 1, b"b")].concat(), &["lost"]);
    check(&[frame(1, 0, 1, b"a"), frame(9, 4, 3, b"b")].concat(), &["lost"]);
    check(&frame(0, 0x08, 1, b"\x09a"), &["lost"]);
}

fn check_gaps(ops: &[Op], expect: &[&str]) {
    assert_eq!(read(FrameReader::server(), ops), expect);
}

#[test]
fn a_gap_in_a_payload_harms_nothing_behind_it() {
    let (data, headers) = (frame(0, 1, 1, &[b'x'; 1000]), frame(1, 4, 3, b"abcdef"));
    let seen = Op::Bytes(data[..15].to_vec());
    check_gaps(
        &[seen.clone(), Op::Gap(994), Op::Bytes(headers.clone())],
        &["data 1 1000", "end 1", "block 3 \"abcdef\" 15"],
    );
    check_gaps(
        &[Op::Bytes(headers[..11].to_vec()), Op::Gap(4), seen],
        &["block 3 \"ab\" 15 cut", "data 1 6"],
    );
    let padded = frame(0, 9, 1, &[0; 100]);
    check_gaps(&[Op::Bytes(padded[..9].to_vec()), Op::Gap(100)], &["data 1 ?", "end 1"]);
}

#[test]
fn behind_a_gap_over_a_header_frames_are_found_where_they_are_certain() {
    let headers = frame(1, 4, 3, b"abcdef");
    check_gaps(
        &[Op::Gap(1), Op::Bytes(b"{\"a\": 1}".to_vec()), Op::Bytes(headers.clone())],
        &["lost", "block 3 \"abcdef\" 15"],
    );
    let more = [headers.clone(), vec![b'x'; 3]].concat();
    check_gaps(&[Op::Gap(1), Op::Bytes(more)], &["lost"]);
    check_gaps(
        &[Op::Bytes(headers[..5].to_vec()), Op::Gap(4), Op::Bytes(headers)],
        &["lost", "block 3 \"abcdef\" 15"],
    );
}

#[test]
fn a_block_without_end_takes_no_more_memory_than_the_bound() {
    let mut ops = vec![Op::Bytes(frame(1, 0, 1, &[b'a'; 16_000]))];
    ops.extend((0..5).map(|_| Op::Bytes(frame(9, 0, 1, &[b'a'; 16_000]))));
    ops.push(Op::Bytes(frame(9, 4, 1, b"")));
    let lines = read(FrameReader::server(), &ops);
    assert!(lines.len() == 1 && lines[0].ends_with(" cut"), "{}", lines.len());
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one = (0u8..11, any::<u8>(), 0u32..8, prop::collection::vec(0u8..12, 0..40))
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn pieces_change_nothing(bytes in frames(), size in 1usize..30) {
        let pieces: Vec<_> = bytes.chunks(size).map(|piece| Op::Bytes(piece.to_vec())).collect();
        let whole = read(FrameReader::server(), &[Op::Bytes(bytes)]);
        let cut = read(FrameReader::server(), &pieces);
        // Behind a loss frames are looked for where pieces begin.
        let until = |lines: &[String]| lines.iter().take_while(|line| *line != "lost").cloned().collect::<Vec<_>>();
        prop_assert_eq!(until(&whole), until(&cut));
    }

    #[test]
    fn a_gap_invents_nothing(bytes in frames(), from in 0usize..300, length in 1usize..60) {
        let whole = read(FrameReader::server(), &[Op::Bytes(bytes.clone())]);
        prop_assume!(!whole.iter().any(|line| line == "lost"));
        let from = from.min(bytes.len());
        let to = (from + length).min(bytes.len());
        let ops = [Op::Bytes(bytes[..from].to_vec()), Op::Gap((to - from) as u64), Op::Bytes(bytes[to..].to_vec())];
        let seen = read(FrameReader::server(), &ops);
        let ends = |lines: &[String]| lines.iter().filter(|line| line.starts_with("end") || line.starts_with("reset")).count();
        prop_assert!(ends(&seen) <= ends(&whole), "{:?} of {:?}", seen, whole);
        for line in seen.iter().filter(|line| line.starts_with("block") && !line.contains("cut")) {
            prop_assert!(whole.contains(line), "{} of {:?}", line, whole);
        }
    }

    #[test]
    fn any_bytes_are_taken(pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), 0u64..90), 0..12), lost: bool) {
        let ops: Vec<_> = pieces.into_iter().flat_map(|(bytes, gap)| [Op::Bytes(bytes), Op::Gap(gap)]).collect();
        let _ = read(if lost { FrameReader::lost() } else { FrameReader::client() }, &ops);
    }
}
