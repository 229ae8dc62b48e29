//! Given: command lines. Gives: processes that are killed with all they started when the test lets go of them, and
//! clients that are held before their first instruction until a tracer is there. Refuses to know: what they do.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Time between two looks at a condition that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Waits until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "gave up after {DEADLINE:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The lines of one output of a process, as they come.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    is_over: bool,
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> (Lines, JoinHandle<()>) {
        let lines = Lines::default();
        let writer = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                writer.0.0.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                writer.0.1.notify_all();
            }
            writer.0.0.lock().unwrap().is_over = true;
            writer.0.1.notify_all();
        });
        (lines, reader)
    }

    /// Waits until `look` finds something in the lines so far; `None` when the output ended without it.
    pub(crate) fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let started = Instant::now();
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = look(&state.lines) {
                return Some(found);
            }
            if state.is_over {
                return None;
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            assert!(
                !left.is_zero(),
                "gave up after {DEADLINE:?}: {what}; output so far:\n{}",
                state.lines.join("\n")
            );
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// All lines so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }
}

/// A process with its own process group, which is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    name: String,
    /// What it printed.
    pub(crate) stdout: Lines,
    /// What it complained about.
    pub(crate) stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts `command` with pipes on all three.
    pub(crate) fn start(mut command: Command) -> Running {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (stdout, out) = Lines::of(child.stdout.take().unwrap());
        let (stderr, err) = Lines::of(child.stderr.take().unwrap());
        Running { stdin: child.stdin.take(), child, name, stdout, stderr, readers: vec![out, err] }
    }

    /// Starts a shell that becomes `program` at the first line of its input: its PID can be traced before that.
    pub(crate) fn hold<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        Running::start(held(program, arguments))
    }

    /// The PID, which is the program's own when it was held.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One line on its input: lets go of what was held, or moves a script to its next step.
    pub(crate) fn next_step(&mut self) {
        let written = self.stdin.as_mut().unwrap().write_all(b"\n");
        written
            .unwrap_or_else(|error| panic!("{} does not read on: {error}{}", self.name, self.complaints()));
    }

    /// The end of its input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line that begins with `start` and gives what follows.
    pub(crate) fn line(&self, start: &str) -> String {
        let what = format!("`{start}` from {}", self.name);
        self.stdout
            .wait_for(&what, |lines| Some(lines.iter().find_map(|line| line.strip_prefix(start))?.to_owned()))
            .unwrap_or_else(|| panic!("ended without {what}{}", self.complaints()))
    }

    /// Sends a signal to the process alone.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that has not been waited for, so the PID is still its own.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0, "cannot signal {}", self.name);
    }

    /// Waits for the end and all output.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.end_input();
        let name = self.name.clone();
        let status = until(&format!("the end of {name}"), || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Lets go, and waits until it ended with success.
    pub(crate) fn run(mut self) -> Vec<String> {
        self.next_step();
        self.succeeded()
    }

    /// Waits until it ended with success; gives what it printed.
    pub(crate) fn succeeded(&mut self) -> Vec<String> {
        let status = self.ended();
        assert!(status.success(), "{} ended with {status}{}", self.name, self.complaints());
        self.stdout.so_far()
    }

    /// Its stderr, for a message.
    pub(crate) fn complaints(&self) -> String {
        let stderr = self.stderr.so_far().join("\n");
        if stderr.is_empty() { String::new() } else { format!("; it says:\n{stderr}") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: the group was made for this child, and its id stays taken as long as a member or the unreaped
        // leader is there; a group that is gone is ESRCH.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// The command line of [`Running::hold`].
pub(crate) fn held<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"read -r _ && exec "$@""#, "sh"]).arg(program).args(arguments);
    command
}

/// The command line of a script under an interpreter.
pub(crate) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Runs a command to its end: exit status, stdout, stderr.
pub(crate) fn outcome(command: Command) -> (Option<i32>, String, String) {
    let mut running = Running::start(command);
    let status = running.ended();
    assert_eq!(status.signal(), None, "killed: {}", running.name);
    (status.code(), running.stdout.so_far().join("\n"), running.stderr.so_far().join("\n"))
}
