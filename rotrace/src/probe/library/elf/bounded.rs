//! Given: a file, and how much of it may be read. Gives: bytes and tables of it, or why they cannot be had. Refuses to know: what they
//! mean.

use std::io::{Read, Seek, SeekFrom};

use object::pod::{Pod, slice_from_all_bytes};

use super::NotElf;

/// A file of which only so much is read.
pub(super) struct Bounded<F> {
    file: F,
    length: u64,
    /// Bytes that may still be read.
    pub(super) left: u64,
}

impl<F: Read + Seek> Bounded<F> {
    /// `file`, of which at most `bytes_max` bytes are read.
    pub(super) fn new(mut file: F, bytes_max: u64) -> Result<Self, NotElf> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| NotElf::Unreadable(error.kind()))?;
        Ok(Bounded { file, length, left: bytes_max })
    }

    /// So many of them.
    pub(super) fn table<T: Pod>(&mut self, at: u64, count: u64) -> Result<Vec<T>, NotElf> {
        let bytes = self.bytes(at, count.checked_mul(size_of::<T>() as u64).ok_or(NotElf::Truncated)?)?;
        // The types have no alignment (feature `unaligned`), so that a whole number of them always fits.
        slice_from_all_bytes(&bytes).map(<[T]>::to_vec).map_err(|()| NotElf::Malformed)
    }

    /// Exactly these bytes. Nothing is reserved for what the file does not have.
    pub(super) fn bytes(&mut self, at: u64, count: u64) -> Result<Vec<u8>, NotElf> {
        if at.checked_add(count).is_none_or(|end| end > self.length) {
            return Err(NotElf::Truncated);
        }
        self.left = self.left.checked_sub(count).ok_or(NotElf::TooLarge)?;
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| NotElf::TooLarge)?];
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|error| NotElf::Unreadable(error.kind()))?;
        Ok(bytes)
    }
}
