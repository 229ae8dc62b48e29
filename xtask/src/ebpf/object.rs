//! Given: a BPF object. Gives: whether a kernel can take it, as far as that can be told without one. Refuses to know:
//! what its programs do.
//!
//! The verifier tells of a call to a function that cannot return (a panic) only that the last instruction is not a jump, and of a
//! `memset` in a loop only that the program is too large. Here both have names.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

/// One instruction (kernel, include/uapi/linux/bpf.h `struct bpf_insn`): opcode, registers, offset, immediate.
const INSTRUCTION_BYTES: usize = 8;

/// `BPF_JMP | BPF_CALL`, with `BPF_PSEUDO_CALL` as the source register: a call of a function of this object.
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;

/// Functions of the compiler's run-time library: loops over bytes, of which the verifier walks every round.
const LOOPS: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// Sections that the kernel needs, and that stripping must leave.
const NEEDED: [&str; 4] = [".BTF", ".BTF.ext", "maps", "license"];

/// Whether nothing in the object is known to be refused by the verifier.
pub(super) fn check(bytes: &[u8]) -> anyhow::Result<()> {
    let file = object::File::parse(bytes).context("read the ELF file")?;
    for name in NEEDED {
        if file.section_by_name(name).is_none() {
            bail!("it has no section {name}");
        }
    }
    let called = called(&file)?;
    for name in &called {
        if let Some(reason) = refusal(name) {
            bail!("it calls `{name}`: {reason}");
        }
    }
    for symbol in file.symbols().filter(|symbol| symbol.is_undefined()) {
        let name = symbol.name().context("read the name of a symbol")?;
        if !name.is_empty() {
            bail!("it calls `{name}`, which is not in it");
        }
    }
    Ok(())
}

/// Why the verifier will not take a call of a function of this name.
fn refusal(name: &str) -> Option<&'static str> {
    if LOOPS.contains(&name) {
        return Some(
            "a loop over bytes. Copy and zero whole words, of lengths that the compiler knows, and see that \
             bpf-linker has --disable-expand-memcpy-in-order",
        );
    }
    let panics = ["panic", "rust_begin_unwind", "unwrap_failed", "expect_failed", "slice_index_fail"];
    panics.iter().any(|part| name.contains(part)).then_some(
        "code that can panic, which never returns. Look for indexing, slicing, arithmetic that can overflow, division \
         and `unwrap` that the compiler could not show to be safe",
    )
}

/// Names of all functions that some instruction of the object calls.
fn called(file: &object::File<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        let code = section.data().context("read a section of instructions")?;
        let relocations: Vec<_> = section.relocations().collect();
        for (number, instruction) in code.chunks_exact(INSTRUCTION_BYTES).enumerate() {
            let &[CALL, registers, _, _, a, b, c, d] = instruction else {
                continue;
            };
            if registers >> 4 != PSEUDO_CALL {
                continue;
            }
            let at = (number * INSTRUCTION_BYTES) as u64;
            let ahead = i64::from(i32::from_le_bytes([a, b, c, d])) + 1;
            // What is called: a symbol, a place in the section of a symbol, or a place in this section.
            let relocation = relocations.iter().find(|(offset, _)| *offset == at);
            let (target, distance) = match relocation.map(|(_, relocation)| relocation.target()) {
                Some(RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(index).context("find the symbol of a call")?;
                    if symbol.kind() != SymbolKind::Section {
                        names.insert(symbol.name().context("read the name of a symbol")?.to_owned());
                        continue;
                    }
                    (symbol.section_index(), 0)
                }
                _ => (Some(section.index()), at as i64),
            };
            let place = distance + ahead * INSTRUCTION_BYTES as i64;
            names.insert(function_at(file, target, place).context("find the function of a call")?);
        }
    }
    Ok(names)
}

/// The name of the function that begins at a place of a section.
fn function_at(file: &object::File<'_>, section: Option<SectionIndex>, place: i64) -> Option<String> {
    let mut symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let symbol = symbols
        .find(|symbol| symbol.section_index() == section && i64::try_from(symbol.address()) == Ok(place))?;
    symbol.name().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_in_the_repository_passes() {
        let bytes = std::fs::read(crate::repository::root().join("rotrace/bpf/rotrace.bpf.o"))
            .expect("the object is in the repository");
        check(&bytes).expect("it passes");
        let file = object::File::parse(&*bytes).expect("it is an ELF file");
        // Not vacuous: the probes share functions.
        assert!(!called(&file).expect("its calls can be read").is_empty());
    }

    #[test]
    fn an_object_without_types_is_told() {
        let bytes = std::fs::read(crate::repository::root().join("rotrace/bpf/rotrace.bpf.o"))
            .expect("the object is in the repository");
        let name = bytes.windows(9).position(|window| window == b".BTF.ext\0").expect("it has the section");
        let mut broken = bytes.clone();
        broken[name + 1] = b'X';
        let error = check(&broken).expect_err("the section has another name");
        assert!(error.to_string().contains(".BTF"), "{error}");
    }

    #[test]
    fn what_the_verifier_refuses_has_a_reason() {
        assert!(refusal("memset").is_some());
        assert!(refusal("_RNvNtCs1_4core9panicking11panic_fmt").is_some());
        assert!(refusal("_RNvNtNtCs_11rotrace_bpf6probes4emit4data").is_none());
    }

    #[test]
    fn calls_of_loops_are_found() {
        // The call of some shared function becomes one of `memset`, by its name.
        let bytes = std::fs::read(crate::repository::root().join("rotrace/bpf/rotrace.bpf.o"))
            .expect("the object is in the repository");
        let file = object::File::parse(&*bytes).expect("it is an ELF file");
        let names = called(&file).expect("its calls can be read");
        let longer = names.iter().find(|name| name.len() > 6).expect("a function with a long name");
        let at = bytes.windows(longer.len()).rposition(|window| window == longer.as_bytes());
        let at = at.expect("the table of names is at the end of the file");
        let mut broken = bytes.clone();
        broken[at..at + 7].copy_from_slice(b"memset\0");
        let error = check(&broken).expect_err("it calls memset");
        assert!(error.to_string().starts_with("it calls `memset`: a loop over bytes"), "{error}");
    }
}
