//! Given: descriptors, and something to do with them. Gives: that done by this process under other descriptors, by another
//! thread, or by a child that has them. Refuses to know: what is done.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use anyhow::{Context, ensure};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::axes::Hand;

/// The first number that a duplicate may have.
const DUPLICATES: i32 = 500;

/// Both ends of a connection.
pub(crate) type Ends = [OwnedFd; 2];

/// Does `action` as `hand` says. Gives the descriptors under which this process has the ends from then on.
pub(crate) fn hand_over(
    hand: Hand,
    ends: Ends,
    action: impl Fn([BorrowedFd<'_>; 2]) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Ends> {
    match hand {
        Hand::Kept => action(borrowed(&ends))?,
        Hand::Duplicated => {
            let [client, server] = ends;
            // The first of them is gone before the action, by which the others become those of the connection.
            let copies = [duplicate(client)?, duplicate(server)?];
            action(borrowed(&copies))?;
            return Ok(copies);
        }
        Hand::Threaded => {
            let done = thread::scope(|scope| scope.spawn(|| action(borrowed(&ends))).join());
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Hand::Forked => in_child(|| action(borrowed(&ends)))?,
        Hand::Passed => {
            let (here, there) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            pass(here.as_fd(), borrowed(&ends))?;
            in_child(|| action(borrowed(&passed(there.as_fd())?)))?;
        }
    }
    Ok(ends)
}

pub(crate) fn borrowed([client, server]: &Ends) -> [BorrowedFd<'_>; 2] {
    [client.as_fd(), server.as_fd()]
}

fn duplicate(socket: OwnedFd) -> anyhow::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(&socket, DUPLICATES).context("duplicate a descriptor")
}

/// Does `action` in a child, and waits for its success.
fn in_child(action: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    succeeded(fork(action)?)
}

/// Waits for the success of a child.
pub(crate) fn succeeded(child: Pid) -> anyhow::Result<()> {
    let status = waitpid(Some(child), WaitOptions::empty())?.context("the child is waited for")?.1;
    ensure!(status.exit_status() == Some(0), "a child failed: {status:?}");
    Ok(())
}

/// A child that does `action`, and tells by its status whether it could.
pub(crate) fn fork(action: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Pid> {
    // SAFETY: this process has no other thread now, so the child may do what it likes.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = match action() {
            Ok(()) => 0,
            Err(error) => {
                crate::log::complain(&error);
                1
            }
        };
        std::process::exit(status);
    }
    Pid::from_raw(pid).filter(|_| pid > 0).context("fork")
}

fn pass(over: BorrowedFd<'_>, ends: [BorrowedFd<'_>; 2]) -> anyhow::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&ends)), "no room for two descriptors");
    rustix::net::sendmsg(over, &[std::io::IoSlice::new(b"2")], &mut control, SendFlags::empty())
        .context("pass descriptors")?;
    Ok(())
}

fn passed(over: BorrowedFd<'_>) -> anyhow::Result<Ends> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut room = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(over, &mut room, &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("take descriptors")?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let ends: Vec<OwnedFd> = rights.flatten().collect();
    ends.try_into().map_err(|ends: Vec<_>| anyhow::anyhow!("{} descriptors were passed", ends.len()))
}
