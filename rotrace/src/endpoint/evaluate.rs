//! Given: labelled cases, or a document. Gives: how many paths have exactly the template that they should, which have
//! not, and how well the templates group them. Refuses to know: how a template was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cache::hash;
use super::learned::Source;
use super::openapi::{Document, Instance};
use super::{Endpoints, Error, Settings, canonical, shape};

/// Values for each path of a document.
const INSTANCES: u64 = 20;

/// Processes that are made up for each game.
const PROCESSES: u64 = 2;

/// Values that are made up for each parameter of a case, each called by one game alone.
const NAMES: u64 = 40;

/// Orders in which the calls to a document come.
const ORDERS: u64 = 6;

/// How many templates were right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Paths that were tried.
    pub tried: usize,
    /// What was not right.
    pub failures: Vec<Failure>,
    /// How many paths of each template there are by what was found for them.
    groups: BTreeMap<(Box<str>, Box<str>), usize>,
}

/// How well templates group paths: those of one template belong together, whatever it is called.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grouping {
    /// Templates that were found.
    pub found: usize,
    /// Templates that there are.
    pub expected: usize,
    /// Templates that were found for all paths of one template and for no others.
    pub right: usize,
    /// Paths in these.
    pub right_paths: usize,
    /// Templates that were found for paths of more than one.
    pub over_merged: usize,
    /// Templates for whose paths more than one was found.
    pub over_split: usize,
}

impl Grouping {
    /// The harmonic mean of the shares of templates that are right, of those found and of those expected (Loghub-2.0
    /// calls it FGA).
    pub fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.found + self.expected).max(1) as f64
    }
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

    /// How well they are grouped.
    pub fn grouping(&self) -> Grouping {
        let mut of_found: BTreeMap<&str, usize> = BTreeMap::new();
        let mut of_expected: BTreeMap<&str, usize> = BTreeMap::new();
        for (expected, found) in self.groups.keys() {
            *of_found.entry(found).or_default() += 1;
            *of_expected.entry(expected).or_default() += 1;
        }
        let is_right = |(expected, found): &(Box<str>, Box<str>)| {
            of_found.get(&**found) == Some(&1) && of_expected.get(&**expected) == Some(&1)
        };
        let right = self.groups.iter().filter(|(pair, _)| is_right(pair));
        Grouping {
            found: of_found.len(),
            expected: of_expected.len(),
            right: right.clone().count(),
            right_paths: right.map(|(_, paths)| paths).sum(),
            over_merged: of_found.values().filter(|expected| **expected > 1).count(),
            over_split: of_expected.values().filter(|found| **found > 1).count(),
        }
    }

    fn count(&mut self, authority: &str, path: &str, expected: &str, found: &str) {
        let (expected, found) = (canonical::anonymous(expected), canonical::anonymous(found));
        self.tried += 1;
        let of = |template: &str| [authority, template].concat().into();
        *self.groups.entry((of(&expected), of(&found))).or_default() += 1;
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
    /// Shapes, and what the paths themselves teach.
    Learned,
    /// The document.
    Loaded,
}

/// The shape tier on cases, a line each: name, authority, path, expected template, kind, with tabs between them.
/// Kind `S` can be decided from the shape alone; the figures of all others are the second. The third are those of all
/// when calls with other values, each of one game, have taught what they can.
pub fn cases(lines: &str) -> Result<[Figures; 3], String> {
    let mut figures = [const { Figures { tried: 0, failures: Vec::new(), groups: BTreeMap::new() } }; 3];
    for (number, line) in (1..).zip(lines.lines()) {
        let mut fields = line.split('\t').skip(1);
        let (Some(authority), Some(path), Some(expected), Some(kind)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("line {number}: expected name, authority, path, template and kind"));
        };
        let [decidable, others, learned] = &mut figures;
        let figures = if kind == "S" { decidable } else { others };
        let mut template = String::new();
        shape::push_template(&canonical::path(path), &mut template);
        figures.count(authority, path, expected, &template);
        let found = after_others(authority, path, expected).map_err(|why| format!("line {number}: {why}"))?;
        learned.count(authority, path, expected, &found);
    }
    Ok(figures)
}

/// The template of a path after calls with other values.
fn after_others(authority: &str, path: &str, expected: &str) -> Result<String, Error> {
    let mut endpoints = Endpoints::new(&Settings::default(), &[])?;
    let canonical = canonical::path(path);
    let all = || canonical::segments(&canonical).zip(canonical::segments(expected));
    // A value that looks like a word stands for others that are made up; what has another shape needs none.
    let is_name = |value: &str, template: &str| {
        let is_word = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        template == "{}" && is_word && value.starts_with(|first: char| first.is_ascii_alphabetic())
    };
    let names = if all().any(|(value, template)| is_name(value, template)) { NAMES } else { 0 };
    for number in 0..names {
        let mut other = String::new();
        for (value, template) in all() {
            other.push('/');
            if is_name(value, template) {
                // As many letters, so that a code stays one.
                let letters = (0..value.len() as u64).map(|at| hash(number, &at.to_le_bytes()) % 26);
                other.extend(letters.map(|letter| char::from(b'a' + letter as u8)));
            } else {
                other.push_str(value);
            }
        }
        let game = number % 4;
        for process in 0..PROCESSES {
            let source = Source::new(game * PROCESSES + process, Some(&game.to_string()));
            endpoints.resolve_of(Some(authority), "GET", &other, || Some(source));
        }
    }
    endpoints.settle();
    let found = endpoints.resolve(Some(authority), "GET", path).endpoint;
    Ok(canonical::divided(&found).1.to_owned())
}

/// Every path of the document with values made up for its parameters. Each value is one of a process, and two
/// processes are of one game.
pub fn document(document: &Document, knowledge: Knowledge) -> Result<Figures, Error> {
    let mut endpoints = endpoints(document, knowledge)?;
    let calls = calls(document);
    if knowledge == Knowledge::Learned {
        for (source, Instance { authority, method, path, .. }) in &calls {
            endpoints.resolve_of(Some(authority), method, path, || Some(*source));
        }
        endpoints.settle();
    }
    let mut figures = Figures::default();
    for (_, Instance { authority, method, path, template }) in &calls {
        let found = endpoints.resolve(Some(authority), method, path).endpoint;
        let found = found.strip_prefix(&**authority).unwrap_or(&found);
        figures.count(authority, path, template, found);
    }
    Ok(figures)
}

/// What other orders of the same calls change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stability {
    /// The least share of labels that two orders have in common, of those that one of them has (Jaccard).
    pub common: f64,
    /// The greatest share of calls that had another label when they came than in the end, but those that were in doubt.
    pub relabelled: f64,
    /// The greatest share of calls that were in doubt.
    pub doubtful: f64,
}

/// The calls to a document in several orders, learned from as they come.
pub fn stability(document: &Document) -> Result<Stability, Error> {
    let calls = calls(document);
    let mut stability = Stability { common: 1.0, relabelled: 0.0, doubtful: 0.0 };
    let mut before: Option<BTreeSet<std::sync::Arc<str>>> = None;
    for order in 0..ORDERS {
        let mut endpoints = endpoints(document, Knowledge::Learned)?;
        let mut shuffled: Vec<_> = calls.iter().collect();
        shuffled.sort_by_key(|(_, call)| hash(order, call.path.as_bytes()));
        let of = |endpoints: &mut Endpoints, (source, call): &(Source, Instance)| {
            endpoints.resolve_of(Some(&call.authority), &call.method, &call.path, || Some(*source))
        };
        let first: Vec<_> = shuffled.iter().map(|call| of(&mut endpoints, call)).collect();
        endpoints.settle();
        let last: Vec<_> = shuffled.iter().map(|call| of(&mut endpoints, call).endpoint).collect();
        let share = |count: usize| count as f64 / calls.len().max(1) as f64;
        let relabelled = first.iter().zip(&last);
        let relabelled =
            relabelled.filter(|(first, last)| !first.is_doubtful && first.endpoint != **last).count();
        let doubtful = first.iter().filter(|resolved| resolved.is_doubtful).count();
        stability.relabelled = stability.relabelled.max(share(relabelled));
        stability.doubtful = stability.doubtful.max(share(doubtful));
        let labels: BTreeSet<_> = last.into_iter().collect();
        if let Some(before) = &before {
            let common =
                labels.intersection(before).count() as f64 / labels.union(before).count().max(1) as f64;
            stability.common = stability.common.min(common);
        }
        before.get_or_insert(labels);
    }
    Ok(stability)
}

fn endpoints(document: &Document, knowledge: Knowledge) -> Result<Endpoints, Error> {
    let known = match knowledge {
        Knowledge::Withheld | Knowledge::Learned => &[],
        Knowledge::Loaded => std::slice::from_ref(document),
    };
    let settings = Settings {
        templates_per_authority: usize::MAX,
        templates: usize::MAX,
        authorities: usize::MAX,
        ..Settings::default()
    };
    Endpoints::new(&settings, known)
}

fn calls(document: &Document) -> Vec<(Source, Instance)> {
    let of_process = |process: u64| {
        let source = Source::new(process, Some(&(process / PROCESSES).to_string()));
        document.instances(process).map(move |instance| (source, instance))
    };
    (0..INSTANCES).flat_map(of_process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_by_kind() {
        let lines = "1\tx\t/v1/users/7\t/v1/users/{}\tS\tnote\n2\tx\t/games/adopt-me\t/games/{}\tL\n";
        let [decidable, others, learned] = cases(lines).unwrap();
        assert_eq!(decidable.to_string(), "1 of 1 exact");
        let failure = Failure {
            path: "/games/adopt-me".into(),
            expected: "/games/{}".into(),
            found: "/games/adopt-me".into(),
        };
        assert_eq!((others.tried, others.failures), (1, vec![failure]));
        assert_eq!(learned.to_string(), "2 of 2 exact");
        assert!(cases("1\tx\t/a").unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn groups_are_right_when_they_are_those_that_there_are() {
        let mut figures = Figures::default();
        for (path, expected, found) in [
            ("/a", "/a", "/{}"),
            ("/b", "/b", "/{}"),
            ("/c/d", "/c/{}", "/c/d"),
            ("/c/e", "/c/{}", "/c/e"),
            ("/f", "/f", "/g"),
        ] {
            figures.count("x", path, expected, found);
        }
        let expected =
            Grouping { found: 4, expected: 4, right: 1, right_paths: 1, over_merged: 1, over_split: 1 };
        assert_eq!(figures.grouping(), expected);
        assert_eq!(expected.f1(), 0.25);
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
        let Stability { common, relabelled, .. } = stability(&parsed).unwrap();
        assert!(common == 1.0 && relabelled < 0.2, "{common} {relabelled}");
    }
}
