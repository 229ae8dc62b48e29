//! Given: what is known of a socket, and the next bytes that a call moved. Gives: how many of them to copy, and what
//! is known now. Refuses to know: memory, maps, records; the probes and the tests run the same lines.

use crate::classify::{Beginning, Prefix};
use crate::frames::{self, Frames, PREFACE_BYTES, Part};
use crate::limits::{
    ALWAYS_COPIED_BYTES, CLIENT_HELLO_BYTES, CREDIT_BYTES, ENCRYPTED_REPORT_BYTES, PAYLOAD_MAX,
    TURNS_BEFORE_IGNORED, UPGRADED_COPIED_BYTES,
};
use crate::memory::Memory;
use crate::sequence::Sequence;

/// What a socket speaks, as far as its first bytes have told. Plain constants, because the value lives in a map.
pub mod protocol {
    /// Not known yet.
    pub const NEW: u8 = 0;
    /// HTTP/1.
    pub const HTTP1: u8 = 1;
    /// HTTP/2.
    pub const HTTP2: u8 = 2;
    /// TLS.
    pub const TLS: u8 = 3;
    /// Nothing that is traced.
    pub const IGNORED: u8 = 4;
    /// What was HTTP/1 until its server switched protocols: taken for a WebSocket until it shows to be none.
    pub const UPGRADED: u8 = 5;

    /// Whether a piece of it is taken part by part.
    #[inline(always)]
    pub const fn has_frames(protocol: u8) -> bool {
        matches!(protocol, HTTP2 | UPGRADED)
    }
}

/// No direction has been seen yet.
const NO_DIRECTION: u8 = 2;

/// One direction of a socket or of a TLS object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Bytes so far, those included that no call has shown but TCP has counted: the position of the next.
    pub position: u64,
    /// Those of them that no call has shown.
    pub unseen: u64,
    /// Where TCP stands.
    pub sequence: Sequence,
    /// Encrypted bytes that no record has reported yet.
    pub unreported: u64,
    /// Bytes that may still be copied before the traffic turns round.
    pub credit: u64,
    /// First bytes that did not suffice to classify; of frames, those of a header.
    pub prefix: Prefix,
    /// Of HTTP/2, and of what a server has switched to.
    pub frames: Frames,
}

/// What is known of a socket or of a TLS object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// Identity: the inode of the socket, or the number of the TLS object.
    pub id: u64,
    /// CLOCK_MONOTONIC when `connect` began, or 0.
    pub connect_started_ns: u64,
    /// CLOCK_MONOTONIC when it was established, or 0.
    pub established_ns: u64,
    /// Process that was last seen to use it.
    pub pid: u32,
    /// One of [`protocol`].
    pub protocol: u8,
    /// One of [`crate::record::role`].
    pub role: u8,
    /// 1 when it has been seen since it was made.
    pub from_start: u8,
    /// 1 when an open record has been written.
    pub announced: u8,
    /// Direction of the last bytes.
    pub last_direction: u8,
    /// Direction changes without a protocol.
    pub turns: u8,
    /// What the first bytes of the last piece are that were asked for: a [`Beginning`].
    pub beginning: u8,
    /// 1 when the process has ended the direction that it sends in: TCP counts that as a byte.
    pub fin_sent: u8,
    /// Direction of the answer that switched protocols.
    pub answers: u8,
    /// Not used.
    pub reserved: [u8; 3],
    /// Sent and received bytes.
    pub flows: [Flow; 2],
}

/// What to do with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Nothing: no record at all.
    Ignore,
    /// Write a record that copies so many of them; `turn` when they begin a turn of the traffic.
    Copy {
        /// Bytes to copy, at most the size of the piece.
        bytes: u32,
        /// These bytes begin where the traffic turned round.
        turn: bool,
    },
    /// They are frames: take them part by part, from the first.
    Frames,
    /// Write a record of encrypted bytes: so many in all since the last one, so many of them copied.
    Encrypted {
        /// Bytes to report.
        report: u64,
        /// Bytes to copy (the ClientHello).
        bytes: u32,
    },
}

/// Who finds the next part of what a server has switched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgraded {
    /// [`Connection::part_of_answer`].
    Answer,
    /// [`Connection::part_of_header`].
    Header,
    /// [`Connection::part_of_frames`].
    Frames,
}

impl Connection {
    /// A connection that shows up now.
    pub const fn new(id: u64, role: u8, from_start: bool) -> Self {
        let flow = Flow {
            position: 0,
            unseen: 0,
            sequence: Sequence::UNKNOWN,
            unreported: 0,
            credit: CREDIT_BYTES,
            prefix: Prefix::EMPTY,
            frames: Frames::LOST,
        };
        Connection {
            id,
            connect_started_ns: 0,
            established_ns: 0,
            pid: 0,
            protocol: protocol::NEW,
            role,
            from_start: from_start as u8,
            announced: 0,
            last_direction: NO_DIRECTION,
            turns: 0,
            beginning: Beginning::Other as u8,
            fin_sent: 0,
            answers: 0,
            reserved: [0; 3],
            flows: [flow, flow],
        }
    }

    /// True when the first bytes of a piece are asked for.
    #[inline(always)]
    pub fn asks(&self) -> bool {
        self.protocol == protocol::NEW
    }

    /// Passes over `size` bytes of a direction that no call has shown. What they were is not known: a message may have begun in
    /// them, so the next bytes may be copied as at a turn of the traffic.
    #[inline(always)]
    pub fn pass_over(&mut self, direction: u8, size: u64) {
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.position = flow.position.wrapping_add(size);
        flow.unseen = flow.unseen.wrapping_add(size);
        flow.credit = CREDIT_BYTES;
        match self.protocol {
            protocol::NEW => {
                flow.prefix = Prefix::EMPTY;
                self.from_start = 0;
            }
            protocol::HTTP2 | protocol::UPGRADED => flow.frames.pass_over(&mut flow.prefix, size),
            _ => {}
        }
    }

    /// Goes back over `size` bytes that TCP had counted before their call has shown them, as far as they were passed over: then
    /// positions are those of TCP again, and what stands at one twice is read once.
    #[inline(always)]
    pub fn step_back(&mut self, direction: u8, size: u64) {
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        let back = if size < flow.unseen { size } else { flow.unseen };
        flow.unseen -= back;
        flow.position = flow.position.wrapping_sub(back);
    }

    /// Takes note of `size` bytes in `direction` (0 sent, 1 received), of which `first` holds the first.
    /// The position of the direction has moved behind them when this returns, unless they are [`Admit::Frames`].
    #[inline(always)]
    pub fn admit(&mut self, direction: u8, size: u64, first: &Prefix) -> Admit {
        let turn = self.last_direction != direction;
        // Once for all who ask: the stack of the probes is small.
        let (joined, beginning) = if self.asks() {
            let held = if direction == 0 { &self.flows[0].prefix } else { &self.flows[1].prefix };
            let joined = held.join(first);
            // The verifier knows nothing of a number that comes from a map: it walks what follows once, and not once for
            // each way that leads to each beginning.
            self.beginning = joined.beginning() as u8;
            (joined, Beginning::of(*core::hint::black_box(&mut self.beginning)))
        } else {
            (Prefix::EMPTY, Beginning::Unfinished)
        };
        if self.protocol == protocol::NEW && self.is_http2(direction, size, first, beginning) {
            self.protocol = protocol::HTTP2;
        }
        if protocol::has_frames(self.protocol) {
            return Admit::Frames;
        }
        self.last_direction = direction;
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.position = flow.position.wrapping_add(size);
        if turn {
            flow.credit = CREDIT_BYTES;
        }
        if self.protocol == protocol::NEW {
            match learn(flow, self.from_start == 0, turn, joined, beginning) {
                Beginning::Request | Beginning::Response => self.protocol = protocol::HTTP1,
                Beginning::ClientHello => {
                    self.protocol = protocol::TLS;
                    let bytes =
                        if size < CLIENT_HELLO_BYTES as u64 { size as u32 } else { CLIENT_HELLO_BYTES };
                    return Admit::Encrypted { report: size, bytes };
                }
                Beginning::Tls => {
                    self.protocol = protocol::TLS;
                    return Admit::Encrypted { report: size, bytes: 0 };
                }
                Beginning::Unfinished => {}
                Beginning::Other | Beginning::Http2 | Beginning::Http2Server => {
                    self.turns = self.turns.wrapping_add(turn as u8);
                    if self.from_start == 1 || self.turns >= TURNS_BEFORE_IGNORED {
                        self.protocol = protocol::IGNORED;
                    }
                    return Admit::Ignore;
                }
            }
        }
        match self.protocol {
            protocol::HTTP1 | protocol::NEW => Admit::Copy { bytes: flow.spend(size), turn },
            protocol::TLS => flow.count_encrypted(size),
            _ => Admit::Ignore,
        }
    }

    /// A piece that was just admitted as one of HTTP/1 and begins a turn, at `position`, is an answer that switches protocols
    /// ([`Prefix::is_switching_protocols`]): it is taken as [`Admit::Frames`] instead.
    #[inline(always)]
    pub fn switch(&mut self, direction: u8, position: u64) {
        self.protocol = protocol::UPGRADED;
        self.answers = direction;
        self.last_direction = NO_DIRECTION;
        let [sent, received] = &mut self.flows;
        let (flow, other) = if direction == 0 { (sent, received) } else { (received, sent) };
        flow.position = position;
        (flow.frames, flow.prefix) = (Frames::ANSWER, Prefix::EMPTY);
        // The request may be recorded behind its answer, by another thread; then that direction begins with a head as well.
        other.frames = if other.position == 0 { Frames::ANSWER } else { Frames::FIRST };
        other.prefix = Prefix::EMPTY;
    }

    /// The next part of a piece of HTTP/2 of `size` bytes at `address`, and whether it begins a turn of the traffic; the
    /// position of the direction has moved behind it when this returns.
    #[inline(always)]
    pub fn part(&mut self, direction: u8, memory: &impl Memory, address: u64, size: u64) -> (Part, bool) {
        let turn = self.last_direction != direction;
        self.last_direction = direction;
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        let mut part = flow.frames.part(&mut flow.prefix, memory, address, size);
        if part.captured > PAYLOAD_MAX as u64 {
            part.captured = PAYLOAD_MAX as u64;
        }
        flow.position = flow.position.wrapping_add(part.size);
        (part, turn)
    }

    // What a server has switched to is taken in two steps, since the stack of the probes is small: a part is found, by one of
    // three functions, and then settled.

    /// Which of them finds the next part of a direction.
    #[inline(always)]
    pub fn upgraded(&self, direction: u8) -> Upgraded {
        let flow = if direction == 0 { &self.flows[0] } else { &self.flows[1] };
        if flow.frames.is_answer() {
            Upgraded::Answer
        } else if flow.frames.is_in_header(&flow.prefix) {
            Upgraded::Header
        } else {
            Upgraded::Frames
        }
    }

    /// The next part of a piece of the answer that switches protocols.
    #[inline(always)]
    pub fn part_of_answer(&mut self, direction: u8, memory: &impl Memory, address: u64, size: u64) -> Part {
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.frames.part_of_answer(&mut flow.prefix, memory, address, size)
    }

    /// The next part of a piece that goes on with the header of a frame.
    #[inline(always)]
    pub fn part_of_header(&mut self, direction: u8, memory: &impl Memory, address: u64, size: u64) -> Part {
        let is_masked = self.is_masked(direction);
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.frames.part_of_header(&mut flow.prefix, is_masked, memory, address, size)
    }

    /// The next part of any other piece of what has been switched to, and whether a frame begins with it.
    #[inline(always)]
    pub fn part_of_frames(
        &mut self,
        direction: u8,
        memory: &impl Memory,
        address: u64,
        size: u64,
    ) -> (Part, bool) {
        let is_masked = self.is_masked(direction);
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.frames.part_of_frames(&mut flow.prefix, is_masked, memory, address, size)
    }

    /// 1 in the direction of the client of a WebSocket, which masks what it sends.
    #[inline(always)]
    fn is_masked(&self, direction: u8) -> u32 {
        ((self.answers ^ direction) & 1) as u32
    }

    /// Corrects such a part where it has shown another protocol, and says whether it begins a turn of the traffic; the position of
    /// the direction has moved behind it when this returns.
    #[inline(always)]
    pub fn settle(&mut self, direction: u8, part: &mut Part) -> bool {
        let turn = self.last_direction != direction;
        self.last_direction = direction;
        let [sent, received] = &mut self.flows;
        let (flow, other) = if direction == 0 { (sent, received) } else { (received, sent) };
        if flow.frames.is_other() {
            if flow.prefix.begins_http2() {
                self.protocol = protocol::HTTP2;
                part.size = if part.size < PREFACE_BYTES { part.size } else { PREFACE_BYTES };
                flow.frames = Frames::preface(PREFACE_BYTES - part.size);
                (other.frames, other.prefix) = (Frames::LOST, Prefix::EMPTY);
            }
            flow.prefix = Prefix::EMPTY;
            flow.credit = if turn { CREDIT_BYTES } else { UPGRADED_COPIED_BYTES };
            part.captured = flow.spend(part.size) as u64;
        }
        flow.position = flow.position.wrapping_add(part.size);
        turn
    }

    /// Whether a piece shows that HTTP/2 is spoken: by the preface of the client, by that of the server where both are seen
    /// from their start, or by frames where they are not. Then where frames begin is known from here on.
    #[inline(always)]
    fn is_http2(&mut self, direction: u8, size: u64, first: &Prefix, beginning: Beginning) -> bool {
        let [sent, received] = &mut self.flows;
        let (flow, other) = if direction == 0 { (sent, received) } else { (received, sent) };
        let held = flow.prefix.length() as u64;
        let may_begin = flow.position == held;
        match beginning {
            Beginning::Http2 => {
                flow.prefix = Prefix::EMPTY;
                flow.frames = Frames::preface(PREFACE_BYTES - held);
                other.frames = if other.position == 0 { Frames::START } else { Frames::LOST };
                true
            }
            Beginning::Http2Server if self.from_start == 1 && may_begin => {
                flow.frames = Frames::START;
                other.frames = Frames::preface(PREFACE_BYTES);
                true
            }
            _ => self.from_start == 0 && frames::show(first, size, |end| Some(first.behind(end as usize))),
        }
    }
}

impl Flow {
    /// Bytes of a piece of `size` that are copied. Small pieces are copied without credit; they cost nothing extra.
    #[inline(always)]
    fn spend(&mut self, size: u64) -> u32 {
        let bytes = if size <= ALWAYS_COPIED_BYTES || size <= self.credit { size } else { self.credit };
        self.credit = self.credit.saturating_sub(bytes);
        bytes as u32
    }

    #[inline(always)]
    fn count_encrypted(&mut self, size: u64) -> Admit {
        self.unreported += size;
        if self.unreported < ENCRYPTED_REPORT_BYTES {
            return Admit::Ignore;
        }
        let report = self.unreported;
        self.unreported = 0;
        Admit::Encrypted { report, bytes: 0 }
    }
}

/// Classifies what the direction has begun with. A direction that is joined in its middle can only be classified where
/// the traffic turns round, and by bytes that are seen.
#[inline(always)]
fn learn(flow: &mut Flow, is_late: bool, turn: bool, prefix: Prefix, beginning: Beginning) -> Beginning {
    if flow.prefix.is_empty() && is_late && (!turn || prefix.is_empty()) {
        return Beginning::Other;
    }
    // In the middle of a connection `the words of a body` look like a request; registered methods are upper case.
    if is_late && matches!(beginning, Beginning::Request) && prefix.first().is_ascii_lowercase() {
        flow.prefix = Prefix::EMPTY;
        return Beginning::Other;
    }
    flow.prefix = if matches!(beginning, Beginning::Unfinished) { prefix } else { Prefix::EMPTY };
    beginning
}

#[cfg(test)]
mod tests;
