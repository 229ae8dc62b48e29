//! Given: the files by which a kernel describes itself. Gives: facts about this host, and what they allow. Refuses to
//! know: how the probes are loaded. No kernel version is compared anywhere; every decision has a named fact.

use std::fmt;
use std::path::Path;

/// What this host offers. Facts only; the rules are in [`Host::families`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `uname -r`, for people.
    pub release: String,
    /// Size of `/sys/kernel/btf/vmlinux` in bytes; `None` when it is not there.
    pub btf_bytes: Option<u64>,
    /// Effective capabilities of this process, as in `/proc/self/status`.
    pub capabilities: u64,
    /// Active lockdown level, `None` when the kernel has none or does not say.
    pub lockdown: Option<String>,
    /// This process lives in a PID namespace of its own, so that its PIDs are not those of the kernel's records.
    pub is_nested: bool,
    /// What the kernel calls its build (`uname -v`): it names the ways in which it may be preempted.
    pub version: String,
    /// When the kernel is preempted, as far as it can be told to do it otherwise; `None` when it does not say.
    pub preemption: Option<String>,
    /// The clock that `bpf_ktime_get_ns` reads; anything but `tsc` and `kvm-clock` is slow.
    pub clocksource: Option<String>,
}

/// Capabilities that the daemon uses, with what for (include/uapi/linux/capability.h).
pub const CAPABILITIES: [(u32, &str, &str); 4] = [
    (39, "CAP_BPF", "loads the probes"),
    (38, "CAP_PERFMON", "attaches them"),
    (19, "CAP_SYS_PTRACE", "reads the maps, executables and environments of targets of other users"),
    (2, "CAP_DAC_READ_SEARCH", "reads the files of targets of other users"),
];
/// Includes what the first two allow, and may be asked for where user code is probed by perf events.
pub const CAP_SYS_ADMIN: u32 = 21;
/// PROC_PID_INIT_INO (include/linux/proc_ns.h), 0xEFFFFFFC.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A set of probes that records the bytes of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Programs at the return of the functions by which sockets send and receive.
    Socket,
    /// One program at the end of every system call.
    Syscall,
}

impl Family {
    /// As in `rotrace_probe_family_info`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Socket => "socket",
            Family::Syscall => "syscall",
        }
    }

    /// The reverse.
    pub fn named(name: &str) -> Option<Family> {
        [Family::Socket, Family::Syscall].into_iter().find(|family| family.name() == name)
    }

    /// Where its programs are, for people.
    pub fn place(self) -> &'static str {
        match self {
            Family::Socket => "where sockets send and receive",
            Family::Syscall => "at the end of every system call",
        }
    }

    /// What it does not see of HTTP/1.1 calls, for people.
    pub fn misses(self) -> &'static str {
        match self {
            Family::Socket => "unix sockets",
            Family::Syscall => "io_uring, 32-bit programs, unix sockets",
        }
    }
}

/// Why no probe can be loaded here, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Capabilities that are missing.
    Capability(Vec<&'static str>),
    /// The kernel has no BTF.
    Btf,
    /// Lockdown forbids reading kernel memory.
    Lockdown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Capability(names) => write!(
                out,
                "cannot load the probes: {} missing; run as root, or give the binary its capabilities: \
                 setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep /path/to/rotrace",
                names.join(" and "),
            ),
            Refusal::Btf => out.write_str(
                "cannot load the probes: this kernel has no /sys/kernel/btf/vmlinux; \
                 use a kernel built with CONFIG_DEBUG_INFO_BTF=y (every Debian kernel since 5.10 is)",
            ),
            Refusal::Lockdown => out.write_str(
                "cannot load the probes: the kernel is in lockdown mode `confidentiality`, which forbids reading \
                 kernel memory; boot with lockdown=integrity or none",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl Host {
    /// Reads the facts from a root directory, `/` but for tests.
    pub fn read(root: &Path) -> Host {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let status = text("proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Host {
            release: text("proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            btf_bytes: std::fs::metadata(root.join("sys/kernel/btf/vmlinux")).ok().map(|file| file.len()),
            capabilities: u64::from_str_radix(field("CapEff:").trim(), 16).unwrap_or(0),
            lockdown: text("sys/kernel/security/lockdown")
                .as_deref()
                .and_then(|text| chosen(text, ['[', ']'])),
            is_nested: std::fs::read_link(root.join("proc/self/ns/pid"))
                .is_ok_and(|namespace| namespace.to_str() != Some(INITIAL_PID_NAMESPACE)),
            version: text("proc/sys/kernel/version").unwrap_or_default().trim().to_owned(),
            preemption: text("sys/kernel/debug/sched/preempt")
                .as_deref()
                .and_then(|text| chosen(text, ['(', ')'])),
            clocksource: text("sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|name| name.trim().to_owned()),
        }
    }

    /// True when this process may do what the capability allows; CAP_SYS_ADMIN includes the two of BPF.
    pub fn may(&self, capability: u32) -> bool {
        let has = |bit: u32| self.capabilities >> bit & 1 == 1;
        has(capability) || matches!(capability, 38 | 39) && has(CAP_SYS_ADMIN)
    }

    /// Whether a thread may have to leave the processor to another while a program of a trampoline runs for it. Then such
    /// programs are attached twice. `none` and `voluntary` give it up where the kernel's own code says so, and programs
    /// never do.
    pub fn may_be_preempted(&self) -> bool {
        match self.preemption.as_deref() {
            Some(mode) => !matches!(mode, "none" | "voluntary"),
            None => self.version.contains("PREEMPT"),
        }
    }

    /// Which probes to load, best first, or why none can be. Whether a kernel lets programs hang on its functions is no fact
    /// that can be read: it is found out by asking, and when it refuses, the next family is its turn.
    pub fn families(&self, asked: Option<Family>) -> Result<Vec<Family>, Refusal> {
        let missing: Vec<_> = CAPABILITIES
            .iter()
            .take(2)
            .filter(|(bit, _, _)| !self.may(*bit))
            .map(|&(_, name, _)| name)
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::Capability(missing));
        }
        if self.btf_bytes.is_none_or(|bytes| bytes == 0) {
            return Err(Refusal::Btf);
        }
        if self.lockdown.as_deref() == Some("confidentiality") {
            return Err(Refusal::Lockdown);
        }
        Ok(match asked {
            Some(family) => vec![family],
            // The first costs calls that have nothing to do with sockets nothing, and sees more.
            None => vec![Family::Socket, Family::Syscall],
        })
    }
}

/// The word in brackets of `none [integrity] confidentiality` or `none (voluntary) full`.
fn chosen(text: &str, brackets: [char; 2]) -> Option<String> {
    let [open, close] = brackets;
    let (_, rest) = text.split_once(open)?;
    let (word, _) = rest.split_once(close)?;
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capable_host() -> Host {
        Host {
            release: "6.1.0".to_owned(),
            btf_bytes: Some(5_000_000),
            capabilities: 1 << 38 | 1 << 39,
            lockdown: Some("integrity".to_owned()),
            is_nested: false,
            version: "#1 SMP Debian".to_owned(),
            preemption: None,
            clocksource: Some("tsc".to_owned()),
        }
    }

    #[test]
    fn a_capable_host_gets_the_socket_family_or_else_the_other() {
        assert_eq!(capable_host().families(None), Ok(vec![Family::Socket, Family::Syscall]));
        let admin = Host { capabilities: 1 << CAP_SYS_ADMIN, ..capable_host() };
        assert_eq!(admin.families(None), Ok(vec![Family::Socket, Family::Syscall]));
    }

    #[test]
    fn a_family_that_is_asked_for_has_no_substitute() {
        for family in [Family::Socket, Family::Syscall] {
            assert_eq!(capable_host().families(Some(family)), Ok(vec![family]));
            assert_eq!(Family::named(family.name()), Some(family));
        }
        assert_eq!(Family::named("kprobe"), None);
    }

    #[test]
    fn each_missing_fact_is_a_refusal_that_names_it() {
        let check = |host: Host, expect: &str| {
            let refusal = host.families(None).expect_err(expect).to_string();
            assert!(refusal.contains(expect), "{refusal}");
        };
        check(Host { capabilities: 1 << 39, ..capable_host() }, "CAP_PERFMON missing");
        check(Host { capabilities: 0, ..capable_host() }, "CAP_BPF and CAP_PERFMON missing");
        check(Host { btf_bytes: None, ..capable_host() }, "/sys/kernel/btf/vmlinux");
        check(Host { lockdown: Some("confidentiality".to_owned()), ..capable_host() }, "lockdown");
    }

    #[test]
    fn what_is_chosen_is_the_word_in_brackets() {
        let lockdown = "none [integrity] confidentiality\n";
        assert_eq!(chosen(lockdown, ['[', ']']).as_deref(), Some("integrity"));
        assert_eq!(chosen("none voluntary (full) lazy \n", ['(', ')']).as_deref(), Some("full"));
        assert_eq!(chosen("garbage", ['(', ')']), None);
    }

    #[test]
    fn programs_are_attached_twice_where_the_kernel_may_be_preempted_in_them() {
        let check = |version: &str, preemption: Option<&str>, expect: bool| {
            let preemption = preemption.map(str::to_owned);
            let host = Host { version: version.to_owned(), preemption, ..capable_host() };
            assert_eq!(host.may_be_preempted(), expect, "{host:?}");
        };
        check("#1 SMP Debian 5.10.223-1 (2024-08-10)", None, false);
        check("#1 SMP PREEMPT_RT Debian 6.1.176-1 (2026-07-01)", None, true);
        // It can be told to be, and does not say whether it was.
        check("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-01)", None, true);
        check("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-01)", Some("voluntary"), false);
        check("#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1 (2026-11-01)", Some("lazy"), true);
        check("#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1 (2026-11-01)", Some("full"), true);
    }
}
