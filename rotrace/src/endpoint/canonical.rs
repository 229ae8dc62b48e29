//! Given: a request target and an authority as sent. Gives: the one spelling in which all that mean the same are
//! compared. Refuses to know: rules, documents, shapes, and what any segment means.

use std::borrow::Cow;

use crate::http::ByteSet;

/// Bytes of a canonical path at most; what is longer ends in `/**`.
pub const PATH_BYTES: usize = 2048;

/// Segments of a canonical path at most; of a deeper one the last is `**`.
pub const SEGMENTS: usize = 16;

/// Bytes of a canonical authority at most: a domain name (RFC 1035 §2.3.4) and a port.
pub const AUTHORITY_BYTES: usize = 255 + 6;

/// What stands for all that was cut off.
const REST: &str = "/**";

/// The target without its query, in the part before the first `?` or `#`.
pub(super) fn without_query(target: &str) -> &str {
    memchr::memchr2(b'?', b'#', target.as_bytes()).and_then(|end| target.get(..end)).unwrap_or(target)
}

/// The canonical path of a request target (RFC 9112 §3.2) in origin-form or absolute-form; `*` stays `*`.
///
/// Without query and fragment; percent-encoding as in RFC 3986 §6.2.2 (unreserved characters plain, the rest in upper
/// case, and what may not stand in a path encoded); without dot segments, empty segments, trailing slash and `;`
/// parameters of segments. The case of letters is kept. Idempotent, and most targets are what they should be.
pub fn path(target: &str) -> Cow<'_, str> {
    if is_canonical(target) { target.into() } else { canonicalise(target).into() }
}

/// Whether there is surely nothing to be changed: a path of plain segments, none of which is empty or begins with a dot.
fn is_canonical(target: &str) -> bool {
    let (mut slashes, mut never, mut previous) = (0, 0, 0);
    for byte in target.bytes() {
        let class = CLASSES[usize::from(byte)];
        never |= class & NEVER | class & AFTER_SLASH_NEVER & (previous << 1);
        slashes += usize::from(class & SLASH);
        previous = class & SLASH;
    }
    never == 0
        && target.starts_with('/')
        && (previous == 0 || target.len() == 1)
        && slashes <= SEGMENTS
        && target.len() <= PATH_BYTES - REST.len()
}

const SLASH: u8 = 1;
const AFTER_SLASH_NEVER: u8 = SLASH << 1;
const NEVER: u8 = 4;

/// What a byte means to a path that is canonical already. A table and no branches: each byte of each call goes this way.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => SLASH | AFTER_SLASH_NEVER,
            b'.' => AFTER_SLASH_NEVER,
            b'"' | b'\\' | b'%' | b';' | b'?' | b'#' => NEVER,
            other if other.is_ascii_graphic() => 0,
            _ => NEVER,
        };
        byte += 1;
    }
    classes
};

fn canonicalise(target: &str) -> String {
    if target == "*" {
        return target.to_owned();
    }
    let mut path = String::with_capacity(target.len().min(PATH_BYTES));
    let mut segments = 0;
    for segment in origin(without_query(target)).split('/') {
        let before = path.len();
        path.push('/');
        normalise(segment.split(';').next().unwrap_or_default(), &mut path);
        match path.get(before + 1..).unwrap_or_default() {
            "" | "." => path.truncate(before),
            ".." => {
                path.truncate(before);
                path.truncate(path.rfind('/').unwrap_or(0));
                segments = path.bytes().filter(|byte| *byte == b'/').count();
            }
            _ if segments == SEGMENTS => {
                path.truncate(before);
                path.truncate(path.rfind('/').unwrap_or(0));
                path.push_str(REST);
                break;
            }
            _ if path.len() > PATH_BYTES - REST.len() => {
                path.truncate(before);
                path.push_str(REST);
                break;
            }
            _ => segments += 1,
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

/// The canonical authority: lower case, without user information and the default ports of http and https; an IPv6
/// literal stays in its brackets. `None` when it cannot be a host, so that no label is made of it.
pub fn authority(raw: &str) -> Option<Cow<'_, str>> {
    // As nearly all come: then there is no user information either.
    let is_plain = raw.bytes().all(|byte| LOWER_HOST.has(byte));
    let host = if is_plain { raw } else { raw.rsplit('@').next().unwrap_or(raw) };
    let host = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host);
    if host.is_empty() || host.len() > AUTHORITY_BYTES {
        return None;
    }
    if is_plain {
        return Some(host.into());
    }
    let host = host.to_ascii_lowercase();
    host.bytes().all(|byte| LOWER_HOST.has(byte)).then_some(host.into())
}

/// The segments of a canonical path: none of `/` and of `*`.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or_default().split('/').filter(|segment| !segment.is_empty())
}

/// Authority and template of an `endpoint` label; the template is empty where a label has none.
pub fn divided(endpoint: &str) -> (&str, &str) {
    endpoint.split_at(endpoint.find('/').unwrap_or(endpoint.len()))
}

/// A template without the names of its parameters, so that two that differ in them only are the same.
pub fn anonymous(template: &str) -> String {
    let mut anonymous = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        anonymous.push_str(before);
        anonymous.push_str("{}");
        rest = after;
    }
    anonymous + rest
}

/// The path of an absolute-form target, or the target itself; what may be credentials before an authority is left out.
fn origin(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(is_scheme) => {
            rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/")
        }
        // It has no form, so nothing says where credentials would end but the last `@`.
        _ => target.rfind('@').and_then(|at| target.get(at + 1..)).unwrap_or(target),
    }
}

/// Appends one segment with its percent-encoding normalised, and stops once the path is too long anyway.
fn normalise(segment: &str, path: &mut String) {
    if segment.len() <= PATH_BYTES && segment.bytes().all(|byte| byte != b'%' && PLAIN.has(byte)) {
        path.push_str(segment);
        return;
    }
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if path.len() > PATH_BYTES {
            return;
        }
        if byte != b'%' {
            push(byte, PLAIN.has(byte), path);
            continue;
        }
        // A percent sign that encodes nothing is encoded itself, or decoding what follows could complete it.
        let mut ahead = bytes.clone();
        let Some(decoded) =
            hex_digit(ahead.next()).zip(hex_digit(ahead.next())).map(|(high, low)| high << 4 | low)
        else {
            push(b'%', false, path);
            continue;
        };
        bytes = ahead;
        push(decoded, unreserved(decoded), path);
    }
}

/// A byte of a path: as it is, or percent-encoded.
fn push(byte: u8, plain: bool, path: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if plain {
        path.push(char::from(byte));
        return;
    }
    path.push('%');
    for digit in [byte >> 4, byte & 15] {
        path.extend(DIGITS.get(usize::from(digit)));
    }
}

/// RFC 3986 §2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What clients send plainly is left so, except what would need escaping in a label.
static PLAIN: ByteSet = ByteSet::graphic_except(b"\"\\");

/// What an authority without user information may hold once it is in lower case.
static LOWER_HOST: ByteSet = ByteSet::lower_digits_and(b".-_~:[]%");

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(target: &str, expect: &str) {
        assert_eq!(path(target), expect, "{target}");
    }

    #[test]
    fn spellings_of_one_path_are_one() {
        check("/v1/users/156", "/v1/users/156");
        check("//v1//users//156/", "/v1/users/156");
        check("/%76%31/users/156", "/v1/users/156");
        check("http://q.x:80/v1/users/156", "/v1/users/156");
        check("HTTPS://q.x/v1?a=/b", "/v1");
        check("/v1/users/156?x=1#y", "/v1/users/156");
        check("/v1/users#?", "/v1/users");
        check("/a/./b/../c/%2e%2E/d", "/a/d");
        check("/../../a", "/a");
        check("/api/items;jsessionid=8A9B0C/list;v=1", "/api/items/list");
        check("/V1/Users", "/V1/Users");
    }

    #[test]
    fn credentials_of_a_malformed_target_are_no_path() {
        check("user:secret@host/v1/a", "/host/v1/a");
        check("user:secret@host", "/host");
        check("* HTTP/2.0CONNECT secret@host", "/host");
        check("/a/user@host", "/a/user@host");
    }

    #[test]
    fn what_has_no_path_has_the_root() {
        check("", "/");
        check("/", "/");
        check("http://q.x", "/");
        check("http://q.x?a=/b", "/");
        check("/?/a", "/");
        check("/a/..", "/");
        check(";x", "/");
        check("*", "*");
        check("v1/users", "/v1/users");
    }

    #[test]
    fn percent_encoding_is_normalised() {
        check("/caf%c3%a9", "/caf%C3%A9");
        check("/café", "/caf%C3%A9");
        check("/a%2fb/%7Euser", "/a%2Fb/~user");
        check("/100%/%zz/%4", "/100%25/%25zz/%254");
        check("/%%36%31", "/%2561");
        check("/a b\"\\\u{7f}", "/a%20b%22%5C%7F");
    }

    #[test]
    fn deep_and_long_paths_are_cut() {
        let deep = "/a".repeat(SEGMENTS);
        check(&deep, &deep);
        check(&format!("{deep}/b"), &format!("{}/**", "/a".repeat(SEGMENTS - 1)));
        let long = format!("/{}", "x".repeat(PATH_BYTES));
        check(&long, "/**");
        check(&format!("/v1{long}/z"), "/v1/**");
        check(&format!("/v1/%FF{}", "%ff".repeat(700)), "/v1/**");
    }

    #[test]
    fn authorities_are_compared_in_lower_case_without_default_ports() {
        assert_eq!(authority("Users.X:80").as_deref(), Some("users.x"));
        assert_eq!(authority("users.x:443").as_deref(), Some("users.x"));
        assert_eq!(authority("users.x:8080").as_deref(), Some("users.x:8080"));
        assert_eq!(authority("[2001:DB8::1]:443").as_deref(), Some("[2001:db8::1]"));
        assert_eq!(authority("[2001:db8::80]").as_deref(), Some("[2001:db8::80]"));
        assert_eq!(authority("jane:secret@users.x").as_deref(), Some("users.x"));
        for broken in ["", ":80", "a b", "a/b", "caf\u{e9}.x", "a\tb", &"a".repeat(AUTHORITY_BYTES + 1)] {
            assert_eq!(authority(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn idempotent_and_bounded(target in ".{0,200}|[/.;%0-9a-f?#*]{0,120}|(/[a-z%.]{0,200}){0,40}") {
            let once = path(&target);
            prop_assert!(once.len() <= PATH_BYTES);
            prop_assert!(once == "*" || once.starts_with('/'));
            prop_assert!(once.bytes().filter(|byte| *byte == b'/').count() <= SEGMENTS);
            prop_assert!(once.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(path(&once), &*once);
        }

        #[test]
        fn what_is_left_as_it_is_would_not_be_changed(target in "(/[a-z.%;*]{0,3}){0,18}[?/]?|/[a-z]{2030,2060}") {
            prop_assert_eq!(path(&target), canonicalise(&target));
        }

        #[test]
        fn authority_is_idempotent(raw in ".{0,40}|[a-z:0-9@\\[\\]]{0,20}") {
            let Some(once) = authority(&raw) else { return Ok(()) };
            // A second port is another authority, so only one is dropped.
            prop_assume!(!once.ends_with(":80") && !once.ends_with(":443"));
            prop_assert_eq!(authority(&once), Some(once.as_ref().into()));
        }
    }
}
