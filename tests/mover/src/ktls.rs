//! Given: a socket. Gives: the same with the kernel's own TLS in both directions. Refuses to know: handshakes; both ends have
//! one key, which keeps no secret.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::Context;

/// Directions (include/uapi/linux/tls.h).
const TLS_TX: i32 = 1;
const TLS_RX: i32 = 2;

/// `struct tls12_crypto_info_aes_gcm_128` (include/uapi/linux/tls.h).
#[repr(C)]
struct Keys {
    version: u16,
    cipher: u16,
    iv: [u8; 8],
    key: [u8; 16],
    salt: [u8; 4],
    sequence: [u8; 8],
}

/// TLS 1.2 with AES-GCM-128: `TLS_1_2_VERSION` and `TLS_CIPHER_AES_GCM_128`.
const KEYS: Keys =
    Keys { version: 0x0303, cipher: 51, iv: [1; 8], key: [2; 16], salt: [3; 4], sequence: [0; 8] };

/// Puts TLS below the socket.
pub(crate) fn enable(socket: impl AsFd) -> anyhow::Result<()> {
    let socket = socket.as_fd();
    set(socket, libc::SOL_TCP, libc::TCP_ULP, b"tls\0").context("have the kernel's TLS (tls.ko)")?;
    set(socket, libc::SOL_TLS, TLS_TX, &KEYS).context("set the keys to send")?;
    set(socket, libc::SOL_TLS, TLS_RX, &KEYS).context("set the keys to receive")
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> std::io::Result<()> {
    let (fd, start, length) = (socket.as_raw_fd(), (&raw const *value).cast(), size_of::<T>() as u32);
    // SAFETY: the kernel reads `length` bytes at `start`, which are those of `value`.
    let set = unsafe { libc::setsockopt(fd, level, name, start, length) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
