//! Given: the first bytes of a stream. Gives: what it speaks, and for TLS which server name the client asked for.
//! Refuses to know: the rest of the stream, and anything that is encrypted.

use std::borrow::Cow;

use rotrace_ebpf::classify::{Beginning, Prefix};

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// The request line of HTTP/1.
    Request,
    /// The status line of HTTP/1.
    Response,
    /// The client preface of HTTP/2.
    Http2Preface,
    /// The SETTINGS frame that a server of HTTP/2 sends first.
    Http2Settings,
    /// A TLS record.
    Tls,
    /// Every byte fits one of them, but there are too few.
    NeedMore,
    /// None of them.
    Other,
}

/// Says what the stream that begins with `bytes` speaks; the first 24 bytes always suffice. The probes decide by the
/// same function.
pub fn sniff(bytes: &[u8]) -> Sniff {
    match Prefix::from_bytes(bytes).beginning() {
        Beginning::Request => Sniff::Request,
        Beginning::Response => Sniff::Response,
        Beginning::Http2 => Sniff::Http2Preface,
        Beginning::Http2Server => Sniff::Http2Settings,
        Beginning::ClientHello | Beginning::Tls => Sniff::Tls,
        Beginning::Unfinished => Sniff::NeedMore,
        Beginning::Other => Sniff::Other,
    }
}

/// What a ClientHello says in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host name of the server_name extension (RFC 6066 §3), lower case.
    pub server_name: Option<Box<str>>,
    /// Protocols the client offers (RFC 7301 §3.1), at most [`ALPN_MAX`]; those that are no printable ASCII are left out.
    pub alpn: Vec<Box<str>>,
    /// The ClientHello was there to its end, and well formed: what is missing above was not sent.
    pub complete: bool,
}

/// Offered protocols that are kept.
pub const ALPN_MAX: usize = 8;

/// Longest ClientHello that is read; the probes copy 4 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// Reads the ClientHello at the start of a TLS stream (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2). It may be cut anywhere, and
/// it may lie in several records. Bytes that are none give an empty, incomplete [`Hello`].
pub fn client_hello_server_name(record_bytes: &[u8]) -> Hello {
    let mut hello = Hello::default();
    let handshake = handshake(record_bytes);
    hello.complete = read_client_hello(&handshake, &mut hello).is_some();
    hello
}

/// Reads as far as there are bytes; `None` when they end too early or break the form.
fn read_client_hello(handshake: &[u8], hello: &mut Hello) -> Option<()> {
    const CLIENT_HELLO: u8 = 1;
    const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;
    let mut at = Cursor(handshake);
    if at.number(1)? != usize::from(CLIENT_HELLO) {
        return None;
    }
    let length = at.number(3)?;
    let is_whole = at.0.len() >= length;
    let mut at = Cursor(at.0.get(..length).unwrap_or(at.0));
    at.take(VERSION_AND_RANDOM_BYTES)?;
    at.vector(1)?; // session id
    at.vector(2)?; // cipher suites
    at.vector(1)?; // compression methods
    if at.0.is_empty() {
        return is_whole.then_some(());
    }
    let announced = at.number(2)?;
    let mut extensions = Cursor(at.0.get(..announced).unwrap_or(at.0));
    while !extensions.0.is_empty() {
        read_extension(&mut extensions, hello)?;
    }
    (is_whole && announced == at.0.len()).then_some(())
}

fn read_extension(extensions: &mut Cursor<'_>, hello: &mut Hello) -> Option<()> {
    const SERVER_NAME: usize = 0;
    const ALPN: usize = 16;
    const HOST_NAME: usize = 0;
    let kind = extensions.number(2)?;
    let mut body = Cursor(extensions.vector(2)?);
    match kind {
        SERVER_NAME if hello.server_name.is_none() => {
            let mut names = Cursor(body.vector(2)?);
            while !names.0.is_empty() {
                let name_kind = names.number(1)?;
                let name = names.vector(2)?;
                if name_kind == HOST_NAME && hello.server_name.is_none() {
                    hello.server_name = host_name(name);
                }
            }
        }
        ALPN => {
            let mut protocols = Cursor(body.vector(2)?);
            while !protocols.0.is_empty() {
                let protocol = protocols.vector(1)?;
                // RFC 8701 has clients offer random names, which say nothing.
                if hello.alpn.len() < ALPN_MAX && protocol.iter().all(u8::is_ascii_graphic) {
                    hello.alpn.push(String::from_utf8_lossy(protocol).into());
                }
            }
        }
        _ => {}
    }
    Some(())
}

fn host_name(name: &[u8]) -> Option<Box<str>> {
    const NAME_BYTES_MAX: usize = 255;
    let fits = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(fits) {
        return None;
    }
    Some(String::from_utf8_lossy(name).to_ascii_lowercase().into())
}

/// The bytes of the handshake messages at the front of a TLS stream, out of their records (RFC 8446 §5.1): copied only
/// when there are several.
fn handshake(stream: &[u8]) -> Cow<'_, [u8]> {
    let mut records = Cursor(stream);
    let mut joined = Cow::Borrowed([].as_slice());
    while let Some(fragment) = next_fragment(&mut records) {
        let room = CLIENT_HELLO_BYTES_MAX - joined.len();
        let fragment = fragment.get(..room).unwrap_or(fragment);
        if joined.is_empty() {
            joined = Cow::Borrowed(fragment);
        } else {
            joined.to_mut().extend_from_slice(fragment);
        }
        if joined.len() >= CLIENT_HELLO_BYTES_MAX {
            break;
        }
    }
    joined
}

/// What the next record carries, as far as it is there; `None` behind the last record that is a handshake.
fn next_fragment<'a>(records: &mut Cursor<'a>) -> Option<&'a [u8]> {
    const HANDSHAKE: usize = 22;
    const MAJOR_VERSION: usize = 3;
    if records.number(1)? != HANDSHAKE || records.number(1)? != MAJOR_VERSION {
        return None;
    }
    records.take(1)?;
    let length = records.number(2)?.min(records.0.len());
    records.take(length)
}

/// Reads big-endian numbers and length-prefixed vectors (RFC 8446 §3.4).
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(length_bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn streams_are_told_apart() {
        let check = |bytes: &[u8], expect| assert_eq!(sniff(bytes), expect);
        check(b"GET / HTTP/1.1\r\n", Sniff::Request);
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Sniff::Response);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Sniff::Http2Preface);
        check(b"\0\0\x06\x04\0\0\0\0\0\0\x03", Sniff::Http2Settings);
        check(b"\x16\x03\x01\x02\x00\x01", Sniff::Tls);
        check(b"\x17\x03\x03\x02\x00\x01", Sniff::Tls);
        check(b"", Sniff::NeedMore);
        check(b"HTT", Sniff::NeedMore);
        check(b"GET ", Sniff::NeedMore);
        check(b"\r\nGET / HTTP/1.1\r\n", Sniff::Request);
        check(b"\r\n", Sniff::NeedMore);
        check(b"220 mail ESMTP\r\n", Sniff::Other);
        check(b"\0\0\0\x01", Sniff::Other);
    }

    fn vector(length_bytes: usize, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u64).to_be_bytes();
        [&length[8 - length_bytes..], body].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes(), vector(2, body).as_slice()].concat()
    }

    /// A ClientHello message with `extensions`, or without the block of them.
    fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
        let mut body = vec![3; 34];
        body.extend(vector(1, &[7; 32]));
        body.extend(vector(2, &[0x13, 1, 0x13, 2]));
        body.extend(vector(1, &[0]));
        if let Some(extensions) = extensions {
            body.extend(vector(2, &extensions.concat()));
        }
        [&[1], vector(3, &body).as_slice()].concat()
    }

    /// The message in records that carry `size` bytes each.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[22, 3, 1], vector(2, part).as_slice()].concat()).collect()
    }

    fn usual() -> Vec<u8> {
        message(Some(&[
            extension(0x0a0a, &[]),
            extension(0, &vector(2, &[&[0], vector(2, b"Api.Example.COM").as_slice()].concat())),
            extension(43, &[2, 3, 4]),
            extension(
                16,
                &vector(2, &[vector(1, b"h2"), vector(1, b"\x8a\x8a"), vector(1, b"http/1.1")].concat()),
            ),
        ]))
    }

    fn check(bytes: &[u8], expect: &str) {
        let Hello { server_name, alpn, complete } = client_hello_server_name(bytes);
        assert_eq!(format!("{server_name:?} {alpn:?} {complete}"), expect);
    }

    #[test]
    fn name_and_protocols_out_of_one_record_or_several() {
        for size in [1, 2, 5, 60, 16384] {
            check(&records(&usual(), size), "Some(\"api.example.com\") [\"h2\", \"http/1.1\"] true");
        }
        let mut more = records(&usual(), 100);
        more.extend(b"\x14\x03\x03\0\x01\x01");
        check(&more, "Some(\"api.example.com\") [\"h2\", \"http/1.1\"] true");
    }

    #[test]
    fn a_hello_that_is_cut_gives_what_is_there() {
        let stream = records(&usual(), 80);
        let whole = client_hello_server_name(&stream);
        for length in 0..stream.len() {
            let cut = client_hello_server_name(&stream[..length]);
            assert!(!cut.complete, "cut at {length}");
            assert!(cut.server_name.is_none() || cut.server_name == whole.server_name);
            assert!(whole.alpn.starts_with(&cut.alpn));
        }
        assert_eq!(client_hello_server_name(&stream[..stream.len() - 1]).server_name, whole.server_name);
    }

    #[test]
    fn a_hello_without_a_name_says_so() {
        check(&records(&message(None), 999), "None [] true");
        check(&records(&message(Some(&[])), 999), "None [] true");
        check(&records(&message(Some(&[extension(43, &[2, 3, 4])])), 999), "None [] true");
    }

    #[test]
    fn what_is_not_a_name_is_not_one() {
        for name in [b"".as_slice(), b"a b", b"a\0b", b"\xff", &[b'a'; 256]] {
            let names = vector(2, &[&[0], vector(2, name).as_slice()].concat());
            check(&records(&message(Some(&[extension(0, &names)])), 999), "None [] true");
        }
        let other_kind = vector(2, &[&[1], vector(2, b"a").as_slice()].concat());
        check(&records(&message(Some(&[extension(0, &other_kind)])), 999), "None [] true");
    }

    #[test]
    fn other_bytes_give_nothing() {
        check(b"", "None [] false");
        check(b"GET / HTTP/1.1\r\n\r\n", "None [] false");
        check(b"\x16\x03\x01\0\x04\x02\0\0\0", "None [] false");
        check(b"\x16\x03\x01\0\0\x16\x03\x01\0\0", "None [] false");
        let mut lies = usual();
        lies[3] = 20;
        check(&records(&lies, 999), "None [] false");
    }

    #[test]
    fn memory_is_bounded() {
        let many = (0..ALPN_MAX + 5).flat_map(|_| vector(1, b"h2")).collect::<Vec<_>>();
        let hello =
            client_hello_server_name(&records(&message(Some(&[extension(16, &vector(2, &many))])), 999));
        assert_eq!(hello.alpn.len(), ALPN_MAX);
        assert!(hello.complete);
        let long = message(Some(&[extension(1, &[0; 30000]), extension(16, &vector(2, &vector(1, b"h2")))]));
        let stream = records(&long, 9000);
        assert_eq!(handshake(&stream).len(), CLIENT_HELLO_BYTES_MAX);
        check(&stream, "None [] false");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = sniff(&bytes);
            let _ = client_hello_server_name(&bytes);
        }

        #[test]
        fn a_damaged_hello_is_taken(at in 0usize..200, value: u8, size in 1usize..200) {
            let mut stream = records(&usual(), size);
            let at = at % stream.len();
            stream[at] = value;
            prop_assert!(client_hello_server_name(&stream).alpn.len() <= ALPN_MAX);
        }
    }
}
