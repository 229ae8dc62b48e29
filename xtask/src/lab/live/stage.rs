//! Given: a plan, and this machine's Python, Node and OpenSSL. Gives: a directory with all that its players need, and the players:
//! the platform, the games, the daemon. Refuses to know: when who plays.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::script::{answer, of_game};
use crate::demo::stage::{PYTHON, certificate};
use crate::lab::api::{APIS, Api, CATALOGUE};
use crate::lab::plan::Planned;
use crate::lab::world::World;
use crate::process::Process;
use crate::repository::{program, root};
use crate::stop::Stop;

const FILES: [(&str, &str); 4] = [
    ("server.py", include_str!("../../../lab/server.py")),
    ("client.py", include_str!("../../../lab/client.py")),
    ("client.mjs", include_str!("../../../lab/client.mjs")),
    ("catalogue.toml", CATALOGUE),
];

/// What games call through, in turn, and whether that is over TLS.
const CLIENTS: [(Client, bool); 6] = [
    (Client::Requests, false),
    (Client::Httpx, true),
    (Client::Node, true),
    (Client::Requests, true),
    (Client::Httpx, false),
    (Client::Node, false),
];

/// How long a player may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP client that others wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Python's requests, with threads.
    Requests,
    /// Python's httpx, with threads.
    Httpx,
    /// The one that Node has, with an agent that keeps connections.
    Node,
}

/// The directory of one play; it goes away with this value.
pub(super) struct Stage {
    directory: TempDir,
}

/// The platform, and its ports.
pub(super) struct Platform {
    pub(super) process: Process,
    port: u16,
    tls_port: u16,
}

impl Stage {
    pub(super) fn set(calls: &[Planned], world: &World) -> anyhow::Result<Stage> {
        let directory =
            tempfile::Builder::new().prefix("rotrace-lab-").tempdir().context("make a directory")?;
        let stage = Stage { directory };
        for (name, text) in FILES {
            fs::write(stage.file(name), text).with_context(|| format!("write {name}"))?;
        }
        let answers: Vec<Value> =
            calls.iter().enumerate().map(|(number, call)| answer(number, call)).collect();
        stage.write_lines("answers.ndjson", &answers)?;
        for process in 0..world.processes().len() as u32 {
            stage.write_lines(&script(process), &of_game(calls, process))?;
        }
        certificate(stage.directory.path(), &names())?;
        fs::write(stage.file("rotrace.toml"), configuration(&stage.file("catalogue.toml")))
            .context("write the configuration")?;
        Ok(stage)
    }

    /// The platform, ready to answer. It is not watched.
    pub(super) fn platform(&self, stop: &Stop) -> anyhow::Result<Platform> {
        let mut command = Command::new(PYTHON);
        command.arg("-I").arg(self.file("server.py")).arg(self.directory.path());
        let process = Process::start("the platform", &mut command)?;
        let line = process.line(PATIENCE, stop)?;
        let ports: Option<Vec<u16>> =
            line.strip_prefix("ready ").map(|ports| ports.split(' ').flat_map(str::parse).collect());
        let Some(&[port, tls_port]) = ports.as_deref() else {
            bail!("the platform said `{line}` where its ports should be");
        };
        Ok(Platform { process, port, tls_port })
    }

    /// A game, ready to play, and what it calls through.
    pub(super) fn game(
        &self,
        process: u32,
        name: &str,
        platform: &Platform,
        stop: &Stop,
    ) -> anyhow::Result<(Process, String)> {
        let (client, is_tls) = CLIENTS[process as usize % CLIENTS.len()];
        let mut command = client.command(self)?;
        let calls = self.file(&script(process));
        let port = if is_tls { platform.tls_port } else { platform.port };
        command.arg(format!("--game={name}")).arg(format!("--calls={}", calls.display()));
        command.arg(format!("--port={port}"));
        if is_tls {
            command.arg(format!("--certificate={}", self.file("cert.pem").display()));
        }
        // Nobody in between.
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let process = Process::start("a game", &mut command)?;
        let line = process.line(PATIENCE, stop)?;
        ensure!(line == "ready", "{name} said `{line}` where it should be ready");
        Ok((process, format!("{client:?}{}", if is_tls { " over TLS" } else { "" })))
    }

    /// The daemon, its probes in place; what it logs goes to a file.
    pub(super) fn watcher(&self, daemon: &Path, pids: &[u32], stop: &Stop) -> anyhow::Result<Process> {
        let log = self.file("rotrace.log");
        let mut command = Command::new(daemon);
        command.arg("attach").args(pids.iter().map(u32::to_string)).args(["--format", "json", "--config"]);
        command.arg(self.file("rotrace.toml")).stderr(File::create(&log).context("make the daemon's log")?);
        let mut process = Process::start("the daemon", &mut command)?;
        for _ in 0..PATIENCE.as_millis() / crate::stop::PAUSE.as_millis() {
            stop.check()?;
            if self.log().contains("rotrace: attached") {
                return Ok(process);
            }
            ensure!(process.ended()?.is_none(), "the daemon ended before it watched: {}", self.log());
            stop.wait_until(std::time::Instant::now() + crate::stop::PAUSE);
        }
        bail!("the daemon does not watch: {}", self.log())
    }

    /// What the daemon has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.file("rotrace.log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_lines(&self, name: &str, lines: &[Value]) -> anyhow::Result<()> {
        let mut text = String::new();
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
        fs::write(self.file(name), text).with_context(|| format!("write {name}"))
    }
}

impl Client {
    fn command(self, stage: &Stage) -> anyhow::Result<Command> {
        if self == Client::Node {
            let node = program("node").context("the lab needs node: run `cargo xtask setup --for test`")?;
            let mut command = Command::new(node);
            command.arg(stage.file("client.mjs"));
            return Ok(command);
        }
        let python = root().join("target/venv/bin/python");
        ensure!(python.is_file(), "the lab needs {}: run `cargo xtask setup --for test`", python.display());
        let mut command = Command::new(python);
        command.arg("-I").arg(stage.file("client.py"));
        command.arg(if self == Client::Httpx { "--library=httpx" } else { "--library=requests" });
        Ok(command)
    }
}

/// The file of a game's calls.
fn script(process: u32) -> String {
    format!("calls-{process}.ndjson")
}

/// All authorities of the world, as names of a certificate.
fn names() -> String {
    let apis = (0..APIS.len()).map(|index| Api(index as u16));
    let authorities: BTreeSet<String> = apis.map(|api| format!("DNS:{}", api.authority())).collect();
    authorities.into_iter().collect::<Vec<_>>().join(",")
}

/// Games are named by their command line, endpoints by the operations of the world.
fn configuration(catalogue: &Path) -> String {
    let mut text = format!(
        "[[game]]\ncmdline = '--game=(?P<game>[\\w-]+)'\n\n[catalogue]\nfiles = [\"{}\"]\n",
        catalogue.display()
    );
    for terms in APIS {
        let (host, path) = terms.endpoint.split_once('/').unwrap_or((terms.endpoint, ""));
        let method = terms.method;
        let _ = write!(
            text,
            "\n[[endpoints.rule]]\nhost = \"{host}\"\nmethod = \"{method}\"\npattern = \"/{path}\"\n"
        );
    }
    text
}
