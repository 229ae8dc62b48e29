//! Given: a query, and a path with its template. Gives: what varies in it, each part as two numbers: what it is called
//! and what it is set to. Refuses to know: the values, beyond small numbers that say how large a page is.

use crate::keyed::Key;

/// Parts of one request that are told apart; a request with more has the rest in its query hash only.
pub const PARTS_MAX: usize = 10;

/// Keys of queries that walk through pages. Cursors, then offsets.
const PAGING: [&str; 14] = [
    "cursor",
    "pagetoken",
    "page_token",
    "pagecursor",
    "paginationtoken",
    "exclusivestartkey",
    "exclusivestartid",
    "page",
    "pagenumber",
    "offset",
    "skip",
    "startrowindex",
    "startindex",
    "after",
];

/// Keys of queries that say how large a page is.
const PAGE_SIZE: [&str; 9] =
    ["limit", "maxpagesize", "pagesize", "page_size", "per_page", "count", "first", "top", "maxrows"];

/// Keys of queries that are there to get past a cache.
const CACHE_BUST: [&str; 8] = ["t", "ts", "_", "nocache", "cb", "rand", "v", "timestamp"];

/// What a part of a request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartKind {
    /// A parameter of the path.
    #[default]
    Path,
    /// A key of the query.
    Query,
    /// A key of the query that says which page.
    Paging,
    /// A key of the query that says how large a page is.
    PageSize,
    /// A key of the query that is there to get past a cache.
    CacheBust,
}

/// A part of a request that may differ from call to call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What it is for.
    pub kind: PartKind,
    /// Number of its name; of a parameter of the path, its place.
    pub name: u32,
    /// Number of its value.
    pub value: u32,
    /// The value, when it is a whole number below 2^32.
    pub number: Option<u32>,
}

/// The parts of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    parts: [Part; PARTS_MAX],
    length: u8,
    /// All keys and values of the query that are not there to get past a cache, in any order.
    pub query: u64,
    /// The same without keys that say which page.
    pub listing: u64,
    /// All parameters of the path, in their order.
    pub path: u64,
}

impl Parts {
    /// Of a request target, the path in the form that the template was made of, and the template.
    pub fn of(target: &str, path: &str, template: &str, key: &Key) -> Parts {
        let mut parts = Parts::default();
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let patterns = template.split('/').filter(|segment| !segment.is_empty());
        for (place, pattern) in (1..).zip(patterns) {
            let segment = segments.next().unwrap_or_default();
            if pattern.contains(['{', '*']) {
                let value = key.hash(segment.as_bytes());
                parts.path = crate::keyed::combine(parts.path, value);
                parts.push(Part {
                    kind: PartKind::Path,
                    name: place,
                    value: value as u32,
                    number: number(segment),
                });
            }
        }
        for rest in segments {
            parts.path = crate::keyed::combine(parts.path, key.hash(rest.as_bytes()));
        }
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            parts.add_pair(pair, key);
        }
        parts
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().take(usize::from(self.length))
    }

    /// The first of a kind.
    pub fn first(&self, kind: PartKind) -> Option<&Part> {
        self.iter().find(|part| part.kind == kind)
    }

    fn add_pair(&mut self, pair: &str, key: &Key) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let kind = kind_of(name);
        let part = Part {
            kind,
            name: key.hash(name.as_bytes()) as u32,
            value: key.hash(value.as_bytes()) as u32,
            number: number(value),
        };
        // A sum, so that the order of keys does not matter.
        let both = crate::keyed::combine(part.name.into(), part.value.into());
        if kind != PartKind::CacheBust {
            self.query = self.query.wrapping_add(both);
        }
        if !matches!(kind, PartKind::CacheBust | PartKind::Paging) {
            self.listing = self.listing.wrapping_add(both);
        }
        self.push(part);
    }

    fn push(&mut self, part: Part) {
        if let Some(place) = self.parts.get_mut(usize::from(self.length)) {
            *place = part;
            self.length += 1;
        }
    }
}

fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn kind_of(name: &str) -> PartKind {
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if is_one_of(&PAGING) {
        PartKind::Paging
    } else if is_one_of(&PAGE_SIZE) {
        PartKind::PageSize
    } else if is_one_of(&CACHE_BUST) {
        PartKind::CacheBust
    } else {
        PartKind::Query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str, template: &str) -> Parts {
        let path = target.split('?').next().unwrap_or_default();
        Parts::of(target, path, template, &Key::default())
    }

    #[test]
    fn parameters_are_those_of_the_template() {
        let one = parts("/v1/users/17/items/3", "/v1/users/{id}/items/{id}");
        assert_eq!(
            one.iter().map(|part| (part.name, part.number)).collect::<Vec<_>>(),
            [(3, Some(17)), (5, Some(3))]
        );
        assert_ne!(one.path, parts("/v1/users/3/items/17", "/v1/users/{id}/items/{id}").path);
        assert_eq!(parts("/v1/users", "/v1/users").path, 0);
    }

    #[test]
    fn keys_are_told_apart_by_what_they_are_for() {
        let one = parts("/a?b=1&cursor=x&Limit=10&_=99&flag", "/a");
        let kinds: Vec<PartKind> = one.iter().map(|part| part.kind).collect();
        use PartKind::*;
        assert_eq!(kinds, [Query, Paging, PageSize, CacheBust, Query]);
        assert_eq!(one.first(PageSize).and_then(|part| part.number), Some(10));
    }

    #[test]
    fn the_order_of_keys_and_what_gets_past_caches_do_not_matter() {
        assert_eq!(parts("/a?x=1&y=2&t=5", "/a").query, parts("/a?y=2&t=6&x=1", "/a").query);
        assert_ne!(parts("/a?x=1&y=2", "/a").query, parts("/a?x=2&y=1", "/a").query);
        assert_eq!(parts("/a?x=1&cursor=p", "/a").listing, parts("/a?x=1&cursor=q", "/a").listing);
        assert_ne!(parts("/a?x=1&cursor=p", "/a").query, parts("/a?x=1&cursor=q", "/a").query);
    }

    #[test]
    fn more_parts_than_there_is_room_for_still_count() {
        let long = |last: &str| {
            let query: String = (0..20).map(|n| format!("k{n}=1&")).collect();
            parts(&format!("/a?{query}z={last}"), "/a")
        };
        assert_eq!(long("1").iter().count(), PARTS_MAX);
        assert_ne!(long("1").query, long("2").query);
    }
}
