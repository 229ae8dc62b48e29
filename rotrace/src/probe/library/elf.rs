//! Given: the bytes of a file. Gives: where the TLS functions that the probes know stand in it, and which TLS stacks it
//! carries that they do not. Refuses to know: processes, and what the file is called. Any bytes are walked without panic.
//!
//! The file may be a game of gigabytes, and whoever runs the game can write what they like into it. So it is never
//! mapped (one that is cut meanwhile would end this process) nor read whole. The names that matter are first looked for
//! in a string table, piece by piece, and only then symbols that bear them: memory stays constant, and most files are
//! done with after their strings.
//!
//! Format: System V ABI, chapters 4 and 5 (ELF header, sections, string and symbol tables, program headers).

mod bounded;
mod build_id;
mod go;
mod rustls;
mod traces;
mod unwind;

pub use build_id::{Addresses, BadEntry, BuildId};
pub use rustls::Lack;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Seek};
use std::sync::LazyLock;

use object::LittleEndian as Le;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use regex::bytes::Regex;

use crate::probe::tls::Function;
use bounded::Bounded;

/// Bytes of a string table that are searched at one time.
const PIECE_BYTES: u64 = 256 * 1024;

/// Bytes by which pieces overlap, so that no name is cut: more than the longest one. Those of Rust have whole paths of types.
const OVERLAP_BYTES: u64 = 1024;

/// Symbols that are looked at at one time.
const PIECE_SYMBOLS: u64 = 8 * 1024;

/// Places in a string table at which names that matter are found. A linker writes each name once or, with other
/// versions of it, a few times.
const NAMES_MAX: usize = 1024;

/// Functions found in one file. OpenSSL has six; a program that links two copies has both.
const POINTS_MAX: usize = 64;

/// Bytes of a function that are looked at: `endbr64` and the longest instruction.
const FIRST_BYTES: u64 = 19;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// Code segment override, which 64-bit mode ignores (Intel SDM volume 2, 2.1.1).
const CS_PREFIX: u8 = 0x2e;

/// Bytes of section names that are looked at.
const SECTION_NAMES_BYTES: u64 = 64 * 1024;

/// What a defined function of this name is. A library takes the object first and the buffer second, and returns how many
/// bytes it moved, or says so where its fourth argument points; what it has beyond that is in [`Function`].
const NAMES: [(&str, Meaning); 27] = [
    ("SSL_read", Meaning::Probed(Function::Read)),
    ("SSL_write", Meaning::Probed(Function::Write)),
    ("SSL_read_ex", Meaning::Probed(Function::ReadEx)),
    ("SSL_write_ex", Meaning::Probed(Function::WriteEx)),
    ("SSL_free", Meaning::Probed(Function::Free)),
    ("SSL_get_error", Meaning::Probed(Function::GetError)),
    // GnuTLS, gnutls/gnutls.h, 3.5 to 3.8.
    ("gnutls_record_recv", Meaning::Probed(Function::Receive)),
    ("gnutls_record_send", Meaning::Probed(Function::Write)),
    ("gnutls_deinit", Meaning::Probed(Function::Free)),
    // Mbed TLS, mbedtls/ssl.h, 2.16 to 3.6.
    ("mbedtls_ssl_read", Meaning::Probed(Function::Receive)),
    ("mbedtls_ssl_write", Meaning::Probed(Function::Write)),
    ("mbedtls_ssl_free", Meaning::Probed(Function::Free)),
    // wolfSSL, wolfssl/ssl.h, 4 to 5: WOLFSSL_ERROR_ZERO_RETURN has the number that OpenSSL's has.
    ("wolfSSL_read", Meaning::Probed(Function::Read)),
    ("wolfSSL_write", Meaning::Probed(Function::Write)),
    ("wolfSSL_free", Meaning::Probed(Function::Free)),
    ("wolfSSL_get_error", Meaning::Probed(Function::GetError)),
    // s2n-tls, api/s2n.h, 1.x.
    ("s2n_recv", Meaning::Probed(Function::Receive)),
    ("s2n_send", Meaning::Probed(Function::Write)),
    ("s2n_connection_free", Meaning::Probed(Function::Free)),
    // NSS, lib/ssl/ssl.h, 3.12 to 3.110; and NSPR, prio.h, 4.0 to 4.37, whose functions its connections have.
    ("SSL_ImportFD", Meaning::Probed(Function::NssImport)),
    ("PR_Read", Meaning::Probed(Function::NsprRead)),
    ("PR_Recv", Meaning::Probed(Function::NsprReceive)),
    ("PR_Write", Meaning::Probed(Function::NsprWrite)),
    ("PR_Send", Meaning::Probed(Function::NsprWrite)),
    ("PR_Close", Meaning::Probed(Function::Free)),
    // What this sends stands in several buffers, which nobody reads: a connection with a hole is let go of, and counted.
    ("PR_Writev", Meaning::Probed(Function::NsprVector)),
    // Go's linker, where its code begins.
    ("runtime.text", Meaning::GoText),
];

/// The crate `rustls` in a mangled name, with its length in front (both manglings of Rust).
const RUSTLS: &str = "6rustls";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Probed(Function),
    GoText,
    Rustls(rustls::Part),
}

/// The functions that are probed wherever they are found, by their names.
pub fn functions() -> impl Iterator<Item = (&'static str, Function)> {
    NAMES.iter().filter_map(|&(name, meaning)| match meaning {
        Meaning::Probed(function) => Some((name, function)),
        Meaning::GoText | Meaning::Rustls(_) => None,
    })
}

/// A TLS implementation that the probes do not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stack {
    /// OpenSSL, linked in and without symbols.
    OpenSsl,
    /// BoringSSL or its descendant AWS-LC, linked in and without symbols.
    BoringSsl,
    /// rustls, and why it is not.
    Rustls(Lack),
    /// `crypto/tls` of Go, not found where the program's own tables should have it.
    Go,
    /// The same of a version before 1.18, whose functions may take arguments from the stack.
    GoBefore118,
    /// The Java virtual machine's own, which is Java code.
    Java,
    /// The Mbed TLS within the Unity player, without symbols.
    Unity,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stack::Rustls(lack) => return lack.fmt(f),
            Stack::OpenSsl => "OpenSSL without symbols",
            Stack::BoringSsl => "BoringSSL without symbols",
            Stack::Go => "Go crypto/tls that cannot be located",
            Stack::GoBefore118 => "Go before 1.18",
            Stack::Java => "Java TLS",
            Stack::Unity => "UnityTLS",
        })
    }
}

/// Architectures whose calling convention the probes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Arm64,
}

impl Machine {
    /// The one that this program runs on; `None` when it is neither.
    pub const HOST: Option<Machine> = if cfg!(target_arch = "x86_64") {
        Some(Machine::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Machine::Arm64)
    } else {
        None
    };
}

/// What is found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Points {
    /// What it was compiled for.
    pub machine: Machine,
    /// Function and file offset of the instruction to probe, in the order of offsets, each offset once.
    pub functions: Vec<(Function, u64)>,
    /// Stacks that it carries besides.
    pub stacks: BTreeSet<Stack>,
    /// What its linker called it.
    pub build_id: Option<BuildId>,
    /// An address that is told of it, at which no function begins. Then nothing is probed for what is told.
    pub misplaced: Option<u64>,
}

impl Points {
    /// Plaintext can be seen: at least one function that moves it was found.
    pub fn carries_plaintext(&self) -> bool {
        self.functions.iter().any(|(function, _)| function.carries_plaintext())
    }
}

/// Why a file has no points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotElf {
    /// It does not begin as an ELF file.
    Magic,
    /// It is not a program or shared library of 64 bits for x86-64 or arm64. On 32-bit x86 arguments are on the stack,
    /// where the probes do not look.
    Foreign,
    /// A header or a table reaches behind its end.
    Truncated,
    /// A table has entries of a size that the format does not have.
    Malformed,
    /// Its tables are larger than was allowed, or name the functions more often than a linker does.
    TooLarge,
    /// Reading it failed.
    Unreadable(io::ErrorKind),
}

impl fmt::Display for NotElf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotElf::Magic => f.write_str("it is not an ELF file"),
            NotElf::Foreign => f.write_str("it is not a 64-bit program or library for x86-64 or arm64"),
            NotElf::Truncated => f.write_str("it is truncated"),
            NotElf::Malformed => f.write_str("it is malformed"),
            NotElf::TooLarge => f.write_str("its symbol tables are too large"),
            NotElf::Unreadable(kind) => write!(f, "it cannot be read: {kind}"),
        }
    }
}

/// Looks for the functions in `file`, of which at most `bytes_max` bytes are read. Some may be `told` of it.
///
/// A file without section headers has no symbols here: no linker makes one.
pub fn points(file: impl Read + Seek, bytes_max: u64, told: &Addresses) -> Result<Points, NotElf> {
    let mut file = Bounded::new(file, bytes_max)?;
    if file.bytes(0, elf::ELFMAG.len() as u64)? != elf::ELFMAG {
        return Err(NotElf::Magic);
    }
    let header = *file.table::<FileHeader64<Le>>(0, 1)?.first().ok_or(NotElf::Truncated)?;
    let kind = header.e_type.get(Le);
    if header.e_ident.class != elf::ELFCLASS64
        || header.e_ident.data != elf::ELFDATA2LSB
        || (kind != elf::ET_EXEC && kind != elf::ET_DYN)
    {
        return Err(NotElf::Foreign);
    }
    let machine = match header.e_machine.get(Le) {
        elf::EM_X86_64 => Machine::X86_64,
        elf::EM_AARCH64 => Machine::Arm64,
        _ => return Err(NotElf::Foreign),
    };
    // More than 65279 sections are counted elsewhere and read as none here: no file that runs has as many.
    let sections: Vec<SectionHeader64<Le>> = match header.e_shnum.get(Le) {
        0 => Vec::new(),
        _ if usize::from(header.e_shentsize.get(Le)) != size_of::<SectionHeader64<Le>>() => {
            return Err(NotElf::Malformed);
        }
        count => file.table(header.e_shoff.get(Le), count.into())?,
    };
    let mut found = Found::default();
    for section in &sections {
        if matches!(section.sh_type.get(Le), elf::SHT_DYNSYM | elf::SHT_SYMTAB) {
            let strings = sections.get(section.sh_link.get(Le) as usize).copied().ok_or(NotElf::Malformed)?;
            found.symbols(&mut file, section, &strings)?;
        }
    }
    let segments = match header.e_phnum.get(Le) {
        0 => Vec::new(),
        _ if usize::from(header.e_phentsize.get(Le)) != size_of::<ProgramHeader64<Le>>() => {
            return Err(NotElf::Malformed);
        }
        count => file.table(header.e_phoff.get(Le), count.into())?,
    };
    let build_id = build_id::build_id(&mut file, &segments)?;
    let told: Vec<_> = told.of(build_id.as_ref()).collect();
    let misplaced = misplaced(&mut file, &segments, &told)?;
    if misplaced.is_none() {
        found.addresses.extend(told);
    }
    let mut functions = offsets(&mut file, machine, &segments, &found.addresses)?;
    let of_rustls = match machine {
        Machine::Arm64 if !found.rustls.is_empty() => Err(Lack::Arm64),
        _ => rustls::points(&mut file, &segments, &found.rustls)?,
    };
    let lack = of_rustls.map(|points| functions.extend(points)).err();
    let names = section_names(&mut file, &header, &sections)?;
    let named: Vec<_> = sections.iter().map(|section| (section_name(&names, section), *section)).collect();
    match go::tls(&mut file, machine, &named, &segments, found.go_text)? {
        go::Tls::None => {}
        go::Tls::Probed(points) => functions.extend(points),
        go::Tls::Missed(stack) => {
            found.stacks.insert(stack);
        }
    }
    // Who uses the functions that are found may be about to call them, and what is told is known already.
    if misplaced.is_none() && !functions.iter().any(|(function, _)| function.carries_plaintext()) {
        found.stacks.extend(traces::stacks(&mut file, &named)?);
    }
    if found.stacks.remove(&Stack::Rustls(Lack::Symbols)) {
        found.stacks.extend(lack.map(Stack::Rustls));
    }
    functions.sort_unstable_by_key(|(_, offset)| *offset);
    Ok(Points { machine, functions, stacks: found.stacks, build_id, misplaced })
}

#[derive(Default)]
struct Found {
    /// Virtual address and function, over all symbol tables: `.dynsym` and `.symtab` mostly repeat each other.
    addresses: BTreeSet<(u64, Function)>,
    stacks: BTreeSet<Stack>,
    rustls: BTreeSet<rustls::Found>,
    /// Address of the first of Go's code.
    go_text: Option<u64>,
}

impl Found {
    fn symbols<F: Read + Seek>(
        &mut self,
        file: &mut Bounded<F>,
        section: &SectionHeader64<Le>,
        strings: &SectionHeader64<Le>,
    ) -> Result<(), NotElf> {
        const SYMBOL_BYTES: u64 = size_of::<Sym64<Le>>() as u64;
        if section.sh_entsize.get(Le) != SYMBOL_BYTES {
            return Err(NotElf::Malformed);
        }
        let names = self.names(file, strings)?;
        if names.is_empty() {
            return Ok(());
        }
        let count = section.sh_size.get(Le) / SYMBOL_BYTES;
        for first in (0..count).step_by(PIECE_SYMBOLS as usize) {
            let at = section.sh_offset.get(Le).checked_add(first * SYMBOL_BYTES).ok_or(NotElf::Truncated)?;
            for symbol in file.table::<Sym64<Le>>(at, PIECE_SYMBOLS.min(count - first))? {
                let address = symbol.st_value.get(Le);
                let defined = symbol.st_shndx.get(Le) != elf::SHN_UNDEF && address != 0;
                if !defined || symbol.st_type() != elf::STT_FUNC {
                    continue;
                }
                let name = u64::from(symbol.st_name.get(Le));
                let Ok(index) = names.binary_search_by_key(&name, |(at, _)| *at) else { continue };
                match names.get(index) {
                    Some((_, Meaning::Probed(function))) => {
                        self.addresses.insert((address, *function));
                    }
                    Some((_, Meaning::GoText)) => self.go_text = Some(address),
                    Some((_, Meaning::Rustls(part))) => {
                        self.rustls.insert((*part, address, symbol.st_size.get(Le)));
                    }
                    None => {}
                }
                if self.addresses.len().max(self.rustls.len()) > POINTS_MAX {
                    return Err(NotElf::TooLarge);
                }
            }
        }
        Ok(())
    }

    /// Where in a string table the names of [`NAMES`] begin, ascending.
    ///
    /// What stands before a name does not matter: linkers let a name share the tail of a longer one.
    fn names<F: Read + Seek>(
        &mut self,
        file: &mut Bounded<F>,
        strings: &SectionHeader64<Le>,
    ) -> Result<Vec<(u64, Meaning)>, NotElf> {
        let mut names = Vec::new();
        let length = strings.sh_size.get(Le);
        for first in (0..length).step_by(PIECE_BYTES as usize) {
            let at = strings.sh_offset.get(Le).checked_add(first).ok_or(NotElf::Truncated)?;
            let piece = file.bytes(at, (PIECE_BYTES + OVERLAP_BYTES).min(length - first))?;
            for name in PATTERN.find_iter(&piece) {
                let start = name.start() as u64;
                if start >= PIECE_BYTES {
                    continue;
                }
                let Some((_, name)) =
                    name.as_bytes().split_last().filter(|_| name.as_bytes() != RUSTLS.as_bytes())
                else {
                    self.stacks.insert(Stack::Rustls(Lack::Symbols));
                    continue;
                };
                // `SSL_read` is a tail of `wolfSSL_read`.
                for (known, meaning) in NAMES.iter().filter(|(known, _)| name.ends_with(known.as_bytes())) {
                    if names.len() == NAMES_MAX {
                        return Err(NotElf::TooLarge);
                    }
                    names.push((first + start + (name.len() - known.len()) as u64, *meaning));
                }
            }
            let of_rustls = rustls::names(&piece).filter(|(start, _)| (*start as u64) < PIECE_BYTES);
            names.extend(of_rustls.map(|(start, part)| (first + start as u64, Meaning::Rustls(part))));
            if names.len() > NAMES_MAX {
                return Err(NotElf::TooLarge);
            }
        }
        names.sort_unstable_by_key(|(at, _)| *at);
        Ok(names)
    }
}

/// A name of [`NAMES`] to its end or its version (`SSL_read@@OPENSSL_3.0.0`, as `ld` writes into `.symtab`), or a trace
/// of rustls.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    Regex::new(&format!(r"(?-u)(?:{})[\x00@]|{RUSTLS}", names.join("|"))).expect("names are plain letters")
});

fn section_names<F: Read + Seek>(
    file: &mut Bounded<F>,
    header: &FileHeader64<Le>,
    sections: &[SectionHeader64<Le>],
) -> Result<Vec<u8>, NotElf> {
    let Some(names) = sections.get(usize::from(header.e_shstrndx.get(Le).0)) else { return Ok(Vec::new()) };
    file.bytes(names.sh_offset.get(Le), names.sh_size.get(Le).min(SECTION_NAMES_BYTES))
}

fn section_name<'a>(names: &'a [u8], section: &SectionHeader64<Le>) -> &'a [u8] {
    let rest = names.get(section.sh_name.get(Le) as usize..).unwrap_or_default();
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// File offsets of the instructions to probe.
///
/// A uprobe is placed by file offset, and what maps a file into memory are segments; sections may say anything.
fn offsets<F: Read + Seek>(
    file: &mut Bounded<F>,
    machine: Machine,
    segments: &[ProgramHeader64<Le>],
    addresses: &BTreeSet<(u64, Function)>,
) -> Result<Vec<(Function, u64)>, NotElf> {
    let mut offsets = BTreeSet::new();
    for &(address, function) in addresses {
        let Some((offset, rest)) = segments.iter().find_map(|segment| place(segment, address)) else {
            continue;
        };
        let first = file.bytes(offset, rest.min(FIRST_BYTES))?;
        let skipped = if machine == Machine::X86_64 { skipped_bytes(&first) } else { 0 };
        offsets.insert((offset + skipped, function));
    }
    let offsets: Vec<_> = offsets.into_iter().map(|(offset, function)| (function, offset)).collect();
    // Two functions with one body cannot be told apart when it runs, so neither is probed.
    Ok(offsets.chunk_by(|a, b| a.1 == b.1).filter(|same| same.len() == 1).flatten().copied().collect())
}

/// The first address at which no function begins. Where the file does not say where functions begin, any in code will do.
fn misplaced<F: Read + Seek>(
    file: &mut Bounded<F>,
    segments: &[ProgramHeader64<Le>],
    addresses: &[(u64, Function)],
) -> Result<Option<u64>, NotElf> {
    for &(address, _) in addresses {
        let is_code = segments.iter().any(|segment| place(segment, address).is_some());
        if !is_code || unwind::begins_function(file, segments, address)? == Some(false) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Where `address` is in the file, and how many bytes of the segment follow it there.
fn place(segment: &ProgramHeader64<Le>, address: u64) -> Option<(u64, u64)> {
    if segment.p_type.get(Le) != elf::PT_LOAD || segment.p_flags.get(Le).0 & elf::PF_X.0 == 0 {
        return None;
    }
    let within = address.checked_sub(segment.p_vaddr.get(Le))?;
    let rest = segment.p_filesz.get(Le).checked_sub(within)?;
    (rest > 0).then_some((segment.p_offset.get(Le).checked_add(within)?, rest))
}

/// Bytes at the start of a function that are better not probed.
///
/// The kernel emulates `push` but steps over `endbr64` with two traps (`branch_setup_xol_ops` and `push_setup_xol_ops`,
/// arch/x86/kernel/uprobes.c, 6.1). Where the one follows the other the probe stands behind `endbr64`: arguments are
/// unchanged, and the return address is still at `rsp`, where a return probe replaces it.
///
/// Assemblers pad instructions with prefixes that have no meaning, so that no branch crosses 32 bytes, and the kernel refuses
/// a probe at them (`is_prefix_bad`, same file). The trap stands behind them just as well: they have no meaning for it either.
fn skipped_bytes(first: &[u8]) -> u64 {
    let padding = |code: &[u8]| code.iter().take_while(|&&byte| byte == CS_PREFIX).count();
    let Some(behind) = first.strip_prefix(&ENDBR64) else { return padding(first) as u64 };
    let padding = padding(behind);
    match behind[padding..] {
        [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => (ENDBR64.len() + padding) as u64,
        _ => 0,
    }
}

#[cfg(test)]
pub(in crate::probe::library) mod tests;
