//! Given: the bytes of a Go program. Gives: where `crypto/tls` reads, writes and closes in it, and each place where those
//! return. Refuses to know: symbols; what is looked for stands in the table by which a Go program walks its own stack, and
//! that is there when it is stripped, too.
//!
//! Format: `pcHeader`, `functab` and `_func` of runtime/{symtab,runtime2}.go, written by cmd/link/internal/ld/pcln.go; 1.18
//! to 1.26.

use std::io::{Read, Seek};

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use memchr::memmem;
use object::LittleEndian as Le;
use object::elf::{ProgramHeader64, SectionHeader64};

use super::{Bounded, Machine, NotElf, PIECE_BYTES, Stack, place};
use crate::probe::tls::Function;

/// Sections that only the Go linker writes; where C is linked in, the table may have no section of its own.
const TABLE: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];
const SHARED: &[u8] = b".data.rel.ro";
const TEXT: &[u8] = b".text";
const NOTE: &[u8] = b".note.go.buildid";

/// How the table of a version begins.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// The same of 1.2 and 1.16: arguments are on the stack, or that cannot be told.
const MAGIC_OLD: [u32; 2] = [0xffff_fffb, 0xffff_fffa];

const HEADER_BYTES: u64 = 72;

/// Entries of the table that are looked at at one time.
const PIECE_ENTRIES: u64 = 8 * 1024;

/// Bytes that the descriptions of so many functions may have. They have 100 each, or so.
const PIECE_FUNCTIONS_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of code of one function. They have 4 KiB at most by now.
const CODE_BYTES: u64 = 64 * 1024;

/// Places at which one function returns. They have fifteen by now.
const RETURNS_MAX: usize = 64;

/// Instructions in which a function asks whether its stack has room.
const STACK_CHECK_INSTRUCTIONS: usize = 5;
/// `g.stackguard0`, which it asks.
const STACK_GUARD: u64 = 16;

/// What is probed: the function, its returns, and its name.
const FUNCTIONS: [(Function, Option<Function>, &[u8]); 3] = [
    (Function::GoRead, Some(Function::GoReadReturn), b"\0crypto/tls.(*Conn).Read\0"),
    (Function::GoWrite, Some(Function::GoWriteReturn), b"\0crypto/tls.(*Conn).Write\0"),
    (Function::GoClose, None, b"\0crypto/tls.(*Conn).Close\0"),
];

/// The longest of the names, and more.
const OVERLAP_BYTES: u64 = 64;

/// What a Go program has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// No `crypto/tls`, or no Go.
    None,
    /// Function and file offset.
    Probed(Vec<(Function, u64)>),
    /// It may have TLS that is not seen.
    Missed(Stack),
}

/// A section with its name.
pub(super) type Named<'a> = (&'a [u8], SectionHeader64<Le>);

/// Looks for the functions. `text` is where Go's code begins, where a symbol says so.
pub(super) fn tls<F: Read + Seek>(
    file: &mut Bounded<F>,
    machine: Machine,
    sections: &[Named<'_>],
    segments: &[ProgramHeader64<Le>],
    text: Option<u64>,
) -> Result<Tls, NotElf> {
    let named = |wanted: &[u8]| sections.iter().find(|(name, _)| *name == wanted).map(|(_, section)| section);
    let own = TABLE.into_iter().find_map(named);
    if own.is_none() && named(NOTE).is_none() {
        return Ok(Tls::None);
    }
    let begin = match (own, named(SHARED)) {
        (Some(section), _) => Some(section.sh_offset.get(Le)),
        (None, Some(section)) => search(file, section)?,
        (None, None) => None,
    };
    let Some(begin) = begin else { return Ok(Tls::Missed(Stack::Go)) };
    let table = match Table::read(file, begin)? {
        Ok(table) => table,
        Err(stack) => return Ok(Tls::Missed(stack)),
    };
    let Some(found) = table.functions(file)? else { return Ok(Tls::None) };
    // Since 1.26 the table does not say where code begins, and of a program that is relocated it never did.
    let of_section = named(TEXT).map(|section| section.sh_addr.get(Le));
    for text in [text, Some(table.text).filter(|&text| text != 0), of_section].into_iter().flatten() {
        if let Some(points) = points(file, machine, segments, text, &found)? {
            return Ok(Tls::Probed(points));
        }
    }
    Ok(Tls::Missed(Stack::Go))
}

/// Where the table begins in a section that it shares, if it is there.
fn search<F: Read + Seek>(
    file: &mut Bounded<F>,
    section: &SectionHeader64<Le>,
) -> Result<Option<u64>, NotElf> {
    let length = section.sh_size.get(Le);
    for first in (0..length).step_by(PIECE_BYTES as usize) {
        let at = section.sh_offset.get(Le).checked_add(first).ok_or(NotElf::Truncated)?;
        let piece = file.bytes(at, PIECE_BYTES.min(length - first))?;
        let begins = |word: &[u8]| magic(word).is_some_and(|magic| MAGIC.contains(&magic));
        if let Some(index) = piece.chunks_exact(8).position(begins) {
            return Ok(Some(at + index as u64 * 8));
        }
    }
    Ok(None)
}

/// The number by which the first word of a table says what version it is of; two zeroes follow, the least length of an
/// instruction, and that of a pointer.
fn magic(word: &[u8]) -> Option<u32> {
    match *word {
        [a, b, c, d, 0, 0, 1 | 4, 8] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// A function of the program, by offsets from where code begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: usize,
    begin: u64,
    end: u64,
}

/// The table of functions; offsets in the file.
#[derive(Debug)]
struct Table {
    text: u64,
    names: u64,
    names_end: u64,
    entries: u64,
    count: u64,
}

impl Table {
    fn read<F: Read + Seek>(file: &mut Bounded<F>, begin: u64) -> Result<Result<Table, Stack>, NotElf> {
        let header = file.bytes(begin, HEADER_BYTES)?;
        let (word, rest) = header.split_at_checked(8).ok_or(NotElf::Truncated)?;
        let Some(magic) = magic(word) else { return Ok(Err(Stack::Go)) };
        if MAGIC_OLD.contains(&magic) {
            return Ok(Err(Stack::GoBefore118));
        }
        if !MAGIC.contains(&magic) {
            return Ok(Err(Stack::Go));
        }
        let mut words = rest.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let mut word = || words.next().ok_or(NotElf::Truncated);
        let (count, _files, text, names, names_end) = (word()?, word()?, word()?, word()?, word()?);
        let (_files, _values, entries) = (word()?, word()?, word()?);
        let place = |offset| begin.checked_add(offset).ok_or(NotElf::Truncated);
        Ok(Ok(Table {
            text,
            names: place(names)?,
            names_end: place(names_end)?,
            entries: place(entries)?,
            count,
        }))
    }

    /// Those of [`FUNCTIONS`], by their index; `None` when `Read` or `Write` is not there.
    fn functions<F: Read + Seek>(&self, file: &mut Bounded<F>) -> Result<Option<Vec<Place>>, NotElf> {
        let names = self.names(file)?;
        if names.len() < FUNCTIONS.len() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for first in (0..self.count).step_by(PIECE_ENTRIES as usize) {
            let count = PIECE_ENTRIES.min(self.count - first);
            let at = first.checked_mul(8).and_then(|offset| self.entries.checked_add(offset));
            // The entry behind the last one has the end of the code, and no function.
            let bytes = file.bytes(at.ok_or(NotElf::Truncated)?, (count + 1) * 8)?;
            let entries: Vec<[u64; 2]> = bytes.chunks_exact(8).map(halves).collect();
            let (Some(&[_, low]), Some(&[_, high])) = (entries.first(), entries.iter().rev().nth(1)) else {
                continue;
            };
            let length = high.checked_sub(low).ok_or(NotElf::Malformed)? + 8;
            if length > PIECE_FUNCTIONS_BYTES {
                return Err(NotElf::TooLarge);
            }
            let described = file.bytes(self.entries.checked_add(low).ok_or(NotElf::Truncated)?, length)?;
            for pair in entries.windows(2) {
                let [[begin, description], [end, _]] = *pair else { continue };
                let description = description.checked_sub(low).ok_or(NotElf::Malformed)? as usize;
                let Some(description) = described.get(description..).and_then(|rest| rest.get(..8)) else {
                    return Err(NotElf::Malformed);
                };
                let [_, name] = halves(description);
                if let Some((index, _)) = names.iter().find(|(_, known)| *known == name) {
                    found.push(Place { index: *index, begin, end });
                }
            }
        }
        Ok((found.len() == FUNCTIONS.len()).then_some(found))
    }

    /// Index in [`FUNCTIONS`], and offset among the names.
    fn names<F: Read + Seek>(&self, file: &mut Bounded<F>) -> Result<Vec<(usize, u64)>, NotElf> {
        let length = self.names_end.checked_sub(self.names).ok_or(NotElf::Malformed)?;
        let mut found = Vec::new();
        for first in (0..length).step_by(PIECE_BYTES as usize) {
            let piece = file.bytes(self.names + first, (PIECE_BYTES + OVERLAP_BYTES).min(length - first))?;
            for (index, (.., name)) in FUNCTIONS.iter().enumerate() {
                let at = memmem::find(&piece, name).map(|at| (index, first + at as u64 + 1));
                found.extend(at.filter(|at| !found.contains(at)));
            }
        }
        Ok(found)
    }
}

/// The two halves of a word.
fn halves(word: &[u8]) -> [u64; 2] {
    let word = word.try_into().map_or(0, u64::from_le_bytes);
    [word & u64::from(u32::MAX), word >> 32]
}

/// Where to probe, if code begins at `text`: each of the functions must ask for room on its stack first, as all do that call
/// others.
fn points<F: Read + Seek>(
    file: &mut Bounded<F>,
    machine: Machine,
    segments: &[ProgramHeader64<Le>],
    text: u64,
    found: &[Place],
) -> Result<Option<Vec<(Function, u64)>>, NotElf> {
    let mut points = Vec::new();
    for &Place { index, begin, end } in found {
        let Some((function, returns, _)) = FUNCTIONS.get(index) else { continue };
        let address = text.wrapping_add(begin);
        let Some((offset, rest)) = segments.iter().find_map(|segment| place(segment, address)) else {
            return Ok(None);
        };
        let length = end.checked_sub(begin).filter(|&length| length <= CODE_BYTES.min(rest));
        let Some(length) = length else { return Ok(None) };
        let code = file.bytes(offset, length)?;
        let Some(places) = returns_of(machine, &code) else { return Ok(None) };
        points.push((*function, offset));
        points.extend(returns.iter().flat_map(|returns| places.iter().map(|at| (*returns, offset + at))));
    }
    points.sort_unstable_by_key(|(_, offset)| *offset);
    Ok(Some(points))
}

/// Where in the code of a function its `RET` instructions are; `None` when it is no function of Go.
fn returns_of(machine: Machine, code: &[u8]) -> Option<Vec<u64>> {
    let returns = match machine {
        Machine::X86_64 => {
            let instructions = || Decoder::new(64, code, DecoderOptions::NONE).into_iter();
            if !instructions().take(STACK_CHECK_INSTRUCTIONS).any(|instruction| is_stack_check(&instruction))
                || instructions().any(|instruction| instruction.is_invalid())
            {
                return None;
            }
            let returns = instructions().filter(|found| found.mnemonic() == Mnemonic::Ret);
            returns.map(|found| found.ip()).collect::<Vec<_>>()
        }
        Machine::Arm64 => {
            let (words, _) = code.as_chunks::<4>();
            // `ldr x16, [x28, #16]`
            if words.first() != Some(&0xf940_0b90_u32.to_le_bytes()) {
                return None;
            }
            let returns = (0..).step_by(4).zip(words).filter(|(_, word)| **word == ARM64_RET.to_le_bytes());
            returns.map(|(at, _)| at).collect()
        }
    };
    (1..=RETURNS_MAX).contains(&returns.len()).then_some(returns)
}

/// `ret x30`.
const ARM64_RET: u32 = 0xd65f_03c0;

/// `cmp …, [r14+16]`.
fn is_stack_check(instruction: &Instruction) -> bool {
    instruction.code() == Code::Cmp_r64_rm64
        && instruction.memory_base() == Register::R14
        && instruction.memory_displacement64() == STACK_GUARD
}

#[cfg(test)]
mod tests;
