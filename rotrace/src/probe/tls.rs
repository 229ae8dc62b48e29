//! Given: the loaded maps, and where a process has TLS functions. Gives: the probes of those functions, attached for as long
//! as somebody holds them. Refuses to know: how functions are found, and what their records mean.
//!
//! There are two ways. One uprobe_multi link probes all entries of a library and one all returns; each is removed after
//! one grace period, and many at one time. Else each function has its perf event: newer kernels (6.18 does) open none
//! without CAP_SYS_ADMIN (`perf_uprobe_event_init`, kernel/events/core.c), and remove them one after the other, some
//! 100 ms each.

mod left;
mod multi;

use std::fmt;
use std::num::NonZeroU32;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow};
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};

use rotrace_ebpf::function;

pub(super) use left::Left;

use super::bpf::{self, Lack};
use super::verifier_tail;

/// A function of a TLS library that is probed. The number is its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u64)]
pub enum Function {
    /// `int SSL_read(SSL *ssl, void *buf, int num)`.
    Read = function::READ,
    /// `int SSL_write(SSL *ssl, const void *buf, int num)`.
    Write = function::WRITE,
    /// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    ReadEx = function::READ_EX,
    /// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`.
    WriteEx = function::WRITE_EX,
    /// `void SSL_free(SSL *ssl)`.
    Free = function::FREE,
    /// `int SSL_get_error(const SSL *ssl, int ret)`.
    GetError = function::GET_ERROR,
    /// `ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t data_size)`: like `SSL_read`, and 0 is the
    /// end of what the peer sends.
    Receive = function::RECEIVE,
    /// `func (c *Conn) Read(b []byte) (int, error)` of Go's `crypto/tls`.
    GoRead = function::GO_READ,
    /// `func (c *Conn) Write(b []byte) (int, error)` of Go's `crypto/tls`.
    GoWrite = function::GO_WRITE,
    /// `func (c *Conn) Close() error` of Go's `crypto/tls`.
    GoClose = function::GO_CLOSE,
    /// A `RET` instruction of `GoRead`.
    GoReadReturn = function::GO_READ_RETURN,
    /// A `RET` instruction of `GoWrite`.
    GoWriteReturn = function::GO_WRITE_RETURN,
    /// `PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount)` of NSPR: like `Receive`, for descriptors of `NssImport` alone.
    NsprRead = function::NSPR_READ,
    /// `PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout)` of NSPR: the same,
    /// unless the flags say that it only looks.
    NsprReceive = function::NSPR_RECEIVE,
    /// `PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount)` of NSPR, for the same descriptors; and `PR_Send`.
    NsprWrite = function::NSPR_WRITE,
    /// `PRInt32 PR_Writev(PRFileDesc *fd, const PRIOVec *iov, PRInt32 iov_size, PRIntervalTime timeout)` of NSPR, which is not read.
    NsprVector = function::NSPR_VECTOR,
    /// `PRFileDesc *SSL_ImportFD(PRFileDesc *model, PRFileDesc *fd)` of NSS, whose result is TLS from then on.
    NssImport = function::NSS_IMPORT,
    /// `fn send_appdata_encrypt(&mut self, …)` of rustls's `CommonState`.
    RustlsSend = function::RUSTLS_SEND,
    /// `fn send_msg_encrypt(&mut self, …)` of the same.
    RustlsMessage = function::RUSTLS_MESSAGE,
    /// Where `RustlsSend` or `RustlsMessage` ends.
    RustlsLeft = function::RUSTLS_LEFT,
    /// `fn encrypt(&mut self, …)` of what implements rustls's `MessageEncrypter`.
    RustlsEncrypt = function::RUSTLS_ENCRYPT,
    /// `fn take_received_plaintext(&mut self, …)` of rustls's `CommonState`.
    RustlsTake = function::RUSTLS_TAKE,
    /// `fn complete_io<T>(&mut self, …)` of rustls's `ConnectionCommon`, or `fn read_io(&mut self, …)` of tokio-rustls's `Stream`.
    RustlsScope = function::RUSTLS_SCOPE,
    /// Where `RustlsScope` ends.
    RustlsScopeLeft = function::RUSTLS_SCOPE_LEFT,
}

impl Function {
    /// Its calls show plaintext, or which calls do.
    pub fn carries_plaintext(self) -> bool {
        !matches!(self, Function::Free | Function::GetError | Function::NsprVector)
    }

    /// What it gives to its caller was received.
    pub fn reads(self) -> bool {
        use Function::{NsprRead, NsprReceive, Read, ReadEx, Receive};
        matches!(self, Read | ReadEx | Receive | NsprRead | NsprReceive)
    }

    /// What its caller gives to it is sent.
    pub fn writes(self) -> bool {
        matches!(self, Function::Write | Function::WriteEx | Function::NsprWrite)
    }

    /// It moves plaintext, and the library's caller gets control back by a return that a return probe sees.
    fn returns(self) -> bool {
        self.reads() || self.writes()
    }

    /// The program of all entries sees it begin.
    fn enters(self) -> bool {
        use Function::{GetError, GoClose, GoReadReturn, GoWriteReturn, NssImport};
        use Function::{RustlsEncrypt, RustlsLeft, RustlsTake};
        !matches!(
            self,
            GetError
                | GoClose
                | GoReadReturn
                | GoWriteReturn
                | NssImport
                | RustlsEncrypt
                | RustlsLeft
                | RustlsTake
        )
    }
}

/// Programs that are attached by perf events, and the functions at which each is.
const PROGRAMS: [(&[Function], &str); 25] = [
    (&[Function::GoReadReturn], "go_read_return"),
    (&[Function::GoWriteReturn], "go_write_return"),
    (&[Function::GoRead], "go_read"),
    (&[Function::GoWrite], "go_write"),
    (&[Function::GoClose], "go_close"),
    (&[Function::RustlsEncrypt], "rustls_encrypt"),
    (&[Function::RustlsTake], "rustls_take"),
    (&[Function::RustlsLeft], "rustls_left"),
    (&[Function::RustlsScopeLeft], "rustls_scope_left"),
    (&[Function::RustlsSend], "rustls_send"),
    (&[Function::RustlsMessage], "rustls_message"),
    (&[Function::RustlsScope], "rustls_scope"),
    (&[Function::Read], "ssl_read"),
    (&[Function::Receive], "tls_receive"),
    (&[Function::Write], "ssl_write"),
    (&[Function::ReadEx], "ssl_read_ex"),
    (&[Function::WriteEx], "ssl_write_ex"),
    (&[Function::Free], "ssl_free"),
    (&[Function::GetError], "ssl_get_error"),
    (&[Function::NsprRead], "nspr_read"),
    (&[Function::NsprReceive], "nspr_receive"),
    (&[Function::NsprWrite], "nspr_write"),
    (&[Function::NsprVector], "nspr_vector"),
    (&[Function::NssImport], "ssl_import_fd"),
    (
        &[
            Function::Read,
            Function::Receive,
            Function::Write,
            Function::ReadEx,
            Function::WriteEx,
            Function::NsprRead,
            Function::NsprReceive,
            Function::NsprWrite,
        ],
        "ssl_return",
    ),
];

/// How TLS functions are probed on this host.
#[derive(Debug)]
pub enum Means {
    /// By uprobe_multi links.
    Links,
    /// By perf events, for what the kernel lacks.
    Events(Lack),
}

impl Means {
    /// Asks the kernel.
    pub fn of_this_kernel() -> Means {
        match bpf::ask_for_uprobe_links() {
            Ok(()) => Means::Links,
            Err(lack) => Means::Events(lack),
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Means::Links => out.write_str("uprobe_multi links"),
            Means::Events(lack) => write!(out, "perf events: {lack}"),
        }
    }
}

/// The programs of TLS functions, loaded.
#[derive(Debug)]
pub(super) enum Programs {
    Links(multi::Programs),
    /// aya has these.
    Events,
}

impl Programs {
    /// Loads those of `object`, whose maps `ebpf` must still have.
    pub(super) fn load(means: &Means, ebpf: &mut Ebpf, object: &[u8]) -> anyhow::Result<Programs> {
        if let Means::Links = means {
            return multi::Programs::load(ebpf, object).map(Programs::Links);
        }
        for (_, name) in PROGRAMS {
            let loaded = program(ebpf, name)?.load();
            loaded.map_err(|why| anyhow!("load {name}: {}", verifier_tail(&why)))?;
        }
        Ok(Programs::Events)
    }

    /// Those that aya does not have.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let own = match self {
            Programs::Links(programs) => Some(programs.descriptors()),
            Programs::Events => None,
        };
        own.into_iter().flatten()
    }

    /// Attaches them to one process: `points` are function and file offset.
    pub(super) fn attach(
        &self,
        ebpf: &mut Ebpf,
        pid: u32,
        file: &Path,
        points: &[(Function, u64)],
    ) -> anyhow::Result<Links> {
        match self {
            Programs::Links(programs) => {
                let links = programs.attach(pid, file, points)?;
                Ok(Links(links.into_iter().map(Link::Many).collect()))
            }
            Programs::Events => events(ebpf, pid, file, points).map(Links),
        }
    }
}

/// Probes of TLS functions. Dropping them removes them from the kernel, which takes a grace period for each.
#[derive(Debug, Default)]
pub struct Links(Vec<Link>);

#[derive(Debug)]
#[expect(dead_code, reason = "held for what dropping them does")]
enum Link {
    Many(OwnedFd),
    One(UProbeLink),
}

impl Links {
    /// Threads that remove probes at one time. They only wait.
    const THREADS: usize = 64;

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Removes them while the caller goes on.
    pub fn drop_in_background(self) {
        if self.0.is_empty() {
            return;
        }
        // Where no thread can be had, they are dropped right here, which is slower and as good.
        let _ = std::thread::Builder::new().name("rotrace-detach".to_owned()).spawn(move || drop(self));
    }

    /// Removes them, many at one time.
    pub fn drop_together(self) {
        let threads = self.0.len().min(Self::THREADS);
        let left = Mutex::new(self.0);
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let drop_all = || while next().is_some() {};
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where no thread can be had, those that are there have more to do.
                let _ = std::thread::Builder::new().spawn_scoped(scope, drop_all);
            }
            drop_all();
        });
    }
}

impl FromIterator<Links> for Links {
    fn from_iter<I: IntoIterator<Item = Links>>(several: I) -> Self {
        Links(several.into_iter().flat_map(|links| links.0).collect())
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut UProbe> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// One perf event for each program and point.
fn events(ebpf: &mut Ebpf, pid: u32, file: &Path, points: &[(Function, u64)]) -> anyhow::Result<Vec<Link>> {
    let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).context("process 0 has no libraries")?);
    let mut links = Vec::with_capacity(points.len() * 2);
    for &(function, offset) in points {
        for (_, name) in PROGRAMS.iter().filter(|(functions, _)| functions.contains(&function)) {
            let program = program(ebpf, name)?;
            let link = program
                .attach(UProbeAttachLocation::AbsoluteOffset(offset), file, scope)
                .map_err(|why| refused(anyhow::Error::from(why)))
                .with_context(|| format!("attach {name} to {} of process {pid}", file.display()))?;
            links.push(Link::One(program.take_link(link)?));
        }
    }
    Ok(links)
}

/// Says what is missing, where it is a right.
fn refused(why: anyhow::Error) -> anyhow::Error {
    let is_denied = why
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.raw_os_error(), Some(libc::EACCES | libc::EPERM)));
    if is_denied {
        why.context("this kernel asks for CAP_SYS_ADMIN to probe user code; add it to have TLS read")
    } else {
        why
    }
}
