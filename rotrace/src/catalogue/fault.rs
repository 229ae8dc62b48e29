//! Given: the text of a TOML file, and what is wrong with it. Gives: the fault with its line and column. Refuses to know:
//! what the file is for.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;

/// What is wrong at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In one line.
    pub message: String,
}

impl Fault {
    /// At the first byte of a span of `text`.
    pub(crate) fn at(text: &str, span: &Range<usize>, message: impl Into<String>) -> Self {
        let before = text.get(..text.floor_char_boundary(span.start)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message } = self;
        write!(formatter, "line {line}, column {column}: {message}")
    }
}

impl std::error::Error for Fault {}

/// Reads the text of a TOML file into what it should be.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Fault::at(text, &error.span().unwrap_or_default(), message)
    })
}
