//! Given: how many. Gives: that many connections at one time, or one after the other from as many processes, with an exchange
//! on each. Refuses to know: ways to move bytes but `read` and `write`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getppid, setrlimit};

use crate::hand::{fork, succeeded};
use crate::log::Exchange;

/// Programs that run at one time.
const AT_ONCE: usize = 8;

/// Room for a head.
const HEAD_BYTES: usize = 1024;

/// Every answer.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Descriptors that a process has besides its connections.
const OTHERS: u64 = 100;

/// `count` connections that are all open before the first request; a child serves them, so that there are descriptors
/// enough for both ends.
pub(crate) fn at_one_time(count: usize) -> anyhow::Result<()> {
    let most = Some(count as u64 + OTHERS);
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("ask for descriptors")?;
    let (listener, address) = listen()?;
    let server = fork(|| {
        let streams: Result<Vec<_>, _> = listener.incoming().take(count).collect();
        streams.context("accept")?.into_iter().try_for_each(serve)
    })?;
    let streams: Result<Vec<_>, _> = (0..count).map(|_| TcpStream::connect(address)).collect();
    for (number, stream) in streams.context("connect")?.into_iter().enumerate() {
        ask(stream, number, server.as_raw_pid() as u32)?;
    }
    succeeded(server).context("the server")
}

/// `count` programs, each with a connection of its own to this one.
pub(crate) fn of_programs(count: usize) -> anyhow::Result<()> {
    let (listener, address) = listen()?;
    let program = std::env::current_exe().context("this program")?;
    let start = |number: usize| {
        let arguments = [address.to_string(), number.to_string()];
        Command::new(&program).arg("ask").args(arguments).spawn().context("execute")
    };
    for first in (0..count).step_by(AT_ONCE) {
        let children: anyhow::Result<Vec<Child>> = (first..count.min(first + AT_ONCE)).map(start).collect();
        let mut children = children?;
        // They come in any order.
        for _ in &children {
            serve(listener.accept().context("accept")?.0)?;
        }
        for child in &mut children {
            let status = child.wait().context("wait")?;
            ensure!(status.success(), "a program ended with {status}");
        }
    }
    Ok(())
}

/// The exchange of connection `number`, which the parent answers.
pub(crate) fn ask_at(address: SocketAddr, number: usize) -> anyhow::Result<()> {
    let server = getppid().context("the parent")?.as_raw_pid() as u32;
    ask(TcpStream::connect(address).context("connect")?, number, server)
}

fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    ensure!(stream.read(&mut [0; HEAD_BYTES]).context("read a request")? > 0, "no request came");
    stream.write_all(ANSWER.as_bytes()).context("write an answer")
}

fn ask(mut stream: TcpStream, number: usize, server: u32) -> anyhow::Result<()> {
    let path = format!("/crowd/{number}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: mover\r\n\r\n");
    stream.write_all(request.as_bytes()).context("write a request")?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).context("read an answer")?;
    let body = 2;
    let bytes = [request.len(), 0, answer.len() - body, body];
    let pids = [std::process::id(), server];
    Exchange { connection: number, pids, method: "GET", path: &path, status: 200, bytes }.log()
}
