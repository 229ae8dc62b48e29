//! Given: a plan of about a minute, and a machine with root, BTF, OpenSSL, and the clients of the live tests. Gives: the plan
//! played by real clients and a real server over sockets and TLS, what the real daemon sees of it, and how right that is: call by
//! call, and by the score of every other plan. Refuses to know: how the daemon sees it.
//!
//! Only processes that this started are traced, by their PID. Whatever ends the play ends them, and with the daemon its probes.

mod calls;
mod findings;
mod script;
mod stage;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use rotrace::detect::finding::Severity;
use serde_json::Value;

use self::calls::Differences;
use self::findings::{Reader, wasted};
use self::stage::{Platform, Stage};
use super::calls::{Harm, Maker};
use super::plan::{Intensity, Planned, SECOND};
use super::scenarios::BRISK;
use super::scene::Tempo;
use super::schedule::{INSTANCE_NS, Schedule, Settings};
use super::score;
use super::synth::{Played, Tally};
use super::world::Profile;
use crate::demo::daemon;
use crate::process::Process;
use crate::stop::{PAUSE, Stop};

/// Far more calls than one host can play in the longest play.
const CALLS_MAX: usize = 60_000;

/// Of a play, this is left for what goes on when the last instance has begun.
const INSTANCE_SHARE: f64 = 0.8;

/// The product tells no severity of a process that is younger.
const WARM_UP: Duration = Duration::from_secs(60);

/// How long games may take beyond the plan; and the daemon, to count what they have done.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without a new line for so long, the daemon has told all calls.
const QUIET: Duration = Duration::from_millis(2_500);

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Names of rows; all that fit when empty.
    pub(crate) only: Vec<String>,
    pub(crate) age: Age,
    /// The daemon; built when it is not given.
    pub(crate) daemon: Option<PathBuf>,
    /// Where all that the daemon says is left.
    pub(crate) said: Option<PathBuf>,
    pub(crate) view: score::View,
}

/// How old games are when the play begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// A minute, so that severities are told.
    Grown,
    /// As old as they are. No severity is told of them, so that all that is told counts.
    Young,
}

/// What was heard of a play.
struct Heard {
    /// When it began; nanoseconds since 1970.
    began_ns: u64,
    /// What the daemon said, with when that came, in nanoseconds since the play began.
    lines: Vec<(u64, String)>,
    /// Numbers of calls that were given up before they came to the platform.
    not_served: Vec<usize>,
}

/// What the daemon saw of a play.
struct Seen {
    calls: Vec<Value>,
    /// With when each came, in nanoseconds since the play began.
    findings: Vec<(u64, Value)>,
    summary: Value,
}

/// Plays a plan. The text says what was seen of it; it is an error if that is not what was done.
pub(crate) fn run(live: &Live) -> anyhow::Result<String> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a play loads probes into the kernel, which needs root: run it as root (sudo -E cargo xtask lab live)"
    );
    live.check()?;
    let stop = Stop::on_signals()?;
    let daemon = live.daemon.clone().map_or_else(daemon, Ok)?;
    let settings = live.settings();
    let mut schedule = Schedule::new(&settings);
    let planned: Vec<Planned> = schedule.by_ref().flat_map(|slice| slice.calls).collect();
    ensure!(planned.len() <= CALLS_MAX, "{} calls are more than can be played", planned.len());
    let world = &schedule.world;
    let stage = Stage::set(&planned, world)?;

    // From here on, what is dropped last is what was started first: the daemon goes before the games.
    let mut platform = stage.platform(&stop)?;
    let started = Instant::now();
    let mut games = Vec::new();
    for process in 0..world.processes().len() as u32 {
        let name = &world.game(process).name;
        let (game, client) = stage.game(process, name, &platform, &stop)?;
        let own = planned.iter().filter(|call| call.process == process).count();
        eprintln!("{name:<10} pid {:<8} {own:>5} calls through {client}", game.pid());
        games.push(game);
    }
    let pids: Vec<u32> = games.iter().map(Process::pid).collect();
    let mut watcher = stage.watcher(&daemon, &pids, &stop)?;
    if live.age == Age::Grown {
        eprintln!("Waiting until the games are a minute old: of younger ones the product tells no severity.");
        stop.wait_until(started + WARM_UP);
    }
    let last_ns = planned.iter().map(Planned::end_ns).max().unwrap_or(0);
    eprintln!("Playing {} calls in {} s …", planned.len(), last_ns / SECOND);
    let lasts = Duration::from_nanos(last_ns);
    let Heard { began_ns, lines, not_served } =
        play(&mut games, &mut platform, &mut watcher, &planned, lasts, &stop)
            .with_context(|| format!("play the plan; the daemon's log: {}", stage.log()))?;
    drop(games);
    if let Some(path) = &live.said {
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let seen = Seen::read(&lines)?;

    let said_from = if live.age == Age::Grown { Severity::Warning } else { Severity::Info };
    let reader = Reader { world, began_ns, pids: &pids, said_from };
    let told = reader.told(&seen.findings)?;
    let differences = Differences::of(&planned, &not_served, world, &seen.calls);
    let mut tally = Tally::new(&schedule.instances)?;
    let maker = Maker::new(world, Harm::default());
    planned.iter().for_each(|call| tally.add(call, &maker, world));
    let Tally { marked, benign_calls, .. } = tally;
    let Schedule { world, instances, episodes, .. } = schedule;
    let (findings, wasted, calls) = (told.clone(), wasted(&told), seen.calls.len() as u64);
    let played =
        Played { world, instances, episodes, findings, wasted, marked, calls, benign_calls, claims: None };
    let text = score::of_play(&played, &planned, &settings, live.view)?;

    let lost = &seen.summary["lost"];
    if !differences.is_none() || lost.as_object().is_none_or(|lost| !lost.is_empty()) {
        print!("{text}");
        bail!("{}\nlost, as the daemon says: {lost}; its log: {}", differences.text(), stage.log());
    }
    let equal = format!("{}, each once, and no other; nothing lost.", differences.text());
    if live.view.is_json {
        eprintln!("{equal}");
        return Ok(text);
    }
    Ok(format!("{text}\n{equal}\n"))
}

impl Live {
    fn check(&self) -> anyhow::Result<()> {
        for name in &self.only {
            let Some((_, least_s)) = BRISK.iter().find(|(known, _)| known == name) else {
                let names: Vec<&str> = BRISK.iter().map(|&(name, _)| name).collect();
                bail!("{name} cannot be hurried; these can: {}", names.join(", "));
            };
            ensure!(*least_s <= self.seconds, "{name} takes {least_s} s at least: --for {least_s}s");
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        let instance_ns = (self.seconds as f64 * INSTANCE_SHARE * SECOND as f64) as u64;
        let fit = BRISK.iter().filter(|(_, least_s)| *least_s <= self.seconds);
        let only = match self.only.is_empty() {
            true => fit.map(|&(name, _)| name.to_owned()).collect(),
            false => self.only.clone(),
        };
        Settings {
            seed: self.seed,
            profile: Profile::Few,
            length_s: self.seconds,
            tempo: Tempo::within(instance_ns, INSTANCE_NS),
            // Just above and below thresholds takes longer than anybody waits.
            intensity: Intensity::Clear,
            only,
        }
    }
}

impl Seen {
    fn read(lines: &[(u64, String)]) -> anyhow::Result<Seen> {
        let mut seen = Seen { calls: Vec::new(), findings: Vec::new(), summary: Value::Null };
        for (came_ns, line) in lines {
            let value: Value = serde_json::from_str(line).with_context(|| format!("read `{line}`"))?;
            match value["type"].as_str() {
                Some("call") => seen.calls.push(value),
                Some("finding") => seen.findings.push((*came_ns, value)),
                Some("summary") => seen.summary = value,
                _ => bail!("the daemon said `{line}`"),
            }
        }
        ensure!(seen.summary.is_object(), "the daemon said no summary");
        Ok(seen)
    }
}

/// Lets the games play, and hears what the daemon says meanwhile and at its end.
fn play(
    games: &mut [Process],
    platform: &mut Platform,
    watcher: &mut Process,
    planned: &[Planned],
    lasts: Duration,
    stop: &Stop,
) -> anyhow::Result<Heard> {
    let began_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("read the clock")?;
    let began = Instant::now();
    for game in games.iter_mut() {
        game.tell("go")?;
    }
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut ended = vec![None; games.len()];
    let mut last_new = Instant::now();
    // The daemon tells the last calls a little later.
    while ended.contains(&None) || last_new.elapsed() < QUIET {
        stop.check()?;
        ensure!(began.elapsed() < lasts + PATIENCE, "the games play for longer than they should");
        ensure!(watcher.ended()?.is_none(), "the daemon ended");
        stop.wait_until(Instant::now() + PAUSE);
        let came_ns = began.elapsed().as_nanos() as u64;
        let new = watcher.lines();
        if !new.is_empty() {
            last_new = Instant::now();
        }
        lines.extend(new.into_iter().map(|line| (came_ns, line)));
        for (game, ended) in games.iter().zip(&mut ended) {
            if let Some(line) = game.lines().pop() {
                *ended = Some(line);
                last_new = Instant::now();
            }
        }
    }
    let made: Vec<u64> = ended.iter().flatten().flat_map(|line| counts(line, "made ")).collect();
    platform.process.tell("stop")?;
    let served = counts(&platform.process.last_line(PATIENCE)?, "served ");
    let (others, not_served) = served.split_first().context("the platform says what it served")?;
    let not_served: Vec<usize> = not_served.iter().map(|&number| number as usize).collect();
    let status = watcher.end()?;
    let came_ns = began.elapsed().as_nanos() as u64;
    lines.extend(watcher.last_lines().into_iter().map(|line| (came_ns, line)));
    ensure!(status.success(), "the daemon ended with {status}");

    let (calls, failed): (u64, u64) = (made.iter().step_by(2).sum(), made.iter().skip(1).step_by(2).sum());
    let all = planned.len() as u64;
    ensure!(
        (calls, failed, *others) == (all, 0, 0),
        "of {all} planned calls {calls} were made, of which {failed} failed; the platform was asked {others} other things"
    );
    let is_uncertain = |&&number: &&usize| planned.get(number).is_some_and(Planned::is_uncertain);
    if let Some(number) = not_served.iter().find(|number| !is_uncertain(number)) {
        bail!("call {number} did not come to the platform");
    }
    Ok(Heard { began_ns: began_ns.as_nanos() as u64, lines, not_served })
}

/// The numbers behind a word.
fn counts(line: &str, word: &str) -> Vec<u64> {
    line.strip_prefix(word).into_iter().flat_map(|counts| counts.split(' ').flat_map(str::parse)).collect()
}
