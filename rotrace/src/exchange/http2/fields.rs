//! Given: the fields of one header block. Gives: what they say of a request, or of a response. Refuses to know: streams, and
//! the bytes of the block.

use std::borrow::Cow;
use std::sync::Arc;

use crate::exchange::decoder::requests::method;
use crate::exchange::signals::Notes;
use crate::exchange::signals::{RequestSignals, ResponseSignals};
use crate::exchange::{FIELD_BYTES_MAX, TARGET_BYTES_MAX, Unnamed, Wanted};
use crate::http::h1::head;
use crate::http::hpack::Field;
use crate::keyed::Key;

/// What a block says as a request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: Cow<'static, str>,
    path: Option<Box<str>>,
    authority: Option<Box<[u8]>>,
    pub(super) is_grpc: bool,
    pub(super) signals: RequestSignals,
    pub(super) wanted: Vec<(usize, Box<str>)>,
    wanted_bytes: usize,
    extends_connect: bool,
    /// A pseudo-field of a request is there (RFC 9113 §8.3.1): trailers have none.
    pub(super) is_request: bool,
    /// Something of a field is not known.
    pub(super) has_unknown: bool,
}

/// What a block says as a response, or as trailers.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    pub(super) signals: ResponseSignals,
    notes: Notes,
    /// `:status` is there, or the first field is not known, which then must be it: a response has no other pseudo-field
    /// (RFC 9113 §8.3.2), and trailers do not begin with one.
    pub(super) is_response: bool,
    /// Something of a field is not known.
    pub(super) has_unknown: bool,
    fields: usize,
}

impl Request {
    /// Takes the next field. What a client could do better is said to the client.
    pub(super) fn note(&mut self, field: Field<'_>, is_client: bool, wanted: &Wanted, key: &Key) {
        let Field { name, value } = field;
        self.has_unknown |= name.is_none() || value.is_none();
        let Some(name) = name else { return };
        self.is_request |= matches!(name, b":method" | b":scheme" | b":path" | b":authority");
        let Some(value) = value else { return };
        match name {
            b":method" => self.method = method(&String::from_utf8_lossy(value)),
            b":path" => self.path = Some(text(value)),
            b":authority" => self.authority = Some(value.into()),
            b":protocol" => self.extends_connect = true,
            b"host" if self.authority.is_none() => self.authority = Some(value.into()),
            b"content-type" => self.is_grpc = is_grpc(value),
            _ => {}
        }
        if is_client {
            self.signals.note(name, value, key);
        }
        for (index, wanted) in wanted.0.iter().enumerate() {
            if name == wanted.as_bytes() && self.wanted_bytes < FIELD_BYTES_MAX {
                self.wanted.push((index, head::text(value, FIELD_BYTES_MAX - self.wanted_bytes)));
                self.wanted_bytes += value.len() + size_of::<(usize, Box<str>)>();
            }
        }
    }

    /// The target, or why it is not known; `doubt` is what may have kept it from being known. CONNECT without `:protocol`
    /// has no path (RFC 9113 §8.5, RFC 8441 §4).
    pub(super) fn target(&mut self, doubt: Option<Unnamed>) -> Result<Box<str>, Unnamed> {
        if let Some(path) = self.path.take().filter(|path| !path.is_empty()) {
            return Ok(path);
        }
        if self.method == "CONNECT"
            && !self.extends_connect
            && let Some(authority) = &self.authority
        {
            return Ok(text(authority));
        }
        Err(doubt
            .filter(|doubt| self.has_unknown || *doubt == Unnamed::BlockLost)
            .unwrap_or(Unnamed::Missing))
    }

    /// The authority, shared with the last request that named it.
    pub(super) fn authority(&self, last: Option<&Arc<str>>) -> Option<Arc<str>> {
        head::authority(self.authority.as_deref()?, last)
    }
}

impl Response {
    /// Takes the next field of the response to a request to `authority`.
    pub(super) fn note(&mut self, field: Field<'_>, is_client: bool, authority: &str, key: &Key) {
        let is_first = self.fields == 0;
        self.fields += 1;
        self.is_response |= field.name == Some(b":status") || is_first && field.name.is_none();
        let Field { name: Some(name), value: Some(value) } = field else {
            self.has_unknown = true;
            return;
        };
        match name {
            b":status" => self.status = number(value).and_then(|status| status.try_into().ok()),
            b"grpc-status" => self.grpc_status = number(value),
            _ => {}
        }
        if is_client {
            self.signals.note(&mut self.notes, name, value, authority, key);
        }
    }

    /// What all fields together say.
    pub(super) fn conclude(&mut self) -> ResponseSignals {
        self.signals.conclude(&self.notes);
        self.signals
    }

    /// True for a response that another follows (RFC 9110 §15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status))
    }
}

/// `application/grpc`, with or without a format behind it.
fn is_grpc(media: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let behind = media.get(GRPC.len()..).filter(|_| media.starts_with(GRPC));
    behind.is_some_and(|behind| matches!(behind.first(), None | Some(b'+' | b';')))
}

fn text(value: &[u8]) -> Box<str> {
    String::from_utf8_lossy(value.get(..TARGET_BYTES_MAX).unwrap_or(value)).into()
}

fn number(value: &[u8]) -> Option<u32> {
    str::from_utf8(value).ok()?.parse().ok()
}
