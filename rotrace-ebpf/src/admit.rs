//! Given: what is known of a socket, and the next bytes that a call moved. Gives: how many of them to copy, and what
//! is known now. Refuses to know: memory, maps, records; the probes and the tests run the same lines.

use crate::classify::{Beginning, Prefix};
use crate::limits::{
    ALWAYS_COPIED_BYTES, CLIENT_HELLO_BYTES, CREDIT_BYTES, ENCRYPTED_REPORT_BYTES, PREFIX_BYTES,
    TURNS_BEFORE_IGNORED,
};

/// What a socket speaks, as far as its first bytes have told. Plain constants, because the value lives in a map.
pub mod protocol {
    /// Not known yet.
    pub const NEW: u8 = 0;
    /// HTTP/1.
    pub const HTTP1: u8 = 1;
    /// HTTP/2, which this version recognises and does not read.
    pub const HTTP2: u8 = 2;
    /// TLS.
    pub const TLS: u8 = 3;
    /// Nothing that is traced.
    pub const IGNORED: u8 = 4;
}

/// No direction has been seen yet.
const NO_DIRECTION: u8 = 2;

/// One direction of a socket or of a TLS object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Bytes seen so far: the position of the next.
    pub position: u64,
    /// Encrypted bytes that no record has reported yet.
    pub unreported: u64,
    /// Bytes that may still be copied before the traffic turns round.
    pub credit: u64,
    /// First bytes that did not suffice to classify.
    pub prefix: Prefix,
}

/// What is known of a socket or of a TLS object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// Identity: the inode of the socket, or the number of the TLS object.
    pub id: u64,
    /// CLOCK_MONOTONIC when `connect` began, or 0.
    pub connect_started_ns: u64,
    /// CLOCK_MONOTONIC when it was established, or 0.
    pub established_ns: u64,
    /// Process that was last seen to use it.
    pub pid: u32,
    /// One of [`protocol`].
    pub protocol: u8,
    /// One of [`crate::record::role`].
    pub role: u8,
    /// 1 when it has been seen since it was made.
    pub from_start: u8,
    /// 1 when an open record has been written.
    pub announced: u8,
    /// Direction of the last bytes.
    pub last_direction: u8,
    /// Direction changes without a protocol.
    pub turns: u8,
    /// Not used.
    pub reserved: [u8; 6],
    /// Sent and received bytes.
    pub flows: [Flow; 2],
}

/// What to do with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Nothing: no record at all.
    Ignore,
    /// Write a record that copies so many of them; `turn` when they begin a turn of the traffic.
    Copy {
        /// Bytes to copy, at most the size of the piece.
        bytes: u32,
        /// These bytes begin where the traffic turned round.
        turn: bool,
    },
    /// Write a record of encrypted bytes: so many in all since the last one, so many of them copied.
    Encrypted {
        /// Bytes to report.
        report: u64,
        /// Bytes to copy (the ClientHello).
        bytes: u32,
    },
}

impl Connection {
    /// A connection that shows up now.
    pub const fn new(id: u64, role: u8, from_start: bool) -> Self {
        let flow = Flow { position: 0, unreported: 0, credit: CREDIT_BYTES, prefix: Prefix::EMPTY };
        Connection {
            id,
            connect_started_ns: 0,
            established_ns: 0,
            pid: 0,
            protocol: protocol::NEW,
            role,
            from_start: from_start as u8,
            announced: 0,
            last_direction: NO_DIRECTION,
            turns: 0,
            reserved: [0; 6],
            flows: [flow, flow],
        }
    }

    /// Takes note of `size` bytes in `direction` (0 sent, 1 received), of which `first` holds the first.
    /// The position of the direction has moved behind them when this returns.
    #[inline(always)]
    pub fn admit(&mut self, direction: u8, size: u64, first: &Prefix) -> Admit {
        let turn = self.last_direction != direction;
        self.last_direction = direction;
        let flow = if direction == 0 { &mut self.flows[0] } else { &mut self.flows[1] };
        flow.position = flow.position.wrapping_add(size);
        if turn {
            flow.credit = CREDIT_BYTES;
        }
        if self.protocol == protocol::NEW {
            match learn(flow, self.from_start == 0, turn, first) {
                Beginning::Request | Beginning::Response => self.protocol = protocol::HTTP1,
                Beginning::Http2 => self.protocol = protocol::HTTP2,
                Beginning::ClientHello => {
                    self.protocol = protocol::TLS;
                    let bytes =
                        if size < CLIENT_HELLO_BYTES as u64 { size as u32 } else { CLIENT_HELLO_BYTES };
                    return Admit::Encrypted { report: size, bytes };
                }
                Beginning::Tls => {
                    self.protocol = protocol::TLS;
                    return Admit::Encrypted { report: size, bytes: 0 };
                }
                Beginning::Unfinished => {}
                Beginning::Other => {
                    self.turns = self.turns.wrapping_add(turn as u8);
                    if self.from_start == 1 || self.turns >= TURNS_BEFORE_IGNORED {
                        self.protocol = protocol::IGNORED;
                    }
                    return Admit::Ignore;
                }
            }
        }
        match self.protocol {
            protocol::HTTP1 | protocol::NEW => Admit::Copy { bytes: flow.spend(size), turn },
            // The preface tells user space that HTTP/2 is spoken here; what follows is not read by this version.
            protocol::HTTP2 => {
                self.protocol = protocol::IGNORED;
                let preface = if size < PREFIX_BYTES as u64 { size } else { PREFIX_BYTES as u64 };
                Admit::Copy { bytes: flow.spend(preface), turn }
            }
            protocol::TLS => flow.count_encrypted(size),
            _ => Admit::Ignore,
        }
    }
}

impl Flow {
    /// Bytes of a piece of `size` that are copied. Small pieces are copied without credit; they cost nothing extra.
    #[inline(always)]
    fn spend(&mut self, size: u64) -> u32 {
        let bytes = if size <= ALWAYS_COPIED_BYTES || size <= self.credit { size } else { self.credit };
        self.credit = self.credit.saturating_sub(bytes);
        bytes as u32
    }

    #[inline(always)]
    fn count_encrypted(&mut self, size: u64) -> Admit {
        self.unreported += size;
        if self.unreported < ENCRYPTED_REPORT_BYTES {
            return Admit::Ignore;
        }
        let report = self.unreported;
        self.unreported = 0;
        Admit::Encrypted { report, bytes: 0 }
    }
}

/// Classifies what the direction has begun with. A direction that is joined in its middle can only be classified where
/// the traffic turns round.
#[inline(always)]
fn learn(flow: &mut Flow, is_late: bool, turn: bool, first: &Prefix) -> Beginning {
    if flow.prefix.is_empty() && is_late && !turn {
        return Beginning::Other;
    }
    let prefix = flow.prefix.join(first);
    let beginning = prefix.beginning();
    // In the middle of a connection `the words of a body` look like a request; registered methods are upper case.
    if is_late && matches!(beginning, Beginning::Request) && prefix.first().is_ascii_lowercase() {
        flow.prefix = Prefix::EMPTY;
        return Beginning::Other;
    }
    flow.prefix = if matches!(beginning, Beginning::Unfinished) { prefix } else { Prefix::EMPTY };
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::role;
    use proptest::prelude::*;

    const SENT: u8 = 0;
    const RECEIVED: u8 = 1;

    fn from_start() -> Connection {
        Connection::new(1, role::CLIENT, true)
    }

    fn joined_late() -> Connection {
        Connection::new(1, role::UNKNOWN, false)
    }

    fn text(connection: &mut Connection, direction: u8, bytes: &[u8]) -> Admit {
        connection.admit(direction, bytes.len() as u64, &Prefix::from_bytes(bytes))
    }

    fn body(connection: &mut Connection, direction: u8, size: u64) -> Admit {
        connection.admit(direction, size, &Prefix::EMPTY)
    }

    #[test]
    fn a_start_line_in_pieces_is_copied_and_recognised() {
        let mut connection = from_start();
        assert_eq!(text(&mut connection, SENT, b"GE"), Admit::Copy { bytes: 2, turn: true });
        assert_eq!(connection.protocol, protocol::NEW);
        assert_eq!(text(&mut connection, SENT, b"T "), Admit::Copy { bytes: 2, turn: false });
        assert_eq!(text(&mut connection, SENT, b"/"), Admit::Copy { bytes: 1, turn: false });
        assert_eq!(connection.protocol, protocol::HTTP1);
        assert_eq!(connection.flows[0].position, 5);
    }

    #[test]
    fn a_body_is_length_only_when_the_credit_is_spent_and_small_pieces_are_not() {
        let mut connection = from_start();
        text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(body(&mut connection, RECEIVED, 16_384), Admit::Copy { bytes: 16_384, turn: true });
        assert_eq!(body(&mut connection, RECEIVED, 65_536), Admit::Copy { bytes: 4_096, turn: false });
        assert_eq!(body(&mut connection, RECEIVED, 65_536), Admit::Copy { bytes: 0, turn: false });
        assert_eq!(body(&mut connection, RECEIVED, 200), Admit::Copy { bytes: 200, turn: false });
        assert_eq!(body(&mut connection, RECEIVED, 201), Admit::Copy { bytes: 0, turn: false });
        assert_eq!(
            text(&mut connection, SENT, b"GET / HTTP/1.1\r\n\r\n"),
            Admit::Copy { bytes: 18, turn: true }
        );
        assert_eq!(
            body(&mut connection, RECEIVED, 300),
            Admit::Copy { bytes: 300, turn: true },
            "credit is back"
        );
    }

    #[test]
    fn an_empty_line_before_the_first_request_is_copied_with_it() {
        for mut connection in [from_start(), joined_late()] {
            assert_eq!(text(&mut connection, SENT, b"\r\n"), Admit::Copy { bytes: 2, turn: true });
            assert_eq!(
                text(&mut connection, SENT, b"GET / HTTP/1.1"),
                Admit::Copy { bytes: 14, turn: false }
            );
            assert_eq!(connection.protocol, protocol::HTTP1);
        }
        let mut connection = joined_late();
        assert_eq!(text(&mut connection, SENT, b"\r\nthe words of a body"), Admit::Ignore);
        assert_eq!(connection.protocol, protocol::NEW);
    }

    #[test]
    fn another_protocol_from_the_start_is_ignored_at_once() {
        let mut connection = from_start();
        assert_eq!(text(&mut connection, SENT, b"\0\x01\x02"), Admit::Ignore);
        assert_eq!(connection.protocol, protocol::IGNORED);
        assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1"), Admit::Ignore);
    }

    #[test]
    fn a_connection_that_is_joined_late_is_recognised_at_a_turn_and_nowhere_else() {
        let mut connection = joined_late();
        assert_eq!(text(&mut connection, RECEIVED, b"the middle of a body"), Admit::Ignore);
        assert_eq!(text(&mut connection, RECEIVED, b"GET / HTTP/1.1 in a body"), Admit::Ignore);
        assert_eq!(connection.protocol, protocol::NEW);
        assert_eq!(text(&mut connection, SENT, b"GET / HTTP/1.1\r\n"), Admit::Copy { bytes: 16, turn: true });
        assert_eq!(connection.protocol, protocol::HTTP1);
        assert_eq!(connection.flows[1].position, 44, "positions count from the first byte seen");
    }

    #[test]
    fn a_late_connection_that_is_never_http_is_given_up() {
        let mut connection = joined_late();
        for turn in 0..TURNS_BEFORE_IGNORED {
            assert_eq!(connection.protocol, protocol::NEW, "turn {turn}");
            text(&mut connection, turn % 2, b"\0binary");
        }
        assert_eq!(connection.protocol, protocol::IGNORED);
    }

    #[test]
    fn of_tls_the_hello_is_copied_and_the_rest_counted() {
        let mut connection = from_start();
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        assert_eq!(text(&mut connection, SENT, hello), Admit::Encrypted { report: 11, bytes: 11 });
        assert_eq!(body(&mut connection, RECEIVED, ENCRYPTED_REPORT_BYTES - 1), Admit::Ignore);
        let all = ENCRYPTED_REPORT_BYTES + 9;
        assert_eq!(body(&mut connection, RECEIVED, 10), Admit::Encrypted { report: all, bytes: 0 });
        assert_eq!(body(&mut connection, RECEIVED, 10), Admit::Ignore);
    }

    #[test]
    fn of_http2_the_preface_is_copied_and_nothing_else() {
        let mut connection = from_start();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(text(&mut connection, SENT, preface), Admit::Copy { bytes: 24, turn: true });
        assert_eq!(body(&mut connection, SENT, 100), Admit::Ignore);
    }

    #[test]
    fn of_a_preface_in_pieces_no_more_is_copied_than_a_piece_has() {
        let mut connection = from_start();
        let (begin, rest) = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".split_at(20);
        assert_eq!(text(&mut connection, SENT, begin), Admit::Copy { bytes: 20, turn: true });
        assert_eq!(text(&mut connection, SENT, rest), Admit::Copy { bytes: 4, turn: false });
        assert_eq!(connection.protocol, protocol::IGNORED);
    }

    proptest! {
        #[test]
        fn no_more_is_copied_than_there_is_nor_than_the_credit_between_turns(
            calls in proptest::collection::vec((0u8..2, 1u64..100_000), 1..60)
        ) {
            let mut connection = from_start();
            text(&mut connection, SENT, b"POST / HTTP/1.1\r\n");
            let (mut last, mut large) = (SENT, 0);
            for (direction, size) in calls {
                let before = connection.flows[direction as usize].position;
                let Admit::Copy { bytes, turn } = body(&mut connection, direction, size) else {
                    panic!("HTTP/1 stays HTTP/1");
                };
                prop_assert_eq!(turn, direction != last);
                large = if turn { 0 } else { large };
                large += if size > ALWAYS_COPIED_BYTES { u64::from(bytes) } else { 0 };
                last = direction;
                prop_assert!(u64::from(bytes) <= size && large <= CREDIT_BYTES);
                prop_assert_eq!(connection.flows[direction as usize].position, before + size);
            }
        }

        #[test]
        fn a_start_line_is_recognised_in_whatever_pieces(cuts in proptest::collection::vec(1usize..8, 1..10)) {
            let mut rest = &b"DELETE /v1/users/7 HTTP/1.1\r\n"[..];
            let mut connection = from_start();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                rest = behind;
                if piece.is_empty() {
                    break;
                }
                prop_assert_ne!(text(&mut connection, SENT, piece), Admit::Ignore);
                let seen = 29 - rest.len();
                let expect = if seen >= 8 { protocol::HTTP1 } else { protocol::NEW };
                prop_assert_eq!(connection.protocol, expect);
            }
        }
    }
}
