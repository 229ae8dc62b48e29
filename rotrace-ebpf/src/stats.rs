//! Given: nothing. Gives: the names of everything the probes count, in one table. Refuses to know: the counts.

/// What the probes count, one per-CPU counter each. The value is the index in the counter map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stat {
    /// Records that found no room in the ring buffer.
    RingFull = 0,
    /// Stream bytes described by records that found no room in the ring buffer.
    RingFullBytes = 1,
    /// Payload that could not be read from the process; the record became length only.
    Fault = 2,
    /// Sockets that were not tracked because the socket table was full.
    SocketsFull = 3,
    /// Calls whose file was already gone when the call ended.
    FileGone = 4,
    /// TLS calls whose entry found no room in the thread table.
    TlsCallsFull = 5,
    /// TLS objects that were not tracked because their table was full.
    TlsObjectsFull = 6,
    /// TLS calls in which a second, different socket showed up; the first stays bound.
    TlsMismatch = 7,
    /// 32-bit calls of targets on TCP sockets, which this probe family does not read.
    Compat = 8,
    /// Processes forked by targets that did not become targets because the table was full.
    TargetsFull = 9,
    /// Bytes that lay in segments beyond the number looked at; they are length only.
    SegmentsBeyond = 10,
    /// Records written.
    Records = 11,
    /// Payload bytes copied to user space.
    CapturedBytes = 12,
    /// Calls of targets that make a ring of io_uring or submit to one, where this probe family does not see what it moves.
    IoUring = 13,
    /// Calls of Go's TLS that moved plaintext and of which neither the entry nor the arguments were seen: they were under
    /// way when the probes came, or their entry was the oldest of more than the table holds.
    GoEntryMissed = 14,
    /// Bytes that TCP has sent on a tracked connection and no call has shown: they went by io_uring under a family that does
    /// not see it, by a 32-bit call, or by a call that no program was run for.
    UnseenSentBytes = 15,
    /// The same of bytes that were received; `getsockopt(TCP_ZEROCOPY_RECEIVE)` takes such, too.
    UnseenReceivedBytes = 16,
    /// Records of rustls whose plaintext was of no known form, or that were received before a record that was sent had shown
    /// how its connections are laid out.
    RustlsUnread = 17,
    /// Connections of NSS that were written to by `PR_Writev`: from there on they are not read.
    NsprVectors = 18,
}

/// Number of counters.
pub const STATS: u32 = 19;

/// The counters that mean something was not seen: index, stage and reason as they appear in `lost` and in
/// `rotrace_events_lost_total`.
pub const LOSSES: [(Stat, &str); 13] = [
    (Stat::RingFull, "ring_full"),
    (Stat::Fault, "fault"),
    (Stat::SocketsFull, "sockets_full"),
    (Stat::FileGone, "file_gone"),
    (Stat::TlsCallsFull, "tls_calls_full"),
    (Stat::TlsObjectsFull, "tls_objects_full"),
    (Stat::TlsMismatch, "tls_socket_mismatch"),
    (Stat::Compat, "compat_syscall"),
    (Stat::IoUring, "io_uring"),
    (Stat::TargetsFull, "targets_full"),
    (Stat::GoEntryMissed, "go_entry_missed"),
    (Stat::RustlsUnread, "rustls_unread"),
    (Stat::NsprVectors, "nspr_vectors"),
];

/// The counters of stream bytes that no record has the content of although it should have: index and reason.
pub const LOST_BYTES: [(Stat, &str); 4] = [
    (Stat::RingFullBytes, "ring_full"),
    (Stat::SegmentsBeyond, "segments_beyond"),
    (Stat::UnseenSentBytes, "unseen_sent"),
    (Stat::UnseenReceivedBytes, "unseen_received"),
];
