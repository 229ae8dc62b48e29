//! Given: the bytes of one whole head. Gives: its start line, its fields, and how its body is framed. Refuses to know:
//! which request a response answers, though that decides whether it has a body at all.

use std::sync::Arc;

use memchr::memchr;

use crate::http::{ByteSet, Protocol};

/// Longest method that is taken for one; the registry's longest has 17 characters.
const METHOD_BYTES_MAX: usize = 64;

/// The head of a request (RFC 9112 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// A token; any is a method.
    pub method: &'a str,
    /// Never empty; spaces that do not belong there are kept, since servers take them.
    pub target: &'a [u8],
    /// HTTP/1.1 also stands for minor versions above it (RFC 9110 §2.5).
    pub protocol: Protocol,
    /// The fields behind the start line.
    pub fields: Fields<'a>,
}

/// The head of a response (RFC 9112 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// 100 to 999.
    pub status: u16,
    /// The fields behind the start line.
    pub fields: Fields<'a>,
}

/// One field line (RFC 9112 §5), with the lines that are folded onto it. It may have no colon: then it is no field, and
/// has no name, as for servers, which pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    line: &'a [u8],
}

/// The field lines of a head in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// What a head says about the length of the body behind it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Nothing: a request has no body then, a response has one until the connection ends.
    Nothing,
    /// Content-Length.
    Length(u64),
    /// The last transfer coding is chunked.
    Chunked,
    /// The last transfer coding is another: only the end of the connection ends the body.
    OtherCoding,
    /// Content-Length is no number, or more than one.
    Invalid,
}

/// Collects what the fields of one head say about its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Whether the last transfer coding so far is chunked.
    last_coding_is_chunked: Option<bool>,
    length: Option<Result<u64, NotOneNumber>>,
    lengths: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotOneNumber;

/// Reads a request's head; `None` when its start line is none.
pub fn request(head: &[u8]) -> Option<Request<'_>> {
    let (line, fields) = split_start_line(head);
    let (method, rest) = line.split_at_checked(line.iter().position(|&byte| !TOKEN.has(byte))?)?;
    let rest = rest.strip_prefix(b" ")?;
    let end = rest.iter().rposition(|&byte| byte == b' ')?;
    let protocol = protocol(rest.get(end + 1..)?)?;
    let target = rest.get(..end)?.trim_ascii();
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || target.is_empty() {
        return None;
    }
    Some(Request { method: str::from_utf8(method).ok()?, target, protocol, fields })
}

/// Reads a response's head; `None` when its start line is none. The reason phrase may be missing.
pub fn response(head: &[u8]) -> Option<Response<'_>> {
    let (line, fields) = split_start_line(head);
    let (version, rest) = split_at_byte(line, b' ')?;
    protocol(version)?;
    let (code, behind) = rest.trim_ascii_start().split_first_chunk::<3>()?;
    let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *code else { return None };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    matches!(behind.first(), None | Some(b' ' | b'\t')).then_some(Response { status, fields })
}

impl Request<'_> {
    /// True when every line of the head is what RFC 9112 asks for, Host included: the test for a head that nothing but
    /// its own looks shows to be one.
    pub fn is_certain(&self) -> bool {
        let has_host = || self.fields.clone().any(|field| field.value_of(b"host").is_some());
        let target_is_whole = !self.target.iter().any(u8::is_ascii_whitespace);
        target_is_whole
            && self.fields.clone().are_well_formed()
            && (self.protocol == Protocol::Http10 || has_host())
    }

    /// The authority that the target or the Host field names, lower case (RFC 9110 §7.1): without user information,
    /// which may hold a password, and with the port as sent. `None` when there is none, or when it has characters that
    /// no authority has. `last` is one that was given before, and nearly always the same.
    pub fn authority(&self, host: Option<&[u8]>, last: Option<&Arc<str>>) -> Option<Arc<str>> {
        let named =
            if self.method == "CONNECT" { Some(self.target) } else { absolute_authority(self.target) };
        let named = named.or(host)?;
        let is_same =
            |last: &&Arc<str>| last.as_bytes() == named || last.as_bytes().eq_ignore_ascii_case(named);
        if let Some(last) = last.filter(is_same) {
            return Some(Arc::clone(last));
        }
        let named = memchr::memrchr(b'@', named).and_then(|at| named.get(at + 1..)).unwrap_or(named);
        is_authority(named).then(|| String::from_utf8_lossy(named).to_ascii_lowercase().into())
    }
}

/// A DNS name has at most 253 characters, a port 5, and both may be percent-encoded; longer ones are not kept.
pub const AUTHORITY_BYTES_MAX: usize = 512;

impl Response<'_> {
    /// Like [`Request::is_certain`].
    pub fn is_certain(&self) -> bool {
        self.fields.clone().are_well_formed()
    }
}

impl<'a> Field<'a> {
    /// Name and value, without white space around them; `None` for a line without a colon.
    pub fn parts(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = split_at_byte(self.line, b':')?;
        Some((name.trim_ascii_end(), value.trim_ascii()))
    }

    /// The value, if the field has this name, which is in lower case and a token: without white space around it, and a
    /// folded one has its line ends inside. Before the colon stands the white space that some senders put there.
    #[inline(always)]
    pub fn value_of(&self, name: &[u8]) -> Option<&'a [u8]> {
        // One letter tells nearly all fields apart, without a look for the colon.
        if !self.line.first()?.eq_ignore_ascii_case(name.first()?) {
            return None;
        }
        self.value_behind(name)
    }

    fn value_behind(&self, name: &[u8]) -> Option<&'a [u8]> {
        let (own, behind) = self.line.split_at_checked(name.len())?;
        let value = behind.trim_ascii_start().strip_prefix(b":")?;
        own.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    }
}

/// The first `most` bytes of a field's value as text: a fold becomes one space (RFC 9112 §5.2), and what is not UTF-8
/// becomes U+FFFD.
pub fn text(value: &[u8], most: usize) -> Box<str> {
    let value = value.get(..most).unwrap_or(value);
    let text = String::from_utf8_lossy(value);
    if memchr(b'\n', value).is_none() {
        return text.into();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").into()
}

impl<'a> Fields<'a> {
    /// True when every line is a field: a token, a colon, and a value without control characters.
    fn are_well_formed(mut self) -> bool {
        while let Some(line) = self.next_line() {
            let Some((name, value)) = split_at_byte(line, b':') else { return false };
            let fits = |&byte: &u8| byte >= b' ' && byte != 0x7f || b"\t\r\n".contains(&byte);
            if name.is_empty() || !is_token(name) || !value.iter().all(fits) {
                return false;
            }
        }
        true
    }

    /// The next line with the lines that are folded onto it, without its line end; `None` at the empty line.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = field_line_end(self.rest)?;
        let line = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some(line)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.next_line().map(|line| Field { line })
    }
}

impl Framing {
    /// Takes note of one field; nearly none says anything.
    #[inline(always)]
    pub fn note(&mut self, field: Field<'_>) {
        if let Some(value) = field.value_of(b"content-length") {
            self.note_length(value);
        } else if let Some(value) = field.value_of(b"transfer-encoding") {
            self.note_coding(value);
        }
    }

    /// What the fields say together: a transfer coding overrides a length.
    pub fn declared(&self) -> Declared {
        match (self.last_coding_is_chunked, self.length) {
            (Some(true), _) => Declared::Chunked,
            (Some(false), _) => Declared::OtherCoding,
            (None, Some(Ok(length))) => Declared::Length(length),
            (None, Some(Err(NotOneNumber))) => Declared::Invalid,
            (None, None) => Declared::Nothing,
        }
    }

    /// True when two peers could read it in two ways, which is how requests are smuggled (RFC 9112 §11.2).
    pub fn is_ambiguous(&self) -> bool {
        self.lengths > 1 || self.lengths > 0 && self.last_coding_is_chunked.is_some()
    }

    /// The value is a list, and a list may go on in a further field.
    fn note_coding(&mut self, value: &[u8]) {
        let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let last = codings.rfind(|coding| !coding.is_empty());
        let is_chunked = last.map(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        self.last_coding_is_chunked = is_chunked.or(self.last_coding_is_chunked).or(Some(false));
    }

    /// The value is one number, or by a mistake that RFC 9112 §6.3 forgives, the same one several times.
    fn note_length(&mut self, value: &[u8]) {
        for number in value.split(|&byte| byte == b',') {
            let number = decimal(number.trim_ascii());
            self.lengths += 1;
            self.length = match (self.length, number) {
                (None, Some(number)) => Some(Ok(number)),
                (Some(Ok(before)), Some(number)) if before == number => self.length,
                _ => Some(Err(NotOneNumber)),
            };
        }
    }
}

/// The authority in a target of absolute form: `scheme://authority/path` (RFC 9112 §3.2.2).
fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    if !target.first()?.is_ascii_alphabetic() {
        return None;
    }
    let (_, rest) = target.split_at_checked(target.iter().position(|byte| !byte.is_ascii_alphanumeric())?)?;
    let rest = rest.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    rest.get(..end)
}

/// Where the first line of `fields` ends, with the lines that are folded onto it (RFC 9112 §5.2).
pub fn field_line_end(fields: &[u8]) -> Option<usize> {
    let mut end = memchr(b'\n', fields)?;
    while let Some(b' ' | b'\t') = fields.get(end + 1) {
        end += 1 + memchr(b'\n', fields.get(end + 1..)?)?;
    }
    Some(end)
}

fn protocol(version: &[u8]) -> Option<Protocol> {
    match version.strip_prefix(b"HTTP/1.")? {
        b"0" => Some(Protocol::Http10),
        [b'1'..=b'9'] => Some(Protocol::Http11),
        _ => None,
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn split_start_line(head: &[u8]) -> (&[u8], Fields<'_>) {
    let (line, rest) = split_at_byte(head, b'\n').unwrap_or((head, &[]));
    (line.trim_ascii_end(), Fields { rest })
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// True for an authority without user information (RFC 3986 §3.2), as far as its characters say.
pub fn is_authority(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= AUTHORITY_BYTES_MAX && bytes.iter().all(|&byte| AUTHORITY.has(byte))
}

/// True when every byte is a `tchar` (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| TOKEN.has(byte))
}

/// `tchar` of RFC 9110 §5.6.2.
static TOKEN: ByteSet = ByteSet::letters_digits_and(b"!#$%&'*+-.^_`|~");

/// What an authority without user information may hold (RFC 3986 §3.2).
static AUTHORITY: ByteSet = ByteSet::letters_digits_and(b"-._~:[]%!$&'()*+,;=");

#[cfg(test)]
mod tests {
    use super::*;

    fn check_request(head: &str, expect: &str) {
        let Some(request) = request(head.as_bytes()) else {
            assert_eq!("none", expect, "{head:?}");
            return;
        };
        let mut framing = Framing::default();
        let mut host = None;
        for field in request.fields.clone() {
            framing.note(field);
            host = host.or(field.value_of(b"host"));
        }
        let got = format!(
            "{} {} {} {:?} {:?}{}{}",
            request.method,
            String::from_utf8_lossy(request.target),
            request.protocol.name(),
            request.authority(host, None),
            framing.declared(),
            if framing.is_ambiguous() { " ambiguous" } else { "" },
            if request.is_certain() { " certain" } else { "" },
        );
        assert_eq!(got, expect, "{head:?}");
    }

    #[test]
    fn start_lines_of_requests() {
        check_request("GET / HTTP/1.0\r\n\r\n", "GET / http/1.0 None Nothing certain");
        check_request("GET / HTTP/1.1\r\n\r\n", "GET / http/1.1 None Nothing");
        check_request(
            "get /a?b=c HTTP/1.1\nhost:A.b\n\n",
            "get /a?b=c http/1.1 Some(\"a.b\") Nothing certain",
        );
        check_request("M-S!  /a b  HTTP/1.3\r\n\r\n", "M-S! /a b http/1.1 None Nothing");
        check_request(
            "OPTIONS * HTTP/1.1\r\nHost: h:80\r\n\r\n",
            "OPTIONS * http/1.1 Some(\"h:80\") Nothing certain",
        );
        check_request("CONNECT H:443 HTTP/1.1\r\n\r\n", "CONNECT H:443 http/1.1 Some(\"h:443\") Nothing");
        check_request(
            "GET http://u:p@H:81/a HTTP/1.0\r\nHost: b\r\n\r\n",
            "GET http://u:p@H:81/a http/1.0 Some(\"h:81\") Nothing certain",
        );
        check_request(
            "GET http://h?a HTTP/1.0\r\n\r\n",
            "GET http://h?a http/1.0 Some(\"h\") Nothing certain",
        );
        check_request("GET /a://b/c HTTP/1.1\r\nHost:\r\n\r\n", "GET /a://b/c http/1.1 None Nothing certain");
        check_request("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /a http/1.1 None Nothing certain");
        for head in
            ["\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n"]
        {
            check_request(head, "none");
        }
        for head in [
            "G(T / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
        ] {
            check_request(head, "none");
        }
        check_request(&format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(65)), "none");
    }

    #[test]
    fn a_target_that_is_not_utf_8_is_a_target() {
        let request = request(b"GET /\xff\x80 HTTP/1.1\r\nA: \xff\r\n\r\n").expect("a head");
        assert_eq!(request.target, b"/\xff\x80");
        let value = request.fields.clone().find_map(|field| field.value_of(b"a"));
        assert_eq!(value.map(|value| text(value, 9)).as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn lines_that_are_no_fields_are_passed_over_and_make_a_head_uncertain() {
        let head = "GET / HTTP/1.1\r\nno colon\r\nHost : h\r\n: x\r\n\r\n";
        check_request(head, "GET / http/1.1 Some(\"h\") Nothing");
        check_request("GET / HTTP/1.1\r\n folded\r\nHost: h\r\n\r\n", "GET / http/1.1 Some(\"h\") Nothing");
        check_request("GET / HTTP/1.1\r\nHost: h\r\nA: \u{1}\r\n\r\n", "GET / http/1.1 Some(\"h\") Nothing");
    }

    #[test]
    fn folded_values_are_one_value() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n";
        let fields = request(head).expect("a head").fields;
        let values = |name: &[u8]| -> Vec<_> {
            fields.clone().filter_map(|field| field.value_of(name)).map(|value| text(value, 99)).collect()
        };
        assert_eq!([values(b"a"), values(b"e")], [["b c d".into()], ["f".into()]] as [[Box<str>; 1]; 2]);
    }

    #[test]
    fn a_field_has_the_name_before_its_colon() {
        let value = |line: &str, name: &str| {
            let value = Field { line: line.as_bytes() }.value_of(name.as_bytes())?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        for line in ["Host: b", "host:b", "HOST \t:\tb ", "host\r\n : b"] {
            assert_eq!(value(line, "host").as_deref(), Some("b"), "{line:?}");
        }
        assert_eq!(value("host:", "host").as_deref(), Some(""));
        for line in ["", "h", "host", "host b: c", "hosts: b", ": host", " host: b", "hos: t:", "jost: b"] {
            assert_eq!(value(line, "host"), None, "{line:?}");
        }
    }

    #[test]
    fn an_authority_is_that_of_the_last_request_only_when_it_is_the_same() {
        let request = request(b"GET / HTTP/1.1\r\n\r\n").expect("a head");
        let check = |host: &str, last: &Arc<str>, expect: Option<&str>| {
            let authority = request.authority(Some(host.as_bytes()), Some(last));
            assert_eq!(authority.as_deref(), expect);
            authority.is_some_and(|authority| Arc::ptr_eq(&authority, last))
        };
        let last = "a.b:80".into();
        assert!(check("A.b:80", &last, Some("a.b:80")));
        assert!(!check("u:p@a.b:80", &last, Some("a.b:80")));
        assert!(!check("a.b", &last, Some("a.b")));
        assert!(!check("a b", &last, None));
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!([&*text(b"bcdef", 3), &*text(b"bc", 3)], ["bcd", "bc"]);
    }

    #[test]
    fn framing_of_bodies() {
        let check = |fields: &str, expect: &str| {
            check_request(
                &format!("GET / HTTP/1.0\r\n{fields}\r\n"),
                &format!("GET / http/1.0 None {expect}"),
            );
        };
        check("", "Nothing certain");
        check("Content-Length: 5\r\n", "Length(5) certain");
        check("content-length:\t007 \r\n", "Length(7) certain");
        check("Content-Length: 18446744073709551615\r\n", "Length(18446744073709551615) certain");
        check("Content-Length: 18446744073709551616\r\n", "Invalid certain");
        check("Content-Length: 5, 5\r\n", "Length(5) ambiguous certain");
        check("Content-Length: 5\r\nContent-Length: 5\r\n", "Length(5) ambiguous certain");
        check("Content-Length: 5\r\nContent-Length: 6\r\nContent-Length: 5\r\n", "Invalid ambiguous certain");
        check("Content-Length: 5, 6\r\n", "Invalid ambiguous certain");
        for value in ["", "+5", "-5", "0x5", "5 5", "5.0"] {
            check(&format!("Content-Length: {value}\r\n"), "Invalid certain");
        }
        check("Transfer-Encoding: chunked\r\n", "Chunked certain");
        check("transfer-encoding: gzip ,\tChUnKeD ,\r\n", "Chunked certain");
        check("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "Chunked certain");
        check("Transfer-Encoding: gzip,\r\n chunked\r\n", "Chunked certain");
        check("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "Chunked certain");
        check("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", "OtherCoding certain");
        check("Transfer-Encoding: chunked, gzip\r\n", "OtherCoding certain");
        check("Transfer-Encoding: xchunked\r\n", "OtherCoding certain");
        check("Transfer-Encoding:\r\n", "OtherCoding certain");
        check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Chunked ambiguous certain");
        check("Transfer-Encoding : chunked\r\n", "Chunked");
    }

    #[test]
    fn start_lines_of_responses() {
        let check = |line: &str, expect| {
            let head = format!("{line}\r\nA: b\r\n\r\n");
            let got = response(head.as_bytes()).map(|response| (response.status, response.fields.count()));
            assert_eq!(got, expect, "{line:?}");
        };
        check("HTTP/1.1 200 OK", Some((200, 1)));
        check("HTTP/1.0 404 Not Found", Some((404, 1)));
        check("HTTP/1.1 204", Some((204, 1)));
        check("HTTP/1.1 204 ", Some((204, 1)));
        check("HTTP/1.1  999 \u{e9}", Some((999, 1)));
        for line in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1 099",
            "HTTP/2.0 200",
            "http/1.1 200",
            "ICY 200 OK",
        ] {
            check(line, None);
        }
    }
}
