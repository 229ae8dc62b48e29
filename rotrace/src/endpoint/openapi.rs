//! Given: the bytes of OpenAPI 3 or Swagger 2 documents in JSON. Gives: the path template of a call, by its authority, and
//! the terms of each operation. Refuses to know: where the bytes came from, rules, shapes, and what stands in bodies.
//!
//! A path key is often one of several that fit a path (`/users/{id}` and `/users/search`): segment by segment, text goes
//! before text with a parameter, that before a parameter with a type, that before any other, with backtracking. OpenAPI
//! 3.1 §4.8.8.2 asks for concrete before templated and leaves the rest to the tool.

mod document;
mod instance;
mod operation;

use std::collections::{BTreeMap, BTreeSet};

use super::canonical;
use super::pattern::Segment;

pub use document::{Document, Error, Fault};
pub(super) use instance::Instance;
pub use operation::{Limit, Operation, PageSize, Scope, Terms};

/// The templates of all documents.
#[derive(Debug, Default)]
pub(super) struct Templates {
    authorities: BTreeMap<Box<str>, Trie>,
    /// Templates of documents whose servers have no authority: they hold for each, after its own.
    anywhere: Trie,
}

impl Templates {
    pub(super) fn new(documents: &[Document]) -> Self {
        let mut templates = Self::default();
        for route in documents.iter().flat_map(Document::routes) {
            let trie = match &route.authority {
                Some(authority) => templates.authorities.entry(authority.clone()).or_default(),
                None => &mut templates.anywhere,
            };
            trie.insert(&route.segments, &route.template, &route.methods);
        }
        templates
    }

    /// The authorities that documents name, in order.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &str> {
        self.authorities.keys().map(|authority| &**authority)
    }

    /// The template of a canonical path.
    pub(super) fn template(&self, authority: &str, method: &str, path: &str) -> Option<&str> {
        if !path.starts_with('/') {
            return None;
        }
        let own = self.authorities.get(authority);
        let mut tries = own.into_iter().chain([&self.anywhere]).filter(|trie| !trie.templates.is_empty());
        tries.find_map(|trie| trie.template(method, path))
    }
}

/// Templates by their segments, and as whole texts: a template is its own.
#[derive(Debug, Default)]
struct Trie {
    root: Node,
    templates: BTreeSet<Box<str>>,
}

/// What may follow the segments that lead to it.
#[derive(Debug, Default)]
struct Node {
    literals: BTreeMap<Box<str>, Node>,
    /// In the order of precedence.
    patterns: BTreeMap<Segment, Node>,
    /// The templates that end here, with the methods they have: more than one when only names of parameters differ.
    ends: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl Trie {
    fn insert(&mut self, segments: &[Segment], template: &str, methods: &BTreeSet<Box<str>>) {
        self.templates.insert(template.into());
        let mut node = &mut self.root;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                pattern => node.patterns.entry(pattern.clone()).or_default(),
            };
        }
        node.ends.entry(template.into()).or_default().extend(methods.iter().cloned());
    }

    fn template(&self, method: &str, path: &str) -> Option<&str> {
        if path.contains('{')
            && let Some(template) = self.templates.get(path)
        {
            return Some(template);
        }
        let segments: Vec<&str> = canonical::segments(path).collect();
        self.root.template(method, &segments)
    }
}

impl Node {
    /// Visits each node at most once, as each has one way to it, and is as deep as a canonical path.
    fn template(&self, method: &str, segments: &[&str]) -> Option<&str> {
        let Some((first, rest)) = segments.split_first() else { return self.end(method) };
        let literal = self.literals.get(*first).and_then(|node| node.template(method, rest));
        literal.or_else(|| {
            let mut fitting = self.patterns.iter().filter(|(pattern, _)| pattern.fits(first));
            fitting.find_map(|(_, node)| node.template(method, rest))
        })
    }

    /// The first template that has the method; of a method that none has, the first. A call with a method that is not
    /// documented is a call to that path all the same.
    fn end(&self, method: &str) -> Option<&str> {
        let having = self.ends.iter().find(|(_, methods)| methods.contains(method));
        having.or_else(|| self.ends.first_key_value()).map(|(template, _)| &**template)
    }
}

#[cfg(test)]
mod tests;
