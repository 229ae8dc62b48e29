//! Given: an address in the traced process. Gives: the words there, or that they cannot be had. Refuses to know: how.

use crate::classify::Prefix;
use crate::limits::PREFIX_WORDS;

/// The memory of the process that made the call. In the kernel it is `bpf_probe_read_user`, in tests a vector.
///
/// Words and not bytes: the compiler fills and copies arrays of bytes by loops, which the verifier walks for each call.
pub trait Memory {
    /// The `N` native-endian words at `address`, or `None` where they cannot be read.
    fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]>;

    /// The native-endian half word at `address`, or `None` where it cannot be read.
    fn half(&self, address: u64) -> Option<u32>;

    /// Fills the first `size` bytes of `into` from `address`, and says whether it could; `size` is at most the size of
    /// `into`.
    fn fill(&self, address: u64, size: usize, into: &mut [u64; PREFIX_WORDS]) -> bool;
}

/// Bytes of a slice, at address 1 and up, as the walks over frames read them: for user space, where such a walk is tried.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Memory for Bytes<'_> {
    fn words<const N: usize>(&self, _: u64) -> Option<[u64; N]> {
        None
    }

    fn half(&self, _: u64) -> Option<u32> {
        None
    }

    fn fill(&self, address: u64, size: usize, into: &mut [u64; PREFIX_WORDS]) -> bool {
        let at = (address as usize).wrapping_sub(1);
        let Some(bytes) = self.0.get(at..at.wrapping_add(size)) else { return false };
        *into = Prefix::from_bytes(bytes).words().map(u64::to_le);
        true
    }
}
