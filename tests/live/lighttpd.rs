//! Given: lighttpd, which serves TLS through whichever library it is told. Gives: proof that the calls it serves are those of
//! its log. Refuses to know: OpenSSL, which others have.

use std::process::Command;

use tempfile::TempDir;

use crate::access_log::{LIGHTTPD_FORMAT, read_lighttpd};
use crate::call::Role;
use crate::compare::assert_equal_but_times;
use crate::needs;
use crate::nginx::{certificate, free_ports};
use crate::process::{Running, until};
use crate::servers::load;
use crate::stripped::check;
use crate::tracer::Tracer;

/// Serves files over TLS of `module`, whose library is called `library`. The log takes the start of the first request of a
/// connection to be that of the connection, so times are not compared.
fn serves(module: &str, library: &str) {
    let directory = TempDir::with_prefix("rotrace-live-").unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    certificate(directory.path());
    let both = [path("certificate.pem"), path("key.pem")].map(|name| std::fs::read_to_string(name).unwrap());
    std::fs::write(path("both.pem"), both.concat()).unwrap();
    std::fs::create_dir(path("files")).unwrap();
    for (name, bytes) in [("short", 12), ("page", 3_000_000)] {
        std::fs::File::create(path(&format!("files/{name}"))).unwrap().set_len(bytes).unwrap();
    }
    let [port] = free_ports();
    let (root, both, log) = (path("files"), path("both.pem"), path("access.log"));
    let configuration = format!(
        r#"
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_accesslog", "{module}")
ssl.engine = "enable"
ssl.pemfile = "{both}"
accesslog.filename = "{log}"
accesslog.format = "{LIGHTTPD_FORMAT}"
"#
    );
    std::fs::write(path("lighttpd.conf"), configuration).unwrap();
    let mut command = Command::new(needs::program("lighttpd"));
    command.args(["-D", "-f", &path("lighttpd.conf")]);
    let mut server = Running::start(command);
    until("lighttpd to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let said = check(server.pid(), &[], library);
    assert!(said.starts_with("ok ") && said.lines().count() == 1, "{said}");
    let tracer = Tracer::attach(&[server.pid()]);
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let certificate = path("certificate.pem");
    let options = ["-s", "--http1.1", "-o", "/dev/null", "--cacert", &certificate];
    let urls = [url("/short?[1-20]"), url("/page"), url("/missing"), url("/short")];
    load(needs::program("curl"), &[&options[..], &urls.each_ref().map(String::as_str)].concat());
    load(needs::program("curl"), &[&options[..], &["-d", "some=body", &url("/short")]].concat());
    load(needs::program("curl"), &[&options[..], &["-I", &url("/page")]].concat());
    server.signal(libc::SIGINT);
    server.succeeded();
    let seen = tracer.finish();
    let log = read_lighttpd(log.as_ref());
    assert_eq!(log.len(), 25);
    assert!(seen.calls.iter().all(|call| call.tls && call.role == Role::Server));
    assert_equal_but_times(&seen.calls, &log);
}

#[test]
fn over_mbed_tls() {
    serves("mod_mbedtls", "libmbedtls.so");
}

#[test]
fn over_wolfssl() {
    serves("mod_wolfssl", "libwolfssl.so");
}
