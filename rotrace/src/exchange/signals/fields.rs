//! Given: the fields of a head, one at a time. Gives: what they say to those who look for waste. Refuses to know: any
//! other field, and what the values are that only have to be compared.

use std::time::SystemTime;

use super::{Content, RateLimit, RequestSignals, ResponseSignals};
use crate::keyed::{Key, combine};

/// What is read before all fields are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes {
    date: Option<SystemTime>,
    retry_at: Option<SystemTime>,
    limit: Option<u32>,
    remaining: Option<u32>,
    reset_s: Option<u32>,
}

impl RequestSignals {
    /// Takes note of a field.
    pub fn note(&mut self, name: &[u8], value: &[u8], key: &Key) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // The length tells nearly all fields apart.
        match name.len() {
            5 if is("range") => self.is_range = true,
            6 if is("cookie") => self.credit(value, key),
            9 if is("x-api-key") => self.credit(value, key),
            10 if is("connection") => self.closes = closes(value, self.closes),
            13 if is("authorization") => self.credit(value, key),
            13 if is("if-none-match") => self.is_conditional = true,
            15 if is("accept-encoding") => {
                self.accepts_coding |= items(value).any(|item| {
                    let coding = parameters(item).next().unwrap_or_default();
                    !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") && !is_refused(item)
                });
            }
            17 if is("if-modified-since") => self.is_conditional = true,
            _ => {}
        }
    }

    fn credit(&mut self, value: &[u8], key: &Key) {
        let number = key.hash(value);
        self.credentials = Some(self.credentials.map_or(number, |known| combine(known, number)));
    }
}

impl ResponseSignals {
    /// Takes note of a field. `authority` is that of the request, which a `Location` without one means.
    pub fn note(&mut self, notes: &mut Notes, name: &[u8], value: &[u8], authority: &str, key: &Key) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            3 if is("age") => self.age_s = number(value),
            4 if is("etag") => self.etag = Some(key.hash(value)),
            4 if is("date") => notes.date = date(value),
            6 if is("sunset") => self.is_deprecated = true,
            8 if is("location") => self.location = location(value, authority, key),
            9 if is("ratelimit") => notes.combined(value),
            10 if is("connection") => self.closes = closes(value, self.closes),
            11 if is("deprecation") => self.is_deprecated = !value.eq_ignore_ascii_case(b"?0"),
            11 if is("retry-after") => {
                self.retry_after_s = number(value);
                notes.retry_at = date(value);
            }
            12 if is("content-type") => self.content = content(value),
            13 if is("cache-control") => self.cache_control(value),
            13 if is("last-modified") => self.last_modified = Some(key.hash(value)),
            15 if is("x-poll-interval") => self.poll_interval_s = number(value),
            15 if is("ratelimit-limit") => notes.limit = number(value),
            15 if is("ratelimit-reset") => notes.reset_s = number(value),
            16 if is("content-encoding") => {
                self.is_coded =
                    items(value).any(|item| !item.is_empty() && !item.eq_ignore_ascii_case(b"identity"));
            }
            16 if is("ratelimit-policy") => notes.limit = parameter(value, b"q").or(notes.limit),
            17 if is("x-ratelimit-limit") => notes.limit = number(value),
            17 if is("x-ratelimit-reset") => notes.reset_s = number(value),
            19 if is("content-disposition") => {
                self.is_attachment =
                    parameters(value).next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"attachment"));
            }
            19 if is("ratelimit-remaining") => notes.remaining = number(value),
            21 if is("x-ratelimit-remaining") => notes.remaining = number(value),
            _ => {}
        }
    }

    /// Takes what only all fields together say.
    pub fn conclude(&mut self, notes: &Notes) {
        if let Notes { limit: Some(limit), remaining: Some(remaining), reset_s, .. } = *notes {
            self.rate_limit = Some(RateLimit { limit, remaining, reset_s });
        }
        if let (Some(date), Some(retry_at)) = (notes.date, notes.retry_at) {
            let wait = retry_at.duration_since(date).unwrap_or_default();
            self.retry_after_s = Some(wait.as_secs().min(u32::MAX.into()) as u32);
        }
    }

    fn cache_control(&mut self, value: &[u8]) {
        for item in items(value) {
            if item.eq_ignore_ascii_case(b"no-store") {
                self.no_store = true;
            } else if item.eq_ignore_ascii_case(b"no-cache") {
                // It may be kept, and must be asked for each time (RFC 9111 §5.2.2.4).
                self.max_age_s = Some(0);
            } else if let Some((name, age)) = split(item, b'=')
                && name.eq_ignore_ascii_case(b"max-age")
            {
                self.max_age_s = self.max_age_s.or(number(age));
            }
        }
    }
}

impl Notes {
    /// `RateLimit: "name";r=50;t=30` (draft-ietf-httpapi-ratelimit-headers-11); earlier drafts have `limit=`, `remaining=`
    /// and `reset=`.
    fn combined(&mut self, value: &[u8]) {
        self.limit = parameter(value, b"limit").or(self.limit);
        self.remaining = parameter(value, b"r").or_else(|| parameter(value, b"remaining")).or(self.remaining);
        self.reset_s = parameter(value, b"t").or_else(|| parameter(value, b"reset")).or(self.reset_s);
    }
}

/// The number of a URL without its scheme: two that are the same have the same.
pub fn url(authority: &str, target: &str, key: &Key) -> u64 {
    let authority =
        authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
    combine(key.name(authority.as_bytes()), key.name(target.as_bytes()))
}

/// A `Location` (RFC 9110 §10.2.2) that is absolute, or begins with `/`; others are rare.
fn location(value: &[u8], authority: &str, key: &Key) -> Option<u64> {
    let value = str::from_utf8(value).ok()?;
    let value = value.split('#').next()?;
    if value.starts_with('/') && !value.starts_with("//") {
        return Some(url(authority, value, key));
    }
    let (scheme, rest) = value.split_once("//")?;
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !scheme.is_empty() && !scheme.strip_suffix(':').is_some_and(is_scheme) {
        return None;
    }
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = host.to_ascii_lowercase();
    Some(match path {
        "" => url(&host, "/", key),
        path if path.starts_with('?') => url(&host, &format!("/{path}"), key),
        path => url(&host, path, key),
    })
}

/// By the media type alone (RFC 9110 §8.3.1).
fn content(value: &[u8]) -> Content {
    let media = parameters(value).next().unwrap_or_default();
    let Some((kind, subtype)) = split(media, b'/') else { return Content::Unknown };
    let is = |known: &str| kind.eq_ignore_ascii_case(known.as_bytes());
    let ends_with = |ends: &[&str]| ends.iter().any(|end| ends_with(subtype, end));
    if is("application") {
        if ends_with(&["json", "xml", "javascript", "x-www-form-urlencoded", "graphql", "yaml"]) {
            return Content::Text;
        }
        return if ends_with(&["json-seq", "x-ndjson", "grpc"]) { Content::Stream } else { Content::Binary };
    }
    if is("text") {
        return if ends_with(&["event-stream"]) { Content::Stream } else { Content::Text };
    }
    if is("image") && ends_with(&["svg+xml"]) { Content::Text } else { Content::Binary }
}

fn ends_with(text: &[u8], end: &str) -> bool {
    let at = text.len().checked_sub(end.len());
    at.and_then(|at| text.get(at..)).is_some_and(|own| own.eq_ignore_ascii_case(end.as_bytes()))
}

/// The leading number of a value; of a list, that of its first item.
fn number(value: &[u8]) -> Option<u32> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let is_number = matches!(value.get(end), None | Some(b',' | b';' | b' ' | b'.'));
    let digits = value.get(..end).filter(|digits| is_number && !digits.is_empty())?;
    // One that is too large is as good as the largest.
    Some(digits.iter().fold(0u32, |sum, byte| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0'))))
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()
}

/// The items of a list (RFC 9110 §5.6.1).
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// An item, then its parameters (RFC 9110 §5.6.6).
fn parameters(item: &[u8]) -> impl Iterator<Item = &[u8]> {
    item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn parameter(value: &[u8], name: &[u8]) -> Option<u32> {
    let pairs = items(value).flat_map(parameters).filter_map(|pair| split(pair, b'='));
    pairs.filter(|(own, _)| own.eq_ignore_ascii_case(name)).find_map(|(_, value)| number(value))
}

fn has_token(value: &[u8], token: &str) -> bool {
    items(value).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// What `Connection` says; without a word the version of the protocol decides (RFC 9112 §9.3).
fn closes(value: &[u8], by_default: bool) -> bool {
    has_token(value, "close") || by_default && !has_token(value, "keep-alive")
}

/// `;q=0` refuses a coding (RFC 9110 §12.4.2).
fn is_refused(item: &[u8]) -> bool {
    let weight =
        parameters(item).skip(1).find_map(|pair| split(pair, b'=').filter(|(name, _)| *name == b"q"));
    weight.is_some_and(|(_, weight)| weight.iter().all(|byte| b"0.".contains(byte)))
}

fn split(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = value.iter().position(|&byte| byte == at)?;
    Some((value.get(..place)?.trim_ascii(), value.get(place + 1..)?.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(head: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    fn request(head: &str) -> RequestSignals {
        let mut signals = RequestSignals::default();
        lines(head).for_each(|(name, value)| signals.note(name, value, &Key::default()));
        signals
    }

    fn response(head: &str) -> ResponseSignals {
        let (mut signals, mut notes) = (ResponseSignals::default(), Notes::default());
        lines(head)
            .for_each(|(name, value)| signals.note(&mut notes, name, value, "api.test", &Key::default()));
        signals.conclude(&notes);
        signals
    }

    #[test]
    fn requests_say_what_they_accept_and_who_they_are() {
        let one = request("X-Api-Key: secret\nAccept-Encoding: identity, gzip;q=0.5\nIf-None-Match: \"a\"");
        assert!(one.credentials.is_some() && one.accepts_coding && one.is_conditional);
        assert!(!request("Accept-Encoding: identity, br;q=0").accepts_coding);
        assert_ne!(one.credentials, request("x-api-key: other").credentials);
        assert_eq!(one.credentials, request("x-api-key: secret").credentials);
        assert!(request("Connection: keep-alive, Close").closes);
        assert_eq!(request("Host: a\nAccept: b"), RequestSignals::default());
    }

    #[test]
    fn responses_say_how_long_they_hold() {
        let one = response("Cache-Control: public, Max-Age=30\nAge: 10\nETag: W/\"x\"");
        assert_eq!(
            (one.max_age_s, one.age_s, one.no_store, one.etag.is_some()),
            (Some(30), Some(10), false, true)
        );
        assert!(response("Cache-Control: no-store").no_store);
        assert_eq!(response("Cache-Control: no-cache").max_age_s, Some(0));
        assert_eq!(response("Cache-Control: max-age=99999999999").max_age_s, Some(u32::MAX));
        assert_eq!(response("Cache-Control: max-age=soon").max_age_s, None);
    }

    #[test]
    fn responses_say_when_to_come_back() {
        assert_eq!(response("Retry-After: 5").retry_after_s, Some(5));
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT";
        assert_eq!(response(date).retry_after_s, Some(30));
        let roblox = "x-ratelimit-limit: 1000, 1000;w=60\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 12";
        let limit = RateLimit { limit: 1000, remaining: 0, reset_s: Some(12) };
        assert_eq!(response(roblox).rate_limit, Some(limit));
        let draft = "RateLimit-Policy: \"burst\";q=100;w=60\nRateLimit: \"burst\";r=7;t=30";
        assert_eq!(
            response(draft).rate_limit,
            Some(RateLimit { limit: 100, remaining: 7, reset_s: Some(30) })
        );
        assert_eq!(response("x-ratelimit-remaining: 3").rate_limit, None);
    }

    #[test]
    fn responses_say_what_they_are() {
        let check = |media: &str, expect: Content| {
            assert_eq!(response(&format!("Content-Type: {media}")).content, expect, "{media}");
        };
        check("application/json; charset=utf-8", Content::Text);
        check("application/problem+json", Content::Text);
        check("TEXT/HTML", Content::Text);
        check("image/svg+xml", Content::Text);
        check("image/png", Content::Binary);
        check("application/octet-stream", Content::Binary);
        check("text/event-stream", Content::Stream);
        check("nonsense", Content::Unknown);
        assert!(
            response("Content-Encoding: gzip").is_coded && !response("Content-Encoding: identity").is_coded
        );
        assert!(response("Content-Disposition: attachment; filename=a").is_attachment);
        assert!(response("Sunset: Sun, 06 Nov 1994 08:49:37 GMT").is_deprecated);
        assert!(response("Deprecation: @1688169599").is_deprecated);
    }

    #[test]
    fn a_location_is_the_url_that_is_called_next() {
        let key = Key::default();
        let check = |location: &str, authority: &str, target: &str| {
            let seen = response(&format!("Location: {location}")).location;
            assert_eq!(seen, Some(url(authority, target, &key)), "{location}");
        };
        check("/b?x=1", "api.test", "/b?x=1");
        check("https://Other.test:443/b#part", "other.test", "/b");
        check("http://api.test", "api.test:80", "/");
        check("//cdn.test/f", "cdn.test", "/f");
        check("https://cdn.test?q", "cdn.test", "/?q");
        assert_eq!(response("Location: elsewhere").location, None);
        assert_eq!(response("Location: elsewhere?next=https://cdn.test/f").location, None);
    }

    proptest! {
        #[test]
        fn no_field_makes_it_fail(name in "[a-zA-Z-]{1,24}", value in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = Key::default();
            RequestSignals::default().note(name.as_bytes(), &value, &key);
            let (mut signals, mut notes) = (ResponseSignals::default(), Notes::default());
            for known in ["retry-after", "cache-control", "ratelimit", "location", "content-type", &name] {
                signals.note(&mut notes, known.as_bytes(), &value, "a", &key);
            }
            signals.conclude(&notes);
        }
    }
}
