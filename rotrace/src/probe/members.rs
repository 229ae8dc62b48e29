//! Given: the BTF of a kernel. Gives: where the members that the probes read are in it. Refuses to know: which kernel it is.

use anyhow::bail;
use rotrace_ebpf::offsets::{ABSENT, MEMBERS, Offsets};

use super::btf::Btf;

/// Members that the probes can do without.
const OPTIONAL: [(&str, &str); 10] = [
    ("inet_connection_sock", "icsk_ulp_ops"),
    ("msghdr", "msg_flags"),
    ("sock", "sk_shutdown"),
    ("sock", "sk_user_data"),
    ("task_struct", "thread_info"),
    ("tcp_sock", "copied_seq"),
    ("tcp_sock", "rcv_nxt"),
    ("tcp_sock", "urg_seq"),
    ("tcp_sock", "write_seq"),
    ("thread_info", "status"),
];

/// Offsets of this kernel, or which member it lacks.
pub fn offsets(btf: &Btf<'_>) -> anyhow::Result<Offsets> {
    let mut values = [ABSENT; MEMBERS.len()];
    for (value, (structure, member)) in values.iter_mut().zip(MEMBERS) {
        match btf.offset(structure, member) {
            Some(offset) => *value = offset,
            None if OPTIONAL.contains(&(structure, member)) => {}
            None => bail!("this kernel's BTF has no {structure}.{member}, which the probes need"),
        }
    }
    Ok(Offsets::from_values(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_the_probes_need_is_in_this_kernels_btf() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("this test needs a kernel with BTF");
        let btf = Btf::parse(&bytes).expect("the kernel's own BTF");
        offsets(&btf).expect("all members");
    }
}
