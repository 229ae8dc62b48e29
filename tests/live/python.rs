//! Given: which behaviours a test wants that nginx does not have. Gives: the server of `scripts/server.py`, which logs
//! what it served. Refuses to know: who talks to it.

use tempfile::TempDir;

use crate::access_log::{self, Served};
use crate::needs;
use crate::nginx::certificate;
use crate::process::Running;

/// A running `scripts/server.py`.
pub(crate) struct PythonServer {
    running: Running,
    directory: TempDir,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
}

/// What the server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    /// Through asyncio, which keeps OpenSSL away from the socket: TLS objects write to memory.
    Tls,
}

impl PythonServer {
    /// Starts it with the system's Python.
    pub(crate) fn start(transport: Transport) -> PythonServer {
        needs::rotrace();
        let directory = TempDir::with_prefix("rotrace-live-").unwrap();
        let mut arguments = vec![needs::script("server.py")];
        if transport == Transport::Tls {
            certificate(directory.path());
            let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
            arguments.extend([path("certificate.pem"), path("key.pem")]);
        }
        let mut running = Running::hold(needs::python(), arguments);
        running.next_step();
        let port = running.line("listening ").parse().unwrap();
        PythonServer { running, directory, port }
    }

    /// Its PID.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `https://localhost:PORT` and the path.
    pub(crate) fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// The certificate that clients must trust.
    pub(crate) fn certificate(&self) -> String {
        self.directory.path().join("certificate.pem").to_str().unwrap().to_owned()
    }

    /// Ends its input, at which it closes its connections and ends; gives the whole log.
    pub(crate) fn quit(mut self) -> Vec<Served> {
        access_log::read_python(&self.running.succeeded())
    }
}
