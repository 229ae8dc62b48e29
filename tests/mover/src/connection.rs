//! Given: a cell. Gives: its connection with three exchanges, of which the first may be under way for as long as it takes a
//! tracer to come. Refuses to know: how bytes are moved.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;

use anyhow::Context;

use crate::axes::{Address, Cell, Hand, Pace, Receive, Send};
use crate::hand::{Ends, borrowed, hand_over};
use crate::ktls;
use crate::log::Exchange;
use crate::transfer::{Message, transfer};

/// The send buffer of [`Pace::NonBlocking`], in bytes.
const SEND_BUFFER_BYTES: usize = 16 << 10;

/// The exchange that is handed over.
const HANDED_OVER: usize = 1;

/// Bodies repeat this. Nothing in it could begin a start line, so that whoever comes in its middle knows at once that it is
/// none, however few bytes a call moves.
const BODY: &[u8] = b"{\"[,:]\"=}@;<>()/";

/// All exchanges of a connection.
const EXCHANGES: usize = 3;

/// What a connection's bytes pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Plain,
    /// TLS of the kernel.
    Ktls,
}

/// A connection within this process.
pub(crate) struct Connection {
    number: usize,
    cell: Cell,
    ends: Ends,
    /// The next exchange.
    next: usize,
}

impl Connection {
    pub(crate) fn open(number: usize, cell: Cell, layer: Layer) -> anyhow::Result<Connection> {
        let ends = connect(cell.address)?.map(|stream| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(cell.pace == Pace::NonBlocking)?;
            if cell.pace == Pace::NonBlocking {
                rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES)?;
            }
            if layer == Layer::Ktls {
                ktls::enable(&stream)?;
            }
            anyhow::Ok(stream.into())
        });
        let [client, server] = ends;
        Ok(Connection { number, cell, ends: [client?, server?], next: 0 })
    }

    /// Makes the exchanges that are left.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        while self.next < EXCHANGES {
            let (cell, connection, number) = (self.cell, self.number, self.next);
            let hand = if number == HANDED_OVER { cell.hand } else { Hand::Kept };
            self.ends = hand_over(hand, self.ends, |ends| {
                let messages = Messages::of(&cell, number);
                messages.exchange(&cell, number, ends)?;
                messages.log(connection)
            })
            .with_context(|| format!("exchange {number} of {}", cell.name()))?;
            self.next += 1;
        }
        Ok(())
    }

    /// Makes the first exchange but for the second half of its response, which `wait` comes before. It is in no log.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let messages = Messages::of(&self.cell, 0);
        let half = messages.response.bytes.len() / 2;
        let ends = borrowed(&self.ends);
        messages.request(&self.cell, 0, ends)?;
        messages.response(&self.cell, 0, ends, (0, half))
    }

    /// Makes the rest of what was begun.
    pub(crate) fn finish_first(&mut self) -> anyhow::Result<()> {
        let messages = Messages::of(&self.cell, 0);
        let whole = messages.response.bytes.len();
        self.next = 1;
        messages.response(&self.cell, 0, borrowed(&self.ends), (whole / 2, whole))
    }
}

/// `count` exchanges on one connection.
pub(crate) fn many(count: usize) -> anyhow::Result<()> {
    const BODIES: [usize; 2] = [0, 500];
    let cell = Cell {
        send: Send::Write,
        receive: Receive::Read,
        pace: Pace::NonBlocking,
        hand: Hand::Kept,
        address: Address::V4,
    };
    let Connection { ends, number, .. } = Connection::open(0, cell, Layer::Plain)?;
    for exchange in 0..count {
        let messages = Messages::new(format!("/many/{exchange}"), 200, BODIES);
        messages.exchange(&cell, 0, borrowed(&ends))?;
        messages.log(number)?;
    }
    Ok(())
}

/// The messages of an exchange.
pub(crate) struct Messages {
    path: String,
    status: u16,
    pub(crate) request: Message,
    pub(crate) response: Message,
}

impl Messages {
    fn of(cell: &Cell, number: usize) -> Messages {
        let status = [200, 201, 404].get(number).copied().unwrap_or(200);
        let bodies = match cell.pace {
            Pace::Blocking => [[0, 300], [20_000, 20_000], [300, 70_000]],
            Pace::NonBlocking => [[300, 40_000], [40_000, 300], [0, 40_000]],
            Pace::Short => [[0, 3000], [300, 300], [3000, 0]],
        }
        .get(number)
        .copied()
        .unwrap_or_default();
        Messages::new(format!("/{}/{number}", cell.name()), status, bodies)
    }

    /// With so many bytes of body sent and received.
    pub(crate) fn new(path: String, status: u16, [sent, received]: [usize; 2]) -> Messages {
        let request = format!("POST {path} HTTP/1.1\r\nHost: mover\r\nContent-Length: {sent}\r\n\r\n");
        let response = format!("HTTP/1.1 {status} Any\r\nContent-Length: {received}\r\n\r\n");
        let message = |head: String, body: usize| {
            let body = BODY.iter().copied().cycle().take(body);
            Message { head: head.len(), bytes: head.bytes().chain(body).collect() }
        };
        Messages { path, status, request: message(request, sent), response: message(response, received) }
    }

    fn exchange(&self, cell: &Cell, number: usize, ends: [BorrowedFd<'_>; 2]) -> anyhow::Result<()> {
        self.request(cell, number, ends)?;
        self.response(cell, number, ends, (0, self.response.bytes.len()))
    }

    fn request(&self, cell: &Cell, number: usize, ends: [BorrowedFd<'_>; 2]) -> anyhow::Result<()> {
        transfer(cell, number, ends, &self.request, (0, self.request.bytes.len())).context("the request")
    }

    fn response(
        &self,
        cell: &Cell,
        number: usize,
        [client, server]: [BorrowedFd<'_>; 2],
        part: (usize, usize),
    ) -> anyhow::Result<()> {
        transfer(cell, number, [server, client], &self.response, part).context("the response")
    }

    pub(crate) fn log(&self, connection: usize) -> anyhow::Result<()> {
        let [request, response] =
            [&self.request, &self.response].map(|message| (message.head, message.bytes.len() - message.head));
        let bytes = [request.0, request.1, response.0, response.1];
        let pids = [std::process::id(); 2];
        Exchange { connection, pids, method: "POST", path: &self.path, status: self.status, bytes }.log()
    }
}

/// Client and server of a new connection.
pub(crate) fn connect(address: Address) -> anyhow::Result<[TcpStream; 2]> {
    let here = SocketAddr::from(match address {
        Address::V4 => (std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        Address::V6 => (Ipv6Addr::LOCALHOST.into(), 0),
        Address::Mapped => (Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 0),
    });
    let listener = TcpListener::bind(here).with_context(|| format!("listen at {here}"))?;
    let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept().context("accept")?;
    Ok([client, server])
}
