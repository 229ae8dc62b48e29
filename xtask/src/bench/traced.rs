//! Given: a server at full load. Gives: its throughput with and without tracing, in rounds that are mixed, as ratios to
//! the untraced measurements before and after, and to the least that a tracer can do; and the time of those who take the
//! records for each request. Refuses to know: why.
//!
//! Server, load and daemon share the processors, so a ratio holds all that tracing takes: the probes in the server, and
//! the time of the daemon that the others do not get.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::floor::{Floor, Taken};
use super::quartiles::Quartiles;
use super::stage::{Load, Owned, Server};
use super::watch::{Rotrace, Said};

/// What is measured between two untraced measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    /// Nothing: how far untraced measurements lie apart.
    Untraced,
    /// The floor: a probe that copies 256 bytes a call, and somebody who throws them away.
    Bare,
    /// `rotrace run`.
    Daemon,
    /// `rotrace attach --format json`, read by nobody.
    Attached,
    /// `rotrace attach` to a process that does nothing: what those pay who are not watched.
    Bystander,
}

/// What is compared with each other stands side by side: the machine may be another one a minute later.
const VARIANTS: [Variant; 5] =
    [Variant::Untraced, Variant::Bare, Variant::Daemon, Variant::Attached, Variant::Bystander];

/// One measurement beside its untraced neighbours.
struct Measured {
    round: u32,
    variant: Variant,
    ratio: f64,
    load: Load,
    /// Of those who take the records, while the load lasted.
    cpu: Duration,
}

/// What was seen in all rounds together.
#[derive(Debug, Default)]
struct Seen {
    /// By what the load says; what was in flight at its end is not in it.
    made: u64,
    daemon: Said,
    floor: Taken,
}

/// Measures, and prints a table.
pub(super) fn run(rounds: u32, seconds: u32) -> anyhow::Result<()> {
    let server = Server::start()?;
    let bench = Bench { rotrace: Rotrace::build(&server)?, floor: Floor::build()?, server, seconds };
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
            measured.push(Measured { round, variant, ratio, load, cpu });
            untraced.push(after.per_second);
            before = after;
        }
        eprintln!("round {round} of {rounds}");
    }
    let (made, read) = bench.attached_and_read()?;
    print!("{}", table(&measured, &untraced, rounds, seconds)?);
    let Seen { made: made_by_load, daemon, floor } = seen;
    println!(
        "run: {} of {made_by_load} calls seen, {} of {} records lost; attach, its lines read: {read} of {made} calls \
         seen; bare: {} of {} records lost",
        daemon.calls,
        daemon.lost,
        daemon.records,
        floor.lost,
        floor.records + floor.lost
    );
    Ok(())
}

struct Bench {
    rotrace: Rotrace,
    floor: Floor,
    server: Server,
    seconds: u32,
}

impl Bench {
    fn measure(&self, variant: Variant, seen: &mut Seen) -> anyhow::Result<(Load, Duration)> {
        match variant {
            Variant::Untraced => Ok((self.server.load(self.seconds)?, Duration::ZERO)),
            Variant::Bare => {
                let floor = self.floor.attach(self.server.worker()?)?;
                let load = self.server.load(self.seconds)?;
                let taken = floor.end()?;
                seen.floor.records += taken.records;
                seen.floor.lost += taken.lost;
                Ok((load, taken.cpu))
            }
            Variant::Daemon => {
                let mut daemon = self.rotrace.daemon(&self.server)?;
                let cpu = daemon.process.cpu()?;
                let load = self.server.load(self.seconds)?;
                let cpu = daemon.process.cpu()?.saturating_sub(cpu);
                let said = daemon.said()?;
                seen.made += load.requests;
                seen.daemon.calls += said.calls;
                seen.daemon.records += said.records;
                seen.daemon.lost += said.lost;
                daemon.end()?;
                Ok((load, cpu))
            }
            Variant::Attached => self.load_beside(self.attach(self.server.worker()?, Stdio::null())?),
            Variant::Bystander => {
                let idle = Owned::start(Command::new("sleep").arg("infinity"))?;
                self.load_beside(self.attach(idle.pid(), Stdio::null())?)
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

    fn attach(&self, pid: u32, stdout: Stdio) -> anyhow::Result<Owned> {
        self.rotrace.attach(&self.server, pid, stdout)
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

fn table(measured: &[Measured], untraced: &[f64], rounds: u32, seconds: u32) -> anyhow::Result<String> {
    let mut text = format!(
        "{rounds} rounds of {seconds} s; medians, and in brackets the middle half\nuntraced: {:.0} requests/s\n",
        Quartiles::of(untraced.iter().copied()).context("no measurements")?,
    );
    let mut line = |cells: [&str; 4]| {
        let [name, ratio, floor, cost] = cells;
        text.push_str(format!("{name:<11}{ratio:<26}{floor:<26}{cost}").trim_end());
        text.push('\n');
    };
    line(["", "ratio to untraced", "ratio to bare", "µs for each request"]);
    for variant in VARIANTS {
        let of = || measured.iter().filter(|measured| measured.variant == variant);
        let ratio = Quartiles::of(of().map(|measured| measured.ratio)).context("no rounds")?;
        let floor = if matches!(variant, Variant::Daemon | Variant::Attached) {
            Quartiles::of(to_floor(measured, variant)).context("no rounds")?.to_string()
        } else {
            String::new()
        };
        let cost =
            of().map(|measured| measured.cpu.as_secs_f64() * 1e6 / measured.load.requests.max(1) as f64);
        let cost = Quartiles::of(cost).context("no rounds")?;
        let cost = if variant == Variant::Untraced { String::new() } else { format!("{cost:.2}") };
        line([variant.name(), &ratio.to_string(), &floor, &cost]);
    }
    Ok(text)
}

/// What a variant leaves of what the floor of the same round leaves.
fn to_floor(measured: &[Measured], variant: Variant) -> impl Iterator<Item = f64> {
    measured.iter().filter(move |measured| measured.variant == variant).filter_map(|one| {
        let floor =
            measured.iter().find(|other| other.round == one.round && other.variant == Variant::Bare)?;
        Some(one.ratio / floor.ratio)
    })
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Untraced => "untraced",
            Variant::Bare => "bare",
            Variant::Daemon => "run",
            Variant::Attached => "attach",
            Variant::Bystander => "bystander",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(round: u32, variant: Variant, ratio: f64, millis: u64) -> Measured {
        Measured {
            round,
            variant,
            ratio,
            load: Load { requests: 1000, per_second: 1.0 },
            cpu: Duration::from_millis(millis),
        }
    }

    #[test]
    fn the_table_has_medians_and_costs() {
        let measured = [
            measured(1, Variant::Untraced, 1.0, 0),
            measured(1, Variant::Bare, 0.8, 1),
            measured(1, Variant::Daemon, 0.6, 2),
            measured(1, Variant::Attached, 0.5, 3),
            measured(1, Variant::Bystander, 0.99, 0),
        ];
        assert_eq!(
            table(&measured, &[100.0, 200.0], 1, 3).expect("a table"),
            "1 rounds of 3 s; medians, and in brackets the middle half\n\
             untraced: 150 (125 to 175) requests/s\n           \
             ratio to untraced         ratio to bare             µs for each request\n\
             untraced   1.000 (1.000 to 1.000)\n\
             bare       0.800 (0.800 to 0.800)                              1.00 (1.00 to 1.00)\n\
             run        0.600 (0.600 to 0.600)    0.750 (0.750 to 0.750)    2.00 (2.00 to 2.00)\n\
             attach     0.500 (0.500 to 0.500)    0.625 (0.625 to 0.625)    3.00 (3.00 to 3.00)\n\
             bystander  0.990 (0.990 to 0.990)                              0.00 (0.00 to 0.00)\n"
        );
    }

    #[test]
    fn the_floor_is_that_of_the_same_round() {
        let measured = [
            measured(1, Variant::Bare, 0.5, 0),
            measured(1, Variant::Daemon, 0.25, 0),
            measured(2, Variant::Bare, 1.0, 0),
            measured(2, Variant::Daemon, 0.75, 0),
            // Its floor was not measured.
            measured(3, Variant::Daemon, 0.5, 0),
        ];
        assert_eq!(to_floor(&measured, Variant::Daemon).collect::<Vec<_>>(), [0.5, 0.75]);
        assert_eq!(to_floor(&measured, Variant::Attached).count(), 0);
    }
}
