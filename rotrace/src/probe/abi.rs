//! Given: nothing. Gives: the numbers of the system calls that move stream bytes, and where this architecture keeps their
//! arguments. Refuses to know: what the probes do with them.

use anyhow::bail;

use rotrace_ebpf::offsets::{GoRegisters, Registers};
use rotrace_ebpf::syscalls::{SYSCALLS, shape};

/// Where this architecture keeps the arguments of a system call, in the order of [`Registers`].
pub fn registers() -> anyhow::Result<[u32; 12]> {
    let Registers { number, arguments, arguments_32: [x, y], mode, mode_mask, mode_64 } =
        of_this_architecture(Registers::X86_64, Registers::ARM64)?;
    let [a, b, c, d, e, f] = arguments;
    Ok([number, a, b, c, d, e, f, x, y, mode, mode_mask, mode_64])
}

/// Where this architecture keeps what Go passes, in the order of [`GoRegisters`].
pub fn go_registers() -> anyhow::Result<[u32; 5]> {
    let GoRegisters { words: [a, b, c], goroutine, stack } =
        of_this_architecture(GoRegisters::X86_64, GoRegisters::ARM64)?;
    Ok([a, b, c, goroutine, stack])
}

fn of_this_architecture<T>(x86_64: T, arm64: T) -> anyhow::Result<T> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(x86_64),
        "aarch64" => Ok(arm64),
        other => bail!("the probes do not know the registers of {other}"),
    }
}

/// 32-bit system calls that move stream bytes: `read`, `write`, `readv`, `writev`, both `sendfile`, `splice`, `recvmmsg`,
/// `sendmmsg`, `accept4`, `sendto` and what belongs to it, `preadv2`, `pwritev2`, `recvmmsg_time64`; of x86
/// (arch/x86/entry/syscalls/syscall_32.tbl) and of arm (arch/arm/tools/syscall.tbl), which has `accept`, `send` and `recv` too.
const COMPAT_CALLS_X86: &[usize] =
    &[3, 4, 145, 146, 187, 239, 313, 337, 345, 364, 369, 370, 371, 372, 378, 379, 417];
const COMPAT_CALLS_ARM: &[usize] =
    &[3, 4, 145, 146, 187, 239, 285, 289, 290, 291, 292, 296, 297, 340, 365, 366, 374, 392, 393, 417];
/// `socketcall` of x86; arm has given up its own before there was 64-bit code.
const COMPAT_SOCKETCALL: usize = 102;

/// The numbers of this architecture's 32-bit calls, and whether it has `socketcall`.
fn compat_calls() -> (&'static [usize], bool) {
    match std::env::consts::ARCH {
        "aarch64" => (COMPAT_CALLS_ARM, false),
        _ => (COMPAT_CALLS_X86, true),
    }
}

/// The table from system call number to shape: 64-bit calls of this architecture, then its 32-bit ones.
pub fn shapes() -> [u8; 2 * SYSCALLS] {
    let mut table = [shape::NONE; 2 * SYSCALLS];
    let calls = [
        (libc::SYS_mmap, shape::MMAP),
        (libc::SYS_read, shape::READ),
        (libc::SYS_readv, shape::READV),
        (libc::SYS_preadv2, shape::READV),
        (libc::SYS_recvfrom, shape::RECVFROM),
        (libc::SYS_recvmsg, shape::RECVMSG),
        (libc::SYS_recvmmsg, shape::RECVMMSG),
        (libc::SYS_write, shape::WRITE),
        (libc::SYS_writev, shape::WRITEV),
        (libc::SYS_pwritev2, shape::WRITEV),
        (libc::SYS_sendto, shape::SENDTO),
        (libc::SYS_sendmsg, shape::SENDMSG),
        (libc::SYS_sendmmsg, shape::SENDMMSG),
        (libc::SYS_sendfile, shape::SENDFILE),
        (libc::SYS_splice, shape::SPLICE),
        (libc::SYS_io_uring_setup, shape::IO_URING),
        (libc::SYS_io_uring_enter, shape::IO_URING),
        (libc::SYS_accept, shape::ACCEPT),
        (libc::SYS_accept4, shape::ACCEPT),
    ];
    let (compat, has_socketcall) = compat_calls();
    let compat = compat.iter().map(|number| (SYSCALLS + number, shape::COMPAT));
    // These have the same numbers on all architectures.
    let rings = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter];
    let rings = rings.map(|number| (SYSCALLS + number as usize, shape::IO_URING));
    let socketcall = (SYSCALLS + COMPAT_SOCKETCALL, shape::COMPAT_SOCKETCALL);
    let socketcall = has_socketcall.then_some(socketcall);
    let native = calls.map(|(number, shape)| (number as usize, shape)).into_iter();
    for (index, shape) in native.chain(compat).chain(rings).chain(socketcall) {
        if let Some(slot) = table.get_mut(index) {
            *slot = shape;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_of_all_calls_fit_the_table() {
        let (compat, has_socketcall) = compat_calls();
        let expect = 19 + compat.len() + usize::from(has_socketcall) + 2;
        assert_eq!(shapes().iter().filter(|&&shape| shape != shape::NONE).count(), expect);
    }
}
