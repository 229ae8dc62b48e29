//! Given: an address in the traced process. Gives: the bytes there, or that they cannot be had. Refuses to know: how.

/// The memory of the process that made the call. In the kernel it is `bpf_probe_read_user`, in tests a vector.
pub trait Memory {
    /// The `N` bytes at `address`, or `None` where they cannot be read.
    fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]>;

    /// The native-endian word at `address`, or `None` where it cannot be read.
    fn word(&self, address: u64) -> Option<u64> {
        self.read::<8>(address).map(u64::from_ne_bytes)
    }
}
