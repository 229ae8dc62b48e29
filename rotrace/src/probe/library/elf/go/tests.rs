//! Given: small tables and code made here. Gives: that functions and their returns are found where they are, and that no bytes
//! are too strange. Refuses to know: real programs; those are in the live tests.

use std::io::Cursor;

use object::elf;
use proptest::prelude::*;

use super::*;

const TABLE_AT: u64 = 24;
const CODE_OFFSET: u64 = 1024;
const CODE_ADDRESS: u64 = 0x40_1000;
const FUNCTION_BYTES: usize = 32;

/// `cmp 16(%r14), %rsp`, a return, `xor %eax, %eax`, another, and what a byte of 0xc3 within an instruction is not.
const CODE: [u8; 15] =
    [0x49, 0x3b, 0x66, 0x10, 0xc3, 0x31, 0xc0, 0xc3, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0x90, 0xc3];
/// `ldr x16, [x28, #16]`, `ret`, `nop`, `ret`.
const CODE_ARM64: [u32; 4] = [0xf940_0b90, ARM64_RET, 0xd503_201f, ARM64_RET];

/// A Go program to be: a function before the three, the three, and one behind them.
struct Sample {
    magic: u32,
    /// What the table says of where code begins.
    text: u64,
    names: [&'static str; 5],
    code: Vec<u8>,
}

impl Sample {
    fn new() -> Sample {
        Sample {
            magic: MAGIC[1],
            text: 0,
            names: [
                "go:buildid",
                "crypto/tls.(*Conn).Close",
                "crypto/tls.(*Conn).Read",
                "crypto/tls.(*Conn).Write",
                "crypto/tls.(*Conn).WriteTo",
            ],
            code: CODE.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let count = self.names.len();
        let names: String = self.names.iter().map(|name| format!("{name}\0")).collect();
        let entries_at = HEADER_BYTES + (names.len() as u64).next_multiple_of(8);
        let mut bytes = vec![0; TABLE_AT as usize];
        bytes.extend(self.magic.to_le_bytes());
        bytes.extend([0, 0, 1, 8]);
        let names_end = HEADER_BYTES + names.len() as u64;
        for word in [count as u64, 0, self.text, HEADER_BYTES, names_end, 0, 0, entries_at] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(names.as_bytes());
        bytes.resize((TABLE_AT + entries_at) as usize, 0);
        let described_at = 8 * (count as u32 + 1);
        for index in 0..=count as u32 {
            bytes.extend((index * FUNCTION_BYTES as u32).to_le_bytes());
            bytes.extend((described_at + index * 8).to_le_bytes());
        }
        let mut name = 0;
        for (index, text) in (0u32..).zip(self.names) {
            bytes.extend((index * FUNCTION_BYTES as u32).to_le_bytes());
            bytes.extend((name as u32).to_le_bytes());
            name += text.len() + 1;
        }
        bytes.resize(CODE_OFFSET as usize, 0);
        for _ in self.names {
            let begin = bytes.len();
            bytes.extend(&self.code);
            bytes.resize(begin + FUNCTION_BYTES, 0xcc);
        }
        bytes
    }
}

fn section(offset: u64, address: u64, size: u64) -> SectionHeader64<Le> {
    let mut bytes = [0; size_of::<SectionHeader64<Le>>()];
    for (at, word) in [(16, address), (24, offset), (32, size)] {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    *object::pod::from_bytes(&bytes).unwrap().0
}

fn segment() -> ProgramHeader64<Le> {
    let mut bytes = [0; size_of::<ProgramHeader64<Le>>()];
    bytes[0..4].copy_from_slice(&elf::PT_LOAD.0.to_le_bytes());
    bytes[4..8].copy_from_slice(&(elf::PF_R.0 | elf::PF_X.0).to_le_bytes());
    for (at, word) in [(8, CODE_OFFSET), (16, CODE_ADDRESS), (32, 5 * FUNCTION_BYTES as u64)] {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    *object::pod::from_bytes(&bytes).unwrap().0
}

fn read(
    bytes: &[u8],
    machine: Machine,
    name: &[u8],
    text_at: u64,
    symbol: Option<u64>,
) -> Result<Tls, NotElf> {
    let table = if name == SHARED { section(0, 0, CODE_OFFSET) } else { section(TABLE_AT, 0, 512) };
    let sections = [(name, table), (NOTE, section(0, 0, 0)), (TEXT, section(CODE_OFFSET, text_at, 160))];
    tls(&mut Bounded::new(Cursor::new(bytes), 1 << 20)?, machine, &sections, &[segment()], symbol)
}

fn of(sample: &Sample) -> Tls {
    read(&sample.bytes(), Machine::X86_64, TABLE[0], CODE_ADDRESS, None).unwrap()
}

/// Where the three are, and places of returns in each.
fn expected(returns: &[u64]) -> Tls {
    let mut points = Vec::new();
    let functions = [
        (Function::GoClose, None),
        (Function::GoRead, Some(Function::GoReadReturn)),
        (Function::GoWrite, Some(Function::GoWriteReturn)),
    ];
    for (index, (function, return_)) in (1..).zip(functions) {
        let at = CODE_OFFSET + index * FUNCTION_BYTES as u64;
        points.push((function, at));
        points
            .extend(return_.iter().flat_map(|return_| returns.iter().map(|offset| (*return_, at + offset))));
    }
    Tls::Probed(points)
}

#[test]
fn functions_and_their_returns_are_found() {
    let sample = Sample::new();
    assert_eq!(of(&sample), expected(&[4, 7, 14]), "not within an instruction");
    assert_eq!(of(&Sample { magic: MAGIC[0], ..Sample::new() }), expected(&[4, 7, 14]));
    let code = CODE_ARM64.into_iter().flat_map(u32::to_le_bytes).collect();
    let arm64 = Sample { code, ..Sample::new() }.bytes();
    let found = read(&arm64, Machine::Arm64, TABLE[1], CODE_ADDRESS, None);
    assert_eq!(found, Ok(expected(&[4, 12])));
}

#[test]
fn a_table_is_found_in_a_section_that_it_shares() {
    let found = read(&Sample::new().bytes(), Machine::X86_64, SHARED, CODE_ADDRESS, None);
    assert_eq!(found, Ok(expected(&[4, 7, 14])));
    let found = read(&vec![0; 2048], Machine::X86_64, SHARED, CODE_ADDRESS, None);
    assert_eq!(found, Ok(Tls::Missed(Stack::Go)));
}

/// The section may begin with code of C; then the table or a symbol says where Go's is.
#[test]
fn where_code_begins_is_only_believed_when_the_functions_are_there() {
    let found = |text, text_at, symbol| {
        let sample = Sample { text, ..Sample::new() };
        read(&sample.bytes(), Machine::X86_64, TABLE[0], text_at, symbol).unwrap()
    };
    let before = CODE_ADDRESS - 16;
    assert_eq!(found(0, before, None), Tls::Missed(Stack::Go));
    assert_eq!(found(CODE_ADDRESS, before, None), expected(&[4, 7, 14]));
    assert_eq!(found(before, before, Some(CODE_ADDRESS)), expected(&[4, 7, 14]));
    assert_eq!(found(before, CODE_ADDRESS, Some(u64::MAX)), expected(&[4, 7, 14]));
}

#[test]
fn old_tables_are_named_and_programs_without_tls_are_not() {
    for magic in MAGIC_OLD {
        assert_eq!(of(&Sample { magic, ..Sample::new() }), Tls::Missed(Stack::GoBefore118));
    }
    assert_eq!(of(&Sample { magic: 1, ..Sample::new() }), Tls::Missed(Stack::Go));
    let names = ["a", "b", "main.(*Conn).Read", "xcrypto/tls.(*Conn).Write", "crypto/tls.(*Conn).Close"];
    assert_eq!(of(&Sample { names, ..Sample::new() }), Tls::None);
    // `ret` alone is no function that asks for room.
    assert_eq!(of(&Sample { code: vec![0xc3], ..Sample::new() }), Tls::Missed(Stack::Go));
}

proptest! {
    /// Whatever is cut off or changed: no point lies outside the file.
    #[test]
    fn any_change_is_survived(
        changes in proptest::collection::vec((0usize..1200, any::<u8>()), 1..6),
        length in 0usize..1200,
    ) {
        let mut bytes = Sample::new().bytes();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(length.max(200));
        if let Ok(Tls::Probed(points)) = read(&bytes, Machine::X86_64, TABLE[0], CODE_ADDRESS, None) {
            prop_assert!(points.iter().all(|&(_, offset)| offset < bytes.len() as u64));
        }
    }
}
