//! Given: clients with a TLS library linked in, and stripped. Gives: proof that their calls are those of the server's log when
//! the configuration says where the functions are; and that nothing is read or harmed when it does not, or is wrong, but the
//! library is named. Refuses to know: libraries that say so themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::call::{Role, Seen};
use crate::compare::assert_equal;
use crate::needs;
use crate::nginx::Nginx;
use crate::process::{Running, outcome, until};
use crate::refusals::rotrace;
use crate::stopping::{GNUTLS, OPENSSL, holds};
use crate::tracer::Tracer;

/// The functions that are told.
const FUNCTIONS: [&str; 6] =
    ["SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_free", "SSL_get_error"];

/// Requests of the client: three on a connection.
const PATHS: [&str; 8] =
    ["/v1/a/1", "/v1/a/2", "/page", "/v1/b/1", "/missing", "/page?2", "/v1/c/1", "/v1/c/2"];

/// `scripts/openssl.c`, compiled with OpenSSL of `libssl.a`; with symbols, and without.
struct Client {
    whole: PathBuf,
    stripped: PathBuf,
}

fn client() -> Client {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openssl");
    std::fs::create_dir_all(&directory).unwrap();
    let client = Client { whole: directory.join("whole"), stripped: directory.join("stripped") };
    // Tests run side by side: each makes its own, which is the same, and the last one stays.
    let made = TempDir::new_in(&directory).unwrap();
    let [whole, stripped] = ["whole", "stripped"].map(|name| made.path().join(name));
    let mut compile = Command::new(needs::program("gcc"));
    compile.args(["-O2", "-Wall", "-Werror", &needs::script("openssl.c")]);
    compile.args(["-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-o"]).arg(&whole);
    let (status, _, complaints) = outcome(compile);
    assert_eq!(status, Some(0), "live tests need gcc, libc6-dev and libssl-dev: {complaints}");
    let mut strip = Command::new(needs::program("strip"));
    strip.arg("-o").args([&stripped, &whole]);
    assert_eq!(outcome(strip).0, Some(0));
    for (made, program) in [(whole, &client.whole), (stripped, &client.stripped)] {
        std::fs::rename(made, program).unwrap();
    }
    client
}

impl Client {
    fn run(&self, nginx: &Nginx) -> Running {
        let arguments = [nginx.tls_port.to_string(), nginx.certificate()];
        Running::hold(&self.stripped, arguments.into_iter().chain(PATHS.map(str::to_owned)))
    }

    /// What is told of it, with all addresses moved by so many bytes.
    fn entry(&self, moved: u64) -> String {
        entry(&self.whole, &self.stripped, moved, &FUNCTIONS)
    }
}

/// The build id of a file, as `readelf` reads it.
fn build_id(file: &Path) -> String {
    let mut command = Command::new(needs::program("readelf"));
    command.arg("-n").arg(file);
    let (_, notes, _) = outcome(command);
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.expect("the linker was asked for a build id").to_owned()
}

/// What the configuration tells of a `stripped` file: the addresses of functions, as `nm` reads them in the `whole` one, moved by
/// so many bytes.
fn entry(whole: &Path, stripped: &Path, moved: u64, wanted: &[&str]) -> String {
    let mut command = Command::new(needs::program("nm"));
    command.args(["--defined-only"]).arg(whole);
    let (_, symbols, _) = outcome(command);
    let functions: Vec<_> = symbols
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [address, "T" | "t", name] if wanted.contains(&name) => {
                let address = u64::from_str_radix(address, 16).unwrap() + moved;
                Some(format!("{name} = {address:#x}"))
            }
            _ => None,
        })
        .collect();
    assert_eq!(functions.len(), wanted.len());
    let functions = functions.join(", ");
    format!("[[tls.library]]\nbuild_id = \"{}\"\nfunctions = {{ {functions} }}\n", build_id(stripped))
}

fn nginx() -> Nginx {
    let nginx = Nginx::start();
    nginx.serve_file("page", 3_000_000);
    nginx
}

/// Traces the client with a configuration from before its first call.
fn traced(client: &Client, nginx: &Nginx, config: &str) -> Seen {
    let path = nginx.path("rotrace.toml");
    std::fs::write(&path, config).unwrap();
    let mut running = client.run(nginx);
    running.next_step();
    running.line("ready");
    let tracer = Tracer::attach_with(&[running.pid()], &["--config", &path]);
    running.next_step();
    running.succeeded();
    tracer.finish()
}

/// What `rotrace check` says of the TLS of a client that waits.
fn checked(client: &Client, nginx: &Nginx, config: &str) -> String {
    let path = nginx.path("rotrace.toml");
    std::fs::write(&path, config).unwrap();
    let mut running = client.run(nginx);
    running.next_step();
    running.line("ready");
    check(running.pid(), &["--config", &path], client.stripped.to_str().unwrap())
}

/// The lines of `rotrace check` on the TLS of one file.
pub(crate) fn check(pid: u32, options: &[&str], file: &str) -> String {
    let pid = pid.to_string();
    let (_, told, _) = outcome(rotrace(&[&["check", &pid], options].concat()));
    let is_of_it = |line: &&str| line.contains(file) && line.contains(" TLS ");
    told.lines().filter(is_of_it).collect::<Vec<_>>().join("\n")
}

#[test]
fn its_functions_are_read_where_the_configuration_says_they_are() {
    let (client, nginx) = (client(), nginx());
    let config = client.entry(0);
    let said = checked(&client, &nginx, &config);
    assert_eq!(said, format!("ok     TLS          {}", client.stripped.display()));
    let seen = traced(&client, &nginx, &config);
    let log = nginx.quit();
    assert_eq!(log.len(), PATHS.len());
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Client));
    assert_equal(&seen.calls, &log);
}

#[test]
fn without_them_it_is_counted_as_not_decoded() {
    let (client, nginx) = (client(), nginx());
    let said = checked(&client, &nginx, "");
    let (name, id) = (client.stripped.display(), build_id(&client.stripped));
    let expect = format!("{name} has OpenSSL without symbols, which is not followed (build id {id})");
    assert_eq!(said, format!("missed TLS          {expect}"));
    let seen = traced(&client, &nginx, "");
    assert_eq!((seen.calls.len(), nginx.quit().len()), (0, PATHS.len()));
    assert_eq!(seen.opaque(), [("localhost".to_owned(), 3)].into());
}

/// A probe within an instruction would end the program.
#[test]
fn addresses_at_which_no_function_begins_are_refused() {
    let (client, nginx) = (client(), nginx());
    let config = client.entry(1);
    let said = checked(&client, &nginx, &config);
    let expect =
        format!("missed TLS          {} has no function that begins at 0x", client.stripped.display());
    assert!(
        said.starts_with(&expect) && said.ends_with(&format!("(build id {})", build_id(&client.stripped))),
        "{said}"
    );
    let seen = traced(&client, &nginx, &config);
    assert_eq!((seen.calls.len(), nginx.quit().len()), (0, PATHS.len()));
    assert_eq!(seen.opaque(), [("localhost".to_owned(), 3)].into());
}

/// The daemon learns of them while the client runs.
#[test]
fn addresses_that_come_with_a_reload() {
    let (client, nginx) = (client(), nginx());
    let path = nginx.path("rotrace.toml");
    let mark = nginx.certificate();
    let exe = client.stripped.display();
    let config = format!(
        "[[target]]\nexe = \"{exe}\"\ncmdline = \"*{mark}*\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n"
    );
    std::fs::write(&path, &config).unwrap();
    let mut running = client.run(&nginx);
    running.next_step();
    running.line("ready");
    let mut daemon = rotrace(&["run", "--config", &path]);
    daemon.args(needs::probes());
    let mut daemon = Running::start(daemon);
    let pid = daemon.pid();
    let has = |openssl: usize| holds(pid, &[(openssl, OPENSSL), (1, GNUTLS)]).then_some(());
    until("the probes of the libraries of this host", || has(1));
    std::fs::write(&path, config + &client.entry(0)).unwrap();
    daemon.signal(libc::SIGHUP);
    until("the probes of what is linked in", || has(2));
    running.next_step();
    running.succeeded();
    assert_eq!(nginx.quit().len(), PATHS.len());
    daemon.signal(libc::SIGTERM);
    daemon.ended();
    let log = daemon.stderr.so_far();
    let stopped = log.iter().find(|line| line.contains("stopped")).unwrap();
    assert!(stopped.contains(&format!("\"calls\":{}", PATHS.len())), "{stopped}");
}

/// BoringSSL of a wheel, of which the test makes a copy without symbols.
#[test]
fn boringssl_is_read_where_the_configuration_says_its_functions_are() {
    const FILE: &str = "curl_cffi/_wrapper.abi3.so";
    let nginx = Nginx::start();
    let mut command = Command::new(needs::venv_python());
    command.args(["-c", "import curl_cffi; print(curl_cffi.__path__[0])"]);
    let (_, package, complaints) = outcome(command);
    let packages = Path::new(&package).parent().unwrap_or_else(|| panic!("{complaints}"));
    let copies = TempDir::with_prefix("rotrace-live-").unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").args([Path::new(&package), copies.path()]);
    assert_eq!(outcome(copy).0, Some(0));
    let (whole, stripped) = (packages.join(FILE), copies.path().join(FILE));
    let mut strip = Command::new(needs::program("strip"));
    strip.arg(&stripped);
    assert_eq!(outcome(strip).0, Some(0));

    let config = nginx.path("rotrace.toml");
    let functions = ["SSL_read", "SSL_write", "SSL_free", "SSL_get_error"];
    std::fs::write(&config, entry(&whole, &stripped, 0, &functions)).unwrap();
    let mut arguments = vec![format!("PYTHONPATH={}", copies.path().display())];
    arguments.extend([needs::venv_python().to_str().unwrap().to_owned(), needs::script("client.py")]);
    arguments.extend(["curl_cffi".to_owned(), nginx.tls_url(""), nginx.certificate()]);
    let mut running = Running::hold(needs::program("env"), arguments);
    running.next_step();
    running.line("loaded");
    let file = stripped.to_str().unwrap();
    let unread = check(running.pid(), &[], file);
    assert!(
        unread.contains(&format!("{file} has BoringSSL without symbols, which is not followed")),
        "{unread}"
    );
    let tracer = Tracer::attach_with(&[running.pid()], &["--config", &config]);
    running.next_step();
    running.succeeded();
    let seen = tracer.finish();
    let log = nginx.quit();
    assert_eq!(log.len(), 18);
    assert_equal(&seen.calls, &log);
}

/// A client in Python of which `check` says `what` of the file `file`, and whose single connection is not decoded; when it has
/// said `ready` it waits.
fn named_and_counted(nginx: Nginx, arguments: [String; 3], ready: &str, file: &str, what: &str) {
    let mut running = Running::hold(needs::venv_python(), arguments);
    running.next_step();
    running.line(ready);
    let said = check(running.pid(), &[], file);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!(".so has {what}, which is not followed (build id ")), "{said}");
    let tracer = Tracer::attach(&[running.pid()]);
    running.next_step();
    running.succeeded();
    let seen = tracer.finish();
    assert_eq!(seen.calls.len(), 0);
    assert!(!nginx.quit().is_empty());
    assert_eq!(seen.opaque(), [("localhost".to_owned(), 1)].into());
}

/// The wheel of grpcio has BoringSSL in it, and no symbol but the module's own.
#[test]
fn grpc_of_python_is_named_and_counted() {
    let nginx = Nginx::start();
    let arguments = [needs::script("grpc_calls.py"), nginx.http2_tls_port.to_string(), nginx.certificate()];
    named_and_counted(nginx, arguments, "ready", "cygrpc", "BoringSSL without symbols");
}

#[test]
fn rustls_of_python_is_named_and_counted() {
    let nginx = Nginx::start();
    let arguments = [needs::script("client.py"), "primp".to_owned(), nginx.tls_url("")];
    named_and_counted(nginx, arguments, "loaded", "primp", "rustls without symbols");
}
