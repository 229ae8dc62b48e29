//! Given: the first bytes of one direction of a stream. Gives: which protocol they begin, or that more bytes are
//! needed to say. Refuses to know: the rest of the stream, and whether the protocol is spoken correctly.

use crate::limits::{LINE_ENDS_MAX, PREFIX_BYTES, PREFIX_WORDS};

/// What the first bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Beginning {
    /// No protocol that is traced.
    Other = 0,
    /// Every byte fits some protocol, but there are too few of them.
    Unfinished = 1,
    /// The method and the first byte of the target of an HTTP/1 request line (RFC 9112 §3).
    Request = 2,
    /// `HTTP/1.` of a status line (RFC 9112 §4).
    Response = 3,
    /// The client preface of HTTP/2 (RFC 9113 §3.4).
    Http2 = 4,
    /// A TLS handshake record that begins with a ClientHello (RFC 8446 §4).
    ClientHello = 5,
    /// Another TLS record.
    Tls = 6,
    /// A SETTINGS frame, which is what a server of HTTP/2 sends first (RFC 9113 §3.4).
    Http2Server = 7,
}

impl Beginning {
    /// The one of this number.
    #[inline(always)]
    pub const fn of(number: u8) -> Beginning {
        match number {
            1 => Beginning::Unfinished,
            2 => Beginning::Request,
            3 => Beginning::Response,
            4 => Beginning::Http2,
            5 => Beginning::ClientHello,
            6 => Beginning::Tls,
            7 => Beginning::Http2Server,
            _ => Beginning::Other,
        }
    }
}

/// The first bytes of a direction as three little-endian words; what stands behind their length is 0.
///
/// Words and arithmetic in place of bytes and branches: a branch for each byte would multiply the paths that the
/// verifier has to walk by thousands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Prefix {
    words: [u64; PREFIX_WORDS],
    length: u32,
    reserved: u32,
}

const WORD_BYTES: usize = 8;
const HTTP2_PREFACE: [u64; PREFIX_WORDS] = [
    u64::from_le_bytes(*b"PRI * HT"),
    u64::from_le_bytes(*b"TP/2.0\r\n"),
    u64::from_le_bytes(*b"\r\nSM\r\n\r\n"),
];
const STATUS_LINE: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
const STATUS_LINE_BYTES: usize = 7;
/// Behind `HTTP/1.1`.
const SWITCHING: u64 = u64::from_le_bytes(*b" 101\0\0\0\0");
const SWITCHING_BYTES: usize = 4;
/// Longest method that is recognised; the registry's longest is `UPDATEREDIRECTREF`.
const METHOD_BYTES: usize = 17;

impl Prefix {
    /// No bytes yet.
    pub const EMPTY: Prefix = Prefix { words: [0; 3], length: 0, reserved: 0 };

    /// The `length` first bytes of `words` as they stand in memory, which are 0 behind them.
    #[inline(always)]
    pub fn of(words: [u64; PREFIX_WORDS], length: usize) -> Prefix {
        let [a, b, c] = words;
        Prefix {
            words: [u64::from_le(a), u64::from_le(b), u64::from_le(c)],
            length: length as u32,
            reserved: 0,
        }
    }

    /// The first bytes of `bytes`; for user space.
    pub fn from_bytes(bytes: &[u8]) -> Prefix {
        let mut words = [0; PREFIX_WORDS];
        for (word, part) in words.iter_mut().zip(bytes.chunks(WORD_BYTES)) {
            let mut whole = [0; WORD_BYTES];
            whole.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            *word = u64::from_ne_bytes(whole);
        }
        Prefix::of(words, if bytes.len() < PREFIX_BYTES { bytes.len() } else { PREFIX_BYTES })
    }

    /// How many bytes there are.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The bytes, as little-endian words.
    #[inline(always)]
    pub fn words(&self) -> [u64; PREFIX_WORDS] {
        self.words
    }

    /// What stands behind the first `passed` bytes, at most two words of it: enough for the header of a frame.
    #[inline(always)]
    pub fn behind(&self, passed: usize) -> Prefix {
        let bits = (passed % WORD_BYTES * 8) as u64;
        // `<< 1 << (63 - bits)` is `<< (64 - bits)` that is also right, and 0, for no bits.
        let carry = |word: u64| word << 1 << (63 - bits);
        let [a, b, c] = self.words;
        let [a, b, c] = match passed / WORD_BYTES {
            0 => [a, b, c],
            1 => [b, c, 0],
            2 => [c, 0, 0],
            _ => [0, 0, 0],
        };
        Prefix {
            words: [a >> bits | carry(b), b >> bits | carry(c), 0],
            length: self.length.saturating_sub(passed as u32),
            reserved: 0,
        }
    }

    /// The same number, of which the verifier knows nothing any more, for it has been in the map that this is kept in. A
    /// number that decides how much is read must be exact, and with it all that it was made of: then no two ways are alike.
    #[inline(always)]
    pub fn forgotten(&mut self, number: u32) -> u32 {
        self.reserved = number;
        core::hint::black_box(self).reserved
    }

    /// True when there are no bytes.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first byte behind the line ends that are passed over; 0 when there is none.
    #[inline(always)]
    pub fn first(&self) -> u8 {
        let ([word, _, _], _, _) = self.behind_line_ends();
        word as u8
    }

    /// The bytes behind the line ends before a start line, how many they are, and how many line ends were passed over.
    #[inline(always)]
    fn behind_line_ends(&self) -> ([u64; PREFIX_WORDS], usize, usize) {
        let [a, b, c] = self.words;
        let ends = line_ends(a);
        // A run: each is passed over only if all before it are.
        let first = ends & 1;
        let second = first & ends >> 8;
        let third = second & ends >> 16;
        let passed = first + second + third + (third & ends >> 24);
        let bits = passed * 8;
        // `<< 1 << (63 - bits)` is `<< (64 - bits)` that is also right, and 0, for no bits.
        let carry = |word: u64| word << 1 << (63 - bits);
        let length = (self.length as u64).saturating_sub(passed);
        ([a >> bits | carry(b), b >> bits | carry(c), c >> bits], length as usize, passed as usize)
    }

    /// These bytes and `more` behind them, as far as there is room.
    #[inline(always)]
    pub fn join(&self, more: &Prefix) -> Prefix {
        let held = self.length as usize;
        let bits = (held % WORD_BYTES * 8) as u64;
        // `>> 1 >> (63 - bits)` is `>> (64 - bits)` that is also right, and 0, for no bits.
        let carry = |word: u64| word >> 1 >> (63 - bits);
        let [x, y, z] = more.words;
        let shifted = [x << bits, y << bits | carry(x), z << bits | carry(y)];
        let [a, b, c] = self.words;
        let [p, q, r] = shifted;
        let words = match held / WORD_BYTES {
            0 => [a | p, b | q, c | r],
            1 => [a, b | p, c | q],
            2 => [a, b, c | p],
            _ => [a, b, c],
        };
        let length = self.length + more.length;
        Prefix {
            words,
            length: if length < PREFIX_BYTES as u32 { length } else { PREFIX_BYTES as u32 },
            reserved: 0,
        }
    }

    /// True when they begin as the client preface of HTTP/2 does, as far as its first word.
    #[inline(always)]
    pub fn begins_http2(&self) -> bool {
        self.words[0] == HTTP2_PREFACE[0]
    }

    /// True when they are a status line that says `101` (RFC 9110 §15.2.2): what follows is another protocol.
    #[inline(always)]
    pub fn is_switching_protocols(&self) -> bool {
        let [a, b, _] = self.words;
        begins(a, STATUS_LINE, WORD_BYTES, STATUS_LINE_BYTES)
            && begins(b, SWITCHING, WORD_BYTES, SWITCHING_BYTES)
    }

    /// What these bytes begin.
    ///
    /// A request begins with a letter, as every registered method does, up to 16 more visible characters and a space;
    /// the target then begins with `/`, `*`, a letter (absolute-form, authority-form), a digit or `[` (authority-form).
    /// That is wider than RFC 9110 §5.6.2 allows: user space reads the whole line and has the socket ignored if it is
    /// none.
    ///
    /// A server ignores at least one empty line before a request line (RFC 9112 §2.2), and some clients end a body with
    /// one; so do these rules with up to [`LINE_ENDS_MAX`] line ends before a start line of HTTP/1, and of nothing else.
    #[inline(always)]
    pub fn beginning(&self) -> Beginning {
        let (words, length, passed) = self.behind_line_ends();
        let [a, b, c] = words;
        if length == 0 {
            return Beginning::Unfinished;
        }
        let first = a as u8;
        if passed > 0 && !first.is_ascii_alphabetic() {
            return Beginning::Other;
        }
        if (0x14..=0x17).contains(&first) {
            return tls(a, length);
        }
        if begins(a, STATUS_LINE, length, STATUS_LINE_BYTES) {
            return if length >= STATUS_LINE_BYTES { Beginning::Response } else { Beginning::Unfinished };
        }
        if first == 0 && passed == 0 {
            return http2_server([a, b], length);
        }
        let [pa, pb, pc] = HTTP2_PREFACE;
        if passed == 0
            && begins(a, pa, length, 8)
            && begins(b, pb, length.saturating_sub(8), 8)
            && begins(c, pc, length.saturating_sub(16), 8)
        {
            return if length >= PREFIX_BYTES { Beginning::Http2 } else { Beginning::Unfinished };
        }
        if !first.is_ascii_alphabetic() {
            return Beginning::Other;
        }
        request(words, length)
    }
}

/// True when the first `length` bytes of `word`, at most `most`, are those of `pattern`.
#[inline(always)]
fn begins(word: u64, pattern: u64, length: usize, most: usize) -> bool {
    let bytes = if length < most { length } else { most };
    (word ^ pattern) & below(bytes) == 0
}

/// A mask of the lowest `bytes` bytes of a word.
#[inline(always)]
fn below(bytes: usize) -> u64 {
    if bytes >= WORD_BYTES { u64::MAX } else { (1 << (bytes * 8)) - 1 }
}

/// A TLS record: type, version 3.0 to 3.4, a length of 1 to 2^14 + 2048 bytes (RFC 5246 §6.2.3), first payload byte.
#[inline(always)]
fn tls(word: u64, length: usize) -> Beginning {
    let [kind, major, minor, high, low, message, _, _] = word.to_le_bytes();
    if length >= 2 && major != 3 || length >= 3 && minor > 4 {
        return Beginning::Other;
    }
    if length < 6 {
        return Beginning::Unfinished;
    }
    let record = (high as u16) << 8 | low as u16;
    if record == 0 || record > 16384 + 2048 {
        return Beginning::Other;
    }
    if kind == 0x16 && message == 1 { Beginning::ClientHello } else { Beginning::Tls }
}

/// The header of a SETTINGS frame of at most 42 settings, of which RFC 9113 has 6: two zeroes, a multiple of 6, type 4, and
/// zeroes for flags and stream.
#[inline(always)]
fn http2_server([a, b]: [u64; 2], length: usize) -> Beginning {
    const SIZE: u64 = 0xff << 16;
    const SETTINGS: u64 = 4 << 24;
    let size = (a & SIZE) >> 16;
    // Behind the bytes that there are, the words are 0.
    if !begins(a & !SIZE, SETTINGS, length, WORD_BYTES) || b as u8 != 0 || !size.is_multiple_of(6) {
        return Beginning::Other;
    }
    if length > WORD_BYTES { Beginning::Http2Server } else { Beginning::Unfinished }
}

/// A method, a space and the first byte of a target. `words` begins with a letter.
#[inline(always)]
fn request(words: [u64; PREFIX_WORDS], length: usize) -> Beginning {
    let [a, b, c] = words;
    // The word in which the first byte stands that is not visible: a space ends a method, a 0 the bytes there are.
    let (word, next, index) = if invisible(a) != 0 {
        (a, b, 0)
    } else if invisible(b) != 0 {
        (b, c, 1)
    } else {
        (c, 0, 2)
    };
    let end = invisible(word);
    let end = end & end.wrapping_neg();
    let known = length.saturating_sub(index * WORD_BYTES);
    if end & (below(known) & 0x8080_8080_8080_8080) == 0 {
        // No end within the bytes there are.
        return if length <= METHOD_BYTES { Beginning::Unfinished } else { Beginning::Other };
    }
    // `end` is the top bit of its byte; the byte itself must be a space, and not behind the longest method.
    let unit = end >> 7;
    if shifted(word, unit) != b' ' || index == 2 && unit > 1 << 8 {
        return Beginning::Other;
    }
    let last = unit == 1 << 56;
    if known < WORD_BYTES && unit << 8 > below(known) || last && known <= WORD_BYTES {
        return Beginning::Unfinished;
    }
    let target = if last { next as u8 } else { shifted(word, unit << 8) };
    let fits = target == b'/' || target == b'*' || target == b'[' || target.is_ascii_alphanumeric();
    if fits { Beginning::Request } else { Beginning::Other }
}

/// The lowest byte of `word` after a shift right by the one bit of `unit`; 0 when it has none, which no caller passes.
#[inline(always)]
fn shifted(word: u64, unit: u64) -> u8 {
    match word.checked_div(unit) {
        Some(word) => word as u8,
        None => 0,
    }
}

/// Marks CR and LF among the first [`LINE_ENDS_MAX`] bytes by their lowest bit.
#[inline(always)]
fn line_ends(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f;
    const ONES: u64 = 0x0101_0101;
    const { assert!(LINE_ENDS_MAX == size_of::<u32>()) };
    // The top bit of each byte of `word` that is 0. Exact for every byte: no sum carries into the next.
    let zeroes = |word: u64| !(((word & LOW) + LOW) | word | LOW) & (ONES << 7);
    (zeroes(word ^ (ONES * b'\r' as u64)) | zeroes(word ^ (ONES * b'\n' as u64))) >> 7
}

/// Marks bytes that are not visible ASCII by their top bit. Borrows and carries reach only bytes above the lowest marked
/// one, so that one is exact.
#[inline(always)]
fn invisible(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    (word.wrapping_sub(ONES * 0x21) | word | word.wrapping_add(ONES)) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    /// The same rules, byte by byte.
    fn reference(bytes: &[u8]) -> Beginning {
        let bytes = &bytes[..bytes.len().min(PREFIX_BYTES)];
        let passed = bytes.iter().take(LINE_ENDS_MAX).take_while(|byte| b"\r\n".contains(byte)).count();
        let bytes = &bytes[passed..];
        let Some(&first) = bytes.first() else { return Beginning::Unfinished };
        if passed > 0 && !first.is_ascii_alphabetic() {
            return Beginning::Other;
        }
        if (0x14..=0x17).contains(&first) {
            if bytes.get(1).is_some_and(|&b| b != 3) || bytes.get(2).is_some_and(|&b| b > 4) {
                return Beginning::Other;
            }
            let Some(&message) = bytes.get(5) else { return Beginning::Unfinished };
            return match u16::from_be_bytes([bytes[3], bytes[4]]) {
                1..=18432 if first == 0x16 && message == 1 => Beginning::ClientHello,
                1..=18432 => Beginning::Tls,
                _ => Beginning::Other,
            };
        }
        if first == 0 && passed == 0 {
            let fits = |at: usize, byte: u8| match at {
                2 => byte.is_multiple_of(6),
                3 => byte == 4,
                _ => byte == 0,
            };
            if !bytes.iter().take(9).enumerate().all(|(at, &byte)| fits(at, byte)) {
                return Beginning::Other;
            }
            return if bytes.len() < 9 { Beginning::Unfinished } else { Beginning::Http2Server };
        }
        for (pattern, whole) in
            [(&b"HTTP/1."[..], Beginning::Response), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Beginning::Http2)]
        {
            let common = bytes.len().min(pattern.len());
            if bytes[..common] == pattern[..common] && (passed == 0 || whole == Beginning::Response) {
                return if common == pattern.len() { whole } else { Beginning::Unfinished };
            }
        }
        if !first.is_ascii_alphabetic() {
            return Beginning::Other;
        }
        let method = bytes.iter().take_while(|byte| (0x21..=0x7e).contains(*byte)).count();
        match (bytes.get(method), bytes.get(method + 1)) {
            (None, _) if method <= METHOD_BYTES => Beginning::Unfinished,
            (Some(b' '), None) if method <= METHOD_BYTES => Beginning::Unfinished,
            (Some(b' '), Some(target)) if method <= METHOD_BYTES => {
                if target.is_ascii_alphanumeric() || b"/*[".contains(target) {
                    Beginning::Request
                } else {
                    Beginning::Other
                }
            }
            _ => Beginning::Other,
        }
    }

    #[test]
    fn beginnings_are_recognised() {
        let check =
            |bytes: &[u8], expect| assert_eq!(Prefix::from_bytes(bytes).beginning(), expect, "{bytes:?}");
        check(b"GET / HTTP/1.1\r\n", Beginning::Request);
        check(b"M-SEARCH * HTTP/1.1", Beginning::Request);
        check(b"OPTIONS * HTTP/1.1", Beginning::Request);
        check(b"CONNECT [::1]:443 HTTP/1.1", Beginning::Request);
        check(b"GET http://a/ HTTP/1.1", Beginning::Request);
        check(b"UPDATEREDIRECTREF /", Beginning::Request);
        check(b"UPDATEREDIRECTREFS /", Beginning::Other);
        check(b"get /", Beginning::Request);
        check(b"GET", Beginning::Unfinished);
        check(b"GET ", Beginning::Unfinished);
        check(b"PROPPATCH ", Beginning::Unfinished);
        check(b"BASELINE ", Beginning::Unfinished);
        check(b"HTTP/1.1 200 OK", Beginning::Response);
        check(b"HTTP/1", Beginning::Unfinished);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Beginning::Http2);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Beginning::Unfinished);
        check(b"PRI /calendar HTTP/1.1\r\n", Beginning::Request);
        check(b"\x16\x03\x01\x02\x00\x01", Beginning::ClientHello);
        check(b"\x17\x03\x03\x00\x20\x99", Beginning::Tls);
        check(b"\x16\x03\x01", Beginning::Unfinished);
        check(b"\x16\x04", Beginning::Other);
        check(b"\r\nGET / HTTP/1.1\r\n", Beginning::Request);
        check(b"\r\n\r\nUPDATEREDIRECTREF /", Beginning::Request);
        check(b"\r\n\r\nUPDATEREDIRECTREFS /", Beginning::Other);
        check(b"\nGET / HTTP/1.1\r\n", Beginning::Request);
        check(b"\r\n\r\n\nGET / HTTP/1.1\r\n", Beginning::Other);
        check(b"\r\n", Beginning::Unfinished);
        check(b"\r\n\r\n", Beginning::Unfinished);
        check(b"\r\nGET", Beginning::Unfinished);
        check(b"\r\nHTTP/1.1 200 OK", Beginning::Response);
        check(b"\r\n\x16\x03\x01\x02\x00\x01", Beginning::Other);
        check(b"\r\n220 mail", Beginning::Other);
        check(b"PING\r\n", Beginning::Other);
        check(b"\x00\x01\x02", Beginning::Other);
        check(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", Beginning::Http2Server);
        check(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", Beginning::Http2Server);
        check(b"\x00\x00\x12\x04\x00\x00\x00\x00", Beginning::Unfinished);
        check(b"\x00\x00\x12\x04\x01", Beginning::Other);
        check(b"\x00\x00\x13", Beginning::Other);
        check(b"\x00\x00\x12\x05", Beginning::Other);
        check(b"\x00", Beginning::Unfinished);
        check(b"{\"a\": 1}", Beginning::Other);
        check(b"", Beginning::Unfinished);
    }

    proptest! {
        #[test]
        fn words_say_what_bytes_say(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            "[A-Za-z!-~]{1,19} ?[/a*\\[-]?.{0,8}".prop_map(String::into_bytes),
            "[\\x14-\\x17]\\x03[\\x00-\\x05].{0,6}".prop_map(String::into_bytes),
            "(HTTP/1[.]1|PRI [*] HTTP/2[.]0\\r\\n\\r\\nSM\\r\\n\\r\\n).{0,4}".prop_map(String::into_bytes),
            "[\\r\\n]{0,6}(HTTP/1[.]1|[A-Z]{1,18} ?[/a*-]?|PRI [*] HTTP/2).{0,4}".prop_map(String::into_bytes),
            "\\x00\\x00[\\x00\\x06\\x0c\\x12\\x13]\\x04\\x00{3,6}[\\x00\\x01]{0,3}".prop_map(String::into_bytes),
        ], cut in 0usize..30) {
            let bytes = &bytes[..bytes.len().min(cut)];
            prop_assert_eq!(Prefix::from_bytes(bytes).beginning(), reference(bytes));
        }

        #[test]
        fn what_is_behind_is_the_rest(bytes in proptest::collection::vec(any::<u8>(), 0..30), passed in 0usize..30) {
            let whole = Prefix::from_bytes(&bytes);
            let rest = bytes[..whole.length()].get(passed..).unwrap_or_default();
            let behind = whole.behind(passed);
            prop_assert_eq!(behind.length(), rest.len());
            prop_assert_eq!(behind.words()[..2].to_vec(), Prefix::from_bytes(rest).words()[..2].to_vec());
        }

        #[test]
        fn joined_bytes_are_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), cuts in proptest::collection::vec(0usize..40, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let joined = cuts.windows(2).fold(Prefix::EMPTY, |held, cut| held.join(&Prefix::from_bytes(&bytes[cut[0]..cut[1]])));
            prop_assert_eq!(joined, Prefix::from_bytes(&bytes));
        }
    }
}
