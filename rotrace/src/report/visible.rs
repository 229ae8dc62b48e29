//! Given: text that came from traffic. Gives: what of it may be shown, without anything that a terminal would obey.
//! Refuses to know: which query keys are harmless; that is the configuration's to say.

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// Path and query of a request target (RFC 9112 §3.2) as they may be shown: every query key with its value where the
/// key is allowed, and else with `…`.
///
/// What is no `key=value` is taken for a value: a query may be nothing but a token. Scheme, authority and credentials
/// of an absolute-form target are left out.
pub fn visible_target(target: &str, allowed_keys: &[Box<str>]) -> String {
    let (path, query) = split_target(target);
    let Some(query) = query else { return escape(path) };
    let items = items(query).map(|item| match item {
        Item { text, .. } if item.is_allowed(allowed_keys) => text.to_owned(),
        Item { key: Some(key), .. } => format!("{key}={HIDDEN}"),
        Item { key: None, .. } => HIDDEN.to_owned(),
    });
    escape(&format!("{path}?{}", items.collect::<Vec<_>>().join("&")))
}

/// The items of a target's query whose keys are allowed, joined as a query; `None` when there are none. The caller
/// escapes.
pub(super) fn allowed_query(target: &str, allowed_keys: &[Box<str>]) -> Option<String> {
    let (_, query) = split_target(target);
    let allowed: Vec<_> =
        items(query?).filter(|item| item.is_allowed(allowed_keys)).map(|item| item.text).collect();
    (!allowed.is_empty()).then(|| allowed.join("&"))
}

/// The text with every character that a terminal obeys, or that reorders or hides what stands beside it, as `\u{…}`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Control characters (C0, DEL, C1), and Unicode's invisible ones: zero width, line separators, direction (UAX #9),
/// invisible operators, annotations and tags.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One item of a query.
struct Item<'a> {
    text: &'a str,
    /// `None` where the whole item may be a value.
    key: Option<&'a str>,
}

impl Item<'_> {
    fn is_allowed(&self, allowed_keys: &[Box<str>]) -> bool {
        let key = self.text.split_once('=').map_or(self.text, |(key, _)| key);
        allowed_keys.iter().any(|allowed| **allowed == *key)
    }
}

/// Servers take `&` and some take `;` between items, so a value ends at either.
fn items(query: &str) -> impl Iterator<Item = Item<'_>> {
    query.split(['&', ';']).filter(|item| !item.is_empty()).map(|text| {
        // `=` only at the end is the padding of a base64 token rather than an empty value.
        let key = text.split_once('=').filter(|(_, value)| !value.trim_start_matches('=').is_empty());
        Item { text, key: key.map(|(key, _)| key) }
    })
}

/// Path, and query if there is a `?`; a fragment is in neither.
fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split('#').next().unwrap_or(target);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if path.starts_with('/') {
        return (path, query);
    }
    let path = match path.split_once("://") {
        Some((_scheme, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
        None => path.rsplit_once('@').map_or(path, |(_credentials, authority)| authority),
    };
    (path, query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(keys: &[&str]) -> Vec<Box<str>> {
        keys.iter().map(|&key| key.into()).collect()
    }

    #[test]
    fn only_allowed_values_are_shown() {
        let check =
            |target, expect: &str| assert_eq!(visible_target(target, &keys(&["page", "limit"])), expect);
        check("/v1/users", "/v1/users");
        check("*", "*");
        check("/v1/users?", "/v1/users?");
        check("/v1/users?page=2&token=abc", "/v1/users?page=2&token=…");
        check("/v1/users?page=2;token=abc", "/v1/users?page=2&token=…");
        check("/v1/users?a=1&page&limit=", "/v1/users?a=…&page&limit=");
        check("/v1/users?eyJhbGciOi", "/v1/users?…");
        check("/v1/users?eyJhbGciOi==", "/v1/users?…");
        check("/v1/users?a=b=c", "/v1/users?a=…");
        check("/v1/users?%70age=2", "/v1/users?%70age=…");
        check("/v1/users?Page=2", "/v1/users?Page=…");
        check("/v1/users?a=1?page=2", "/v1/users?a=…");
        check("/v1/users#page=2", "/v1/users");
        check("/to/http://x:y@z/", "/to/http://x:y@z/");
        check("http://user:password@api/v1?x=1", "/v1?x=…");
        check("http://user:password@api?x=1", "/?x=…");
        check("user:password@api:443", "api:443");
        check("/a\x1b[2J?\x07=1", "/a\\u{1b}[2J?\\u{7}=…");
    }

    #[test]
    fn the_allowed_part_of_a_query() {
        let check = |target, expect: Option<&str>| {
            assert_eq!(allowed_query(target, &keys(&["page"])).as_deref(), expect);
        };
        check("/a", None);
        check("/a?token=1", None);
        check("/a?token=1&page=2&page=3", Some("page=2&page=3"));
    }

    proptest! {
        #[test]
        fn a_value_is_never_shown(
            path in "/[a-z/]{0,20}",
            items in proptest::collection::vec(("[a-z%=]{0,5}", "[=&;]?", "[=&;?#]?"), 1..6),
        ) {
            // Values are the only upper case in the target.
            let query: Vec<_> =
                items.iter().map(|(key, before, after)| format!("{key}={before}SECRET{after}")).collect();
            let target = format!("{path}?{}", query.join("&"));
            let allowed = keys(&["PAGE"]);
            prop_assert!(!visible_target(&target, &allowed).contains("SECRET"));
            prop_assert_eq!(allowed_query(&target, &allowed), None);
        }

        #[test]
        fn nothing_shown_controls_a_terminal(target in any::<String>()) {
            let shown = visible_target(&target, &keys(&["a"]));
            prop_assert!(shown.chars().all(|character| !is_unsafe(character)), "{shown:?}");
            prop_assert!(shown.bytes().all(|byte| byte >= b' ' && byte != 0x7f));
        }

        #[test]
        fn harmless_text_is_shown_as_it_is(text in "[ -~äß漢🎲]{0,40}") {
            prop_assert_eq!(escape(&text), text);
        }
    }
}
