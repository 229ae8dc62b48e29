//! Given: what a test wants served. Gives: an nginx with its own directory, certificate, ports and access log. Refuses
//! to know: who talks to it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::access_log::{self, NGINX_FORMAT, Served};
use crate::needs;
use crate::process::{Running, outcome, until};

/// A running nginx.
pub(crate) struct Nginx {
    running: Running,
    directory: TempDir,
    /// Plain HTTP on 127.0.0.1 and ::1.
    pub(crate) port: u16,
    /// TLS on 127.0.0.1.
    pub(crate) tls_port: u16,
    /// HTTP/2 by prior knowledge on 127.0.0.1.
    pub(crate) http2_port: u16,
    /// TLS on 127.0.0.1, with HTTP/2 for those who ask for it.
    pub(crate) http2_tls_port: u16,
}

impl Nginx {
    /// One worker. `/v1/…` answers a short JSON document to any method, `/echo/…` does so after it has read the body,
    /// `/upload/…` takes PUT, and all else are files.
    pub(crate) fn start() -> Nginx {
        Nginx::with(1, "")
    }

    /// `workers`, and more `location`s.
    pub(crate) fn with(workers: usize, locations: &str) -> Nginx {
        Nginx::certified("TRUE", workers, locations)
    }

    /// With a certificate that is no authority's: rustls takes no other for a server's, where NSS trusts no such one.
    pub(crate) fn start_without_authority() -> Nginx {
        Nginx::certified("FALSE", 1, "")
    }

    fn certified(is_authority: &str, workers: usize, locations: &str) -> Nginx {
        needs::rotrace();
        let directory = TempDir::with_prefix("rotrace-live-").unwrap();
        let root = directory.path();
        certify(root, is_authority);
        for name in ["files", "files/upload", "temporary"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        let ports = free_ports();
        std::fs::write(root.join("nginx.conf"), configuration(root, workers, ports, locations)).unwrap();
        let mut command = Command::new(needs::program("nginx"));
        command.arg("-p").arg(root).arg("-c").arg(root.join("nginx.conf")).args(["-e", "error.log"]);
        let running = Running::start(command);
        let [port, tls_port, http2_port, http2_tls_port] = ports;
        let nginx = Nginx { running, directory, port, tls_port, http2_port, http2_tls_port };
        // The master listens before it forks.
        until("the workers of nginx", || (nginx.workers().len() == workers).then_some(()));
        // A connection that sends nothing leaves no line in the log.
        until("nginx to listen", || TcpStream::connect(("127.0.0.1", tls_port)).ok());
        nginx
    }

    /// Where it listens.
    pub(crate) fn ports(&self) -> [u16; 4] {
        [self.port, self.tls_port, self.http2_port, self.http2_tls_port]
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `https://localhost:PORT` and the path.
    pub(crate) fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.tls_port)
    }

    /// `http://127.0.0.1:PORT` and the path, for HTTP/2 by prior knowledge.
    pub(crate) fn http2_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http2_port)
    }

    /// `https://localhost:PORT` and the path, for HTTP/2.
    pub(crate) fn http2_tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.http2_tls_port)
    }

    /// The certificate that clients must trust.
    pub(crate) fn certificate(&self) -> String {
        self.path("certificate.pem")
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Makes a file of so many bytes under `/name`; it takes no room.
    pub(crate) fn serve_file(&self, name: &str, bytes: u64) {
        std::fs::File::create(self.files().join(name)).unwrap().set_len(bytes).unwrap();
    }

    /// The PIDs of its workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let pid = self.running.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The PIDs of master and workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        [self.running.pid()].into_iter().chain(self.workers()).collect()
    }

    /// Lets it finish what is under way, and gives the whole log.
    pub(crate) fn quit(mut self) -> Vec<Served> {
        self.running.signal(libc::SIGQUIT);
        self.running.succeeded();
        access_log::read_nginx(&self.directory.path().join("access.log"))
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }
}

fn configuration(root: &Path, workers: usize, ports: [u16; 4], locations: &str) -> String {
    let root = root.display();
    let [port, tls_port, http2_port, http2_tls_port] = ports;
    format!(
        r#"
daemon off;
user root;
worker_processes {workers};
pid {root}/nginx.pid;
error_log {root}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format calls {NGINX_FORMAT};
    client_body_temp_path {root}/temporary; proxy_temp_path {root}/temporary; fastcgi_temp_path {root}/temporary;
    uwsgi_temp_path {root}/temporary; scgi_temp_path {root}/temporary;
    default_type application/octet-stream;
    keepalive_requests 10000000; keepalive_timeout 120s; client_max_body_size 0; sendfile on; tcp_nodelay on;
    server {{
        listen 127.0.0.1:{port} backlog=4096; listen [::1]:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl;
        listen 127.0.0.1:{http2_port} http2; listen 127.0.0.1:{http2_tls_port} ssl http2;
        ssl_certificate {root}/certificate.pem; ssl_certificate_key {root}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        access_log {root}/access.log calls;
        root {root}/files;
        location /v1/ {{ return 200 '{{"ok":true}}\n'; }}
        location /empty/ {{ return 204; }}
        location /moved/ {{ return 302 /v1/moved; }}
        location /echo/ {{ proxy_pass http://unix:{root}/reader.sock:/; }}
        location /upload/ {{ dav_methods PUT; }}
        {locations}
    }}
    server {{ listen unix:{root}/reader.sock; access_log off; location / {{ return 200 '{{"read":true}}\n'; }} }}
}}
"#
    )
}

/// A key, and a certificate that it signs itself, for localhost and 127.0.0.1.
pub(crate) fn certificate(directory: &Path) {
    certify(directory, "TRUE");
}

/// The same; rustls takes no server's certificate that is an authority's as well.
pub(crate) fn certify(directory: &Path, is_authority: &str) {
    let mut command = Command::new(needs::program("openssl"));
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", &format!("basicConstraints=critical,CA:{is_authority}")])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("certificate.pem"));
    let (status, _, complaints) = outcome(command);
    assert_eq!(status, Some(0), "openssl made no certificate: {complaints}");
}

/// Ports that nothing listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
