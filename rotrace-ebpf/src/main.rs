//! Given: the events of the kernel, and the offsets that the daemon read from its BTF. Gives: records, for targets only.
//! Refuses to know: HTTP beyond the first bytes of a stream, games, endpoints.
//!
//! On the host this is an empty program, so that the workspace checks and tests without a BPF toolchain.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod probes;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic: the verifier would refuse the call. The language asks for the function all the same.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
