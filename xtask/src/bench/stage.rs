//! Given: nginx and wrk of the distribution. Gives: a server with one worker, the load on it, and processes that end with
//! this program. Refuses to know: tracing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::repository::{output, program, words};

/// How long a process may take for what it does in well under a second.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// As many as keep one worker busy, and no more.
const CONNECTIONS: &str = "16";

/// Connections of the worker, and its few other files: twice as many as are opened, for nginx closes idle ones when few
/// are left.
const OPEN_FILES: u64 = 32_768;

/// What is asked for.
pub(super) const PATH: &str = "/v1/users/123456/summary?limit=50";

/// What a client of an API sends besides its path, to a head of about 300 bytes.
const FIELDS: [&str; 3] = [
    "Accept: application/json",
    "User-Agent: game-server/1.0 (bench; long enough to be like what is sent by those who have much to say)",
    "X-Request-Id: 00000000-0000-0000-0000-00000000000000000000000000000000000000000000000000000000000000",
];

/// nginx with one worker that answers 615 bytes from memory.
pub(super) struct Server {
    master: Owned,
    address: SocketAddr,
    /// What the worker runs; a copy, so that no other process does.
    pub(super) executable: PathBuf,
    directory: TempDir,
}

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) per_second: f64,
}

impl Server {
    pub(super) fn start() -> anyhow::Result<Server> {
        let directory = TempDir::with_prefix("rotrace-bench-").context("make a directory")?;
        let executable = directory.path().join("bench-server");
        let nginx = needed("nginx")?;
        fs::copy(&nginx, &executable).with_context(|| format!("copy {}", nginx.display()))?;
        let address = free_address()?;
        fs::write(directory.path().join("nginx.conf"), configuration(address)).context("write nginx.conf")?;
        let mut command = Command::new(&executable);
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
        let mut server = Server { master: Owned::start(&mut command)?, address, executable, directory };
        server.master.until("nginx listens", || TcpStream::connect(address).is_ok())?;
        Ok(server)
    }

    /// The process that answers.
    pub(super) fn worker(&self) -> anyhow::Result<u32> {
        let master = self.master.pid();
        let path = format!("/proc/{master}/task/{master}/children");
        let children = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let [worker] = children.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("nginx has other workers than one: `{children}`");
        };
        worker.parse().with_context(|| format!("read {path}"))
    }

    /// Asks as fast as it answers.
    pub(super) fn load(&self, seconds: u32) -> anyhow::Result<Load> {
        let mut wrk = Command::new(needed("wrk")?);
        wrk.args(["-t1", "-c", CONNECTIONS, "-d", &format!("{seconds}s")]);
        FIELDS.iter().for_each(|field| {
            wrk.args(["-H", field]);
        });
        let text = output(wrk.arg(format!("http://{}{PATH}", self.address)))?;
        // Refused and failed requests would be fast.
        ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "the load failed: {text}");
        Load::read(&text).with_context(|| format!("read what wrk says: {text}"))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request as the load has it.
    pub(super) fn request(&self, path: &str) -> Vec<u8> {
        let fields = FIELDS.map(|field| format!("{field}\r\n")).concat();
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.address).into_bytes()
    }

    /// A place for a file that goes away with the server.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Load {
    fn read(text: &str) -> Option<Load> {
        let requests = text.split(" requests in ").next()?.rsplit([' ', '\n']).next()?.parse().ok()?;
        let per_second = text.split("Requests/sec:").nth(1)?.split_whitespace().next()?.parse().ok()?;
        Some(Load { requests, per_second })
    }
}

/// A process of this program. It ends with this value, and with this program, however that ends.
pub(super) struct Owned(Child);

impl Owned {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Owned> {
        command.stdin(Stdio::null());
        // SAFETY: between fork and exec only prctl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        Ok(Owned(command.spawn().with_context(|| format!("start `{}`", words(command)))?))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, once, if it has a pipe.
    pub(super) fn stdout(&mut self) -> Option<impl std::io::Read + Send + 'static> {
        self.0.stdout.take()
    }

    /// Looks until `holds` does, the process ends, or patience does.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            if let Some(status) = self.0.try_wait().context("ask whether a process has ended")? {
                bail!("it ended with {status} before this was so: {what}");
            }
            ensure!(Instant::now() < deadline, "after {} s it is not so: {what}", PATIENCE.as_secs());
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Processor time that it has used, in user space and for it in the kernel.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let ticks = ticks(&text).with_context(|| format!("read {path}: {text}"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Asks it to end, and waits until it has, for it detaches its probes in between.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.ask_to_end();
        let status = self.0.wait().context("wait for a process")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    fn ask_to_end(&self) {
        // It was not waited for, so its number is still its own.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        self.ask_to_end();
        let _ = self.0.wait();
    }
}

/// utime and stime, fields 14 and 15 of `/proc/PID/stat` (proc(5)); the second may hold anything but ends with `)`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// Processor time of this thread: what others do on a busy machine is not in it.
pub(super) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn needed(name: &str) -> anyhow::Result<PathBuf> {
    program(name).with_context(|| format!("{name} is missing: apt-get install nginx-light wrk"))
}

pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile {OPEN_FILES};\npid nginx.pid;\nerror_log error.log;\n\
         events {{ worker_connections {OPEN_FILES}; }}\n\
         http {{\n  access_log off;\n  default_type application/json;\n  keepalive_requests 100000000;\n  keepalive_timeout 1h;\n  \
         client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n  \
         server {{\n    listen {address};\n    location / {{ return 200 \"{}\"; }}\n  }}\n}}\n",
        "x".repeat(615)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 3s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  \
                    Thread Stats   Avg      Stdev     Max   +/- Stdev\n  \
                    291012 requests in 3.10s, 215.36MB read\nRequests/sec:  93879.12\nTransfer/sec:     69.47MB\n";
        assert_eq!(Load::read(text), Some(Load { requests: 291_012, per_second: 93_879.12 }));
        assert_eq!(Load::read("unable to connect"), None);
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 21 4 0 0 20 0 1 0 100 1000 10";
        assert_eq!(ticks(stat), Some(25));
        assert_eq!(ticks("17 (a"), None);
    }
}
