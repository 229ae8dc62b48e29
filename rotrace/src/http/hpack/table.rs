//! Given: fields in the order in which an encoder inserted them. Gives: the field of an index (RFC 7541 §2.3), or that it
//! cannot be known. Refuses to know: how fields are written.
//!
//! An index counts from the newest entry, so the newest entries are right whatever came before them: this table is a
//! window over them. It need not know how large the encoder's table is. An entry that the encoder has evicted is never
//! named again, and one that was too large to be inserted emptied the encoder's table, so that nothing behind it is named
//! again either (RFC 7541 §4.4). An index behind the window stands for an entry that was inserted before the window began.

use std::borrow::Cow;
use std::collections::VecDeque;

/// Size of the window until the encoder says another (RFC 9113 §6.5.2).
pub const TABLE_BYTES_USUAL: usize = 4096;

/// Largest window, whatever the encoder says. Servers and clients that ask for more than 4 KiB are few.
pub const TABLE_BYTES_MAX: usize = 16 * 1024;

/// What an entry counts beside its texts (RFC 7541 §4.1). It is about what the entry takes here.
const ENTRY_BYTES: usize = 32;

/// A name or a value; `None` when it is not known.
pub(super) type Text = Option<Cow<'static, [u8]>>;

/// A field that was inserted.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Text,
    pub(super) value: Text,
}

/// The newest entries of a dynamic table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    most_bytes: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table { entries: VecDeque::new(), bytes: 0, most_bytes: TABLE_BYTES_USUAL }
    }
}

impl Table {
    /// The field of an index, which is not 0. Fields of the static table come first.
    pub(super) fn field(&self, index: usize) -> (Option<&[u8]>, Option<&[u8]>) {
        let place = index.wrapping_sub(1);
        if let Some((name, value)) = STATIC.get(place) {
            return (Some(name.as_bytes()), Some(value.as_bytes()));
        }
        match self.entries.get(place.wrapping_sub(STATIC.len())) {
            Some(Entry { name, value }) => (name.as_deref(), value.as_deref()),
            None => (None, None),
        }
    }

    /// The name of an index, to be kept.
    pub(super) fn name(&self, index: usize) -> Text {
        let place = index.wrapping_sub(1);
        if let Some((name, _)) = STATIC.get(place) {
            return Some(Cow::Borrowed(name.as_bytes()));
        }
        self.entries.get(place.wrapping_sub(STATIC.len()))?.name.clone()
    }

    /// Inserts the newest entry.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_front(entry);
        self.evict();
    }

    /// The encoder's table has this size from now on.
    pub(super) fn resize(&mut self, bytes: usize) {
        self.most_bytes = bytes.min(TABLE_BYTES_MAX);
        self.evict();
    }

    /// How many entries were inserted is not known any more, so no index is.
    pub(super) fn forget(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    /// Memory that the entries count for.
    pub(super) fn retained_bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) {
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let length = |text: &Text| text.as_ref().map_or(0, |text| text.len());
        ENTRY_BYTES + length(&self.name) + length(&self.value)
    }
}

/// RFC 7541 Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
