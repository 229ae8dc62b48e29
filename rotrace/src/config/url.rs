//! Given: text. Gives: the address that it is, where it can be asked for without TLS. Refuses to know: who asks.

use std::fmt;

/// Where something is to be asked for. Nothing of it is a secret: what stands before an `@` is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or address, with the port.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Url> {
        let rest = text.strip_prefix("http://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at_checked(end)?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if host.is_empty() || host.contains('@') || !is_plain(host) || !is_plain(target) {
            return None;
        }
        let is_address_of_v6 = host.ends_with(']');
        let has_port = !is_address_of_v6 && host.rsplit_once(':').is_some();
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        let (_, port) = authority.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Url { authority, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(Url::parse(text).map(|url| url.to_string()).as_deref(), expect, "{text}");
        };
        check("http://players", Some("http://players:80/"));
        check("http://127.0.0.1:8080/v1/players?x=1", Some("http://127.0.0.1:8080/v1/players?x=1"));
        check("http://[::1]/p", Some("http://[::1]:80/p"));
        check("http://[::1]:81?p", Some("http://[::1]:81/?p"));
        for bad in [
            "https://a/",
            "http://",
            "http://a:b/",
            "http://u:p@a/",
            "http://a/ b",
            "http://a/#b",
            "/run/a",
            "http://a:70000",
        ] {
            check(bad, None);
        }
    }
}
