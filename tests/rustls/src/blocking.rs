//! Given: a server. Gives: calls to it by ureq, from several threads. Refuses to know: other clients.

use std::sync::Arc;

use anyhow::{Context, bail};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, SendBody};

use crate::{Body, Request, WORKERS, late, of_worker, one_by_one, wait};

/// One thread, and then several with connections of their own.
pub(crate) fn calls(url: &str, certificate: &str) -> anyhow::Result<()> {
    let agent = agent(certificate)?;
    all(&agent, url, &one_by_one())?;
    std::thread::scope(|scope| {
        let run = |worker| {
            let agent = &agent;
            scope.spawn(move || all(agent, url, &of_worker(worker)))
        };
        let workers: Vec<_> = (0..WORKERS).map(run).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a thread has panicked")))
    })
}

/// Some calls before somebody comes, and some behind.
pub(crate) fn late_calls(url: &str, certificate: &str) -> anyhow::Result<()> {
    let agent = agent(certificate)?;
    all(&agent, url, &late(0..3))?;
    wait()?;
    all(&agent, url, &late(3..8))
}

fn agent(certificate: &str) -> anyhow::Result<Agent> {
    let pem = std::fs::read(certificate).context("read the certificate")?;
    let roots = RootCerts::Specific(Arc::new(vec![Certificate::from_pem(&pem)?]));
    let tls = TlsConfig::builder().root_certs(roots).build();
    Ok(Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into())
}

fn all(agent: &Agent, url: &str, requests: &[Request]) -> anyhow::Result<()> {
    for Request { method, path, body } in requests {
        let request = ureq::http::Request::builder().method(*method).uri(format!("{url}{path}"));
        let called = match *body {
            Body::None => agent.run(request.body(())?),
            Body::Sized(bytes) => agent.run(request.body(vec![b'p'; bytes])?),
            Body::Chunked(bytes) => {
                agent.run(request.body(SendBody::from_owned_reader(std::io::Cursor::new(vec![b'c'; bytes])))?)
            }
        };
        let mut response = called.with_context(|| format!("{method} {path}"))?;
        std::io::copy(&mut response.body_mut().as_reader(), &mut std::io::sink())?;
    }
    Ok(())
}
