//! Given: an address that tells how many players there are. Gives: what it says, from time to time. Refuses to know: what
//! the counts are for, and HTTP beyond one plain `GET`.
//!
//! A thread of its own asks, so that nothing waits for whoever answers. The request is one of HTTP/1.0: its answer ends with
//! the connection and comes without chunks (RFC 9112 §6.1).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use crate::config::Url;
use crate::cost::players::Players;
use crate::http::h1::head::response;

/// Time that one question may take, from the connection to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer, head and body: ten thousand games have less.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Asks one address again and again, until it is dropped.
#[derive(Debug)]
pub(super) struct Asking {
    answers: Receiver<anyhow::Result<Players>>,
    /// Its end wakes the thread up, which ends too.
    _alive: Sender<()>,
}

impl Asking {
    /// Begins now, and asks so long after each answer.
    pub(super) fn start(url: Url, every: Duration) -> anyhow::Result<Asking> {
        let (alive, gone) = mpsc::channel();
        let (sender, answers) = mpsc::sync_channel(1);
        let ask_on = move || {
            loop {
                // An answer that nobody has taken yet is as good as this one.
                let _ = sender.try_send(players(&url));
                if gone.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        thread::Builder::new().name("rotrace-players".to_owned()).spawn(ask_on).context("start a thread")?;
        Ok(Asking { answers, _alive: alive })
    }

    /// What was answered since the last time.
    pub(super) fn answer(&self) -> Option<anyhow::Result<Players>> {
        self.answers.try_recv().ok()
    }
}

/// Asks once.
fn players(url: &Url) -> anyhow::Result<Players> {
    let until = Instant::now() + PATIENCE;
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no whole answer within {} s", PATIENCE.as_secs());
        Ok(left)
    };
    let addresses = url.authority.to_socket_addrs().context("look its name up")?;
    let mut connected = Err(anyhow!("its name has no address"));
    for address in addresses {
        connected =
            TcpStream::connect_timeout(&address, left()?).with_context(|| format!("connect to {address}"));
        if connected.is_ok() {
            break;
        }
    }
    let mut stream = connected?;
    let Url { authority, target } = url;
    let request = format!(
        "GET {target} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json, application/toml\r\n\
         User-Agent: rotrace\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request.as_bytes()).context("send the request")?;
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let read = match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            Err(why) => return Err(why).context("read the answer"),
        };
        answer.extend(part.iter().take(read));
        ensure!(answer.len() as u64 <= ANSWER_BYTES_MAX, "the answer has more than {ANSWER_BYTES_MAX} bytes");
    }
    parse(&answer)
}

/// Reads a whole answer.
fn parse(answer: &[u8]) -> anyhow::Result<Players> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(at) = answer.windows(END.len()).position(|window| window == END) else {
        bail!("the answer is none of HTTP");
    };
    let (head, body) = answer.split_at(at + END.len());
    let response = response(head).context("the answer is none of HTTP")?;
    ensure!(response.status == 200, "the answer has status {}", response.status);
    let text = std::str::from_utf8(head).unwrap_or_default();
    let length = text.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    for (_, length) in length {
        let is_whole = length.trim().parse::<usize>().is_ok_and(|length| length == body.len());
        ensure!(is_whole, "the answer was cut off");
    }
    let body = std::str::from_utf8(body).context("the answer is not UTF-8")?;
    Ok(Players::parse(body)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn answers_that_are_not_whole_or_not_good_are_none() {
        let check = |answer: &str, expect: &str| match parse(answer.as_bytes()) {
            Ok(players) => assert_eq!(format!("{:?}", players.0), expect, "{answer}"),
            Err(why) => assert_eq!(format!("{why:#}"), expect, "{answer}"),
        };
        check("HTTP/1.1 200 OK\r\n\r\n{\"a\": 1}", "{\"a\": 1}");
        check("HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}", "{\"a\": 1}");
        check("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 1}", "the answer was cut off");
        check("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "the answer has status 302");
        check("HTTP/1.1 200 OK\r\nA: b", "the answer is none of HTTP");
        check("{\"a\": 1}\r\n\r\n", "the answer is none of HTTP");
        check("", "the answer is none of HTTP");
        check("HTTP/1.1 200 OK\r\n\r\n{\"a\": ", "line 1, column 6: EOF while parsing a value");
    }

    /// A server of other people, in a directory; it ends with the test.
    struct Served(Child, u16);

    impl Served {
        fn start(directory: &std::path::Path) -> Served {
            let mut command = Command::new("python3");
            command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]).current_dir(directory);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3");
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let port = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a port");
            Served(child, port)
        }

        fn url(&self, path: &str) -> Url {
            Url::parse(&format!("http://127.0.0.1:{}{path}", self.1)).unwrap()
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_server_is_asked_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let served = Served::start(directory.path());
        let why = players(&served.url("/players.json")).unwrap_err();
        assert_eq!(why.to_string(), "the answer has status 404");
        let file = directory.path().join("players.json");
        fs::write(&file, r#"{"obby": 12}"#).unwrap();
        let asking = Asking::start(served.url("/players.json"), Duration::from_millis(1)).unwrap();
        let next = || asking.answers.recv_timeout(2 * PATIENCE).unwrap();
        assert_eq!(next().unwrap().0, [("obby".into(), 12)].into());
        fs::rename(&file, directory.path().join("gone")).unwrap();
        let why = (0..1000).find_map(|_| next().err()).expect("it is noticed");
        assert_eq!(why.to_string(), "the answer has status 404");
    }

    #[test]
    fn nobody_there_is_said() {
        // Bound and closed again: nobody listens there.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let why = players(&Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap()).unwrap_err();
        assert!(format!("{why:#}").starts_with(&format!("connect to 127.0.0.1:{port}: ")), "{why:#}");
    }
}
