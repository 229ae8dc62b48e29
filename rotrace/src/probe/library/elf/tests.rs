//! Given: small ELF files made here, and the test program itself. Gives: that functions are found where they are, and
//! nothing where they are not. Refuses to know: how the files of a process are found.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const MAX: u64 = 1024 * 1024;

/// Where the code of a [`Sample`] is in the file, and in memory.
const CODE_OFFSET: u64 = 64 + 3 * 56;
pub(in crate::probe::library) const CODE_ADDRESS: u64 = 0x40_10b0;
const CODE_BYTES: usize = 128;

/// An ELF file to be: code, and one symbol table.
pub(in crate::probe::library) struct Sample {
    machine: elf::Machine,
    code: [u8; CODE_BYTES],
    strings: Vec<u8>,
    /// Place in `strings`, type, section, address.
    symbols: Vec<(u32, elf::SymbolType, u16, u64)>,
    /// At most 16 letters.
    section_name: &'static str,
    /// In whole words; empty for a file without one.
    build_id: Vec<u8>,
}

impl Sample {
    pub(in crate::probe::library) fn new() -> Sample {
        Sample {
            machine: if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 },
            code: [0x90; CODE_BYTES],
            strings: vec![0],
            symbols: Vec::new(),
            section_name: ".text",
            build_id: Vec::new(),
        }
    }

    pub(in crate::probe::library) fn build_id(self, id: &[u8; 8]) -> Sample {
        Sample { build_id: id.to_vec(), ..self }
    }

    /// With a defined function `at` bytes into the code.
    pub(in crate::probe::library) fn function(self, name: &str, at: u64) -> Sample {
        self.symbol(name, elf::STT_FUNC, 1, CODE_ADDRESS + at)
    }

    fn symbol(mut self, name: &str, kind: elf::SymbolType, section: u16, address: u64) -> Sample {
        self.symbols.push((self.strings.len() as u32, kind, section, address));
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self
    }

    fn code(mut self, at: usize, code: &[u8]) -> Sample {
        self.code[at..at + code.len()].copy_from_slice(code);
        self
    }

    /// File and program headers, code, build id, symbols, strings, section names, section headers.
    pub(in crate::probe::library) fn bytes(&self) -> Vec<u8> {
        let note_at = CODE_OFFSET + CODE_BYTES as u64;
        let note_bytes = 16 + self.build_id.len() as u64;
        let symbols_at = note_at + note_bytes;
        let symbols_bytes = 24 * self.symbols.len() as u64;
        let strings_at = symbols_at + symbols_bytes;
        let names_at = strings_at + self.strings.len() as u64;
        let names = format!("\0{:16}\0.shstrtab\0", self.section_name).replace(' ', "\0");
        let sections_at = names_at + names.len() as u64;
        let mut bytes = Vec::new();
        bytes.extend(elf::ELFMAG);
        bytes.extend([elf::ELFCLASS64.0, elf::ELFDATA2LSB.0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(elf::ET_DYN.0.to_le_bytes());
        bytes.extend(self.machine.0.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        for word in [CODE_ADDRESS, 64, sections_at] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 3, 64, 4, 3] {
            bytes.extend(half.to_le_bytes());
        }
        // A segment of data at the same addresses comes first: code is only in the other.
        for flags in [elf::PF_R.0 | elf::PF_W.0, elf::PF_R.0 | elf::PF_X.0] {
            bytes.extend(elf::PT_LOAD.0.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            let offset = if flags & elf::PF_X.0 == 0 { 0 } else { CODE_OFFSET };
            for word in [offset, CODE_ADDRESS, CODE_ADDRESS, CODE_BYTES as u64, CODE_BYTES as u64, 16] {
                bytes.extend(word.to_le_bytes());
            }
        }
        let kind = if self.build_id.is_empty() { elf::PT_NULL } else { elf::PT_NOTE };
        bytes.extend(kind.0.to_le_bytes());
        bytes.extend(elf::PF_R.0.to_le_bytes());
        for word in [note_at, 0, 0, note_bytes, note_bytes, 4] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.code);
        for word in [4, self.build_id.len() as u32, elf::NT_GNU_BUILD_ID.0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"GNU\0");
        bytes.extend(&self.build_id);
        for &(name, kind, section, address) in &self.symbols {
            bytes.extend(name.to_le_bytes());
            bytes.extend([elf::STB_GLOBAL.0 << 4 | kind.0, 0]);
            bytes.extend(section.to_le_bytes());
            bytes.extend(address.to_le_bytes());
            bytes.extend(16u64.to_le_bytes());
        }
        bytes.extend(&self.strings);
        bytes.extend(names.as_bytes());
        let mut section = |name: u32, kind: elf::SectionType, at: u64, size: u64, link: u32, entry: u64| {
            bytes.extend(name.to_le_bytes());
            bytes.extend(kind.0.to_le_bytes());
            for word in [0, 0, at, size] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(link.to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            for word in [1, entry] {
                bytes.extend(word.to_le_bytes());
            }
        };
        section(1, elf::SHT_PROGBITS, CODE_OFFSET, CODE_BYTES as u64, 0, 0);
        section(0, elf::SHT_SYMTAB, symbols_at, symbols_bytes, 2, 24);
        section(0, elf::SHT_STRTAB, strings_at, self.strings.len() as u64, 0, 0);
        section(18, elf::SHT_STRTAB, names_at, names.len() as u64, 0, 0);
        bytes
    }
}

fn read(bytes: &[u8]) -> Result<Points, NotElf> {
    points(Cursor::new(bytes), MAX, &Addresses::default())
}

/// `functions` are given by their place in the code.
fn check(sample: &Sample, functions: &[(Function, u64)], stacks: &[Stack]) {
    let bytes = sample.bytes();
    let found = read(&bytes).unwrap();
    let placed: Vec<_> = functions.iter().map(|&(function, at)| (function, CODE_OFFSET + at)).collect();
    assert_eq!(found.functions, placed);
    assert_eq!(found.stacks, stacks.iter().copied().collect());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "the section headers stand last, at {length}");
    }
}

#[test]
fn every_name_of_the_table_is_found() {
    let names = NAMES.iter().filter(|(_, meaning)| *meaning != Meaning::GoText);
    let all = names.zip(0..).fold(Sample::new(), |sample, ((name, _), at)| sample.function(name, at));
    check(
        &all,
        &[
            (Function::Read, 0),
            (Function::Write, 1),
            (Function::ReadEx, 2),
            (Function::WriteEx, 3),
            (Function::Free, 4),
            (Function::GetError, 5),
            (Function::Receive, 6),
            (Function::Write, 7),
            (Function::Free, 8),
            (Function::Receive, 9),
            (Function::Write, 10),
            (Function::Free, 11),
            (Function::Read, 12),
            (Function::Write, 13),
            (Function::Free, 14),
            (Function::GetError, 15),
            (Function::Receive, 16),
            (Function::Write, 17),
            (Function::Free, 18),
            (Function::NssImport, 19),
            (Function::NsprRead, 20),
            (Function::NsprReceive, 21),
            (Function::NsprWrite, 22),
            (Function::NsprWrite, 23),
            (Function::Free, 24),
            (Function::NsprVector, 25),
        ],
        &[],
    );
}

#[test]
fn a_name_may_carry_its_version_and_share_the_tail_of_another() {
    check(
        &Sample::new().function("SSL_read@@OPENSSL_3.0.0", 8).function("SSL_write@OPENSSL_1_1_0", 16),
        &[(Function::Read, 8), (Function::Write, 16)],
        &[],
    );
    let mut shared = Sample::new().function("my_SSL_read", 32);
    shared.symbols[0].0 += 3;
    check(&shared, &[(Function::Read, 32)], &[]);
    let mut tail = Sample::new().function("wolfSSL_read", 32);
    tail.symbols[0].0 += 4;
    check(&tail, &[(Function::Read, 32)], &[]);
}

#[test]
fn only_defined_functions_in_code_count() {
    let sample = Sample::new()
        .symbol("SSL_read", elf::STT_FUNC, 0, 0)
        .symbol("SSL_read", elf::STT_FUNC, 0, CODE_ADDRESS)
        .symbol("SSL_write", elf::STT_OBJECT, 1, CODE_ADDRESS)
        .symbol("SSL_free", elf::STT_FUNC, 1, CODE_ADDRESS + CODE_BYTES as u64)
        .symbol("SSL_free", elf::STT_FUNC, 1, CODE_ADDRESS - 1)
        .symbol("SSL_free", elf::STT_FUNC, 1, u64::MAX)
        .symbol("gnutls_record_send", elf::STT_FUNC, 0, 0)
        .function("SSL_reader", 1)
        .function("my_SSL_read", 2)
        .function("ssl_read", 3);
    check(&sample, &[], &[]);
    let found = read(&sample.bytes()).unwrap();
    assert!(!found.carries_plaintext());
}

#[test]
fn aliases_are_one_point_and_what_cannot_be_told_apart_is_none() {
    check(
        &Sample::new().function("SSL_read", 8).function("SSL_read@@V", 8).function("SSL_write", 9),
        &[(Function::Read, 8), (Function::Write, 9)],
        &[],
    );
    check(
        &Sample::new().function("SSL_read", 4).function("SSL_read_ex", 4).function("SSL_write", 0),
        &[(Function::Write, 0)],
        &[],
    );
}

#[test]
fn the_probe_stands_behind_endbr64_when_push_follows_and_behind_padding() {
    let at = |machine, rest: &[u8]| {
        let mut sample = Sample::new().function("SSL_read", 16).code(16, &ENDBR64).code(20, rest);
        sample.machine = machine;
        read(&sample.bytes()).unwrap().functions[0].1 - CODE_OFFSET
    };
    assert_eq!(at(elf::EM_X86_64, &[0x55]), 20, "push %rbp");
    assert_eq!(at(elf::EM_X86_64, &[0x50]), 20, "push %rax");
    assert_eq!(at(elf::EM_X86_64, &[0x41, 0x57]), 20, "push %r15");
    assert_eq!(at(elf::EM_X86_64, &[0x41, 0x58]), 16, "pop %r8");
    assert_eq!(at(elf::EM_X86_64, &[0x58]), 16, "pop %rax");
    assert_eq!(at(elf::EM_X86_64, &[0x48, 0x83, 0xec, 0x18]), 16, "sub $0x18,%rsp");
    assert_eq!(at(elf::EM_X86_64, &[0x2e, 0x2e, 0x41, 0x54]), 22, "padded push");
    assert_eq!(at(elf::EM_X86_64, &[0x2e, 0x48, 0x83, 0xec]), 16, "padded sub");
    assert_eq!(at(elf::EM_AARCH64, &[0x55]), 16);
    let push = Sample::new().function("SSL_read", 16).code(16, &[0x55]);
    check(&push, &[(Function::Read, 16)], &[]);
    // As an assembler writes it that avoids branches across 32 bytes.
    let mut padded = Sample::new().function("s2n_recv", 16).code(16, &[0x2e, 0x2e, 0x2e, 0x2e, 0x41, 0x54]);
    padded.machine = elf::EM_X86_64;
    check(&padded, &[(Function::Receive, 20)], &[]);
    padded.machine = elf::EM_AARCH64;
    check(&padded, &[(Function::Receive, 16)], &[]);
    let mut last = Sample::new().function("SSL_read", 124).code(124, &ENDBR64);
    last.machine = elf::EM_X86_64;
    check(&last, &[(Function::Read, 124)], &[]);
}

#[test]
fn go_and_rust_are_known_by_their_traces() {
    let rust = "_ZN6rustls4conn16ConnectionCommon11process_new17h0123456789abcdefE";
    check(&Sample::new().function(rust, 0), &[], &[Stack::Rustls(Lack::Symbols)]);
    check(&Sample::new().function("trustless", 0), &[], &[]);
    let encrypts = "_ZN6rustls12common_state11CommonState20send_appdata_encrypt17h0123456789abcdefE";
    for (machine, lack) in
        [(elf::EM_X86_64, Lack::Function("take_received_plaintext")), (elf::EM_AARCH64, Lack::Arm64)]
    {
        let sample = Sample { machine, ..Sample::new() }.function(encrypts, 0);
        check(&sample, &[], &[Stack::Rustls(lack)]);
    }
    for name in [".gopclntab", ".note.go.buildid"] {
        check(&Sample { section_name: name, ..Sample::new() }, &[], &[Stack::Go]);
    }
}

#[test]
fn what_is_told_of_a_file_is_true_of_it_alone() {
    use Function::{Free, Read, Write};
    let told = |address: u64| {
        let mut told = Addresses::default();
        let functions = [(CODE_ADDRESS + 8, Read), (CODE_ADDRESS + 16, Write), (address, Free)];
        told.insert(BuildId::parse("0102030405060708").unwrap(), functions.into()).unwrap();
        told
    };
    let look = |sample: &Sample, address| points(Cursor::new(sample.bytes()), MAX, &told(address)).unwrap();
    let named = Sample::new().build_id(&[1, 2, 3, 4, 5, 6, 7, 8]).function("SSL_get_error", 40);
    let found = look(&named, CODE_ADDRESS);
    let placed = |at: &[(Function, u64)]| at.iter().map(|&(f, at)| (f, CODE_OFFSET + at)).collect::<Vec<_>>();
    assert_eq!(found.functions, placed(&[(Free, 0), (Read, 8), (Write, 16), (Function::GetError, 40)]));
    assert_eq!((found.build_id, found.misplaced), (BuildId::parse("0102030405060708"), None));

    let other = look(&Sample::new().build_id(&[1, 2, 3, 4, 5, 6, 7, 9]), CODE_ADDRESS);
    assert_eq!((other.functions, other.misplaced), (Vec::new(), None));
    let unnamed = look(&Sample::new(), CODE_ADDRESS);
    assert_eq!((unnamed.functions, unnamed.build_id), (Vec::new(), None));
    for outside in [CODE_ADDRESS - 1, CODE_ADDRESS + CODE_BYTES as u64, u64::MAX] {
        let found = look(&named, outside);
        assert_eq!(found.functions, placed(&[(Function::GetError, 40)]));
        assert_eq!(found.misplaced, Some(outside));
    }
}

#[test]
fn stacks_without_symbols_are_known_by_their_constants() {
    let with = |text: &[u8]| Sample { section_name: ".rodata", ..Sample::new() }.code(16, text);
    check(&with(b"../ssl/ssl_lib.c\0"), &[], &[Stack::OpenSsl]);
    check(&with(b"third_party/boringssl/src/ssl/ssl_lib.cc\0ssl_lib.c"), &[], &[Stack::BoringSsl]);
    check(&with(b"ssl_lib.cc\0ssl_lib.c\0"), &[], &[Stack::OpenSsl, Stack::BoringSsl]);
    for path in
        ["index-1949cf8c/rustls-0.23.5/src/conn.rs", "crates/rustls/src/lib.rs", "a/rustls-1.0.0-dev.1/src/"]
    {
        check(&with(path.as_bytes()), &[], &[Stack::Rustls(Lack::Symbols)]);
    }
    for text in [
        "tokio-rustls-0.26/src/",
        "/rustls-webpki-0.102.8/src/end_entity.rs",
        "ssl_lib.c",
        "my_ssl_lib.cpp\0",
    ] {
        check(&with(text.as_bytes()), &[], &[]);
    }
    let found = with(b"ssl/ssl_lib.c\0").function("SSL_read", 0);
    check(&found, &[(Function::Read, 0)], &[]);
    let text = Sample::new().code(16, b"ssl_lib.c\0");
    check(&text, &[], &[]);
}

#[test]
fn what_is_no_program_of_this_kind_is_refused() {
    let with = |at: usize, value: u8| {
        let mut bytes = Sample::new().function("SSL_read", 0).bytes();
        bytes[at] = value;
        read(&bytes)
    };
    assert_eq!(read(b""), Err(NotElf::Truncated));
    assert_eq!(read(b"#!/bin/sh"), Err(NotElf::Magic));
    assert_eq!(with(0, 0), Err(NotElf::Magic));
    assert_eq!(with(4, elf::ELFCLASS32.0), Err(NotElf::Foreign));
    assert_eq!(with(5, elf::ELFDATA2MSB.0), Err(NotElf::Foreign));
    assert_eq!(with(16, elf::ET_CORE.0 as u8), Err(NotElf::Foreign));
    assert_eq!(with(18, elf::EM_386.0 as u8), Err(NotElf::Foreign));
    assert_eq!(with(54, 32), Err(NotElf::Malformed));
    assert_eq!(with(58, 40), Err(NotElf::Malformed));
    assert!(with(18, elf::EM_X86_64.0 as u8).is_ok());
}

#[test]
fn a_name_across_two_pieces_is_found_once() {
    for before in PIECE_BYTES as usize - 20..PIECE_BYTES as usize + 2 {
        let mut sample = Sample::new();
        sample.strings = vec![b'x'; before];
        let bytes = sample.function("SSL_write_ex", 3).bytes();
        assert_eq!(read(&bytes).unwrap().functions, [(Function::WriteEx, CODE_OFFSET + 3)], "{before}");
    }
    assert!(NAMES.iter().all(|(name, _)| (name.len() as u64) < OVERLAP_BYTES));
}

#[test]
fn work_is_bounded() {
    let bytes = Sample::new().function("SSL_read", 0).bytes();
    let enough =
        (0..MAX).find(|&max| points(Cursor::new(&bytes), max, &Addresses::default()).is_ok()).unwrap();
    assert!(enough <= bytes.len() as u64);
    assert_eq!(points(Cursor::new(&bytes), enough - 1, &Addresses::default()), Err(NotElf::TooLarge));

    let many = |functions: u64| {
        let sample = Sample::new().function("SSL_read", 0);
        let sample = (1..functions).fold(sample, |mut sample, at| {
            sample.symbols.push((1, elf::STT_FUNC, 1, CODE_ADDRESS + at));
            sample
        });
        read(&sample.bytes()).map(|found| found.functions.len())
    };
    assert_eq!(many(POINTS_MAX as u64), Ok(POINTS_MAX));
    assert_eq!(many(POINTS_MAX as u64 + 1), Err(NotElf::TooLarge));

    let mut names = Sample::new();
    names.strings = b"SSL_read\0".repeat(NAMES_MAX);
    assert!(read(&names.bytes()).is_ok());
    names.strings.extend(b"SSL_free\0");
    assert_eq!(read(&names.bytes()), Err(NotElf::TooLarge));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    /// Whatever is changed: no point lies outside the file, and none is there twice.
    #[test]
    fn any_change_is_survived(changes in proptest::collection::vec((0usize..1000, any::<u8>()), 1..4)) {
        let mut bytes = Sample::new()
            .function("SSL_read", 8)
            .function("SSL_write", 16)
            .function("mbedtls_ssl_write", 32)
            .code(8, &[0xf3, 0x0f, 0x1e, 0xfa, 0x55])
            .build_id(&[1; 8])
            .bytes();
        let mut told = Addresses::default();
        let functions = [Function::Read, Function::Write, Function::Free].map(|function| (CODE_ADDRESS + 64, function));
        told.insert(BuildId::parse("0101010101010101").unwrap(), functions.into()).unwrap();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(found) = points(Cursor::new(&bytes), MAX, &told) {
            prop_assert!(found.functions.iter().all(|&(_, offset)| offset < bytes.len() as u64));
            prop_assert!(found.functions.windows(2).all(|pair| pair[0].1 < pair[1].1));
        }
    }
}
