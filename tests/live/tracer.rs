//! Given: PIDs of processes that the test started. Gives: a `rotrace attach` that watches them, and what it printed,
//! checked for what holds in every test: status 0, no loss, and no bytes that TCP has moved and no call has shown. Refuses to know: what the processes do.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::call::{Call, Seen, kind};
use crate::needs;
use crate::process::Running;

/// The line on stderr that says the probes are there.
pub(crate) const ATTACHED: &str = "rotrace: attached";

/// A running `rotrace attach`.
pub(crate) struct Tracer(Running);

impl Tracer {
    /// Attaches, and waits until the probes are there.
    pub(crate) fn attach(pids: &[u32]) -> Tracer {
        Tracer::attach_with(pids, &[])
    }

    /// The same with more options.
    pub(crate) fn attach_with(pids: &[u32], options: &[&str]) -> Tracer {
        let mut command = Command::new(needs::rotrace());
        command.arg("attach").args(pids.iter().map(u32::to_string)).args(["--format", "json"]).args(options);
        command.args(needs::probes());
        if let Ok(directory) = std::env::var("ROTRACE_LIVE_RECORD")
            && !options.contains(&"--record")
        {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = std::thread::current().name().unwrap_or("live").replace("::", ".");
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            command.args(["--unredacted", "--record", &format!("{directory}/{name}-{number}.rotrace")]);
        }
        Tracer::started(command)
    }

    /// Attaches to a held client when that says that it is ready, and lets it go on.
    pub(crate) fn attach_when_ready(client: &mut Running) -> Tracer {
        client.next_step();
        client.line("ready");
        let tracer = Tracer::attach(&[client.pid()]);
        client.next_step();
        tracer
    }

    /// The tracer that `command` starts, once the probes are there.
    pub(crate) fn started(command: Command) -> Tracer {
        let tracer = Running::start(command);
        let there = tracer.stderr.wait_for("rotrace to attach", |lines| {
            lines.iter().any(|line| line.contains(ATTACHED)).then_some(())
        });
        assert!(there.is_some(), "rotrace ended before it attached{}", tracer.complaints());
        Tracer(tracer)
    }

    /// Whether its probes see 32-bit system calls and io_uring too: those of the `socket` family do.
    pub(crate) fn sees_every_way(&self) -> bool {
        self.0.stderr.so_far().iter().any(|line| line.contains("(probes: socket)"))
    }

    /// Waits until so many calls are printed, and gives those so far.
    pub(crate) fn wait_for_calls(&self, count: usize) -> Vec<Call> {
        let is_call = |line: &&String| kind(line) == "call";
        let lines = self
            .0
            .stdout
            .wait_for(&format!("{count} calls"), |lines| {
                (lines.len() >= count && lines.iter().filter(is_call).count() >= count)
                    .then(|| lines.to_vec())
            })
            .unwrap_or_else(|| panic!("rotrace ended before {count} calls{}", self.0.complaints()));
        lines.iter().filter(is_call).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// For targets that are gone: it ends by itself.
    pub(crate) fn finish(mut self) -> Seen {
        self.ended()
    }

    /// The same, with what it complained about.
    pub(crate) fn finish_with_complaints(mut self) -> (Seen, String) {
        (self.ended(), self.0.complaints())
    }

    /// For targets that live on: it is asked to end.
    pub(crate) fn stop(mut self) -> Seen {
        self.0.signal(libc::SIGTERM);
        self.ended()
    }

    /// For targets that are gone, and whose calls cannot all be seen.
    pub(crate) fn finish_with_losses(mut self) -> Seen {
        Seen::read(&self.0.succeeded())
    }

    /// Its PID.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        self.0.signal(signal);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.0.signal(libc::SIGKILL);
        assert!(!self.0.ended().success());
    }

    fn ended(&mut self) -> Seen {
        let seen = Seen::read(&self.0.succeeded());
        let complaints = self.0.complaints();
        assert!(seen.summary.lost.is_empty(), "lost: {:?}{complaints}", seen.summary.lost);
        assert_eq!(seen.summary.unseen_bytes(), [0; 2], "bytes that no call has shown{complaints}");
        seen
    }
}

/// Traces a held client from its first byte to its end, with all it starts; the client must succeed.
pub(crate) fn trace(client: Running) -> Seen {
    let tracer = Tracer::attach(&[client.pid()]);
    client.run();
    tracer.finish()
}
