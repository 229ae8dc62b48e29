//! Given: the body of an answer as it goes by, or a value of a request. Gives: the ids in it, as numbers; of a body only a
//! sketch that can be asked whether an id is in it. Refuses to know: what an id names, and anything else of a body.
//!
//! An id is a run of letters, digits, `_` and `-`, of 4 to 64 bytes, with a digit in it: numbers, UUIDs, keys and slugs with
//! a number are some; words, which are in every body, and short numbers, which may stand for anything, are none. It is
//! hashed under the key of this start as soon as it is over, and two bits of 512 are what is left of it. So a body of a
//! hundred ids is said to hold one that it does not in a tenth of all cases, and never the other way round.

use super::print::payload;
use crate::http::h1::body::Body;
use crate::keyed::Key;

/// Bytes of a body that are looked at: ids of what a client goes on with stand in short answers, or at their beginning.
pub const SCANNED_BYTES: u32 = 4096;

/// The shortest id, and the longest: a hash of 32 bytes in hexadecimal digits. What is longer is a token or an image.
const ID_BYTES_MIN: usize = 4;
const ID_BYTES_MAX: usize = 64;

/// Words of a sketch.
const WORDS: usize = 8;
const BITS: u32 = WORDS as u32 * u64::BITS;

/// With more of its bits than this, a sketch says of one id in four or more that it holds it, though it does not.
const CROWDED_BITS: u32 = BITS / 2;

/// What a byte is to an id: bits, so that one look at all that was seen says what was among it.
const SEPARATES: u8 = 4;
const JOINS: u8 = 1;
const DIGIT: u8 = 2;

const KINDS: [u8; 256] = {
    let mut kinds = [SEPARATES; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => JOINS,
            _ => SEPARATES,
        };
        byte += 1;
    }
    kinds
};

/// Which ids an answer holds, or several of them. By default nothing is known of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ids {
    bits: [u64; WORDS],
    /// All ids are in it.
    is_whole: bool,
}

impl Ids {
    /// Of no answer: whatever is asked for, it is not there.
    pub const NONE: Ids = Ids { bits: [0; WORDS], is_whole: true };

    /// Of an answer that holds these.
    pub fn of<'a>(key: &Key, ids: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut own = Ids::NONE;
        ids.into_iter().for_each(|id| own.insert(number(key, id)));
        own
    }

    /// Whether an id, by its number, is in it; `None` when that is not known.
    pub fn holds(&self, number: u32) -> Option<bool> {
        let is_there = places(number).into_iter().all(|place| self.bits_at(place));
        match is_there {
            true if self.bits.iter().map(|word| word.count_ones()).sum::<u32>() > CROWDED_BITS => None,
            true => Some(true),
            false => self.is_whole.then_some(false),
        }
    }

    /// Adds those of another answer.
    pub fn join(&mut self, other: &Ids) {
        self.bits.iter_mut().zip(other.bits).for_each(|(own, other)| *own |= other);
        self.is_whole &= other.is_whole;
    }

    fn insert(&mut self, number: u32) {
        for place in places(number) {
            if let Some(word) = self.bits.get_mut(place as usize / 64) {
                *word |= 1 << (place % 64);
            }
        }
    }

    fn bits_at(&self, place: u32) -> bool {
        self.bits.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

/// Which bits are set is nobody's business.
impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_whole { "Ids" } else { "Ids?" })
    }
}

fn places(number: u32) -> [u32; 2] {
    [number % BITS, number / BITS % BITS]
}

/// The number of an id, or of a value that is compared with others.
pub fn number(key: &Key, id: &[u8]) -> u32 {
    key.name(id) as u32
}

/// The first id in a value.
pub fn first(value: &[u8]) -> Option<&[u8]> {
    // Mostly the value as a whole is one, or is not.
    let seen = value.iter().fold(0, |seen, &byte| seen | KINDS[usize::from(byte)]);
    if seen & SEPARATES == 0 {
        return is_id(value.len(), seen & DIGIT != 0).then_some(value);
    }
    let mut first = None;
    let (last, has_digit) = runs(value, &mut |run| first = first.or(Some(run)));
    first.or_else(|| is_id(last.len(), has_digit).then_some(last))
}

/// Calls `each` with every id that is over within `bytes`; gives the run that may go on behind them, and whether it has a
/// digit.
fn runs<'a>(bytes: &'a [u8], each: &mut impl FnMut(&'a [u8])) -> (&'a [u8], bool) {
    let (mut begin, mut seen) = (0, 0);
    for (at, &byte) in bytes.iter().enumerate() {
        let kind = KINDS[usize::from(byte)];
        seen |= kind;
        if kind == SEPARATES {
            if is_id(at - begin, seen & DIGIT != 0) {
                each(bytes.get(begin..at).unwrap_or_default());
            }
            (begin, seen) = (at + 1, 0);
        }
    }
    (bytes.get(begin..).unwrap_or_default(), seen & DIGIT != 0)
}

fn is_id(length: usize, has_digit: bool) -> bool {
    has_digit && (ID_BYTES_MIN..=ID_BYTES_MAX).contains(&length)
}

/// Looks for ids in the body that goes by; by default of one in which nobody does.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// On the heap, since few bodies are looked at, at one time.
    under_way: Option<Box<UnderWay>>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    key: Key,
    ids: Ids,
    /// Payload that was looked at.
    bytes: u32,
    /// The begin of a run that goes on with the next piece.
    run: [u8; ID_BYTES_MAX],
    /// All of its bytes, though there be no room for them.
    run_bytes: usize,
    has_digit: bool,
    is_over: bool,
}

impl Scan {
    pub(super) const RETAINED_BYTES_MAX: usize = size_of::<UnderWay>();

    /// At the begin of a body.
    pub(super) fn new(key: Key) -> Self {
        let run = [0; ID_BYTES_MAX];
        let ids = Ids::NONE;
        let scan = UnderWay { key, ids, bytes: 0, run, run_bytes: 0, has_digit: false, is_over: false };
        Scan { under_way: Some(Box::new(scan)) }
    }

    /// Takes the next bytes of a body, which is as it was before them. How many of them were looked at.
    pub(super) fn take(&mut self, body: &Body, bytes: &[u8]) -> u32 {
        let Some(scan) = self.under_way.as_mut().filter(|scan| !scan.is_over) else { return 0 };
        let before = scan.bytes;
        payload(body, bytes, |part| scan.take(part));
        scan.bytes - before
    }

    pub(super) fn retained_bytes(&self) -> usize {
        if self.under_way.is_some() { Self::RETAINED_BYTES_MAX } else { 0 }
    }

    /// Some bytes of the body were not seen.
    pub(super) fn skip(&mut self) {
        if let Some(scan) = &mut self.under_way {
            scan.is_over |= scan.bytes < SCANNED_BYTES;
        }
    }

    /// The ids of a body that is over and had so many bytes. One without any says nothing: it has been redacted, or its ids
    /// are of another kind.
    pub(super) fn finish(&mut self, payload_bytes: u64) -> Ids {
        let Some(mut scan) = self.under_way.take() else { return Ids::default() };
        let is_whole = !scan.is_over && u64::from(scan.bytes) == payload_bytes;
        if is_whole {
            scan.end_run();
        }
        Ids { is_whole: is_whole && scan.ids != Ids::NONE, ..scan.ids }
    }
}

impl UnderWay {
    /// Takes payload; false when no more is wanted.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let room = (SCANNED_BYTES - self.bytes) as usize;
        let mut bytes = bytes.get(..room).unwrap_or(bytes);
        self.bytes += bytes.len() as u32;
        if self.run_bytes > 0 {
            let end = bytes.iter().position(|&byte| KINDS[usize::from(byte)] == SEPARATES);
            let (more, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.go_on(more, more.iter().any(u8::is_ascii_digit));
            if end.is_some() {
                self.end_run();
            }
            bytes = behind;
        }
        let UnderWay { key, ids, .. } = self;
        let (rest, has_digit) = runs(bytes, &mut |id| ids.insert(number(key, id)));
        self.go_on(rest, has_digit);
        self.bytes < SCANNED_BYTES
    }

    fn go_on(&mut self, more: &[u8], has_digit: bool) {
        let room = self.run.get_mut(self.run_bytes..).unwrap_or_default();
        room.iter_mut().zip(more).for_each(|(to, from)| *to = *from);
        self.run_bytes += more.len();
        self.has_digit |= has_digit;
    }

    fn end_run(&mut self) {
        let UnderWay { key, ids, run, run_bytes, has_digit, .. } = self;
        if is_id(*run_bytes, *has_digit) {
            ids.insert(number(key, run.get(..*run_bytes).unwrap_or_default()));
        }
        (*run_bytes, *has_digit) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new([5; 16])
    }

    fn scan(mut body: Body, pieces: &[&[u8]]) -> Ids {
        let mut scan = Scan::new(key());
        for piece in pieces {
            scan.take(&body, piece);
            body.take(piece);
        }
        scan.finish(body.payload_bytes())
    }

    fn whole(text: &str) -> Ids {
        scan(Body::until_close(), &[text.as_bytes()])
    }

    fn holds(ids: &Ids, id: &str) -> Option<bool> {
        ids.holds(number(&key(), id.as_bytes()))
    }

    #[test]
    fn ids_are_runs_with_a_digit() {
        let first_of = |text| first(str::as_bytes(text)).map(|id| str::from_utf8(id).expect("text"));
        let uuid = "9b2e6a0c-8d1f-4c57-a3b1-0d2f4e6a8c10";
        let cases = [
            ("4711", Some("4711")),
            ("471", None),
            ("profiles", None),
            ("summer-cup-2024", Some("summer-cup-2024")),
            (uuid, Some(uuid)),
            ("abc,12,90210,4711", Some("90210")),
            ("%7B4711%7D", Some("7B4711")),
            ("", None),
        ];
        assert_eq!(cases.map(|(text, _)| first_of(text)), cases.map(|(_, id)| id));
        assert_eq!(first(&[b'7'; ID_BYTES_MAX]).map(<[u8]>::len), Some(ID_BYTES_MAX));
        assert_eq!(first(&[b'7'; ID_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_body_is_asked_for_ids() {
        let ids = whole(r#"{"userId":90210,"team":"red","session":"s-5f3a","n":12}"#);
        let asked = ["90210", "s-5f3a", "9021", "902100", "s-5f3b"];
        assert_eq!(
            asked.map(|id| holds(&ids, id)),
            [Some(true), Some(true), Some(false), Some(false), Some(false)]
        );
        // At the very end, and with framing.
        assert_eq!(holds(&whole("90210"), "90210"), Some(true));
        let chunked = scan(Body::chunked(), &[b"3\r\n[90\r\n4;x=4711\r\n210]\r\n0\r\nT: 4712\r\n\r\n"]);
        assert_eq!(
            ["90210", "4711", "4712"].map(|id| holds(&chunked, id)),
            [Some(true), Some(false), Some(false)]
        );
    }

    #[test]
    fn what_was_not_seen_is_not_known() {
        assert_eq!(holds(&Ids::default(), "4711"), None);
        assert_eq!(holds(&Scan::default().finish(9), "4711"), None);
        // Nothing in it is an id; as in redacted bodies.
        assert_eq!(holds(&whole(r#"{"name":"bxqWdf","n":7}"#), "4711"), None);
        let long = format!("4711,{}90210,", " ".repeat(SCANNED_BYTES as usize - 8));
        let ids = whole(&long);
        assert_eq!(["4711", "90210", "902"].map(|id| holds(&ids, id)), [Some(true), None, None]);
        let mut scan = Scan::new(key());
        scan.take(&Body::until_close(), b"4711,90");
        scan.skip();
        scan.take(&Body::until_close(), b"210,4712,");
        let ids = scan.finish(90);
        assert_eq!(["4711", "90210", "4712"].map(|id| holds(&ids, id)), [Some(true), None, None]);
    }

    #[test]
    fn a_crowded_sketch_only_denies() {
        let many: Vec<String> = (1000..1160).map(|n| n.to_string()).collect();
        let (few, all) = (whole(&many[..20].join(",")), whole(&many.join(",")));
        assert_eq!([&few, &all].map(|ids| holds(ids, "1007")), [Some(true), Some(true)]);
        let crowded = whole(&(1000..1800).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        assert_eq!(holds(&crowded, "1007"), None);
        // Of a thousand that are not there.
        let denied = |ids: &Ids| (2000..3000).filter(|n| holds(ids, &n.to_string()) == Some(false)).count();
        assert_eq!([&few, &all, &crowded].map(denied), [997, 774, 62]);
    }

    #[test]
    fn answers_are_joined() {
        let mut both = whole("4711 a");
        both.join(&whole("90210 b"));
        assert_eq!(
            ["4711", "90210", "5555"].map(|id| holds(&both, id)),
            [Some(true), Some(true), Some(false)]
        );
        both.join(&Ids::default());
        assert_eq!(["4711", "5555"].map(|id| holds(&both, id)), [Some(true), None]);
        assert_eq!(format!("{both:?}"), "Ids?");
    }

    #[test]
    fn another_key_has_other_numbers() {
        assert_ne!(number(&key(), b"90210"), number(&Key::default(), b"90210"));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[a-f0-9 ,-]{1,300}", cuts in prop::collection::vec(0..300usize, 0..5)) {
            let whole = whole(&text);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(scan(Body::until_close(), &pieces), whole);
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(scan(Body::until_close(), &bytes), whole);
            // Every id of it is in it.
            for run in text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-') {
                if first(run.as_bytes()).is_some() {
                    prop_assert!(holds(&whole, run) != Some(false));
                }
            }
        }
    }
}
