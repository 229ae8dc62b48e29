//! Given: the kernel's ring buffer. Gives: every record in it, oldest first. Refuses to know: what is in a record.
//!
//! aya reads ring buffers as well, and maps all data a second time behind the first, as the kernel does, so that no record
//! has to be put together. The kernel maps every page at once, so the whole ring counts twice as memory of the daemon.
//! What is read behind the end is one record at most: here so much is mapped again. And the kernel is told what has been
//! read after many records and not after each, since every program that writes one looks there.
//!
//! Layout: a page with the consumer's position, a page with the producer's, then the data (kernel/bpf/ringbuf.c, 5.8 to
//! 7.3). Positions only grow; a record begins with its length and two flags, and takes a multiple of eight bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use anyhow::Context;
use aya::maps::Map;
use libc::{PROT_READ, PROT_WRITE};

/// `struct bpf_ringbuf_hdr`.
const HEADER_BYTES: usize = 8;

/// BPF_RINGBUF_BUSY_BIT: the record is being written.
const BUSY: u32 = 1 << 31;

/// BPF_RINGBUF_DISCARD_BIT: the record is none.
const DISCARDED: u32 = 1 << 30;

/// After so many bytes the kernel is told that they have been read: a small part of any ring.
const TELL_BYTES: usize = 64 * 1024;

/// A ring buffer that nobody else reads.
pub(super) struct Ring {
    consumer: Mapping,
    producer: Mapping,
    page_bytes: usize,
    data_bytes: usize,
    /// All records before this position have been read.
    position: usize,
    /// Up to where the kernel knows that.
    told: usize,
}

impl Ring {
    /// Of a map of this kind. No record in it has more than `record_bytes`.
    pub(super) fn new(map: Map, record_bytes: usize) -> anyhow::Result<Self> {
        let Map::RingBuf(map) = map else { anyhow::bail!("the map of the records is no ring buffer") };
        let data_bytes = map.info().context("read the size of the ring buffer")?.max_entries() as usize;
        // The mappings hold the map without its descriptor.
        Ring::of(map.fd().as_fd(), data_bytes, record_bytes).context("map the ring buffer into memory")
    }

    /// `data_bytes` is a power of two.
    fn of(fd: BorrowedFd<'_>, data_bytes: usize, record_bytes: usize) -> io::Result<Self> {
        let page_bytes = page_bytes();
        let again_bytes = (HEADER_BYTES + record_bytes).next_multiple_of(page_bytes).min(data_bytes);
        let consumer = Mapping::new(fd, 0, page_bytes, PROT_READ | PROT_WRITE)?;
        let producer = Mapping::new(fd, page_bytes, page_bytes + data_bytes + again_bytes, PROT_READ)?;
        let position = consumer.position().load(Ordering::Acquire);
        Ok(Ring { consumer, producer, page_bytes, data_bytes, position, told: position })
    }

    /// Hands over every record that has been written, up to one that is being written; returns how many there were.
    pub(super) fn drain(&mut self, mut feed: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        loop {
            let produced = self.producer.position().load(Ordering::Acquire);
            while self.position != produced {
                let at = self.page_bytes + (self.position & (self.data_bytes - 1));
                let header = self.producer.header(at).load(Ordering::Acquire);
                if header & BUSY != 0 {
                    self.tell();
                    return records;
                }
                let length = (header & !DISCARDED) as usize;
                if header & DISCARDED == 0 {
                    feed(self.producer.bytes(at + HEADER_BYTES, length));
                    records += 1;
                }
                self.position = self.position.wrapping_add((HEADER_BYTES + length).next_multiple_of(8));
                if self.position.wrapping_sub(self.told) >= TELL_BYTES {
                    self.tell();
                }
            }
            self.tell();
            if self.producer.position().load(Ordering::Acquire) == produced {
                return records;
            }
        }
    }

    /// Tells the kernel what has been read, which it may write over from now on.
    fn tell(&mut self) {
        self.consumer.position().store(self.position, Ordering::Release);
        self.told = self.position;
    }
}

/// Memory shared with the kernel.
struct Mapping {
    address: *mut libc::c_void,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// `offset` and `length` are whole pages, and there is one at least.
    fn new(fd: BorrowedFd<'_>, offset: usize, length: usize, protection: i32) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory that is in use.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { address, length })
    }

    /// The position that stands first in it.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: a mapping begins at a page and has one, so a word is in it and aligned; others write it atomically.
        unsafe { &*self.address.cast() }
    }

    /// The first word of the header at a multiple of eight bytes. What is none is one that is being written, for ever.
    fn header(&self, at: usize) -> &AtomicU32 {
        static NONE: AtomicU32 = AtomicU32::new(BUSY);
        if !at.is_multiple_of(4) || at + 4 > self.length {
            return &NONE;
        }
        // SAFETY: four aligned bytes within the mapping; others write them atomically.
        unsafe { &*self.address.byte_add(at).cast() }
    }

    /// Bytes of a record that is whole, as far as they are mapped. The kernel writes them again after [`Ring::tell`].
    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        let at = at.min(self.length);
        // SAFETY: within the mapping; nobody writes there until the reader's position has passed it.
        unsafe { std::slice::from_raw_parts(self.address.byte_add(at).cast(), length.min(self.length - at)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; what was borrowed from it is gone.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

fn page_bytes() -> usize {
    const LEAST: usize = 4096;
    // SAFETY: takes a number and gives one.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    const RECORD_BYTES: usize = 300;

    /// A file laid out as the kernel's memory is, but that what is mapped twice stands in it twice.
    struct Kernel {
        file: File,
        data_bytes: usize,
        produced: usize,
        ring: Ring,
    }

    impl Kernel {
        fn new(data_bytes: usize) -> Self {
            let file = tempfile::tempfile().unwrap();
            file.set_len((2 * page_bytes() + 2 * data_bytes) as u64).unwrap();
            let ring = Ring::of(file.as_fd(), data_bytes, RECORD_BYTES).unwrap();
            Kernel { file, data_bytes, produced: 0, ring }
        }

        fn put(&self, position: usize, bytes: &[u8]) {
            let at = position % self.data_bytes;
            let (front, behind) = bytes.split_at(bytes.len().min(self.data_bytes - at));
            for (at, bytes) in [(at, bytes), (at + self.data_bytes, front), (0, behind)] {
                self.file.write_all_at(bytes, (2 * page_bytes() + at) as u64).unwrap();
            }
        }

        /// Writes a record; returns where it is.
        fn write(&mut self, flags: u32, payload: &[u8]) -> usize {
            let at = self.produced;
            self.put(at, &(payload.len() as u32 | flags).to_ne_bytes());
            self.put(at + HEADER_BYTES, payload);
            self.produced += (HEADER_BYTES + payload.len()).next_multiple_of(8);
            self.file.write_all_at(&self.produced.to_ne_bytes(), page_bytes() as u64).unwrap();
            at
        }

        fn read(&mut self) -> Vec<Vec<u8>> {
            let mut read = Vec::new();
            let count = self.ring.drain(|record| read.push(record.to_vec()));
            assert_eq!(count, read.len());
            read
        }

        /// What the kernel knows of how far its records have been read.
        fn told(&self) -> usize {
            let mut told = [0; size_of::<usize>()];
            self.file.read_exact_at(&mut told, 0).unwrap();
            usize::from_ne_bytes(told)
        }
    }

    #[test]
    fn a_record_that_is_being_written_holds_back_those_behind_it() {
        let mut kernel = Kernel::new(page_bytes());
        kernel.write(0, b"first");
        let busy = kernel.write(BUSY, b"second");
        kernel.write(0, b"third");
        assert_eq!(kernel.read(), [b"first"]);
        assert_eq!(kernel.told(), busy);
        kernel.put(busy, &6u32.to_ne_bytes());
        assert_eq!(kernel.read(), [&b"second"[..], b"third"]);
        assert_eq!(kernel.told(), kernel.produced);
    }

    #[test]
    fn what_was_discarded_is_no_record() {
        let mut kernel = Kernel::new(page_bytes());
        kernel.write(DISCARDED, b"first");
        kernel.write(0, b"");
        kernel.write(DISCARDED, b"third");
        assert_eq!(kernel.read(), [b""]);
        assert_eq!(kernel.told(), kernel.produced);
    }

    #[test]
    fn a_ring_that_is_full_is_read_to_its_end() {
        let mut kernel = Kernel::new(64 * 1024);
        let payload = vec![7; 248];
        let count = kernel.data_bytes / 256;
        (0..count).for_each(|_| _ = kernel.write(0, &payload));
        assert_eq!(kernel.read().len(), count);
        assert_eq!(kernel.told(), kernel.data_bytes);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_wherever_the_ring_ends(
            records in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..RECORD_BYTES)),
                1..60,
            ),
            together in 1usize..12,
        ) {
            let mut kernel = Kernel::new(page_bytes());
            for records in records.chunks(together) {
                for (is_discarded, payload) in records {
                    kernel.write(if *is_discarded { DISCARDED } else { 0 }, payload);
                }
                let kept = records.iter().filter(|(is_discarded, _)| !is_discarded);
                prop_assert_eq!(kernel.read(), kept.map(|(_, payload)| payload.clone()).collect::<Vec<_>>());
                prop_assert_eq!(kernel.told(), kernel.produced);
            }
        }
    }
}
