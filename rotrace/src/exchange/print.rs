//! Given: a body as it goes by. Gives: a number of its first bytes, to see whether two bodies are the same. Refuses to know:
//! the rest of it, and to keep any of it.

use super::signals::Fingerprint;
use crate::http::h1::body::{Body, Part, Taken};
use crate::keyed::{Key, Running};

/// Bytes that a fingerprint is made of. Most answers of an API are not longer; of those that are, length and first bytes
/// tell most changes, and the capture credit carries them in one record.
pub const FINGERPRINT_BYTES: u32 = 512;

/// The fingerprint of a body that goes by; by default of one that nobody compares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Print {
    /// `None` when nobody compares the body, or some of its first bytes were not seen.
    running: Option<Running>,
}

impl Print {
    /// At the begin of a body.
    pub(super) fn new(key: &Key) -> Self {
        Print { running: Some(key.running()) }
    }

    /// Takes the next bytes of a body, which is as it was before them.
    pub(super) fn take(&mut self, body: &Body, bytes: &[u8]) {
        if self.wants_more() {
            payload(body, bytes, |part| {
                self.write(part);
                self.wants_more()
            });
        }
    }

    /// Takes the next bytes of a payload.
    pub(super) fn write(&mut self, payload: &[u8]) {
        let Some(running) = &mut self.running else { return };
        let room = FINGERPRINT_BYTES.saturating_sub(running.bytes()) as usize;
        running.write(payload.get(..room).unwrap_or(payload));
    }

    fn wants_more(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.bytes() < FINGERPRINT_BYTES)
    }

    /// Some bytes of the body were not seen.
    pub(super) fn skip(&mut self) {
        self.running = self.running.filter(|running| running.bytes() >= FINGERPRINT_BYTES);
    }

    /// The fingerprint of a body that is over and had so many bytes.
    pub(super) fn finish(&self, payload_bytes: u64) -> Option<Fingerprint> {
        let running = self.running.filter(|_| payload_bytes > 0)?;
        Some(Fingerprint { hash: running.finish(), is_whole: u64::from(running.bytes()) == payload_bytes })
    }
}

/// Hands on what of `bytes` is payload of a body, which is as it was before them, as long as more is wanted.
pub(super) fn payload(body: &Body, mut bytes: &[u8], mut wants_more: impl FnMut(&[u8]) -> bool) {
    let mut body = body.clone();
    while !bytes.is_empty() {
        let (part, length) = body.next_part(bytes.len());
        let (now, rest) = bytes.split_at(length.max(1));
        let is_enough = matches!(part, Part::Payload(_)) && !wants_more(now);
        if is_enough || body.take(now) != Taken::UnderWay {
            return;
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn print(mut body: Body, pieces: &[&[u8]]) -> Option<Fingerprint> {
        let mut print = Print::new(&Key::default());
        for piece in pieces {
            print.take(&body, piece);
            body.take(piece);
        }
        print.finish(body.payload_bytes())
    }

    #[test]
    fn framing_is_no_part_of_it() {
        let plain = print(Body::with_length(5), &[b"hello"]);
        assert_eq!(print(Body::chunked(), &[b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"]), plain);
        assert_eq!(print(Body::until_close(), &[b"hello"]), plain);
        assert!(plain.is_some_and(|print| print.is_whole));
        assert_ne!(print(Body::with_length(5), &[b"hellO"]), plain);
    }

    #[test]
    fn only_the_first_bytes_count() {
        let long = |last: u8| {
            let mut bytes = vec![b'a'; 2 * FINGERPRINT_BYTES as usize];
            bytes.push(last);
            print(Body::until_close(), &[&bytes]).expect("a fingerprint")
        };
        assert_eq!(long(b'a'), long(b'b'));
        assert!(!long(b'a').is_whole);
    }

    #[test]
    fn what_was_not_seen_has_none() {
        let mut print = Print::new(&Key::default());
        print.take(&Body::until_close(), b"begin");
        print.skip();
        assert_eq!(print.finish(9), None);
        assert_eq!(Print::default().finish(9), None);
        assert_eq!(Print::new(&Key::default()).finish(0), None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(payload in prop::collection::vec(any::<u8>(), 1..1200), cut in 0..1200usize) {
            let cut = cut.min(payload.len());
            let whole = print(Body::until_close(), &[&payload]);
            prop_assert_eq!(print(Body::until_close(), &[&payload[..cut], &payload[cut..]]), whole);
            let chunked = [format!("{cut:x}\r\n").as_bytes(), &payload[..cut], b"\r\n"].concat();
            let rest = [format!("{:x}\r\n", payload.len() - cut).as_bytes(), &payload[cut..], b"\r\n0\r\n\r\n"].concat();
            if cut > 0 && cut < payload.len() {
                prop_assert_eq!(print(Body::chunked(), &[&chunked, &rest]), whole);
            }
        }
    }
}
