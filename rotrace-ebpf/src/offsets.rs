//! Given: nothing. Gives: the table of kernel structure members whose offsets the probes need, as one struct and as
//! one list in the same order. Refuses to know: the offsets; the daemon reads them from the running kernel's BTF.

/// The value of an offset that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $structure:literal, $member:literal;)*) => {
        /// Offsets in bytes, in the order of [`MEMBERS`].
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct Offsets {
            $($(#[$doc])* #[doc = concat!("`", $structure, ".", $member, "`")] pub $field: u32,)*
        }

        impl Offsets {
            /// Before the daemon has filled them in.
            pub const UNKNOWN: Offsets = Offsets { $($field: ABSENT,)* };

            /// From values in the order of [`MEMBERS`].
            pub fn from_values(values: [u32; MEMBERS.len()]) -> Self {
                let mut values = values.into_iter();
                Offsets { $($field: values.next().unwrap_or(ABSENT),)* }
            }

            /// The values in the order of [`MEMBERS`].
            pub fn values(&self) -> [u32; MEMBERS.len()] {
                [$(self.$field,)*]
            }
        }

        /// Structure and member path, in the order of the fields of [`Offsets`].
        pub const MEMBERS: [(&str, &str); [$($structure),*].len()] = [$(($structure, $member),)*];
    };
}

offsets! {
    task_files: "task_struct", "files";
    task_mm: "task_struct", "mm";
    task_tgid: "task_struct", "tgid";
    task_pid: "task_struct", "pid";
    task_signal: "task_struct", "signal";
    task_thread_info: "task_struct", "thread_info";
    task_thread_pid: "task_struct", "thread_pid";
    thread_info_status: "thread_info", "status";
    signal_live: "signal_struct", "live";
    mm_arg_start: "mm_struct", "arg_start";
    mm_arg_end: "mm_struct", "arg_end";
    pid_level: "pid", "level";
    pid_numbers: "pid", "numbers";
    upid_nr: "upid", "nr";
    files_fdt: "files_struct", "fdt";
    fdt_max_fds: "fdtable", "max_fds";
    fdt_fd: "fdtable", "fd";
    file_inode: "file", "f_inode";
    file_private: "file", "private_data";
    inode_mode: "inode", "i_mode";
    inode_number: "inode", "i_ino";
    inode_private: "inode", "i_private";
    socket_sk: "socket", "sk";
    socket_type: "socket", "type";
    alloc_socket: "socket_alloc", "socket";
    alloc_inode: "socket_alloc", "vfs_inode";
    sk_family: "sock_common", "skc_family";
    sk_num: "sock_common", "skc_num";
    sk_dport: "sock_common", "skc_dport";
    sk_daddr: "sock_common", "skc_daddr";
    sk_rcv_saddr: "sock_common", "skc_rcv_saddr";
    sk_v6_daddr: "sock_common", "skc_v6_daddr";
    sk_v6_rcv_saddr: "sock_common", "skc_v6_rcv_saddr";
    sk_flags: "sock_common", "skc_flags";
    sk_socket: "sock", "sk_socket";
    sk_user_data: "sock", "sk_user_data";
    sk_protocol: "sock", "sk_protocol";
    sk_shutdown: "sock", "sk_shutdown";
    tcp_upper_layer: "inet_connection_sock", "icsk_ulp_ops";
    tcp_write_seq: "tcp_sock", "write_seq";
    tcp_copied_seq: "tcp_sock", "copied_seq";
    tcp_rcv_nxt: "tcp_sock", "rcv_nxt";
    tcp_urg_seq: "tcp_sock", "urg_seq";
    msg_flags: "msghdr", "msg_flags";
}

/// Where a message keeps how far the kernel has come in its buffers, and what its values mean. Both have moved between
/// kernels: `struct msghdr` (include/linux/socket.h), `struct iov_iter` and `enum iter_type` (include/linux/uio.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Iterators {
    /// Offset in the message of the kind of its buffers.
    pub kind: u32,
    /// Bits of that word which say the kind.
    pub kind_mask: u32,
    /// One buffer (`ITER_UBUF`); [`ABSENT`] on kernels that have no such kind.
    pub one: u32,
    /// An array of `struct iovec` (`ITER_IOVEC`).
    pub array: u32,
    /// Offset in the message of the address of the one buffer.
    pub one_at: u32,
    /// Offset in the message of the address of the array's entry.
    pub array_at: u32,
    /// Offset in the message of how many bytes of the buffer are behind.
    pub offset: u32,
}

impl Iterators {
    /// Before the daemon has filled them in: no kind is any of these.
    pub const UNKNOWN: Iterators =
        Iterators { kind: 0, kind_mask: 0, one: ABSENT, array: ABSENT, one_at: 0, array_at: 0, offset: 0 };
}

/// Offsets in `struct pt_regs` of the registers by which Go passes the first arguments and results, and of those that say
/// where it is: its own calling convention since 1.17 (<https://go.dev/s/regabi>).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GoRegisters {
    /// The first three words of arguments, and of results.
    pub words: [u32; 3],
    /// The current goroutine's `g`.
    pub goroutine: u32,
    /// The stack pointer.
    pub stack: u32,
}

impl GoRegisters {
    /// Before the daemon has filled them in.
    pub const UNKNOWN: GoRegisters = GoRegisters { words: [0; 3], goroutine: 0, stack: 0 };
    /// x86-64: `ax bx cx`, `r14`, `sp`.
    pub const X86_64: GoRegisters = GoRegisters { words: [80, 40, 88], goroutine: 8, stack: 152 };
    /// arm64: `x0 x1 x2`, `x28`, `sp`.
    pub const ARM64: GoRegisters = GoRegisters { words: [0, 8, 16], goroutine: 224, stack: 248 };
}

/// Offsets in `struct pt_regs` of the arguments of a system call, and of what tells 32-bit processes apart. They are part
/// of the architecture, not of the kernel build (arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Registers {
    /// The number of the system call, of four bytes at least.
    pub number: u32,
    /// The six arguments.
    pub arguments: [u32; 6],
    /// The first two arguments of a 32-bit call.
    pub arguments_32: [u32; 2],
    /// What tells the code of 32-bit programs apart.
    pub mode: u32,
    /// Which of its bits do.
    pub mode_mask: u32,
    /// What these are in 64-bit code.
    pub mode_64: u32,
}

impl Registers {
    /// Before the daemon has filled them in.
    pub const UNKNOWN: Registers =
        Registers { number: 0, arguments: [0; 6], arguments_32: [0; 2], mode: 0, mode_mask: 0, mode_64: 0 };
    /// x86-64: `orig_ax`, then `di si dx r10 r8 r9`, `bx cx`, `cs`, and `__USER_CS`.
    pub const X86_64: Registers = Registers {
        number: 120,
        arguments: [112, 104, 96, 56, 72, 64],
        arguments_32: [40, 88],
        mode: 136,
        mode_mask: u32::MAX,
        mode_64: 0x33,
    };
    /// arm64: `syscallno`, then `orig_x0 x1 x2 x3 x4 x5`, `orig_x0 x1`, `pstate`, and `PSR_MODE32_BIT`.
    pub const ARM64: Registers = Registers {
        number: 280,
        arguments: [272, 8, 16, 24, 32, 40],
        arguments_32: [272, 8],
        mode: 264,
        mode_mask: 0x10,
        mode_64: 0,
    };
}
