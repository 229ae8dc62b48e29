//! Given: a server at full load. Gives: its throughput with and without tracing, in rounds that are mixed, as ratios to
//! the untraced measurements before and after; and the daemon's own time for each call. Refuses to know: why.
//!
//! Server, load and daemon share the processors, so a ratio holds all that tracing takes: the probes in the server, and
//! the time of the daemon that the others do not get.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::quartiles::Quartiles;
use super::stage::{Load, Owned, Server, free_address};
use crate::demo::scrape::{page, samples};
use crate::repository::{cargo, run as run_command, target};

/// What is measured between two untraced measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    /// Nothing: how far untraced measurements lie apart.
    Untraced,
    /// `rotrace attach --format json`, read by nobody.
    Attached,
    /// `rotrace run`.
    Daemon,
    /// `rotrace attach` to a process that does nothing: what those pay who are not watched.
    Bystander,
}

const VARIANTS: [Variant; 4] = [Variant::Untraced, Variant::Attached, Variant::Daemon, Variant::Bystander];

/// One measurement beside its untraced neighbours.
struct Measured {
    variant: Variant,
    ratio: f64,
    load: Load,
    /// Of rotrace, while the load lasted.
    cpu: Duration,
}

/// What `run` says of itself at the end of a measurement.
#[derive(Debug, Default)]
struct Seen {
    /// By what the load says; what was in flight at its end is not in it.
    made: u64,
    calls: f64,
    lost: f64,
    records: f64,
}

/// Measures, and prints a table.
pub(super) fn run(rounds: u32, seconds: u32) -> anyhow::Result<()> {
    run_command(cargo().args(["build", "--quiet", "--release", "--package", "rotrace", "--bin", "rotrace"]))
        .context("build the daemon")?;
    let bench = Bench { rotrace: target().join("release/rotrace"), server: Server::start()?, seconds };
    // The first load finds cold caches.
    bench.server.load(1)?;
    let mut before = bench.server.load(seconds)?;
    let mut untraced = vec![before.per_second];
    let mut measured = Vec::new();
    let mut seen = Seen::default();
    for round in 1..=rounds {
        for variant in VARIANTS {
            let (load, cpu) = bench.measure(variant, &mut seen)?;
            let after = bench.server.load(seconds)?;
            let ratio = load.per_second / ((before.per_second + after.per_second) / 2.0);
            measured.push(Measured { variant, ratio, load, cpu });
            untraced.push(after.per_second);
            before = after;
        }
        eprintln!("round {round} of {rounds}");
    }
    let (made, read) = bench.attached_and_read()?;
    print!("{}", table(&measured, &untraced, rounds, seconds)?);
    println!(
        "run: {} of {} calls seen, {} of {} records lost; attach, its lines read: {read} of {made} calls seen",
        seen.calls, seen.made, seen.lost, seen.records
    );
    Ok(())
}

struct Bench {
    rotrace: PathBuf,
    server: Server,
    seconds: u32,
}

impl Bench {
    fn measure(&self, variant: Variant, seen: &mut Seen) -> anyhow::Result<(Load, Duration)> {
        match variant {
            Variant::Untraced => Ok((self.server.load(self.seconds)?, Duration::ZERO)),
            Variant::Attached => self.load_beside(self.attach(self.server.worker()?, Stdio::null())?),
            Variant::Bystander => {
                let idle = Owned::start(Command::new("sleep").arg("infinity"))?;
                self.load_beside(self.attach(idle.pid(), Stdio::null())?)
            }
            Variant::Daemon => {
                let listen = free_address()?;
                let mut daemon = self.daemon(listen)?;
                let cpu = daemon.cpu()?;
                let load = self.server.load(self.seconds)?;
                let cpu = daemon.cpu()?.saturating_sub(cpu);
                // It publishes once a second. What it publishes twice from now on holds all of the load.
                for _ in 0..2 {
                    let shown = own_seconds(listen)?;
                    let is_new = || own_seconds(listen).is_ok_and(|now| now != shown);
                    daemon.until("the daemon publishes", is_new)?;
                }
                seen.add(listen, load)?;
                daemon.end()?;
                Ok((load, cpu))
            }
        }
    }

    fn load_beside(&self, rotrace: Owned) -> anyhow::Result<(Load, Duration)> {
        let before = rotrace.cpu()?;
        let load = self.server.load(self.seconds)?;
        let cpu = rotrace.cpu()?.saturating_sub(before);
        rotrace.end()?;
        Ok((load, cpu))
    }

    /// `rotrace attach`, once its probes are there.
    fn attach(&self, pid: u32, stdout: Stdio) -> anyhow::Result<Owned> {
        let log = self.server.file("attach.log");
        let mut command = Command::new(&self.rotrace);
        command.args(["attach", &pid.to_string(), "--format", "json"]).stdout(stdout);
        command.stderr(fs::File::create(&log).context("make the log of rotrace")?);
        let mut rotrace = Owned::start(&mut command)?;
        let text = || fs::read_to_string(&log).unwrap_or_default();
        rotrace.until("rotrace is attached", || text().contains("rotrace: attached")).with_context(text)?;
        Ok(rotrace)
    }

    /// `rotrace run`, once it watches the worker.
    fn daemon(&self, listen: SocketAddr) -> anyhow::Result<Owned> {
        let config = self.server.file("rotrace.toml");
        let text = format!(
            "roles = [\"server\"]\n[[target]]\nexe = \"{}\"\n[metrics]\nlisten = \"{listen}\"\n",
            self.server.executable.display()
        );
        fs::write(&config, text).context("write the configuration")?;
        let log = self.server.file("run.log");
        let mut command = Command::new(&self.rotrace);
        command.arg("run").arg("--config").arg(&config).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).context("make the log of rotrace")?);
        let mut rotrace = Owned::start(&mut command)?;
        // Master and worker.
        let watches = || page(listen, "/metrics").is_ok_and(|page| page.contains("\nrotrace_targets 2\n"));
        let text = || fs::read_to_string(&log).unwrap_or_default();
        rotrace.until("the daemon watches nginx", watches).with_context(text)?;
        Ok(rotrace)
    }

    /// Calls that were made and calls that `attach` says it saw, when somebody reads what it says.
    fn attached_and_read(&self) -> anyhow::Result<(u64, u64)> {
        let mut rotrace = self.attach(self.server.worker()?, Stdio::piped())?;
        let lines = rotrace.stdout().context("it has a standard output")?;
        let reader = thread::spawn(move || {
            let lines = BufReader::new(lines).lines().map_while(Result::ok);
            lines.filter(|line| line.starts_with("{\"type\":\"call\"")).count() as u64
        });
        let load = self.server.load(self.seconds)?;
        rotrace.end()?;
        let read = reader.join().ok().context("read what rotrace says")?;
        ensure!(read > 0, "rotrace saw no call");
        Ok((load.requests, read))
    }
}

impl Seen {
    fn add(&mut self, daemon: SocketAddr, load: Load) -> anyhow::Result<()> {
        self.made += load.requests;
        for sample in samples(&page(daemon, "/metrics")?) {
            match &*sample.name {
                "rotrace_http_server_requests_total" => self.calls += sample.value,
                "rotrace_events_lost_total" => self.lost += sample.value,
                "rotrace_records_total" => self.records += sample.value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the daemon has used of a processor, as it says itself: another number each time it publishes.
fn own_seconds(daemon: SocketAddr) -> anyhow::Result<f64> {
    let samples = samples(&page(daemon, "/metrics")?);
    let own = samples.iter().find(|sample| sample.name == "rotrace_process_cpu_seconds_total");
    Ok(own.context("the daemon says what it has used")?.value)
}

fn table(measured: &[Measured], untraced: &[f64], rounds: u32, seconds: u32) -> anyhow::Result<String> {
    let mut text = format!(
        "{rounds} rounds of {seconds} s; medians, and in brackets the middle half\nuntraced: {:.0} requests/s\n{:<11}{:<26}{}\n",
        Quartiles::of(untraced.iter().copied()).context("no measurements")?,
        "",
        "ratio to untraced",
        "µs of rotrace for each request",
    );
    for variant in VARIANTS {
        let of = || measured.iter().filter(|measured| measured.variant == variant);
        let ratio = Quartiles::of(of().map(|measured| measured.ratio)).context("no rounds")?;
        let cost =
            of().map(|measured| measured.cpu.as_secs_f64() * 1e6 / measured.load.requests.max(1) as f64);
        let cost = Quartiles::of(cost).context("no rounds")?;
        let cost = if variant == Variant::Untraced { String::new() } else { format!("{cost:.2}") };
        text.push_str(format!("{:<11}{:<26}{cost}", variant.name(), ratio.to_string()).trim_end());
        text.push('\n');
    }
    Ok(text)
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Untraced => "untraced",
            Variant::Attached => "attach",
            Variant::Daemon => "run",
            Variant::Bystander => "bystander",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_medians_and_costs() {
        let one = |variant, ratio, millis| Measured {
            variant,
            ratio,
            load: Load { requests: 1000, per_second: 1.0 },
            cpu: Duration::from_millis(millis),
        };
        let measured = [
            one(Variant::Untraced, 1.0, 0),
            one(Variant::Attached, 0.75, 2),
            one(Variant::Daemon, 0.5, 1),
            one(Variant::Bystander, 0.99, 0),
        ];
        assert_eq!(
            table(&measured, &[100.0, 200.0], 1, 3).expect("a table"),
            "1 rounds of 3 s; medians, and in brackets the middle half\n\
             untraced: 150 (125 to 175) requests/s\n           \
             ratio to untraced         µs of rotrace for each request\n\
             untraced   1.000 (1.000 to 1.000)\n\
             attach     0.750 (0.750 to 0.750)    2.00 (2.00 to 2.00)\n\
             run        0.500 (0.500 to 0.500)    1.00 (1.00 to 1.00)\n\
             bystander  0.990 (0.990 to 0.990)    0.00 (0.00 to 0.00)\n"
        );
    }
}
