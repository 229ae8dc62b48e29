//! Given: frames of a direction, cut into pieces anywhere. Gives: whether the walk finds them, and copies all but the
//! payload of DATA. Refuses to know: how it walks.

use super::*;
use crate::memory::Bytes;
use proptest::prelude::*;
use std::vec::Vec;

fn header(length: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes
}

fn plausible(length: u32, kind: u8, flags: u8, stream: u32) -> bool {
    let frame = Frame::of(&Prefix::from_bytes(&header(length, kind, flags, stream))).expect("a header");
    assert_eq!(frame, Frame { length, kind, flags, stream });
    frame.is_plausible()
}

#[test]
fn headers_are_plausible_or_not() {
    assert!(plausible(16_384, kind::DATA, 1, 7));
    assert!(!plausible(16_385, kind::DATA, 1, 7));
    assert!(!plausible(5, kind::DATA, 1, 0));
    assert!(!plausible(5, kind::DATA, 1, 7 | 1 << 31));
    assert!(plausible(30, kind::HEADERS, 0x25, 1));
    assert!(!plausible(30, kind::HEADERS, 0x45, 1));
    assert!(plausible(18, kind::SETTINGS, 0, 0) && plausible(0, kind::SETTINGS, 1, 0));
    assert!(!plausible(18, kind::SETTINGS, 1, 0) && !plausible(17, kind::SETTINGS, 0, 0));
    assert!(plausible(4, kind::WINDOW_UPDATE, 0, 0) && plausible(4, kind::WINDOW_UPDATE, 0, 3));
    assert!(plausible(8, kind::PING, 1, 0) && !plausible(8, kind::PING, 1, 1));
    assert!(!plausible(8, 10, 0, 0), "frames of extensions are no proof");
}

#[test]
fn frames_begin_where_one_fills_the_piece_or_two_stand_in_a_row() {
    let check = |bytes: &[u8], size: u64, expect| {
        let behind = |end: u64| Some(Prefix::from_bytes(bytes.get(end as usize..)?));
        assert_eq!(begin(&Prefix::from_bytes(bytes), size, behind), expect);
    };
    let headers = header(40, kind::HEADERS, 4, 1);
    check(&headers, 49, true);
    check(&headers, 50, false);
    check(&headers, 9, false);
    let update =
        [header(4, kind::WINDOW_UPDATE, 0, 0), [0; 4].to_vec(), header(100, kind::DATA, 0, 1)].concat();
    check(&update, 22, true);
    check(&update, 5000, true);
    check(&update[..21], 5000, false);
    check(&header(40, kind::DATA, 0, 1), 49, true);
    assert!(!show(&Prefix::from_bytes(&header(40, kind::DATA, 0, 1)), 49, |_| None), "no body shows HTTP/2");
    check(b"", 0, false);
}

/// Copied bytes of a piece, with what is not copied as `None`.
fn copied(frames: &mut Frames, held: &mut Prefix, piece: &[u8]) -> Vec<Option<u8>> {
    let mut copied = Vec::new();
    while copied.len() < piece.len() {
        let at = copied.len();
        let part = frames.part(held, &Bytes(piece), 1 + at as u64, (piece.len() - at) as u64);
        assert!(part.size > 0 && part.captured <= part.size);
        let (shown, hidden) = piece[at..at + part.size as usize].split_at(part.captured as usize);
        copied.extend(shown.iter().map(|&byte| Some(byte)));
        copied.extend(hidden.iter().map(|_| None));
    }
    copied
}

#[test]
fn a_buffer_that_cannot_be_read_is_passed_over() {
    let (mut frames, mut held) = (Frames::START, Prefix::EMPTY);
    let piece = header(1000, kind::DATA, 0, 1);
    copied(&mut frames, &mut held, &piece);
    assert_eq!(frames.part(&mut held, &Bytes(b""), 0, 900), Part { size: 900, captured: 0 });
    assert_eq!(frames.part(&mut held, &Bytes(b""), 0, 100), Part { size: 100, captured: 0 });
    assert_eq!(frames, Frames::START);
    assert_eq!(frames.part(&mut held, &Bytes(b""), 0, 1), Part { size: 1, captured: 0 });
    assert_eq!(frames, Frames::LOST);
    frames = Frames::START;
    let fault = frames.part(&mut held, &Bytes(b""), 77, 5000);
    assert_eq!(fault, Part { size: 5000, captured: 0 });
}

#[test]
fn the_begin_of_each_body_is_copied_however_it_is_cut() {
    /// Bytes of a direction, with their payloads zero, and how many of each are copied.
    fn check(frames: &[(u32, u8)], cuts: &[usize], expect: &[usize]) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|&(length, kind)| [header(length, kind, 0, 1), std::vec![0; length as usize]].concat())
            .collect();
        let (mut state, mut held) = (Frames::START, Prefix::EMPTY);
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let mut got = Vec::new();
        for end in ends {
            got.extend(copied(&mut state, &mut held, &bytes[got.len()..end]));
        }
        let mut at = 0;
        let counts = frames.iter().map(|&(length, _)| {
            let payload = &got[at + FRAME_HEADER_BYTES..][..length as usize];
            at += FRAME_HEADER_BYTES + length as usize;
            payload.iter().flatten().count()
        });
        assert_eq!(counts.collect::<Vec<_>>(), expect, "cut at {cuts:?}");
    }
    const ALL: usize = BODY_COPIED_BYTES as usize;
    let one = [(100, kind::HEADERS), (2000, kind::DATA), (2000, kind::DATA)];
    for cuts in [&[][..], &[109], &[118], &[300], &[118, 900]] {
        check(&one, cuts, &[100, ALL, 6]);
    }
    check(&[(100, kind::HEADERS), (300, kind::DATA), (900, kind::DATA)], &[], &[100, 300, ALL - 300]);
    let two =
        [(9, kind::HEADERS), (9, kind::HEADERS), (300, kind::DATA), (300, kind::DATA), (2000, kind::DATA)];
    check(&two, &[], &[9, 9, 300, 300, 2 * ALL - 600]);
    let many: Vec<(u32, u8)> =
        [(9, kind::HEADERS)].repeat(9).into_iter().chain([(4000, kind::DATA); 2]).collect();
    check(&many, &[], &[9, 9, 9, 9, 9, 9, 9, 9, 9, 4 * ALL, 6]);
}

proptest! {
    #[test]
    fn all_is_copied_but_data_in_whatever_pieces(
        frames in prop::collection::vec((0u32..900, 0u8..12), 0..12), cuts in prop::collection::vec(0usize..6000, 0..8)
    ) {
        let mut bytes = Vec::new();
        let mut expect = Vec::new();
        for (length, kind) in frames {
            let header = header(length, kind, 0, 1);
            expect.extend(header.iter().map(|&byte| Some(byte)));
            bytes.extend(header);
            let payload = (0..length).map(|at| at as u8);
            let is_copied = (1..10).contains(&kind) || length <= DATA_WHOLE_BYTES;
            expect.extend(payload.clone().map(|byte| is_copied.then_some(byte)));
            bytes.extend(payload);
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut frames, mut held) = (Frames::START, Prefix::EMPTY);
        let mut got = Vec::new();
        for cut in cuts.windows(2).filter(|cut| cut[0] < cut[1]) {
            got.extend(copied(&mut frames, &mut held, &bytes[cut[0]..cut[1]]));
        }
        prop_assert_eq!(got.len(), expect.len());
        let mut hidden = 0;
        for (at, (got, expect)) in got.iter().zip(&expect).enumerate() {
            match (got, expect) {
                (Some(got), Some(expect)) => prop_assert_eq!(got, expect),
                // The first bytes of DATA are, and small pieces are whole.
                (Some(got), None) => prop_assert_eq!(*got, bytes[at]),
                (None, Some(_)) => prop_assert!(false, "byte {} is not copied", at),
                (None, None) => hidden += 1,
            }
        }
        prop_assert!(hidden <= bytes.len());
        prop_assert_eq!((frames.left, frames.lost), (0, 0));
    }

    #[test]
    fn any_bytes_are_taken(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8), lost: bool) {
        let (mut frames, mut held) = (if lost { Frames::LOST } else { Frames::START }, Prefix::EMPTY);
        for piece in pieces {
            prop_assert_eq!(copied(&mut frames, &mut held, &piece).len(), piece.len());
        }
    }
}
