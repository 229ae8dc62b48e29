//! Given: the daemon, games of this test's own, and a Prometheus that scrapes the one while it watches the others. Gives:
//! whether every query of the dashboards has data, whether the choices of their variables do, and whether the rules are
//! evaluated and no alert is raised; and whether the rules raise the right alerts for made series. Refuses to know: how
//! panels look.
//!
//! Needs root and BTF for the daemon, and Debian's `prometheus` with `promtool`, `python3` and `openssl`. What is missing is a failure that
//! says so. The processes under watch run a copy of the interpreter that nothing else on the machine can have.

#![expect(
    clippy::disallowed_methods,
    reason = "files, clocks and threads; the rule is for the daemon's core"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The games of the demo, and whether they use TLS.
const GAMES: [(&str, bool); 3] = [("obby-rush", false), ("tower-siege", false), ("pet-market", true)];

/// The API server is watched too, as a game that serves.
const PLATFORM: &str = "platform";

/// What may be 0 while all is well. Everything else must be more with this traffic.
const MAY_BE_ZERO: [&str; 20] = [
    "rotrace_events_lost_total",
    "rotrace_lost_bytes_total",
    "rotrace_game_names_changed_total",
    "rotrace_unpaired_total",
    "rotrace_unnamed_calls_total",
    "rotrace_tls_opaque_connections_total",
    "rotrace_tls_opaque_bytes_total",
    "rotrace_opaque_connections_total",
    "rotrace_endpoint_overflow_total",
    "rotrace_endpoint_dictionary_refused_total",
    "rotrace_series_overflow_total",
    "rotrace_detector_evictions_total",
    "rotrace_late_calls_total",
    "rotrace_probe_recursion_misses_total",
    "rotrace_unclaimed_calls_total",
    "rotrace_waste_expired_total",
    "rotrace_first_calls_total",
    // The game in the middle is no distance from it.
    "robust_z",
    "rotrace_http_client_active_requests",
    "rotrace_http_server_active_requests",
];

/// What is no number before a process has been quiet for three quarters of a minute: nobody waits for that here. Made
/// series show that it is right.
const NEEDS_TIME: &str = "game_endpoint:rotrace_first_calls:resultant_rate10m";

/// Dashboards that are demanded to have data.
const DASHBOARDS: [&str; 2] = ["rotrace-overview.json", "rotrace-waste.json"];

/// Of each game: with few, it would take an hour until costs are compared.
const PLAYERS: u32 = 1_000_000;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// From one look to the next, unless a process says something before.
const PAUSE: Duration = Duration::from_millis(200);

/// The windows that Grafana would put in: four scrapes, and what is shown.
const WINDOWS: [(&str, &str); 2] = [("$__rate_interval", "4s"), ("$__range", "1m")];

#[test]
fn every_query_has_data() {
    let stage = Stage::set();
    let api = stage.api_server();
    let games: Vec<_> = GAMES.iter().map(|&(name, tls)| stage.game(name, tls, &api)).collect();
    let mut daemon = stage.daemon();
    let watched = GAMES.len() + 1;
    daemon.until("all processes are watched", || {
        let page = get(stage.listen, "/metrics")?;
        let targets = page.lines().find_map(|line| line.strip_prefix("rotrace_targets "));
        expect(targets == Some(watched.to_string().as_str()), || format!("rotrace_targets is {targets:?}"))
    });
    let mut prometheus = stage.prometheus();
    for game in &games {
        game.tell("go");
    }
    for name in DASHBOARDS {
        let dashboard = read_json(&repository().join("dashboards").join(name));
        let mut variables = Variables::all();
        let mut waiting = queries(&dashboard, &variables);
        prometheus.until("every query has data", || without_data(stage.prometheus, &mut waiting));

        // The same with everything chosen by name, as the variables offer it.
        variables.choose(stage.prometheus, &dashboard);
        let mut waiting = queries(&dashboard, &variables);
        prometheus.until("every query has data for what is chosen", || {
            without_data(stage.prometheus, &mut waiting)
        });
    }

    // Who else calls on this machine is not watched.
    let callers =
        values(stage.prometheus, "count by (game) (rotrace_http_client_requests_total)").expect("callers");
    let callers: BTreeSet<_> = callers.iter().filter_map(|(labels, _)| labels["game"].as_str()).collect();
    assert_eq!(callers, GAMES.iter().map(|game| game.0).collect());

    prometheus.until("the rules have values", || rules_are_well(stage.prometheus));
    let alive = daemon.child.try_wait().expect("the daemon's state");
    assert!(alive.is_none(), "the daemon ended with {alive:?}: {}", daemon.log());
}

#[test]
fn rules_are_right_for_made_series() {
    let rules = repository().join("dashboards/rotrace-rules.yml");
    let series = repository().join("tests/fixtures/rules.test.yml");
    for (verb, file) in [("check", rules), ("test", series)] {
        let mut command = Command::new("promtool");
        let output = command.args([verb, "rules"]).arg(&file).output();
        let output = output.expect("promtool, of the package prometheus");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&said));
    }
}

/// The queries that have no data yet; those that have leave the list.
fn without_data(prometheus: SocketAddr, waiting: &mut Vec<Panel>) -> Result<(), String> {
    waiting.retain(|panel| panel.has_data(prometheus).is_err());
    let why = waiting.iter().map(|panel| panel.has_data(prometheus).err().unwrap_or_default());
    expect(waiting.is_empty(), || why.collect::<Vec<_>>().join("\n"))
}

/// One query of a panel, with values for its variables.
struct Panel {
    title: String,
    query: String,
}

impl Panel {
    /// Some value is a number, and where the traffic, which has no WebSockets, must have made it more than 0, it is.
    fn has_data(&self, prometheus: SocketAddr) -> Result<(), String> {
        let Panel { title, query } = self;
        let found = values(prometheus, query)?;
        if query.contains(NEEDS_TIME) || query.contains("rotrace_websocket_") {
            return Ok(());
        }
        let may_be_zero = MAY_BE_ZERO.iter().any(|name| query.contains(name));
        let fits = |value: &f64| value.is_finite() && (may_be_zero || *value > 0.0);
        expect(found.iter().any(|(_, value)| fits(value)), || format!("{title}: {query}: {found:?}"))
    }
}

/// Every query of the dashboard, those of folded rows too.
fn queries(dashboard: &Value, variables: &Variables) -> Vec<Panel> {
    let top = dashboard["panels"].as_array().expect("panels");
    let folded = top.iter().filter_map(|panel| panel["panels"].as_array()).flatten();
    let queries: Vec<_> = top
        .iter()
        .chain(folded)
        .flat_map(|panel| {
            let title = panel["title"].as_str().expect("a title").to_owned();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (title.clone(), target["expr"].as_str().expect("a query").to_owned()))
        })
        .map(|(title, query)| Panel { title, query: variables.put_into(&query) })
        .collect();
    assert!(queries.len() > GAMES.len(), "the dashboard has no queries");
    queries
}

/// What is chosen for each variable, as Grafana puts it into a query.
struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    fn all() -> Variables {
        Variables(["instance", "game", "endpoint"].map(|name| (name, ".*".to_owned())).into())
    }

    /// Chooses every value that a variable offers, by name. A game chosen later narrows the endpoints.
    fn choose(&mut self, prometheus: SocketAddr, dashboard: &Value) {
        let list = dashboard["templating"]["list"].as_array().expect("variables");
        for variable in list.iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().expect("a query");
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) =
                inside.and_then(|inside| inside.rsplit_once(", ")).expect("series and a label");
            let path =
                format!("/api/v1/label/{label}/values?match[]={}", percent_encoded(&self.put_into(series)));
            let offered = api(prometheus, &path).expect("values of a label");
            let offered: Vec<_> =
                offered.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert!(!offered.is_empty(), "{query} offers nothing");
            let chosen: Vec<_> = offered.iter().map(|value| quoted(value)).collect();
            let (_, value) =
                self.0.iter_mut().find(|(name, _)| variable["name"] == **name).expect("a known variable");
            *value = format!("({})", chosen.join("|"));
        }
    }

    fn put_into(&self, query: &str) -> String {
        let windows = WINDOWS.iter().map(|&(name, value)| (name.to_owned(), value));
        let variables = self.0.iter().map(|(name, value)| (format!("${name}"), value.as_str()));
        // The longest name first: `$__range` also begins others.
        let mut all: Vec<_> = windows.chain(variables).collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        all.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    }
}

/// A label's value for a regular expression within a string of PromQL.
fn quoted(value: &str) -> String {
    value.chars().fold(String::new(), |text, char| match char {
        '\\' => text + "\\\\\\\\",
        '$' | '^' | '*' | '{' | '}' | '[' | ']' | '\'' | '+' | '?' | '.' | '(' | ')' | '|' => {
            text + "\\\\" + char.encode_utf8(&mut [0; 4])
        }
        _ => text + char.encode_utf8(&mut [0; 4]),
    })
}

/// Every rule could be evaluated, every recording has a value, and there is nothing to be alarmed about.
fn rules_are_well(prometheus: SocketAddr) -> Result<(), String> {
    let groups = api(prometheus, "/api/v1/rules")?;
    let rules: Vec<_> = groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    expect(!rules.is_empty(), || "there are no rules".to_owned())?;
    for rule in rules {
        let name = rule["name"].as_str().unwrap_or_default();
        expect(rule["health"] == "ok", || format!("{name}: {rule}"))?;
        if rule["type"] == "alerting" {
            // What the games waste would be an alarm if it went on.
            let is_waste = name == "RotraceWaste" && rule["state"] == "pending";
            expect(is_waste || rule["state"] == "inactive", || format!("{name}: {rule}"))?;
        } else if name != NEEDS_TIME {
            let found = values(prometheus, name)?;
            expect(found.iter().any(|(_, value)| value.is_finite()), || format!("{name}: {found:?}"))?;
        }
    }
    Ok(())
}

/// The value of each series now, with its labels.
fn values(prometheus: SocketAddr, query: &str) -> Result<Vec<(Value, f64)>, String> {
    let data = api(prometheus, &format!("/api/v1/query?query={}", percent_encoded(query)))?;
    let series = data["result"].as_array().into_iter().flatten();
    let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse().ok());
    Ok(series.filter_map(|series| Some((series["metric"].clone(), value(series)?))).collect())
}

fn api(prometheus: SocketAddr, path: &str) -> Result<Value, String> {
    let text = get(prometheus, path)?;
    let answer: Value = serde_json::from_str(&text).map_err(|why| format!("{path}: {why}: {text}"))?;
    expect(answer["status"] == "success", || format!("{path}: {text}"))?;
    Ok(answer["data"].clone())
}

/// The body of an answer. HTTP/1.0 has neither chunks nor connections that stay.
fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|why: std::io::Error| format!("{address}{path}: {why}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address}{path}: {answer}"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    expect(status == "200", || format!("{address}{path}: {status}: {body}"))?;
    Ok(body.to_owned())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| {
        if byte.is_ascii_alphanumeric() {
            text + &char::from(byte).to_string()
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// The directory of one test, and where its servers listen. It goes away with this value.
struct Stage {
    directory: tempfile::TempDir,
    listen: SocketAddr,
    prometheus: SocketAddr,
}

/// The API server, and its ports.
struct Api {
    _process: Process,
    port: String,
    tls_port: String,
}

impl Stage {
    fn set() -> Stage {
        let directory = tempfile::Builder::new().prefix("rotrace-dashboard-").tempdir().expect("a directory");
        let stage = Stage { directory, listen: free_address(), prometheus: free_address() };
        let python = fs::canonicalize("/usr/bin/python3").expect("the distribution's python3");
        fs::copy(python, stage.game_server()).expect("a copy of the interpreter");
        let certificate = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 1".split(' '))
            .args(["-subj", "/CN=rotrace test"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(stage.file("key.pem"))
            .arg("-out")
            .arg(stage.file("cert.pem"))
            .output()
            .expect("openssl, of the package openssl");
        assert!(certificate.status.success(), "{}", String::from_utf8_lossy(&certificate.stderr));
        stage
    }

    fn api_server(&self) -> Api {
        let mut command = self.interpreter("api_server.py");
        command.arg(self.directory.path()).arg(format!("--game={PLATFORM}"));
        let process = Process::start("the API server", &mut command);
        let line = process.line();
        let mut words = line.split(' ').map(str::to_owned);
        let (Some("ready"), Some(port), Some(tls_port)) =
            (words.next().as_deref(), words.next(), words.next())
        else {
            panic!("the API server said `{line}`: {}", process.log());
        };
        Api { _process: process, port, tls_port }
    }

    fn game(&self, name: &str, tls: bool, api: &Api) -> Process {
        let mut command = self.interpreter("games.py");
        let port = if tls { &api.tls_port } else { &api.port };
        command.arg(format!("--game={name}")).arg(format!("--port={port}"));
        if tls {
            command.arg("--certificate").arg(self.file("cert.pem"));
        }
        let process = Process::start(name, &mut command);
        assert_eq!(process.line(), "ready", "{name}: {}", process.log());
        process
    }

    fn interpreter(&self, script: &str) -> Command {
        let mut command = Command::new(self.game_server());
        // A copied interpreter looks for its library beside itself first; it is where it was.
        command.env("PYTHONHOME", "/usr").arg("-I").arg(repository().join("xtask/demo").join(script));
        command
    }

    fn daemon(&self) -> Process {
        let config = format!(
            "roles = [\"client\", \"server\"]\n[[target]]\nexe = \"{}\"\n[[game]]\n\
             cmdline = '--game=(?P<game>[a-z-]+)'\n[metrics]\nlisten = \"{}\"\n\
             [catalogue]\nfiles = [\"{}\"]\n[cost]\nplayers = \"{}\"\n[endpoints]\ndictionary = \"{}\"\n",
            self.game_server().display(),
            self.listen,
            repository().join("xtask/demo/catalogue.toml").display(),
            self.file("players.toml").display(),
            self.file("learned.json").display(),
        );
        let players: String = GAMES.iter().map(|(game, _)| format!("{game} = {PLAYERS}\n")).collect();
        fs::write(self.file("players.toml"), players).expect("the counts of players");
        fs::write(self.file("rotrace.toml"), config).expect("the daemon's configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rotrace"));
        command.arg("run").arg("--config").arg(self.file("rotrace.toml"));
        let mut process = Process::start("the daemon", &mut command);
        process.until("the daemon is ready", || get(self.listen, "/readyz").map(drop));
        process
    }

    fn prometheus(&self) -> Process {
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: rotrace\n    static_configs: [{{ targets: ['{}'] }}]\n",
            repository().join("dashboards/rotrace-rules.yml").display(),
            self.listen,
        );
        fs::write(self.file("prometheus.yml"), config).expect("the configuration of Prometheus");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", self.file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", self.file("prometheus").display()))
            .arg(format!("--web.listen-address={}", self.prometheus))
            .args(["--storage.tsdb.retention.size=64MB", "--query.max-concurrency=4", "--log.level=warn"])
            // It shares two processors and little memory with what is watched.
            .env("GOMAXPROCS", "1")
            .env("GOMEMLIMIT", "256MiB");
        let mut process = Process::start("prometheus, of the package prometheus", &mut command);
        process.until("Prometheus is ready", || get(self.prometheus, "/-/ready").map(drop));
        process
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn game_server(&self) -> PathBuf {
        self.file("game-server")
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

/// A process of this test. It ends with this value.
struct Process {
    name: String,
    child: Child,
    /// What it says on standard output.
    said: Receiver<String>,
    /// What it says on standard error.
    complaints: Receiver<String>,
    log: RefCell<Vec<String>>,
}

impl Process {
    fn start(name: &str, command: &mut Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|why| panic!("cannot start {name}: {why}"));
        let said = lines(child.stdout.take().expect("standard output"));
        let complaints = lines(child.stderr.take().expect("standard error"));
        Process { name: name.to_owned(), child, said, complaints, log: RefCell::default() }
    }

    fn tell(&self, order: &str) {
        let mut stdin = self.child.stdin.as_ref().expect("standard input");
        writeln!(stdin, "{order}").unwrap_or_else(|why| panic!("{}: {why}: {}", self.name, self.log()));
    }

    fn line(&self) -> String {
        let line = self.said.recv_timeout(PATIENCE);
        line.unwrap_or_else(|why| panic!("{} says nothing: {why}: {}", self.name, self.log()))
    }

    /// Looks again and again, until `holds` does, the process ends, or patience does.
    fn until(&mut self, what: &str, mut holds: impl FnMut() -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(why) = holds() {
            let ended = self.child.try_wait().expect("the state of a process");
            assert!(ended.is_none(), "{} ended with {ended:?}: {}", self.name, self.log());
            assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}\n{why}\n{}", self.log());
            // What it says is a reason to look again, and so is some time.
            match self.complaints.recv_timeout(PAUSE) {
                Ok(line) => self.log.borrow_mut().push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// What it has said on standard error.
    fn log(&self) -> String {
        let mut log = self.log.borrow_mut();
        log.extend(self.complaints.try_iter());
        log.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; nobody is left to hear of a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread of their own so that a full pipe holds nobody up.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        // The test may have ended before.
        lines.map_while(|line| sender.send(line).ok()).for_each(drop);
    });
    receiver
}
