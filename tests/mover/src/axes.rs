//! Given: ways to send, and ways to receive. Gives: cells: each pair of them, with the other circumstances of a connection
//! chosen so that every two values of any two axes meet in some cell. Refuses to know: sockets.

use std::collections::BTreeSet;

/// How bytes go to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    Write,
    Writev,
    Pwritev2,
    Sendto,
    Sendmsg,
    Sendmmsg,
    Sendfile,
    Splice,
    /// IORING_OP_SEND.
    UringPlain,
    /// IORING_OP_SENDMSG.
    UringMessage,
    /// IORING_OP_WRITE.
    UringFile,
    /// IORING_OP_SEND_ZC: without a copy.
    UringZeroCopy,
}

/// How they come from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    Read,
    Readv,
    Preadv2,
    Recvfrom,
    Recvmsg,
    Recvmmsg,
    /// `recv` with MSG_WAITALL.
    WaitAll,
    /// Looked at twice with MSG_PEEK, and then taken in two halves.
    Peek,
    Splice,
    UringRecv,
    UringRecvmsg,
    UringRead,
    /// One request that is answered for each arrival.
    UringMultishot,
}

impl Send {
    pub(crate) const CALLS: [Send; 8] = [
        Send::Write,
        Send::Writev,
        Send::Pwritev2,
        Send::Sendto,
        Send::Sendmsg,
        Send::Sendmmsg,
        Send::Sendfile,
        Send::Splice,
    ];
    /// Without those that need 6.0.
    pub(crate) const OLD_RINGS: [Send; 3] = [Send::UringPlain, Send::UringMessage, Send::UringFile];
    pub(crate) const RINGS: [Send; 4] =
        [Send::UringPlain, Send::UringMessage, Send::UringFile, Send::UringZeroCopy];
    /// Of kTLS, whose other ways are modules' own. It refuses what `sendmmsg` marks with MSG_BATCH: every message but the
    /// last (`tls_sw_sendmsg`, net/tls/tls_sw.c).
    pub(crate) const BUFFERS: [Send; 4] = [Send::Write, Send::Writev, Send::Sendto, Send::Sendmsg];
}

impl Receive {
    pub(crate) const CALLS: [Receive; 9] = [
        Receive::Read,
        Receive::Readv,
        Receive::Preadv2,
        Receive::Recvfrom,
        Receive::Recvmsg,
        Receive::Recvmmsg,
        Receive::WaitAll,
        Receive::Peek,
        Receive::Splice,
    ];
    /// Without those that need 6.0.
    pub(crate) const OLD_RINGS: [Receive; 3] =
        [Receive::UringRecv, Receive::UringRecvmsg, Receive::UringRead];
    pub(crate) const RINGS: [Receive; 4] =
        [Receive::UringRecv, Receive::UringRecvmsg, Receive::UringRead, Receive::UringMultishot];
    /// Of kTLS, as above.
    pub(crate) const BUFFERS: [Receive; 5] =
        [Receive::Read, Receive::Readv, Receive::Recvfrom, Receive::Recvmsg, Receive::Recvmmsg];
}

/// How much moves at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All at once; one thread sends while another waits for it.
    Blocking,
    /// What a small buffer takes, never waiting in the call.
    NonBlocking,
    /// A few bytes, and then a few more.
    Short,
}

/// Who has the socket in the second of three exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hand {
    /// Who had it.
    Kept,
    /// The same process under other descriptors; the old ones are closed.
    Duplicated,
    /// A child that inherits it.
    Forked,
    /// A child that it is passed to (SCM_RIGHTS).
    Passed,
    /// Another thread.
    Threaded,
}

/// Which addresses it is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    V4,
    V6,
    /// IPv4 through IPv6 sockets.
    Mapped,
}

const PACES: [Pace; 3] = [Pace::Blocking, Pace::NonBlocking, Pace::Short];
const HANDS: [Hand; 5] = [Hand::Kept, Hand::Duplicated, Hand::Forked, Hand::Passed, Hand::Threaded];
const ADDRESSES: [Address; 3] = [Address::V4, Address::V6, Address::Mapped];

/// One connection's circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) send: Send,
    pub(crate) receive: Receive,
    pub(crate) pace: Pace,
    pub(crate) hand: Hand,
    pub(crate) address: Address,
}

/// Two axes by number, and a value of each.
type Pair = ((usize, usize), (usize, usize));

impl Cell {
    /// Part of the paths of its requests.
    pub(crate) fn name(&self) -> String {
        let Cell { send, receive, pace, hand, address } = self;
        format!("{send:?}-{receive:?}-{pace:?}-{hand:?}-{address:?}").to_lowercase()
    }

    /// The values that meet in it.
    fn pairs(&self) -> Vec<Pair> {
        let Cell { send, receive, pace, hand, address } = *self;
        let values = [send as usize, receive as usize, pace as usize, hand as usize, address as usize];
        let axes: Vec<_> = values.into_iter().enumerate().collect();
        let all = axes.iter().flat_map(|&one| axes.iter().map(move |&other| (one, other)));
        all.filter(|((one, _), (other, _))| one < other).collect()
    }
}

/// A cell for each pair of ways. Of the circumstances it takes those in which most values meet that have not met before.
pub(crate) fn cells(sends: &[Send], receives: &[Receive]) -> Vec<Cell> {
    let mut met = BTreeSet::new();
    let mut cells = Vec::new();
    for &send in sends {
        for &receive in receives {
            let fresh = |cell: &Cell| cell.pairs().iter().filter(|pair| !met.contains(*pair)).count();
            let Some(best) = circumstances(send, receive).max_by_key(fresh) else { continue };
            met.extend(best.pairs());
            cells.push(best);
        }
    }
    cells
}

fn circumstances(send: Send, receive: Receive) -> impl Iterator<Item = Cell> {
    PACES.into_iter().flat_map(move |pace| {
        HANDS.into_iter().flat_map(move |hand| {
            ADDRESSES.into_iter().map(move |address| Cell { send, receive, pace, hand, address })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_values_of_any_two_axes_meet() {
        let cells = cells(&Send::CALLS, &Receive::CALLS);
        assert_eq!(cells.len(), Send::CALLS.len() * Receive::CALLS.len());
        let met: BTreeSet<_> = cells.iter().flat_map(Cell::pairs).collect();
        let all = Send::CALLS.into_iter().flat_map(|send| {
            Receive::CALLS.into_iter().flat_map(move |receive| circumstances(send, receive))
        });
        let all: BTreeSet<_> = all.flat_map(|cell| cell.pairs()).collect();
        assert_eq!(all.difference(&met).collect::<Vec<_>>(), Vec::<&Pair>::new());
    }
}
