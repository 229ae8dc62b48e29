//! Given: how the body of a message is framed, then its bytes and gaps. Gives: how many payload bytes it has, and
//! where it ends. Refuses to know: what the payload is.

use memchr::memchr;

/// A body that is under way (RFC 9112 §6 and §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    framing: Framing,
    payload_bytes: u64,
}

/// What bytes did to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of them belong to the body, and it goes on.
    UnderWay,
    /// So many of them belong to the body, and it is over.
    Done(usize),
    /// They break the rules of the chunked coding: where the body ends is not known.
    Broken,
}

/// What a gap did to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// All of it is payload, and the body goes on.
    UnderWay,
    /// The body is over, and the gap goes on for so many bytes.
    Done(u64),
    /// It hides framing: where the body ends is not known.
    Lost,
}

/// What stands next in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes of payload, or more.
    Payload(u64),
    /// The size of a chunk, or what ends it.
    Size,
    /// Line ends, and text that frames nothing: chunk extensions and trailers.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many payload bytes are to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// Where in the chunked coding (RFC 9112 §7.1) the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    /// In a chunk's size, after so many digits.
    Size { digits: u8, size: u64 },
    /// Behind a chunk's size, in its extension or line end.
    Extension { size: u64 },
    /// Before so many bytes of a chunk's data.
    Data { left: u64 },
    /// Behind a chunk's data, before its line end.
    DataEnd,
    /// Behind the CR of that line end.
    DataEndCr,
    /// At the beginning of a line of the trailer section; an empty one ends the body.
    TrailerStart,
    /// Behind a CR at the beginning of such a line.
    TrailerStartCr,
    /// Inside such a line.
    Trailer,
}

/// Hexadecimal digits of a chunk's size that are read; with 16 a `u64` is full.
const SIZE_DIGITS_MAX: u8 = 16;

const NO_SIZE: Chunked = Chunked::Size { digits: 0, size: 0 };

impl Body {
    /// A body of so many bytes; at least one, for a body of none is over before it begins.
    pub fn with_length(bytes: u64) -> Self {
        Body { framing: Framing::Length(bytes), payload_bytes: 0 }
    }

    /// A body in the chunked coding.
    pub fn chunked() -> Self {
        Body { framing: Framing::Chunked(NO_SIZE), payload_bytes: 0 }
    }

    /// The body of a response that ends with the connection.
    pub fn until_close() -> Self {
        Body { framing: Framing::UntilClose, payload_bytes: 0 }
    }

    /// Payload bytes so far, without chunk framing and trailers.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// True when the end of the connection is the end of the body.
    pub fn is_until_close(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// What the next bytes are part of, and how many of `available` ones. Of framing it is one at a time: only reading it
    /// shows where it ends.
    pub fn next_part(&self, available: usize) -> (Part, usize) {
        let part = self.part();
        match part {
            Part::Payload(left) => (part, usize::try_from(left).unwrap_or(usize::MAX).min(available)),
            Part::Size | Part::Text => (part, available.min(1)),
        }
    }

    fn part(&self) -> Part {
        match self.framing {
            Framing::UntilClose => Part::Payload(u64::MAX),
            Framing::Length(left) | Framing::Chunked(Chunked::Data { left }) => Part::Payload(left),
            Framing::Chunked(Chunked::Size { .. }) => Part::Size,
            Framing::Chunked(_) => Part::Text,
        }
    }

    /// Takes the bytes of the body from the front of `bytes`.
    pub fn take(&mut self, bytes: &[u8]) -> Taken {
        match self.framing {
            Framing::UntilClose => {
                self.count(bytes.len() as u64);
                Taken::UnderWay
            }
            Framing::Length(left) => {
                let used = left.min(bytes.len() as u64);
                self.count(used);
                self.framing = Framing::Length(left - used);
                if used == left { Taken::Done(used as usize) } else { Taken::UnderWay }
            }
            Framing::Chunked(at) => self.take_chunked(at, bytes),
        }
    }

    /// Takes a gap: it is exact where every byte of it is payload of a known length.
    pub fn skip(&mut self, gap: u64) -> Skipped {
        match self.framing {
            Framing::UntilClose => self.count(gap),
            Framing::Length(left) if gap >= left => {
                self.count(left);
                return Skipped::Done(gap - left);
            }
            Framing::Length(left) => {
                self.count(gap);
                self.framing = Framing::Length(left - gap);
            }
            Framing::Chunked(Chunked::Data { left }) if gap <= left => {
                self.count(gap);
                self.framing = Framing::Chunked(after_data(left - gap));
            }
            Framing::Chunked(_) => return Skipped::Lost,
        }
        Skipped::UnderWay
    }

    fn take_chunked(&mut self, mut at: Chunked, bytes: &[u8]) -> Taken {
        let mut rest = bytes;
        while let [byte, behind @ ..] = rest {
            let mut next = behind;
            at = match (at, byte) {
                (Chunked::Size { digits, size }, byte) => match (char::from(*byte).to_digit(16), byte) {
                    (Some(_), _) if digits == SIZE_DIGITS_MAX => return Taken::Broken,
                    (Some(digit), _) => {
                        Chunked::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
                    }
                    (None, b';' | b' ' | b'\t' | b'\r' | b'\n') if digits > 0 => {
                        next = rest;
                        Chunked::Extension { size }
                    }
                    (None, _) => return Taken::Broken,
                },
                (Chunked::Extension { size }, _) => match memchr(b'\n', rest) {
                    None => {
                        next = &[];
                        at
                    }
                    Some(line_end) => {
                        next = rest.get(line_end + 1..).unwrap_or_default();
                        if size == 0 { Chunked::TrailerStart } else { Chunked::Data { left: size } }
                    }
                },
                (Chunked::Data { left }, _) => {
                    let used = left.min(rest.len() as u64);
                    self.count(used);
                    next = rest.get(used as usize..).unwrap_or_default();
                    after_data(left - used)
                }
                (Chunked::DataEnd, b'\r') => Chunked::DataEndCr,
                (Chunked::DataEnd | Chunked::DataEndCr, b'\n') => NO_SIZE,
                (Chunked::DataEnd | Chunked::DataEndCr, _) => return Taken::Broken,
                (Chunked::TrailerStart, b'\r') => Chunked::TrailerStartCr,
                (Chunked::TrailerStart | Chunked::TrailerStartCr, b'\n') => {
                    return Taken::Done(bytes.len() - behind.len());
                }
                (Chunked::TrailerStart | Chunked::TrailerStartCr | Chunked::Trailer, _) => {
                    match memchr(b'\n', rest) {
                        None => {
                            next = &[];
                            Chunked::Trailer
                        }
                        Some(line_end) => {
                            next = rest.get(line_end + 1..).unwrap_or_default();
                            Chunked::TrailerStart
                        }
                    }
                }
            };
            rest = next;
        }
        self.framing = Framing::Chunked(at);
        Taken::UnderWay
    }

    /// Saturates: a peer may claim lengths whose sum no integer holds.
    fn count(&mut self, payload: u64) {
        self.payload_bytes = self.payload_bytes.saturating_add(payload);
    }
}

fn after_data(left: u64) -> Chunked {
    if left == 0 { Chunked::DataEnd } else { Chunked::Data { left } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces of `size` and gives the verdict: payload bytes and used bytes, or why there is none.
    fn read(mut body: Body, stream: &[u8], size: usize) -> String {
        let mut used = 0;
        for piece in stream.chunks(size) {
            match body.take(piece) {
                Taken::UnderWay => used += piece.len(),
                Taken::Done(last) => return format!("{} payload in {}", body.payload_bytes(), used + last),
                Taken::Broken => return "broken".into(),
            }
        }
        format!("{} payload so far", body.payload_bytes())
    }

    fn check(body: Body, stream: &str, expect: &str) {
        for size in 1..=stream.len() {
            assert_eq!(read(body.clone(), stream.as_bytes(), size), expect, "{stream:?} in pieces of {size}");
        }
    }

    #[test]
    fn length_and_close() {
        check(Body::with_length(3), "abcdef", "3 payload in 3");
        check(Body::with_length(9), "abcdef", "6 payload so far");
        check(Body::until_close(), "abcdef", "6 payload so far");
    }

    #[test]
    fn chunks_count_payload_only() {
        check(Body::chunked(), "3\r\nabc\r\n0\r\n\r\nGET", "3 payload in 13");
        check(Body::chunked(), "3\nabc\n00\n\nGET", "3 payload in 10");
        check(
            Body::chunked(),
            "A;name=\"v\"\r\n0123456789\r\nb \r\n0123456789a\r\n0\r\n\r\n",
            "21 payload in 46",
        );
        check(Body::chunked(), "1\r\na\r\n0;last\r\nT: 1\r\nUnd\r\rer: 2\r\n\r\n!", "1 payload in 34");
        check(Body::chunked(), "3\r\nabc\r\n0\r\nT: 1\r\n", "3 payload so far");
        check(Body::chunked(), "000000000000000f\r\nab", "2 payload so far");
    }

    #[test]
    fn broken_chunks() {
        for stream in
            ["\r\n", "x\r\n", ";a\r\n", "-1\r\n", "3\r\nabcd", "3\r\nabc\rd", "00000000000000001\r\n"]
        {
            check(Body::chunked(), stream, "broken");
        }
    }

    #[test]
    fn gaps_in_payload_are_exact_and_gaps_over_framing_are_not() {
        let check = |mut body: Body, before: &[u8], gap, expect, payload| {
            assert_eq!(body.take(before), Taken::UnderWay);
            assert_eq!(body.skip(gap), expect);
            assert_eq!(body.payload_bytes(), payload);
        };
        check(Body::with_length(9), b"ab", 6, Skipped::UnderWay, 8);
        check(Body::with_length(9), b"ab", 7, Skipped::Done(0), 9);
        check(Body::with_length(9), b"ab", 10, Skipped::Done(3), 9);
        check(Body::until_close(), b"ab", 10, Skipped::UnderWay, 12);
        check(Body::chunked(), b"9\r\nab", 7, Skipped::UnderWay, 9);
        check(Body::chunked(), b"9\r\nab", 8, Skipped::Lost, 2);
        check(Body::chunked(), b"9\r\n", 1, Skipped::UnderWay, 1);
        check(Body::chunked(), b"9\r", 1, Skipped::Lost, 0);
        check(Body::chunked(), b"1\r\na", 1, Skipped::Lost, 1);
        check(Body::chunked(), b"0\r\n", 1, Skipped::Lost, 0);
    }

    /// The same grammar read the slow way, over the whole text.
    fn reference(stream: &[u8]) -> Option<(u64, usize)> {
        let text: String = stream.iter().map(|&byte| char::from(byte)).collect();
        let (mut at, mut payload) = (0, 0);
        loop {
            let line = text[at..].find("\r\n")?;
            let size = text[at..at + line].split(';').next()?.trim_end();
            let size = usize::from_str_radix(size, 16).ok()?;
            at += line + 2;
            if size == 0 {
                break;
            }
            payload += size as u64;
            at += size + 2;
        }
        loop {
            let line = text[at..].find("\r\n")?;
            at += line + 2;
            if line == 0 {
                return Some((payload, at));
            }
        }
    }

    proptest! {
        #[test]
        fn chunks_agree_with_the_reference(
            chunks in proptest::collection::vec(("[a-z]{1,40}", "(;[a-z]{0,4}(=[a-z]{0,4})?)?"), 0..6),
            trailers in proptest::collection::vec("[a-z]{1,8}: [a-z ]{0,8}", 0..3),
            size in 1usize..20,
        ) {
            let mut stream = String::new();
            for (data, extension) in &chunks {
                stream += &format!("{:x}{extension}\r\n{data}\r\n", data.len());
            }
            stream += "0\r\n";
            for trailer in &trailers {
                stream += &format!("{trailer}\r\n");
            }
            stream += "\r\nHTTP/1.1";
            let (payload, used) = reference(stream.as_bytes()).expect("a whole body");
            prop_assert_eq!(read(Body::chunked(), stream.as_bytes(), size), format!("{payload} payload in {used}"));
        }

        #[test]
        fn pieces_change_nothing(stream in "[012a;\r\n]{0,30}", size in 1usize..5) {
            let whole = read(Body::chunked(), stream.as_bytes(), stream.len().max(1));
            prop_assert_eq!(read(Body::chunked(), stream.as_bytes(), size), whole);
        }
    }
}
