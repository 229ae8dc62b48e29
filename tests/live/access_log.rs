//! Given: access logs of the servers, one JSON object a line. Gives: the calls that they served, in one form. Refuses to
//! know: what rotrace saw.

use std::path::Path;

use serde::Deserialize;

/// One request as a server logged it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The server's own number of the connection.
    pub(crate) connection: u64,
    /// Which request of the connection, from 1.
    pub(crate) ordinal: u64,
    /// Microseconds since 1970 when the server read the first bytes of the request.
    pub(crate) started_us: i64,
    /// The same when the server had handed over the last byte of the response.
    pub(crate) ended_us: i64,
    pub(crate) method: String,
    /// Without the query, which rotrace does not show.
    pub(crate) path: String,
    pub(crate) protocol: String,
    pub(crate) status: u16,
    /// Head and body; `None` where framing is among them.
    pub(crate) request_bytes: Option<u64>,
    /// Payload.
    pub(crate) request_body_bytes: Option<u64>,
    /// Head and body; `None` where framing is among them.
    pub(crate) response_bytes: Option<u64>,
    /// Payload.
    pub(crate) response_body_bytes: Option<u64>,
    /// Over TLS; `None` when the server does not say.
    pub(crate) tls: Option<bool>,
}

/// `HTTP/1.1 100 Continue` and two line ends, which nginx counts as sent for the final response
/// (ngx_http_test_expect in src/http/ngx_http_request_body.c, 1.22).
const CONTINUE_BYTES: u64 = 25;

/// A line of the format that [`NGINX_FORMAT`] describes.
#[derive(Deserialize)]
struct NginxLine {
    connection: u64,
    ordinal: u64,
    msec: f64,
    request_time: f64,
    method: String,
    target: String,
    protocol: String,
    status: u16,
    body_bytes_sent: u64,
    bytes_sent: u64,
    request_length: u64,
    content_length: String,
    transfer_encoding: String,
    sent_transfer_encoding: String,
    sent_content_length: String,
    expect: String,
    https: String,
}

/// `log_format` of nginx. `$msec` is the time of the log line, `$request_time` reaches from the first bytes of the
/// request to it (ngx_http_log_module); `$body_bytes_sent` includes chunk framing.
pub(crate) const NGINX_FORMAT: &str = r#"escape=json '{"connection":$connection,"ordinal":$connection_requests,"msec":$msec,"request_time":$request_time,"method":"$request_method","target":"$request_uri","protocol":"$server_protocol","status":$status,"body_bytes_sent":$body_bytes_sent,"bytes_sent":$bytes_sent,"request_length":$request_length,"content_length":"$content_length","transfer_encoding":"$http_transfer_encoding","sent_transfer_encoding":"$sent_http_transfer_encoding","sent_content_length":"$sent_http_content_length","expect":"$http_expect","https":"$https"}'"#;

/// Reads a log of [`NGINX_FORMAT`].
pub(crate) fn read_nginx(path: &Path) -> Vec<Served> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| nginx(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))))
        .collect()
}

fn nginx(line: NginxLine) -> Served {
    let interim = if line.expect.eq_ignore_ascii_case("100-continue") { CONTINUE_BYTES } else { 0 };
    let request_is_chunked = !line.transfer_encoding.is_empty();
    let response_is_chunked = !line.sent_transfer_encoding.is_empty();
    let has_no_body = line.method == "HEAD" || matches!(line.status, 204 | 304);
    let sent_content_length = line.sent_content_length.parse().ok();
    let served = Served {
        connection: line.connection,
        ordinal: line.ordinal,
        started_us: microseconds(line.msec - line.request_time),
        ended_us: microseconds(line.msec),
        method: line.method,
        path: path(&line.target),
        protocol: line.protocol,
        status: line.status,
        request_bytes: (!request_is_chunked).then_some(line.request_length),
        request_body_bytes: (!request_is_chunked).then(|| line.content_length.parse().unwrap_or(0)),
        response_bytes: (!response_is_chunked).then(|| line.bytes_sent - interim),
        response_body_bytes: (!response_is_chunked).then(|| line.body_bytes_sent - interim),
        tls: Some(line.https == "on"),
    };
    if served.protocol != "HTTP/2.0" {
        return served;
    }
    // Of HTTP/2 nginx counts frames as sent; what it says of payload is in the fields that it sent.
    Served {
        protocol: "HTTP/2".to_owned(),
        request_bytes: None,
        response_bytes: None,
        response_body_bytes: if has_no_body { Some(0) } else { sent_content_length },
        ..served
    }
}

/// A line of the format that [`LIGHTTPD_FORMAT`] describes.
#[derive(Deserialize)]
struct LighttpdLine {
    remote_port: u64,
    before: u64,
    begin_us: i64,
    took_us: i64,
    method: String,
    target: String,
    protocol: String,
    status: u16,
    content_length: String,
    body_bytes: u64,
    in_bytes: u64,
    out_bytes: u64,
}

/// `accesslog.format` of lighttpd, within quotation marks of its configuration (mod_accesslog).
pub(crate) const LIGHTTPD_FORMAT: &str = r#"{\"remote_port\":%{remote}p,\"before\":%k,\"begin_us\":%{begin:usec}t,\"took_us\":%D,\"method\":\"%m\",\"target\":\"%U\",\"protocol\":\"%H\",\"status\":%s,\"content_length\":\"%{Content-Length}i\",\"body_bytes\":%B,\"in_bytes\":%I,\"out_bytes\":%O}"#;

/// Reads a log of [`LIGHTTPD_FORMAT`].
pub(crate) fn read_lighttpd(path: &Path) -> Vec<Served> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| lighttpd(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))))
        .collect()
}

fn lighttpd(line: LighttpdLine) -> Served {
    let content_length: u64 = line.content_length.parse().unwrap_or(0);
    Served {
        connection: line.remote_port,
        ordinal: line.before + 1,
        started_us: line.begin_us,
        ended_us: line.begin_us + line.took_us,
        method: line.method,
        path: path(&line.target),
        protocol: line.protocol,
        status: line.status,
        // A body that a file has no use for is not among what it counts.
        request_bytes: (content_length == 0).then_some(line.in_bytes),
        request_body_bytes: Some(content_length),
        response_bytes: Some(line.out_bytes),
        response_body_bytes: Some(line.body_bytes),
        tls: None,
    }
}

/// A line of `scripts/server.py`, which counts payload bytes itself.
#[derive(Deserialize)]
struct PythonLine {
    connection: u64,
    ordinal: u64,
    started: f64,
    ended: f64,
    method: String,
    target: String,
    protocol: String,
    status: u16,
    request_body_bytes: u64,
    response_body_bytes: u64,
}

/// Reads the lines of `scripts/server.py` that are objects.
pub(crate) fn read_python(lines: &[String]) -> Vec<Served> {
    let lines = lines.iter().filter(|line| line.starts_with('{'));
    lines
        .map(|line| python(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))))
        .collect()
}

fn python(line: PythonLine) -> Served {
    Served {
        connection: line.connection,
        ordinal: line.ordinal,
        started_us: microseconds(line.started),
        ended_us: microseconds(line.ended),
        method: line.method,
        path: path(&line.target),
        protocol: line.protocol,
        status: line.status,
        request_bytes: None,
        request_body_bytes: Some(line.request_body_bytes),
        response_bytes: None,
        response_body_bytes: Some(line.response_body_bytes),
        tls: None,
    }
}

fn path(target: &str) -> String {
    target.split_once('?').map_or(target, |(path, _)| path).to_owned()
}

fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
