//! Given: the descriptor of a program in the kernel. Gives: what the kernel says of it. Refuses to know: what it does.
//!
//! Source: `bpf_prog_show_fdinfo` (kernel/bpf/syscall.c, 6.12).

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Btf;
use aya_obj::btf::BtfKind;
use rotrace_ebpf::limits::{TWICE_AT_FUNCTIONS, TWICE_AT_TRACEPOINTS};

use super::host::Host;

/// How the name of a program begins, and that of its second copy.
const FIRST: &str = "on_";
const SECOND: &str = "again_";

/// What guards the programs of a tracepoint since 7.0, in place of keeping the processor (include/linux/tracepoint.h).
const GUARD: &str = "class_srcu_fast_notrace_t";

fn second(name: &str) -> Option<String> {
    name.strip_prefix(FIRST).map(|rest| format!("{SECOND}{rest}"))
}

/// Which programs are attached twice, in the bits that they are told of it: the second does what the first was not run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copies(pub(super) u64);

impl Copies {
    /// What this host asks for.
    pub(super) fn of(host: &Host, types: &Btf) -> Self {
        let is_guarded = types.id_by_type_name_kind(GUARD, BtfKind::Typedef).is_ok();
        Copies(match (host.may_be_preempted(), is_guarded) {
            (false, _) => 0,
            (true, false) => TWICE_AT_FUNCTIONS,
            (true, true) => TWICE_AT_FUNCTIONS | TWICE_AT_TRACEPOINTS,
        })
    }

    /// The names of the copies of a program at functions of the kernel, in the order in which they are attached: a trampoline
    /// runs the one that came last first (`hlist_add_head`, kernel/bpf/trampoline.c).
    pub(super) fn at_function(self, name: &str) -> Vec<String> {
        let second = second(name).filter(|_| self.0 & TWICE_AT_FUNCTIONS != 0);
        second.into_iter().chain([name.to_owned()]).collect()
    }

    /// The same at a tracepoint, which runs the one that came first first.
    pub(super) fn at_tracepoint(self, name: &str) -> Vec<String> {
        let second = second(name).filter(|_| self.0 & TWICE_AT_TRACEPOINTS != 0);
        [name.to_owned()].into_iter().chain(second).collect()
    }
}

/// Of how often the kernel did not run each program, how many times, at most, an event was missed for it. Where there are two
/// copies, one of the first and one of the second were passed over for each that was missed: both of one event, or the second
/// of an earlier one, which has left the note of the first for the second to find when the first is passed over.
pub fn missed(not_run: &BTreeMap<Box<str>, u64>) -> u64 {
    let has_second = |name: &str| second(name).is_some_and(|second| not_run.contains_key(&*second));
    let (mut alone, mut firsts, mut seconds) = (0, 0, 0);
    for (name, count) in not_run {
        if name.starts_with(SECOND) {
            seconds += count;
        } else if has_second(name) {
            firsts += count;
        } else {
            alone += count;
        }
    }
    alone + seconds.min(firsts)
}

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

    #[test]
    fn the_first_copy_is_run_first() {
        let copies = Copies(TWICE_AT_FUNCTIONS | TWICE_AT_TRACEPOINTS);
        assert_eq!(copies.at_function("on_send"), ["again_send", "on_send"]);
        assert_eq!(copies.at_tracepoint("on_exit"), ["on_exit", "again_exit"]);
        assert_eq!(Copies(TWICE_AT_FUNCTIONS).at_tracepoint("on_exit"), ["on_exit"]);
        assert_eq!(Copies(0).at_function("on_send"), ["on_send"]);
    }

    #[test]
    fn what_is_missed_takes_one_of_each_of_two_copies() {
        let check = |counts: &[(&str, u64)], expect: u64| {
            let not_run = counts.iter().map(|&(name, count)| (name.into(), count)).collect();
            assert_eq!(missed(&not_run), expect, "{counts:?}");
        };
        check(&[("on_send", 7), ("go_read_return", 1000)], 1007);
        check(&[("on_send", 7), ("again_send", 0), ("on_exit", 500)], 500);
        check(&[("on_send", 0), ("again_send", 3)], 0);
        // A note of `on_send` that was left behind is found by `again_receive`.
        check(&[("on_send", 0), ("again_send", 3), ("on_receive", 5), ("again_receive", 0)], 3);
    }
}
