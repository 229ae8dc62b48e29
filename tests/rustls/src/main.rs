//! Given: a role and where to find the peer. Gives: HTTP calls by clients that encrypt through rustls, or a server that logs what
//! it served. Refuses to know: who watches.
//!
//! ```text
//! rotrace-rustls client CLIENT URL CERTIFICATE             many calls, when a line is read
//! rotrace-rustls late CLIENT URL CERTIFICATE               three calls; five more on the same connection when a line is read
//! rotrace-rustls server CERTIFICATE KEY                    until its input ends
//! ```
//! CLIENT is `ureq`, or what hyper speaks: `http1`, `http1-tls1.2`, `http1-updated`, or `http2`.
#![expect(clippy::print_stdout, reason = "a program of tests says what it does")]
#![expect(clippy::disallowed_methods, reason = "it is a shell: arguments, files and clocks")]

mod asynchronous;
mod blocking;
mod server;

use std::io::BufRead;

use anyhow::{Context, bail};

/// A request to make.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    path: String,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    /// Of a length that is told in advance.
    Sized(usize),
    /// Of a length that is not.
    Chunked(usize),
}

/// Threads or tasks that call at one time.
const WORKERS: usize = 4;

/// Calls that are made one after the other.
fn one_by_one() -> Vec<Request> {
    let get = |path: String| Request { method: "GET", path, body: Body::None };
    let mut requests: Vec<_> = (0..10).map(|number| get(format!("/v1/items/{number}"))).collect();
    requests.extend([
        Request { method: "POST", path: "/echo/post".to_owned(), body: Body::Sized(9000) },
        Request { method: "POST", path: "/echo/large".to_owned(), body: Body::Sized(700_000) },
        Request { method: "POST", path: "/echo/chunked".to_owned(), body: Body::Chunked(9706) },
        Request { method: "HEAD", path: "/v1/head".to_owned(), body: Body::None },
        Request { method: "DELETE", path: "/empty/x".to_owned(), body: Body::None },
        get("/missing".to_owned()),
        get("/page".to_owned()),
    ]);
    requests
}

/// Calls of a worker.
fn of_worker(worker: usize) -> Vec<Request> {
    let path = |number| format!("/v1/worker-{worker}/item-{number:02}");
    (0..25).map(|number| Request { method: "GET", path: path(number), body: Body::None }).collect()
}

/// Calls on one connection, some of them before somebody comes.
fn late(numbers: std::ops::Range<usize>) -> Vec<Request> {
    let path = |number| format!("/v1/late/item-{number}");
    numbers.map(|number| Request { method: "GET", path: path(number), body: Body::None }).collect()
}

/// For whoever is to be there before it goes on.
fn wait() -> anyhow::Result<()> {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["client", "ureq", url, certificate] => {
            wait()?;
            blocking::calls(url, certificate)
        }
        ["late", "ureq", url, certificate] => blocking::late_calls(url, certificate),
        ["client", protocol, url, certificate] => {
            wait()?;
            asynchronous::calls(protocol.parse()?, url, certificate)
        }
        ["late", protocol, url, certificate] => asynchronous::late_calls(protocol.parse()?, url, certificate),
        ["server", certificate, key] => server::serve(certificate, key).context("serve"),
        _ => bail!("the arguments are none that the source names"),
    }
}
