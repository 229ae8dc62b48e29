//! Given: the constants of a file. Gives: TLS stacks that are linked into it, by texts that only those have. Refuses to know:
//! where their functions are: no symbol says it.
//!
//! Libraries say in which of their source files an error came up, and Rust where it panicked: those names stay when symbols
//! are stripped.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::sync::LazyLock;

use object::LittleEndian as Le;
use object::elf::{self, SectionHeader64};
use regex::bytes::Regex;

use super::{Bounded, Lack, NotElf, PIECE_BYTES, Stack};

/// Where compilers put texts.
const SECTION: &[u8] = b".rodata";

/// Bytes of constants that are searched. Games keep assets in files of their own.
const BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes by which pieces overlap: more than the longest text.
const OVERLAP_BYTES: u64 = 64;

/// `ssl/ssl_lib.c` of OpenSSL, 0.9 to 3.5, and `ssl/ssl_lib.cc` of BoringSSL and AWS-LC; files of the crate `rustls`, and of no
/// other that is called after it.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u)ssl_lib\.cc?\x00|/rustls(?:-[0-9][0-9A-Za-z.+-]{0,24})?/src/";
    Regex::new(pattern).expect("the pattern is well formed")
});

/// The stacks of which there are traces in the constants of a file.
pub(super) fn stacks<F: Read + Seek>(
    file: &mut Bounded<F>,
    sections: &[(&[u8], SectionHeader64<Le>)],
) -> Result<BTreeSet<Stack>, NotElf> {
    let mut stacks = BTreeSet::new();
    let is_constant = |name: &[u8], section: &SectionHeader64<Le>| {
        name.starts_with(SECTION) && section.sh_type.get(Le) == elf::SHT_PROGBITS
    };
    for (_, section) in sections.iter().filter(|(name, section)| is_constant(name, section)) {
        // What was allowed to be read may be used up: then nothing is known of the rest.
        let length = section.sh_size.get(Le).min(BYTES_MAX).min(file.left / 2);
        for first in (0..length).step_by(PIECE_BYTES as usize) {
            let at = section.sh_offset.get(Le).checked_add(first).ok_or(NotElf::Truncated)?;
            let piece = file.bytes(at, (PIECE_BYTES + OVERLAP_BYTES).min(length - first))?;
            stacks.extend(PATTERN.find_iter(&piece).map(|found| match found.as_bytes() {
                [.., b'c', b'c', 0] => Stack::BoringSsl,
                [.., 0] => Stack::OpenSsl,
                _ => Stack::Rustls(Lack::Symbols),
            }));
        }
    }
    Ok(stacks)
}
