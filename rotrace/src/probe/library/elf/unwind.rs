//! Given: the table by which exceptions find functions, which stripped files keep. Gives: whether a function begins at an
//! address. Refuses to know: which function that is.
//!
//! A probe within an instruction would end the program that it is in, so an address that somebody wrote down is held
//! against this table.
//!
//! Format: Linux Standard Base, "Exception Frames", `.eh_frame_hdr`.

use std::cmp::Ordering;
use std::io::{Read, Seek};

use object::LittleEndian as Le;
use object::elf::{self, ProgramHeader64};

use super::{Bounded, NotElf};

/// Version 1; the encodings that GNU ld and LLD write, of the address of `.eh_frame`, of the number of entries, and of those:
/// 32 bits relative to the table, in the order of addresses.
const FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

const HEADER_BYTES: u64 = 12;

/// Where a function begins, and where it is described.
const ENTRY_BYTES: u64 = 8;

/// Whether a function begins at `address`; `None` when the file has no table that can be searched.
pub(super) fn begins_function<F: Read + Seek>(
    file: &mut Bounded<F>,
    segments: &[ProgramHeader64<Le>],
    address: u64,
) -> Result<Option<bool>, NotElf> {
    let Some(table) = segments.iter().find(|segment| segment.p_type.get(Le) == elf::PT_GNU_EH_FRAME) else {
        return Ok(None);
    };
    let at = table.p_offset.get(Le);
    let header = file.bytes(at, HEADER_BYTES)?;
    let (Some(form), Some(count)) = (header.first_chunk::<4>(), header.last_chunk::<4>()) else {
        return Ok(None);
    };
    let (mut low, mut high) = (0, u64::from(u32::from_le_bytes(*count)));
    if *form != FORM || HEADER_BYTES + high * ENTRY_BYTES > table.p_filesz.get(Le) {
        return Ok(None);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = at.checked_add(HEADER_BYTES + middle * ENTRY_BYTES).ok_or(NotElf::Truncated)?;
        let entry = file.bytes(entry, 4)?;
        let distance = entry.first_chunk().map_or(0, |distance| i32::from_le_bytes(*distance));
        match table.p_vaddr.get(Le).wrapping_add_signed(distance.into()).cmp(&address) {
            Ordering::Equal => return Ok(Some(true)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use object::{U32, U64};

    use super::*;

    fn segment(bytes: u64) -> ProgramHeader64<Le> {
        ProgramHeader64 {
            p_type: U32::new(Le, elf::PT_GNU_EH_FRAME),
            p_flags: U32::new(Le, elf::PF_R),
            p_offset: U64::new(Le, 4),
            p_vaddr: U64::new(Le, 0x5000),
            p_paddr: U64::new(Le, 0),
            p_filesz: U64::new(Le, bytes),
            p_memsz: U64::new(Le, bytes),
            p_align: U64::new(Le, 4),
        }
    }

    fn table(form: [u8; 4], starts: &[u64]) -> Vec<u8> {
        let mut bytes = [&[0; 4], &form[..], &[9; 4]].concat();
        bytes.extend((starts.len() as u32).to_le_bytes());
        for start in starts {
            bytes.extend((*start as i32 - 0x5000).to_le_bytes());
            bytes.extend([7; 4]);
        }
        bytes
    }

    fn search(bytes: &[u8], segments: &[ProgramHeader64<Le>], address: u64) -> Result<Option<bool>, NotElf> {
        begins_function(&mut Bounded::new(Cursor::new(bytes), 4096)?, segments, address)
    }

    #[test]
    fn where_functions_begin() {
        let starts: Vec<u64> = (0..9).map(|number| 0x1000 + 0x30 * number).chain([0x9000]).collect();
        for count in 0..=starts.len() {
            let bytes = table(FORM, &starts[..count]);
            let segments = [segment(bytes.len() as u64 - 4)];
            for (index, &start) in starts.iter().enumerate() {
                assert_eq!(search(&bytes, &segments, start), Ok(Some(index < count)));
                assert_eq!(search(&bytes, &segments, start + 1), Ok(Some(false)));
            }
        }
    }

    #[test]
    fn what_cannot_be_searched_says_nothing() {
        let bytes = table(FORM, &[0x1000, 0x2000]);
        let length = bytes.len() as u64 - 4;
        assert_eq!(search(&bytes, &[], 0x1000), Ok(None));
        assert_eq!(search(&bytes, &[segment(length - 1)], 0x1000), Ok(None));
        assert_eq!(search(&table([1, 0x1b, 0x03, 0x3c], &[0x1000]), &[segment(length)], 0x1000), Ok(None));
        for cut in 0..16 {
            assert_eq!(search(&bytes[..cut], &[segment(length)], 0x1000), Err(NotElf::Truncated));
        }
    }
}
