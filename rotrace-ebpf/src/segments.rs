//! Given: the arguments of a call that moves stream bytes, and its result. Gives: the buffers those bytes are in,
//! in stream order. Refuses to know: what the bytes mean and how memory is read.

use crate::limits::MESSAGES_MAX;
use crate::memory::Memory;

/// Size of `struct iovec` on 64-bit (include/uapi/linux/uio.h).
const IOVEC_BYTES: u64 = 16;
/// Offset of `msg_iov` in `struct user_msghdr` on 64-bit (include/linux/socket.h); `msg_iovlen` is the word behind it.
const MSGHDR_IOV: u64 = 16;
/// Size of `struct mmsghdr` on 64-bit, and the offset of its `msg_len`.
const MMSGHDR_BYTES: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// One buffer and the stream bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is in the process.
    pub address: u64,
    /// How many of its bytes the call moved; not 0.
    pub size: u64,
}

/// A walk over the buffers of one call. Every step is one look at memory, so that the probes can bound the steps.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Next iovec entry, or the buffer itself.
    next: u64,
    /// iovec entries left; [`PLAIN`] when `next` is the buffer itself.
    entries: u64,
    /// Stream bytes of this message not yet given out.
    left: u64,
    /// Next message header, and how many there are.
    message: u64,
    messages: u64,
}

/// What one step of a [`Walk`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A buffer.
    Segment(Segment),
    /// Nothing at this step; take another.
    Again,
    /// All bytes have been given out.
    Done,
    /// The process's memory did not say where the rest is.
    Fault,
}

const PLAIN: u64 = u64::MAX;

impl Walk {
    /// One buffer: `read`, `write`, `recvfrom`, `sendto`.
    pub const fn buffer(address: u64, size: u64) -> Self {
        Walk { next: address, entries: PLAIN, left: size, message: 0, messages: 0 }
    }

    /// An array of `struct iovec`: `readv`, `writev`.
    pub const fn vector(address: u64, entries: u64, size: u64) -> Self {
        Walk { next: address, entries, left: size, message: 0, messages: 0 }
    }

    /// A `struct user_msghdr`: `recvmsg`, `sendmsg`.
    #[inline(always)]
    pub fn message(memory: &impl Memory, address: u64, size: u64) -> Option<Self> {
        let [next, entries] = memory.words(address.wrapping_add(MSGHDR_IOV))?;
        Some(Walk { next, entries, left: size, message: 0, messages: 0 })
    }

    /// An array of `struct mmsghdr`: `recvmmsg`, `sendmmsg`, whose result counts messages.
    pub const fn messages(address: u64, messages: u64) -> Self {
        Walk { next: 0, entries: 0, left: 0, message: address, messages }
    }

    /// Goes one step on.
    #[inline(always)]
    pub fn step(&mut self, memory: &impl Memory) -> Step {
        if self.left == 0 {
            return self.next_message(memory);
        }
        if self.entries == PLAIN {
            let segment = Segment { address: self.next, size: self.left };
            self.left = 0;
            return Step::Segment(segment);
        }
        if self.entries == 0 {
            return Step::Fault;
        }
        let Some([address, room]) = memory.words(self.next) else { return Step::Fault };
        self.next = self.next.wrapping_add(IOVEC_BYTES);
        self.entries -= 1;
        let size = if room < self.left { room } else { self.left };
        self.left -= size;
        if size == 0 { Step::Again } else { Step::Segment(Segment { address, size }) }
    }

    #[inline(always)]
    fn next_message(&mut self, memory: &impl Memory) -> Step {
        if self.messages == 0 {
            return Step::Done;
        }
        let header = self.message;
        self.message = header.wrapping_add(MMSGHDR_BYTES);
        self.messages -= 1;
        let Some([next, entries]) = memory.words(header.wrapping_add(MSGHDR_IOV)) else { return Step::Fault };
        let Some(size) = memory.half(header.wrapping_add(MMSGHDR_LEN)) else { return Step::Fault };
        self.next = next;
        self.entries = entries;
        self.left = size as u64;
        Step::Again
    }
}

/// Bytes that `messages` messages of `sendmmsg` or `recvmmsg` moved in all; what cannot be read counts as 0.
#[inline(always)]
pub fn total_of_messages(memory: &impl Memory, address: u64, messages: u64) -> u64 {
    let mut total = 0;
    let mut at = 0;
    while at < MESSAGES_MAX as u64 {
        if at >= messages {
            break;
        }
        let length = address.wrapping_add(at * MMSGHDR_BYTES + MMSGHDR_LEN);
        total += memory.half(length).unwrap_or(0) as u64;
        at += 1;
    }
    total
}
