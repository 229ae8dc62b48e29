//! Given: the BTF of a kernel. Gives: where its messages keep how far it has come in their buffers. Refuses to know: who asks.

use rotrace_ebpf::offsets::{ABSENT, Iterators};

use super::btf::Btf;

/// How messages keep their buffers; `None` when the kernel's types are not as on any kernel that is known.
pub fn iterators(btf: &Btf<'_>) -> Option<Iterators> {
    let message = btf.offset("msghdr", "msg_iter")?;
    let within = |member| Some(message + btf.offset("iov_iter", member)?);
    // Up to 5.13 one word holds the kind, a bit for each, and the direction below them.
    let (kind, kind_mask) = match within("iter_type") {
        Some(at) => (at, 0xff),
        None => (within("type")?, !1),
    };
    Some(Iterators {
        kind,
        kind_mask,
        // Since 6.0.
        one: btf.enumerator("ITER_UBUF").unwrap_or(ABSENT),
        array: btf.enumerator("ITER_IOVEC")?,
        one_at: within("ubuf").unwrap_or(message),
        // Renamed in 6.4.
        array_at: within("__iov").or_else(|| within("iov"))?,
        offset: within("iov_offset")?,
    })
}

/// The values in the order of [`Iterators`].
pub(super) fn values(iterators: Iterators) -> [u32; 7] {
    let Iterators { kind, kind_mask, one, array, one_at, array_at, offset } = iterators;
    [kind, kind_mask, one, array, one_at, array_at, offset]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_messages_are_understood() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("this test needs a kernel with BTF");
        let found = iterators(&Btf::parse(&bytes).expect("the kernel's own BTF")).expect("all members");
        assert_ne!(found.array, found.one);
        assert_eq!(values(found).len() * 4, size_of::<Iterators>());
    }
}
