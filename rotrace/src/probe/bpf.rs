//! Given: a program with its types, and offsets in a file. Gives: the program in the kernel, and one link that probes all
//! of the offsets in one process: the calls of bpf(2) that aya does not make. Refuses to know: what the program does.
//!
//! The structures are those of `union bpf_attr` (include/uapi/linux/bpf.h, 6.6), cut off after the last member that is
//! used: the kernel takes the rest for zero (`bpf_check_uarg_tail_zero`, kernel/bpf/syscall.c).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{fmt, io};

use aya_obj::generated::bpf_attach_type::BPF_TRACE_UPROBE_MULTI;
use aya_obj::generated::bpf_cmd::{self, BPF_BTF_LOAD, BPF_LINK_CREATE, BPF_PROG_LOAD};
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_KPROBE;
use aya_obj::generated::{BPF_ALU64, BPF_EXIT, BPF_F_UPROBE_MULTI_RETURN, BPF_JMP, BPF_MOV, bpf_insn};

/// Times that a call is repeated which a signal keeps from ending.
const ATTEMPTS: usize = 10;

/// BPF_OBJ_NAME_LEN, with the zero at its end.
const NAME_BYTES: usize = 16;

/// What the verifier says of a program that it refuses, as far as it fits.
const LOG_BYTES: usize = 1 << 20;

/// A program to load.
pub struct Program<'a> {
    /// For people; cut off after 15 bytes.
    pub name: &'a str,
    /// Whether it may call what the kernel offers to GPL programs alone.
    pub license: &'a CStr,
    /// Its code.
    pub instructions: &'a [bpf_insn],
    /// The types of the object that it comes from, and which of them its functions have.
    pub types: Option<Types<'a>>,
}

/// Types of a program's functions, by which the verifier takes a global function for itself.
pub struct Types<'a> {
    /// From [`load_types`].
    pub all: BorrowedFd<'a>,
    /// Array of `struct bpf_func_info`.
    pub functions: &'a [u8],
    /// Size of an element, in bytes.
    pub function_bytes: usize,
}

/// `BPF_PROG_LOAD`.
#[derive(Default)]
#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_BYTES],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: RawFd,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
}

/// `BPF_BTF_LOAD`.
#[derive(Default)]
#[repr(C)]
struct TypesLoad {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
}

/// `BPF_LINK_CREATE` with `BPF_TRACE_UPROBE_MULTI`.
#[derive(Default)]
#[repr(C)]
struct UprobesLink {
    prog_fd: RawFd,
    target_fd: RawFd,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    uprobe_flags: u32,
    pid: u32,
    /// The kernel's structure has its next member here.
    padding: u32,
}

/// Loads the types of an object.
pub fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes =
        TypesLoad { btf: btf.as_ptr() as u64, btf_size: btf.len() as u32, ..TypesLoad::default() };
    // SAFETY: the attributes of this command, with one pointer, to as many bytes as it says.
    unsafe { bpf(BPF_BTF_LOAD, &mut attributes) }
}

/// Loads a program that is attached by [`link_uprobes`]. A refusal comes with what the verifier says.
pub fn load_uprobe(program: &Program<'_>) -> io::Result<OwnedFd> {
    load(program, &mut []).or_else(|why| {
        // With a log it takes longer, so it is only asked for where there is something to explain.
        let mut log = vec![0; LOG_BYTES];
        load(program, &mut log).map_err(|_| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(log.get(..end).unwrap_or_default());
            io::Error::new(why.kind(), format!("{why}\n{log}"))
        })
    })
}

/// Where the probes of a link are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the function is called.
    Entry,
    /// When it returns.
    Return,
}

/// Probes `points`, file offset and cookie, of the file that `path` leads to, in the process that is called `pid` in this
/// PID namespace, whether it maps the file by now or later. Closing the descriptor removes them all, after one grace
/// period (`bpf_uprobe_unregister`, kernel/trace/bpf_trace.c, 6.12).
pub fn link_uprobes(
    program: BorrowedFd<'_>,
    moment: Moment,
    path: &CStr,
    points: &[(u64, u64)],
    pid: u32,
) -> io::Result<OwnedFd> {
    let (offsets, cookies): (Vec<u64>, Vec<u64>) = points.iter().copied().unzip();
    let mut attributes = UprobesLink {
        prog_fd: program.as_raw_fd(),
        attach_type: BPF_TRACE_UPROBE_MULTI as u32,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        cnt: points.len() as u32,
        uprobe_flags: match moment {
            Moment::Entry => 0,
            Moment::Return => BPF_F_UPROBE_MULTI_RETURN,
        },
        pid,
        ..UprobesLink::default()
    };
    // SAFETY: the attributes of this command; the path ends with a zero, and both arrays have `cnt` elements.
    unsafe { bpf(BPF_LINK_CREATE, &mut attributes) }
}

/// Why [`link_uprobes`] does not do what it says on this kernel, or for this user.
#[derive(Debug)]
pub enum Lack {
    /// A program for it cannot be loaded.
    Program(io::Error),
    /// There are no such links: before 6.6, or on a machine with words of 32 bits.
    Links(io::Error),
    /// Links keep to a thread and not to its process: before 6.10, and the versions that have no fix of it.
    Processes,
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Program(why) => write!(out, "a program for uprobe_multi links cannot be loaded: {why}"),
            Lack::Links(why) => write!(out, "this kernel has no uprobe_multi links: {why}"),
            Lack::Processes => {
                out.write_str("this kernel's uprobe_multi links keep to one thread and not to its process")
            }
        }
    }
}

/// Asks the kernel for links that cannot be, to learn from the refusal how far it came. Nothing gets attached.
///
/// `bpf_uprobe_multi_link_attach` (kernel/trace/bpf_trace.c, 6.12) refuses a negative PID with EINVAL, and then a path
/// that is no file with EBADF. The first check came with the change that made links keep to a process; without it there
/// are none but EBADF. A kernel that does not know such links at all says EINVAL to both.
pub fn ask_for_uprobe_links() -> Result<(), Lack> {
    let return_zero = [instruction(BPF_ALU64 | BPF_MOV), instruction(BPF_JMP | BPF_EXIT)];
    let program = Program { name: "rotrace_ask", license: c"GPL", instructions: &return_zero, types: None };
    let program = load(&program, &mut []).map_err(Lack::Program)?;
    let refusal = |pid: u32| match link_uprobes(program.as_fd(), Moment::Entry, c"/", &[(0, 0)], pid) {
        Ok(_) => io::Error::other("a directory was probed"),
        Err(why) => why,
    };
    let of_the_path = refusal(0);
    if of_the_path.raw_os_error() != Some(libc::EBADF) {
        return Err(Lack::Links(of_the_path));
    }
    match refusal(u32::MAX).raw_os_error() {
        Some(libc::EINVAL) => Ok(()),
        _ => Err(Lack::Processes),
    }
}

/// An instruction whose operands are all zero (include/uapi/linux/bpf.h).
fn instruction(code: u32) -> bpf_insn {
    let registers = bpf_insn::new_bitfield_1(0, 0);
    bpf_insn { code: code as u8, _bitfield_align_1: [], _bitfield_1: registers, off: 0, imm: 0 }
}

fn load(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let Program { name, license, instructions, types } = program;
    let mut attributes = ProgramLoad {
        prog_type: BPF_PROG_TYPE_KPROBE as u32,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI as u32,
        insns: instructions.as_ptr() as u64,
        insn_cnt: instructions.len() as u32,
        license: license.as_ptr() as u64,
        ..ProgramLoad::default()
    };
    // The last byte stays zero.
    for (to, from) in attributes.prog_name.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)) {
        *to = from;
    }
    if let Some(Types { all, functions, function_bytes }) = types {
        attributes.prog_btf_fd = all.as_raw_fd();
        attributes.func_info = functions.as_ptr() as u64;
        attributes.func_info_rec_size = *function_bytes as u32;
        attributes.func_info_cnt = functions.len().checked_div(*function_bytes).unwrap_or(0) as u32;
    }
    if !log.is_empty() {
        attributes.log_level = 1;
        attributes.log_buf = log.as_mut_ptr() as u64;
        attributes.log_size = log.len() as u32;
    }
    // SAFETY: the attributes of this command; each pointer is to as many bytes or elements as they say, and the name and
    // the license end with a zero.
    unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }
}

/// A call of bpf(2) that makes a descriptor.
///
/// # Safety
///
/// `attributes` are those of `command`, have no padding, and their pointers are to what the command reads and writes.
unsafe fn bpf<A>(command: bpf_cmd, attributes: &mut A) -> io::Result<OwnedFd> {
    let mut attempt = 1;
    loop {
        // SAFETY: the caller's promise; the kernel reads `size_of::<A>()` bytes.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) };
        if fd >= 0 {
            // SAFETY: the descriptor was just made and nobody else has it.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        }
        let why = io::Error::last_os_error();
        if why.raw_os_error() != Some(libc::EAGAIN) || attempt == ATTEMPTS {
            return Err(why);
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel reads the members at these places; an error here would be another question than the one that is meant.
    #[test]
    fn attributes_are_laid_out_as_the_kernel_reads_them() {
        use std::mem::offset_of;
        assert_eq!(offset_of!(ProgramLoad, prog_name), 48);
        assert_eq!(offset_of!(ProgramLoad, func_info), 80);
        assert_eq!(size_of::<ProgramLoad>(), 96);
        assert_eq!(offset_of!(TypesLoad, btf_size), 16);
        assert_eq!(size_of::<TypesLoad>(), 24);
        assert_eq!(offset_of!(UprobesLink, path), 16);
        assert_eq!(offset_of!(UprobesLink, pid), 56);
        assert_eq!(size_of::<UprobesLink>(), 64);
    }
}
