//! Given: a command. Gives: its process, for as long as this value lives, and the lines that it prints. Refuses to know:
//! what it does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::repository::words;
use crate::stop::{PAUSE, Stop};

/// From asking a process to end to ending it. The daemon detaches its probes in between, and for each probe of a TLS library
/// the kernel waits for all CPUs to leave it: up to 0.4 s each on Linux 6.18, with 15 in each of three games.
const GRACE: Duration = Duration::from_secs(30);

/// A process that this program has started. It ends with this value, and with this program, however that ends.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a process, out of reach of the terminal's Ctrl-C: it is told in its turn.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        // SAFETY: between fork and exec only prctl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        let mut child = command.spawn().with_context(|| format!("start {name}: `{}`", words(command)))?;
        let stdout = child.stdout.take();
        let (sender, lines) = channel();
        // It ends with the process, whose end of the pipe is then closed.
        thread::spawn(move || {
            for line in
                stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok)
            {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { name, child, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints, within `limit`.
    pub(crate) fn line(&self, limit: Duration, stop: &Stop) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.lines.recv_timeout(PAUSE) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => stop.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before it said what was asked", self.name)
                }
            }
        }
        bail!("{} said nothing for {} s", self.name, limit.as_secs())
    }

    /// The next line that it prints, within `limit`, however much anybody wants the end: for what a process says last.
    pub(crate) fn last_line(&self, limit: Duration) -> anyhow::Result<String> {
        self.lines.recv_timeout(limit).with_context(|| format!("hear the last word of {}", self.name))
    }

    /// What it has printed since it was last asked.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// All that it still prints, until it closes its standard output.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("it has a standard input")?;
        writeln!(stdin, "{line}").with_context(|| format!("tell {} to {line}", self.name))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("ask whether {} has ended", self.name))
    }

    /// Asks it to end, and ends it if it does not.
    pub(crate) fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        // It was not waited for, so its number is still its own.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).with_context(|| format!("ask {} to end", self.name))?;
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(PAUSE);
        }
        self.child.kill().with_context(|| format!("end {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What could not be ended here ends with this program: it has asked for that signal.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::start("a shell", Command::new("sh").args(["-c", script])).expect("sh can be started")
    }

    #[test]
    fn lines_come_and_go() {
        let mut process = shell("while read line; do echo \"<$line>\"; done");
        let stop = Stop::never();
        for word in ["a", "b"] {
            process.tell(word).expect("it reads");
            assert_eq!(process.line(PATIENCE, &stop).expect("it answers"), format!("<{word}>"));
        }
    }

    #[test]
    fn it_ends_with_its_value() {
        let mut process = shell("echo here; cat");
        let pid = process.pid();
        process.line(PATIENCE, &Stop::never()).expect("it runs");
        assert!(process.ended().expect("it can be asked").is_none());
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn what_it_says_at_its_end_is_heard() {
        let mut process = shell("trap 'echo last; exit 0' TERM; echo first; read line");
        assert_eq!(process.line(PATIENCE, &Stop::never()).expect("it runs"), "first");
        assert_eq!(process.lines(), [""; 0]);
        assert!(process.end().expect("it ends").success());
        assert_eq!(process.last_lines(), ["last"]);
    }

    #[test]
    fn its_end_is_told() {
        let process = shell("exit 3");
        let error = process.line(PATIENCE, &Stop::never()).expect_err("it says nothing");
        assert_eq!(error.to_string(), "a shell ended before it said what was asked");
    }
}
