//! Given: the bytes of one direction of an HTTP/1 connection, in pieces. Gives: heads, each whole, and by [`head`]
//! and [`body`] what they say and where their bodies end. Refuses to know: the other direction, time, and bytes that
//! are not part of a head.
//!
//! Every reader is a function of the bytes in order: how they were cut into pieces changes nothing. RFC 9112 is what
//! peers should do; where real ones do less and still understand each other, so do these readers.

pub mod body;
pub mod head;

use std::borrow::Cow;
use std::mem;

use memchr::memchr;

/// Longest head that is read, start line included. Servers take 8 to 16 KiB, and the probes copy 20 KiB.
pub const HEAD_BYTES_MAX: usize = 24 * 1024;

/// Collects one head after the other out of pieces. A head that lies in one piece is not copied.
#[derive(Clone, Debug, Default)]
pub struct HeadReader {
    /// The head so far; empty when none has begun.
    buffer: Vec<u8>,
    /// Bytes of `buffer` in which the head surely does not end, so that none is searched twice.
    searched: usize,
}

/// What a piece did to a head.
#[derive(Debug, PartialEq, Eq)]
pub enum HeadStep<'a> {
    /// The piece is used up and the head goes on.
    More,
    /// The head, from its start line to its empty line.
    Whole(Cow<'a, [u8]>),
    /// The head is longer than [`HEAD_BYTES_MAX`]; it is dropped.
    TooLong,
}

impl HeadReader {
    /// Takes the bytes of the head from the front of `bytes`. Line ends before the start line are no part of a head:
    /// [`skip_line_ends`] takes them away.
    pub fn feed<'a>(&mut self, bytes: &mut &'a [u8]) -> HeadStep<'a> {
        if self.buffer.is_empty() {
            return self.feed_in_place(bytes);
        }
        let before = self.buffer.len();
        let window = front(bytes, HEAD_BYTES_MAX - before);
        self.keep(window);
        let Some(end) = end_of_head(&self.buffer, &mut self.searched) else {
            *bytes = &[];
            return self.more_or_too_long();
        };
        self.buffer.truncate(end);
        *bytes = bytes.get(end.saturating_sub(before)..).unwrap_or_default();
        HeadStep::Whole(Cow::Owned(mem::take(self).buffer))
    }

    /// Forgets a head that has begun.
    pub fn clear(&mut self) {
        *self = HeadReader::default();
    }

    /// The first bytes of the head that has begun.
    pub fn begun(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes of memory that the head takes.
    pub fn retained_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn feed_in_place<'a>(&mut self, bytes: &mut &'a [u8]) -> HeadStep<'a> {
        let window = front(bytes, HEAD_BYTES_MAX);
        let mut searched = 0;
        if let Some(end) = end_of_head(window, &mut searched) {
            let (head, rest) = bytes.split_at(end);
            *bytes = rest;
            return HeadStep::Whole(Cow::Borrowed(head));
        }
        self.keep(window);
        self.searched = searched;
        *bytes = &[];
        self.more_or_too_long()
    }

    fn more_or_too_long(&mut self) -> HeadStep<'static> {
        if self.buffer.len() < HEAD_BYTES_MAX {
            return HeadStep::More;
        }
        self.clear();
        HeadStep::TooLong
    }

    /// Grows by doubling, but never above the bound, which `Vec` by itself would pass.
    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.next_power_of_two().min(HEAD_BYTES_MAX).max(needed);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }
}

/// Takes away line ends before a start line: a server ignores at least one (RFC 9112 §2.2).
pub fn skip_line_ends(bytes: &mut &[u8]) {
    while let [b'\r' | b'\n', rest @ ..] = *bytes {
        *bytes = rest;
    }
}

fn front(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Where the empty line ends. A line ends with LF, before which a CR may stand (RFC 9112 §2.2).
fn end_of_head(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    while let Some(block) = bytes.get(*searched..).and_then(<[u8]>::first_chunk)
        && !has_end(block)
    {
        *searched += BLOCK_BYTES;
    }
    while let Some(found) = bytes.get(*searched..).and_then(|rest| memchr(b'\n', rest)) {
        let line_end = *searched + found;
        match bytes.get(line_end + 1..).unwrap_or_default() {
            [b'\n', ..] => return Some(line_end + 2),
            [b'\r', b'\n', ..] => return Some(line_end + 3),
            [] | [b'\r'] => {
                *searched = line_end;
                return None;
            }
            _ => *searched = line_end + 1,
        }
    }
    *searched = bytes.len();
    None
}

/// Bytes that are looked at together, in place of the lines in them one by one.
const BLOCK_BYTES: usize = 32;

/// Whether an LF stands in the block, with an LF or CR behind it: no line of a head ends so but the last. Without a
/// branch, so that the compiler takes many bytes at a time.
fn has_end(block: &[u8; BLOCK_BYTES + 1]) -> bool {
    let (_, behind) = block.split_at(1);
    let pairs = block.iter().zip(behind);
    pairs.fold(false, |found, (&one, &next)| found | ((one == b'\n') & ((next == b'\n') | (next == b'\r'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The heads in `stream`, fed in pieces of `size` bytes; what is left over is `rest`.
    fn heads(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut reader = HeadReader::default();
        let mut heads = Vec::new();
        for mut piece in stream.chunks(size) {
            loop {
                if reader.begun().is_empty() {
                    skip_line_ends(&mut piece);
                }
                if piece.is_empty() {
                    break;
                }
                match reader.feed(&mut piece) {
                    HeadStep::More => assert!(piece.is_empty()),
                    HeadStep::Whole(head) => heads.push(head.into_owned()),
                    HeadStep::TooLong => return (heads, b"too long".to_vec()),
                }
            }
        }
        (heads, reader.begun().to_vec())
    }

    fn check(stream: &str, expect: &[&str], rest: &str) {
        for size in 1..=stream.len() {
            let (got, left) = heads(stream.as_bytes(), size);
            let got: Vec<_> = got.iter().map(|head| String::from_utf8_lossy(head)).collect();
            assert_eq!(got, expect, "in pieces of {size}");
            assert_eq!(String::from_utf8_lossy(&left), rest, "in pieces of {size}");
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        check("a\r\nb\r\n\r\nc\r\n", &["a\r\nb\r\n\r\n"], "c\r\n");
        check("a\nb\n\nc\r\n\nd\n\r\n", &["a\nb\n\n", "c\r\n\n", "d\n\r\n"], "");
        check("\r\n\n\ra\r\r\n \r\n\r\n\r\n", &["a\r\r\n \r\n\r\n"], "");
    }

    #[test]
    fn a_head_as_long_as_the_bound_is_read_and_a_longer_one_is_not() {
        for (length, read) in [(HEAD_BYTES_MAX, true), (HEAD_BYTES_MAX + 1, false)] {
            let mut head = vec![b'a'; length - 4];
            head.extend_from_slice(b"\r\n\r\n");
            for size in [1, 7, 4096, length] {
                let (got, _) = heads(&head, size);
                assert_eq!(got == [head.clone()], read, "{length} bytes in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_head_that_does_not_end_takes_no_more_memory_than_the_bound() {
        let mut reader = HeadReader::default();
        for at in 0.. {
            let step = reader.feed(&mut b"x".as_slice());
            assert!(reader.retained_bytes() <= HEAD_BYTES_MAX);
            if step == HeadStep::TooLong {
                assert_eq!(at, HEAD_BYTES_MAX - 1);
                break;
            }
        }
        assert_eq!(reader.retained_bytes(), 0);
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(stream in "[a\r\n]{0,40}|([a\r]{0,60}\n){0,4}[a\r\n]{0,40}", size in 1usize..5) {
            prop_assert_eq!(heads(stream.as_bytes(), size), heads(stream.as_bytes(), stream.len().max(1)));
        }
    }
}
