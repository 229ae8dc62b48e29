//! Given: a socket, and buffers. Gives: one request of io_uring at a time, and how it ended. Refuses to know: what moves.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};

/// Requests that may be under way: one that moves, one that gives its buffer back, one that ends it.
const ENTRIES: u32 = 8;

/// Buffers of a request that is answered many times, and their size in bytes.
const BUFFERS: u16 = 4;
const BUFFER_BYTES: usize = 4096;
const GROUP: u16 = 1;

/// Names of requests.
const ONE: u64 = 1;
const PROVIDED: u64 = 2;
const MANY: u64 = 3;
const CANCEL: u64 = 4;

/// The offset that stands for none.
const NO_OFFSET: u64 = u64::MAX;

/// How one buffer is moved by a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// IORING_OP_SEND and IORING_OP_RECV.
    Plain,
    /// IORING_OP_SENDMSG and IORING_OP_RECVMSG, in two pieces.
    Message,
    /// IORING_OP_WRITE and IORING_OP_READ.
    File,
    /// IORING_OP_SEND_ZC.
    ZeroCopy,
}

/// A ring of one thread.
pub(crate) struct Ring(IoUring);

impl Ring {
    pub(crate) fn new() -> io::Result<Ring> {
        Ok(Ring(IoUring::new(ENTRIES)?))
    }

    /// Sends some of `bytes`.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, shape: Shape, bytes: &[u8]) -> io::Result<usize> {
        let (fd, start, length) = (Fd(socket.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32);
        match shape {
            Shape::Plain => self.run(opcode::Send::new(fd, start, length).build()),
            Shape::File => self.run(opcode::Write::new(fd, start, length).offset(NO_OFFSET).build()),
            Shape::ZeroCopy => self.run(opcode::SendZc::new(fd, start, length).build()),
            Shape::Message => {
                let (head, tail) = bytes.split_at(bytes.len() / 2);
                let mut pieces =
                    [(head.as_ptr(), head.len()), (tail.as_ptr(), tail.len())].map(|(start, length)| {
                        libc::iovec { iov_base: start.cast_mut().cast(), iov_len: length }
                    });
                let message = message(&mut pieces);
                self.run(opcode::SendMsg::new(fd, &raw const message).build())
            }
        }
    }

    /// Receives some bytes.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        shape: Shape,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let (fd, start, length) = (Fd(socket.as_raw_fd()), into.as_mut_ptr(), into.len() as u32);
        match shape {
            Shape::File => self.run(opcode::Read::new(fd, start, length).offset(NO_OFFSET).build()),
            Shape::Message => {
                let (head, tail) = into.split_at_mut(into.len() / 2);
                let mut pieces = [head, tail]
                    .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() });
                let mut message = message(&mut pieces);
                self.run(opcode::RecvMsg::new(fd, &raw mut message).build())
            }
            Shape::Plain | Shape::ZeroCopy => self.run(opcode::Recv::new(fd, start, length).build()),
        }
    }

    /// Makes a request, whose buffers the caller lends, and waits until the kernel is done with them.
    fn run(&mut self, entry: Entry) -> io::Result<usize> {
        self.submit(entry.user_data(ONE))?;
        let mut moved = None;
        loop {
            let answer = self.answer()?;
            // What was sent without a copy is answered twice: when it is sent, and when its buffer is free.
            if !cqueue::notif(answer.flags()) {
                moved = Some(answer.result());
            }
            if !cqueue::more(answer.flags()) {
                return outcome(moved.unwrap_or_default());
            }
        }
    }

    fn submit(&mut self, entry: Entry) -> io::Result<()> {
        // SAFETY: all that the entry points to is lent to `run` or owned by `Many`, and both wait for the last answer
        // before they let go of it.
        unsafe { self.0.submission().push(&entry) }.map_err(io::Error::other)?;
        self.0.submit()?;
        Ok(())
    }

    fn answer(&mut self) -> io::Result<cqueue::Entry> {
        loop {
            if let Some(answer) = self.0.completion().next() {
                return Ok(answer);
            }
            match self.0.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

/// A message of `pieces`.
fn message(pieces: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: zeroes are a message without address, pieces and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    message
}

fn outcome(result: i32) -> io::Result<usize> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) }
}

/// A request to receive that is answered for each arrival.
pub(crate) struct Many {
    ring: Ring,
    buffers: Vec<u8>,
    is_armed: bool,
    arrived: VecDeque<Vec<u8>>,
}

impl Many {
    pub(crate) fn new() -> io::Result<Many> {
        let buffers = vec![0; BUFFERS as usize * BUFFER_BYTES];
        let mut many = Many { ring: Ring::new()?, buffers, is_armed: false, arrived: VecDeque::new() };
        many.provide(0, BUFFERS)?;
        Ok(many)
    }

    /// What has arrived; waits for it.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(bytes) = self.arrived.pop_front() {
                return Ok(bytes);
            }
            if !self.is_armed {
                let request = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
                self.ring.submit(request.user_data(MANY))?;
                self.is_armed = true;
            }
            self.take()?;
        }
    }

    /// Ends the request: nothing that arrives later is taken.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.is_armed {
            self.ring.submit(opcode::AsyncCancel::new(MANY).build().user_data(CANCEL))?;
        }
        while self.is_armed {
            self.take()?;
        }
        Ok(())
    }

    /// Gives buffers to the kernel.
    fn provide(&mut self, first: u16, count: u16) -> io::Result<()> {
        let start = first as usize * BUFFER_BYTES;
        let Some(buffer) = self.buffers.get_mut(start..) else { return Ok(()) };
        let request =
            opcode::ProvideBuffers::new(buffer.as_mut_ptr(), BUFFER_BYTES as i32, count, GROUP, first)
                .build();
        self.ring.submit(request.user_data(PROVIDED))
    }

    /// Takes one answer.
    fn take(&mut self) -> io::Result<()> {
        let answer = self.ring.answer()?;
        match answer.user_data() {
            PROVIDED => outcome(answer.result()).map(drop),
            MANY => {
                self.is_armed = cqueue::more(answer.flags());
                let ended = [libc::ENOBUFS, libc::ECANCELED].contains(&-answer.result());
                if ended {
                    return Ok(());
                }
                let length = outcome(answer.result())?;
                let Some(buffer) = cqueue::buffer_select(answer.flags()) else { return Ok(()) };
                let start = buffer as usize * BUFFER_BYTES;
                let bytes = self.buffers.get(start..start + length).unwrap_or_default();
                self.arrived.push_back(bytes.to_vec());
                self.provide(buffer, 1)
            }
            _ => Ok(()),
        }
    }
}
