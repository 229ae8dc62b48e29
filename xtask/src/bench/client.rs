//! Given: a server, a request and a rate. Gives: how long each answer took, counted from when its request was due. Refuses
//! to know: what answers.
//!
//! Requests are due at fixed times, whatever the answers do. A client that waits for an answer before it asks again asks
//! less while the server is slow, and so leaves out what it is there to measure (coordinated omission); here a request
//! that finds no idle connection waits for one, and its time runs.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::set_current_timer_slack;

/// As many as the throughput is measured with.
const CONNECTIONS: usize = 16;

/// A server that says nothing for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Far more than an answer of the server has.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Keep-alive connections to a server.
pub(super) struct Client {
    connections: Vec<Connection>,
    request: Vec<u8>,
}

/// A connection with at most one request under way.
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// When requests are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    per_second: u32,
    requests: u64,
}

impl Client {
    pub(super) fn connect(server: SocketAddr, request: Vec<u8>) -> anyhow::Result<Client> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(server)?;
            connection.stream.set_nonblocking(true).context("make a connection non-blocking")?;
            connections.push(connection);
        }
        Ok(Client { connections, request })
    }

    /// Asks at a rate; gives the times of all answers, in the order in which they came.
    pub(super) fn load(&mut self, per_second: u32, seconds: u32) -> anyhow::Result<Vec<Duration>> {
        // Else the kernel may wake this thread 50 µs late (prctl(2), PR_SET_TIMERSLACK).
        set_current_timer_slack(NonZeroU64::new(1)).context("ask for exact timers")?;
        let schedule = Schedule { per_second, requests: u64::from(per_second) * u64::from(seconds) };
        let mut times = Vec::with_capacity(schedule.requests as usize);
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut under_way: Vec<(usize, Duration)> = Vec::with_capacity(self.connections.len());
        let mut asked = 0;
        let start = Instant::now();
        while (times.len() as u64) < schedule.requests {
            while let Some(due) = schedule.due(asked).filter(|due| *due <= start.elapsed()) {
                let Some(index) = idle.pop_front() else { break };
                self.connections[index].ask(&self.request)?;
                under_way.push((index, due));
                asked += 1;
            }
            let next = schedule.due(asked).filter(|_| !idle.is_empty());
            let wait = next.map_or(PATIENCE, |due| due.saturating_sub(start.elapsed()));
            let ready = self.ready(&under_way, wait)?;
            ensure!(next.is_some() || ready.contains(&true), "the server does not answer");
            for place in (0..under_way.len()).rev().filter(|&place| ready[place]) {
                let (index, due) = under_way[place];
                if self.connections[index].is_answered()? {
                    times.push(start.elapsed().saturating_sub(due));
                    under_way.swap_remove(place);
                    idle.push_back(index);
                }
            }
        }
        Ok(times)
    }

    /// Which of the connections have something to read, waiting at most so long for the first.
    fn ready(&self, under_way: &[(usize, Duration)], wait: Duration) -> anyhow::Result<Vec<bool>> {
        let mut polled: Vec<_> = under_way
            .iter()
            .map(|&(index, _)| PollFd::new(&self.connections[index].stream, PollFlags::IN))
            .collect();
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        poll(&mut polled, Some(&wait)).context("wait for answers")?;
        Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
    }
}

impl Connection {
    pub(super) fn open(server: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(server).with_context(|| format!("connect to {server}"))?;
        stream.set_nodelay(true).context("send requests at once")?;
        stream.set_read_timeout(Some(PATIENCE)).context("wait for answers with patience")?;
        Ok(Connection { stream, received: Vec::new() })
    }

    /// Sends a request, which the empty buffer of an idle connection has room for.
    pub(super) fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).context("send a request")
    }

    /// Takes what has come; true once it is a whole answer. A blocking connection waits for something to come.
    pub(super) fn is_answered(&mut self) -> anyhow::Result<bool> {
        let mut piece = [0; 4096];
        let count = match self.stream.read(&mut piece) {
            Ok(0) => bail!("the server has closed a connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("read an answer"),
        };
        self.received.extend_from_slice(&piece[..count]);
        ensure!(self.received.len() <= ANSWER_MAX_BYTES, "an answer is longer than any of the server's");
        let Some(bytes) = answer_bytes(&self.received)? else { return Ok(false) };
        ensure!(self.received.len() <= bytes, "the server says more than it was asked");
        let is_whole = self.received.len() == bytes;
        if is_whole {
            self.received.clear();
        }
        Ok(is_whole)
    }
}

impl Schedule {
    /// Time from the start; `None` when there are no more.
    fn due(self, request: u64) -> Option<Duration> {
        const SECOND_NS: u64 = 1_000_000_000;
        (request < self.requests)
            .then(|| Duration::from_nanos(request.saturating_mul(SECOND_NS) / u64::from(self.per_second)))
    }
}

/// Length of an answer with its body, once its head is there (RFC 9112 §6.3). Others than 200 with a length are not what
/// the server of the benchmark says.
fn answer_bytes(received: &[u8]) -> anyhow::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(at) = received.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let head = String::from_utf8_lossy(&received[..at]);
    ensure!(head.starts_with("HTTP/1.1 200 "), "the server does not answer with 200: {head}");
    let length = head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.with_context(|| format!("the server does not say how long its answer is: {head}"))?;
    Ok(Some((at + END.len()).saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn requests_are_due_at_fixed_times() {
        let schedule = Schedule { per_second: 10_000, requests: 3 };
        let due: Vec<_> = (0..4).map(|request| schedule.due(request)).collect();
        let micros = |micros| Some(Duration::from_micros(micros));
        assert_eq!(due, [micros(0), micros(100), micros(200), None]);
        // A rate that does not divide the second loses nothing over time.
        let schedule = Schedule { per_second: 3, requests: 10 };
        assert_eq!(schedule.due(9), Some(Duration::from_secs(3)));
    }

    #[test]
    fn an_answer_is_as_long_as_its_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-Length: 2\r\nServer: x\r\n\r\nab";
        for cut in 0..answer.len() - 2 {
            assert_eq!(answer_bytes(&answer[..cut]).expect("no fault"), None, "{cut}");
        }
        for cut in answer.len() - 2..=answer.len() {
            assert_eq!(answer_bytes(&answer[..cut]).expect("no fault"), Some(answer.len()), "{cut}");
        }
        for wrong in [
            "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
            "x\r\n\r\n",
        ] {
            assert!(answer_bytes(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_that_waits_for_a_connection_is_counted_from_when_it_was_due() {
        const REQUESTS_PER_SECOND: u32 = 200;
        const SLOW: Duration = Duration::from_millis(100);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut client = Client::connect(address, b"?".to_vec()).expect("a connection");
        let answering = thread::spawn(move || {
            let mut stream = listener.accept().expect("a connection").0;
            for request in 0..REQUESTS_PER_SECOND {
                stream.read_exact(&mut [0]).expect("a request");
                // The first is answered late. Those behind it are due, and do not come on a connection that is busy.
                if request == 0 {
                    stream.set_read_timeout(Some(SLOW)).expect("a time");
                    assert!(stream.read(&mut [0]).is_err());
                    stream.set_read_timeout(None).expect("a time");
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it is read");
            }
        });
        client.connections.truncate(1);
        let times = client.load(REQUESTS_PER_SECOND, 1).expect("all are answered");
        answering.join().expect("it ends");
        assert_eq!(times.len(), REQUESTS_PER_SECOND as usize);
        // The kernel counts timeouts in ticks, and may be one early.
        assert!(times[0] >= SLOW * 9 / 10, "{:?}", times[0]);
        // Due 50 ms after the first, and asked when that was answered.
        assert!(times[10] >= SLOW / 3, "{:?}", times[10]);
    }
}
