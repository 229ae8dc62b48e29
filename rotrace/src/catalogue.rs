//! Given: OpenAPI documents, and tables that say what no document says. Gives: what is known of an operation that does not
//! show in its calls: limits, replacements, batches, pages, tags, cost class. Refuses to know: calls, files, and what any
//! of it is used for.
//!
//! An endpoint is looked up as its label has it, and names of parameters do not matter: a document says
//! `/v1/users/{userId}` where the shape of a path says `/v1/users/{id}`. What a table says of an operation takes the place
//! of what a document says, key by key; a later table goes before an earlier one.

mod fault;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use crate::endpoint::canonical;
use crate::endpoint::openapi::{Document, Limit, Operation, PageSize, Scope, Terms};
use crate::endpoint::rules::Compiled;

pub use fault::Fault;
pub(crate) use fault::read;
pub use table::Table;

/// Operations at most: the largest public documents have some thousand, and generated ones have to end.
pub const OPERATIONS_MAX: usize = 65_536;

/// Everything that is known, by operation.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By authority, where the empty one holds for each; then by template without the names of parameters.
    authorities: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<Api>>>,
    shared: Vec<SharedLimit>,
    operations: usize,
    refused: u64,
}

/// What is known of an operation. What is not known is empty or `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Which one it is.
    pub operation: Operation,
    /// Limits of its own.
    pub limits: Vec<Limit>,
    /// It should not be called any more.
    pub deprecated: bool,
    /// What should be called in its place, the best first.
    pub alternatives: Vec<Operation>,
    /// Whether one call can take the place of several.
    pub batch: Option<Batch>,
    /// How many items a page of its answer has.
    pub page_size: Option<PageSize>,
    /// Whether a client can ask for an answer only if it has changed.
    pub conditional: Option<bool>,
    /// How its calls are to be judged.
    pub tags: BTreeSet<Tag>,
    /// What to subscribe to where clients would poll, in words.
    pub push: Option<Box<str>>,
    /// The class of the cost model that its calls belong to.
    pub class: Option<Box<str>>,
}

/// Whether one call can take the place of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// There is no such operation.
    None,
    /// A call of another operation does.
    By {
        /// The operation.
        operation: Operation,
        /// Items that a call of it takes at most; `None` when nobody says.
        items_max: Option<u64>,
    },
}

/// How calls are to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tag {
    /// They say that something is alive, so they repeat.
    Heartbeat,
    /// Each counts for itself and must not be joined with others: purchases, awards.
    Transactional,
    /// They report, and can wait to be sent together.
    Telemetry,
    /// POST that changes nothing.
    SafePost,
    /// Large answers are their purpose.
    Asset,
    /// The answer waits for something to happen.
    LongPoll,
}

/// A limit that the calls of several operations share.
#[derive(Debug)]
pub struct SharedLimit {
    /// What people call it.
    pub name: Box<str>,
    /// The limit.
    pub limit: Limit,
    rule: Compiled,
    except: Option<Compiled>,
}

impl Catalogue {
    /// Everything that documents and tables say, the later before the earlier.
    pub fn new(documents: &[Document], tables: Vec<Table>) -> Self {
        let mut catalogue = Self::default();
        for (operation, terms) in documents.iter().flat_map(Document::operations) {
            if let Some(api) = catalogue.entry(operation) {
                *api = Api::documented(operation, terms);
            }
        }
        for Table { entries, shared } in tables {
            for (operation, entry) in entries {
                let place = catalogue.place(&operation);
                if !place.iter().any(|api| api.operation.method == operation.method) {
                    catalogue.entry(&operation);
                }
                let place = catalogue.place(&operation).iter_mut();
                for api in place.filter(|api| api.operation.method == operation.method) {
                    entry.clone().amend(api);
                }
            }
            for limit in shared {
                catalogue.shared.retain(|known| known.name != limit.name);
                catalogue.shared.push(limit);
            }
        }
        catalogue
    }

    /// What is known of the operation with this `endpoint` label and method.
    pub fn find(&self, endpoint: &str, method: &str) -> Option<&Api> {
        let (authority, as_written) = canonical::divided(endpoint);
        let template = canonical::anonymous(as_written);
        [authority, ""].into_iter().find_map(|authority| {
            let known = self.authorities.get(authority)?.get(&*template)?;
            let mut fitting = known.iter().filter(|api| *api.operation.method == *method);
            let written = fitting.clone().find(|api| *api.operation.template == *as_written);
            written.or_else(|| fitting.next())
        })
    }

    /// The limits that its calls share with those of other operations.
    pub fn shared_limits(&self, endpoint: &str, method: &str) -> impl Iterator<Item = &SharedLimit> {
        self.shared.iter().filter(move |shared| {
            let excepted = shared.except.as_ref().is_some_and(|rule| rule.fits_endpoint(endpoint, method));
            shared.rule.fits_endpoint(endpoint, method) && !excepted
        })
    }

    /// All operations, by authority and template.
    pub fn apis(&self) -> impl Iterator<Item = &Api> {
        self.authorities.values().flat_map(BTreeMap::values).flatten()
    }

    /// How many times an operation was left out, as there were [`OPERATIONS_MAX`] already.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The operation as written, with nothing known where it is new.
    fn entry(&mut self, operation: &Operation) -> Option<&mut Api> {
        let known = self.place(operation);
        if let Some(index) = known.iter().position(|api| api.operation == *operation) {
            return self.place(operation).get_mut(index);
        }
        if self.operations == OPERATIONS_MAX {
            self.refused += 1;
            return None;
        }
        self.operations += 1;
        let known = self.place(operation);
        known.push(Api::unknown(operation));
        known.last_mut()
    }

    /// All that differ from an operation in the method and in names of parameters only.
    fn place(&mut self, operation: &Operation) -> &mut Vec<Api> {
        let authority = operation.authority.clone().unwrap_or_default();
        let template = canonical::anonymous(&operation.template).into();
        self.authorities.entry(authority).or_default().entry(template).or_default()
    }
}

impl Api {
    fn unknown(operation: &Operation) -> Self {
        Self::documented(operation, &Terms::default())
    }

    fn documented(operation: &Operation, terms: &Terms) -> Self {
        let Terms { limits, deprecated, alternatives, page_size, conditional } = terms.clone();
        Self {
            operation: operation.clone(),
            limits,
            deprecated,
            alternatives,
            batch: None,
            page_size,
            conditional,
            tags: BTreeSet::new(),
            push: None,
            class: None,
        }
    }
}

impl Tag {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Heartbeat, Self::Transactional, Self::Telemetry, Self::SafePost, Self::Asset, Self::LongPoll];

    /// As tables have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Transactional => "transactional",
            Self::Telemetry => "telemetry",
            Self::SafePost => "safe_post",
            Self::Asset => "asset",
            Self::LongPoll => "longpoll",
        }
    }
}

#[cfg(test)]
mod tests;
