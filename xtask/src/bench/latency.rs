//! Given: a server that is asked at a fixed rate. Gives: the time that 99 of 100 answers take at most, with and without
//! tracing, in rounds that are mixed, as ratios to the untraced measurements before and after. Refuses to know: throughput.

use std::time::Duration;

use anyhow::Context;

use super::client::Client;
use super::floor::Floor;
use super::quartiles::{Quartiles, percentile};
use super::stage::{self, Server};
use super::watch::Rotrace;

/// What is measured between two untraced measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    /// Nothing: how far untraced measurements lie apart.
    Untraced,
    /// The floor, as for throughput.
    Bare,
    /// `rotrace run`.
    Daemon,
}

const VARIANTS: [Variant; 3] = [Variant::Untraced, Variant::Bare, Variant::Daemon];

/// Of the answers of one measurement, in µs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// One measurement beside its untraced neighbours.
struct Measured {
    variant: Variant,
    latency: Latency,
    /// Of the p99.
    ratio: f64,
}

/// Measures, and prints a table.
pub(super) fn run(rounds: u32, seconds: u32, per_second: u32) -> anyhow::Result<()> {
    let server = Server::start()?;
    let rotrace = Rotrace::build(&server)?;
    let floor = Floor::build()?;
    let mut client = Client::connect(server.address(), server.request(stage::PATH))?;
    let mut load = |seconds| Latency::of(client.load(per_second, seconds)?);
    // The first load finds cold caches.
    load(1)?;
    let mut before = load(seconds)?;
    let mut measured = Vec::new();
    let (mut calls, mut lost) = (0.0, 0.0);
    for round in 1..=rounds {
        for variant in VARIANTS {
            let latency = match variant {
                Variant::Untraced => load(seconds)?,
                Variant::Bare => {
                    let floor = floor.attach(server.worker()?)?;
                    let latency = load(seconds)?;
                    floor.end()?;
                    latency
                }
                Variant::Daemon => {
                    let mut daemon = rotrace.daemon(&server)?;
                    let latency = load(seconds)?;
                    let said = daemon.said()?;
                    calls += said.calls;
                    lost += said.lost;
                    daemon.end()?;
                    latency
                }
            };
            let after = load(seconds)?;
            let ratio = latency.p99 / ((before.p99 + after.p99) / 2.0);
            measured.push(Measured { variant, latency, ratio });
            before = after;
        }
        eprintln!("round {round} of {rounds}");
    }
    println!(
        "{rounds} rounds of {seconds} s at {per_second} requests/s; medians, and in brackets the middle half"
    );
    print!("{}", table(&measured)?);
    let made = u64::from(rounds) * u64::from(seconds) * u64::from(per_second);
    println!("run: {calls} of {made} calls seen, {lost} records lost");
    Ok(())
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> anyhow::Result<Latency> {
        times.sort_unstable();
        let micros = |share| Some(percentile(&times, share)?.as_secs_f64() * 1e6);
        let [p50, p99] = [0.5, 0.99].map(micros);
        p50.zip(p99).map(|(p50, p99)| Latency { p50, p99 }).context("nothing was asked")
    }
}

fn table(measured: &[Measured]) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut line = |[name, p50, p99, ratio]: [&str; 4]| {
        text.push_str(format!("{name:<11}{p50:<26}{p99:<26}{ratio}").trim_end());
        text.push('\n');
    };
    line(["", "p50, µs", "p99, µs", "p99, ratio to untraced"]);
    for variant in VARIANTS {
        let quartiles = |of: fn(&Measured) -> f64| {
            let of = measured.iter().filter(|measured| measured.variant == variant).map(of);
            Quartiles::of(of).context("no rounds")
        };
        let p50 = quartiles(|measured| measured.latency.p50)?;
        let p99 = quartiles(|measured| measured.latency.p99)?;
        let ratio = quartiles(|measured| measured.ratio)?;
        line([variant.name(), &format!("{p50:.0}"), &format!("{p99:.0}"), &ratio.to_string()]);
    }
    Ok(text)
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Untraced => "untraced",
            Variant::Bare => "bare",
            Variant::Daemon => "run",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_of_the_answers_in_the_order_of_their_times() {
        let times = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(Latency::of(times).expect("answers"), Latency { p50: 100.0, p99: 198.0 });
        assert!(Latency::of(Vec::new()).is_err());
    }

    #[test]
    fn the_table_has_a_row_for_each_variant() {
        let one = |variant, p99, ratio| Measured { variant, latency: Latency { p50: 50.0, p99 }, ratio };
        let measured = [
            one(Variant::Untraced, 100.0, 1.0),
            one(Variant::Bare, 101.0, 1.01),
            one(Variant::Daemon, 104.0, 1.04),
        ];
        assert_eq!(
            table(&measured).expect("a table"),
            "           p50, µs                   p99, µs                   p99, ratio to untraced\n\
             untraced   50 (50 to 50)             100 (100 to 100)          1.000 (1.000 to 1.000)\n\
             bare       50 (50 to 50)             101 (101 to 101)          1.010 (1.010 to 1.010)\n\
             run        50 (50 to 50)             104 (104 to 104)          1.040 (1.040 to 1.040)\n"
        );
    }
}
