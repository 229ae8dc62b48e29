//! Given: the end of every system call, and one process. Gives: a record of 256 bytes for each call of it that read or wrote
//! something. Refuses to know: sockets, connections, HTTP; anything that a tracer could leave out.
//!
//! No tracer that copies what a process sends and receives costs less than this. It is built and loaded by the benchmark
//! alone, and is no part of the object that the daemon embeds.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod probe;

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
