//! Given: the files by which a kernel describes itself. Gives: facts about this host, and what they allow. Refuses to
//! know: how the probes are loaded. No kernel version is compared anywhere; every decision has a named fact.

use std::fmt;
use std::path::Path;

/// What this host offers. Facts only; the rules are in [`Host::family`].
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
    /// One program at the end of every system call.
    Syscall,
}

impl Family {
    /// As in `rotrace_probe_family_info`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Syscall => "syscall",
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
            lockdown: text("sys/kernel/security/lockdown").as_deref().and_then(active_lockdown),
            is_nested: std::fs::read_link(root.join("proc/self/ns/pid"))
                .is_ok_and(|namespace| namespace.to_str() != Some(INITIAL_PID_NAMESPACE)),
            clocksource: text("sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|name| name.trim().to_owned()),
        }
    }

    /// True when this process may do what the capability allows; CAP_SYS_ADMIN includes the two of BPF.
    pub fn may(&self, capability: u32) -> bool {
        let has = |bit: u32| self.capabilities >> bit & 1 == 1;
        has(capability) || matches!(capability, 38 | 39) && has(CAP_SYS_ADMIN)
    }

    /// Which probes to load, or why none can be.
    pub fn family(&self) -> Result<Family, Refusal> {
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
        Ok(Family::Syscall)
    }
}

/// The level in brackets of `none [integrity] confidentiality`.
fn active_lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (level, _) = rest.split_once(']')?;
    Some(level.to_owned())
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
            clocksource: Some("tsc".to_owned()),
        }
    }

    #[test]
    fn a_capable_host_gets_the_syscall_family() {
        assert_eq!(capable_host().family(), Ok(Family::Syscall));
        let admin = Host { capabilities: 1 << CAP_SYS_ADMIN, ..capable_host() };
        assert_eq!(admin.family(), Ok(Family::Syscall));
    }

    #[test]
    fn each_missing_fact_is_a_refusal_that_names_it() {
        let check = |host: Host, expect: &str| {
            let refusal = host.family().expect_err(expect).to_string();
            assert!(refusal.contains(expect), "{refusal}");
        };
        check(Host { capabilities: 1 << 39, ..capable_host() }, "CAP_PERFMON missing");
        check(Host { capabilities: 0, ..capable_host() }, "CAP_BPF and CAP_PERFMON missing");
        check(Host { btf_bytes: None, ..capable_host() }, "/sys/kernel/btf/vmlinux");
        check(Host { lockdown: Some("confidentiality".to_owned()), ..capable_host() }, "lockdown");
    }

    #[test]
    fn the_lockdown_level_is_the_one_in_brackets() {
        assert_eq!(active_lockdown("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(active_lockdown("garbage"), None);
    }
}
