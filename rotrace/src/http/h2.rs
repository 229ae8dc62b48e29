//! Given: the bytes of one direction of an HTTP/2 connection, in pieces, with gaps. Gives: header blocks, each whole or said
//! to be cut, lengths of DATA, and ends of streams. Refuses to know: the other direction, HPACK, time, and which stream means
//! what.
//!
//! ```text
//!          a header                     the payload is over
//!  Header ──────────▶ Payload of a frame ──────────────────▶ Header
//!    │  a gap           │ a gap that is longer than the payload; a frame that no peer sends
//!    ▼                  ▼
//!   Lost ───────────────────────────────────────────────────▶ Header
//!          frames surely begin with a piece: see `rotrace_ebpf::frames::begin`
//! ```
//!
//! A gap inside a payload does no harm to the frames behind it, since its frame says where it ends; it does to what the
//! payload says. DATA is all gap, but for its first bytes.

#[cfg(test)]
pub(crate) mod tests;

use std::mem;

use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::frames::{FRAME_HEADER_BYTES, Frame, PREFACE_BYTES, begin_with, flag, kind};

/// Longest header block that is read whole, its CONTINUATION frames included: as much as of a head of HTTP/1.
pub const BLOCK_BYTES_MAX: usize = 24 * 1024;

/// A number of 32 bits in a payload.
const WORD_BYTES: u32 = 4;

/// What a direction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A header block is over.
    Block(Block<'a>),
    /// So many bytes of a stream's body went by, of which these were captured; they are the first of what is in a frame,
    /// or follow on what was given before.
    Data {
        /// The stream.
        stream: u32,
        /// Bytes without padding.
        size: u64,
        /// Captured ones, from the first on.
        bytes: &'a [u8],
    },
    /// How many bytes of a stream's body went by is not known.
    DataUnknown {
        /// The stream.
        stream: u32,
    },
    /// A stream's direction is over, by DATA.
    End {
        /// The stream.
        stream: u32,
    },
    /// A stream ends before its time (RFC 9113 §6.4).
    Reset {
        /// The stream.
        stream: u32,
    },
    /// The sender takes no streams above this one (RFC 9113 §6.8).
    GoAway {
        /// The last stream that it takes.
        last_stream: u32,
    },
    /// Where the next frame begins is not known; header blocks may be missing.
    Lost,
}

/// A header block (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The stream.
    pub stream: u32,
    /// Its fields, or the first of them.
    pub fields: &'a [u8],
    /// All of them are there.
    pub is_whole: bool,
    /// The stream's direction is over.
    pub ends_stream: bool,
    /// It is a request that the server announces an answer to, on a stream of its own.
    pub is_promise: bool,
    /// Bytes of its frames, their headers included.
    pub wire_bytes: u64,
    /// What the reader was given as mark with its first byte.
    pub mark: u64,
}

/// Reads the frames of one direction.
#[derive(Clone, Debug)]
pub struct FrameReader {
    state: State,
    /// The bytes of a frame's header so far, or the first bytes of its payload.
    begun: Vec<u8>,
    /// The block that goes on, if any.
    open: Option<Open>,
    /// Its fields so far.
    fields: Vec<u8>,
    /// Given with the first byte of the frame.
    mark: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the client preface are still to come.
    Preface(u64),
    /// In a frame's header.
    Header,
    /// In a frame's payload.
    Payload(Payload),
    /// Somewhere.
    Lost,
}

/// A frame whose payload goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Payload {
    frame: Frame,
    /// Bytes of it that have gone by.
    taken: u32,
    /// Bytes of padding; `None` when its length was not seen, or not yet.
    padding: Option<u32>,
}

/// A header block whose end has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    stream: u32,
    is_whole: bool,
    ends_stream: bool,
    is_promise: bool,
    wire_bytes: u64,
    mark: u64,
}

impl FrameReader {
    /// At the begin of what a client sends: its preface.
    pub fn client() -> Self {
        FrameReader::in_state(State::Preface(PREFACE_BYTES))
    }

    /// At the begin of what a server sends: a frame.
    pub fn server() -> Self {
        FrameReader::in_state(State::Header)
    }

    /// In the middle of a connection.
    pub fn lost() -> Self {
        FrameReader::in_state(State::Lost)
    }

    /// True while it is not known where a frame begins.
    pub fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Memory that the reader takes besides its own size; at most [`BLOCK_BYTES_MAX`] and some bytes.
    pub fn retained_bytes(&self) -> usize {
        self.begun.capacity() + self.fields.capacity()
    }

    /// Takes the next bytes, which are a piece, or of one. `mark` is given back with the blocks that begin in it.
    pub fn bytes(&mut self, mut bytes: &[u8], mark: u64, each: &mut dyn FnMut(Event<'_>)) {
        if self.state == State::Lost {
            if !begin_with(bytes) {
                return;
            }
            self.state = State::Header;
        }
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return,
                State::Preface(left) => {
                    let step = bytes.len().min(*left as usize);
                    *left -= step as u64;
                    bytes = bytes.get(step..).unwrap_or_default();
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Header => self.header(&mut bytes, mark, each),
                State::Payload(payload) => {
                    let left = (payload.frame.length - payload.taken) as usize;
                    let (now, rest) = bytes.split_at(bytes.len().min(left));
                    bytes = rest;
                    self.payload(now.len() as u32, now, each);
                }
            }
        }
    }

    /// Passes over bytes that were not captured.
    pub fn gap(&mut self, length: u64, each: &mut dyn FnMut(Event<'_>)) {
        match &mut self.state {
            State::Preface(left) if *left >= length => {
                *left -= length;
                if *left == 0 {
                    self.state = State::Header;
                }
            }
            State::Payload(payload) if u64::from(payload.frame.length - payload.taken) >= length => {
                self.payload(length as u32, &[], each);
            }
            State::Lost => {}
            State::Preface(_) | State::Header | State::Payload(_) => {
                if length > 0 {
                    self.lose(each);
                }
            }
        }
    }

    fn in_state(state: State) -> Self {
        FrameReader { state, begun: Vec::new(), open: None, fields: Vec::new(), mark: 0 }
    }

    fn header(&mut self, bytes: &mut &[u8], mark: u64, each: &mut dyn FnMut(Event<'_>)) {
        if self.begun.is_empty() {
            self.mark = mark;
        }
        let wanted = FRAME_HEADER_BYTES - self.begun.len();
        let (now, rest) = bytes.split_at(bytes.len().min(wanted));
        *bytes = rest;
        self.begun.extend_from_slice(now);
        let Some(frame) = Frame::of(&Prefix::from_bytes(&self.begun)) else { return };
        self.begun.clear();
        // The reserved bit means nothing (RFC 9113 §4.1).
        self.begin(Frame { stream: frame.stream & (u32::MAX >> 1), ..frame }, each);
    }

    fn begin(&mut self, frame: Frame, each: &mut dyn FnMut(Event<'_>)) {
        let Frame { kind, flags, stream, length } = frame;
        let goes_on = kind == kind::CONTINUATION && self.open.is_some_and(|open| open.stream == stream);
        let is_possible = match kind {
            // Nothing may stand between the frames of a block (RFC 9113 §6.10).
            _ if self.open.is_some() => goes_on,
            kind::CONTINUATION => false,
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::RST_STREAM => stream != 0,
            _ => true,
        };
        if !is_possible {
            return self.lose(each);
        }
        let wire_bytes = FRAME_HEADER_BYTES as u64 + u64::from(length);
        match &mut self.open {
            Some(open) => open.wire_bytes += wire_bytes,
            None if matches!(kind, kind::HEADERS | kind::PUSH_PROMISE) => {
                self.open = Some(Open {
                    stream,
                    is_whole: true,
                    ends_stream: kind == kind::HEADERS && flags & flag::END_STREAM != 0,
                    is_promise: kind == kind::PUSH_PROMISE,
                    wire_bytes,
                    mark: self.mark,
                });
            }
            None => {}
        }
        let padding = if has_padding(&frame) { None } else { Some(0) };
        self.state = State::Payload(Payload { frame, taken: 0, padding });
        if length == 0 {
            self.end(frame, each);
        }
    }

    /// Takes `size` bytes of the payload, of which `bytes` are all or none.
    fn payload(&mut self, size: u32, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        let State::Payload(payload) = &mut self.state else { return };
        let Payload { frame, taken: from, .. } = *payload;
        payload.taken += size;
        if from == 0 && has_padding(&frame) {
            payload.padding = bytes.first().map(|&length| u32::from(length));
        }
        let Payload { taken: to, padding, .. } = *payload;
        match frame.kind {
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                let lead = lead_bytes(&frame);
                let Some(end) = frame.length.checked_sub(padding.unwrap_or(0)).filter(|&end| end >= lead)
                else {
                    return self.lose(each);
                };
                // Of the bytes, those between what leads and the padding.
                let begin = lead.clamp(from, to);
                let content = end.clamp(begin, to) - begin;
                let skipped = (begin - from) as usize;
                let shown = bytes.get(skipped..skipped + content as usize).unwrap_or_default();
                if frame.kind == kind::DATA {
                    data(frame.stream, padding, content, shown, each);
                } else if padding.is_none() || (shown.len() as u32) < content {
                    self.cut();
                } else if self.ends_here(&frame, to, end) {
                    return self.end_block(shown, each);
                } else {
                    self.keep(shown);
                }
            }
            // The last stream is the first word.
            kind::GOAWAY if from < WORD_BYTES && self.begun.len() == from as usize => {
                self.begun.extend_from_slice(bytes.get(..WORD_BYTES as usize).unwrap_or(bytes));
            }
            _ => {}
        }
        if to == frame.length {
            self.end(frame, each);
        }
    }

    /// True when a block lies in one frame, and all of it in one piece: then it is not copied.
    fn ends_here(&self, frame: &Frame, to: u32, end: u32) -> bool {
        let is_last = to == frame.length && end == frame.length && frame.flags & flag::END_HEADERS != 0;
        is_last && self.fields.is_empty() && self.open.is_some_and(|open| open.is_whole)
    }

    /// The payload is over.
    fn end(&mut self, frame: Frame, each: &mut dyn FnMut(Event<'_>)) {
        self.state = State::Header;
        let Frame { kind, flags, stream, .. } = frame;
        match kind {
            kind::DATA if flags & flag::END_STREAM != 0 => each(Event::End { stream }),
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION if flags & flag::END_HEADERS != 0 => {
                let fields = mem::take(&mut self.fields);
                self.end_block(&fields, each);
            }
            kind::RST_STREAM => each(Event::Reset { stream }),
            kind::GOAWAY => {
                let word = self.begun.first_chunk::<4>().map(|word| u32::from_be_bytes(*word));
                if let Some(last_stream) = word {
                    each(Event::GoAway { last_stream: last_stream & (u32::MAX >> 1) });
                }
            }
            _ => {}
        }
        self.begun.clear();
    }

    fn end_block(&mut self, fields: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        self.state = State::Header;
        let Some(open) = self.open.take() else { return };
        let Open { stream, is_whole, ends_stream, is_promise, wire_bytes, mark } = open;
        each(Event::Block(Block { stream, fields, is_whole, ends_stream, is_promise, wire_bytes, mark }));
    }

    /// Keeps a part of a block, as long as there is room and nothing is missing before it.
    fn keep(&mut self, part: &[u8]) {
        let Some(open) = &mut self.open else { return };
        if !open.is_whole {
            return;
        }
        let room = BLOCK_BYTES_MAX - self.fields.len();
        open.is_whole = part.len() <= room;
        let part = part.get(..room).unwrap_or(part);
        let needed = self.fields.len() + part.len();
        if needed > self.fields.capacity() {
            let capacity = needed.next_power_of_two().min(BLOCK_BYTES_MAX).max(needed);
            self.fields.reserve_exact(capacity - self.fields.len());
        }
        self.fields.extend_from_slice(part);
    }

    /// Bytes of a block are missing.
    fn cut(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_whole = false;
        }
    }

    fn lose(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        *self = FrameReader::lost();
        each(Event::Lost);
    }
}

fn data(stream: u32, padding: Option<u32>, content: u32, shown: &[u8], each: &mut dyn FnMut(Event<'_>)) {
    match padding {
        None => each(Event::DataUnknown { stream }),
        Some(_) if content > 0 => each(Event::Data { stream, size: content.into(), bytes: shown }),
        Some(_) => {}
    }
}

fn has_padding(frame: &Frame) -> bool {
    matches!(frame.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE) && frame.flags & flag::PADDED != 0
}

/// Bytes of a payload before its content (RFC 9113 §6.1, §6.2, §6.6).
fn lead_bytes(frame: &Frame) -> u32 {
    const PRIORITY_BYTES: u32 = 5;
    const PROMISED_BYTES: u32 = 4;
    let behind_padding = match frame.kind {
        kind::HEADERS if frame.flags & flag::PRIORITY != 0 => PRIORITY_BYTES,
        kind::PUSH_PROMISE => PROMISED_BYTES,
        _ => 0,
    };
    u32::from(has_padding(frame)) + behind_padding
}
