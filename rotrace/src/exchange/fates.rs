//! Given: the bytes of one direction, and what happens to each record on its way. Gives: the records that arrive. Refuses to
//! know: what they carry. For the properties of whoever reads records.

use proptest::prelude::*;

/// What happens to a record on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Kept,
    /// Only the first bytes are captured.
    Cut(usize),
    /// It is lost; the next record of its direction shows that bytes are missing.
    Lost,
}

/// A record, or that there was one.
pub(crate) struct Dealt<'a> {
    /// It begins where the traffic turned round.
    pub(crate) turn: bool,
    /// Bytes that it moved.
    pub(crate) size: u64,
    /// The first of them; `None` when it is lost.
    pub(crate) captured: Option<&'a [u8]>,
}

/// Most records arrive.
pub(crate) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![10 => Just(Fate::Kept), 1 => (0usize..20).prop_map(Fate::Cut), 1 => Just(Fate::Lost)]
}

/// Cuts what one side sends before the other answers into records, and deals out fates.
pub(crate) fn deal<'a, 'f>(
    burst: &'a [u8],
    record_bytes: usize,
    fates: impl Iterator<Item = &'f Fate>,
) -> impl Iterator<Item = Dealt<'a>> {
    burst.chunks(record_bytes).zip(fates).enumerate().map(|(index, (bytes, fate))| Dealt {
        turn: index == 0,
        size: bytes.len() as u64,
        captured: match *fate {
            Fate::Kept => Some(bytes),
            Fate::Cut(length) => Some(&bytes[..length.min(bytes.len())]),
            Fate::Lost => None,
        },
    })
}
