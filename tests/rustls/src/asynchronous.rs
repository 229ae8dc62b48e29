//! Given: a server. Gives: calls to it by hyper over tokio-rustls, from several threads. Refuses to know: other clients.

use std::convert::Infallible;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, bail};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::Uri;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};

use crate::{Body, Request, WORKERS, late, of_worker, one_by_one, wait};

/// Bytes of a chunk of a body whose length is not told.
const CHUNK_BYTES: usize = 1000;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// With TLS 1.2.
    Http1Tls12,
    /// With other keys from before the first request on.
    Http1Updated,
    Http2,
}

impl FromStr for Protocol {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Protocol> {
        match name {
            "http1" => Ok(Protocol::Http1),
            "http1-tls1.2" => Ok(Protocol::Http1Tls12),
            "http1-updated" => Ok(Protocol::Http1Updated),
            "http2" => Ok(Protocol::Http2),
            _ => bail!("no protocol {name}"),
        }
    }
}

type Sent = BoxBody<Bytes, Infallible>;

/// A connection that takes requests.
enum Sender {
    Http1(http1::SendRequest<Sent>),
    Http2(http2::SendRequest<Sent>),
}

/// One connection, and then several at one time.
pub(crate) fn calls(protocol: Protocol, url: &str, certificate: &str) -> anyhow::Result<()> {
    let connector = connector(protocol, certificate)?;
    Runtime::new()?.block_on(async {
        let mut sender = connect(protocol, url, &connector).await?;
        all(&mut sender, url, one_by_one()).await?;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (url, connector) = (url.to_owned(), connector.clone());
                tokio::spawn(async move {
                    let mut sender = connect(protocol, &url, &connector).await?;
                    all(&mut sender, &url, of_worker(worker)).await
                })
            })
            .collect();
        for worker in workers {
            worker.await??;
        }
        Ok(())
    })
}

/// Some calls before somebody comes, and some behind.
pub(crate) fn late_calls(protocol: Protocol, url: &str, certificate: &str) -> anyhow::Result<()> {
    let connector = connector(protocol, certificate)?;
    Runtime::new()?.block_on(async {
        let mut sender = connect(protocol, url, &connector).await?;
        all(&mut sender, url, late(0..3)).await?;
        tokio::task::spawn_blocking(wait).await??;
        all(&mut sender, url, late(3..8)).await
    })
}

fn connector(protocol: Protocol, certificate: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let versions = if protocol == Protocol::Http1Tls12 { &[&TLS12][..] } else { ALL_VERSIONS };
    let config = ClientConfig::builder_with_protocol_versions(versions);
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols =
        vec![if protocol == Protocol::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(protocol: Protocol, url: &str, connector: &TlsConnector) -> anyhow::Result<Sender> {
    let uri: Uri = url.parse()?;
    let host = uri.host().context("a URL has a host")?;
    let socket = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    let mut stream = connector.connect(name, socket).await?;
    if protocol == Protocol::Http1Updated {
        stream.get_mut().1.refresh_traffic_keys()?;
    }
    let stream = TokioIo::new(stream);
    // Whether the connection ends well is seen by the calls on it.
    Ok(match protocol {
        Protocol::Http1 | Protocol::Http1Tls12 | Protocol::Http1Updated => {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        }
        Protocol::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        }
    })
}

async fn all(sender: &mut Sender, url: &str, requests: Vec<Request>) -> anyhow::Result<()> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().context("a URL has an authority")?;
    for Request { method, path, body } in requests {
        let request = hyper::Request::builder().method(method);
        let response = match sender {
            Sender::Http1(sender) => {
                let request = request.uri(&path).header("host", authority.as_str());
                sender.ready().await?;
                sender.send_request(request.body(sent(body))?).await
            }
            Sender::Http2(sender) => {
                let request = request.uri(format!("https://{authority}{path}"));
                sender.ready().await?;
                sender.send_request(request.body(sent(body))?).await
            }
        };
        response.with_context(|| format!("{method} {path}"))?.into_body().collect().await?;
    }
    Ok(())
}

fn sent(body: Body) -> Sent {
    match body {
        Body::None => Empty::new().boxed(),
        Body::Sized(bytes) => Full::new(Bytes::from(vec![b'p'; bytes])).boxed(),
        Body::Chunked(bytes) => Chunks(Bytes::from(vec![b'c'; bytes])).boxed(),
    }
}

/// A body that does not tell its length.
struct Chunks(Bytes);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = CHUNK_BYTES.min(self.0.len());
        Poll::Ready((bytes > 0).then(|| Ok(Frame::data(self.0.split_to(bytes)))))
    }
}
