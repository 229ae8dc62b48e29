//! Given: one segment of a path template. Gives: which segments of paths fit it, and, by its order, which of two
//! templates goes first. Refuses to know: whether a rule or a document has it, and the segments beside it.

use std::cmp::Reverse;
use std::fmt;

/// One segment of a template. The order is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// Exactly this.
    Literal(Box<str>),
    /// Text and parameters, such as `{id}:verb`; the more text, the earlier.
    Mixed { text_bytes: Reverse<usize>, parts: Box<[Part]> },
    /// One parameter and nothing else.
    Value(Accepts),
}

/// Two values are never side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Text(Box<str>),
    Value(Accepts),
}

/// The values that a parameter takes, none of them empty. The order is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Accepts {
    Enumeration(Box<[Box<str>]>),
    Uuid,
    Date,
    Boolean,
    Integer,
    Number,
    /// From so many to so many ASCII characters of a set, a bit for each.
    Characters {
        set: u128,
        least: usize,
        most: usize,
    },
    Any,
}

/// What is wrong with the text of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `{id`
    Unclosed,
    /// `id}`
    Unopened,
    /// `{a{b}}`
    Nested,
    /// `{}`
    Unnamed,
    /// `{a}{b}`
    Adjacent,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unclosed => "a `{` is not closed in its segment",
            Self::Unopened => "a `}` has no `{` before it in its segment",
            Self::Nested => "a `{` stands inside of a parameter",
            Self::Unnamed => "a parameter has no name",
            Self::Adjacent => "two parameters have no text between them, so that no value can be divided",
        })
    }
}

impl Segment {
    /// Of the text, with the parameters' values by their names.
    pub(super) fn parse(text: &str, accepts: impl Fn(&str) -> Accepts) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(Fault::Unclosed)?;
            if before.contains('}') {
                return Err(Fault::Unopened);
            }
            if name.contains('{') {
                return Err(Fault::Nested);
            }
            if name.is_empty() {
                return Err(Fault::Unnamed);
            }
            if before.is_empty() && !parts.is_empty() {
                return Err(Fault::Adjacent);
            }
            parts.extend((!before.is_empty()).then(|| Part::Text(before.into())));
            parts.push(Part::Value(accepts(name)));
            rest = after;
        }
        if rest.contains('}') {
            return Err(Fault::Unopened);
        }
        if parts.is_empty() {
            return Ok(Self::Literal(text.into()));
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.into())));
        let text_bytes = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
        match <[Part; 1]>::try_from(parts) {
            Ok([Part::Value(accepts)]) => Ok(Self::Value(accepts)),
            Ok([Part::Text(text)]) => Ok(Self::Literal(text)),
            Err(parts) => Ok(Self::Mixed {
                text_bytes: Reverse(parts.iter().map(text_bytes).sum()),
                parts: parts.into(),
            }),
        }
    }

    /// Whether the segment of a path is one of this template's.
    pub(super) fn fits(&self, segment: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *segment,
            Self::Mixed { parts, .. } => fit(parts, segment),
            Self::Value(accepts) => accepts.value(segment),
        }
    }
}

/// A value ends at the first place where the text behind it begins and the value is one; the last text is at the end.
fn fit(parts: &[Part], segment: &str) -> bool {
    match parts {
        [] => segment.is_empty(),
        [Part::Text(text), rest @ ..] => {
            segment.strip_prefix(&**text).is_some_and(|segment| fit(rest, segment))
        }
        [Part::Value(accepts)] => accepts.value(segment),
        [Part::Value(accepts), Part::Text(text)] => {
            segment.strip_suffix(&**text).is_some_and(|value| accepts.value(value))
        }
        [Part::Value(accepts), rest @ ..] => {
            let [Part::Text(text), ..] = rest else { return false };
            let mut ends =
                segment.match_indices(&**text).filter_map(|(end, _)| segment.split_at_checked(end));
            ends.find(|(value, _)| accepts.value(value)).is_some_and(|(_, segment)| fit(rest, segment))
        }
    }
}

impl Accepts {
    fn value(&self, text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Enumeration(values) => values.iter().any(|value| **value == *text),
            Self::Uuid => {
                text.len() == 36
                    && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
                    && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
            }
            Self::Date => {
                text.len() >= 10 && text.split('-').take(2).all(digits) && text.split('-').count() >= 3
            }
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Integer => digits(text.strip_prefix('-').unwrap_or(text)),
            Self::Number => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Characters { set, least, most } => {
                !text.is_empty()
                    && (*least..=*most).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii() && set >> byte & 1 == 1)
            }
            Self::Any => !text.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, accepts: &Accepts, fitting: &[&str], others: &[&str]) {
        let segment = Segment::parse(template, |_| accepts.clone()).unwrap();
        for text in fitting {
            assert!(segment.fits(text), "{template} takes {text}");
        }
        for text in others {
            assert!(!segment.fits(text), "{template} does not take {text}");
        }
    }

    #[test]
    fn values_by_type() {
        check("users", &Accepts::Any, &["users"], &["user", "Users", ""]);
        check("{a}", &Accepts::Any, &["x", "a:b", "{id}"], &[""]);
        check("{a}", &Accepts::Integer, &["0", "-12", "0099"], &["", "-", "1.5", "me", "1a"]);
        check("{a}", &Accepts::Number, &["1", "-1.5", "1e3"], &["", "me", "inf", "NaN"]);
        check("{a}", &Accepts::Boolean, &["true"], &["TRUE", "1"]);
        check(
            "{a}",
            &Accepts::Date,
            &["2026-08-22", "2026-08-22T10:00:00Z"],
            &["today", "2026", "a-b-c-d-e-f"],
        );
        let uuid = "123e4567-e89b-12d3-a456-426614174000";
        check("{a}", &Accepts::Uuid, &[uuid], &["123e4567e89b12d3a456426614174000", "me"]);
        check("{a}", &Accepts::Enumeration(["1".into(), "b".into()].into()), &["1", "b"], &["2", "1b", ""]);
        let letters = Accepts::Characters { set: 1 << b'a' | 1 << b'b', least: 0, most: 3 };
        check("{a}", &letters, &["a", "aba"], &["", "abab", "abc", "\u{e9}"]);
    }

    #[test]
    fn text_around_values() {
        check("{a}:verb", &Accepts::Any, &["7:verb", "a:b:verb"], &["7", ":verb", "7:verbs", "7:Verb"]);
        check("x-{a}.json", &Accepts::Integer, &["x-7.json"], &["x-.json", "x-a.json", "7.json"]);
        check("{a}..{b}", &Accepts::Any, &["1..2", "1...2"], &["1.2", "..2", "1.."]);
        check("{a}-{b}-{c}", &Accepts::Integer, &["1-2-3", "-1-2-3"], &["1-2", "1-b-3"]);
    }

    #[test]
    fn faults_are_named() {
        let fault = |text| Segment::parse(text, |_| Accepts::Any).unwrap_err();
        assert_eq!(fault("{id"), Fault::Unclosed);
        assert_eq!(fault("id}"), Fault::Unopened);
        assert_eq!(fault("x}{id}"), Fault::Unopened);
        assert_eq!(fault("{a{b}"), Fault::Nested);
        assert_eq!(fault("x{}"), Fault::Unnamed);
        assert_eq!(fault("{a}{b}"), Fault::Adjacent);
    }

    #[test]
    fn the_order_is_the_precedence() {
        let order =
            ["users", "{a}:longer", "{a}:verb"].map(|text| Segment::parse(text, |_| Accepts::Uuid).unwrap());
        assert!(order.is_sorted());
        let values = [Accepts::Enumeration(Box::new([])), Accepts::Uuid, Accepts::Integer, Accepts::Any];
        assert!(values.map(Segment::Value).is_sorted());
    }
}
