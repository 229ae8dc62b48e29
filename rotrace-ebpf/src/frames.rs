//! Given: the pieces of one direction of an HTTP/2 connection, as they lie in memory. Gives: the parts that become records,
//! and how many of their first bytes to copy, so that DATA is never copied beyond its first bytes. Refuses to know: what
//! other frames say, and how memory is read. The daemon finds frames by the same lines.

use crate::classify::Prefix;
use crate::limits::{
    ALWAYS_COPIED_BYTES, BODIES_COPIED_BYTES, BODY_COPIED_BYTES, DATA_COPIED_BYTES, DATA_WHOLE_BYTES,
    FRAMES_IN_RECORD, PREFIX_WORDS,
};
use crate::memory::Memory;
use crate::websocket::stage;

/// Bytes of a frame's header (RFC 9113 §4.1).
pub const FRAME_HEADER_BYTES: usize = 9;

/// Largest payload of a frame unless both peers agree on more (RFC 9113 §6.5.2). Who looks for frames takes no larger ones.
pub const FRAME_BYTES_USUAL: u32 = 16_384;

/// Bytes of the client preface (RFC 9113 §3.4).
pub const PREFACE_BYTES: u64 = 24;

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// Bytes of a body.
    pub const DATA: u8 = 0;
    /// Opens a stream, answers on it, or ends it.
    pub const HEADERS: u8 = 1;
    /// Says how much streams matter.
    pub const PRIORITY: u8 = 2;
    /// Ends a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// How the sender wants to be spoken to.
    pub const SETTINGS: u8 = 4;
    /// Announces a stream that the server opens.
    pub const PUSH_PROMISE: u8 = 5;
    /// Asks for a sign of life.
    pub const PING: u8 = 6;
    /// No more streams are taken.
    pub const GOAWAY: u8 = 7;
    /// More bytes may be sent.
    pub const WINDOW_UPDATE: u8 = 8;
    /// Goes on with a header block.
    pub const CONTINUATION: u8 = 9;
}

/// Bits of a frame's flags; meaning by type.
pub mod flag {
    /// DATA, HEADERS: the last of its stream in this direction.
    pub const END_STREAM: u8 = 0x01;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x01;
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the header block ends here.
    pub const END_HEADERS: u8 = 0x04;
    /// DATA, HEADERS, PUSH_PROMISE: padding stands at the end, its length at the begin.
    pub const PADDED: u8 = 0x08;
    /// HEADERS: priority stands before the header block.
    pub const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of its payload.
    pub length: u32,
    /// One of [`kind`], or another.
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The stream, 0 for the connection; the reserved bit as sent.
    pub stream: u32,
}

/// What is known of the frames of one direction, be it of HTTP/2 or of what a server has switched to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frames {
    /// Bytes of the payload that are still to come.
    pub(crate) left: u64,
    /// How many of them are copied. Of what a server has switched to: of its answer, how many words may still come, and then up to
    /// where the record at hand is copied.
    pub(crate) copies: u32,
    /// 1 while it is not known where a frame begins.
    pub(crate) lost: u32,
    /// Bytes of DATA that may still be copied of what HEADERS frames have opened.
    pub(crate) credit: u32,
    /// Of a connection whose server has switched protocols, one of [`crate::websocket::stage`].
    pub(crate) stage: u32,
}

/// The first bytes of a piece, which become a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many there are, at least 1 and at most the piece.
    pub size: u64,
    /// How many of them to copy.
    pub captured: u64,
}

impl Frame {
    /// Reads a header from the first bytes of `prefix`; `None` when they are too few.
    #[inline(always)]
    pub fn of(prefix: &Prefix) -> Option<Frame> {
        if prefix.length() < FRAME_HEADER_BYTES {
            return None;
        }
        let [a, b, _] = prefix.words();
        Some(Frame {
            length: (a as u32).swap_bytes() >> 8,
            kind: (a >> 24) as u8,
            flags: (a >> 32) as u8,
            stream: ((a >> 40) as u32 | (b as u32) << 24).swap_bytes(),
        })
    }

    /// True when a peer that keeps to RFC 9113 §6 sends such a header: the test for bytes of which nothing but their looks
    /// says that a frame begins there.
    #[inline(always)]
    pub fn is_plausible(&self) -> bool {
        use flag::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY};
        let Frame { length, kind, flags, stream } = *self;
        if length > FRAME_BYTES_USUAL || stream >> 31 != 0 {
            return false;
        }
        let has_stream = stream != 0;
        match kind {
            kind::DATA => has_stream && flags & !(END_STREAM | PADDED) == 0,
            kind::HEADERS => {
                has_stream && length > 0 && flags & !(END_STREAM | END_HEADERS | PADDED | PRIORITY) == 0
            }
            kind::PRIORITY => has_stream && length == 5 && flags == 0,
            kind::RST_STREAM => has_stream && length == 4 && flags == 0,
            kind::SETTINGS => {
                !has_stream && length.is_multiple_of(6) && flags & !ACK == 0 && (flags == 0 || length == 0)
            }
            kind::PUSH_PROMISE => has_stream && length > 4 && flags & !(END_HEADERS | PADDED) == 0,
            kind::PING => !has_stream && length == 8 && flags & !ACK == 0,
            kind::GOAWAY => !has_stream && length >= 8 && flags == 0,
            kind::WINDOW_UPDATE => length == 4 && flags == 0,
            kind::CONTINUATION => has_stream && flags & !END_HEADERS == 0,
            _ => false,
        }
    }

    /// True when all of the frame is copied: what it says is read, or it is small.
    #[inline(always)]
    pub fn is_copied(&self) -> bool {
        let is_read = self.kind != kind::DATA && self.kind <= kind::CONTINUATION;
        is_read || self.length <= DATA_WHOLE_BYTES
    }
}

/// True when frames surely begin with the first bytes of a piece of `size` bytes: a plausible header, and its frame fills
/// the piece to its end, or a second plausible header stands behind it; `second` gives the bytes there.
#[inline(always)]
pub fn begin(first: &Prefix, size: u64, second: impl FnOnce(u64) -> Option<Prefix>) -> bool {
    let Some(frame) = Frame::of(first) else { return false };
    if !frame.is_plausible() {
        return false;
    }
    let end = FRAME_HEADER_BYTES as u64 + frame.length as u64;
    if end == size {
        return true;
    }
    if end + FRAME_HEADER_BYTES as u64 > size {
        return false;
    }
    let Some(second) = second(end) else { return false };
    match Frame::of(&second) {
        Some(second) => second.is_plausible(),
        None => false,
    }
}

/// The same, but not for DATA: whoever does not know that HTTP/2 is spoken takes no body for it.
#[inline(always)]
pub fn show(first: &Prefix, size: u64, second: impl FnOnce(u64) -> Option<Prefix>) -> bool {
    match Frame::of(first) {
        Some(frame) => frame.kind != kind::DATA && begin(first, size, second),
        None => false,
    }
}

/// [`begin`] for bytes in a slice; for user space.
pub fn begin_with(bytes: &[u8]) -> bool {
    let behind = |end: u64| Some(Prefix::from_bytes(bytes.get(end as usize..)?));
    begin(&Prefix::from_bytes(bytes), bytes.len() as u64, behind)
}

/// [`show`] for bytes in a slice; for user space.
pub fn show_with(bytes: &[u8]) -> bool {
    let behind = |end: u64| Some(Prefix::from_bytes(bytes.get(end as usize..)?));
    show(&Prefix::from_bytes(bytes), bytes.len() as u64, behind)
}

impl Frames {
    /// Nothing has gone by: a frame begins with the next byte.
    pub const START: Frames = Frames { left: 0, copies: 0, lost: 0, credit: 0, stage: stage::NONE };

    /// Where a frame begins is not known.
    pub const LOST: Frames = Frames { lost: 1, ..Frames::START };

    /// So many bytes of the client preface are still to come.
    pub const fn preface(left: u64) -> Frames {
        Frames { left, copies: left as u32, ..Frames::START }
    }

    /// The next part of a piece of `size` bytes, which is at `address`, or nowhere when that is 0. `held` keeps the first
    /// bytes of a frame's header that is cut by the end of a piece.
    #[inline(always)]
    pub fn part(&mut self, held: &mut Prefix, memory: &impl Memory, address: u64, size: u64) -> Part {
        if address == 0 {
            self.pass_over(held, size);
            return Part { size, captured: 0 };
        }
        if self.lost == 1 && !self.find(held, memory, address, size) {
            return Part { size, captured: 0 };
        }
        let mut part = Part { size: 0, captured: 0 };
        self.walk(held, memory, address, size, &mut part);
        // The smallest record has room for it in any case.
        if size <= ALWAYS_COPIED_BYTES {
            part.captured = part.size;
        }
        part
    }

    #[inline(always)]
    fn walk(&mut self, held: &mut Prefix, memory: &impl Memory, address: u64, size: u64, part: &mut Part) {
        let mut frames = 0;
        while frames < FRAMES_IN_RECORD {
            frames += 1;
            if self.left > 0 {
                let rest = size - part.size;
                let step = if self.left < rest { self.left } else { rest };
                self.left -= step;
                part.size += step;
                let copied = if step < self.copies as u64 { step as u32 } else { self.copies };
                self.copies -= copied;
                part.captured += copied as u64;
                if (copied as u64) < step {
                    return;
                }
            }
            if part.size >= size {
                return;
            }
            let rest = size - part.size;
            let wanted = FRAME_HEADER_BYTES - held.length();
            let there = if rest < wanted as u64 { rest as usize } else { wanted };
            let there = held.forgotten(there as u32) as usize;
            let Some(first) = read(memory, address + part.size, there) else {
                self.lose(held);
                part.size = size;
                return;
            };
            *held = held.join(&first);
            part.size += there as u64;
            part.captured = part.size;
            let Some(frame) = Frame::of(held) else { return };
            *held = Prefix::EMPTY;
            self.left = frame.length as u64;
            self.copies = self.copies_of(&frame);
        }
    }

    /// How many of the first bytes of a frame's payload are copied. Of DATA, as many as HEADERS frames before it allow, so that
    /// the begin of a body is there however it is cut into frames, and nothing of what follows.
    #[inline(always)]
    fn copies_of(&mut self, frame: &Frame) -> u32 {
        if frame.kind == kind::HEADERS {
            let credit = self.credit + BODY_COPIED_BYTES;
            self.credit = if credit < BODIES_COPIED_BYTES { credit } else { BODIES_COPIED_BYTES };
        }
        if frame.is_copied() {
            return frame.length;
        }
        if frame.kind != kind::DATA || self.credit < DATA_COPIED_BYTES {
            return DATA_COPIED_BYTES;
        }
        let copied = if frame.length < self.credit { frame.length } else { self.credit };
        self.credit -= copied;
        copied
    }

    /// Bytes that cannot be looked at.
    #[inline(always)]
    pub fn pass_over(&mut self, held: &mut Prefix, size: u64) {
        if self.lost == 0 && self.left >= size {
            self.left -= size;
            // What follows on bytes that nobody has seen is of no use.
            self.copies = 0;
        } else {
            self.lose(held);
        }
    }

    /// From here on it is not known where a frame begins.
    #[inline(always)]
    pub(crate) fn lose(&mut self, held: &mut Prefix) {
        *self = Frames { stage: self.stage, ..Frames::LOST };
        *held = Prefix::EMPTY;
    }

    /// Looks whether frames surely begin with the piece.
    #[inline(always)]
    fn find(&mut self, held: &mut Prefix, memory: &impl Memory, address: u64, size: u64) -> bool {
        if size < FRAME_HEADER_BYTES as u64 {
            return false;
        }
        let Some(first) = read(memory, address, FRAME_HEADER_BYTES) else { return false };
        if !begin(&first, size, |end| read(memory, address + end, FRAME_HEADER_BYTES)) {
            return false;
        }
        *self = Frames::START;
        *held = Prefix::EMPTY;
        true
    }
}

/// The `length` bytes at `address`; `None` where they cannot be read.
#[inline(always)]
pub(crate) fn read(memory: &impl Memory, address: u64, length: usize) -> Option<Prefix> {
    let mut words = [0; PREFIX_WORDS];
    if memory.fill(address, length, &mut words) { Some(Prefix::of(words, length)) } else { None }
}

#[cfg(test)]
pub(crate) mod tests;
