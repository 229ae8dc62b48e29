//! Given: a machine with root, BTF, Python and OpenSSL. Gives: three games that call an API server over real sockets, one
//! of them over TLS, what the daemon sees of it while they run, and what they cost and waste when they are done.
//! Refuses to know: how the daemon sees it.
//!
//! The games count their own calls, so the demo ends with a comparison, and fails if a call is missing or invented.
//! Whatever ends the demo ends its processes, and with the daemon its probes.

mod figures;
mod findings;
pub(crate) mod scrape;
pub(crate) mod stage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process::Process;
use crate::repository::{cargo, run as run_command, target};
use crate::stop::{PAUSE, Stop};
use figures::{Figures, Made};
use stage::{PYTHON, Stage};

/// The games, and whether they call over TLS.
const GAMES: [(&str, bool); 3] = [("obby-rush", false), ("pet-market", true), ("tower-siege", false)];

/// How long a process of the demo may take for what it does in well under a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the daemon is asked while the games run. It counts anew once a second, and that is when a line appears.
const BEAT: Duration = Duration::from_millis(100);

/// Without a new call for so long, the daemon has counted all: twice the time in which it counts anew, and some more.
const QUIET: Duration = Duration::from_millis(2500);

/// Lines of `/metrics` that are shown as a sample.
const SAMPLE_LINES: usize = 8;

/// Runs the demo for so long, or until Ctrl-C.
pub(crate) fn run(limit: Option<Duration>) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo loads probes into the kernel, which needs root: run it as root (sudo -E cargo xtask demo)"
        );
    }
    let stop = Stop::on_signals()?;
    let daemon = daemon()?;
    let stage = Stage::set()?;

    // From here on, what is dropped last is what was started first: the daemon goes before the games.
    let (_api, port, tls_port) = api_server(&stage, &stop)?;
    let mut games = Vec::new();
    for (name, tls) in GAMES {
        games.push((name, game(&stage, name, if tls { tls_port } else { port }, tls, &stop)?));
    }
    println!("Three games have connections to an API server, one of them with TLS:");
    for (name, process) in &games {
        println!("  {name:<12} pid {}", process.pid());
    }
    let mut watcher = watcher(&daemon, &stage)?;
    wait_until_watching(&stage, &mut watcher, &stop)?;
    println!("The daemon has joined them: http://{}/metrics\n", stage.listen);

    for (_, process) in &mut games {
        process.tell("go")?;
    }
    let started = Instant::now();
    watch(&stage, &mut watcher, started, limit, &stop)?;
    let ran = started.elapsed();
    let made = made(&mut games)?;
    let page = settled_page(stage.listen)?;
    let figures = Figures::of(&scrape::samples(&page));

    println!("\n{}", figures.report(&made, ran));
    println!("{}", findings::report(&scrape::page(stage.listen, "/api/v1/findings")?)?);
    println!("From http://{}/metrics, which is gone with this demo:", stage.listen);
    for line in
        page.lines().filter(|line| line.starts_with("rotrace_http_client_requests_total")).take(SAMPLE_LINES)
    {
        println!("  {line}");
    }
    let status = watcher.end()?;
    if !status.success() {
        bail!("the daemon ended with {status}; its log: {}", log(&stage));
    }
    let differences = figures.differences(&made);
    if !differences.is_empty() {
        bail!("{}; its log: {}", differences.join("; "), log(&stage));
    }
    println!("\nEvery call that the games made was seen, and no other.");
    Ok(())
}

/// The daemon, built with nothing but stable cargo.
pub(crate) fn daemon() -> anyhow::Result<PathBuf> {
    println!("Building the daemon …");
    run_command(cargo().args(["build", "--quiet", "--release", "--package", "rotrace", "--bin", "rotrace"]))
        .context("build the daemon")?;
    Ok(target().join("release/rotrace"))
}

/// The API server, and the ports of HTTP and of HTTP over TLS. It is not watched.
fn api_server(stage: &Stage, stop: &Stop) -> anyhow::Result<(Process, u16, u16)> {
    let mut command = Command::new(PYTHON);
    command.arg("-I").arg(stage.file("api_server.py")).arg(stage.path());
    let process = Process::start("the API server", &mut command)?;
    let line = process.line(PATIENCE, stop)?;
    let ports: Option<Vec<u16>> =
        line.strip_prefix("ready ").map(|ports| ports.split(' ').flat_map(str::parse).collect());
    let Some(&[port, tls_port]) = ports.as_deref() else {
        bail!("the API server said `{line}` where its ports should be");
    };
    Ok((process, port, tls_port))
}

/// A game with a connection, waiting for "go".
fn game(stage: &Stage, name: &'static str, port: u16, tls: bool, stop: &Stop) -> anyhow::Result<Process> {
    let mut command = Command::new(stage.game_server());
    command.arg("-I").arg(stage.file("games.py")).arg(format!("--game={name}")).arg(format!("--port={port}"));
    // A copied interpreter looks for its library beside itself first; it is where it was.
    command.env("PYTHONHOME", "/usr");
    if tls {
        command.arg("--certificate").arg(stage.file("cert.pem"));
    }
    let process = Process::start(name, &mut command)?;
    let line = process.line(PATIENCE, stop)?;
    if line != "ready" {
        bail!("{name} said `{line}` where it should be ready");
    }
    Ok(process)
}

/// The daemon at work; what it logs goes to a file.
fn watcher(daemon: &PathBuf, stage: &Stage) -> anyhow::Result<Process> {
    let log = File::create(stage.file("rotrace.log")).context("make the daemon's log")?;
    let mut command = Command::new(daemon);
    command.arg("run").arg("--config").arg(stage.config()).stderr(log);
    Process::start("the daemon", &mut command)
}

/// Waits until the daemon has its probes in place and all games are its targets.
fn wait_until_watching(stage: &Stage, watcher: &mut Process, stop: &Stop) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        stop.check()?;
        check_alive(stage, watcher)?;
        let ready = scrape::page(stage.listen, "/readyz").and_then(|_| figures(stage.listen));
        match ready {
            Ok(figures) if figures.targets == GAMES.len() as u64 => return Ok(()),
            Ok(figures) if Instant::now() > deadline => {
                bail!(
                    "the daemon watches {} of {} games; its log: {}",
                    figures.targets,
                    GAMES.len(),
                    log(stage)
                )
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error)
                    .with_context(|| format!("the daemon is not ready; its log: {}", log(stage)));
            }
            Ok(_) | Err(_) => stop.wait_until(Instant::now() + PAUSE),
        }
    }
}

/// A line for each time that the daemon has counted anew.
fn watch(
    stage: &Stage,
    watcher: &mut Process,
    started: Instant,
    limit: Option<Duration>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut before = (started, Figures::default());
    loop {
        let end = limit.map(|limit| started + limit);
        stop.wait_until(end.map_or(Instant::now() + BEAT, |end| end.min(Instant::now() + BEAT)));
        if stop.is_asked() {
            println!("\nending …");
            return Ok(());
        }
        check_alive(stage, watcher)?;
        let now = (Instant::now(), figures(stage.listen)?);
        if now.1.calls() != before.1.calls() {
            let elapsed = now.0 - started;
            println!("{:>5.1} s{}", elapsed.as_secs_f64(), now.1.progress(&before.1, now.0 - before.0));
            before = now;
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
    }
}

/// Stops the games, and takes what they have counted. Their processes stay until the daemon has been read.
fn made(games: &mut [(&'static str, Process)]) -> anyhow::Result<BTreeMap<&'static str, Made>> {
    for (_, process) in games.iter_mut() {
        process.tell("stop")?;
    }
    let mut made = BTreeMap::new();
    for (name, process) in games {
        let line = process.last_line(PATIENCE)?;
        let counts: Option<Vec<u64>> =
            line.strip_prefix("made ").map(|counts| counts.split(' ').flat_map(str::parse).collect());
        let Some(&[calls, errors]) = counts.as_deref() else {
            bail!("{name} said `{line}` where its counts should be");
        };
        made.insert(*name, Made { calls, errors });
    }
    Ok(made)
}

/// `/metrics` when no call has been added for a while.
fn settled_page(listen: SocketAddr) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = (Instant::now(), 0);
    loop {
        let page = scrape::page(listen, "/metrics")?;
        let calls = Figures::of(&scrape::samples(&page)).calls();
        if calls != last.1 {
            last = (Instant::now(), calls);
        }
        if last.0.elapsed() > QUIET || Instant::now() > deadline {
            return Ok(page);
        }
        std::thread::sleep(BEAT);
    }
}

fn figures(listen: SocketAddr) -> anyhow::Result<Figures> {
    Ok(Figures::of(&scrape::samples(&scrape::page(listen, "/metrics")?)))
}

fn check_alive(stage: &Stage, watcher: &mut Process) -> anyhow::Result<()> {
    if let Some(status) = watcher.ended()? {
        bail!("the daemon ended with {status}; its log: {}", log(stage));
    }
    Ok(())
}

fn log(stage: &Stage) -> String {
    let log = fs::read_to_string(stage.file("rotrace.log")).unwrap_or_default();
    if log.trim().is_empty() { "empty".to_owned() } else { format!("\n{}", log.trim()) }
}
