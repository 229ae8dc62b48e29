//! Given: a certificate. Gives: a server by hyper over tokio-rustls, and a line for each request that it served. Refuses to know:
//! its clients.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Serves until the input ends.
pub(crate) fn serve(certificate: &str, key: &str) -> anyhow::Result<()> {
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Runtime::new()?;
    runtime.spawn(async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("listening {}", listener.local_addr()?.port());
        for number in 1.. {
            let (socket, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            // How a connection ends is for its client to say.
            tokio::spawn(async move { converse(number, acceptor, socket).await });
        }
        anyhow::Ok(())
    });
    std::io::stdin().lock().read_to_end(&mut Vec::new()).context("wait for the end")?;
    Ok(())
}

async fn converse(number: u64, acceptor: TlsAcceptor, socket: TcpStream) -> anyhow::Result<()> {
    let stream = acceptor.accept(socket).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let ordinal = Arc::new(AtomicU64::new(0));
    let service = service_fn(move |request| {
        // Streams of HTTP/2 have tasks of their own.
        let ordinal = Arc::clone(&ordinal);
        async move { answer(number, ordinal.fetch_add(1, Ordering::Relaxed) + 1, request).await }
    });
    if is_http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
    } else {
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    }
    Ok(())
}

/// A path of `/sized/NUMBER` is answered with so many bytes, all else with 404.
async fn answer(
    connection: u64,
    ordinal: u64,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let started = now();
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let protocol = if request.version() == hyper::Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    let received = request.into_body().collect().await?.to_bytes().len();
    let size = path.strip_prefix("/sized/").and_then(|size| size.parse::<usize>().ok());
    let status = if size.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let size = size.unwrap_or(0);
    println!(
        "{}",
        json!({
            "connection": connection, "ordinal": ordinal, "started": started, "ended": now(), "method": method,
            "target": path, "protocol": protocol, "status": status.as_u16(), "request_body_bytes": received,
            "response_body_bytes": size,
        })
    );
    let mut response = Response::new(Full::new(Bytes::from(vec![b's'; size])));
    *response.status_mut() = status;
    Ok(response)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
