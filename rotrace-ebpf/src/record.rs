//! Given: the bytes of one message from the ring buffer or a capture file. Gives: a [`Record`], or why there is
//! none. Refuses to know: who wrote them; any bytes are decoded without panic, and no bit pattern is trusted.

use core::mem::offset_of;

/// Version of the layout below; a reader refuses any other.
pub const VERSION: u8 = 1;

/// Size of [`Header`] in bytes.
pub const HEADER_BYTES: usize = 56;

/// What every record starts with. All fields are native-endian and valid for any bit pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// Used bytes of the record, this header included. The ring buffer may hold padding behind them.
    pub length: u32,
    /// [`VERSION`].
    pub version: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`direction`]; meaningful for data and end-of-stream records.
    pub direction: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// CLOCK_MONOTONIC at the end of the call, in nanoseconds.
    pub time_ns: u64,
    /// Which connection: the inode of the socket, or with [`TLS_OBJECT`] set the number of a TLS object.
    pub conn: u64,
    /// Process (thread group) in the initial PID namespace.
    pub pid: u32,
    /// Thread in the initial PID namespace.
    pub tid: u32,
    /// Stream position of the first byte, counted per direction from the first byte that the probes saw. Bytes that no call
    /// has shown are counted where TCP counts them.
    pub position: u64,
    /// Bytes that the call moved, captured or not.
    pub size: u64,
    /// Meaning by kind: see [`kind`].
    pub extra: u64,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(offset_of!(Header, time_ns) == 8 && offset_of!(Header, extra) == 48);

/// Set in [`Header::conn`] when it numbers a TLS object and not a socket.
pub const TLS_OBJECT: u64 = 1 << 63;

/// Kinds of record.
pub mod kind {
    /// Stream bytes. The payload is the captured prefix of `size` bytes; what is missing was left out on purpose.
    pub const DATA: u8 = 1;
    /// A connection shows up, before its first data. `position` = bytes sent, `size` = bytes received that were passed over
    /// before, because they began with nothing that is traced. Payload: [`super::Open`].
    pub const OPEN: u8 = 2;
    /// A connection is over. `position` = bytes sent, `size` = bytes received, in total.
    pub const CLOSE: u8 = 3;
    /// The peer has ended its direction: a read returned 0, or a TLS library said that the peer's close_notify has come.
    pub const END: u8 = 4;
    /// A target forked. `pid` is the parent, `extra` = child | child in the daemon's namespace << 32.
    pub const FORK: u8 = 5;
    /// A target executed a new program. Payload: its arguments, separated by zero bytes, possibly cut.
    pub const EXEC: u8 = 6;
    /// A target is gone.
    pub const EXIT: u8 = 7;
    /// A TLS object (`conn`) was seen to use a socket (`extra`).
    pub const BIND: u8 = 8;
    /// From user space: what is known of a process. Payload: JSON; see `capture` in the daemon.
    pub const PROCESS: u8 = 9;
    /// From user space: total losses so far. Payload: JSON object stage → reason → count.
    pub const LOSS: u8 = 10;
    /// The answer to the daemon's question for a PID: `pid` is the PID in the initial namespace, `tid` the one that was
    /// asked for, `position` how deep the daemon's namespace is, `extra` the question.
    pub const RESOLVED: u8 = 11;
    /// A target has mapped code of a file.
    pub const MAPPED: u8 = 12;
    /// From user space: a target is gone whose [`EXIT`] was lost.
    pub const GONE: u8 = 13;

    /// Whether user space makes such records, and not the probes.
    pub const fn is_from_user_space(kind: u8) -> bool {
        matches!(kind, PROCESS | LOSS | GONE)
    }
}

/// Directions of a stream, as seen from the process.
pub mod direction {
    /// The process sent the bytes.
    pub const SENT: u8 = 0;
    /// The process received the bytes.
    pub const RECEIVED: u8 = 1;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The bytes are the plaintext of a TLS connection.
    pub const PLAINTEXT: u8 = 1;
    /// The bytes are encrypted; only the ClientHello is ever captured of them.
    pub const ENCRYPTED: u8 = 2;
    /// The connection has been seen since it was made: position 0 is its first byte.
    pub const FROM_START: u8 = 4;
    /// Payload could not be read from the process.
    pub const FAULT: u8 = 8;
    /// These bytes begin where the traffic of the connection turned round.
    pub const TURN: u8 = 16;
    /// A frame begins with these bytes: what follows on a switch of protocols was walked to here as a WebSocket.
    pub const FRAME: u8 = 32;
}

/// Who made a connection.
pub mod role {
    /// Neither the connect nor the accept was seen.
    pub const UNKNOWN: u8 = 0;
    /// The process connected.
    pub const CLIENT: u8 = 1;
    /// The process accepted.
    pub const SERVER: u8 = 2;
}

/// Payload of an open record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Open {
    /// Local address, IPv4 as v4-mapped IPv6, network byte order.
    pub local: [u8; 16],
    /// Remote address, likewise.
    pub remote: [u8; 16],
    /// Local port, host byte order.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// One of [`role`].
    pub role: u8,
    /// Not used.
    pub reserved: [u8; 3],
    /// CLOCK_MONOTONIC when `connect` began, 0 where it was not seen.
    pub connect_started_ns: u64,
    /// CLOCK_MONOTONIC when the connection was established, 0 where it was not seen.
    pub established_ns: u64,
    /// The key of the socket in the kernel's table, by which the daemon can tell the probes to ignore it. It is a
    /// kernel address: captures carry 0.
    pub socket: u64,
}

/// Size of [`Open`] in bytes.
pub const OPEN_BYTES: usize = 64;
const _: () = assert!(size_of::<Open>() == OPEN_BYTES);

/// One message, decoded. The payload borrows from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The fixed part.
    pub header: Header,
    /// What stands behind it; at most `header.size` bytes for data.
    pub payload: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than a header.
    Short,
    /// The header names another layout version.
    Version(u8),
    /// The header's length is less than a header, or more than there is.
    Length(u32),
    /// No such kind.
    Kind(u8),
    /// A data record that claims more captured bytes than were moved, or a payload of the wrong size.
    Payload,
}

impl<'a> Record<'a> {
    /// Decodes the record at the start of `bytes`; what stands behind its length is ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fixed, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
        let header = Header::from_bytes(fixed);
        if header.version != VERSION {
            return Err(Malformed::Version(header.version));
        }
        let payload =
            bytes.get(HEADER_BYTES..header.length as usize).ok_or(Malformed::Length(header.length))?;
        match header.kind {
            kind::DATA if payload.len() as u64 > header.size => Err(Malformed::Payload),
            kind::OPEN if payload.len() != OPEN_BYTES => Err(Malformed::Payload),
            kind::DATA..=kind::GONE => Ok(Record { header, payload }),
            other => Err(Malformed::Kind(other)),
        }
    }

    /// The payload of an open record; `None` for other kinds.
    pub fn open(&self) -> Option<Open> {
        let bytes: &[u8; OPEN_BYTES] = self.payload.try_into().ok()?;
        (self.header.kind == kind::OPEN).then(|| Open::from_bytes(bytes))
    }
}

impl Header {
    /// Reads the fields from their layout.
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        Header {
            length: u32::from_ne_bytes(part(bytes, 0)),
            version: bytes[4],
            kind: bytes[5],
            direction: bytes[6],
            flags: bytes[7],
            time_ns: u64::from_ne_bytes(part(bytes, 8)),
            conn: u64::from_ne_bytes(part(bytes, 16)),
            pid: u32::from_ne_bytes(part(bytes, 24)),
            tid: u32::from_ne_bytes(part(bytes, 28)),
            position: u64::from_ne_bytes(part(bytes, 32)),
            size: u64::from_ne_bytes(part(bytes, 40)),
            extra: u64::from_ne_bytes(part(bytes, 48)),
        }
    }

    /// Writes the fields in their layout.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let Header {
            length,
            version,
            kind,
            direction,
            flags,
            time_ns,
            conn,
            pid,
            tid,
            position,
            size,
            extra,
        } = *self;
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..8].copy_from_slice(&[version, kind, direction, flags]);
        bytes[8..16].copy_from_slice(&time_ns.to_ne_bytes());
        bytes[16..24].copy_from_slice(&conn.to_ne_bytes());
        bytes[24..28].copy_from_slice(&pid.to_ne_bytes());
        bytes[28..32].copy_from_slice(&tid.to_ne_bytes());
        bytes[32..40].copy_from_slice(&position.to_ne_bytes());
        bytes[40..48].copy_from_slice(&size.to_ne_bytes());
        bytes[48..56].copy_from_slice(&extra.to_ne_bytes());
        bytes
    }
}

impl Open {
    /// Reads the fields from their layout.
    pub fn from_bytes(bytes: &[u8; OPEN_BYTES]) -> Self {
        Open {
            local: part(bytes, 0),
            remote: part(bytes, 16),
            local_port: u16::from_ne_bytes(part(bytes, 32)),
            remote_port: u16::from_ne_bytes(part(bytes, 34)),
            role: bytes[36],
            reserved: part(bytes, 37),
            connect_started_ns: u64::from_ne_bytes(part(bytes, 40)),
            established_ns: u64::from_ne_bytes(part(bytes, 48)),
            socket: u64::from_ne_bytes(part(bytes, 56)),
        }
    }

    /// Writes the fields in their layout.
    pub fn to_bytes(&self) -> [u8; OPEN_BYTES] {
        let Open {
            local,
            remote,
            local_port,
            remote_port,
            role,
            reserved,
            connect_started_ns,
            established_ns,
            socket,
        } = *self;
        let mut bytes = [0; OPEN_BYTES];
        bytes[0..16].copy_from_slice(&local);
        bytes[16..32].copy_from_slice(&remote);
        bytes[32..34].copy_from_slice(&local_port.to_ne_bytes());
        bytes[34..36].copy_from_slice(&remote_port.to_ne_bytes());
        bytes[36] = role;
        bytes[37..40].copy_from_slice(&reserved);
        bytes[40..48].copy_from_slice(&connect_started_ns.to_ne_bytes());
        bytes[48..56].copy_from_slice(&established_ns.to_ne_bytes());
        bytes[56..64].copy_from_slice(&socket.to_ne_bytes());
        bytes
    }
}

/// `N` bytes of a fixed layout; the offsets are constants of this file, inside the layout.
fn part<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            length: 59,
            version: VERSION,
            kind: kind::DATA,
            direction: direction::RECEIVED,
            flags: flag::TURN,
            time_ns: 1,
            conn: 2,
            pid: 3,
            tid: 4,
            position: 5,
            size: 6,
            extra: 7,
        }
    }

    #[test]
    fn header_round_trips() {
        assert_eq!(Header::from_bytes(&header().to_bytes()), header());
    }

    #[test]
    fn decode_takes_the_length_and_ignores_padding() {
        let mut bytes = header().to_bytes().to_vec();
        bytes.extend_from_slice(b"abcPADDING");
        let record = Record::decode(&bytes).expect("a record");
        assert_eq!(record.payload, b"abc");
    }

    #[test]
    fn decode_refuses_what_is_not_a_record() {
        let check = |change: fn(&mut Header), expect| {
            let mut header = header();
            change(&mut header);
            let mut bytes = header.to_bytes().to_vec();
            bytes.extend_from_slice(b"abc");
            assert_eq!(Record::decode(&bytes), Err(expect));
        };
        check(|h| h.version = 9, Malformed::Version(9));
        check(|h| h.length = 60, Malformed::Length(60));
        check(|h| h.length = 55, Malformed::Length(55));
        check(|h| h.kind = 0, Malformed::Kind(0));
        check(|h| h.size = 2, Malformed::Payload);
        check(|h| h.kind = kind::OPEN, Malformed::Payload);
        assert_eq!(Record::decode(&[0; 55]), Err(Malformed::Short));
    }

    proptest! {
        #[test]
        fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn open_round_trips(bytes in proptest::collection::vec(any::<u8>(), OPEN_BYTES)) {
            let bytes: [u8; OPEN_BYTES] = bytes.try_into().expect("64 bytes");
            prop_assert_eq!(Open::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
