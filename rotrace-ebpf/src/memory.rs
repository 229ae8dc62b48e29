//! Given: an address in the traced process. Gives: the words there, or that they cannot be had. Refuses to know: how.

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
