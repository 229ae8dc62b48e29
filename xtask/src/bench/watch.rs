//! Given: a server. Gives: rotrace beside it, as daemon or attached, and what the daemon says of itself. Refuses to know:
//! what is measured.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::stage::{Owned, Server, free_address};
use crate::demo::scrape::{page, samples};
use crate::repository::{cargo, run as run_command, target};

/// The program, optimised, beside a server.
pub(super) struct Rotrace(PathBuf);

/// `rotrace run`, which watches a server.
pub(super) struct Daemon {
    pub(super) process: Owned,
    listen: SocketAddr,
}

/// What a daemon says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) calls: f64,
    pub(super) records: f64,
    pub(super) lost: f64,
    /// Connections that it holds something of.
    pub(super) connections: f64,
    /// What it has used of a processor: another number each time it publishes.
    cpu_seconds: f64,
}

impl Rotrace {
    pub(super) fn build(server: &Server) -> anyhow::Result<Rotrace> {
        run_command(cargo().args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "rotrace",
            "--bin",
            "rotrace",
        ]))
        .context("build the daemon")?;
        // A copy: who builds another one meanwhile does not change what is measured.
        let copy = server.file("rotrace");
        fs::copy(target().join("release/rotrace"), &copy).context("copy the daemon")?;
        Ok(Rotrace(copy))
    }

    /// `rotrace attach`, once its probes are there.
    pub(super) fn attach(&self, server: &Server, pid: u32, stdout: Stdio) -> anyhow::Result<Owned> {
        let log = server.file("attach.log");
        let mut command = Command::new(&self.0);
        command.args(["attach", &pid.to_string(), "--format", "json"]).stdout(stdout);
        command.stderr(fs::File::create(&log).context("make the log of rotrace")?);
        let mut rotrace = Owned::start(&mut command)?;
        let text = || fs::read_to_string(&log).unwrap_or_default();
        rotrace.until("rotrace is attached", || text().contains("rotrace: attached")).with_context(text)?;
        Ok(rotrace)
    }

    /// `rotrace run`, once it watches the worker.
    pub(super) fn daemon(&self, server: &Server) -> anyhow::Result<Daemon> {
        let listen = free_address()?;
        let config = server.file("rotrace.toml");
        let text = format!(
            "roles = [\"server\"]\n[[target]]\nexe = \"{}\"\n[metrics]\nlisten = \"{listen}\"\n",
            server.executable.display()
        );
        fs::write(&config, text).context("write the configuration")?;
        let log = server.file("run.log");
        let mut command = Command::new(&self.0);
        command.arg("run").arg("--config").arg(&config).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).context("make the log of rotrace")?);
        let mut process = Owned::start(&mut command)?;
        // Master and worker.
        let watches = || page(listen, "/metrics").is_ok_and(|page| page.contains("\nrotrace_targets 2\n"));
        let text = || fs::read_to_string(&log).unwrap_or_default();
        process.until("the daemon watches nginx", watches).with_context(text)?;
        Ok(Daemon { process, listen })
    }
}

impl Daemon {
    /// What it says once it has published everything up to now.
    pub(super) fn said(&mut self) -> anyhow::Result<Said> {
        // It publishes once a second. What it publishes twice from now on holds all that has happened.
        for _ in 0..2 {
            let shown = said(self.listen)?.cpu_seconds;
            let is_new = || said(self.listen).is_ok_and(|said| said.cpu_seconds != shown);
            self.process.until("the daemon publishes", is_new)?;
        }
        said(self.listen)
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        self.process.end()
    }
}

fn said(daemon: SocketAddr) -> anyhow::Result<Said> {
    read(&page(daemon, "/metrics")?).context("read what the daemon says of itself")
}

/// Sums over all series of a page; `None` of a page that is not the daemon's.
fn read(page: &str) -> Option<Said> {
    let samples = samples(page);
    let sum =
        |name: &str| samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum();
    let own = samples.iter().find(|sample| sample.name == "rotrace_process_cpu_seconds_total")?;
    Some(Said {
        calls: sum("rotrace_http_server_requests_total"),
        records: sum("rotrace_records_total"),
        lost: sum("rotrace_events_lost_total"),
        connections: sum("rotrace_tracked_connections"),
        cpu_seconds: own.value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_says_is_read_and_added() {
        let page = "# HELP x y\nrotrace_http_server_requests_total{game=\"a\"} 2\n\
                    rotrace_http_server_requests_total{game=\"b\"} 3\nrotrace_records_total 20\n\
                    rotrace_events_lost_total{stage=\"kernel\",reason=\"ring_full\"} 1\n\
                    rotrace_tracked_connections 4\nrotrace_process_cpu_seconds_total 0.5\n";
        let expect = Said { calls: 5.0, records: 20.0, lost: 1.0, connections: 4.0, cpu_seconds: 0.5 };
        assert_eq!(read(page), Some(expect));
        assert_eq!(read("up 1\n"), None);
    }
}
