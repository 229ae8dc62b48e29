//! Given: the first bytes of one direction of a stream. Gives: which protocol they begin, or that more bytes are
//! needed to say. Refuses to know: the rest of the stream, and whether the protocol is spoken correctly.

use crate::limits::PREFIX_BYTES;

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
}

const HTTP2_PREFACE: &[u8; PREFIX_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest method that is recognised; the registry's longest is `UPDATEREDIRECTREF`.
const METHOD_BYTES: usize = 17;

/// Classifies the `length` first bytes of `first`.
///
/// A method is 1 to 17 token characters, at least the first a letter, as every registered method has it; the target
/// then begins with `/`, `*`, a letter (absolute-form, authority-form), a digit or `[` (authority-form). Leading
/// CR and LF, which RFC 9112 §2.2 lets a server ignore, are passed over.
#[inline(always)]
pub fn classify(first: &[u8; PREFIX_BYTES], length: usize) -> Beginning {
    let length = if length < PREFIX_BYTES { length } else { PREFIX_BYTES };
    if length == 0 {
        return Beginning::Unfinished;
    }
    if first[0] == 0x16 || first[0] == 0x14 || first[0] == 0x15 || first[0] == 0x17 {
        return classify_tls(first, length);
    }
    if matches(first, length, b"HTTP/1.") {
        return if length >= 7 { Beginning::Response } else { Beginning::Unfinished };
    }
    if matches(first, length, HTTP2_PREFACE) {
        return if length == PREFIX_BYTES { Beginning::Http2 } else { Beginning::Unfinished };
    }
    classify_request(first, length)
}

/// True when the first bytes are a prefix of `pattern`, or the other way round.
#[inline(always)]
fn matches<const N: usize>(first: &[u8; PREFIX_BYTES], length: usize, pattern: &[u8; N]) -> bool {
    let mut at = 0;
    while at < N && at < PREFIX_BYTES {
        if at >= length {
            return true;
        }
        if first[at] != pattern[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[inline(always)]
fn classify_tls(first: &[u8; PREFIX_BYTES], length: usize) -> Beginning {
    if length >= 2 && first[1] != 3 || length >= 3 && first[2] > 4 {
        return Beginning::Other;
    }
    if length < 6 {
        return Beginning::Unfinished;
    }
    // A record carries 1 to 2^14 + 2048 bytes (RFC 5246 §6.2.3).
    let record = (first[3] as u16) << 8 | first[4] as u16;
    if record == 0 || record > 16384 + 2048 {
        return Beginning::Other;
    }
    if first[0] == 0x16 && first[5] == 1 { Beginning::ClientHello } else { Beginning::Tls }
}

#[inline(always)]
fn classify_request(first: &[u8; PREFIX_BYTES], length: usize) -> Beginning {
    let mut method = 0;
    let mut at = 0;
    while at < PREFIX_BYTES {
        if at >= length {
            return Beginning::Unfinished;
        }
        let byte = first[at];
        at += 1;
        if byte == b' ' {
            break;
        }
        if method == 0 && (byte == b'\r' || byte == b'\n') {
            continue;
        }
        let begins = byte.is_ascii_alphabetic();
        if !begins && (method == 0 || !is_token(byte)) || method == METHOD_BYTES {
            return Beginning::Other;
        }
        method += 1;
    }
    if method == 0 {
        return Beginning::Other;
    }
    if at >= length || at >= PREFIX_BYTES {
        return Beginning::Unfinished;
    }
    let target = first[at];
    if target == b'/' || target == b'*' || target == b'[' || target.is_ascii_alphanumeric() {
        Beginning::Request
    } else {
        Beginning::Other
    }
}

/// A `tchar` of RFC 9110 §5.6.2.
#[inline(always)]
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
