//! Given: nothing; plain values. Gives: what fields and first body bytes of an exchange say to those who look for waste.
//! Refuses to know: the values themselves: what could be a secret, or belongs to a player, is here as a keyed hash.

mod fields;

pub use self::fields::{Notes, url};
use super::ids::Ids;

/// What an exchange says beside its sizes and times. What was not said, or not seen, is `None`, `false` or unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Of the request.
    pub request: RequestSignals,
    /// Of the final response.
    pub response: ResponseSignals,
    /// Some fields are not known, so what seems not to be said may have been.
    pub is_partial: bool,
}

/// What a request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSignals {
    /// `Authorization`, `X-Api-Key` and `Cookie` as one number; `None` when there is none of them.
    pub credentials: Option<u64>,
    /// The body.
    pub body: Option<Fingerprint>,
    /// `If-None-Match` or `If-Modified-Since` is there (RFC 9110 §13.1).
    pub is_conditional: bool,
    /// `Accept-Encoding` names a coding (RFC 9110 §12.5.3).
    pub accepts_coding: bool,
    /// `Range` is there (RFC 9110 §14.2).
    pub is_range: bool,
    /// `Connection: close`, or HTTP/1.0 without keep-alive.
    pub closes: bool,
}

/// What a response says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseSignals {
    /// `ETag` (RFC 9110 §8.8.3).
    pub etag: Option<u64>,
    /// `Last-Modified` (RFC 9110 §8.8.2).
    pub last_modified: Option<u64>,
    /// The body.
    pub body: Option<Fingerprint>,
    /// The ids in the body, as far as anybody has looked for them.
    pub ids: Ids,
    /// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1).
    pub max_age_s: Option<u32>,
    /// `Age` (RFC 9111 §5.1).
    pub age_s: Option<u32>,
    /// `no-store` of `Cache-Control`.
    pub no_store: bool,
    /// `Retry-After` in seconds (RFC 9110 §10.2.3); one that is a date is counted from `Date`.
    pub retry_after_s: Option<u32>,
    /// `X-RateLimit-*` or `RateLimit`.
    pub rate_limit: Option<RateLimit>,
    /// `X-Poll-Interval` in seconds.
    pub poll_interval_s: Option<u32>,
    /// `Location`, made absolute with the request's authority, without scheme and default port.
    pub location: Option<u64>,
    /// By `Content-Type`.
    pub content: Content,
    /// `Content-Encoding` names a coding.
    pub is_coded: bool,
    /// `Content-Disposition: attachment`.
    pub is_attachment: bool,
    /// `Deprecation` (RFC 9745) or `Sunset` (RFC 8594) is there.
    pub is_deprecated: bool,
    /// `Connection: close`, or HTTP/1.0 without keep-alive.
    pub closes: bool,
}

/// A body, as far as its first bytes were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Keyed hash of the first bytes.
    pub hash: u64,
    /// They were all of it.
    pub is_whole: bool,
}

/// What a server says of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a window.
    pub limit: u32,
    /// Requests that are left in it.
    pub remaining: u32,
    /// Seconds until it is full again.
    pub reset_s: Option<u32>,
}

/// What a body is, by its media type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// No `Content-Type`.
    #[default]
    Unknown,
    /// Text, JSON, XML, scripts: what compresses.
    Text,
    /// Images, sound, models, archives, octets.
    Binary,
    /// A stream of events: `text/event-stream` and the like.
    Stream,
}
