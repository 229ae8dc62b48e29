//! Given: nothing. Gives: the sizes that bound what the kernel side does for one call and for one host.
//! Refuses to know: what they are spent on.

/// Payload bytes of the record size classes. A record takes the smallest class that holds what it captured; the
/// smallest makes a record of 256 bytes, which costs the traced thread no more than one of 64.
pub const PAYLOAD_CLASSES: [usize; 4] = [200, 1024, 4096, CREDIT_BYTES as usize];

/// Captured bytes that one record can carry.
pub const PAYLOAD_MAX: usize = PAYLOAD_CLASSES[3];

/// Bytes that are copied per direction after the traffic has turned round: a head of 16 KiB and its start line.
pub const CREDIT_BYTES: u64 = 20 * 1024;

/// A call this small is copied even without credit: the smallest record class has room for it in any case, and it
/// keeps the framing of bodies that are sent in small chunks.
pub const ALWAYS_COPIED_BYTES: u64 = PAYLOAD_CLASSES[0] as u64;

/// Bytes of a DATA frame's payload that are copied in any case: the length of its padding, and the prefix of a gRPC message.
pub const DATA_COPIED_BYTES: u32 = 6;

/// Bytes of DATA that are copied for each HEADERS frame before it: the first of a body, by which answers are compared.
pub const BODY_COPIED_BYTES: u32 = 520;

/// The same, of all HEADERS frames that no DATA has followed yet: of streams that are opened at one time.
pub const BODIES_COPIED_BYTES: u32 = 4 * BODY_COPIED_BYTES;

/// A DATA frame with so small a payload is copied whole: it is no more than the header of the next record would be.
pub const DATA_WHOLE_BYTES: u32 = 56;

/// Frames that one record carries. Only the last can be one that is not copied whole.
pub const FRAMES_IN_RECORD: usize = 8;

/// Rounds of a loop that the verifier walks one by one. Where more are needed, such a loop is in a function of its own that
/// another such loop calls: the verifier then walks twice as many rounds and not their square.
pub const ROUNDS: usize = 32;

/// Records of one buffer of frames: enough for 128 KiB of frames of 8 bytes each, and for some 400 KiB of larger ones. What
/// lies behind them is length only, and frames are looked for again.
pub const PARTS_MAX: usize = 2 * ROUNDS * ROUNDS;

/// First bytes that are copied of each piece of a protocol that was switched to and is no WebSocket, turns of the traffic aside.
pub const UPGRADED_COPIED_BYTES: u64 = PAYLOAD_CLASSES[2] as u64;

/// First bytes of a direction that are kept to classify a start line which arrives in several calls. The longest
/// thing to recognise is the HTTP/2 client preface.
pub const PREFIX_BYTES: usize = PREFIX_WORDS * 8;

/// The same in words.
pub const PREFIX_WORDS: usize = 3;

/// Bytes of line ends before a start line that are passed over. The longest method that is recognised and the first byte
/// of a target still fit into the prefix behind them.
pub const LINE_ENDS_MAX: usize = 4;

/// Direction changes of a connection older than the tracer after which it is taken for something other than HTTP.
pub const TURNS_BEFORE_IGNORED: u8 = 16;

/// Bytes of a ClientHello that are copied, so that user space can read the server name.
pub const CLIENT_HELLO_BYTES: u32 = 4096;

/// Encrypted bytes of one direction that are counted in the kernel before a record reports them.
pub const ENCRYPTED_REPORT_BYTES: u64 = 256 * 1024;

/// Segments (iovec entries over all messages of a call) that are looked at; what lies behind them is length only.
pub const SEGMENTS_MAX: usize = 32;

/// Segments that are gone back over to where a call began; the kernel's own bound (UIO_MAXIOV, include/uapi/linux/uio.h).
pub const SEGMENTS_BACK_MAX: usize = ROUNDS * ROUNDS;

/// Messages of one `sendmmsg` or `recvmmsg`; the kernel's own bound, as above.
pub const MESSAGES_MAX: usize = ROUNDS * ROUNDS;

/// Bytes of a new program's arguments that the exec record carries.
pub const ARGUMENT_BYTES: usize = 1024;

/// Size of the ring buffer in bytes; the daemon may ask for another power of two.
pub const RING_BYTES: u32 = 16 * 1024 * 1024;

/// Sockets of targets that are tracked at one time.
pub const SOCKETS_MAX: u32 = 65536;

/// Processes that are targets at one time.
pub const TARGETS_MAX: u32 = 16384;

/// Bits that say which programs have a second copy: those at functions of the kernel, and those at its tracepoints.
pub const TWICE_AT_FUNCTIONS: u64 = 1;
/// As above.
pub const TWICE_AT_TRACEPOINTS: u64 = 2;

/// Threads of targets that the second copies of programs are told of. Of one more, the second copy alone records calls.
pub const NOTES_MAX: u32 = 32768;

/// Threads that are inside a TLS library at one time.
pub const TLS_CALLS_MAX: u32 = 16384;

/// Threads whose last TLS call moved nothing and that have not asked why; of more, the longest ago is forgotten.
pub const TLS_EMPTY_MAX: u32 = 4096;

/// Calls of Go's TLS that are under way at one time: each connection has one that waits for what its peer sends. Of more,
/// the one that began the longest ago is forgotten.
pub const GO_CALLS_MAX: u32 = 32768;

/// Writes of Go's TLS that are under way at one time and can be recorded before they return.
pub const GO_WRITES_MAX: u32 = 8192;

/// Words of a connection of rustls among which the address of its encrypter is looked for; its `CommonState` has fewer by now.
pub const RUSTLS_WORDS: usize = 192;

/// Encrypters of rustls that have encrypted their first record and no data of the application yet; of more, the one of the
/// longest ago is forgotten, and its connection counts as joined late until its socket says otherwise.
pub const RUSTLS_FRESH_MAX: u32 = 8192;
