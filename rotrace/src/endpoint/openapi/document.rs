//! Given: the bytes of one document. Gives: its routes, each a path template at an authority, and its operations. Refuses
//! to know: which route a call takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::operation::{Operation, Terms};
use crate::endpoint::canonical;
use crate::endpoint::pattern::{self, Accepts, Segment};

/// Routes of a document at most; the largest public ones have some thousand operations.
const ROUTES: usize = 65_536;

/// References to references that are followed; a longer chain is a loop.
const REFERENCES: usize = 8;

/// Fields of a path item that are operations, in OpenAPI 3.2 §4.9.1.
const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// What a document says about paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    routes: Vec<Route>,
    operations: BTreeMap<Operation, Terms>,
}

/// A path template at an authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// Canonical; `None` when the servers are relative to where the document was found, which nobody told.
    pub(super) authority: Option<Box<str>>,
    pub(super) segments: Vec<Segment>,
    /// Canonical, with the base path of the server and the parameters' names.
    pub(super) template: Box<str>,
    /// Upper case.
    pub(super) methods: BTreeSet<Box<str>>,
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The path key, the server, or the line and column; empty for the document as a whole.
    pub place: Box<str>,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON at all.
    Json,
    /// Neither `openapi` nor `swagger` is there.
    Version,
    /// There is no object `paths`.
    Paths,
    /// A path key does not begin with a slash.
    Relative,
    /// A path key has more segments than a canonical path.
    Long,
    /// A segment of a path key.
    Pattern(pattern::Fault),
    /// The URL of a server has no host that can be one, or a variable without a default.
    Server,
    /// More paths and servers than are read.
    Routes,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, fault } = self;
        match fault {
            Fault::Json => {
                write!(formatter, "{place}: this is not JSON (a YAML document has to be converted)")
            }
            Fault::Version => formatter.write_str("neither `openapi` nor `swagger` names a version"),
            Fault::Paths => formatter.write_str("`paths` is not there or not an object"),
            Fault::Relative => write!(formatter, "path key `{place}`: it does not begin with `/`"),
            Fault::Long => {
                write!(formatter, "path key `{place}`: more than {} segments", canonical::SEGMENTS)
            }
            Fault::Pattern(fault) => write!(formatter, "path key `{place}`: {fault}"),
            Fault::Server => {
                write!(formatter, "server `{place}`: no valid host, or a variable without a default")
            }
            Fault::Routes => write!(formatter, "path key `{place}`: more than {ROUTES} paths and servers"),
        }
    }
}

impl Document {
    /// Reads a document in JSON: OpenAPI 3 with its `servers` at document, path and operation, or Swagger 2 with its
    /// `host` and `basePath`. What follows a `#` in a path key is dropped: it only keeps keys apart that are the same
    /// path on several hosts. A document without an absolute server holds for each authority.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let error = |place: &str, fault| Error { place: place.into(), fault };
        let root: Value = serde_json::from_slice(json).map_err(|broken| {
            error(&format!("line {}, column {}", broken.line(), broken.column()), Fault::Json)
        })?;
        if root.get("openapi").or(root.get("swagger")).is_none() {
            return Err(error("", Fault::Version));
        }
        let paths = root.get("paths").and_then(Value::as_object).ok_or_else(|| error("", Fault::Paths))?;
        let document_servers = match swagger_server(&root)? {
            Some(server) => vec![server],
            None => servers(&root)?.unwrap_or_else(|| vec![Server::default()]),
        };
        let mut routes: BTreeMap<Place, BTreeSet<Box<str>>> = BTreeMap::new();
        let mut told = BTreeMap::new();
        for (key, item) in paths.iter().filter(|(key, _)| !key.starts_with("x-")) {
            if !key.starts_with('/') {
                return Err(error(key, Fault::Relative));
            }
            let item = resolve(&root, item);
            let path_servers = servers(item)?;
            for (method, operation) in operations(item) {
                let own = servers(operation)?;
                let accepts = parameters(&root, [item, operation]);
                for server in own.as_ref().or(path_servers.as_ref()).unwrap_or(&document_servers) {
                    let written = format!("{}/{}", server.base, canonical::without_query(key));
                    let template = canonical::path(&written);
                    if written.split('/').filter(|segment| !segment.is_empty()).count() > canonical::SEGMENTS
                    {
                        return Err(error(key, Fault::Long));
                    }
                    let segments = canonical::segments(&template).map(|segment| {
                        Segment::parse(segment, |name| accepts.get(name).cloned().unwrap_or(Accepts::Any))
                    });
                    let segments: Result<Vec<Segment>, pattern::Fault> = segments.collect();
                    let segments = segments.map_err(|fault| error(key, Fault::Pattern(fault)))?;
                    if let Some(method) = method {
                        let named = Operation {
                            authority: server.authority.clone(),
                            template: Box::from(&*template),
                            method: method.to_uppercase().into(),
                        };
                        told.insert(named, Terms::of(&root, item, operation));
                    }
                    let route = (server.authority.clone(), segments, template.into());
                    routes
                        .entry(route)
                        .or_default()
                        .extend(method.map(|method| method.to_uppercase().into()));
                    if routes.len() > ROUTES {
                        return Err(error(key, Fault::Routes));
                    }
                }
            }
        }
        let route =
            |((authority, segments, template), methods)| Route { authority, segments, template, methods };
        Ok(Self { routes: routes.into_iter().map(route).collect(), operations: told })
    }

    /// Each operation at each of its servers, in order, with what the document says of it.
    pub fn operations(&self) -> impl Iterator<Item = (&Operation, &Terms)> {
        self.operations.iter()
    }

    /// All of them, in order.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

/// Authority, segments and template of a route, in this order; its methods come from several operations.
type Place = (Option<Box<str>>, Vec<Segment>, Box<str>);

/// Where the paths of a document begin.
#[derive(Clone, Debug, Default)]
struct Server {
    authority: Option<Box<str>>,
    base: String,
}

/// The operations of a path item by method; one without method when there are none, as the path is there all the same.
fn operations(item: &Value) -> Vec<(Option<&'static str>, &Value)> {
    let operations = METHODS.iter().filter_map(|method| Some((Some(*method), item.get(method)?)));
    let operations: Vec<_> = operations.collect();
    if operations.is_empty() { vec![(None, &Value::Null)] } else { operations }
}

/// `host` and `basePath` of Swagger 2; `None` when it is not of that version.
fn swagger_server(root: &Value) -> Result<Option<Server>, Error> {
    if root.get("swagger").is_none() {
        return Ok(None);
    }
    let text = |name| root.get(name).and_then(Value::as_str);
    let error = |host: &str| Error { place: host.into(), fault: Fault::Server };
    let canonical = |host| canonical::authority(host).map(Into::into).ok_or_else(|| error(host));
    let authority = text("host").map(canonical).transpose()?;
    Ok(Some(Server { authority, base: text("basePath").unwrap_or_default().to_owned() }))
}

/// `servers` of a document, path item or operation; `None` when there are none, so that the outer ones hold.
fn servers(of: &Value) -> Result<Option<Vec<Server>>, Error> {
    let Some(list) = of.get("servers").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    list.iter().map(server).collect::<Result<_, _>>().map(Some)
}

fn server(server: &Value) -> Result<Server, Error> {
    let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
    let error = || Error { place: url.into(), fault: Fault::Server };
    let mut written = url.to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).ok_or_else(error)?;
        written = written.replace(&format!("{{{name}}}"), default);
    }
    if written.contains(['{', '}']) {
        return Err(error());
    }
    let Some((_, rest)) =
        written.split_once("//").filter(|(scheme, _)| scheme.is_empty() || scheme.ends_with(':'))
    else {
        return Ok(Server { authority: None, base: written });
    };
    let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = canonical::authority(authority).ok_or_else(error)?;
    Ok(Server { authority: Some(authority.into()), base: base.to_owned() })
}

/// The path parameters' values by name; what stands at the operation goes before what stands at the path.
fn parameters(root: &Value, levels: [&Value; 2]) -> BTreeMap<Box<str>, Accepts> {
    let list = levels.into_iter().filter_map(|level| level.get("parameters")?.as_array()).flatten();
    let parameters = list.filter_map(|parameter| {
        let parameter = resolve(root, parameter).as_object()?;
        let name = parameter.get("name")?.as_str()?;
        let in_path = parameter.get("in").and_then(Value::as_str) == Some("path");
        // Swagger 2 has the fields of the schema in the parameter itself.
        let schema =
            parameter.get("schema").map_or(Some(parameter), |schema| resolve(root, schema).as_object())?;
        in_path.then(|| (name.into(), accepts(root, schema)))
    });
    parameters.collect()
}

/// The values of a schema, as far as the text of a path segment shows them.
fn accepts(root: &Value, schema: &Map<String, Value>) -> Accepts {
    if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let Some(only) = resolve(root, only).as_object().filter(|only| !only.contains_key("allOf"))
    {
        return accepts(root, only);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter_map(|value| match value {
            Value::String(text) => Some(text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        });
        return Accepts::Enumeration(values.collect());
    }
    let text = |name| schema.get(name).and_then(Value::as_str);
    match (text("type"), text("format")) {
        (Some("integer"), _) => Accepts::Integer,
        (Some("number"), _) => Accepts::Number,
        (Some("boolean"), _) => Accepts::Boolean,
        (_, Some("uuid")) => Accepts::Uuid,
        (_, Some("date" | "date-time")) => Accepts::Date,
        _ => text("pattern").and_then(characters).unwrap_or(Accepts::Any),
    }
}

/// A regular expression that is one set of characters, repeated: `^[A-Za-z0-9_-]{1,50}$`, `^\d+$`. `None` for any
/// other, whose parameter then takes any value.
fn characters(expression: &str) -> Option<Accepts> {
    let body = expression.strip_prefix('^')?.strip_suffix('$')?;
    let (set, repetition) = match body.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').and_then(|(class, repetition)| Some((character_set(class)?, repetition)))?
        }
        None => body.split_at_checked(2).and_then(|(class, repetition)| {
            class.starts_with('\\').then(|| character_set(class))?.map(|set| (set, repetition))
        })?,
    };
    let (least, most) = match repetition {
        "" => (1, 1),
        "+" => (1, usize::MAX),
        "*" => (0, usize::MAX),
        counted => {
            let counted = counted.strip_prefix('{')?.strip_suffix('}')?;
            match counted.split_once(',') {
                None => (counted.parse().ok()?, counted.parse().ok()?),
                Some((least, "")) => (least.parse().ok()?, usize::MAX),
                Some((least, most)) => (least.parse().ok()?, most.parse().ok()?),
            }
        }
    };
    Some(Accepts::Characters { set, least, most })
}

/// The characters between `[` and `]`, a bit for each; `None` for a negated set and for what is not ASCII.
fn character_set(class: &str) -> Option<u128> {
    let digits = range(b'0', b'9')?;
    let word = digits | range(b'a', b'z')? | range(b'A', b'Z')? | range(b'_', b'_')?;
    if class.starts_with('^') || !class.is_ascii() {
        return None;
    }
    let mut set = 0;
    let mut rest = class.as_bytes();
    while let [first, tail @ ..] = rest {
        (set, rest) = match (first, tail) {
            (b'\\', [b'd', tail @ ..]) => (set | digits, tail),
            (b'\\', [b'w', tail @ ..]) => (set | word, tail),
            (b'\\', [escaped, tail @ ..]) if escaped.is_ascii_punctuation() => {
                (set | range(*escaped, *escaped)?, tail)
            }
            (b'\\', _) => return None,
            (first, [b'-', last, tail @ ..]) if *last != b'\\' => (set | range(*first, *last)?, tail),
            (first, tail) => (set | range(*first, *first)?, tail),
        };
    }
    Some(set)
}

fn range(first: u8, last: u8) -> Option<u128> {
    (first <= last).then(|| (first..=last).fold(0, |set, character| set | 1_u128 << (character & 127)))
}

/// The value, or what its `$ref` points to in this document (RFC 6901 in a fragment). A reference out of the document
/// or in circles is nothing: its parameter then takes any value.
pub(super) fn resolve<'a>(root: &'a Value, mut value: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(&pointer.replace("%7B", "{").replace("%7D", "}")));
        let Some(target) = target else { return &Value::Null };
        value = target;
    }
    &Value::Null
}
