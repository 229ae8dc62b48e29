//! Given: one value of the file. Gives: it as a type, or a fault that says what was found and what is expected. Refuses
//! to know: which key it belongs to, but for its name.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::table::{Fault, Faults};

/// Characters of a string value that an error repeats.
const SHOWN: usize = 60;

/// A value with what its key takes.
pub(super) struct Value<'a> {
    pub(super) key: String,
    pub(super) spanned: &'a Spanned<DeValue<'a>>,
    pub(super) takes: &'static str,
    example: &'static str,
}

impl<'a> Value<'a> {
    pub(super) fn new(
        key: String,
        spanned: &'a Spanned<DeValue<'a>>,
        takes: &'static str,
        example: &'static str,
    ) -> Value<'a> {
        Value { key, spanned, takes, example }
    }

    /// A value inside of this one, for the same key.
    pub(super) fn element(&self, spanned: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value::new(self.key.clone(), spanned, self.takes, self.example)
    }

    /// Where it stands.
    pub(super) fn at(&self) -> usize {
        self.spanned.span().start
    }

    pub(super) fn text(&self) -> Result<&'a str, Faults> {
        self.spanned.get_ref().as_str().ok_or_else(|| self.unexpected().into())
    }

    pub(super) fn flag(&self) -> Result<bool, Faults> {
        self.spanned.get_ref().as_bool().ok_or_else(|| self.unexpected().into())
    }

    pub(super) fn array(&self) -> Result<&'a [Spanned<DeValue<'a>>], Faults> {
        let array = self.spanned.get_ref().as_array().ok_or_else(|| self.unexpected())?;
        Ok(array)
    }

    /// An array of strings.
    pub(super) fn texts(&self) -> Result<Vec<&'a str>, Faults> {
        self.array()?.iter().map(|element| self.element(element).text()).collect()
    }

    /// A string that means something.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Faults> {
        parse(self.text()?).ok_or_else(|| self.unexpected().into())
    }

    /// A string that a rule can be made of.
    pub(super) fn rule<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Faults> {
        parse(self.text()?).map_err(|error| self.refused(&error).into())
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Result<T, Faults> {
        let number = self.spanned.get_ref().as_integer();
        number
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| range.contains(number))
            .and_then(|number| number.try_into().ok())
            .ok_or_else(|| self.unexpected().into())
    }

    pub(super) fn unexpected(&self) -> Fault {
        let example = if self.example.is_empty() { "" } else { ", such as " };
        let message = format!(
            "{}: found {}, expected {}{example}{}",
            self.key,
            found(self.spanned.get_ref()),
            self.takes,
            self.example
        );
        Fault { at: self.at(), message }
    }

    pub(super) fn refused(&self, why: &dyn fmt::Display) -> Fault {
        Fault { at: self.at(), message: format!("{}: {why}", self.key) }
    }
}

/// A duration such as `500ms`, `30s`, `5m`, `1h` or `1d`: a whole number and a unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let of = |seconds: u64| number.checked_mul(seconds).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => of(1),
        "m" => of(60),
        "h" => of(3600),
        "d" => of(24 * 3600),
        _ => None,
    }
}

/// A size in bytes such as `512B`, `64KiB`, `16MiB` or `1GiB`: a whole number and a unit.
pub fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let shown: String = text.chars().take(SHOWN).collect();
            let cut = if shown.len() < text.len() { "…" } else { "" };
            format!("{shown:?}{cut}")
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) if array.is_empty() => "an empty array".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
