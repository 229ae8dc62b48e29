//! Given: a socket, a way to receive, and how many bytes are to come. Gives: some of them, never more. Refuses to know: what
//! they mean, but that a head must pass through a buffer of the process to be seen.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::ReadWriteFlags;
use rustix::net::{RecvAncillaryBuffer, RecvFlags};
use rustix::pipe::SpliceFlags;

use crate::axes::Receive;
use crate::ring::{Many, Ring, Shape};
use crate::send::{NO_OFFSET, PIPE_BYTES};

/// A way to receive.
pub(crate) struct Receiver {
    way: Receive,
    /// Segments of a vector.
    segments: usize,
    ring: Option<Ring>,
    many: Option<Many>,
}

impl Receiver {
    pub(crate) fn new(way: Receive, segments: usize) -> io::Result<Receiver> {
        let is_many = way == Receive::UringMultishot;
        let ring = (Receive::RINGS.contains(&way) && !is_many).then(Ring::new).transpose()?;
        Ok(Receiver { way, segments, ring, many: is_many.then(Many::new).transpose()? })
    }

    /// Receives some of `wanted` bytes, of which the first `head` belong to a head.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        wanted: usize,
        head: usize,
    ) -> io::Result<Vec<u8>> {
        if let Some(many) = &mut self.many {
            return many.receive(socket);
        }
        let mut room = vec![0; wanted];
        let count = match self.way {
            Receive::Read => rustix::io::read(socket, &mut room)?,
            Receive::Readv => rustix::io::readv(socket, &mut pieces(&mut room, self.segments))?,
            Receive::Preadv2 => {
                let flags = ReadWriteFlags::empty();
                rustix::io::preadv2(socket, &mut pieces(&mut room, self.segments), NO_OFFSET, flags)?
            }
            Receive::Recvfrom => rustix::net::recvfrom(socket, &mut room, RecvFlags::empty())?.1,
            Receive::Recvmsg => {
                let mut nothing = RecvAncillaryBuffer::default();
                let mut pieces = pieces(&mut room, self.segments);
                rustix::net::recvmsg(socket, &mut pieces, &mut nothing, RecvFlags::empty())?.bytes
            }
            Receive::Recvmmsg => return messages(socket, &mut room),
            Receive::WaitAll => rustix::net::recv(socket, &mut room, RecvFlags::WAITALL)?.1,
            Receive::Peek => {
                rustix::net::recv(socket, &mut room, RecvFlags::PEEK)?;
                let (_, seen) = rustix::net::recv(socket, &mut room, RecvFlags::PEEK)?;
                let half = room.get_mut(..seen.div_ceil(2)).unwrap_or_default();
                rustix::net::recv(socket, half, RecvFlags::empty())?.1
            }
            Receive::Splice if head > 0 => {
                let most = wanted.min(head);
                rustix::net::recv(socket, room.get_mut(..most).unwrap_or_default(), RecvFlags::empty())?.1
            }
            Receive::Splice => return through_pipe(socket, wanted),
            Receive::UringRecv => self.ring()?.receive(socket, Shape::Plain, &mut room)?,
            Receive::UringRecvmsg => self.ring()?.receive(socket, Shape::Message, &mut room)?,
            Receive::UringRead | Receive::UringMultishot => {
                self.ring()?.receive(socket, Shape::File, &mut room)?
            }
        };
        room.truncate(count);
        Ok(room)
    }

    /// Takes nothing more.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.many.as_mut().map_or(Ok(()), Many::end)
    }

    fn ring(&mut self) -> io::Result<&mut Ring> {
        self.ring.as_mut().ok_or_else(|| io::Error::other("no ring was made"))
    }
}

/// Cuts room into so many segments, or fewer: a small one first.
fn pieces(room: &mut [u8], count: usize) -> Vec<IoSliceMut<'_>> {
    let each = room.len().div_ceil(count).max(1);
    let (first, rest) = room.split_at_mut(room.len().min(7));
    std::iter::once(first).chain(rest.chunks_mut(each)).map(IoSliceMut::new).collect()
}

/// `recvmmsg` into three messages of two pieces, each of which takes what the one before left.
fn messages(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Vec<u8>> {
    const SIZES: [usize; 6] = [3, 20, 40, 400, 1000, usize::MAX];
    let mut rest = room;
    let mut parts = Vec::new();
    for size in SIZES {
        let (part, behind) = rest.split_at_mut(size.min(rest.len()));
        parts.push(part);
        rest = behind;
    }
    let mut pieces: Vec<_> = parts
        .iter_mut()
        .filter(|part| !part.is_empty())
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
        .collect();
    let mut headers: Vec<_> = pieces
        .chunks_mut(2)
        .map(|pieces| {
            // SAFETY: zeroes are a message without address, pieces and control data.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = pieces.as_mut_ptr();
            header.msg_hdr.msg_iovlen = pieces.len() as _;
            header
        })
        .collect();
    let (fd, count) = (socket.as_raw_fd(), headers.len() as u32);
    // SAFETY: the headers and what they point to outlive the call, and nothing else has the room.
    let filled = unsafe {
        libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_WAITFORONE as _, std::ptr::null_mut())
    };
    let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
    let lengths: Vec<_> = headers.iter().take(filled).map(|header| header.msg_len as usize).collect();
    let mut received = Vec::new();
    for (parts, length) in parts.chunks(2).zip(lengths) {
        let whole = parts.concat();
        received.extend_from_slice(whole.get(..length).unwrap_or_default());
    }
    Ok(received)
}

fn through_pipe(socket: BorrowedFd<'_>, wanted: usize) -> io::Result<Vec<u8>> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let most = wanted.min(PIPE_BYTES);
    let held = rustix::pipe::splice(socket, None, &writer, None, most, SpliceFlags::empty())?;
    let mut bytes = vec![0; held];
    let read = rustix::io::read(&reader, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
