//! Given: records of one connection. Gives: who uses it, and what its decoder makes of its bytes. Refuses to know: other
//! connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotrace_ebpf::record::{Header, flag, role};

use super::calls::{Emit, Shared};
use super::scans::Scans;
use super::{Known, Output, Speaks, State};
use crate::conn::{Connection, Connections};
use crate::exchange::{Direction, Role, Wanted, pieces};
use crate::summary::{Opened, Summary};

/// The connection of a record; made when it is new, and handed to the process that uses it now.
pub(super) fn connection<'a>(
    connections: &'a mut Connections<State>,
    processes: &BTreeMap<u32, Arc<Known>>,
    header: &Header,
) -> &'a mut Connection<State> {
    let current = processes.get(&header.pid);
    let known = || current.cloned().unwrap_or_else(|| Arc::new(Known::stranger(header.pid)));
    let connection = connections.of(header.conn, header.time_ns, || State {
        pid: header.pid,
        process: known(),
        open: None,
        from_start: header.flags & flag::FROM_START != 0,
        counted: false,
        peer_ended: false,
        handshake: None,
        speaks: Speaks::Nothing,
    });
    let state = &mut connection.state;
    let is_other = current.is_some_and(|current| !Arc::ptr_eq(current, &state.process));
    if is_other || state.pid != header.pid {
        state.process = known();
    }
    state.pid = header.pid;
    connection
}

/// Counts a connection that was made while it was watched, once it has carried something.
pub(super) fn count_opened(
    connection: &mut Connection<State>,
    summary: &mut Summary,
    of_transport: fn(&mut Opened) -> &mut u64,
) {
    let Connection { state, last_ns, .. } = connection;
    let Some(open) = state.open.as_ref().filter(|_| state.from_start && !state.counted) else { return };
    state.counted = true;
    let coverage = summary.coverage_mut(state.process.by_process.game.as_ref(), *last_ns);
    let role = if open.role == role::SERVER { Role::Server } else { Role::Client };
    *of_transport(coverage.opened.of_mut(role)) += 1;
    if open.connect_started_ns > 0 && open.established_ns > open.connect_started_ns {
        coverage.connect_ns += u128::from(open.established_ns - open.connect_started_ns);
    }
}

/// Gives what a record brings of one direction to the decoder of its connection: of `size` bytes, `captured` are the first.
/// Returns how many bytes had been there before.
pub(super) fn read(
    connection: &mut Connection<State>,
    wanted: &Wanted,
    header: &Header,
    captured: &[u8],
    size: u64,
    scans: &mut Scans,
    mut emit: Emit<'_>,
) -> u64 {
    let Connection { sent, received, state, .. } = connection;
    let Speaks::Http(decoder) = &mut state.speaks else { return 0 };
    let stream = if Direction::of(header) == Direction::Sent { sent } else { received };
    let mut shared = Shared {
        open: state.open.as_ref(),
        known: &state.process,
        conn: header.conn,
        is_from_start: state.from_start,
        handshake: &mut state.handshake,
    };
    let before_bytes = stream.overlap_bytes();
    let pieces = pieces(header, captured, size, stream);
    let overlap_bytes = stream.overlap_bytes() - before_bytes;
    decoder.allow_scan(scans.left_bytes(header.time_ns));
    pieces.for_each(|piece| decoder.feed(wanted, piece, &mut |event| emit.event(&mut shared, event)));
    scans.leave(decoder.scan_bytes_left());
    if decoder.is_opaque() {
        let open = state.open;
        state.speaks = Speaks::Opaque;
        if let Some(open) = open.filter(|open| open.socket != 0) {
            (emit.out)(Output::Ignore { socket: open.socket, conn: header.conn });
        }
    }
    overlap_bytes
}
