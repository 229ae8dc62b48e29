//! Given: probes, a pipeline, and processes to watch. Gives: the loop in which records are drained, processes are read when
//! they fork, execute or exit, and TLS probes follow them. Refuses to know: who asked for it, and who reads the calls.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rotrace_ebpf::record::{HEADER_BYTES, Record, kind};
use rotrace_ebpf::stats::{LOSSES, LOST_BYTES, Stat};
use tracing::{debug, warn};

use super::clock::monotonic_ns;
use super::recorder::Recorder;
use crate::attribute;
use crate::capture::{self, Losses, ProcessFacts};
use crate::config;
use crate::pipeline::{Output, Pipeline};
use crate::probe::library::{self, Library, Scan};
use crate::probe::program::{self, Loaded};
use crate::probe::{Probes, tls};
use crate::process::{Procfs, Unreadable};

/// Records are drained so often. Waking up for each would cost the traced threads far more than the records do.
pub const DRAIN: Duration = Duration::from_millis(10);

/// Libraries of a target are looked for when a program starts, whenever code of a file is mapped, and so often besides,
/// for the record of that may have been lost.
const RESCAN_NS: u64 = 30_000_000_000;

/// What TLS functions of processes were doing that have exited is forgotten no more often than this.
const FORGET_NS: u64 = 30_000_000_000;

/// The processes and users of this host.
pub(super) fn proc() -> Procfs {
    Procfs::new("/proc", Path::new("/etc/passwd"))
}

/// A process that is captured from.
#[derive(Debug)]
struct Target {
    /// In the PID namespace of the user.
    pid: u32,
    /// In the initial PID namespace.
    initial: u32,
    next_scan_ns: u64,
    /// TLS libraries that are probed in it, by device and inode.
    libraries: BTreeMap<(u64, u64), Probed>,
    uncovered: Vec<library::Uncovered>,
}

/// A TLS library that is probed in a process.
#[derive(Debug)]
struct Probed {
    points: Vec<(tls::Function, u64)>,
    links: tls::Links,
}

/// Everything that one run of the daemon holds.
pub(super) struct Session {
    pub(super) probes: Probes,
    pub(super) pipeline: Pipeline,
    procfs: Procfs,
    pub(super) recorder: Option<Recorder>,
    /// Whether TLS libraries are probed, and what is told of those without symbols.
    tls: config::Tls,
    /// By PID in the initial namespace.
    targets: BTreeMap<u32, Target>,
    libraries: library::Cache,
    /// Of each program, how often the kernel did not run it; as of the last tick.
    pub(super) recursion_misses: BTreeMap<Box<str>, u64>,
    /// A target has exited since what is left of such was forgotten, which may be done again at that time.
    has_left: bool,
    next_forget_ns: u64,
}

/// What a drain brought beside calls.
#[derive(Debug)]
enum Change {
    Forked { child: u32, pid: u32 },
    Executed { process: u32 },
    Mapped { process: u32 },
    Exited { process: u32 },
}

impl Session {
    pub(super) fn new(
        probes: Probes,
        pipeline: Pipeline,
        recorder: Option<Recorder>,
        tls: &config::Tls,
    ) -> Self {
        if tls.openssl {
            debug!("TLS functions are probed by {}", probes.tls_means());
        }
        let recursion_misses = recursion_misses(&probes);
        Session {
            probes,
            pipeline,
            procfs: proc(),
            recorder,
            tls: tls.clone(),
            targets: BTreeMap::new(),
            libraries: library::Cache::new(tls.libraries.clone()),
            recursion_misses,
            has_left: false,
            next_forget_ns: 0,
        }
    }

    /// Takes what the configuration says of TLS now. What it no longer says of a library that is probed acts on processes
    /// that start later.
    pub(super) fn follow(&mut self, tls: &config::Tls) {
        if self.tls == *tls {
            return;
        }
        self.tls = tls.clone();
        self.libraries = library::Cache::new(tls.libraries.clone());
        self.targets.values_mut().for_each(|target| target.next_scan_ns = 0);
    }

    /// How many processes are captured from.
    pub(super) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// True when the process, by the user's PID, is captured from.
    pub(super) fn has_target(&self, pid: u32) -> bool {
        self.targets.values().any(|target| target.pid == pid)
    }

    /// TLS libraries of targets that are not read, for the log and `check`.
    pub(super) fn uncovered(&self) -> impl Iterator<Item = (u32, &library::Uncovered)> {
        self.targets.values().flat_map(|target| target.uncovered.iter().map(|library| (target.pid, library)))
    }

    /// Watches a process from now on. `pid` is the user's.
    pub(super) fn add(&mut self, pid: u32) -> anyhow::Result<()> {
        let process = self.procfs.process(pid).with_context(|| format!("process {pid}"))?;
        let resolved = self.probes.resolve(process.pid())?;
        let now_ns = monotonic_ns();
        // The probes of its libraries come first: attaching takes long, and nobody drains meanwhile.
        let mut target = Target::new(process.pid(), resolved.initial, now_ns);
        if self.tls.openssl {
            let Session { probes, libraries, .. } = self;
            for library in library::installed(&process, libraries) {
                target.attach(probes, library);
            }
            target.scan(probes, &self.procfs, libraries, now_ns);
        }
        describe(&mut self.pipeline, &mut self.recorder, &process, resolved.initial, now_ns)?;
        self.probes.add_target(resolved)?;
        self.targets.insert(resolved.initial, target);
        Ok(())
    }

    /// Waits a moment, drains what has been written, and follows processes. Calls go to `call`.
    pub(super) fn step(&mut self, call: &mut dyn FnMut(Output<'_>)) -> io::Result<()> {
        self.probes.wait(self.until_next());
        self.drain(call)?;
        self.scan_due(monotonic_ns());
        Ok(())
    }

    /// Lets the pipeline know what the probes have lost, and what time it is.
    pub(super) fn tick(&mut self, call: &mut dyn FnMut(Output<'_>)) -> anyhow::Result<()> {
        let now_ns = monotonic_ns();
        let counters = self.probes.counters();
        let count = |stat: Stat| counters.get(stat as usize).copied().unwrap_or(0);
        let counted = |table: &[(Stat, &str)]| {
            table.iter().map(|&(stat, reason)| (reason.to_owned(), count(stat))).collect()
        };
        let mut lost: BTreeMap<String, u64> = counted(&LOSSES);
        self.recursion_misses = recursion_misses(&self.probes);
        lost.insert(capture::NOT_RUN.to_owned(), program::missed(&self.recursion_misses));
        let losses = Losses::from([
            (capture::KERNEL.to_owned(), lost),
            (capture::KERNEL_BYTES.to_owned(), counted(&LOST_BYTES)),
        ]);
        let record = capture::loss_record(now_ns, &losses)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.write(&record)?;
        }
        self.pipeline.feed(&record, call);
        self.let_go_of_the_exited(now_ns, call)?;
        if self.has_left && now_ns >= self.next_forget_ns {
            self.has_left = false;
            self.next_forget_ns = now_ns + FORGET_NS;
            self.probes.forget_tls_of_the_gone();
        }
        self.pipeline.tick(now_ns, call);
        Ok(())
    }

    /// Lets go of targets that are gone without a record of it: it found no room in the ring, and then the probes have let go
    /// of them already; or the kernel did not run the probe. Another process could have the PID next.
    fn let_go_of_the_exited(&mut self, now_ns: u64, call: &mut dyn FnMut(Output<'_>)) -> io::Result<()> {
        let is_gone = |process, pid| !self.probes.has_target(process) || !self.procfs.has(pid);
        let targets = self.targets.iter().map(|(&process, target)| (process, target.pid));
        let exited: Vec<u32> =
            targets.filter(|&(process, pid)| is_gone(process, pid)).map(|(process, _)| process).collect();
        if exited.is_empty() {
            return Ok(());
        }
        // What they did before comes first, and the record that they are gone if there is one.
        self.drain(call)?;
        for process in exited {
            if !self.targets.contains_key(&process) {
                continue;
            }
            let record = capture::gone_record(now_ns, process);
            if let Some(recorder) = &mut self.recorder {
                recorder.write(&record)?;
            }
            self.pipeline.feed(&record, call);
            self.probes.remove_target(process);
            self.apply(Change::Exited { process });
        }
        Ok(())
    }

    /// Takes what is still in the ring, and ends what is in flight.
    pub(super) fn finish(&mut self, call: &mut dyn FnMut(Output<'_>)) -> anyhow::Result<()> {
        self.drain(call)?;
        self.tick(call)?;
        self.pipeline.finish_all(monotonic_ns(), call);
        if let Some(recorder) = &mut self.recorder {
            recorder.finish()?;
        }
        Ok(())
    }

    /// How long nothing has to be done: records wait, a program that has just started does not.
    fn until_next(&self) -> Duration {
        let next_ns = self.targets.values().map(|target| target.next_scan_ns).min().unwrap_or(u64::MAX);
        DRAIN.min(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns())))
    }

    /// Removes the TLS probes of all targets, which would take long one by one.
    pub(super) fn detach(&mut self) {
        std::mem::take(&mut self.targets)
            .into_values()
            .map(Target::into_links)
            .collect::<tls::Links>()
            .drop_together();
    }

    fn drain(&mut self, call: &mut dyn FnMut(Output<'_>)) -> io::Result<()> {
        let mut changes = Vec::new();
        let mut ignored = Vec::new();
        let mut recorded = Ok(());
        let Session { probes, pipeline, procfs, recorder, targets, .. } = self;
        let mut out = |output: Output<'_>| match output {
            Output::Ignore { socket, conn } => ignored.push((socket, conn)),
            output => call(output),
        };
        probes.drain(|bytes| {
            if let Some(recorder) = recorder
                && recorded.is_ok()
            {
                recorded = recorder.write(exact(bytes));
            }
            pipeline.feed(bytes, &mut out);
            let Ok(record) = Record::decode(bytes) else { return };
            // What a program is called must be known before its first call is read: right here, in order.
            if let Some(change) = Change::of(&record) {
                follow(&change, &record, targets, pipeline, procfs, recorder);
                changes.push(change);
            }
        });
        for change in changes {
            self.apply(change);
        }
        for (socket, conn) in ignored {
            self.probes.ignore(socket, conn);
        }
        recorded
    }

    fn apply(&mut self, change: Change) {
        let now_ns = monotonic_ns();
        match change {
            Change::Forked { child, pid } => {
                self.targets.entry(child).or_insert_with(|| Target::new(pid, child, now_ns));
            }
            Change::Executed { process } | Change::Mapped { process } => {
                if let Some(target) = self.targets.get_mut(&process) {
                    target.next_scan_ns = now_ns;
                }
            }
            Change::Exited { process } => {
                self.has_left = true;
                if let Some(target) = self.targets.remove(&process) {
                    target.into_links().drop_in_background();
                }
            }
        }
    }

    /// Looks for TLS libraries in the targets whose time has come.
    fn scan_due(&mut self, now_ns: u64) {
        if !self.tls.openssl {
            return;
        }
        let Session { probes, procfs, targets, libraries, .. } = self;
        for target in targets.values_mut().filter(|target| target.next_scan_ns <= now_ns) {
            target.scan(probes, procfs, libraries, now_ns);
        }
    }
}

impl Target {
    fn new(pid: u32, initial: u32, now_ns: u64) -> Self {
        Target { pid, initial, next_scan_ns: now_ns, libraries: BTreeMap::new(), uncovered: Vec::new() }
    }

    /// Looks for TLS libraries that it has mapped by now, and attaches the probes of those that have none yet.
    fn scan(&mut self, probes: &mut Probes, procfs: &Procfs, cache: &mut library::Cache, now_ns: u64) {
        self.next_scan_ns = now_ns + RESCAN_NS;
        let scan = match procfs.process(self.pid) {
            Ok(process) => library::scan(&process, cache, &mut |library| self.attach(probes, library)),
            Err(why) => Err(why),
        };
        match scan {
            Ok(Scan { uncovered, unread: _ }) => self.uncovered = uncovered,
            // It has ended, and its exit record will say so.
            Err(why) => debug!(pid = self.pid, "cannot look for TLS libraries: {why}"),
        }
    }

    /// The TLS probes that are left when it is watched no more.
    fn into_links(self) -> tls::Links {
        self.libraries.into_values().map(|probed| probed.links).collect()
    }

    /// Attaches the probes of a library that is not probed yet, or not where its functions are said to be now.
    fn attach(&mut self, probes: &mut Probes, library: Library) {
        if self.libraries.get(&library.identity).is_some_and(|probed| probed.points == library.points) {
            return;
        }
        // Else calls would be seen twice.
        drop(self.libraries.remove(&library.identity));
        let links = probes.attach_tls(self.pid, &library.path(), &library.points);
        let links = links.unwrap_or_else(|why| {
            warn!(pid = self.pid, library = library.name, "TLS is not read: {why:#}");
            tls::Links::default()
        });
        debug!(pid = self.pid, library = library.name, links = links.count(), "TLS library");
        self.libraries.insert(library.identity, Probed { points: library.points, links });
        probes.tls_is_probed(self.initial, monotonic_ns());
    }
}

impl Change {
    fn of(record: &Record<'_>) -> Option<Self> {
        let header = &record.header;
        match header.kind {
            kind::FORK => {
                let (child, namespaced) = (header.extra as u32, (header.extra >> 32) as u32);
                Some(Change::Forked { child, pid: if namespaced == 0 { child } else { namespaced } })
            }
            kind::EXEC => Some(Change::Executed { process: header.pid }),
            kind::MAPPED => Some(Change::Mapped { process: header.pid }),
            kind::EXIT => Some(Change::Exited { process: header.pid }),
            _ => None,
        }
    }
}

/// The record without the padding that the ring buffer may have put behind it.
fn exact(bytes: &[u8]) -> &[u8] {
    let length = bytes.first_chunk::<4>().map_or(0, |length| u32::from_ne_bytes(*length) as usize);
    bytes.get(..length.max(HEADER_BYTES)).unwrap_or(bytes)
}

/// How often the kernel has not run each program, where it says that.
fn recursion_misses(probes: &Probes) -> BTreeMap<Box<str>, u64> {
    let missed = |program: Loaded| Some((program.name.into(), program.recursion_misses?));
    probes.programs().into_iter().filter_map(missed).collect()
}

/// Tells the pipeline, and the capture, what a process is now.
fn describe(
    pipeline: &mut Pipeline,
    recorder: &mut Option<Recorder>,
    process: &dyn Described,
    initial: u32,
    now_ns: u64,
) -> io::Result<()> {
    let by_process = pipeline.game_of(process.facts());
    let facts = ProcessFacts {
        pid: process.pid(),
        start_ticks: process.start_ticks(),
        exe: process.facts().exe().unwrap_or_default().to_owned(),
        headers_before: by_process.headers_before(),
        game: by_process.game.as_deref().map(str::to_owned),
    };
    let record = capture::process_record(now_ns, initial, &facts)?;
    if let Some(recorder) = recorder {
        recorder.write(&record)?;
    }
    // A process record yields no calls.
    pipeline.feed(&record, &mut |_| {});
    Ok(())
}

/// A process, alive or not, as far as [`describe`] speaks of it.
trait Described {
    fn pid(&self) -> u32;
    fn start_ticks(&self) -> u64;
    fn facts(&self) -> &dyn attribute::Facts;
}

impl Described for crate::process::Process {
    fn pid(&self) -> u32 {
        crate::process::Process::pid(self)
    }

    fn start_ticks(&self) -> u64 {
        crate::process::Process::start_ticks(self)
    }

    fn facts(&self) -> &dyn attribute::Facts {
        self
    }
}

impl Described for attribute::ProcessFacts {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    fn facts(&self) -> &dyn attribute::Facts {
        self
    }
}

/// Reads a process that was forked or has executed a program, before its next record.
fn follow(
    change: &Change,
    record: &Record<'_>,
    targets: &BTreeMap<u32, Target>,
    pipeline: &mut Pipeline,
    procfs: &Procfs,
    recorder: &mut Option<Recorder>,
) {
    let (initial, pid) = match *change {
        Change::Forked { child, pid } => (child, pid),
        Change::Executed { process } => (process, targets.get(&process).map_or(process, |target| target.pid)),
        Change::Mapped { .. } | Change::Exited { .. } => return,
    };
    let now_ns = record.header.time_ns;
    let described = match procfs.process(pid) {
        Ok(process) => describe(pipeline, recorder, &process, initial, now_ns),
        // It has ended already. What it executed, the record itself says; a fork is a copy of its parent.
        Err(Unreadable::Gone) if record.header.kind == kind::EXEC => {
            let words = record.payload.split(|&byte| byte == 0).filter(|word| !word.is_empty());
            let cmdline: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let facts = attribute::ProcessFacts { pid, cmdline, ..attribute::ProcessFacts::default() };
            describe(pipeline, recorder, &facts, initial, now_ns)
        }
        Err(Unreadable::Gone) => Ok(()),
        Err(why) => {
            debug!(pid, "cannot read the process: {why}");
            Ok(())
        }
    };
    if let Err(why) = described {
        warn!(pid, "cannot record what the process is: {why}");
    }
}
