//! Given: a canonical path. Gives: the template that the shapes of its segments suggest. Refuses to know: other paths,
//! rules, documents, and so which words of a path are names that somebody chose.
//!
//! Each segment is judged alone, the first rule wins, and nothing is remembered: the same path has the same template on
//! every host and in every order. A template is its own template.

mod word;

use word::Word;
pub(super) use word::is_version;

/// Bytes of a literal segment at most; a longer one is a value.
const LITERAL_BYTES: usize = 64;

/// Digits of a literal segment at most: seven can be an identifier or a telephone number.
const LITERAL_DIGITS: usize = 6;

/// What the value of a parameter looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// A number, a list of numbers, or a short code.
    Id,
    /// In the form 8-4-4-4-12.
    Uuid,
    /// Hexadecimal digits.
    Hash,
    /// Date, time of day, or both.
    Date,
    /// Something with an at sign.
    Email,
    /// IPv4, IPv6 or MAC address.
    Ip,
    /// Language and region, or the region of a cloud.
    Locale,
    /// A JSON web token, a random key.
    Token,
    /// Any other text.
    Name,
}

impl Parameter {
    /// All of them.
    const ALL: [Self; 9] = [
        Self::Id,
        Self::Uuid,
        Self::Hash,
        Self::Date,
        Self::Email,
        Self::Ip,
        Self::Locale,
        Self::Token,
        Self::Name,
    ];

    /// As templates show it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Id => "{id}",
            Self::Uuid => "{uuid}",
            Self::Hash => "{hash}",
            Self::Date => "{date}",
            Self::Email => "{email}",
            Self::Ip => "{ip}",
            Self::Locale => "{locale}",
            Self::Token => "{token}",
            Self::Name => "{name}",
        }
    }

    /// The parameter that a label stands for.
    fn of_label(text: &str) -> Option<Self> {
        if !text.starts_with('{') {
            return None;
        }
        Self::ALL.into_iter().find(|parameter| parameter.label() == text)
    }
}

/// Appends the template of a canonical path; `*` is its own.
pub fn push_template(path: &str, template: &mut String) {
    let Some(mut rest) = path.strip_prefix('/') else { return template.push_str(path) };
    let mut first = true;
    loop {
        let (segment, kinds, behind) = split_segment(rest);
        template.push('/');
        // `**` at the end is what the canonical form puts for a tail that it cut off.
        if (behind.is_none() && segment == "**") || (first && behind.is_some() && is_api_version(segment)) {
            template.push_str(segment);
        } else {
            push_segment(segment, kinds, template);
        }
        let Some(behind) = behind else { return };
        rest = behind;
        first = false;
    }
}

/// Which kinds of characters a segment has: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds(u8);

impl Kinds {
    const DIGITS: Kinds = Kinds(1);
    const LETTERS: Kinds = Kinds(2);

    /// That of each byte: digit, ASCII letter, or any other.
    const OF: [Kinds; 256] = {
        let mut kinds = [Kinds(4); 256];
        let mut byte = 0;
        while byte < 256 {
            if (byte as u8).is_ascii_digit() {
                kinds[byte] = Kinds::DIGITS;
            } else if (byte as u8).is_ascii_alphabetic() {
                kinds[byte] = Kinds::LETTERS;
            }
            byte += 1;
        }
        kinds
    };
}

/// The first segment, the kinds of its characters, and what stands behind its slash.
fn split_segment(path: &str) -> (&str, Kinds, Option<&str>) {
    let mut kinds = Kinds::default();
    for (at, byte) in path.bytes().enumerate() {
        if byte == b'/' {
            return (path.get(..at).unwrap_or_default(), kinds, path.get(at + 1..));
        }
        kinds.0 |= Kinds::OF[usize::from(byte)].0;
    }
    (path, kinds, None)
}

/// `3`, `1.1`, `2010-04-01`: what only before all other segments is the version of the API.
fn is_api_version(segment: &str) -> bool {
    if !segment.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    let short = |number: &str| matches!(number.len(), 1..=2) && is_digits(number);
    (segment.split('.').count() <= 3 && segment.split('.').all(short)) || is_date(segment)
}

fn push_segment(segment: &str, kinds: Kinds, template: &mut String) {
    // Most segments are a number, one short word, or `v1`, and the answers to all questions below are known for them.
    if kinds == Kinds::DIGITS {
        template.push_str(Parameter::Id.label());
        return;
    }
    let is_short_word = kinds == Kinds::LETTERS && segment.len() < word::GIBBERISH_BYTES;
    if is_short_word || matches!(segment.as_bytes(), [b'v' | b'V', b'0'..=b'9']) {
        template.push_str(segment);
        return;
    }
    let start = template.len();
    push_shape(segment, template);
    let literal = template.get(start..).unwrap_or_default();
    let digits = literal.bytes().filter(u8::is_ascii_digit).count();
    if literal.len() > LITERAL_BYTES || digits > LITERAL_DIGITS {
        template.truncate(start);
        template.push_str(if digits > LITERAL_DIGITS { Parameter::Id } else { Parameter::Name }.label());
    }
}

fn push_shape(segment: &str, template: &mut String) {
    if is_version(segment) || segment.is_empty() {
        template.push_str(segment);
    } else if let Some((name, key)) = keyed(segment) {
        template.push_str(name);
        template.push('(');
        template.push_str(if key.is_empty() { "" } else { value(key).label() });
        template.push(')');
    } else if let Some(parameter) = delimited(segment) {
        template.push_str(parameter.label());
    } else if let Some((resource, verb)) = custom_verb(segment) {
        push_words(resource, template);
        template.push(':');
        template.push_str(verb);
    } else if !segment.contains(':') {
        push_words(segment, template);
    } else {
        template.push_str(Parameter::Name.label());
    }
}

/// `Products(123)`, as in OData: name and key.
fn keyed(segment: &str) -> Option<(&str, &str)> {
    let (name, rest) = segment.split_once('(')?;
    let key = rest.strip_suffix(')')?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    let word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    (plain && word && words(name).all(|word| Word::of(word) == Word::Literal)).then_some((name, key))
}

/// The resource and the verb of `RESOURCE:verb` (AIP-136).
fn custom_verb(segment: &str) -> Option<(&str, &str)> {
    let (resource, verb) = segment.rsplit_once(':')?;
    let letters = verb.len() > 1 && verb.bytes().all(|byte| byte.is_ascii_alphabetic());
    let camel = verb.starts_with(|first: char| first.is_ascii_lowercase());
    let literal = letters && camel && Word::of(verb) == Word::Literal;
    (literal && !resource.is_empty() && !resource.contains(':')).then_some((resource, verb))
}

/// What a value is that is known to be one.
fn value(text: &str) -> Parameter {
    if let Some(parameter) =
        Parameter::of_label(text).or_else(|| delimited(text)).or_else(|| undelimited(text))
    {
        return parameter;
    }
    match Word::of(text) {
        Word::Value(parameter) => parameter,
        Word::Literal => Parameter::Name,
    }
}

/// Values that are known by characters which no literal has, or by colons.
fn delimited(segment: &str) -> Option<Parameter> {
    if Parameter::of_label(segment).is_some() {
        return None;
    }
    if has_foreign_character(segment) {
        let list = segment.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
        let email = segment.contains('@') || segment.contains("%40");
        return Some(match (list, email) {
            (true, _) => Parameter::Id,
            (_, true) => Parameter::Email,
            _ => Parameter::Name,
        });
    }
    let parts = segment.split(':').count();
    if parts == 1 {
        return None;
    }
    let hexadecimal = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    if segment.split(':').all(|part| part.len() == 2 && is_digits(part)) && parts <= 3 {
        return Some(Parameter::Date);
    }
    if hexadecimal && (segment.contains("::") || matches!(parts, 6 | 8)) {
        return Some(Parameter::Ip);
    }
    let date_time = segment.get(..10).is_some_and(is_date)
        && segment.bytes().all(|byte| byte.is_ascii_digit() || b"TtZz:.-".contains(&byte));
    date_time.then_some(Parameter::Date)
}

/// A character that is neither unreserved (RFC 3986 §2.3) nor a colon nor part of a label. What is still
/// percent-encoded in a canonical path is foreign, too.
fn has_foreign_character(segment: &str) -> bool {
    let mut rest = segment;
    loop {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        let Some(at) = rest.bytes().position(|byte| !plain(byte)) else { return false };
        let tail = rest.get(at..).unwrap_or_default();
        let Some(label) =
            tail.split_inclusive('}').next().filter(|label| Parameter::of_label(label).is_some())
        else {
            return true;
        };
        rest = tail.get(label.len()..).unwrap_or_default();
    }
}

/// Appends what is made of unreserved characters: a value, a file name, or words.
fn push_words(segment: &str, template: &mut String) {
    if is_version(segment) || word::is_compound(segment) {
        template.push_str(segment);
        return;
    }
    if let Some(parameter) = Parameter::of_label(segment).or_else(|| undelimited(segment)) {
        template.push_str(parameter.label());
        return;
    }
    if let Some((stem, extension)) = file_name(segment) {
        push_stem(stem, template);
        template.push('.');
        template.push_str(extension);
        return;
    }
    let values = words(segment).filter_map(|word| match Word::of(word) {
        Word::Value(parameter) => Some(parameter),
        Word::Literal => None,
    });
    // A slug with a number in it is named by the number; any stranger value names it before that.
    match values.max() {
        Some(parameter) => template.push_str(parameter.label()),
        None => template.push_str(segment),
    }
}

/// Values that have no characters of their own.
fn undelimited(segment: &str) -> Option<Parameter> {
    if is_date(segment) || (segment.len() > 10 && is_compact_time(segment)) {
        return Some(Parameter::Date);
    }
    if is_numbers(segment) {
        let octets = segment.split('.').filter(|octet| octet.parse::<u8>().is_ok()).count();
        let address = octets == 4 && segment.split('.').count() == 4;
        return Some(if address { Parameter::Ip } else { Parameter::Id });
    }
    if word::is_locale(segment) || word::is_cloud_region(segment) {
        return Some(Parameter::Locale);
    }
    if is_uuid(segment) {
        return Some(Parameter::Uuid);
    }
    (segment.starts_with("eyJ") && segment.contains('.')).then_some(Parameter::Token)
}

/// Stem and extension of a name that ends like a file's.
fn file_name(segment: &str) -> Option<(&str, &str)> {
    let (stem, extension) = segment.rsplit_once('.')?;
    (!stem.is_empty() && word::is_file_extension(extension)).then_some((stem, extension))
}

/// Appends a file's stem with its variable words as parameters, each by itself.
fn push_stem(stem: &str, template: &mut String) {
    if let Some(parameter) = Parameter::of_label(stem).or_else(|| undelimited(stem)) {
        template.push_str(parameter.label());
        return;
    }
    let start = template.len();
    for piece in stem.split_inclusive(is_separator) {
        let word = piece.trim_end_matches(is_separator);
        match Word::of(word) {
            Word::Literal => template.push_str(word),
            Word::Value(parameter) => template.push_str(parameter.label()),
        }
        template.push_str(piece.get(word.len()..).unwrap_or_default());
    }
    let written = template.get(start..).unwrap_or_default();
    let digits = written.bytes().filter(u8::is_ascii_digit).count();
    // Seven bytes are left for a separator and the longest extension, so that the whole is never too long.
    if written.len() > LITERAL_BYTES - 7 || digits + 2 > LITERAL_DIGITS {
        template.truncate(start);
        template.push_str(Parameter::Token.label());
    }
}

fn words(segment: &str) -> impl Iterator<Item = &str> {
    segment.split(is_separator).filter(|word| !word.is_empty())
}

fn is_separator(character: char) -> bool {
    matches!(character, '.' | '_' | '~' | '-')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Numbers and signs between them: `-5`, `19.99`, `420x420`, `1_2_3`.
fn is_numbers(segment: &str) -> bool {
    let unsigned = segment.strip_prefix('-').unwrap_or(segment);
    unsigned.split(['.', ',', 'x', '-', '_']).all(is_digits)
}

/// `2026-08-22`, a day of the calendar.
fn is_date(segment: &str) -> bool {
    let mut parts = segment.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let within = |part: &str, digits: usize, range: std::ops::RangeInclusive<u16>| {
        part.len() == digits && is_digits(part) && part.parse().is_ok_and(|number| range.contains(&number))
    };
    within(year, 4, 1900..=2199) && within(month, 2, 1..=12) && within(day, 2, 1..=31)
}

/// `2026-08-22T101500Z`, `20260822T101500Z`: without colons.
fn is_compact_time(segment: &str) -> bool {
    let Some((date, time)) = segment.split_once(['T', 't']) else { return false };
    let time = time.strip_suffix(['Z', 'z']).unwrap_or(time);
    (is_date(date) || (date.len() == 8 && is_digits(date))) && time.split(['.', '-']).all(is_digits)
}

/// RFC 9562 §4.
fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests;
