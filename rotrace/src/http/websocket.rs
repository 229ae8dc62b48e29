//! Given: the bytes of one direction of a WebSocket connection (RFC 6455 §5), in pieces, with gaps. Gives: how many frames,
//! messages and bytes of payload there were, and of how many bytes nobody can say. Refuses to know: the other direction,
//! payloads, extensions, time.
//!
//! ```text
//!          a header                     the payload is over
//!  Header ──────────▶ Payload of a frame ──────────────────▶ Header
//!    │  a gap           │ a gap that is longer than the payload
//!    │  no header       │
//!    ▼                  ▼   a piece that begins with frames and ends in a payload
//!   Lost ─────────────────────────────────────────────────▶ Trial ──────▶ Header
//!     ╰── a piece that is frames, from its first byte to its last ────────▶╯
//!                                                           the payload ends with the piece, or with the next one
//! ```
//!
//! A payload is passed over by its length, captured or not. Who writes frames writes them whole, so a piece that is a chain of
//! frames to its last byte shows where they begin; until then bytes are counted as bytes.

#[cfg(test)]
mod tests;

use std::ops::AddAssign;

use serde::Serialize;

/// The longest header: two bytes, a length of eight, a masking key of four.
const HEADER_BYTES_MAX: usize = 14;

/// The last fragment of a message, in the first byte.
const FIN: u8 = 0x80;
/// The message is compressed (RFC 7692 §6).
const RSV1: u8 = 0x40;
/// No extension that is registered uses these.
const RESERVED: u8 = 0x30;
const OPCODE: u8 = 0x0f;
/// The payload is masked, in the second byte.
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Which side a direction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client: it masks every payload (RFC 6455 §5.1).
    Client,
    /// The server: it masks none.
    Server,
}

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
    /// It is not known what it is. A piece of such bytes is no chain of frames.
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
    /// So many bytes of a payload are still to come.
    Payload(u64),
    /// Somewhere; but if `left` more bytes end where the piece does, the last `bytes` were these frames.
    Trial { tally: Tally, left: u64, bytes: u64, is_header_only: bool },
    /// Somewhere.
    Lost,
}

/// The bytes of a header so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Begun {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

/// What bytes are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parsed {
    /// The first bytes of a header.
    More,
    /// No peer sends these.
    Malformed,
    /// A whole header.
    Whole(Frame),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    is_control: bool,
    is_last: bool,
    length: u64,
}

/// What comes next in bytes.
enum Step {
    /// A byte of a header; its last has the frame.
    Header(Part, Option<Frame>),
    /// So many bytes of a payload.
    Payload(usize),
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

    /// Takes the next bytes, which are a piece, or the first of one whose rest follows as a gap.
    pub fn bytes(&mut self, bytes: &[u8]) -> Tally {
        if bytes.is_empty() {
            return Tally::default();
        }
        match self.state {
            State::Lost => self.look(bytes),
            State::Trial { tally, left, bytes: before, is_header_only } => {
                let now = bytes.len() as u64;
                if is_header_only && now <= left {
                    return self.try_on(tally, left - now, now, before + now);
                }
                let mut tally = self.lose(before);
                tally += self.look(bytes);
                tally
            }
            State::Header | State::Payload(_) => self.read(bytes),
        }
    }

    /// Passes over bytes that were not captured.
    pub fn gap(&mut self, length: u64) -> Tally {
        match self.state {
            _ if length == 0 => Tally::default(),
            State::Payload(left) => {
                let now = left.min(length);
                let mut tally = Tally { payload_bytes: now, ..Tally::default() };
                self.state = State::in_payload(left - now);
                if length > now {
                    tally += self.lose(length - now);
                }
                tally
            }
            State::Trial { tally, left, bytes, .. } if left == length => {
                self.try_on(tally, 0, length, bytes + length)
            }
            State::Trial { bytes, .. } => self.lose(bytes.saturating_add(length)),
            State::Header => self.lose(self.header.length as u64 + length),
            State::Lost => self.lose(length),
        }
    }

    /// The direction is over: what it ended within is no frame.
    pub fn end(&mut self) -> Tally {
        match self.state {
            State::Trial { bytes, .. } => self.lose(bytes),
            State::Header if self.header.length > 0 => self.lose(self.header.length as u64),
            State::Header | State::Payload(_) | State::Lost => Tally::default(),
        }
    }

    /// What each of the next bytes is, in their order, to [`FrameReader::bytes`]: so many of a part.
    pub fn parts(&self, bytes: &[u8], each: &mut dyn FnMut(Part, usize)) {
        let mut reader = match self.state {
            State::Header | State::Payload(_) => self.clone(),
            State::Trial { left, is_header_only: true, .. } if bytes.len() as u64 <= left => {
                return each(Part::Payload, bytes.len());
            }
            State::Trial { .. } | State::Lost => {
                let mut looked = FrameReader::lost(self.sender);
                looked.look(bytes);
                if looked.state == State::Lost {
                    return each(Part::Unknown, bytes.len());
                }
                FrameReader::new(self.sender)
            }
        };
        reader.walk(bytes, &mut |step| match step {
            Step::Header(part, _) => each(part, 1),
            Step::Payload(length) => each(Part::Payload, length),
            Step::Malformed(header, behind) => {
                each(Part::Broken(header.broken(self.sender)), 1);
                each(Part::Unknown, behind);
            }
        });
    }

    /// Reads bytes of which it is known where they stand.
    fn read(&mut self, bytes: &[u8]) -> Tally {
        let mut tally = Tally::default();
        let mut unknown = None;
        self.walk(bytes, &mut |step| match step {
            Step::Header(_, frame) => tally += frame.map_or(Tally::default(), Frame::tally),
            Step::Payload(length) => tally.payload_bytes += length as u64,
            Step::Malformed(header, behind) => unknown = Some((header.length + behind) as u64),
        });
        if let Some(unknown) = unknown {
            tally += self.lose(unknown);
        }
        tally
    }

    /// Goes over bytes of which it is known where they stand, up to a header that is none.
    fn walk(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Step)) {
        while let Some((&first, behind)) = bytes.split_first() {
            if let State::Payload(left) = self.state {
                let (now, rest) = bytes.split_at(left.min(bytes.len() as u64) as usize);
                self.state = State::in_payload(left - now.len() as u64);
                each(Step::Payload(now.len()));
                bytes = rest;
                continue;
            }
            bytes = behind;
            let part = self.header.part();
            match self.header.push(first, self.sender) {
                Parsed::More => each(Step::Header(part, None)),
                Parsed::Malformed => return each(Step::Malformed(self.header, bytes.len())),
                Parsed::Whole(frame) => {
                    self.header = Begun::default();
                    self.state = State::in_payload(frame.length);
                    each(Step::Header(part, Some(frame)));
                }
            }
        }
    }

    /// Looks whether a piece is frames.
    fn look(&mut self, bytes: &[u8]) -> Tally {
        let mut reader = FrameReader::new(self.sender);
        let tally = reader.read(bytes);
        let length = bytes.len() as u64;
        match reader.state {
            State::Header if reader.header.length == 0 => {
                *self = reader;
                tally
            }
            State::Payload(left) => {
                let is_header_only = tally.payload_bytes == 0;
                self.state = State::Trial { tally, left, bytes: length, is_header_only };
                Tally::default()
            }
            _ => self.lose(length),
        }
    }

    /// The trial goes on with `now` bytes of payload; it is over when that was all.
    fn try_on(&mut self, mut tally: Tally, left: u64, now: u64, bytes: u64) -> Tally {
        tally.payload_bytes += now;
        if left > 0 {
            self.state = State::Trial { tally, left, bytes, is_header_only: false };
            return Tally::default();
        }
        self.state = State::Header;
        tally
    }

    /// From here on it is not known where a frame begins; of so many bytes it has not been.
    fn lose(&mut self, unknown_bytes: u64) -> Tally {
        *self = FrameReader::lost(self.sender);
        Tally { unknown_bytes, ..Tally::default() }
    }
}

impl State {
    fn in_payload(left: u64) -> Self {
        if left > 0 { State::Payload(left) } else { State::Header }
    }
}

impl Begun {
    fn push(&mut self, byte: u8, sender: Sender) -> Parsed {
        let Some(place) = self.bytes.get_mut(self.length) else { return Parsed::Malformed };
        *place = byte;
        self.length += 1;
        parse(self.bytes.get(..self.length).unwrap_or_default(), sender)
    }

    /// What the next byte is, if there is to be a header.
    fn part(&self) -> Part {
        let [_, second, ..] = self.bytes;
        let before_key = 2 + length_bytes(second & LENGTH);
        if self.length < 2 || self.length < before_key { Part::Header } else { Part::Payload }
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

impl Frame {
    fn tally(self) -> Tally {
        let Frame { is_control, is_last, .. } = self;
        Tally {
            data_frames: u64::from(!is_control),
            control_frames: u64::from(is_control),
            messages: u64::from(!is_control && is_last),
            ..Tally::default()
        }
    }
}

/// Bytes of the length behind the first two.
fn length_bytes(short: u8) -> usize {
    match short {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// What a frame's header says (RFC 6455 §5.2), which is these bytes or begins with them.
fn parse(bytes: &[u8], sender: Sender) -> Parsed {
    let [first, second, behind @ ..] = bytes else { return Parsed::More };
    let (opcode, short) = (first & OPCODE, second & LENGTH);
    let is_last = first & FIN != 0;
    let is_control = opcode >= 8;
    let is_known = first & RESERVED == 0 && matches!(opcode, 0..=2 | 8..=10);
    // Only the first frame of a message says that it is compressed.
    let may_be_compressed = matches!(opcode, 1 | 2) || first & RSV1 == 0;
    // RFC 6455 §5.5.
    let fits_its_kind = !is_control || is_last && short <= 125;
    let is_masked = second & MASK != 0;
    if !is_known || !may_be_compressed || !fits_its_kind || is_masked != (sender == Sender::Client) {
        return Parsed::Malformed;
    }
    let Some((wide, key)) = behind.split_at_checked(length_bytes(short)) else { return Parsed::More };
    let wide = wide.iter().fold(0, |length, &byte| length << 8 | u64::from(byte));
    let (length, least) = match short {
        126 => (wide, 126),
        127 => (wide, 1 << 16),
        _ => (u64::from(short), 0),
    };
    // The shortest form is the only one, and the highest bit is 0.
    if length < least || length > i64::MAX as u64 {
        return Parsed::Malformed;
    }
    if key.len() < if is_masked { 4 } else { 0 } {
        return Parsed::More;
    }
    Parsed::Whole(Frame { is_control, is_last, length })
}
