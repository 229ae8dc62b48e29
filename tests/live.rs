//! Given: this host with its kernel, and clients and servers that others wrote. Gives: proof, call by call, that what
//! rotrace says equals the server's own access log: nothing missing, nothing invented, nothing lost. Refuses to know:
//! how rotrace works; it is driven through its command line alone.
//!
//! Run it as root: `cargo test -p rotrace --test live -- --test-threads=1`. It wants the programs that
//! [`needs`] names and the Python environment `target/venv` with `tests/requirements.txt`; a test that lacks something
//! fails and says what. Only processes that a test started are traced, by their PID, and all traffic is on loopback.
//!
//! With `ROTRACE_LIVE_PROBES=socket` or `syscall` those probes must see it, and no others.
//! With `ROTRACE_LIVE_RECORD=DIR` each tracer leaves an unredacted capture there: a failure then comes with its evidence.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and says where")]
#![expect(clippy::disallowed_methods, reason = "drives processes, files and clocks")]

#[path = "live/access_log.rs"]
mod access_log;
#[path = "live/call.rs"]
mod call;
#[path = "live/compare.rs"]
mod compare;
#[path = "live/moved.rs"]
mod moved;
#[path = "live/needs.rs"]
mod needs;
#[path = "live/nginx.rs"]
mod nginx;
#[path = "live/process.rs"]
mod process;
#[path = "live/python.rs"]
mod python;
#[path = "live/tracer.rs"]
mod tracer;

#[path = "live/captures.rs"]
mod captures;
#[path = "live/clients.rs"]
mod clients;
#[path = "live/compat.rs"]
mod compat;
#[path = "live/faults.rs"]
mod faults;
#[path = "live/go.rs"]
mod go;
#[path = "live/http2.rs"]
mod http2;
#[path = "live/identity.rs"]
mod identity;
#[path = "live/lab.rs"]
mod lab;
#[path = "live/lifetime.rs"]
mod lifetime;
#[path = "live/lighttpd.rs"]
mod lighttpd;
#[path = "live/matrix.rs"]
mod matrix;
#[path = "live/mixed.rs"]
mod mixed;
#[path = "live/namespaces.rs"]
mod namespaces;
#[path = "live/nss.rs"]
mod nss;
#[path = "live/paths.rs"]
mod paths;
#[path = "live/privileges.rs"]
mod privileges;
#[path = "live/refusals.rs"]
mod refusals;
#[path = "live/rustls.rs"]
mod rustls;
#[path = "live/servers.rs"]
mod servers;
#[path = "live/shapes.rs"]
mod shapes;
#[path = "live/stopping.rs"]
mod stopping;
#[path = "live/stripped.rs"]
mod stripped;
#[path = "live/tls.rs"]
mod tls;
#[path = "live/websocket.rs"]
mod websocket;
