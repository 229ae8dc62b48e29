//! Given: the address of the daemon. Gives: what its pages say, and the samples of `/metrics`. Refuses to know: what they
//! mean.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Far above what the daemon needs for a page.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One line of `/metrics`.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label; empty where there is no such label.
    pub(crate) fn label(&self, key: &str) -> &str {
        self.labels.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }
}

/// The body of a page that is answered with 200.
pub(crate) fn page(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let failed = || format!("read http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(failed)?;
    // The answer to HTTP/1.0 ends with its connection (RFC 9112 §6.3), so nothing is left to decode.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").with_context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(failed)?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("http://{address}{path} answers: {}", body.trim());
    }
    Ok(body.to_owned())
}

/// The samples of a page in the text format of Prometheus 0.0.4.
pub(crate) fn samples(page: &str) -> Vec<Sample> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, quoted) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = unquoted(quoted)?;
            labels.push((key.to_owned(), value));
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what stands behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, expect: &[&str]) {
        let seen: Vec<String> = samples(page)
            .iter()
            .map(|sample| {
                let labels = sample.labels.iter().map(|(key, value)| format!(" {key}={value:?}"));
                format!("{}{} {}", sample.name, labels.collect::<String>(), sample.value)
            })
            .collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn samples_with_and_without_labels() {
        check(
            "# HELP a Of a.\n# TYPE a counter\na 1\nb{} 2.5\nc{x=\"1\",y=\"2\"} 3\nd{le=\"+Inf\"} +Inf\n",
            &["a 1", "b 2.5", "c x=\"1\" y=\"2\" 3", "d le=\"+Inf\" inf"],
        );
    }

    #[test]
    fn values_of_labels_are_unquoted() {
        check(r#"a{x="q\"\\\n,}",y=""} 1"#, &[r#"a x="q\"\\\n,}" y="" 1"#]);
    }

    #[test]
    fn what_is_no_sample_is_none() {
        check("\na\na{x=\"1} 1\na{x} 1\na one\na{x=\"1\"\n", &[]);
    }
}
