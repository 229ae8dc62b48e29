//! Given: two ends of a connection, and a message. Gives: the message moved from one to the other, and proof that what
//! arrived is what was sent. Refuses to know: who has the sockets.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::axes::{Cell, Pace};
use crate::receive::Receiver;
use crate::send::Sender;

/// Bytes of the calls of [`Pace::Short`], in turn.
const SHORT_SENDS: [usize; 7] = [1, 2, 3, 7, 19, 400, 1500];
const SHORT_RECEIVES: [usize; 5] = [5, 1, 60, 1000, 3];

/// Segments of the vectors of an exchange, by its number: the last are more than the tracer looks at.
const SEGMENTS: [usize; 3] = [1, 3, 40];

/// A request or a response.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of it before the body.
    pub(crate) head: usize,
}

/// Moves a message, from byte `first` up to byte `end`.
pub(crate) fn transfer(
    cell: &Cell,
    number: usize,
    [from, to]: [BorrowedFd<'_>; 2],
    message: &Message,
    (first, end): (usize, usize),
) -> anyhow::Result<()> {
    let segments = SEGMENTS.get(number % SEGMENTS.len()).copied().unwrap_or(1);
    let sender = Sender::new(cell.send, segments).context("make a ring to send")?;
    let receiver = Receiver::new(cell.receive, segments).context("make a ring to receive")?;
    let part = message.bytes.get(first..end).context("a part of the message")?;
    let head = message.head.saturating_sub(first);
    let received = match cell.pace {
        Pace::Blocking => at_once(sender, receiver, [from, to], part, head)?,
        Pace::NonBlocking => step_by_step(sender, receiver, [from, to], part, head, |_| [usize::MAX; 2])?,
        Pace::Short => step_by_step(sender, receiver, [from, to], part, head, |step| {
            let most = |sizes: &[usize]| sizes.get(step % sizes.len()).copied().unwrap_or(1);
            [most(&SHORT_SENDS), most(&SHORT_RECEIVES)]
        })?,
    };
    ensure!(received == part, "other bytes were received than were sent");
    Ok(())
}

/// One thread sends everything, another waits for it.
fn at_once(
    mut sender: Sender,
    mut receiver: Receiver,
    [from, to]: [BorrowedFd<'_>; 2],
    part: &[u8],
    head: usize,
) -> anyhow::Result<Vec<u8>> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> io::Result<()> {
            let mut sent = 0;
            while let Some(rest) = part.get(sent..).filter(|rest| !rest.is_empty()) {
                sent += sender.send(from, rest, head.saturating_sub(sent))?;
            }
            Ok(())
        });
        let mut received = Vec::new();
        while received.len() < part.len() {
            let left = part.len() - received.len();
            let bytes = receiver.receive(to, left, head.saturating_sub(received.len())).context("receive")?;
            ensure!(!bytes.is_empty(), "the connection has ended");
            received.extend(bytes);
        }
        receiver.end().context("end receiving")?;
        sending.join().map_err(|_| anyhow::anyhow!("the sending thread panicked"))?.context("send")?;
        Ok(received)
    })
}

/// One thread does both by turns: a call to send, and a call to receive of what is under way. `most` says how many bytes a
/// step may move either way.
fn step_by_step(
    mut sender: Sender,
    mut receiver: Receiver,
    [from, to]: [BorrowedFd<'_>; 2],
    part: &[u8],
    head: usize,
    most: impl Fn(usize) -> [usize; 2],
) -> anyhow::Result<Vec<u8>> {
    let mut sent = 0;
    let mut received = Vec::new();
    let mut step = 0;
    while received.len() < part.len() {
        let [most_sent, most_received] = most(step);
        step += 1;
        let rest = part.get(sent..).unwrap_or_default();
        let rest = rest.get(..most_sent).unwrap_or(rest);
        if !rest.is_empty() {
            match sender.send(from, rest, head.saturating_sub(sent)) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if sent == received.len() {
                        wait(from, PollFlags::OUT)?;
                        continue;
                    }
                }
                Err(error) => return Err(error).context("send"),
            }
        }
        let wanted = (sent - received.len()).min(most_received);
        match receiver.receive(to, wanted, head.saturating_sub(received.len())) {
            Ok(bytes) => {
                ensure!(!bytes.is_empty(), "the connection has ended");
                received.extend(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(to, PollFlags::IN)?,
            Err(error) => return Err(error).context("receive"),
        }
    }
    receiver.end().context("end receiving")?;
    Ok(received)
}

fn wait(socket: BorrowedFd<'_>, event: PollFlags) -> anyhow::Result<()> {
    poll(&mut [PollFd::from_borrowed_fd(socket, event)], None).context("poll")?;
    Ok(())
}
