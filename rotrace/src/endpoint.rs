//! Given: authority, method and target of a call, the rules of the configuration and OpenAPI documents. Gives: the
//! endpoint, which is authority and path template, out of a bounded number of them. Refuses to know: of processes and
//! games more than whether two are the same, the answer, and time.
//!
//! The first tier that knows the path decides:
//!
//! ```text
//! canonical   one spelling for all that mean the same
//! rules       what the configuration says, in its order
//! openapi     the path keys of the documents, by authority
//! shape       what the segments look like: numbers, hashes, dates, …
//! learned     which of the words that are left are names, as one game uses them and others do not
//! cap         a new label has to find a place, or its calls are counted as `{authority}/**other**`
//! ```
//!
//! What the first two tiers know is not learned from, and what a call taught is not asked for again until another process
//! makes it.

pub mod canonical;
pub mod evaluate;
pub mod learned;
pub mod openapi;
pub mod rules;
pub mod shape;

mod admission;
mod cache;
mod pattern;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use admission::{Newcomers, needed_weight};
use cache::{Cache, Key};
use learned::{Applied, Dictionary, Source};
use openapi::{Document, Templates};
use rules::Compiled;

pub(crate) use cache::hash as stable_hash;
pub use rules::Rule;

/// The endpoint of calls whose authority is not known.
pub const UNKNOWN: &str = "unknown";

/// The endpoint of calls to authorities that have found no place.
pub const OTHER: &str = "other";

/// What stands for the template of a path that has found no place.
pub const OTHER_PATHS: &str = "/**other**";

/// Rules, and how many labels there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In order: the first that fits decides.
    pub rules: Vec<Rule>,
    /// Templates of one authority at most.
    pub templates_per_authority: usize,
    /// Templates of all authorities at most.
    pub templates: usize,
    /// Authorities at most.
    pub authorities: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: Vec::new(), templates_per_authority: 400, templates: 2000, authorities: 256 }
    }
}

/// What decided on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// A rule of the configuration.
    Rule,
    /// A path key of a document.
    OpenApi,
    /// The shapes of the segments.
    Shape,
    /// The shapes, and that some of the words are names.
    Learned,
    /// There was no place left.
    Overflow,
    /// A rule says that the call is left out.
    Ignored,
    /// The authority is not known, or the path.
    Unknown,
}

impl Tier {
    /// As labels have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::OpenApi => "openapi",
            Self::Shape => "shape",
            Self::Learned => "learned",
            Self::Overflow => "overflow",
            Self::Ignored => "ignored",
            Self::Unknown => "unknown",
        }
    }
}

/// What a call was made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Authority and template, as the `endpoint` label has it: `users.example.com/v1/users/{id}`.
    pub endpoint: Arc<str>,
    /// The canonical path, without query; empty for the tunnels of CONNECT.
    pub path: Arc<str>,
    /// What decided.
    pub tier: Tier,
    /// Words of the template may yet turn out to be names: ask [`Endpoints::settled`] later.
    pub is_doubtful: bool,
}

/// Why endpoints cannot be told with these settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A rule, by its number from 1.
    Rule(usize, rules::Error),
    /// The documents name so many authorities, more than there are places.
    Authorities(usize),
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(number, error) => write!(formatter, "endpoint rule {number}: {error}"),
            Self::Authorities(number) => {
                write!(
                    formatter,
                    "the OpenAPI documents name {number} authorities, more than the limit allows"
                )
            }
        }
    }
}

/// Tells the endpoints of calls. The same calls in the same order have the same endpoints, on any machine.
#[derive(Debug)]
pub struct Endpoints {
    rules: Box<[Compiled]>,
    documented: Templates,
    templates_per_authority: usize,
    templates: usize,
    authorities_limit: usize,
    /// At most `authorities_limit`, by canonical name.
    authorities: BTreeMap<Box<str>, Authority>,
    /// Labels of all authorities, at most `templates`.
    labels: usize,
    newcomers: Newcomers,
    learned: Dictionary,
    cache: Cache,
    /// Calls to authorities that have found no place.
    other_calls: u64,
    other: Arc<str>,
    unknown: Arc<str>,
    /// Where labels are put together, to be looked up; kept for its memory alone.
    label: String,
}

/// What is kept for an authority that has a place.
#[derive(Debug)]
struct Authority {
    /// Indices of the rules that concern it.
    rules: Box<[usize]>,
    /// At most `templates_per_authority`.
    labels: BTreeMap<Arc<str>, Tier>,
    /// How many labels each tier was the first to find; in the order of [`COUNTED`].
    found: [usize; 4],
    overflow_calls: u64,
    overflow: Arc<str>,
}

/// The tiers that find templates.
const COUNTED: [Tier; 4] = [Tier::Rule, Tier::OpenApi, Tier::Shape, Tier::Learned];

impl Endpoints {
    /// Takes the settings and documents; says which rule cannot be used and why.
    pub fn new(settings: &Settings, documents: &[Document]) -> Result<Self, Error> {
        let Settings { rules, templates_per_authority, templates, authorities } = settings;
        let numbered = (1..).zip(rules);
        let compiled =
            numbered.map(|(number, rule)| Compiled::new(rule).map_err(|error| Error::Rule(number, error)));
        let rules: Box<[Compiled]> = compiled.collect::<Result<_, _>>()?;
        let known = Templates::new(documents);
        // Documented authorities have their places from the start: noise cannot be there before them.
        let documented: BTreeMap<Box<str>, Authority> =
            known.authorities().map(|name| (name.into(), Authority::new(name, &rules))).collect();
        if documented.len() > *authorities {
            return Err(Error::Authorities(documented.len()));
        }
        Ok(Self {
            rules,
            documented: known,
            templates_per_authority: *templates_per_authority,
            templates: *templates,
            authorities_limit: *authorities,
            authorities: documented,
            labels: 0,
            newcomers: Newcomers::default(),
            learned: Dictionary::default(),
            cache: Cache::default(),
            other_calls: 0,
            other: OTHER.into(),
            unknown: UNKNOWN.into(),
            label: String::new(),
        })
    }

    /// The endpoint of a call of which nothing is learned. A call that finds no place is counted.
    pub fn resolve(&mut self, authority: Option<&str>, method: &str, target: &str) -> Resolved {
        self.resolve_of(authority, method, target, || None)
    }

    /// The endpoint of a call whose path is not known.
    pub fn unknown(&self) -> Resolved {
        let (endpoint, path) = (Arc::clone(&self.unknown), "".into());
        Resolved { endpoint, path, tier: Tier::Unknown, is_doubtful: false }
    }

    /// The endpoint of a call, of which is learned if there is a source. `source` is asked only where it matters.
    pub fn resolve_of(
        &mut self,
        authority: Option<&str>,
        method: &str,
        target: &str,
        source: impl Fn() -> Option<Source>,
    ) -> Resolved {
        let key = Key { authority, method, target: canonical::without_query(target) };
        let hash = key.hash();
        let Some(known) = self.cache.find(key, hash) else {
            let resolved = self.find(key, &source);
            // A label stays once it is given out, but a call without a place has to be counted and may yet find one.
            if resolved.tier != Tier::Overflow {
                self.cache.remember(key, hash, &resolved, &source);
            }
            return resolved;
        };
        if known.is_learned() {
            return known.resolved.clone();
        }
        if source().is_none_or(|source| !known.learn(source)) {
            return known.resolved.clone();
        }
        self.find(key, &source)
    }

    /// Takes everything that was learned into account. The same calls and the same moments give the same endpoints.
    pub fn settle(&mut self) {
        for authority in self.learned.settle() {
            self.withdraw(&authority);
        }
    }

    /// The endpoint that stands for a doubtful one by now, and whether that is still in doubt.
    pub fn settled(&mut self, endpoint: &str) -> (Arc<str>, bool) {
        let (name, _) = canonical::divided(endpoint);
        let mut label = std::mem::take(&mut self.label);
        label.clear();
        label.push_str(endpoint);
        let Applied { is_changed, is_doubtful } = self.learned.apply(name, &mut label);
        // Calls that were given a place keep it where there is none for the other label.
        let settled = if is_changed { self.place(name, &label, Tier::Learned) } else { None };
        self.label = label;
        (settled.unwrap_or_else(|| endpoint.into()), is_doubtful)
    }

    /// What was learned, to be saved.
    pub fn learned(&self) -> &Dictionary {
        &self.learned
    }

    /// Takes what was learned elsewhere or before.
    pub fn learn(&mut self, learned: Dictionary) {
        self.learned.merge(learned);
        let names: Vec<Box<str>> = self.authorities.keys().cloned().collect();
        names.iter().for_each(|name| self.withdraw(name));
    }

    /// Goes on with what another has learned.
    pub fn inherit(&mut self, other: &mut Self) {
        self.learn(std::mem::take(&mut other.learned));
    }

    /// The line `authority<TAB>method<TAB>path` with the template behind it; `ignored` where a rule says so. An empty
    /// authority is one that is not known. The error says what is wrong with the line.
    pub fn annotate(&mut self, line: &str) -> Result<String, String> {
        let (known, method, path) = fields(line)?;
        let Resolved { endpoint, path: _, tier, is_doubtful: _ } = self.resolve(known, method, path);
        let prefix = known.and_then(canonical::authority).unwrap_or_default();
        let template = match tier {
            Tier::Ignored => tier.as_str(),
            _ => endpoint.strip_prefix(&*prefix).unwrap_or(&endpoint),
        };
        Ok(format!("{line}\t{template}"))
    }

    /// Learns from the line `authority<TAB>method<TAB>path`, as a call of one process. What is no such line teaches
    /// nothing.
    pub fn learn_line(&mut self, line: &str) {
        if let Ok((authority, method, path)) = fields(line) {
            self.resolve_of(authority, method, path, || Some(Source::new(0, None)));
        }
    }

    /// How many templates each tier found, by authority; for `rotrace_endpoint_templates`.
    pub fn templates(&self) -> impl Iterator<Item = (&str, Tier, usize)> {
        self.authorities.iter().flat_map(|(name, authority)| {
            let counted = COUNTED.into_iter().zip(authority.found);
            counted.filter(|(_, found)| *found > 0).map(|(tier, found)| (&**name, tier, found))
        })
    }

    /// How many calls found no place, by authority, all that have no place themselves as [`OTHER`]; for
    /// `rotrace_endpoint_overflow_total`.
    pub fn overflow(&self) -> impl Iterator<Item = (&str, u64)> {
        let known = self.authorities.iter().map(|(name, authority)| (&**name, authority.overflow_calls));
        known.chain([(OTHER, self.other_calls)]).filter(|(_, calls)| *calls > 0)
    }

    fn find(&mut self, key: Key<'_>, source: &dyn Fn() -> Option<Source>) -> Resolved {
        let Key { authority, method, target } = key;
        // The target of CONNECT is an authority (RFC 9112 §3.2.3): the tunnel has no path.
        let path = if method == "CONNECT" { "".into() } else { canonical::path(target) };
        let (endpoint, tier, is_doubtful) = match authority.and_then(canonical::authority) {
            Some(name) => {
                let mut label = std::mem::take(&mut self.label);
                let found = self.endpoint(&name, method, &path, source, &mut label);
                self.label = label;
                found
            }
            None => (self.unknown.clone(), Tier::Unknown, false),
        };
        Resolved { endpoint, path: path.into(), tier, is_doubtful }
    }

    /// The endpoint of a canonical authority and path, and whether it is in doubt.
    fn endpoint(
        &mut self,
        name: &str,
        method: &str,
        path: &str,
        source: &dyn Fn() -> Option<Source>,
        label: &mut String,
    ) -> (Arc<str>, Tier, bool) {
        if !self.authorities.contains_key(name) && !self.admit(name) {
            self.other_calls += 1;
            return (self.other.clone(), Tier::Overflow, false);
        }
        let Self { rules, documented, authorities, .. } = self;
        let own = authorities.get(name).map(|authority| &authority.rules);
        let concerning = own.into_iter().flatten().filter_map(|index| rules.get(*index));
        label.clear();
        label.push_str(name);
        match push_template(concerning, documented, name, method, path, label) {
            Tier::Ignored => (label.as_str().into(), Tier::Ignored, false),
            Tier::Shape => {
                let template = label.get(name.len()..).unwrap_or_default();
                if source().is_some_and(|source| self.learned.learn(name, template, source)) {
                    self.withdraw(name);
                }
                let Applied { is_changed, is_doubtful } = self.learned.apply(name, label);
                let tier = if is_changed { Tier::Learned } else { Tier::Shape };
                let (endpoint, tier) = self.counted(name, label, tier);
                (endpoint, tier, is_doubtful && tier != Tier::Overflow)
            }
            tier => {
                let (endpoint, tier) = self.counted(name, label, tier);
                (endpoint, tier, false)
            }
        }
    }

    /// The place of a label, for a call that is counted where it has none.
    fn counted(&mut self, name: &str, label: &str, tier: Tier) -> (Arc<str>, Tier) {
        if let Some(endpoint) = self.place(name, label, tier) {
            return (endpoint, tier);
        }
        let Some(authority) = self.authorities.get_mut(name) else {
            return (self.other.clone(), Tier::Overflow);
        };
        authority.overflow_calls += 1;
        (authority.overflow.clone(), Tier::Overflow)
    }

    /// Gives a label of an authority a place, if it has none and has the weight.
    fn place(&mut self, name: &str, label: &str, tier: Tier) -> Option<Arc<str>> {
        let authority = self.authorities.get_mut(name)?;
        if let Some((endpoint, _)) = authority.labels.get_key_value(label) {
            return Some(endpoint.clone());
        }
        let own = needed_weight(authority.labels.len(), self.templates_per_authority);
        let all = needed_weight(self.labels, self.templates);
        // What people wrote down is finite: it needs a place but no weight.
        let is_written = matches!(tier, Tier::Rule | Tier::OpenApi);
        let placed = own.zip(all).is_some_and(|(own, all)| {
            is_written || own.max(all) == 0 || self.newcomers.weigh(label) >= own.max(all)
        });
        if !placed {
            return None;
        }
        let endpoint: Arc<str> = label.into();
        authority.labels.insert(endpoint.clone(), tier);
        self.labels += 1;
        authority.found_mut(tier).into_iter().for_each(|found| *found += 1);
        Some(endpoint)
    }

    /// Takes the places back of labels that are given to no call any more, as words of theirs are names now.
    fn withdraw(&mut self, name: &str) {
        self.cache = Cache::default();
        let Self { learned, authorities, labels, label, .. } = self;
        let Some(authority) = authorities.get_mut(name) else { return };
        let withdrawn = authority.labels.extract_if(.., |endpoint, tier| {
            label.clear();
            label.push_str(endpoint);
            matches!(tier, Tier::Shape | Tier::Learned) && learned.apply(name, label).is_changed
        });
        for (_, tier) in withdrawn.collect::<Vec<_>>() {
            *labels -= 1;
            authority.found_mut(tier).into_iter().for_each(|found| *found -= 1);
        }
    }

    /// Gives the authority a place, if it has the weight.
    fn admit(&mut self, name: &str) -> bool {
        let needed = needed_weight(self.authorities.len(), self.authorities_limit);
        let placed = needed.is_some_and(|needed| needed == 0 || self.newcomers.weigh(name) >= needed);
        if placed {
            self.authorities.insert(name.into(), Authority::new(name, &self.rules));
        }
        placed
    }
}

/// Authority, method and path of a line.
fn fields(line: &str) -> Result<(Option<&str>, &str, &str), String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [authority, method, path] = *fields.as_slice() else {
        return Err(format!("expected authority<TAB>method<TAB>path, found {} fields", fields.len()));
    };
    if method.is_empty() || path.is_empty() {
        return Err(format!("the {} is empty", if method.is_empty() { "method" } else { "path" }));
    }
    Ok((Some(authority).filter(|authority| !authority.is_empty()), method, path))
}

/// Appends the template of the first tier that knows the path.
fn push_template<'a>(
    rules: impl Iterator<Item = &'a Compiled>,
    documented: &Templates,
    authority: &str,
    method: &str,
    path: &str,
    label: &mut String,
) -> Tier {
    let mut rules = rules.peekable();
    if rules.peek().is_some() {
        let segments: Vec<&str> = canonical::segments(path).collect();
        if let Some(rule) = rules.find(|rule| rule.fits(method, &segments)) {
            label.push_str(&rule.template);
            return if rule.ignore { Tier::Ignored } else { Tier::Rule };
        }
    }
    match documented.template(authority, method, path) {
        Some(template) => {
            label.push_str(template);
            Tier::OpenApi
        }
        None => {
            shape::push_template(path, label);
            Tier::Shape
        }
    }
}

impl Authority {
    fn new(name: &str, rules: &[Compiled]) -> Self {
        let concerning = rules.iter().enumerate().filter(|(_, rule)| rule.concerns(name));
        Self {
            rules: concerning.map(|(index, _)| index).collect(),
            labels: BTreeMap::new(),
            found: [0; 4],
            overflow_calls: 0,
            overflow: format!("{name}{OTHER_PATHS}").into(),
        }
    }

    fn found_mut(&mut self, tier: Tier) -> Option<&mut usize> {
        self.found.iter_mut().zip(COUNTED).find(|(_, counted)| *counted == tier).map(|(found, _)| found)
    }
}

#[cfg(test)]
mod tests;
