//! Given: programs that make 32-bit system calls, from `scripts/compat*.s`. Gives: proof that none is taken for the 64-bit
//! call with its number, and that those on TCP sockets are seen, or counted where the probes cannot see them. Refuses to know: architectures other than x86. They need
//! binutils, and a kernel that runs 32-bit programs (CONFIG_IA32_EMULATION).

use std::process::Command;

use crate::access_log::Served;
use crate::call::Seen;
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome};
use crate::tracer::Tracer;

/// What was seen of a program that is made of `scripts/NAME.s`, whether its 32-bit calls can be seen, and the server's log.
fn traced(name: &str, bits: &str, emulation: &str) -> (Seen, bool, Vec<Served>) {
    let nginx = Nginx::start();
    let (object, program) = (nginx.path("program.o"), nginx.path("program"));
    for (tool, arguments) in [
        ("as", [bits, &needs::script(name), "-o", &object].as_slice()),
        ("ld", &["-m", emulation, &object, "-o", &program]),
    ] {
        let mut command = Command::new(needs::program(tool));
        command.args(arguments);
        let (status, _, complaints) = outcome(command);
        assert_eq!(status, Some(0), "{tool} {arguments:?}: {complaints}");
    }
    let client = Running::hold(&program, [nginx.port.to_string()]);
    let tracer = Tracer::attach(&[client.pid()]);
    client.run();
    let sees_every_way = tracer.sees_every_way();
    (tracer.finish_with_losses(), sees_every_way, nginx.quit())
}

fn counted(seen: &Seen) -> u64 {
    let reasons: Vec<_> = seen.summary.lost.values().flatten().collect();
    let [(reason, &count)] = reasons[..] else { panic!("lost: {reasons:?}") };
    assert_eq!(reason, "compat_syscall");
    count
}

#[test]
fn calls_of_a_32_bit_program_are_seen_or_counted() {
    let (seen, are_seen, log) = traced("compat32.s", "--32", "elf_i386");
    assert_eq!(log.len(), 2, "the program did make requests");
    if are_seen {
        assert_equal(&seen.calls, &log);
        assert!(seen.summary.lost.is_empty(), "lost: {:?}", seen.summary.lost);
    } else {
        assert_eq!(seen.calls.len(), 0, "{:?}", seen.calls);
        assert!(counted(&seen) >= 4, "two are sent and two received: {}", counted(&seen));
    }
}

/// The 64-bit calls of the same program are read as ever. Its 32-bit calls only look as if they were for the socket.
#[test]
fn int_0x80_of_a_64_bit_program_invents_nothing() {
    let (seen, are_seen, log) = traced("compat64.s", "--64", "elf_x86_64");
    assert_eq!(log.len(), 1);
    assert_equal(&seen.calls, &log);
    if are_seen {
        assert!(seen.summary.lost.is_empty(), "lost: {:?}", seen.summary.lost);
    } else {
        assert_eq!(counted(&seen), 2);
    }
}
