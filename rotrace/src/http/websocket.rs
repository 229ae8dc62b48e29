//! Given: the bytes of one direction of a WebSocket connection (RFC 6455 §5), in pieces, with gaps. Gives: how many frames,
//! messages and bytes of payload there were, and of how many bytes nobody can say. Refuses to know: the other direction,
//! payloads, extensions, time.
//!
//! ```text
//!          a header                  the payload is over
//!  Header ──────────▶ Behind a header ──────────────────▶ Header
//!    │  a gap           │ a gap that is longer than the payload
//!    │  no header       │
//!    ▼                  ▼   the probes say that a frame begins
//!   Lost ─────────────────────────────────────────────────▶ Header
//! ```
//!
//! A payload is passed over by its length, captured or not. The probes walk the same frames, and say of a record that begins with
//! one that it does; until then bytes are counted as bytes.

#[cfg(test)]
mod tests;

use std::ops::AddAssign;

use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::websocket::{FIN, Frame, HEADER_BYTES_MAX, MASK, Parsed};
use serde::Serialize;

pub use rotrace_ebpf::websocket::Sender;

/// What went by. All bytes of a direction are those of headers, payload bytes, or unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Frames of text, binary, and their continuations.
    pub data_frames: u64,
    /// Frames of close, ping and pong.
    pub control_frames: u64,
    /// Messages whose last frame has begun.
    pub messages: u64,
    /// Payload bytes of all these frames, as sent: compressed where they are.
    pub payload_bytes: u64,
    /// Bytes of which it is not known what frames they were.
    pub unknown_bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        let Tally { data_frames, control_frames, messages, payload_bytes, unknown_bytes } = other;
        self.data_frames = self.data_frames.saturating_add(data_frames);
        self.control_frames = self.control_frames.saturating_add(control_frames);
        self.messages = self.messages.saturating_add(messages);
        self.payload_bytes = self.payload_bytes.saturating_add(payload_bytes);
        self.unknown_bytes = self.unknown_bytes.saturating_add(unknown_bytes);
    }
}

/// What a byte is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of a header, and says what the frame is.
    Header,
    /// Of a masking key or a payload, and says nothing.
    Payload,
    /// The one that makes a header none; with this in its place it does so as well.
    Broken(u8),
    /// It is not known what it is.
    Unknown,
}

/// Reads the frames of one direction. Takes no memory besides its own size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameReader {
    sender: Sender,
    state: State,
    header: Begun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a header, or at its begin.
    Header,
    /// So many bytes of a masking key are still to come, and then so many of a payload.
    Behind { key: u64, payload: u64 },
    /// Somewhere.
    Lost,
}

/// The bytes of a header so far, without those of a masking key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Begun {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

/// What comes next in bytes.
enum Step {
    /// A byte of a header; its last has the frame.
    Header(Option<Frame>),
    /// So many bytes of a masking key or a payload, and how many of them are of a payload.
    Behind(usize, u64),
    /// A byte that makes a header none, with those before it; so many bytes stand behind it.
    Malformed(Begun, usize),
}

impl FrameReader {
    /// At the begin of a frame.
    pub fn new(sender: Sender) -> Self {
        FrameReader { sender, state: State::Header, header: Begun::default() }
    }

    /// In the middle of a connection.
    pub fn lost(sender: Sender) -> Self {
        FrameReader { state: State::Lost, ..FrameReader::new(sender) }
    }

    /// A frame begins with the next byte: the probes say so.
    pub fn begin(&mut self) {
        if self.state == State::Lost {
            *self = FrameReader::new(self.sender);
        }
    }

    /// Takes the next bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Tally {
        if self.state == State::Lost {
            return self.lose(bytes.len() as u64);
        }
        let mut tally = Tally::default();
        let mut unknown = None;
        self.walk(bytes, &mut |step| match step {
            Step::Header(frame) => tally += frame.map_or(Tally::default(), |frame| Tally::of(&frame)),
            Step::Behind(_, payload) => tally.payload_bytes += payload,
            Step::Malformed(header, behind) => unknown = Some((header.length + behind) as u64),
        });
        if let Some(unknown) = unknown {
            tally += self.lose(unknown);
        }
        tally
    }

    /// Passes over bytes that were not captured.
    pub fn gap(&mut self, length: u64) -> Tally {
        match self.state {
            _ if length == 0 => Tally::default(),
            State::Behind { key, payload } => {
                let (state, passed, payload_bytes) = State::behind(key, payload, length);
                self.state = state;
                let mut tally = Tally { payload_bytes, ..Tally::default() };
                if length > passed {
                    tally += self.lose(length - passed);
                }
                tally
            }
            State::Header => self.lose(self.header.length as u64 + length),
            State::Lost => self.lose(length),
        }
    }

    /// The direction is over: what it ended within is no frame.
    pub fn end(&mut self) -> Tally {
        match self.state {
            State::Header if self.header.length > 0 => self.lose(self.header.length as u64),
            State::Header | State::Behind { .. } | State::Lost => Tally::default(),
        }
    }

    /// What each of the next bytes is, in their order, to [`FrameReader::bytes`]: so many of a part.
    pub fn parts(&self, bytes: &[u8], each: &mut dyn FnMut(Part, usize)) {
        if self.state == State::Lost {
            return each(Part::Unknown, bytes.len());
        }
        self.clone().walk(bytes, &mut |step| match step {
            Step::Header(_) => each(Part::Header, 1),
            Step::Behind(length, _) => each(Part::Payload, length),
            Step::Malformed(header, behind) => {
                each(Part::Broken(header.broken(self.sender)), 1);
                each(Part::Unknown, behind);
            }
        });
    }

    /// Goes over bytes of which it is known where they stand, up to a header that is none.
    fn walk(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Step)) {
        while let Some((&first, behind)) = bytes.split_first() {
            if let State::Behind { key, payload } = self.state {
                let (state, passed, payload_bytes) = State::behind(key, payload, bytes.len() as u64);
                self.state = state;
                each(Step::Behind(passed as usize, payload_bytes));
                bytes = bytes.get(passed as usize..).unwrap_or_default();
                continue;
            }
            bytes = behind;
            match self.header.push(first, self.sender) {
                Parsed::More => each(Step::Header(None)),
                Parsed::Malformed => return each(Step::Malformed(self.header, bytes.len())),
                Parsed::Whole(frame) => {
                    self.header = Begun::default();
                    (self.state, ..) = State::behind(frame.key_bytes, frame.length, 0);
                    each(Step::Header(Some(frame)));
                }
            }
        }
    }

    /// From here on it is not known where a frame begins; of so many bytes it has not been.
    fn lose(&mut self, unknown_bytes: u64) -> Tally {
        *self = FrameReader::lost(self.sender);
        Tally { unknown_bytes, ..Tally::default() }
    }
}

impl State {
    /// The state when up to `length` bytes of a masking key and a payload have gone by, how many these are, and how many of them are
    /// of the payload.
    fn behind(key: u64, payload: u64, length: u64) -> (Self, u64, u64) {
        let of_key = key.min(length);
        let of_payload = payload.min(length - of_key);
        let (key, payload) = (key - of_key, payload - of_payload);
        let state = if key + payload > 0 { State::Behind { key, payload } } else { State::Header };
        (state, of_key + of_payload, of_payload)
    }
}

impl Begun {
    fn push(&mut self, byte: u8, sender: Sender) -> Parsed {
        let Some(place) = self.bytes.get_mut(self.length) else { return Parsed::Malformed };
        *place = byte;
        self.length += 1;
        Frame::of(&Prefix::from_bytes(self.bytes.get(..self.length).unwrap_or_default()), sender)
    }

    /// What may stand for the last byte, which is malformed: the wrong mask behind the first byte, the least length behind
    /// others. A length that is too great is so by its first byte.
    fn broken(&self, sender: Sender) -> u8 {
        match (self.length, sender) {
            (2, Sender::Server) => MASK,
            _ => 0,
        }
    }
}

impl Tally {
    /// Of the header of a frame.
    fn of(frame: &Frame) -> Tally {
        let is_control = frame.is_control();
        Tally {
            data_frames: u64::from(!is_control),
            control_frames: u64::from(is_control),
            messages: u64::from(!is_control && frame.first & FIN != 0),
            ..Tally::default()
        }
    }
}
