//! Given: WebSockets with secrets in them. Gives: proof that no secret is left, and that the frames are. Refuses to know: how.

use super::*;

/// A WebSocket with a secret in each payload, in pieces of which some are cut or lost.
fn websocket(frames: &[(u8, usize)], piece: usize, fates: &[Fate], flags: u8) -> Probe {
    let mut probe = Probe::default();
    let asked = b"GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    probe.data(1, 0, flags | flag::TURN, asked, 0);
    probe.data(1, 1, flags | flag::TURN, b"HTTP/1.1 101 SECRET\r\nUpgrade: websocket\r\n\r\n", 0);
    let mut fates = fates.iter().cycle();
    for (direction, mask) in [(0, 0x80), (1, 0)] {
        let mut bytes = Vec::new();
        let mut begins = Vec::new();
        for &(first, length) in frames {
            begins.push(bytes.len() as u64);
            let size = length as u16;
            bytes.push(first);
            match length {
                0..126 => bytes.push(mask | size as u8),
                _ => bytes.extend([&[mask | 126][..], &size.to_be_bytes()].concat()),
            }
            bytes.extend(SECRET.bytes().take(if direction == 0 { 4 } else { 0 }));
            bytes.extend(SECRET.bytes().cycle().take(length));
        }
        let mut at = 0;
        for Dealt { size, captured, .. } in deal(&bytes, piece, &mut fates) {
            let flags = flags | if begins.contains(&at) { flag::FRAME } else { 0 };
            at += size;
            match captured {
                None => probe.lose(1, direction, size),
                Some(captured) => probe.data(1, direction, flags, captured, size - captured.len() as u64),
            }
        }
    }
    probe.close(1);
    probe
}

#[test]
fn of_frames_the_headers_stay() {
    let probe = websocket(&[(0x81, 6), (0x89, 0), (0x82, 130)], 1000, &[Fate::Kept], flag::FROM_START);
    let redacted = redact(&probe.records);
    let payload = |at: usize| Record::decode(&redacted[at]).expect("a record").payload;
    let x = |count: usize| "x".repeat(count).into_bytes();
    let masked = [b"\x81\x86", &x(10)[..], b"\x89\x80", &x(4), b"\x82\xfe\0\x82", &x(134)].concat();
    assert_eq!(payload(2), masked);
    assert_eq!(payload(3), [b"\x81\x06", &x(6)[..], b"\x89\0\x82\x7e\0\x82", &x(130)].concat());
    let told = told(&redacted);
    assert!(told.last().is_some_and(|summary| summary.contains("\"data_frames\":2")), "{told:?}");
}

proptest! {
    #[test]
    fn frames_stay_and_no_secret_does(
        frames in proptest::collection::vec(
            (prop_oneof![8 => Just(0x81u8), 2 => Just(0x02), 2 => Just(0x80), 1 => any::<u8>()], 0usize..300),
            1..20,
        ),
        piece in 1usize..400,
        fates in proptest::collection::vec(fate(), 1..40),
        from_start: bool,
    ) {
        let probe = websocket(&frames, piece, &fates, if from_start { flag::FROM_START } else { 0 });
        let redacted = redact(&probe.records);
        prop_assert_eq!(shows_secret(&redacted), None);
        prop_assert_eq!(told(&redacted), told(&probe.records));
    }
}
