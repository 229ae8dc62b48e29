//! Given: a socket, a way to send, and bytes. Gives: one call of that way, and how many bytes it took. Refuses to know: what
//! they mean, but that a head must pass through a buffer of the process to be seen.

use std::io::{self, IoSlice, Write};
use std::os::fd::BorrowedFd;

use rustix::io::ReadWriteFlags;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags};
use rustix::pipe::SpliceFlags;

use crate::axes::Send;
use crate::ring::{Ring, Shape};

/// Most that a pipe takes at once, which has room for 16 pages.
pub(crate) const PIPE_BYTES: usize = 1 << 16;

/// Pieces of a message of many.
const PIECES_OF_MESSAGE: usize = 2;

/// The least bytes of a segment behind the first two: the tracer looks at 32 segments, and heads must be among them.
const SEGMENT_BYTES: usize = 16;

/// The offset that stands for none.
pub(crate) const NO_OFFSET: u64 = u64::MAX;

/// A way to send.
pub(crate) struct Sender {
    way: Send,
    /// Segments of a vector.
    segments: usize,
    ring: Option<Ring>,
}

impl Sender {
    pub(crate) fn new(way: Send, segments: usize) -> io::Result<Sender> {
        let ring = Send::RINGS.contains(&way).then(Ring::new).transpose()?;
        Ok(Sender { way, segments, ring })
    }

    /// Sends some of `bytes`, of which the first `head` belong to a head.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8], head: usize) -> io::Result<usize> {
        let pieces: Vec<_> = segments(bytes, self.segments).into_iter().map(IoSlice::new).collect();
        let shape = match self.way {
            Send::Write => return Ok(rustix::io::write(socket, bytes)?),
            Send::Writev => return Ok(rustix::io::writev(socket, &pieces)?),
            Send::Pwritev2 => {
                return Ok(rustix::io::pwritev2(socket, &pieces, NO_OFFSET, ReadWriteFlags::empty())?);
            }
            Send::Sendto => return Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?),
            Send::Sendmsg => {
                let mut nothing = SendAncillaryBuffer::default();
                return Ok(rustix::net::sendmsg(socket, &pieces, &mut nothing, SendFlags::NOSIGNAL)?);
            }
            Send::Sendmmsg => return messages(socket, bytes),
            // The head must be seen, the body only counted: as servers use it.
            Send::Sendfile | Send::Splice if head > 0 => {
                return Ok(rustix::io::write(socket, bytes.get(..head).unwrap_or(bytes))?);
            }
            Send::Sendfile => return from_file(socket, bytes),
            Send::Splice => return from_pipe(socket, bytes),
            Send::UringPlain => Shape::Plain,
            Send::UringMessage => Shape::Message,
            Send::UringFile => Shape::File,
            Send::UringZeroCopy => Shape::ZeroCopy,
        };
        let ring = self.ring.as_mut().ok_or_else(|| io::Error::other("a ring was made"))?;
        ring.send(socket, shape, bytes)
    }
}

/// Cuts bytes into so many segments, or fewer: two small ones first, so that start lines are cut.
pub(crate) fn segments(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut segments = Vec::new();
    for number in 1..count {
        let wanted = match number {
            1 => 1,
            2 => 9,
            _ => rest.len().div_ceil(count - number + 1).max(SEGMENT_BYTES),
        };
        let Some((segment, behind)) = rest.split_at_checked(wanted) else { break };
        segments.push(segment);
        rest = behind;
    }
    segments.push(rest);
    segments
}

fn messages(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let pieces: Vec<_> = segments(bytes, 3 * PIECES_OF_MESSAGE).into_iter().map(IoSlice::new).collect();
    let mut nothing: Vec<_> =
        pieces.chunks(PIECES_OF_MESSAGE).map(|_| SendAncillaryBuffer::default()).collect();
    let parts = pieces.chunks(PIECES_OF_MESSAGE).zip(&mut nothing);
    let mut messages: Vec<_> = parts.map(|(pieces, nothing)| MMsgHdr::new(pieces, nothing)).collect();
    let sent = rustix::net::sendmmsg(socket, &mut messages, SendFlags::NOSIGNAL)?;
    Ok(messages.iter().take(sent).map(MMsgHdr::bytes_sent).sum())
}

fn from_file(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut file: std::fs::File = rustix::fs::memfd_create("body", rustix::fs::MemfdFlags::CLOEXEC)?.into();
    file.write_all(bytes)?;
    Ok(rustix::fs::sendfile(socket, &file, Some(&mut 0), bytes.len())?)
}

fn from_pipe(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let held = rustix::io::write(&writer, bytes.get(..PIPE_BYTES).unwrap_or(bytes))?;
    Ok(rustix::pipe::splice(&reader, None, socket, None, held, SpliceFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_the_bytes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for length in 0..bytes.len() {
            for count in [1, 2, 3, 6, 40] {
                let segments = segments(&bytes[..length], count);
                assert_eq!(segments.concat(), &bytes[..length]);
                assert!(segments.len() <= count);
            }
        }
        assert_eq!(segments(&bytes, 40).len(), 40);
        assert_eq!(segments(&bytes[..100], 40).len(), 8);
    }
}
