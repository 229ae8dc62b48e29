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
        authority(named.or(host)?, last)
    }
}

/// The authority that is named so, lower case, without user information; see [`Request::authority`].
pub fn authority(named: &[u8], last: Option<&Arc<str>>) -> Option<Arc<str>> {
    let is_same = |last: &&Arc<str>| last.as_bytes() == named || last.as_bytes().eq_ignore_ascii_case(named);
    if let Some(last) = last.filter(is_same) {
        return Some(Arc::clone(last));
    }
    let named = memchr::memrchr(b'@', named).and_then(|at| named.get(at + 1..)).unwrap_or(named);
    is_authority(named).then(|| String::from_utf8_lossy(named).to_ascii_lowercase().into())
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
mod tests;
