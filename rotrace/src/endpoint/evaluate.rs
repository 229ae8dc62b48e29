//! Given: labelled cases, or a document. Gives: how many paths have exactly the template that they should, and which
//! have not. Refuses to know: how a template was found.

use std::fmt;

use super::openapi::{Document, Instance};
use super::{Endpoints, Error, Settings, canonical, shape};

/// Values for each path of a document.
const INSTANCES: u64 = 20;

/// How many templates were right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Paths that were tried.
    pub tried: usize,
    /// What was not right.
    pub failures: Vec<Failure>,
}

/// A path with another template than it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As tried.
    pub path: Box<str>,
    /// With `{}` for each parameter.
    pub expected: Box<str>,
    /// With `{}` for each parameter.
    pub found: Box<str>,
}

impl Figures {
    /// How many were right.
    pub fn exact(&self) -> usize {
        self.tried - self.failures.len()
    }

    fn count(&mut self, path: &str, expected: &str, found: &str) {
        let (expected, found) = (canonical::anonymous(expected), canonical::anonymous(found));
        self.tried += 1;
        if expected != found {
            self.failures.push(Failure { path: path.into(), expected: expected.into(), found: found.into() });
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} exact", self.exact(), self.tried)
    }
}

/// Whether the document is known to what is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Only shapes.
    Withheld,
    /// The document.
    Loaded,
}

/// The shape tier on cases, a line each: name, authority, path, expected template, kind, with tabs between them.
/// Kind `S` can be decided from the shape alone; the figures of all others are the second.
pub fn cases(lines: &str) -> Result<[Figures; 2], String> {
    let mut figures = [Figures::default(), Figures::default()];
    for (number, line) in (1..).zip(lines.lines()) {
        let mut fields = line.split('\t').skip(2);
        let (Some(path), Some(expected), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("line {number}: expected name, authority, path, template and kind"));
        };
        let [decidable, others] = &mut figures;
        let figures = if kind == "S" { decidable } else { others };
        let mut template = String::new();
        shape::push_template(&canonical::path(path), &mut template);
        figures.count(path, expected, &template);
    }
    Ok(figures)
}

/// Every path of the document with values made up for its parameters.
pub fn document(document: &Document, knowledge: Knowledge) -> Result<Figures, Error> {
    let known = match knowledge {
        Knowledge::Withheld => &[],
        Knowledge::Loaded => std::slice::from_ref(document),
    };
    let settings = Settings {
        templates_per_authority: usize::MAX,
        templates: usize::MAX,
        authorities: usize::MAX,
        ..Settings::default()
    };
    let mut endpoints = Endpoints::new(&settings, known)?;
    let mut figures = Figures::default();
    for seed in 0..INSTANCES {
        for Instance { authority, method, path, template } in document.instances(seed) {
            let found = endpoints.resolve(Some(&authority), &method, &path).endpoint;
            let found = found.strip_prefix(&*authority).unwrap_or(&found);
            figures.count(&path, &template, found);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_by_kind() {
        let lines = "1\tx\t/v1/users/7\t/v1/users/{}\tS\tnote\n2\tx\t/games/adopt-me\t/games/{}\tL\n";
        let [decidable, others] = cases(lines).unwrap();
        assert_eq!(decidable.to_string(), "1 of 1 exact");
        let failure = Failure {
            path: "/games/adopt-me".into(),
            expected: "/games/{}".into(),
            found: "/games/adopt-me".into(),
        };
        assert_eq!(others, Figures { tried: 1, failures: vec![failure] });
        assert!(cases("1\tx\t/a").unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn a_document_knows_its_own_paths() {
        let json = br#"{"openapi": "3.0.0", "servers": [{"url": "https://a.x/base"}], "paths": {
            "/users/search": {"get": {}},
            "/users/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}]}},
            "/users/{id}:publish": {"post": {}},
            "/stores/{name}": {"get": {}}}}"#;
        let parsed = Document::parse(json).unwrap();
        assert_eq!(document(&parsed, Knowledge::Loaded).unwrap().to_string(), "80 of 80 exact");
        let withheld = document(&parsed, Knowledge::Withheld).unwrap();
        assert!(withheld.failures.iter().all(|failure| failure.expected.contains("{}")), "{withheld:?}");
        assert!(withheld.exact() >= 40, "{withheld}");
    }
}
