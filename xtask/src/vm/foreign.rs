//! Given: a kernel of another architecture than this machine. Gives: whether its types have what the probes need, and the
//! registers where the probes take them to be. Refuses to know: whether the probes load there.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use rotrace::probe::btf::Btf;
use rotrace::probe::{iterators, members};
use rotrace_ebpf::offsets::{ABSENT, GoRegisters, MEMBERS, Offsets, Registers};

use super::kernel::Kernel;

/// How the types of a kernel begin: the magic number, version 1, no flags, and the bytes of the header
/// (Documentation/bpf/btf.rst of the kernel).
const TYPES_BEGIN: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];

/// A member that only kernels of x86 have; there it tells 32-bit calls apart, of which arm64 makes another kind of task.
const ONLY_X86: (&str, &str) = ("thread_info", "status");

/// Looks at the types of a kernel, and says what it found.
pub(super) fn check(kernel: &Kernel, image: &Path) -> anyhow::Result<String> {
    let image = fs::read(image).with_context(|| format!("read {}", image.display()))?;
    let types = types(&image).context("no types are found in its image")?;
    match kernel.architecture {
        "arm64" => of_types(&types, &Registers::ARM64, &GoRegisters::ARM64),
        other => bail!("nothing is known of the registers of {other}"),
    }
}

/// The types that an image carries.
fn types(image: &[u8]) -> Option<Btf<'_>> {
    let begins = image.windows(TYPES_BEGIN.len()).enumerate().filter(|(_, bytes)| *bytes == TYPES_BEGIN);
    let mut parsed = begins.filter_map(|(at, _)| Btf::parse(image.get(at..)?).ok());
    parsed.find(|types| types.offset("task_struct", "files").is_some())
}

/// `struct pt_regs` of arm64 begins with the numbered registers, 8 bytes each (arch/arm64/include/asm/ptrace.h).
fn of_types(types: &Btf<'_>, registers: &Registers, go: &GoRegisters) -> anyhow::Result<String> {
    let values = members::offsets(types).map(|found: Offsets| found.values())?;
    let lacking =
        values.iter().zip(MEMBERS).filter(|(value, member)| **value == ABSENT && *member != ONLY_X86);
    let lacking: Vec<String> = lacking.map(|(_, (of, member))| format!("{of}.{member}")).collect();
    if !lacking.is_empty() {
        bail!("its types lack {}", lacking.join(", "));
    }
    iterators::iterators(types).context("its messages keep their buffers in a way that is not known")?;
    let place =
        |member: &str| types.offset("pt_regs", member).with_context(|| format!("pt_regs has no {member}"));
    let numbered = place("regs")?;
    let of_number = |number: u32| numbered + 8 * number;
    let [first, others @ ..] = registers.arguments;
    let expected = [
        ("the number of a system call", registers.number, place("syscallno")?),
        ("its first argument", first, place("orig_x0")?),
        ("the first argument of a 32-bit one", registers.arguments_32[0], place("orig_x0")?),
        ("the second argument of a 32-bit one", registers.arguments_32[1], of_number(1)),
        ("what tells 32-bit code apart", registers.mode, place("pstate")?),
        ("the stack pointer", go.stack, place("sp")?),
        ("the goroutine", go.goroutine, of_number(28)),
    ];
    let arguments =
        others.iter().zip(1..).map(|(&own, number)| ("an argument of a system call", own, of_number(number)));
    let words = go.words.iter().zip(0..).map(|(&own, number)| ("a word of Go", own, of_number(number)));
    for (what, own, there) in expected.into_iter().chain(arguments).chain(words) {
        if own != there {
            bail!("{what} is at {there} in pt_regs, and the probes read it at {own}");
        }
    }
    Ok(format!(
        "{} of {} members, messages and registers are as the probes take them to be",
        values.iter().filter(|&&value| value != ABSENT).count(),
        MEMBERS.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_within_other_bytes() {
        let own = fs::read("/sys/kernel/btf/vmlinux").expect("this test needs a kernel with BTF");
        let image = [&[7; 999], &TYPES_BEGIN[..], &own, &[9; 99]].concat();
        let found = types(&image).expect("the types of this kernel");
        let expect = Btf::parse(&own).expect("the kernel's own types");
        assert_eq!(found.offset("task_struct", "mm"), expect.offset("task_struct", "mm"));
        assert!(types(&[0; 100]).is_none());
    }

    /// Whoever runs this on arm64 has machines for it.
    #[test]
    fn registers_of_another_architecture_are_refused() {
        let own = fs::read("/sys/kernel/btf/vmlinux").expect("this test needs a kernel with BTF");
        let types = Btf::parse(&own).expect("the kernel's own types");
        let refused = of_types(&types, &Registers::ARM64, &GoRegisters::ARM64);
        assert_eq!(refused.is_err(), cfg!(target_arch = "x86_64"));
    }
}
