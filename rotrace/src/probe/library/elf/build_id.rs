//! Given: the notes of a file, and what is told of files by their build ids. Gives: the build id of a file, and the addresses
//! that are told of it. Refuses to know: whether functions stand there, and who told.
//!
//! The linker hashes what it writes into a note, and `strip` leaves it: so the build id of a file without symbols is that of
//! the file with them, and what `nm` says of the one is true of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Seek};

use object::LittleEndian as Le;
use object::elf::{self, ProgramHeader64};

use super::{Bounded, NotElf};
use crate::probe::tls::Function;

/// Bytes of a segment of notes that are looked at. The build id is the first of them, or the second.
const NOTES_BYTES: u64 = 64 * 1024;

/// Bytes of a build id. Linkers write 8, 16 or 20, unless they are told what to write.
const BYTES_MAX: usize = 64;

/// Sizes of name and description, and type.
const HEADER_BYTES: usize = 12;

const OWNER: &[u8] = b"GNU\0";

/// What a linker calls the file that it made (`NT_GNU_BUILD_ID`, elf/elf.h of glibc).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// Of its hexadecimal digits, as `file` and `readelf -n` show them.
    pub fn parse(digits: &str) -> Option<BuildId> {
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let bytes = pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8));
        BuildId::new(&bytes.collect::<Option<Vec<_>>>()?)
    }

    fn new(bytes: &[u8]) -> Option<BuildId> {
        (1..=BYTES_MAX).contains(&bytes.len()).then(|| BuildId(bytes.into()))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where functions stand in files that do not say so themselves: virtual addresses, as `nm` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<BuildId, BTreeSet<(u64, Function)>>);

/// Why an entry cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// One direction would be missing; or the end of connections, whose objects have successors at the same address.
    Incomplete,
    /// The file has one already.
    Again,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadEntry::Incomplete => {
                "an entry needs a function that reads, one that writes and one that frees, such as SSL_read, SSL_write and SSL_free"
            }
            BadEntry::Again => "another entry has this build_id",
        })
    }
}

impl Addresses {
    /// Adds what is told of one file.
    pub fn insert(&mut self, id: BuildId, functions: BTreeSet<(u64, Function)>) -> Result<(), BadEntry> {
        let has = |wanted: fn(Function) -> bool| functions.iter().any(|&(_, function)| wanted(function));
        if !(has(Function::reads) && has(Function::writes) && has(|function| function == Function::Free)) {
            return Err(BadEntry::Incomplete);
        }
        match self.0.insert(id, functions) {
            None => Ok(()),
            Some(_) => Err(BadEntry::Again),
        }
    }

    /// What is told of a file.
    pub(super) fn of(&self, id: Option<&BuildId>) -> impl Iterator<Item = (u64, Function)> {
        id.and_then(|id| self.0.get(id)).into_iter().flatten().copied()
    }
}

/// The build id that a file has, if its linker wrote one.
pub(super) fn build_id<F: Read + Seek>(
    file: &mut Bounded<F>,
    segments: &[ProgramHeader64<Le>],
) -> Result<Option<BuildId>, NotElf> {
    for segment in segments.iter().filter(|segment| segment.p_type.get(Le) == elf::PT_NOTE) {
        let notes = file.bytes(segment.p_offset.get(Le), segment.p_filesz.get(Le).min(NOTES_BYTES))?;
        // What stands in a segment of 8 is aligned to 8, anything else to 4 (elf/dl-load.h of glibc 2.36).
        let alignment = if segment.p_align.get(Le) == 8 { 8 } else { 4 };
        if let Some(id) = noted(&notes, alignment) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The first build id in a segment of notes (System V ABI, chapter 5, "Note Section").
fn noted(mut notes: &[u8], alignment: usize) -> Option<BuildId> {
    loop {
        let (header, _) = notes.split_first_chunk::<HEADER_BYTES>()?;
        let [name_bytes, description_bytes, kind] = [0, 4, 8]
            .map(|at| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let name_end = HEADER_BYTES.checked_add(name_bytes as usize)?;
        let description_at = name_end.checked_next_multiple_of(alignment)?;
        let description_end = description_at.checked_add(description_bytes as usize)?;
        if kind == elf::NT_GNU_BUILD_ID.0 && notes.get(HEADER_BYTES..name_end)? == OWNER {
            return BuildId::new(notes.get(description_at..description_end)?);
        }
        notes = notes.get(description_end.checked_next_multiple_of(alignment)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(owner: &[u8], kind: u32, description: &[u8], alignment: usize) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(owner);
        note.resize(note.len().next_multiple_of(alignment), 0);
        note.extend(description);
        note.resize(note.len().next_multiple_of(alignment), 0);
        note
    }

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let wanted = BuildId::parse("00ff10Ab").unwrap();
        assert_eq!(wanted.to_string(), "00ff10ab");
        for alignment in [4, 8] {
            let abi = note(OWNER, 1, &[7; 16], alignment);
            let other = note(b"Go\0\0", 3, b"other", alignment);
            let id = note(OWNER, 3, &[0, 0xff, 0x10, 0xab], alignment);
            let all = [abi, other, id].concat();
            assert_eq!(noted(&all, alignment), Some(wanted.clone()));
            for length in 0..all.len() {
                let found = noted(&all[..length], alignment);
                assert!(found.is_none() || length + alignment > all.len(), "{length}: {found:?}");
            }
        }
        assert_eq!(noted(&note(OWNER, 3, &[], 4), 4), None);
        assert_eq!(noted(&note(OWNER, 3, &[1; BYTES_MAX + 1], 4), 4), None);
    }

    #[test]
    fn digits_are_pairs() {
        for digits in ["", "0", "0g", "abc", "+1", &"00".repeat(BYTES_MAX + 1)] {
            assert_eq!(BuildId::parse(digits), None, "{digits}");
        }
    }

    #[test]
    fn an_entry_is_whole_and_the_only_one() {
        let mut addresses = Addresses::default();
        let id = || BuildId::parse("01").unwrap();
        let mut insert = |functions: &[Function]| {
            addresses.insert(id(), functions.iter().map(|&function| (1, function)).collect())
        };
        use Function::{Free, Read, ReadEx, Receive, Write, WriteEx};
        for functions in [&[Read, Write][..], &[Read, Free], &[WriteEx, Free], &[]] {
            assert_eq!(insert(functions), Err(BadEntry::Incomplete));
        }
        assert_eq!(insert(&[ReadEx, Write, Free]), Ok(()));
        assert_eq!(insert(&[Receive, WriteEx, Free]), Err(BadEntry::Again));
    }

    proptest! {
        #[test]
        fn any_notes_are_survived(notes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (noted(&notes, 4), noted(&notes, 8));
        }
    }
}
