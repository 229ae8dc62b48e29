//! Given: the pieces of one direction of a connection whose server has switched protocols, as they lie in memory, from the head
//! of its answer on. Gives: the parts that become records, and how many of their first bytes to copy, so that of a WebSocket
//! (RFC 6455 §5.2) each frame's header is copied, and of payload no more than stands between small frames. Refuses to know:
//! what frames carry, other protocols, and how memory is read. The daemon reads headers by the same lines.
//!
//! ```text
//!        an empty line            a header
//!  HEAD ──────────────▶ FIRST ──────────────▶ FRAMES
//!    │  too long          │  no header
//!    ╰────────────────────┴─────▶ OTHER
//! ```

use crate::classify::Prefix;
use crate::frames::{Frames, Part, read};
use crate::limits::{ALWAYS_COPIED_BYTES, CREDIT_BYTES, FRAMES_IN_RECORD, ROUNDS};
use crate::memory::Memory;

/// The longest header: two bytes, and a length of eight. A masking key is passed over with the payload.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes of a masking key.
pub const KEY_BYTES: u64 = 4;

/// The last fragment of a message, in the first byte.
pub const FIN: u8 = 0x80;
/// No extension that is registered uses these, in the first byte.
const RESERVED: u8 = 0x30;
const OPCODE: u8 = 0x0f;
/// Frames of control have this bit in their opcode.
const CONTROL: u8 = 0x08;
/// The opcodes there are, each as a bit: continuation, text, binary; close, ping, pong.
const KNOWN: u32 = 0b111 | 0b111 << 8;
/// Those that may say that the message is compressed (RFC 7692 §6).
const COMPRESSED: u32 = 0b110;
/// The payload is masked, in the second byte.
pub const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// A header that begins within so many bytes of a record is copied with them, and fits into the smallest.
const HEADERS_WITHIN_BYTES: u64 = ALWAYS_COPIED_BYTES - HEADER_BYTES_MAX as u64;

/// Words of an answer that one record carries; most answers are two records.
const HEAD_WORDS: usize = ROUNDS / 2;

/// A head with more words is none. The last word of each piece may be cut.
const HEAD_WORDS_MAX: u32 = (CREDIT_BYTES / WORD_BYTES) as u32;

const WORD_BYTES: u64 = size_of::<u64>() as u64;

/// How far a direction is, behind `101 Switching Protocols`. Plain constants, because the value lives in a map.
pub(crate) mod stage {
    /// It is HTTP/2: no server has switched.
    pub(crate) const NONE: u32 = 0;
    /// In the head of the answer.
    pub(crate) const HEAD: u32 = 1;
    /// Before the first frame.
    pub(crate) const FIRST: u32 = 2;
    /// Behind the header of the first frame.
    pub(crate) const FRAMES: u32 = 3;
    /// What came first is no frame.
    pub(crate) const OTHER: u32 = 4;
}

/// Which side a direction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sender {
    /// The server: it masks no payload (RFC 6455 §5.1).
    Server = 0,
    /// The client: it masks every one.
    Client = 1,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its first byte: [`FIN`], bits of extensions, and the opcode.
    pub first: u8,
    /// Bytes of the header without the masking key: 2, 4 or 10.
    pub header_bytes: u32,
    /// Bytes of the masking key: 0 or [`KEY_BYTES`].
    pub key_bytes: u64,
    /// Bytes of the payload.
    pub length: u64,
}

/// What bytes are that stand where a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The first bytes of a header.
    More,
    /// No peer sends these.
    Malformed,
    /// A header, and perhaps what stands behind it.
    Whole(Frame),
}

impl Frame {
    /// Reads a header from the first bytes of `prefix`. Bits in place of branches, which would multiply the paths that the verifier
    /// has to walk.
    #[inline(always)]
    pub fn of(prefix: &Prefix, sender: Sender) -> Parsed {
        Frame::masked(prefix, sender as u32)
    }

    /// The same of one that is masked (1) or not (0).
    #[inline(always)]
    fn masked(prefix: &Prefix, is_masked: u32) -> Parsed {
        let [a, b, _] = prefix.words();
        if prefix.length() < 2 {
            return Parsed::More;
        }
        let (first, second) = (a as u32 & 0xff, (a >> 8) as u32 & 0xff);
        let (opcode, short) = (first & OPCODE as u32, second & LENGTH as u32);
        let is_fin = first >> 7;
        let is_compressed = first >> 6 & 1;
        let is_control = opcode >> 3;
        // 1 for a length of two or eight bytes, and for one of eight.
        let (is_wide, is_widest) = ((short + 2) >> 7, (short + 1) >> 7);
        // RFC 6455 §5.2, §5.5; only the first frame of a message says that it is compressed.
        let refused = first & RESERVED as u32
            | 1 ^ KNOWN >> opcode & 1
            | is_compressed & !(COMPRESSED >> opcode)
            | is_control & (1 ^ is_fin | is_wide)
            | (second >> 7) ^ is_masked;
        if refused != 0 {
            return Parsed::Malformed;
        }
        let header_bytes = 2 + 2 * is_wide + 6 * is_widest;
        if prefix.length() < header_bytes as usize {
            return Parsed::More;
        }
        let behind = (a >> 16 | b << 48).swap_bytes() >> (48 * (1 ^ is_widest));
        let length = if is_wide == 1 { behind } else { short as u64 };
        let least = 126 * is_wide as u64 + (0x1_0000 - 126) * is_widest as u64;
        // The shortest form is the only one, and the highest bit is 0.
        if (length.wrapping_sub(least) | length) >> 63 == 1 {
            return Parsed::Malformed;
        }
        let key_bytes = is_masked as u64 * KEY_BYTES;
        Parsed::Whole(Frame { first: first as u8, header_bytes, key_bytes, length })
    }

    /// True for close, ping and pong.
    #[inline(always)]
    pub fn is_control(&self) -> bool {
        self.first & CONTROL != 0
    }
}

impl Frames {
    /// The answer that switches protocols begins with the next byte, or the request that it answers.
    pub const ANSWER: Frames = Frames { stage: stage::HEAD, copies: HEAD_WORDS_MAX, ..Frames::START };

    /// The other direction of such a connection: a frame begins with the next byte.
    pub const FIRST: Frames = Frames { stage: stage::FIRST, ..Frames::START };

    /// True behind the head of such an answer when what follows is no WebSocket.
    #[inline(always)]
    pub fn is_other(&self) -> bool {
        self.stage == stage::OTHER
    }

    /// True before the end of the head of such an answer.
    #[inline(always)]
    pub fn is_answer(&self) -> bool {
        self.stage == stage::HEAD && self.lost == 0
    }

    /// The next part of a piece of such an answer, as [`Frames::part`].
    #[inline(always)]
    pub fn part_of_answer(
        &mut self,
        held: &mut Prefix,
        memory: &impl Memory,
        address: u64,
        size: u64,
    ) -> Part {
        if address == 0 {
            self.pass_over(held, size);
            return Part { size, captured: 0 };
        }
        self.walk_head(held, memory, address, size)
    }

    /// True within the header of a frame that was cut by the end of a piece.
    #[inline(always)]
    pub fn is_in_header(&self, held: &Prefix) -> bool {
        !self.is_other() && !held.is_empty()
    }

    /// The next part of a piece within such a header, as [`Frames::part`]: the rest of the header.
    #[inline(always)]
    pub fn part_of_header(
        &mut self,
        held: &mut Prefix,
        is_masked: u32,
        memory: &impl Memory,
        address: u64,
        size: u64,
    ) -> Part {
        let whole = Part { size, captured: 0 };
        if address == 0 {
            self.pass_over(held, size);
            return whole;
        }
        let before = held.length();
        let wanted = (HEADER_BYTES_MAX as u64).saturating_sub(before as u64);
        let there = if size < wanted { size as u32 } else { wanted as u32 };
        let there = held.forgotten(there) as usize;
        let Some(next) = read(memory, address, there) else {
            self.lose(held);
            return whole;
        };
        *held = held.join(&next);
        let taken = match Frame::masked(held, is_masked) {
            Parsed::Whole(frame) => {
                *held = Prefix::EMPTY;
                self.begin(&frame);
                (frame.header_bytes as u64).saturating_sub(before as u64)
            }
            Parsed::More => there as u64,
            Parsed::Malformed => {
                self.refuse(held);
                return whole;
            }
        };
        Part { size: taken, captured: taken }
    }

    /// The next part of a piece of what follows on the answer, or of the other direction, as [`Frames::part`], and whether a frame
    /// begins with it. When this [is another protocol](Frames::is_other) by it, `held` has its first bytes.
    #[inline(always)]
    pub fn part_of_frames(
        &mut self,
        held: &mut Prefix,
        is_masked: u32,
        memory: &impl Memory,
        address: u64,
        size: u64,
    ) -> (Part, bool) {
        let whole = Part { size, captured: 0 };
        if self.is_other() {
            return (whole, false);
        }
        if address == 0 {
            self.pass_over(held, size);
            return (whole, false);
        }
        let begins = self.left == 0;
        let mut taken = size;
        let headers = self.walk_frames(held, is_masked, memory, address, &mut taken);
        let part = Part { size: taken, captured: self.copies as u64 };
        if self.is_other() {
            return (whole, false);
        }
        if self.lost == 0 {
            return (part, begins);
        }
        let is_chain = taken == size && self.left == 0 && held.is_empty();
        if headers == FRAMES_IN_RECORD || headers > 0 && is_chain {
            self.lost = 0;
            return (part, true);
        }
        self.lose(held);
        (whole, false)
    }

    /// Goes over the head of the answer, of which all is copied: a word at a time, as far as a record reaches. The last bytes
    /// before it are `held`, since an empty line may begin in them. How far it has come is kept in `left`: of a number in the map
    /// the verifier knows nothing, and walks the next round once and not once for each way there.
    #[inline(always)]
    fn walk_head(&mut self, held: &mut Prefix, memory: &impl Memory, address: u64, size: u64) -> Part {
        self.left = 0;
        let mut rounds = 0;
        let (at, next) = loop {
            let at = *core::hint::black_box(&mut self.left);
            if self.copies == 0 {
                *self = Frames { stage: stage::OTHER, ..Frames::START };
                *held = Prefix::EMPTY;
                return Part { size, captured: 0 };
            }
            if rounds == HEAD_WORDS || at >= size {
                self.left = 0;
                return Part { size: at, captured: at };
            }
            // The last word of a piece may be cut.
            if size - at < WORD_BYTES {
                break (at, read(memory, address + at, (size - at) as usize));
            }
            let Some(next) = read(memory, address + at, WORD_BYTES as usize) else { break (at, None) };
            let end = end_of_head(held, &next);
            if end > 0 {
                return self.end_head(held, at + end);
            }
            *held = next;
            self.left = at + WORD_BYTES;
            self.copies -= 1;
            rounds += 1;
        };
        let Some(next) = next else {
            self.lose(held);
            return Part { size, captured: 0 };
        };
        let end = end_of_head(held, &next);
        if end > 0 {
            return self.end_head(held, at + end);
        }
        *held = last_word(held, &next);
        self.left = 0;
        self.copies -= 1;
        Part { size, captured: size }
    }

    /// The head of the answer ends here.
    #[inline(always)]
    fn end_head(&mut self, held: &mut Prefix, end: u64) -> Part {
        *self = Frames::FIRST;
        *held = Prefix::EMPTY;
        Part { size: end, captured: end }
    }

    /// Goes over frames as far as a record reaches, and returns how many headers it has met; `size` is then how far that is.
    /// Where one is none, or cannot be read, the rest of the piece is lost, and there are 0. Where the last header ends is kept in
    /// `copies`, as above: so much is copied.
    #[inline(always)]
    fn walk_frames(
        &mut self,
        held: &mut Prefix,
        is_masked: u32,
        memory: &impl Memory,
        address: u64,
        size: &mut u64,
    ) -> usize {
        self.copies = 0;
        if !self.opens(held, memory, address, *size) {
            self.refuse(held);
            return 0;
        }
        let mut headers = 0;
        loop {
            let at = *core::hint::black_box(&mut self.copies) as u64;
            let step = if self.left < *size - at { self.left } else { *size - at };
            self.left -= step;
            let at = at + step;
            // What is copied fits into the smallest record.
            if at >= *size || at > HEADERS_WITHIN_BYTES || headers == FRAMES_IN_RECORD {
                *size = at;
                return headers;
            }
            let (rest, wanted) = (*size - at, HEADER_BYTES_MAX as u64);
            let there = held.forgotten(if rest < wanted { rest as u32 } else { wanted as u32 });
            let Some(next) = read(memory, address + at, there as usize) else {
                self.lose(held);
                return 0;
            };
            match Frame::masked(&next, is_masked) {
                Parsed::Whole(frame) => {
                    self.copies = at as u32 + frame.header_bytes;
                    self.begin(&frame);
                    headers += 1;
                }
                Parsed::More => {
                    *held = next;
                    self.copies = at as u32 + there;
                    return headers;
                }
                Parsed::Malformed => {
                    *held = next;
                    self.refuse(held);
                    return 0;
                }
            }
        }
    }

    /// A frame has this header.
    #[inline(always)]
    fn begin(&mut self, frame: &Frame) {
        self.left = frame.key_bytes + frame.length;
        self.stage = stage::FRAMES;
    }

    /// Whether a frame that is the first, or is looked for, may begin with the byte at `address`; `held` has what stands there
    /// when not. No message begins with a continuation, which the first frame of an HTTP/2 server looks like, and so do zeroes.
    #[inline(always)]
    fn opens(&self, held: &mut Prefix, memory: &impl Memory, address: u64, size: u64) -> bool {
        let is_asked = self.stage == stage::FIRST || self.lost == 1;
        if !is_asked {
            return true;
        }
        let there = if size < WORD_BYTES { size as usize } else { WORD_BYTES as usize };
        // What cannot be read is no reason: the walk will find that it is lost.
        let Some(first) = read(memory, address, there) else { return true };
        let opens = first.words()[0] as u8 & OPCODE != 0;
        if !opens {
            *held = first;
        }
        opens
    }

    /// What should be a header is none.
    #[inline(always)]
    fn refuse(&mut self, held: &mut Prefix) {
        if self.stage == stage::FIRST && self.lost == 0 {
            self.stage = stage::OTHER;
        } else {
            self.lose(held);
        }
    }
}

/// How many of the bytes of `next`, of which there is a word, are the end of a head, up to its empty line; `held` has the word
/// before them, the last byte uppermost. A line ends with LF, before which a CR may stand (RFC 9112 §2.2). 0 when no head ends
/// in them.
#[inline(always)]
fn end_of_head(held: &Prefix, next: &Prefix) -> u64 {
    let ([before, ..], [word, ..]) = (held.words(), next.words());
    let (feeds, feeds_before) = (equal(word, b'\n'), equal(before, b'\n'));
    let (returns, returns_before) = (equal(word, b'\r'), equal(before, b'\r'));
    let behind_feed = feeds << 8 | feeds_before >> 56;
    let behind_return = returns << 8 | returns_before >> 56;
    let feed_before_that = feeds << 16 | feeds_before >> 48;
    let ends = feeds & (behind_feed | behind_return & feed_before_that);
    // As many ones as bytes stand before the first that is marked, and one for itself.
    let first = ends & ends.wrapping_neg();
    let through = (first.wrapping_mul(2).wrapping_sub(1)) & ONES;
    if ends == 0 { 0 } else { through.wrapping_mul(ONES) >> 56 }
}

/// The last word of `held` and then `next`, which is less than one.
#[inline(always)]
fn last_word(held: &Prefix, next: &Prefix) -> Prefix {
    let ([before, ..], [word, ..]) = (held.words(), next.words());
    let bits = next.length() % WORD_BYTES as usize * 8;
    // `<< 1 << (63 - bits)` is `<< (64 - bits)` that is also right, and 0, for no bits.
    let last = before >> bits | word << 1 << (63 - bits);
    Prefix::of([last.to_le(), 0, 0], WORD_BYTES as usize)
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Marks the bytes of `word` that are `byte`, by their lowest bit.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = ONES * 0x7f;
    let other = word ^ (ONES * byte as u64);
    // Exact for every byte: no sum carries into the next.
    (!(((other & LOW) + LOW) | other | LOW)) >> 7
}

#[cfg(test)]
mod tests;
