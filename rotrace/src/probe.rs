//! Given: this host and the processes to watch. Gives: the probes loaded and attached, the ring buffer they write to,
//! and what they counted. Refuses to know: what the records mean. Nothing outside of it speaks to aya.
//!
//! Start-up goes in three steps: facts about the host ([`host`]), a decision made of facts alone, and the load.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Program};
use aya::{Ebpf, EbpfLoader};
use aya_obj::btf::BtfKind;

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::limits::{NOTES_MAX, PAYLOAD_MAX};
use rotrace_ebpf::offsets::Iterators;
use rotrace_ebpf::record::{HEADER_BYTES, Record, kind};
use rotrace_ebpf::stats::STATS;

use self::btf::Btf;
use self::host::{Family, Host};
use self::program::{Copies, Loaded};
use self::ring::Ring;
use self::tls::{Function, Means};

pub mod abi;
pub mod bpf;
pub mod btf;
pub mod host;
pub mod iterators;
pub mod library;
pub mod members;
pub mod program;
mod ring;
pub mod tls;

/// The compiled probes; `cargo xtask build-ebpf` makes them, and a test holds them to their sources.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/rotrace.bpf.o");

/// Programs that both families attach for as long as they live: name in the object, kernel event.
const PROGRAMS: [(&str, &str); 5] = [
    ("on_state", "inet_sock_set_state"),
    ("on_destroy", "tcp_destroy_sock"),
    ("on_fork", "sched_process_fork"),
    ("on_exec", "sched_process_exec"),
    ("on_exit", "sched_process_exit"),
];
/// Attached only while the daemon asks for PIDs: name in the object, kernel event.
const QUESTION_PROGRAM: (&str, &str) = ("on_question", "sys_exit");

/// A program of a family: what records bytes. They are attached last, when everything that they rely on is in place.
struct Recording {
    /// In the object.
    name: &'static str,
    /// The kernel's event, or its function.
    place: &'static str,
    /// Kernels that lack the function have another way, which is seen.
    is_optional: bool,
}

const fn recording(name: &'static str, place: &'static str) -> Recording {
    Recording { name, place, is_optional: false }
}

const SYSCALL_PROGRAMS: [Recording; 1] = [recording("on_sys_exit", "sys_exit")];
const SOCKET_PROGRAMS: [Recording; 10] = [
    recording("on_map", "vm_mmap_pgoff"),
    recording("on_accept", "inet_accept"),
    Recording { name: "on_grafted", place: "__inet_accept", is_optional: true },
    recording("on_send", "inet_sendmsg"),
    recording("on_send6", "inet6_sendmsg"),
    recording("on_receive", "inet_recvmsg"),
    recording("on_receive6", "inet6_recvmsg"),
    // Before 6.5; since then `splice_to_socket` sends a message (fs/splice.c).
    Recording { name: "on_send_page", place: "inet_sendpage", is_optional: true },
    recording("on_splice", "tcp_splice_read"),
    Recording { name: "on_mp_splice", place: "mptcp_splice_read", is_optional: true },
];

fn recordings(family: Family) -> &'static [Recording] {
    match family {
        Family::Socket => &SOCKET_PROGRAMS,
        Family::Syscall => &SYSCALL_PROGRAMS,
    }
}

/// Update a map entry only if it is there (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;

const SOCKET_BYTES: usize = size_of::<Connection>();

/// What the kernel side is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Size of the ring buffer, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Sockets of targets that are tracked at one time.
    pub sockets: u32,
    /// Processes that are targets at one time.
    pub targets: u32,
    /// The probe family that is wanted, and no other; `None` for the best that this host allows.
    pub family: Option<Family>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ring_bytes: rotrace_ebpf::limits::RING_BYTES,
            sockets: rotrace_ebpf::limits::SOCKETS_MAX,
            targets: rotrace_ebpf::limits::TARGETS_MAX,
            family: None,
        }
    }
}

/// The probes, loaded and attached. Dropping them removes every trace of them from the kernel.
pub struct Probes {
    family: Family,
    refused: Vec<(Family, String)>,
    ebpf: Ebpf,
    tls: tls::Programs,
    tls_means: Means,
    records: Ring,
    wake: RingBuf<MapData>,
    targets: HashMap<MapData, u32, u32>,
    sockets: HashMap<MapData, u64, [u8; SOCKET_BYTES]>,
    tls_since: HashMap<MapData, u32, u64>,
    tls_left: tls::Left,
    counters: PerCpuArray<MapData, u64>,
    question: u64,
    nested: bool,
}

impl Probes {
    /// Loads and attaches the probes that this host allows.
    pub fn load(host: &Host, settings: Settings) -> anyhow::Result<Probes> {
        let families = host.families(settings.family)?;
        raise_memlock();
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").context("read /sys/kernel/btf/vmlinux")?;
        let btf = Btf::parse(&bytes).map_err(|why| anyhow!("the kernel's BTF is malformed: {why:?}"))?;
        let offsets = members::offsets(&btf)?;
        let iterators = iterators::values(iterators::iterators(&btf).unwrap_or(Iterators::UNKNOWN));
        drop(btf);
        drop(bytes);
        let registers = abi::registers()?;
        let go_registers = abi::go_registers()?;
        let shapes = abi::shapes();
        let question = question();
        let values = offsets.values();
        let kernel_types = aya::Btf::from_sys_fs().context("read the kernel's BTF")?;
        let copies = Copies::of(host, &kernel_types);
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&kernel_types))
            .override_global("OFFSETS", &values[..], true)
            .override_global("ITERATORS", &iterators[..], true)
            .override_global("REGISTERS", &registers[..], true)
            .override_global("GO_REGISTERS", &go_registers[..], true)
            .override_global("SHAPES", &shapes[..], true)
            .override_global("QUESTION", &question, true)
            .override_global("TWICE", &copies.0, true)
            .map_max_entries("NOTES", if copies.0 == 0 { 1 } else { NOTES_MAX })
            .map_max_entries("RECORDS", settings.ring_bytes)
            .map_max_entries("SOCKETS", settings.sockets)
            .map_max_entries("TARGETS", settings.targets);
        let mut ebpf = loader.load(OBJECT).map_err(refused)?;
        load(&mut ebpf, QUESTION_PROGRAM.0, QUESTION_PROGRAM.1, &kernel_types)?;
        for (name, event) in copies_of(copies) {
            load(&mut ebpf, &name, event, &kernel_types)?;
        }
        let tls_means = Means::of_this_kernel();
        let tls = tls::Programs::load(&tls_means, &mut ebpf, OBJECT)?;
        for (name, event) in copies_of(copies) {
            attach(&mut ebpf, &name, event)?;
        }
        let mut refused = Vec::new();
        let family =
            families.into_iter().find(|&family| match start(&mut ebpf, family, copies, &kernel_types) {
                Ok(()) => true,
                Err(why) => {
                    refused.push((family, format!("{why:#}")));
                    false
                }
            });
        let Some(family) = family else {
            let reasons: Vec<_> =
                refused.iter().map(|(family, why)| format!("{}: {why}", family.name())).collect();
            bail!("no probes can be attached: {}", reasons.join("; "));
        };
        drop(kernel_types);
        give_memory_back();
        Ok(Probes {
            family,
            refused,
            records: Ring::new(take(&mut ebpf, "RECORDS")?, HEADER_BYTES + PAYLOAD_MAX)?,
            wake: RingBuf::try_from(take(&mut ebpf, "WAKE")?)?,
            targets: HashMap::try_from(take(&mut ebpf, "TARGETS")?)?,
            sockets: HashMap::try_from(take(&mut ebpf, "SOCKETS")?)?,
            tls_since: HashMap::try_from(take(&mut ebpf, "TLS_SINCE")?)?,
            tls_left: tls::Left::take(&mut ebpf)?,
            counters: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?,
            tls,
            tls_means,
            ebpf,
            question,
            nested: host.is_nested,
        })
    }

    /// The probe family in use.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Better families that this kernel refused, with why.
    pub fn refused(&self) -> &[(Family, String)] {
        &self.refused
    }

    /// Records the calls of a process from now on.
    pub fn add_target(&mut self, process: Resolved) -> anyhow::Result<()> {
        let Resolved { initial, level } = process;
        self.targets.insert(initial, level, 0).with_context(|| format!("make process {initial} a target"))
    }

    /// Whether the calls of a process are recorded; those of one that has exited are not. `pid` is of the initial namespace.
    pub fn has_target(&self, pid: u32) -> bool {
        self.targets.get(&pid, 0).is_ok()
    }

    /// Records no more calls of a process; `pid` is of the initial namespace.
    pub fn remove_target(&mut self, pid: u32) {
        // It may have exited, which has removed it already.
        let _ = self.targets.remove(&pid);
    }

    /// Hands every record that has been written to `feed`, oldest first; returns how many there were.
    pub fn drain(&mut self, feed: impl FnMut(&[u8])) -> usize {
        while self.wake.next().is_some() {}
        self.records.drain(feed)
    }

    /// Waits until it is time to drain: for `at_most`, or less when a process was forked, executed or exited.
    pub fn wait(&self, at_most: Duration) {
        let mut poll = libc::pollfd { fd: self.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd; the result does not matter, a signal only makes the wait shorter.
        unsafe { libc::poll(&mut poll, 1, at_most.as_millis() as i32) };
    }

    /// Tells the probes that what a socket carries is of no use any more. `socket` is the key that its open record
    /// gave, `conn` its identity: the key may belong to another socket by now.
    pub fn ignore(&mut self, socket: u64, conn: u64) {
        let Ok(mut known) = self.sockets.get(&socket, 0) else { return };
        if known.first_chunk::<8>().map(|id| u64::from_ne_bytes(*id)) != Some(conn) {
            return;
        }
        known[offset_of!(Connection, protocol)] = protocol::IGNORED;
        // The socket may have ended in between, or have moved bytes whose count this undoes: neither matters for one
        // that is ignored. BPF_EXIST keeps an ended one from coming back.
        let _ = self.sockets.insert(socket, known, BPF_EXIST);
    }

    /// Everything the probes counted so far, over all CPUs, by [`rotrace_ebpf::stats::Stat`].
    pub fn counters(&self) -> [u64; STATS as usize] {
        std::array::from_fn(|index| {
            self.counters.get(&(index as u32), 0).map_or(0, |values| values.iter().sum())
        })
    }

    /// What the kernel says of each program that is loaded, in the order of their names.
    pub fn programs(&self) -> Vec<Loaded> {
        let of_aya = self.ebpf.programs().filter_map(|(name, program)| Some((name, program.fd().ok()?)));
        let mut programs: Vec<_> = of_aya.map(|(name, fd)| Loaded::of(name, fd.as_fd())).collect();
        programs.extend(self.tls.descriptors().map(|(name, fd)| Loaded::of(name, fd)));
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        programs
    }

    /// The PID in the initial namespace of a process that is called `pid` in the namespace of this daemon.
    ///
    /// The kernel's records carry the former, people type the latter, and procfs of a nested namespace does not tell.
    /// So the daemon opens a pidfd, and a probe on that very call reads the number from it.
    pub fn resolve(&mut self, pid: u32) -> anyhow::Result<Resolved> {
        if !self.nested {
            return Ok(Resolved { initial: pid, level: 0 });
        }
        let program: &mut BtfTracePoint =
            self.ebpf.program_mut(QUESTION_PROGRAM.0).context("a program was lost")?.try_into()?;
        let link = program.attach().context("attach the program that resolves PIDs")?;
        // SAFETY: pidfd_open takes two arguments; the third register carries the question past the kernel's eyes.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, u64::from(pid), 0u64, self.question) };
        let error = io::Error::last_os_error();
        program.detach(link)?;
        if fd < 0 {
            bail!("no process {pid}: {error}");
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        unsafe { libc::close(fd as RawFd) };
        let mut resolved = None;
        self.drain(|bytes| {
            let Ok(record) = Record::decode(bytes) else { return };
            let header = record.header;
            if header.kind == kind::RESOLVED && header.tid == pid {
                resolved = Some(Resolved { initial: header.pid, level: header.position as u32 });
            }
        });
        resolved.with_context(|| format!("the kernel did not tell which process {pid} is"))
    }

    /// How TLS functions are probed.
    pub fn tls_means(&self) -> &Means {
        &self.tls_means
    }

    /// Attaches the probes of one TLS library to one process: `points` are function and file offset.
    pub fn attach_tls(
        &mut self,
        pid: u32,
        file: &Path,
        points: &[(Function, u64)],
    ) -> anyhow::Result<tls::Links> {
        self.tls.attach(&mut self.ebpf, pid, file, points)
    }

    /// Tells the probes that the TLS libraries of a process are probed as of `now_ns`: of connections that it makes from
    /// now on, all plaintext is seen. `initial` is its PID in the initial namespace.
    pub fn tls_is_probed(&mut self, initial: u32, now_ns: u64) {
        // Without the entry a connection counts as joined late, which is true of less and never wrong.
        let _ = self.tls_since.insert(initial, now_ns, 0);
    }

    /// Forgets what TLS functions of processes were doing that are no targets any more.
    pub fn forget_tls_of_the_gone(&mut self) {
        let targets = &self.targets;
        self.tls_left.forget(|pid| targets.get(&pid, 0).is_ok());
    }
}

/// A process by the kernel's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its PID in the initial namespace, as records have it.
    pub initial: u32,
    /// How deep the daemon's PID namespace is below that.
    pub level: u32,
}

/// What both families attach, with second copies, and the event of each.
fn copies_of(copies: Copies) -> impl Iterator<Item = (String, &'static str)> {
    let of = move |(name, event)| copies.at_tracepoint(name).into_iter().map(move |name| (name, event));
    PROGRAMS.into_iter().flat_map(of)
}

/// Loads and attaches what records bytes; leaves nothing behind where that fails.
fn start(ebpf: &mut Ebpf, family: Family, copies: Copies, types: &aya::Btf) -> anyhow::Result<()> {
    let names = |name: &str| match family {
        Family::Socket => copies.at_function(name),
        Family::Syscall => copies.at_tracepoint(name),
    };
    let started = recordings(family).iter().try_for_each(|&Recording { name, place, is_optional }| {
        if is_optional && types.id_by_type_name_kind(place, BtfKind::Func).is_err() {
            return Ok(());
        }
        names(name).iter().try_for_each(|name| {
            load(ebpf, name, place, types)?;
            attach(ebpf, name, place)
        })
    });
    if started.is_err() {
        for name in recordings(family).iter().flat_map(|recording| names(recording.name)) {
            // Those behind the one that was refused have not been loaded, which is as good.
            let _ = match ebpf.program_mut(&name) {
                Some(Program::BtfTracePoint(program)) => program.unload(),
                Some(Program::FExit(program)) => program.unload(),
                _ => Ok(()),
            };
        }
    }
    started
}

fn load(ebpf: &mut Ebpf, name: &str, place: &str, types: &aya::Btf) -> anyhow::Result<()> {
    let loaded = match program(ebpf, name)? {
        Program::BtfTracePoint(program) => program.load(place, types),
        Program::FExit(program) => program.load(place, types),
        _ => bail!("{name} is of no kind that the probes have"),
    };
    loaded.map_err(|why| anyhow!("load {name} for {place}: {}", verifier_tail(&why)))
}

fn attach(ebpf: &mut Ebpf, name: &str, place: &str) -> anyhow::Result<()> {
    let attached = match program(ebpf, name)? {
        Program::BtfTracePoint(program) => program.attach().map(|_| ()),
        Program::FExit(program) => program.attach().map(|_| ()),
        _ => bail!("{name} is of no kind that the probes have"),
    };
    attached.map_err(|why| anyhow!("attach {name} to {place}: {}", verifier_tail(&why)))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))
}

/// A number that no other program passes as an unused argument.
fn question() -> u64 {
    let random = random().map_or(0, u64::from_ne_bytes);
    // Without it, the process and an address still differ.
    if random != 0 { random } else { u64::from(std::process::id()) << 32 | &raw const random as u64 }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most `N` bytes to `bytes`.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    match usize::try_from(filled) {
        Ok(filled) if filled == N => Ok(bytes),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The types of the kernel take some 15 MiB while they are read, and an allocator keeps what it once had.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Kernels before 5.11 charge maps to the locked-memory limit.
fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit; newer kernels do not need it, so a refusal is no error.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}

fn refused(why: aya::EbpfError) -> anyhow::Error {
    let lacks_memory = is_map_refused(&why) && memlock() != libc::RLIM_INFINITY;
    let hint = if lacks_memory { LOCKED_MEMORY } else { "" };
    anyhow!("load the probes: {}{hint}", verifier_tail(&why))
}

/// What a kernel does not say that charges maps to the locked-memory limit, and that a right to raise it would do.
const LOCKED_MEMORY: &str = "; kernels before 5.11 count maps as locked memory, of which this process may not have enough: \
    raise the limit (LimitMEMLOCK=infinity of systemd, ulimit -l unlimited) or add CAP_SYS_RESOURCE";

/// The kernel does not let this process make a map (`bpf_map_charge_init`, kernel/bpf/syscall.c, 5.10).
fn is_map_refused(why: &aya::EbpfError) -> bool {
    let aya::EbpfError::MapError(MapError::CreateError { io_error, .. }) = why else { return false };
    io_error.raw_os_error() == Some(libc::EPERM)
}

/// The locked memory that this process may have.
fn memlock() -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the limit, which is this function's; a failure leaves it at 0.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    limit.rlim_cur
}

/// The error with the end of the verifier's log, where the reason stands.
fn verifier_tail(why: &(dyn std::error::Error + 'static)) -> String {
    const LINES: usize = 12;
    /// Of the kernel alone, so the library of C has no words for it (include/linux/errno.h).
    const ENOTSUPP: i32 = 524;
    let mut text = why.to_string();
    let mut source = why.source();
    while let Some(inner) = source {
        text = match inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(ENOTSUPP) => format!("{text}: this kernel cannot do that on this architecture (ENOTSUPP)"),
            _ => format!("{text}: {inner}"),
        };
        source = inner.source();
    }
    let lines: Vec<_> = text.lines().collect();
    match lines.split_first() {
        Some((first, rest)) if rest.len() > LINES => {
            format!("{first}\n[…]\n{}", rest[rest.len() - LINES..].join("\n"))
        }
        _ => text,
    }
}
