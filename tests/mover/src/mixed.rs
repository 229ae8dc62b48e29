//! Given: which messages of a connection go by io_uring, and at which end. Gives: the exchanges moved so, the others by `write` and
//! `read`, and a line that says how many bytes went by io_uring. Refuses to know: other ways.
//!
//! The line is `ring`, and the bytes that were sent and that were received by io_uring, between tabs.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, bail, ensure};

use crate::axes::{Address, Receive, Send};
use crate::connection::{Messages, connect};
use crate::log;
use crate::receive::Receiver;
use crate::send::Sender;

/// Exchanges of the connection, and the one of which something goes by io_uring.
const EXCHANGES: usize = 5;
const BY_RING: usize = 2;

/// Bytes of each body. All of a message has room in the buffers of its socket, so that one thread can send it and receive it
/// then.
const BODY_BYTES: usize = 3000;

/// What goes by io_uring.
#[derive(Clone, Copy)]
struct Case {
    exchange: usize,
    /// Of the request, when it is sent and when it is received.
    request: [bool; 2],
    /// Of the response likewise.
    response: [bool; 2],
    /// Only the middle of their bodies.
    is_of_bodies: bool,
}

/// How many bytes were sent and received by io_uring.
type ByRing = [usize; 2];

pub(crate) fn run(name: &str) -> anyhow::Result<()> {
    let (both, receiver) = ([true; 2], [false, true]);
    let case = Case { exchange: BY_RING, request: [false; 2], response: [false; 2], is_of_bodies: false };
    let case = match name {
        "bodies" => Case { request: both, response: both, is_of_bodies: true, ..case },
        "exchange" => Case { request: both, response: both, ..case },
        "request" => Case { request: receiver, ..case },
        "response" => Case { response: receiver, ..case },
        "last" => Case { response: receiver, exchange: EXCHANGES - 1, ..case },
        _ => bail!("no such case: {name}"),
    };
    let [client, server] = connect(Address::V4)?;
    let mut by_ring = ByRing::default();
    for number in 0..EXCHANGES {
        let messages = Messages::new(format!("/{name}/{number}"), 200, [BODY_BYTES; 2]);
        let [request, response] =
            if number == case.exchange { [case.request, case.response] } else { [[false; 2]; 2] };
        let ways = [
            ([client.as_fd(), server.as_fd()], &messages.request, request),
            ([server.as_fd(), client.as_fd()], &messages.response, response),
        ];
        for (ends, message, rings) in ways {
            let first = if case.is_of_bodies { message.head + BODY_BYTES / 3 } else { 0 };
            let end = if case.is_of_bodies { first + BODY_BYTES / 3 } else { message.bytes.len() };
            for (part, rings) in
                [(0..first, [false; 2]), (first..end, rings), (end..message.bytes.len(), [false; 2])]
            {
                let part = message.bytes.get(part).context("a part of the message")?;
                transfer(ends, part, rings, &mut by_ring)?;
            }
        }
        messages.log(0)?;
    }
    let [sent, received] = by_ring;
    log::line(&format!("ring\t{sent}\t{received}"))
}

/// Moves a part of a message.
fn transfer(
    [from, to]: [BorrowedFd<'_>; 2],
    part: &[u8],
    [is_sent_by_ring, is_received_by_ring]: [bool; 2],
    [sent_by_ring, received_by_ring]: &mut ByRing,
) -> anyhow::Result<()> {
    let send = if is_sent_by_ring { Send::UringPlain } else { Send::Write };
    let receive = if is_received_by_ring { Receive::UringRecv } else { Receive::Read };
    let mut sender = Sender::new(send, 1).context("make a ring to send")?;
    let mut receiver = Receiver::new(receive, 1).context("make a ring to receive")?;
    let mut sent = 0;
    while let Some(rest) = part.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += sender.send(from, rest, 0).context("send")?;
    }
    let mut received = Vec::new();
    while received.len() < part.len() {
        let bytes = receiver.receive(to, part.len() - received.len(), 0).context("receive")?;
        ensure!(!bytes.is_empty(), "the connection has ended");
        received.extend(bytes);
    }
    receiver.end().context("end receiving")?;
    ensure!(received == part, "other bytes were received than were sent");
    *sent_by_ring += if is_sent_by_ring { part.len() } else { 0 };
    *received_by_ring += if is_received_by_ring { part.len() } else { 0 };
    Ok(())
}
