//! Given: a socket, and how many bytes a call moved over it. Gives: the position of these bytes in their direction, by what TCP
//! has counted, so that bytes which no call has shown are a gap of their length. Refuses to know: what is written of them.
//!
//! A `struct tcp_sock` begins with its `struct inet_connection_sock`, and that with its `struct sock` (include/linux/tcp.h).

use rotrace_ebpf::admit::{Connection, protocol};
use rotrace_ebpf::offsets::ABSENT;
use rotrace_ebpf::record::direction;
use rotrace_ebpf::stats::Stat;

use super::piece::Traits;
use super::socket::IPPROTO_TCP;
use super::{count, global, kernel, kernel_known};

/// `SOCK_DONE` of `enum sock_flags` (include/net/sock.h): the end of what the peer sends has come (`tcp_fin`,
/// net/ipv4/tcp_input.c).
const SOCK_DONE: u64 = 1 << 1;
/// `SOCK_URGINLINE`: urgent data are received among the others.
const SOCK_URGINLINE: u64 = 1 << 2;

/// Takes note of a connection over which nothing has been moved yet. At the change to TCP_ESTABLISHED both numbers are set
/// (`tcp_rcv_synsent_state_process`, net/ipv4/tcp_input.c), and for an accepted socket since it was made
/// (`tcp_create_openreq_child`, net/ipv4/tcp_minisocks.c).
#[inline(never)]
pub(super) fn begin(sk: u64, connection: &mut Connection) -> u64 {
    if let Some(sent) = next(sk, direction::SENT) {
        connection.flows[0].sequence.begin_at(sent);
    }
    if let Some(received) = next(sk, direction::RECEIVED) {
        connection.flows[1].sequence.begin_at(received);
    }
    0
}

/// Moves the position of a direction behind the bytes that no call has shown and that stand before those of a call; how many the
/// call moved is the number of its traits. Returns 0 so that the verifier sees a scalar.
#[inline(never)]
pub(super) fn place(sk: u64, connection: &mut Connection, traits: Traits) -> u64 {
    let direction = traits.direction();
    let Some(mut next) = next(sk, direction) else { return 0 };
    let flow = if direction == direction::SENT {
        next = next.wrapping_sub(connection.fin_sent as u32);
        &mut connection.flows[0]
    } else {
        &mut connection.flows[1]
    };
    let distance = flow.sequence.distance(traits.number() as u32, next);
    if distance == 0 {
        return 0;
    }
    if distance < 0 {
        connection.step_back(direction, distance.unsigned_abs() as u64);
        return 0;
    }
    let first = next.wrapping_sub(traits.number() as u32).wrapping_sub(distance as u32);
    let unseen = unseen_bytes(sk, direction as u64, next as u64, first as u64, distance as u64);
    if unseen == 0 {
        return 0;
    }
    connection.pass_over(direction, unseen);
    // What is encrypted is not read.
    if connection.protocol != protocol::TLS {
        let stat =
            if direction == direction::SENT { Stat::UnseenSentBytes } else { Stat::UnseenReceivedBytes };
        count(stat, unseen);
    }
    0
}

/// The number of the next byte of a direction, where this kernel's types say where it is and what it means.
#[inline(always)]
fn next(sk: u64, direction: u8) -> Option<u32> {
    let offset = if direction == direction::SENT {
        global!(OFFSETS.tcp_write_seq)
    } else {
        global!(OFFSETS.tcp_copied_seq)
    };
    let meaning =
        [global!(OFFSETS.tcp_upper_layer), global!(OFFSETS.sk_user_data), global!(OFFSETS.tcp_rcv_nxt)];
    if offset == ABSENT || meaning.contains(&ABSENT) {
        return None;
    }
    kernel_known(sk + offset as u64)
}

/// How many of `gap` numbers from `first` on, before `next`, stand for bytes that its users have moved. Few calls come here, so
/// only these ask what the numbers mean.
///
/// None do where something between TCP and its users takes bytes for others: kTLS (`icsk_ulp_ops`), a BPF program that takes them
/// before they are received (`sk_psock`, in `sk_user_data`), MPTCP. And the end of what the peer sends has a number too,
/// which is passed together with the last bytes or behind them (`tcp_recvmsg_locked`, net/ipv4/tcp.c). So has a byte of urgent
/// data that the receiver passes over, since it has not asked for it among the others: it is no byte of what is received.
#[inline(never)]
fn unseen_bytes(sk: u64, direction: u64, next: u64, first: u64, gap: u64) -> u64 {
    let [upper_layer, user_data] = [global!(OFFSETS.tcp_upper_layer), global!(OFFSETS.sk_user_data)];
    if kernel::<u16>(sk, global!(OFFSETS.sk_protocol)) != IPPROTO_TCP
        || kernel::<u64>(sk, upper_layer) != 0
        || kernel::<u64>(sk, user_data) != 0
    {
        return 0;
    }
    if direction == direction::SENT as u64 {
        return gap;
    }
    let flags: u64 = kernel(sk, global!(OFFSETS.sk_flags));
    let has_end = flags & SOCK_DONE != 0 && kernel::<u32>(sk, global!(OFFSETS.tcp_rcv_nxt)) as u64 == next;
    let left = gap - has_end as u64;
    let urgent = global!(OFFSETS.tcp_urg_seq);
    let has_urgent = urgent != ABSENT
        && flags & SOCK_URGINLINE == 0
        && (kernel::<u32>(sk, urgent).wrapping_sub(first as u32) as u64) < left;
    left - has_urgent as u64
}
