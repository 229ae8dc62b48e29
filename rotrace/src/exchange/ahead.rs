//! Given: chunks of responses that were recorded before their requests. Gives: the same chunks once the requests are
//! there. Refuses to know: HTTP.
//!
//! A call is recorded when it ends. When one thread writes the request and another is already blocked reading, the read
//! of the response can end before the write does, so the response is recorded first.

use std::collections::VecDeque;

use crate::stream::Chunk;

/// Bytes of memory that chunks of one connection may take while they wait: the 20 KiB that the probes copy in one turn,
/// and what the bookkeeping of small pieces adds.
pub const AHEAD_BYTES_MAX: usize = 32 * 1024;

/// How much earlier than its request a response may be recorded. It is the time between the two ends of a `write`: far
/// below this on any host, and far below the time after which a server gives up an idle connection with a 408.
pub const AHEAD_NS_MAX: u64 = 1_000_000_000;

/// The chunks that wait, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    chunks: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) at_ns: u64,
    chunk: OwnedChunk,
}

#[derive(Clone, Debug)]
enum OwnedChunk {
    Bytes(Vec<u8>),
    Gap(u64),
    End,
}

/// Memory of one entry: twice its size, because the queue grows by doubling.
const ENTRY_BYTES: usize = 2 * size_of::<Waiting>();

/// There is no room for a chunk. It waits nevertheless: the caller clears everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Ahead {
    pub(super) fn push(&mut self, at_ns: u64, chunk: Chunk<'_>) -> Result<(), Full> {
        // Bytes of one call go into one entry, so that small pieces of it do not take more room than a large one.
        let waiting = match (self.chunks.pop_back(), chunk) {
            (Some(Waiting { at_ns: last_ns, chunk: OwnedChunk::Bytes(mut last) }), Chunk::Bytes(more))
                if last_ns == at_ns =>
            {
                self.bytes -= ENTRY_BYTES + last.capacity();
                last.extend_from_slice(more);
                Waiting { at_ns, chunk: OwnedChunk::Bytes(last) }
            }
            (last, chunk) => {
                self.chunks.extend(last);
                Waiting::new(at_ns, chunk)
            }
        };
        self.bytes += waiting.bytes();
        self.chunks.push_back(waiting);
        if self.bytes > AHEAD_BYTES_MAX { Err(Full) } else { Ok(()) }
    }

    /// Puts back the rest of what [`Ahead::pop`] gave.
    pub(super) fn put_back(&mut self, at_ns: u64, rest: &[u8]) {
        let waiting = Waiting::new(at_ns, Chunk::Bytes(rest));
        self.bytes += waiting.bytes();
        self.chunks.push_front(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.chunks.pop_front()?;
        self.bytes -= waiting.bytes();
        if self.chunks.is_empty() {
            self.clear();
        }
        Some(waiting)
    }

    pub(super) fn clear(&mut self) {
        *self = Ahead::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// When the first chunk that waits was seen.
    pub(super) fn since_ns(&self) -> Option<u64> {
        self.chunks.front().map(|waiting| waiting.at_ns)
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the connection that wait.
    pub(super) fn captured_bytes(&self) -> usize {
        let length = |waiting: &Waiting| match &waiting.chunk {
            OwnedChunk::Bytes(bytes) => bytes.len(),
            OwnedChunk::Gap(_) | OwnedChunk::End => 0,
        };
        self.chunks.iter().map(length).sum()
    }
}

impl Waiting {
    pub(super) fn chunk(&self) -> Chunk<'_> {
        match &self.chunk {
            OwnedChunk::Bytes(bytes) => Chunk::Bytes(bytes),
            OwnedChunk::Gap(length) => Chunk::Gap(*length),
            OwnedChunk::End => Chunk::End,
        }
    }

    fn new(at_ns: u64, chunk: Chunk<'_>) -> Self {
        let chunk = match chunk {
            Chunk::Bytes(bytes) => OwnedChunk::Bytes(bytes.into()),
            Chunk::Gap(length) => OwnedChunk::Gap(length),
            Chunk::End => OwnedChunk::End,
        };
        Waiting { at_ns, chunk }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + if let OwnedChunk::Bytes(bytes) = &self.chunk { bytes.capacity() } else { 0 }
    }
}
