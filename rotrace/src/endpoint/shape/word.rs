//! Given: one word of a path segment. Gives: whether it is part of the route or a value. Refuses to know: its
//! neighbours.

use super::{Parameter, is_digits};

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Part of the route.
    Literal,
    /// Different from call to call.
    Value(Parameter),
}

/// Hexadecimal digits that are a hash and not a word at least: short object names of git have seven.
const HASH_BYTES: usize = 7;

/// From this length on, letters and digits mixed are a key and not a code.
const KEY_BYTES: usize = 16;

/// From this length on, letters have enough pairs to tell words from noise.
pub(super) const GIBBERISH_BYTES: usize = 20;

/// Share of uncommon letter pairs, in percent, from which on a word is noise: of 20 random letters 98 in 100 have it,
/// of the identifiers of 20 letters and more in Rust and Python sources 1 in 100.
const GIBBERISH_PERCENT: usize = 30;

impl Word {
    pub(super) fn of(word: &str) -> Self {
        if let Some(parameter) = Parameter::of_label(word) {
            return Self::Value(parameter);
        }
        if !word.bytes().any(|byte| byte.is_ascii_digit()) {
            return if is_gibberish(word) { Self::Value(Parameter::Token) } else { Self::Literal };
        }
        if word.split('x').all(is_digits) {
            return Self::Value(Parameter::Id);
        }
        if word.len() >= HASH_BYTES && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Self::Value(Parameter::Hash);
        }
        if is_version(word) || is_numbered(word) || is_technical(word) {
            return Self::Literal;
        }
        Self::Value(if word.len() < KEY_BYTES { Parameter::Id } else { Parameter::Token })
    }
}

/// `v1`, `v2.0`, `V1beta2`.
pub(in crate::endpoint) fn is_version(word: &str) -> bool {
    let Some(rest) = word.strip_prefix(['v', 'V']) else { return false };
    let stage = rest.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (number, stage) = (rest.get(..stage).unwrap_or_default(), rest.get(stage..).unwrap_or_default());
    let short = |part: &str| part.len() <= 3 && is_digits(part);
    let stage = stage.trim_end_matches(|character: char| character.is_ascii_digit());
    let revision = rest.len() - number.len() - stage.len();
    number.split('.').all(short) && matches!(stage, "" | "alpha" | "beta" | "rc" | "preview") && revision <= 3
}

/// Letters and one or two digits, as in `oauth2` and `user12`: alone it does not show which of the two it is.
fn is_numbered(word: &str) -> bool {
    let letters = word.trim_end_matches(|character: char| character.is_ascii_digit());
    let digits = word.len() - letters.len();
    (1..=2).contains(&digits)
        && !letters.is_empty()
        && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !is_gibberish(letters)
}

/// Words of the trade that have digits in other places.
fn is_technical(word: &str) -> bool {
    const WORDS: [&str; 46] = [
        "1st",
        "2d",
        "2fa",
        "2nd",
        "2sv",
        "3d",
        "3ds",
        "3rd",
        "4k",
        "8k",
        "a11y",
        "aes128",
        "aes192",
        "aes256",
        "b2b",
        "b2c",
        "c2c",
        "d2c",
        "d3d11",
        "d3d12",
        "e2e",
        "ed25519",
        "es2015",
        "es256",
        "g11n",
        "h2c",
        "hs256",
        "i18n",
        "int128",
        "k8s",
        "l10n",
        "log4j",
        "m2m",
        "p2p",
        "ps256",
        "rs256",
        "rs512",
        "s2s",
        "secp256k1",
        "sha224",
        "sha256",
        "sha384",
        "sha512",
        "u2f",
        "uint128",
        "x509",
    ];
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Names with separators in them that would be numbers word by word.
pub(super) fn is_compound(segment: &str) -> bool {
    const NAMES: [&str; 6] = ["utf-8", "utf-16", "x86_64", "x86-64", "iso-8859-1", "base-64"];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(segment))
}

/// Extensions that files in URLs have.
pub(super) fn is_file_extension(extension: &str) -> bool {
    const EXTENSIONS: [&str; 46] = [
        "avif", "bin", "bmp", "bz2", "css", "csv", "dae", "eot", "fbx", "gif", "glb", "gltf", "gz", "htm",
        "html", "ico", "ini", "jpeg", "jpg", "js", "json", "jsonl", "ktx", "lua", "luau", "m3u8", "map",
        "md", "mjs", "mp3", "mp4", "obj", "ogg", "pdf", "php", "png", "rbxl", "rbxm", "svg", "ttf", "txt",
        "wasm", "webp", "woff2", "xml", "zip",
    ];
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// A language of ISO 639-1 with a region or a script: `zh-cn`, `pt_BR`, `es-419`, `zh-Hant-TW`. Languages whose code is
/// an English word (`is`, `my`, `no`, `to`) are left out: `to-do` is not one.
pub(super) fn is_locale(segment: &str) -> bool {
    const LANGUAGES: [&str; 44] = [
        "ar", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi",
        "fil", "fr", "he", "hi", "hr", "hu", "id", "it", "ja", "ka", "kk", "km", "ko", "lt", "lv", "ms",
        "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sv", "th", "tr", "vi", "zh",
    ];
    let mut parts = segment.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    let region = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphabetic());
        (part.len() == 2 && letters) || (part.len() == 3 && is_digits(part))
    };
    let script =
        |part: &str| ["hans", "hant", "latn", "cyrl"].iter().any(|known| known.eq_ignore_ascii_case(part));
    let known = || LANGUAGES.iter().any(|known| known.eq_ignore_ascii_case(language));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(only), None, None) => (region(only) || script(only)) && known(),
        (Some(first), Some(second), None) => script(first) && region(second) && known(),
        _ => false,
    }
}

/// `us-central1`, `europe-west4`, `us-east1-b`.
pub(super) fn is_cloud_region(segment: &str) -> bool {
    const CONTINENTS: [&str; 13] = [
        "af",
        "africa",
        "ap",
        "asia",
        "australia",
        "ca",
        "eu",
        "europe",
        "me",
        "northamerica",
        "sa",
        "southamerica",
        "us",
    ];
    let mut parts = segment.split('-');
    let (Some(continent), Some(place)) = (parts.next(), parts.next()) else { return false };
    let side = place.trim_end_matches(|character: char| character.is_ascii_digit());
    let zone = parts.next().is_none_or(|zone| zone.len() == 1);
    let known = ["north", "south", "east", "west", "central"].iter().any(|known| side.starts_with(known));
    CONTINENTS.contains(&continent) && known && side.len() < place.len() && zone && parts.next().is_none()
}

/// Letters as no word has them: too many uncommon pairs.
fn is_gibberish(word: &str) -> bool {
    if word.len() < GIBBERISH_BYTES {
        return false;
    }
    let index = |byte: u8| usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a'));
    let uncommon = word.bytes().zip(word.bytes().skip(1)).filter(|(first, second)| {
        let followers = COMMON_FOLLOWERS.get(index(*first)).copied().unwrap_or_default();
        !followers.bytes().any(|follower| follower == second.to_ascii_lowercase())
    });
    uncommon.count() * 100 >= (word.len() - 1) * GIBBERISH_PERCENT
}

/// The letters that commonly follow each letter from `a` to `z`: the pairs that make up 93 % of those in the distinct
/// words of public Rust and Python sources, counted once per word.
const COMMON_FOLLOWERS: [&str; 26] = [
    "bcdgiklmnprstuvwxy",    // a
    "aceilorsu",             // b
    "aceghiklmoprstu",       // c
    "acdefilorsu",           // d
    "abcdefgilmnopqrstvwxy", // e
    "adefilorstu",           // f
    "aehilnorsu",            // g
    "aeiort",                // h
    "abcdefglmnoprstvxz",    // i
    "aeosu",                 // j
    "eis",                   // k
    "adefilostuy",           // l
    "abeilmopsu",            // m
    "acdefgiklnopstuv",      // n
    "abcdfgiklmnoprstuvw",   // o
    "acehiloprstuy",         // p
    "u",                     // q
    "acdefgiklmnoprstuvy",   // r
    "aceghiklmnoprstuy",     // s
    "acdefhilmoprstuy",      // t
    "abcefgilmnprst",        // u
    "aei",                   // v
    "aeinor",                // w
    "cept",                  // x
    "lmnpst",                // y
    "e",                     // z
];
