//! Given: names of symbols, and where functions with such names are. Gives: where rustls encrypts, gives out what it received, and
//! reads its socket in that file, and where those functions end. Refuses to know: what rustls does there.
//!
//! Symbols of Rust carry a hash, so they are found by the part of their name that says what they are, in both manglings. The
//! code of connections (`CommonState`) is not generic: a program has it once. One that has it twice has two versions of rustls,
//! which may have two layouts, and nothing says which is which: then none is probed. Nor is one where the compiler has put a
//! function into its callers.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Seek};
use std::sync::LazyLock;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use object::LittleEndian as Le;
use object::elf::ProgramHeader64;
use regex::bytes::Regex;

use super::{Bounded, NotElf, place};
use crate::probe::tls::Function;

/// Bytes of code of one function. The largest has 20 KiB by now.
const CODE_BYTES: u64 = 128 * 1024;

/// Places at which one function ends. They have one by now.
const ENDS_MAX: usize = 64;

/// What a function of rustls is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// It is probed where it begins, and where it ends if there is a second one.
    Probed(Function, Option<Function>),
    /// A version of 0.23 that passes what the probes read: the iterator came a few releases after those forms.
    Version,
}

/// Why the rustls of a file is not probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lack {
    /// None of its functions has a symbol.
    Symbols,
    /// The compiler has put this one into its callers, or its symbol was taken away.
    Function(&'static str),
    /// There are two versions of it.
    Versions,
    /// It is older, or newer, than what is known.
    Version,
    /// The code of its functions is none that can be read.
    Code,
    /// Nobody has looked at what it does on arm64.
    Arm64,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Symbols => f.write_str("rustls without symbols"),
            Lack::Function(name) => write!(f, "rustls without a function {name} of its own"),
            Lack::Versions => f.write_str("rustls in two versions"),
            Lack::Version => f.write_str("rustls of a version that is not known"),
            Lack::Code => f.write_str("rustls in code that cannot be read"),
            Lack::Arm64 => f.write_str("rustls on arm64"),
        }
    }
}

/// A function: what it is, its virtual address, and its length.
pub(super) type Found = (Part, u64, u64);

/// What is looked for, by how its name goes on in both manglings, and the last of its identifiers.
///
/// rustls/src/{common_state,conn}.rs, rustls/src/crypto/cipher.rs, rustls/src/msgs/deframer/handshake.rs, 0.23;
/// tokio-rustls/src/common/mod.rs, 0.26, and futures-rustls, which is made after it.
#[rustfmt::skip]
const NAMES: [(&str, &str, Part); 7] = [
    ("11CommonState", "20send_appdata_encrypt", Part::Probed(Function::RustlsSend, Some(Function::RustlsLeft))),
    ("11CommonState", "16send_msg_encrypt", Part::Probed(Function::RustlsMessage, Some(Function::RustlsLeft))),
    ("11CommonState", "23take_received_plaintext", Part::Probed(Function::RustlsTake, None)),
    (r"MessageEncrypter(?:\$GT\$)?", "7encrypt", Part::Probed(Function::RustlsEncrypt, None)),
    (r"ConnectionCommon[\w.$]*?", "11complete_io", Part::Probed(Function::RustlsScope, Some(Function::RustlsScopeLeft))),
    (r"rustls6common[\w.$]*?", "7read_io", Part::Probed(Function::RustlsScope, Some(Function::RustlsScopeLeft))),
    (r"handshake[\w.$]{1,16}?HandshakeIter[\w.$]*?", "4drop", Part::Version),
];

/// A method of a type (`_RNvM`, `_RNvX`, and with parameters `_RINv…`), or in the older mangling anything with a hash at its end.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let names = NAMES.map(|(path, last, _)| format!("{path}{last}")).join("|");
    let pattern = format!(r"(?-u)_ZN[\w.$]*?(?:{names})17h[0-9a-f]{{16}}E|_RI?Nv[MX][\w.$]*?(?:{names})");
    Regex::new(&pattern).expect("names are words and patterns of words")
});

/// Bytes behind the identifier in the older mangling.
const HASH_BYTES: usize = "17h0123456789abcdefE".len();

/// Where in a piece of a string table such names begin.
pub(super) fn names(piece: &[u8]) -> impl Iterator<Item = (usize, Part)> {
    PATTERN.find_iter(piece).filter_map(|found| {
        let name = found.as_bytes();
        let name = if name.starts_with(b"_ZN") { &name[..name.len() - HASH_BYTES] } else { name };
        let (.., part) = NAMES.iter().find(|(_, last, _)| name.ends_with(last.as_bytes()))?;
        Some((found.start(), *part))
    })
}

/// What is probed in a file with these functions; or why that would not be all of what it takes.
pub(super) fn points<F: Read + Seek>(
    file: &mut Bounded<F>,
    segments: &[ProgramHeader64<Le>],
    found: &BTreeSet<Found>,
) -> Result<Result<Vec<(Function, u64)>, Lack>, NotElf> {
    if let Some(lack) = lack(found) {
        return Ok(Err(lack));
    }
    let mut points = Vec::new();
    for &(part, address, length) in found {
        let Part::Probed(function, end) = part else { continue };
        let Some((offset, rest)) = segments.iter().find_map(|segment| place(segment, address)) else {
            return Ok(Err(Lack::Code));
        };
        points.push((function, offset));
        let Some(end) = end else { continue };
        if length > CODE_BYTES.min(rest) {
            return Ok(Err(Lack::Code));
        }
        let code = file.bytes(offset, length)?;
        let Some(ends) = ends_of(&code) else { return Ok(Err(Lack::Code)) };
        points.extend(ends.into_iter().map(|at| (end, offset + at)));
    }
    Ok(Ok(points))
}

/// What is missing among these functions, or there twice.
fn lack(found: &BTreeSet<Found>) -> Option<Lack> {
    let count = |wanted| {
        found.iter().filter(|(part, ..)| matches!(part, Part::Probed(part, _) if *part == wanted)).count()
    };
    let needed = [
        (Function::RustlsSend, "send_appdata_encrypt"),
        (Function::RustlsTake, "take_received_plaintext"),
        (Function::RustlsEncrypt, "MessageEncrypter::encrypt"),
        (Function::RustlsScope, "complete_io"),
    ];
    let single = [Function::RustlsSend, Function::RustlsTake, Function::RustlsMessage];
    if found.is_empty() {
        Some(Lack::Symbols)
    } else if single.into_iter().any(|function| count(function) > 1) {
        Some(Lack::Versions)
    } else if let Some((_, name)) = needed.into_iter().find(|(function, _)| count(*function) == 0) {
        Some(Lack::Function(name))
    } else if found.iter().all(|(part, ..)| *part != Part::Version) {
        Some(Lack::Version)
    } else {
        None
    }
}

/// Where in the code of a function it ends: where it returns, and where it goes on as another function.
fn ends_of(code: &[u8]) -> Option<Vec<u64>> {
    let instructions = || Decoder::new(64, code, DecoderOptions::NONE).into_iter();
    if instructions().any(|instruction| instruction.is_invalid()) {
        return None;
    }
    let ends = instructions().filter(|instruction| is_end(instruction, code.len() as u64));
    let ends: Vec<u64> = ends.map(|instruction| instruction.ip()).collect();
    (1..=ENDS_MAX).contains(&ends.len()).then_some(ends)
}

fn is_end(instruction: &Instruction, length: u64) -> bool {
    match (instruction.mnemonic(), instruction.op0_kind()) {
        (Mnemonic::Ret, _) => true,
        (Mnemonic::Jmp, OpKind::NearBranch64) => instruction.near_branch_target() >= length,
        // Through memory it is another function; a table of places in this one is read into a register first.
        (Mnemonic::Jmp, OpKind::Memory) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
