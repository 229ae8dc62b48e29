//! Given: a query, and a path with its template. Gives: what varies in it, each part as two numbers: what it is called
//! and what it is set to. Refuses to know: the values, beyond small numbers that say how large a page is.

use memchr::memchr;

use super::template::Template;
use crate::exchange::ids;
use crate::keyed::{Key, combine};

/// Parts of one request that are told apart; a request with more has the rest in its query hash only.
pub const PARTS_MAX: usize = 10;

/// The longest name of a query key that is known has so many bytes: `exclusivestartkey`.
const KNOWN_BYTES_MAX: usize = 17;

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
    /// Number of the first id in the value, as [`ids`] has it, and where there is none, of the value; 0 of what only says
    /// how to list or to cache.
    pub token: u32,
    /// There is an id in it, which can be looked for in answers.
    pub is_id: bool,
}

/// The parts of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// Behind `length`, those of another request may be left.
    parts: [Part; PARTS_MAX],
    length: u8,
    /// All keys and values of the query that are not there to get past a cache, in any order.
    pub query: u64,
    /// The same without keys that say which page.
    pub listing: u64,
    /// All parameters of the path, in their order.
    pub path: u64,
}

/// Where a path is, whatever its template: its number, and that of the path above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Of the path.
    pub here: u64,
    /// Of the path without its last segment.
    pub above: u64,
}

impl Parts {
    /// Becomes those of a request target, and of the path in the form that the template was made of; gives where the path is.
    pub fn fill(&mut self, target: &str, path: &str, template: &Template, key: &Key) -> Place {
        (self.length, self.query, self.listing, self.path) = (0, 0, 0, 0);
        let whole_path = path.as_bytes();
        let path = whole_path.strip_suffix(b"/").unwrap_or(whole_path);
        let last = path.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
        let place = Place { here: key.name(path), above: key.name(path.get(..last).unwrap_or_default()) };
        template.open(whole_path, |index, is_parameter, segment| {
            // A path is shown as it is, so its parts need not withstand whoever tries values.
            let number = key.name(segment);
            self.path = combine(self.path, number);
            if is_parameter {
                let (kind, name, value) = (PartKind::Path, index as u32 + 1, number as u32);
                let id = ids::first(segment);
                let token = match id {
                    Some(id) if id.len() < segment.len() => ids::number(key, id),
                    _ => value,
                };
                self.push(Part { kind, name, value, token, is_id: id.is_some(), number: None }, segment);
            }
        });
        let query = query(target.as_bytes(), whole_path);
        // They are short, so looking at each byte is the fastest.
        let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        pairs.for_each(|pair| self.add_pair(pair, key));
        place
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().take(usize::from(self.length))
    }

    /// The first of a kind.
    pub fn first(&self, kind: PartKind) -> Option<&Part> {
        self.iter().find(|part| part.kind == kind)
    }

    fn add_pair(&mut self, pair: &[u8], key: &Key) {
        let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, &[][..]),
        };
        let kind = kind_of(name);
        let (name, value_number) = (key.name(name) as u32, key.hash(value) as u32);
        let (mut token, mut is_id) = (0, false);
        if kind == PartKind::Query {
            let id = ids::first(value);
            (token, is_id) = (ids::number(key, id.unwrap_or(value)), id.is_some());
        }
        // A sum, so that the order of keys does not matter.
        let both = combine(name.into(), value_number.into());
        if kind != PartKind::CacheBust {
            self.query = self.query.wrapping_add(both);
        }
        if !matches!(kind, PartKind::CacheBust | PartKind::Paging) {
            self.listing = self.listing.wrapping_add(both);
        }
        self.push(Part { kind, name, value: value_number, token, is_id, number: None }, value);
    }

    /// Adds a part that is set to `text`.
    fn push(&mut self, part: Part, text: &[u8]) {
        if let Some(place) = self.parts.get_mut(usize::from(self.length)) {
            *place = Part { number: number(text), ..part };
            self.length += 1;
        }
    }
}

/// The query of a target. Mostly the path is as it was sent, so that it is known where it ends.
fn query<'a>(target: &'a [u8], path: &[u8]) -> &'a [u8] {
    let query = match target.strip_prefix(path) {
        Some([]) => return &[],
        Some([b'?', query @ ..]) => query,
        _ => memchr(b'?', target).and_then(|at| target.get(at + 1..)).unwrap_or_default(),
    };
    memchr(b'#', query).and_then(|at| query.get(..at)).unwrap_or(query)
}

/// A whole number below 2^32, in decimal.
fn number(text: &[u8]) -> Option<u32> {
    let number = text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })?;
    u32::try_from(number).ok().filter(|_| !text.is_empty())
}

fn kind_of(name: &[u8]) -> PartKind {
    let mut lower = [0; KNOWN_BYTES_MAX];
    let Some(lower) = lower.get_mut(..name.len()) else { return PartKind::Query };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    match &*lower {
        // Cursors, then offsets.
        b"cursor" | b"pagetoken" | b"page_token" | b"pagecursor" | b"paginationtoken" => PartKind::Paging,
        b"exclusivestartkey" | b"exclusivestartid" => PartKind::Paging,
        b"page" | b"pagenumber" | b"offset" | b"skip" | b"startrowindex" | b"startindex" | b"after" => {
            PartKind::Paging
        }
        b"limit" | b"maxpagesize" | b"pagesize" | b"page_size" | b"per_page" | b"count" | b"first"
        | b"top" | b"maxrows" => PartKind::PageSize,
        b"t" | b"ts" | b"_" | b"nocache" | b"cb" | b"rand" | b"v" | b"timestamp" => PartKind::CacheBust,
        _ => PartKind::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str, template: &str) -> Parts {
        let path = target.split('?').next().unwrap_or_default();
        // What is left of another request makes no difference.
        let mut parts = Parts::default();
        for target in ["/v1/other/17?and=more&page=7&t=1", target] {
            parts.fill(target, path, &Template::new(template), &Key::default());
        }
        parts
    }

    #[test]
    fn a_path_is_below_another_whatever_is_a_parameter() {
        let place = |path: &str, template: &str| {
            Parts::default().fill(path, path, &Template::new(template), &Key::default())
        };
        let (item, list) = (place("/v1/items/7", "/v1/items/{id}"), place("/v1/items", "/v1/items"));
        assert_eq!((item.above, list.above), (list.here, place("/v1", "").here));
        assert_eq!(place("/v1/items/7", ""), item);
        assert_ne!(place("/v1/items/8", "").here, item.here);
        assert_eq!(place("/", "").here, place("/v1", "").above);
    }

    #[test]
    fn a_query_is_what_follows_on_the_path() {
        let check = |target: &str, path: &str, expect: &str| {
            assert_eq!(query(target.as_bytes(), path.as_bytes()), expect.as_bytes(), "{target}");
        };
        check("/a?b=1", "/a", "b=1");
        check("/a?b=1#c?d", "/a", "b=1");
        check("/a", "/a", "");
        check("/A?b?c", "/a", "b?c");
        check("/ab?c", "/a", "c");
        check("http://api.test/a?b=/a?c", "/a", "b=/a?c");
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
    fn numbers_are_those_that_fit() {
        let numbers =
            ["0", "17", "4294967295", "4294967296", "00000000017", "99999999999999999999999", "", "-1", "1a"];
        let expect = [Some(0), Some(17), Some(u32::MAX), None, Some(17), None, None, None, None];
        assert_eq!(numbers.map(|text| number(text.as_bytes())), expect);
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
    fn an_id_has_the_same_number_wherever_it_stands() {
        let key = Key::default();
        let number = ids::number(&key, b"90210");
        let check = |target: &str, template: &str, expect: &[(u32, bool)]| {
            let tokens: Vec<(u32, bool)> =
                parts(target, template).iter().map(|part| (part.token, part.is_id)).collect();
            assert_eq!(tokens, expect, "{target}");
        };
        check("/v1/users/90210", "/v1/users/{id}", &[(number, true)]);
        check("/v1/users/90210.json", "/v1/users/{id}", &[(number, true)]);
        check(
            "/v1/users?ids=90210,4711&limit=1000&t=4711",
            "/v1/users",
            &[(number, true), (0, false), (0, false)],
        );
        let short = ids::number(&key, b"7");
        check("/v1/users/7?of=7", "/v1/users/{id}", &[(short, false), (short, false)]);
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
