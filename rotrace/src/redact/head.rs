//! Given: a head, whole or not. Gives: the same head without what it carries: as long, with the same lines, and to a reader
//! of heads the same message. Refuses to know: how it was cut into records.

use memchr::{memchr, memrchr};
use rotrace_ebpf::limits::{LINE_ENDS_MAX, PREFIX_BYTES};

use super::letters::CONTROL;
use super::{OVERWRITTEN, Redaction};
use crate::http::h1::head::{field_line_end, is_authority, is_token, request, response};

/// Fields whose values stay, besides those that say where a message goes and where it ends: what is said about calls and
/// not in them.
const KEPT_FIELDS: [&str; 21] = [
    "accept-encoding",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "date",
    "deprecation",
    "expect",
    "if-modified-since",
    "keep-alive",
    "last-modified",
    "proxy-connection",
    "retry-after",
    "server",
    "sunset",
    "te",
    "trailer",
    "upgrade",
    "vary",
    "x-poll-interval",
];

/// Beginnings of the names of such fields.
const KEPT_FIELD_FAMILIES: [&str; 2] = ["ratelimit", "x-ratelimit-"];

/// Overwrites what a whole head carries.
pub(super) fn overwrite(head: &mut [u8], by: &Redaction) {
    let Some(line_end) = memchr(b'\n', head) else { return overwrite_no_head(head) };
    if let Some(request) = request(head) {
        let is_authority = request.method == "CONNECT";
        let begin = request.target.as_ptr().addr() - head.as_ptr().addr();
        let end = begin + request.target.len();
        let target = head.get_mut(begin..end).unwrap_or_default();
        if is_authority { overwrite_credentials(target, by) } else { overwrite_target(target, by) }
    } else if response(head).is_some() {
        let line = head.get_mut(..line_end).unwrap_or_default();
        by.letters.overwrite(trimmed(behind_status(line)));
    } else {
        return overwrite_no_head(head);
    }
    let mut rest = head.get_mut(line_end + 1..).unwrap_or_default();
    while let Some(end) = field_line_end(rest) {
        let Some((line, behind)) = rest.split_at_mut_checked(end + 1) else { return };
        overwrite_field(line, by);
        rest = behind;
    }
    by.letters.overwrite(rest);
}

/// Overwrites what was not taken for a head. The first bytes go on to look like the beginning of one, or not; the lines
/// stay.
pub(super) fn overwrite_no_head(bytes: &mut [u8]) {
    let looks = beginning(bytes);
    let (first, behind) = bytes.split_at_mut(looks.len().min(bytes.len()));
    first.iter_mut().zip(looks).for_each(|(to, look)| *to = look);
    behind.iter_mut().filter(|byte| !b"\r\n".contains(byte)).for_each(|byte| *byte = OVERWRITTEN);
}

/// What is behind the status code of a status line.
fn behind_status(line: &mut [u8]) -> &mut [u8] {
    const CODE_BYTES: usize = 3;
    let Some(space) = memchr(b' ', line) else { return line };
    let spaces = line.iter().skip(space).take_while(|byte| byte.is_ascii_whitespace()).count();
    line.get_mut(space + spaces + CODE_BYTES..).unwrap_or_default()
}

/// A line with its line end and all lines that are folded onto it.
fn overwrite_field(line: &mut [u8], by: &Redaction) {
    let Some(colon) = memchr(b':', line) else { return by.letters.overwrite(line) };
    let (name, value) = line.split_at_mut(colon);
    let value = trimmed(value.get_mut(1..).unwrap_or_default());
    let known = name.trim_ascii_end();
    let is = |field: &str| known.eq_ignore_ascii_case(field.as_bytes());
    if is("host") {
        overwrite_host(value, by);
    } else if is("content-length") {
        overwrite_but(value, OVERWRITTEN, |byte| byte.is_ascii_digit() || byte == b',');
    } else if is("transfer-encoding") {
        value.split_mut(|&byte| byte == b',').for_each(overwrite_coding);
    } else if names_the_game(known, by) {
        // It stays, folded or not.
    } else if memchr(b'\n', value).is_some() {
        by.letters.overwrite(value);
    } else if is("location") {
        overwrite_location(value, by);
    } else if is("etag") || is("if-none-match") {
        overwrite_entity_tags(value, by);
    } else if is("content-disposition") {
        overwrite_disposition(value, by);
    } else if !is_shown(known) {
        by.letters.overwrite(value);
    }
    if !is_token(known) {
        overwrite_name(name);
    }
}

/// Without white space around it, which makes no other value of it.
fn trimmed(value: &mut [u8]) -> &mut [u8] {
    let begin = value.len() - value.trim_ascii_start().len();
    let length = value.trim_ascii().len();
    value.get_mut(begin..begin + length).unwrap_or_default()
}

/// Of a `Location` (RFC 9110 §10.2.2) stays what stays of the target that is asked for next.
fn overwrite_location(value: &mut [u8], by: &Redaction) {
    if str::from_utf8(value).is_err() {
        return by.letters.overwrite(value);
    }
    if let [b'/', b'/', behind @ ..] = value {
        let end = behind.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(behind.len());
        overwrite_credentials(behind.get_mut(..end).unwrap_or_default(), by);
    }
    overwrite_target(value, by);
}

/// The list of `ETag` or `If-None-Match` (RFC 9110 §8.8.3): each tag becomes letters of its own, so that it can be found in
/// the list; what is no tag does as well.
fn overwrite_entity_tags(value: &mut [u8], by: &Redaction) {
    for (part, is_quoted) in value.split_mut(|&byte| byte == b'"').zip([false, true].into_iter().cycle()) {
        let part = trimmed(part);
        let between = part.strip_prefix(b",").unwrap_or(part).trim_ascii_start();
        if is_quoted || !matches!(between, b"" | b"W/" | b"*") {
            by.letters.overwrite(part);
        }
    }
}

/// Of `Content-Disposition` (RFC 6266) stays whether it is there to be saved; the names of files do not.
fn overwrite_disposition(value: &mut [u8], by: &Redaction) {
    let end = memchr(b';', value).unwrap_or(value.len());
    let (kind, parameters) = value.split_at_mut(end);
    let kind = trimmed(kind);
    if !["attachment", "inline"].iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes())) {
        by.letters.overwrite(kind);
    }
    by.letters.overwrite(parameters.get_mut(1..).unwrap_or_default());
}

/// What is no authority goes on being none.
fn overwrite_host(value: &mut [u8], by: &Redaction) {
    overwrite_credentials(value, by);
    let begin = memrchr(b'@', value).map_or(0, |at| at + 1);
    if !value.get(begin..).is_some_and(is_authority) {
        const NO_AUTHORITY: u8 = b'<';
        overwrite_but(value, NO_AUTHORITY, |_| false);
    }
}

/// Only whether a coding is `chunked` is of interest, and the others that are registered are no secret.
fn overwrite_coding(coding: &mut [u8]) {
    const REGISTERED: [&str; 6] = ["chunked", "gzip", "x-gzip", "deflate", "compress", "identity"];
    if !REGISTERED.iter().any(|name| coding.trim_ascii().eq_ignore_ascii_case(name.as_bytes())) {
        overwrite_but(coding, OVERWRITTEN, |_| false);
    }
}

fn names_the_game(name: &[u8], by: &Redaction) -> bool {
    by.kept.fields.0.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

fn is_shown(name: &[u8]) -> bool {
    let begins = |family: &&str| {
        name.get(..family.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(family.as_bytes()))
    };
    KEPT_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
        || KEPT_FIELD_FAMILIES.iter().any(begins)
}

/// A name that is none goes on being none.
fn overwrite_name(name: &mut [u8]) {
    for byte in name.iter_mut().filter(|byte| !byte.is_ascii_whitespace()) {
        *byte = if is_token(&[*byte]) { OVERWRITTEN } else { b'(' };
    }
}

fn overwrite_but(text: &mut [u8], overwritten: u8, stays: impl Fn(u8) -> bool) {
    for byte in text.iter_mut().filter(|byte| !byte.is_ascii_whitespace() && !stays(**byte)) {
        *byte = if byte.is_ascii_control() { CONTROL } else { overwritten };
    }
}

/// A target that is no authority: origin-form, absolute-form, or nothing that RFC 9112 §3.2 knows.
fn overwrite_target(target: &mut [u8], by: &Redaction) {
    let end = memchr(b'#', target).unwrap_or(target.len());
    let (target, fragment) = target.split_at_mut(end);
    by.letters.overwrite(fragment.get_mut(1..).unwrap_or_default());
    let end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_mut(end);
    let items = query.get_mut(1..).unwrap_or_default();
    items.split_mut(|byte| b"&;".contains(byte)).for_each(|item| overwrite_item(item, by));
    if path.first() == Some(&b'/') {
        return;
    }
    match authority(path) {
        Some(range) => overwrite_credentials(path.get_mut(range).unwrap_or_default(), by),
        None => overwrite_credentials(path, by),
    }
}

/// Where the authority of `scheme://authority/path` is.
fn authority(path: &[u8]) -> Option<std::ops::Range<usize>> {
    let colon = memchr(b':', path)?;
    let (scheme, rest) = path.split_at_checked(colon)?;
    let behind = rest.strip_prefix(b"://").filter(|_| scheme.iter().all(u8::is_ascii_alphanumeric))?;
    let begin = path.len() - behind.len();
    Some(begin..memchr(b'/', behind).map_or(path.len(), |slash| begin + slash))
}

/// Everything before the last `@`.
fn overwrite_credentials(authority: &mut [u8], by: &Redaction) {
    let end = memrchr(b'@', authority).unwrap_or(0);
    by.letters.overwrite(authority.get_mut(..end).unwrap_or_default());
}

/// An item of a query. What is no `key=value` is taken for a value: a query may be nothing but a token, and `=` only at the
/// end is its padding.
fn overwrite_item(item: &mut [u8], by: &Redaction) {
    let equals = memchr(b'=', item);
    let (key, value) = item.split_at_mut(equals.unwrap_or(item.len()));
    if by.kept.query_keys.iter().any(|kept| kept.as_bytes() == key) {
        return;
    }
    match value {
        [_, value @ ..] if value.iter().any(|&byte| byte != b'=') => by.letters.overwrite(value),
        _ => by.letters.overwrite(item),
    }
}

/// Whether a SETTINGS frame can have this byte there in its header: a multiple of 6, the type, and zeroes.
fn may_be_settings(at: usize, byte: u8) -> bool {
    match at {
        2 => byte.is_multiple_of(6),
        3 => byte == rotrace_ebpf::frames::kind::SETTINGS,
        _ => byte == 0 && at < rotrace_ebpf::frames::FRAME_HEADER_BYTES,
    }
}

/// The first bytes with nothing left but what [`sniff`](crate::http::sniff::sniff) looks at: what the start of a line or of
/// a protocol has in every connection, and else the kind of a byte.
fn beginning(bytes: &[u8]) -> [u8; PREFIX_BYTES] {
    const STATUS_LINE: &[u8] = b"HTTP/1.";
    const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let common = |bytes: &[u8], known: &[u8]| {
        bytes.iter().zip(known).take_while(|(byte, known)| byte == known).count()
    };
    let line_ends = bytes.iter().take(LINE_ENDS_MAX).take_while(|byte| b"\r\n".contains(byte)).count();
    let stay = match bytes {
        // Type, version, length and kind of message of a TLS record.
        [0x14..=0x17, 3, 0..=4, ..] => 6,
        [0x14..=0x17, 3, ..] => 3,
        [0x14..=0x17, ..] => 1,
        // The line ends stay, as all line ends do.
        _ if line_ends > 0 => line_ends + common(bytes.get(line_ends..).unwrap_or_default(), STATUS_LINE),
        [0, ..] => bytes.iter().enumerate().take_while(|&(at, &byte)| may_be_settings(at, byte)).count(),
        _ => common(bytes, STATUS_LINE).max(common(bytes, HTTP2_PREFACE)),
    };
    let is_none = bytes.first() == Some(&0);
    let mut looks = [0; PREFIX_BYTES];
    for (index, (to, &byte)) in looks.iter_mut().zip(bytes).enumerate() {
        *to = match byte {
            _ if index < stay => byte,
            b'\r' | b'\n' => byte,
            // No byte of a SETTINGS frame's header, as no line end is one.
            _ if is_none && index == stay => CONTROL,
            b' ' | b'\t' | b'/' | b'*' | b'[' => byte,
            b'0'..=b'9' => b'0',
            b'a'..=b'z' | b'A'..=b'Z' => OVERWRITTEN,
            b'!'..=b'~' => b'-',
            _ => CONTROL,
        };
    }
    looks
}
