//! Given: a configuration, or PIDs. Gives: `run` and `attach`. Refuses to know: records and libraries; that is the
//! session's.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow, bail};
use tracing::{debug, error, info, warn};

use super::cli;
use super::clock::{monotonic_ns, wall_clock};
use super::cost::PlayerFeed;
use super::dictionary;
use super::offline::settings;
use super::output::Output;
use super::recorder::Recorder;
use super::seeker::Seeker;
use super::server::{self, Readiness, State};
use super::session::{Session, proc};
use super::signals::Signals;
use crate::capture::Description;
use crate::config::{self, Config};
use crate::cost::players::Estimate;
use crate::endpoint::learned::Label;
use crate::exchange::Role;
use crate::keyed::Key;
use crate::metrics::{Scrape, SelfMetrics};
use crate::pipeline::Pipeline;
use crate::probe::host::{Family, Host};
use crate::probe::{self, Probes};
use crate::redact::{Kept, Redactor};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SECOND_NS: u64 = 1_000_000_000;
/// So often what was learned of endpoints is written.
const KEPT_NS: u64 = 300 * SECOND_NS;
/// So often users are counted whose games nobody tells the players of.
const ESTIMATE_NS: u64 = 10 * SECOND_NS;
/// Records of the last calls of a process may follow on its end by so much.
const AFTERMATH: usize = 3;

/// `rotrace attach`.
pub(super) fn attach(asked: cli::Attach, config: &Config) -> anyhow::Result<()> {
    let host = Host::read(Path::new("/"));
    let clock = wall_clock();
    let keys: Vec<Box<str>> = config.privacy.query_keys.iter().map(|key| key.as_str().into()).collect();
    let mut output = Output::new(asked.format, clock, keys.clone());
    let mut pipeline = Pipeline::new(settings(config, &[Role::Client, Role::Server], random_key()?)?);
    if let Some(learned) = dictionary::of(config)? {
        pipeline.learn(learned);
    }
    let kept = Kept { query_keys: keys, fields: pipeline.rules().wanted_fields(), key: random_key()? };
    let redactor = (!asked.unredacted).then(|| Redactor::new(kept, config.limits.connections));
    let probes = Probes::load(&host, probe_settings(config, asked.probes))?;
    for reason in refused(&probes) {
        debug!("{reason}");
    }
    let description = Description {
        rotrace: VERSION.to_owned(),
        kernel: host.release.clone(),
        wall_clock_offset_ns: clock.offset_ns as i64,
        redacted: redactor.is_some(),
    };
    let recorder =
        asked.record.as_deref().map(|path| Recorder::create(path, &description, redactor)).transpose()?;
    let family = probes.family().name();
    let mut session = Session::new(probes, pipeline, recorder, &config.tls);
    for &pid in &asked.pids {
        if pid == std::process::id() {
            bail!("process {pid} is rotrace itself, which is never traced");
        }
        session.add(pid).with_context(|| format!("cannot attach to process {pid}"))?;
    }
    let signals = Signals::default();
    serve_in_background(signals.clone(), None)?;
    let processes = if session.targets() == 1 { "process" } else { "processes" };
    let _ = writeln!(
        io::stderr(),
        "rotrace: attached to {} {processes} (probes: {family}); Ctrl-C ends",
        session.targets(),
    );
    for (pid, library) in session.uncovered() {
        warn!(pid, "TLS is not read: {library}");
    }
    let until_ns = asked.duration.map(|duration| monotonic_ns().saturating_add(duration.as_nanos() as u64));
    let watched = watch(&mut session, &mut output, &signals, until_ns);
    let finished = session.finish(&mut |event| output.take(event));
    let summary = session.pipeline.summary();
    output.summary(&summary, session.pipeline.prices(), &session.pipeline.detectors().snapshot());
    session.detach();
    watched.and(finished)?;
    output.result()
}

/// Shows calls until it is time to stop, or there is nobody left to watch, or nobody to show them to.
fn watch(
    session: &mut Session,
    output: &mut Output,
    signals: &Signals,
    until_ns: Option<u64>,
) -> anyhow::Result<()> {
    let mut next_tick_ns = monotonic_ns() + SECOND_NS;
    let mut alone = 0;
    while !signals.stop() && alone < AFTERMATH && !output.is_done() {
        session.step(&mut |event| output.take(event))?;
        alone = if session.targets() == 0 { alone + 1 } else { 0 };
        let now_ns = monotonic_ns();
        if now_ns >= next_tick_ns {
            next_tick_ns = now_ns + SECOND_NS;
            session.tick(&mut |event| output.take(event))?;
        }
        output.flush();
        if until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
            break;
        }
    }
    Ok(())
}

/// `rotrace run`.
pub(super) fn run(path: &Path, mut config: Config, asked: Option<Family>) -> anyhow::Result<()> {
    let listener = server::bind(config.metrics.listen)?;
    let address = listener.local_addr()?;
    let published = Arc::new(Mutex::new(empty_scrape()));
    let reader = Arc::clone(&published);
    let state = Arc::new(State::new(
        VERSION,
        wall_clock(),
        Box::new(move || reader.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    ));
    let host = Host::read(Path::new("/"));
    let probes = Probes::load(&host, probe_settings(&config, asked))?;
    for reason in refused(&probes) {
        info!("{reason}");
    }
    let family = probes.family().name();
    info!("probes: {family}, kernel {}; metrics: http://{address}/metrics", host.release);
    if let Some(clock) = host
        .clocksource
        .as_deref()
        .filter(|clock| !matches!(*clock, "tsc" | "kvm-clock" | "arch_sys_counter"))
    {
        warn!("the clock source of this host is {clock}: reading it makes every record dearer");
    }
    let mut pipeline = Pipeline::new(settings(&config, &[Role::Client], random_key()?)?);
    info!("cost model: {}", pipeline.prices().model());
    pipeline.estimate_players(config.cost.estimate_players.then(Estimate::default));
    let mut dictionary = None;
    match config.endpoints.dictionary.as_deref().map(dictionary::read) {
        Some(Ok(Some(learned))) => {
            dictionary = Some(learned.label());
            pipeline.learn(learned);
        }
        // There is none yet: what is in use is empty.
        Some(Ok(None)) => dictionary = Some(pipeline.endpoints().learned().label()),
        None => {}
        // Nobody knows what it is: it would not be right to write over it.
        Some(Err(why)) => {
            error!("what was learned of endpoints is not used, and not kept until the next start: {why:#}");
            config.endpoints.dictionary = None;
        }
    }
    let session = Session::new(probes, pipeline, None, &config.tls);
    let signals = Signals::default();
    let served = serve_in_background(signals.clone(), Some((listener, Arc::clone(&state))))?;
    let mut players = PlayerFeed::default();
    players.follow(&config.cost)?;
    let seeker = Seeker::start(proc(), session.pipeline.rules().clone())?;
    let mut daemon = Daemon {
        session,
        seeker,
        config,
        family,
        published,
        players,
        next_estimate_ns: 0,
        dictionary,
        kept_ns: monotonic_ns(),
    };
    daemon.follow_wall_clock();
    daemon.add_found();
    daemon.publish();
    state.replace_readiness(Readiness::Ready);
    let ran = daemon.run(path, &signals);
    state.replace_readiness(Readiness::NotReady("shutting down".to_owned()));
    let finished = daemon.session.finish(&mut |_| {});
    daemon.publish();
    daemon.keep();
    daemon.session.detach();
    info!(calls = daemon.session.pipeline.summary().calls(), "stopped");
    // A failed loop has not been asked to stop, so the server has not either.
    ran.and(finished)?;
    served.join().map_err(|_| anyhow!("the metrics server panicked"))?
}

/// The state of `run`.
struct Daemon {
    session: Session,
    seeker: Seeker,
    config: Config,
    family: &'static str,
    published: Arc<Mutex<Scrape>>,
    players: PlayerFeed,
    next_estimate_ns: u64,
    /// What was read or written last of what was learned.
    dictionary: Option<Label>,
    /// When what was learned was last written.
    kept_ns: u64,
}

impl Daemon {
    fn run(&mut self, path: &Path, signals: &Signals) -> anyhow::Result<()> {
        let mut next_tick_ns = monotonic_ns() + SECOND_NS;
        while !signals.stop() {
            self.session.step(&mut |_| {})?;
            self.add_found();
            if signals.take_reload() {
                self.reload(path);
            }
            let now_ns = monotonic_ns();
            if now_ns >= next_tick_ns {
                next_tick_ns = now_ns + SECOND_NS;
                self.session.tick(&mut |_| {})?;
                self.players.tick(now_ns);
                if now_ns >= self.next_estimate_ns {
                    self.next_estimate_ns = now_ns + ESTIMATE_NS;
                    self.players.estimate(now_ns, &self.session.pipeline.estimated_players(now_ns));
                }
                self.follow_wall_clock();
                self.session.pipeline.expire(now_ns, self.config.metrics.idle_series.as_nanos() as u64);
                self.publish();
                if now_ns.saturating_sub(self.kept_ns) >= KEPT_NS {
                    self.kept_ns = now_ns;
                    self.keep();
                }
            }
        }
        Ok(())
    }

    /// Writes what was learned of endpoints. What cannot be written is no reason to stop.
    fn keep(&mut self) {
        let Some(path) = &self.config.endpoints.dictionary else { return };
        let learned = self.session.pipeline.endpoints().learned();
        match dictionary::write(path, learned) {
            Ok(()) => self.dictionary = Some(learned.label()),
            Err(why) => warn!("{why:#}"),
        }
    }

    /// Watches processes that a rule selects.
    fn add_found(&mut self) {
        for pid in self.seeker.found() {
            if self.session.has_target(pid) {
                continue;
            }
            match self.session.add(pid) {
                Ok(()) => debug!(pid, "watched"),
                Err(why) => warn!(pid, "cannot watch the process: {why:#}"),
            }
        }
    }

    /// Takes the configuration again; a bad one leaves the old one in force.
    fn reload(&mut self, path: &Path) {
        let loaded = config::load(path).map_err(anyhow::Error::from).and_then(|new| {
            new.require_targets(path)?;
            // The pipeline keeps the key that it has.
            let settings = settings(&new, &[Role::Client], Key::default())?;
            Ok((new, settings))
        });
        match loaded {
            Ok((new, settings)) => {
                info!("cost model: {}", settings.prices.model());
                let changes = self.config.changes(&new);
                let fixed: Vec<_> =
                    changes.iter().filter(|key| matches!(**key, "detect" | "limits" | "log")).collect();
                let is_moved = self.config.endpoints.dictionary != new.endpoints.dictionary;
                if !fixed.is_empty() || self.config.metrics.listen != new.metrics.listen || is_moved {
                    warn!(
                        "detect, limits, log, metrics.listen and endpoints.dictionary change with a restart only"
                    );
                }
                info!(
                    "configuration read again; changed: {}",
                    if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") }
                );
                self.seeker.follow(settings.rules.clone());
                self.session.pipeline.replace_settings(settings);
                self.session.follow(&new.tls);
                if let Err(why) = self.players.follow(&new.cost) {
                    error!("players are not counted: {why:#}");
                }
                if self.config.cost.estimate_players != new.cost.estimate_players {
                    self.session.pipeline.estimate_players(new.cost.estimate_players.then(Estimate::default));
                }
                let dictionary = self.config.endpoints.dictionary.take();
                self.config = new;
                self.config.endpoints.dictionary = dictionary;
            }
            Err(why) => error!("the old configuration stays in force: {why:#}"),
        }
    }

    /// The wall clock may have been set.
    fn follow_wall_clock(&mut self) {
        // Nanoseconds of 292 years.
        if let Ok(offset_ns) = i64::try_from(wall_clock().offset_ns) {
            self.session.pipeline.set_realtime_offset_ns(offset_ns);
        }
    }

    fn publish(&mut self) {
        let targets = self.session.targets() as u64;
        let recursion_misses = self.session.recursion_misses.clone();
        let pipeline = &mut self.session.pipeline;
        let (cpu_seconds, resident_bytes) = own_cost();
        let endpoints = pipeline.endpoints();
        let own = SelfMetrics {
            version: VERSION,
            probe_family: Some(self.family),
            recursion_misses,
            cpu_seconds,
            resident_bytes,
            processes: pipeline.processes_by_game(),
            endpoint_templates: endpoints
                .templates()
                .map(|(authority, tier, count)| ((authority.into(), tier.as_str()), count as u64))
                .collect(),
            endpoint_overflow: endpoints
                .overflow()
                .map(|(authority, calls)| (authority.into(), calls))
                .collect(),
            endpoint_dictionary: self.dictionary,
            endpoint_dictionary_refused: endpoints.learned().refused(),
            targets,
            player_seconds: self
                .players
                .seconds()
                .totals()
                .map(|(game, source, seconds)| ((game.as_ref().into(), source.as_str()), seconds))
                .collect(),
            cost_model: {
                let model = pipeline.prices().model();
                Some((model.mode.to_string().into(), model.label().into()))
            },
        };
        let waste = Arc::new(pipeline.detectors().snapshot());
        let summary = Arc::new(self.session.pipeline.summary());
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Scrape { summary, waste, own };
    }
}

fn empty_scrape() -> Scrape {
    Scrape {
        summary: Arc::default(),
        waste: Arc::default(),
        own: SelfMetrics { version: VERSION, ..SelfMetrics::default() },
    }
}

/// A key that nobody knows.
fn random_key() -> anyhow::Result<Key> {
    Ok(Key::new(probe::random().context("ask the kernel for random bytes")?))
}

/// Which better probes this kernel refused, and why.
fn refused(probes: &Probes) -> impl Iterator<Item = String> {
    let refused = probes.refused().iter();
    refused.map(|(family, why)| format!("probes: not {}, for this kernel refuses them: {why}", family.name()))
}

fn probe_settings(config: &Config, family: Option<Family>) -> probe::Settings {
    probe::Settings {
        ring_bytes: config.limits.ring_bytes,
        sockets: config.limits.sockets,
        targets: config.limits.targets,
        family,
    }
}

/// Listens to signals, and serves when there is something to serve, until it is time to stop.
fn serve_in_background(
    signals: Signals,
    serving: Option<(TcpListener, Arc<State>)>,
) -> anyhow::Result<thread::JoinHandle<anyhow::Result<()>>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let serve = move || {
        runtime.block_on(async {
            let stop = async {
                if let Err(why) = signals.listen().await {
                    warn!("cannot listen to signals: {why}");
                }
            };
            match serving {
                Some((listener, state)) => server::serve(listener, state, stop).await,
                None => {
                    stop.await;
                    Ok(())
                }
            }
        })
    };
    thread::Builder::new().name("rotrace-serve".to_owned()).spawn(serve).context("start a thread")
}

/// Processor time and memory of this process, as far as procfs says.
fn own_cost() -> (Option<f64>, Option<u64>) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: a valid rusage for this process.
    let read = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: zeroed is a valid rusage, filled or not.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = (read == 0).then(|| seconds(usage.ru_utime) + seconds(usage.ru_stime));
    let resident = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        // SAFETY: sysconf has no preconditions.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        pages.checked_mul(u64::try_from(page_bytes).ok()?)
    });
    (cpu, resident)
}
