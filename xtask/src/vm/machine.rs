//! Given: a kernel and commands. Gives: the commands run in a virtual machine, what they printed, and their exit status.
//! Refuses to know: what they do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::initramfs;
use super::kernel::{Files, Kernel};
use crate::repository::{program, quoted, root, words};

/// Memory of a machine, of which what is written to files takes its part.
const MEMORY: &str = "2048";
/// Processors of a machine.
const PROCESSORS: &str = "2";
/// How long a machine may print nothing: longer than any test takes, even where others have the processor.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// What is timed takes up to so many times longer there; the live tests ask.
const SLOWER: u32 = 40;
/// What makes an emulated kernel quicker and changes nothing of what the probes see.
const QUICK: &str = "mitigations=off init_on_alloc=0 apparmor=0 audit=0 rcupdate.rcu_expedited=1";
/// Variables of this process that a job needs too.
const VARIABLES: [&str; 3] = ["PATH", "HOME", "RUST_BACKTRACE"];

/// How often a machine is booted that its emulator kills.
const BOOTS: u32 = 3;

/// What the kernel says then. It changes its own code while another processor runs it, behind a breakpoint that it takes away
/// again; a real processor never stops at one that is gone, and the emulated ones, each a thread of their own, at times do.
const EMULATOR_RACE: &str = "Oops: int3:";

/// Before the exit status of a command, on a line behind what that printed.
const ENDED: &str = "vm: ended ";

/// What QEMU makes up around a kernel of an architecture.
struct Board {
    /// The program.
    qemu: &'static str,
    /// The board, with a processor that its emulation is not slow with, and the ports.
    hardware: &'static [&'static str],
    /// Where the kernel's log goes, and what the machine says of itself.
    log: &'static str,
    /// Where goes what the job prints.
    out: &'static str,
    /// Programs of the host that busybox stands in for.
    stand_in: &'static str,
}

const X86_64: Board = Board {
    qemu: "qemu-system-x86_64",
    hardware: &["-machine", "q35", "-cpu", "max", "-serial", "chardev:out", "-serial", "chardev:log"],
    log: "ttyS1",
    out: "ttyS0",
    stand_in: "",
};

/// `virt` has one port of its own; `max` would sign pointers, which takes an emulator long.
const ARM64: Board = Board {
    qemu: "qemu-system-aarch64",
    hardware: &[
        "-machine",
        "virt",
        "-cpu",
        "cortex-a76",
        "-serial",
        "chardev:log",
        "-device",
        "pci-serial,chardev=out",
    ],
    log: "ttyAMA0",
    out: "ttyS0",
    stand_in: "sh,env",
};

/// A kernel that can be booted.
pub(super) struct Machine {
    board: &'static Board,
    files: Files,
    initramfs: PathBuf,
}

/// How a command ended.
pub(super) struct Ended {
    /// Its exit status.
    pub(super) status: i32,
    /// What it printed on both of its outputs.
    pub(super) lines: Vec<String>,
}

/// What a machine did.
pub(super) struct Ran {
    /// How the commands ended, in their order: all, or those that were done in time.
    pub(super) ended: Vec<Ended>,
    /// What the next one had printed when time was up.
    pub(super) cut_off: Vec<String>,
}

impl Machine {
    /// Makes a kernel ready to be booted; it is fetched when it is not there.
    pub(super) fn new(kernel: &Kernel) -> anyhow::Result<Machine> {
        let board = match kernel.architecture {
            "arm64" => &ARM64,
            _ => &X86_64,
        };
        let files = kernel.files()?;
        let initramfs = files.directory.join("initramfs.cpio");
        fs::write(&initramfs, initramfs::make(&files.directory.join("root"), &kernel.busybox()?)?)
            .with_context(|| format!("write {}", initramfs.display()))?;
        Ok(Machine { board, files, initramfs })
    }

    /// The file of the kernel.
    pub(super) fn image(&self) -> PathBuf {
        self.files.directory.join("vmlinux")
    }

    /// The build of the kernel.
    pub(super) fn release(&self) -> &str {
        &self.files.build
    }

    /// Boots, runs commands one after the other as root in the directory of the workspace, and powers off, or is switched off
    /// at the deadline. `each` gets each line as it comes. What the emulator has killed is booted again, for the command that was
    /// under way and those behind it.
    pub(super) fn run(
        &self,
        commands: &[Vec<String>],
        deadline: Option<Instant>,
        each: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Ran> {
        let mut ended = Vec::new();
        for _ in 1..BOOTS {
            match self.once(commands, &mut ended, deadline, each) {
                Err(died) if died.to_string().contains(EMULATOR_RACE) => {
                    println!("vm: {} died of its emulator ({EMULATOR_RACE}); once more", self.release());
                }
                cut_off => return Ok(Ran { cut_off: cut_off?, ended }),
            }
        }
        let cut_off = self.once(commands, &mut ended, deadline, each)?;
        Ok(Ran { ended, cut_off })
    }

    /// Runs those of the commands that have not `ended`, and gives what the next one had printed when time was up.
    fn once(
        &self,
        commands: &[Vec<String>],
        ended: &mut Vec<Ended>,
        deadline: Option<Instant>,
        each: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Vec<String>> {
        let directory = tempfile::tempdir().context("make a directory for the machine")?;
        let (job, log) = (directory.path().join("job"), directory.path().join("log"));
        fs::write(&job, script(&commands[ended.len()..]))
            .with_context(|| format!("write {}", job.display()))?;
        let mut qemu = self.qemu(&job, &log)?;
        let child = qemu.spawn().with_context(|| format!("run `{}`", words(&qemu)))?;
        let (lines, end) = watch(Ending(child), deadline, &mut |line| {
            if status_of_command(line).is_none() {
                each(line);
            }
        })?;
        let ran = ran(lines);
        ended.extend(ran.ended);
        let died = match end {
            End::Deadline => return Ok(ran.cut_off),
            End::Off if ended.len() == commands.len() => return Ok(ran.cut_off),
            End::Off => "died".to_owned(),
            End::Quiet => format!("printed nothing for {} s", QUIET.as_secs()),
        };
        let told = fs::read(&log).unwrap_or_default();
        let (words, told) = (ran.cut_off.join("\n"), String::from_utf8_lossy(&told));
        bail!("the machine {died}; its last words:\n{words}\nits kernel says:\n{told}");
    }

    fn qemu(&self, job: &Path, log: &Path) -> anyhow::Result<Command> {
        let Board { qemu, hardware, log: log_port, out, stand_in } = self.board;
        let qemu =
            program(qemu).with_context(|| format!("there is no {qemu}; `cargo xtask setup` installs it"))?;
        let mut command = Command::new(qemu);
        // `-accel tcg` outright: a machine whose own kernel has no real hardware below it may offer a /dev/kvm that hangs.
        command.args(["-accel", "tcg,thread=multi", "-m", MEMORY, "-smp", PROCESSORS]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command
            .args(["-chardev", "stdio,id=out", "-chardev"])
            .arg(format!("file,id=log,path={}", log.display()));
        command.args(*hardware);
        command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        command.arg("-kernel").arg(self.image());
        command.arg("-initrd").arg(&self.initramfs);
        command.arg("-append").arg(format!(
            "console={log_port} quiet panic=-1 {QUICK} rotrace.log={log_port} rotrace.out={out} \
             rotrace.stand_in={stand_in} rotrace.job={}",
            job.display()
        ));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only prctl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        Ok(command)
    }
}

/// A machine that is switched off when this is dropped.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It has ended by itself, or is ended: nothing else can be done about either.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Why a machine prints no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Off,
    Deadline,
    Quiet,
}

/// The lines that a machine prints until it is off, until the deadline, or until it prints no more.
fn watch(
    mut machine: Ending,
    deadline: Option<Instant>,
    each: &mut dyn FnMut(&str),
) -> anyhow::Result<(Vec<String>, End)> {
    let output = machine.0.stdout.take().context("the machine has an output")?;
    let (sender, receiver) = channel();
    // It ends with the machine, whose end of the pipe is then closed.
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut lines: Vec<String> = Vec::new();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match receiver.recv_timeout(left.unwrap_or(QUIET).min(QUIET)) {
            Ok(line) => {
                each(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((lines, End::Off)),
            Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= QUIET) => {
                return Ok((lines, End::Deadline));
            }
            Err(RecvTimeoutError::Timeout) => return Ok((lines, End::Quiet)),
        }
    }
}

/// What a machine runs.
fn script(commands: &[Vec<String>]) -> String {
    let mut text = format!("cd {} || exit 125\n", quoted(&root().display().to_string()));
    for name in VARIABLES {
        if let Ok(value) = std::env::var(name) {
            text.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
    }
    text.push_str(&format!("export ROTRACE_LIVE_SLOWER={SLOWER}\n"));
    for command in commands {
        let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
        // The last line of a command may have no end.
        text.push_str(&format!("( exec {} )\nprintf '\\n{ENDED}%s\\n' $?\n", words.join(" ")));
    }
    text
}

/// How each command ended, from all that was printed.
fn ran(lines: Vec<String>) -> Ran {
    let mut ended = Vec::new();
    let mut printed = Vec::new();
    for line in lines {
        let Some(status) = status_of_command(&line) else {
            printed.push(line);
            continue;
        };
        let mut lines = std::mem::take(&mut printed);
        // The one that stands before every status.
        lines.pop_if(|line| line.is_empty());
        ended.push(Ended { status, lines });
    }
    Ran { ended, cut_off: printed }
}

/// The exit status in the line behind what a command printed.
fn status_of_command(line: &str) -> Option<i32> {
    line.trim().strip_prefix(ENDED)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn a_job_is_its_commands_and_nothing_else_of_the_shell() {
        let script = script(&[words("echo|a b; 'c' $d"), words("true")]);
        let expected = [
            "( exec echo 'a b; '\\''c'\\'' $d' )",
            "printf '\\nvm: ended %s\\n' $?",
            "( exec true )",
            "printf '\\nvm: ended %s\\n' $?\n",
        ];
        assert!(script.ends_with(&expected.join("\n")), "{script}");
    }

    #[test]
    fn each_command_has_its_lines_and_its_status() {
        let lines = words("a|b||vm: ended 3|vm: ended 0\r|left");
        let Ran { ended, cut_off } = ran(lines);
        let ended: Vec<_> = ended.into_iter().map(|ended| (ended.status, ended.lines)).collect();
        assert_eq!(ended, [(3, words("a|b")), (0, Vec::new())]);
        assert_eq!(cut_off, ["left"]);
    }
}
