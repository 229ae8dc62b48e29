//! Given: the descriptor of a program in the kernel. Gives: what the kernel says of it. Refuses to know: what it does.
//!
//! Source: `bpf_prog_show_fdinfo` (kernel/bpf/syscall.c, 6.12).

use std::os::fd::{AsRawFd, BorrowedFd};

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// As in the object.
    pub name: String,
    /// Instructions that the verifier walked; `None` where the kernel does not say, which is before 5.16.
    pub verified_instructions: Option<u64>,
    /// Events that were not seen because the program was running on the same processor; `None` before 5.12.
    pub recursion_misses: Option<u64>,
}

impl Loaded {
    /// Asks the kernel.
    pub(super) fn of(name: &str, program: BorrowedFd<'_>) -> Loaded {
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()));
        Loaded::read(name, &told.unwrap_or_default())
    }

    fn read(name: &str, told: &str) -> Loaded {
        let field = |wanted: &str| {
            let mut lines = told.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.trim().parse().ok())
        };
        Loaded {
            name: name.to_owned(),
            verified_instructions: field("verified_insns"),
            recursion_misses: field("recursion_misses"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_kernel_does_not_say_is_not_known() {
        let new = "prog_type:\t26\nprog_jited:\t1\nrecursion_misses:\t3\nverified_insns:\t4711\n";
        let expect =
            Loaded { name: "p".to_owned(), verified_instructions: Some(4711), recursion_misses: Some(3) };
        assert_eq!(Loaded::read("p", new), expect);
        let expect = Loaded { verified_instructions: None, recursion_misses: None, ..expect };
        assert_eq!(Loaded::read("p", "prog_type:\t26\n"), expect);
    }
}
