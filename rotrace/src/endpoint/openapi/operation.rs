//! Given: an operation of a document. Gives: its name, which is authority, template and method, and its terms: limits,
//! replacement, pages, conditional requests. Refuses to know: paths of calls, and what prose in a document says.

use std::fmt;

use serde_json::Value;

use super::document::resolve;
use crate::endpoint::canonical;

/// An endpoint with a method.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    /// Canonical; `None` when it holds for each.
    pub authority: Option<Box<str>>,
    /// Canonical, with the names of its parameters.
    pub template: Box<str>,
    /// As calls have it.
    pub method: Box<str>,
}

/// What a document says of an operation. What it does not say is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// In the order of their names in the document.
    pub limits: Vec<Limit>,
    /// Whether it should not be called any more (OpenAPI 3.1 §4.8.10.1).
    pub deprecated: bool,
    /// What should be called in its place, the best first.
    pub alternatives: Vec<Operation>,
    /// How many items a page of its answer has.
    pub page_size: Option<PageSize>,
    /// Whether a client can ask for an answer only if it has changed (RFC 9110 §13).
    pub conditional: Option<bool>,
}

/// So many calls in each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls in a window.
    pub calls: u64,
    /// So many more for each player.
    pub calls_per_player: u64,
    /// Length of a window.
    pub window_seconds: u64,
    /// Whose calls are counted together.
    pub scope: Scope,
}

/// Whose calls a limit counts together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All API keys of one owner.
    ApiKeyOwner,
    /// One OAuth 2 authorization.
    OauthAuthorization,
    /// One game server.
    Server,
    /// All servers of one game.
    Game,
    /// As the document calls it.
    Other(Box<str>),
}

/// How many items a page has, and the parameter of the query that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// Its name.
    pub parameter: Box<str>,
    /// Without the parameter.
    pub default: Option<u64>,
    /// At most.
    pub maximum: Option<u64>,
}

impl Operation {
    /// Of text such as `POST users.example.com/v1/users`, with `https://` before the authority or not. `None` when the
    /// method or the authority cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (method, address) = text.split_once(' ')?;
        let address = address.split_once("://").map_or(address, |(_, address)| address);
        let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        Self::new(Some(authority), path, method)
    }

    /// Of its parts, however they are spelt.
    pub fn new(authority: Option<&str>, template: &str, method: &str) -> Option<Self> {
        let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
        let authority = match authority {
            Some(authority) => Some(canonical::authority(authority)?.into()),
            None => None,
        };
        let template = canonical::path(template).into();
        is_method.then(|| Self { authority, template, method: method.into() })
    }

    /// As the `endpoint` label has it; without authority only the template.
    pub fn endpoint(&self) -> String {
        [self.authority.as_deref().unwrap_or_default(), &self.template].concat()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.endpoint())
    }
}

impl Scope {
    /// As tables and reports have it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ApiKeyOwner => "api_key_owner",
            Self::OauthAuthorization => "oauth_authorization",
            Self::Server => "server",
            Self::Game => "game",
            Self::Other(name) => name,
        }
    }
}

impl Terms {
    /// Of an operation, with what its path item says for all of its operations.
    pub(super) fn of(root: &Value, item: &Value, operation: &Value) -> Self {
        let levels = [operation, item].into_iter().filter_map(|level| level.get("parameters")?.as_array());
        let parameters: Vec<&Value> = levels.flatten().map(|parameter| resolve(root, parameter)).collect();
        let alternatives = operation.get("x-roblox-recommended-alternatives").and_then(Value::as_array);
        Self {
            limits: limits(operation),
            deprecated: operation.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
            alternatives: alternatives.into_iter().flatten().filter_map(alternative).collect(),
            page_size: parameters.iter().find_map(|parameter| page_size(root, parameter)),
            conditional: conditional(operation, &parameters),
        }
    }
}

/// `{"perApiKeyOwner": {"period": "MINUTE", "maxInPeriod": 100}, "description": "…"}`
fn limits(operation: &Value) -> Vec<Limit> {
    let stated = operation.get("x-roblox-rate-limits").and_then(Value::as_object);
    let limit = |(name, limit): (&String, &Value)| {
        let window_seconds = match limit.get("period")?.as_str()? {
            "SECOND" => 1,
            "MINUTE" => 60,
            "HOUR" => 3600,
            "DAY" => 24 * 3600,
            _ => return None,
        };
        let scope = match name.as_str() {
            "perApiKeyOwner" => Scope::ApiKeyOwner,
            "perOauth2Authorization" => Scope::OauthAuthorization,
            other => Scope::Other(other.into()),
        };
        let calls = limit.get("maxInPeriod")?.as_u64()?;
        Some(Limit { calls, calls_per_player: 0, window_seconds, scope })
    };
    stated.into_iter().flatten().filter_map(limit).collect()
}

/// `{"url": "https://…", "httpMethod": "GET", …}`
fn alternative(stated: &Value) -> Option<Operation> {
    let text = |name| stated.get(name).and_then(Value::as_str);
    Operation::parse(&format!("{} {}", text("httpMethod")?, text("url")?))
}

/// A parameter that sets the size of a page, by its name: no schema says that it does.
fn page_size(root: &Value, parameter: &Value) -> Option<PageSize> {
    const NAMES: [&str; 8] =
        ["limit", "maxpagesize", "pagesize", "itemsperpage", "perpage", "maxresults", "maxrows", "maxitems"];
    let name = parameter.get("name")?.as_str()?;
    let plain = name.replace(['_', '-', '$'], "").to_ascii_lowercase();
    if !NAMES.contains(&plain.as_str()) || parameter.get("in")?.as_str()? != "query" {
        return None;
    }
    // Swagger 2 has the fields of the schema in the parameter itself.
    let schema = parameter.get("schema").map_or(parameter, |schema| resolve(root, schema));
    let number = |name| schema.get(name).and_then(Value::as_u64);
    let listed = schema.get("enum").and_then(Value::as_array);
    let largest = listed.into_iter().flatten().filter_map(Value::as_u64).max();
    Some(PageSize {
        parameter: name.into(),
        default: number("default"),
        maximum: largest.or(number("maximum")),
    })
}

fn conditional(operation: &Value, parameters: &[&Value]) -> Option<bool> {
    // What a game server calls with a key goes through a client that sends no other fields than the key and the
    // content type, so a validator cannot be sent.
    let usability = operation.get("x-roblox-engine-usability").and_then(|of| of.get("apiKeyWithHttpService"));
    if usability.and_then(Value::as_bool) == Some(true) {
        return Some(false);
    }
    let text = |parameter: &Value, name: &str| parameter.get(name).and_then(Value::as_str).map(str::to_owned);
    let takes_validator = parameters.iter().any(|parameter| {
        text(parameter, "in").as_deref() == Some("header")
            && text(parameter, "name").is_some_and(|name| {
                ["if-none-match", "if-modified-since"].contains(&name.to_ascii_lowercase().as_str())
            })
    });
    let answers = operation.get("responses").is_some_and(|responses| responses.get("304").is_some());
    (takes_validator || answers).then_some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Document;
    use super::*;

    /// The terms of `GET a.x/p`, whose operation is given.
    fn terms(operation: Value) -> Terms {
        let document = json!({"openapi": "3.0.4", "servers": [{"url": "https://a.x"}],
            "components": {"parameters": {"Limit": {"name": "limit", "in": "query",
                "schema": {"$ref": "#/components/schemas/Sizes"}}},
                "schemas": {"Sizes": {"type": "integer", "enum": [10, 100, 25], "default": 10}}},
            "paths": {"/p": {"get": operation, "parameters": [{"name": "pageSize", "in": "query"}]}}});
        let document = Document::parse(document.to_string().as_bytes()).unwrap();
        let [(operation, terms)] = document.operations().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(operation.to_string(), "GET a.x/p");
        terms.clone()
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        let page_size = Some(PageSize { parameter: "pageSize".into(), default: None, maximum: None });
        assert_eq!(terms(json!({})), Terms { page_size, ..Terms::default() });
    }

    #[test]
    fn limits_are_numbers_with_a_window() {
        let limits = terms(json!({"x-roblox-rate-limits": {
            "perApiKeyOwner": {"period": "MINUTE", "maxInPeriod": 100},
            "perOauth2Authorization": {"period": "SECOND", "maxInPeriod": 3},
            "perPlace": {"period": "HOUR", "maxInPeriod": 7},
            "perMoon": {"period": "FORTNIGHT", "maxInPeriod": 7},
            "perText": {"period": "MINUTE", "maxInPeriod": "many"},
            "description": "more limits, in prose"}}))
        .limits;
        let told: Vec<String> = limits
            .iter()
            .map(|limit| {
                format!("{} in {} s per {}", limit.calls, limit.window_seconds, limit.scope.as_str())
            })
            .collect();
        let expect =
            ["100 in 60 s per api_key_owner", "3 in 1 s per oauth_authorization", "7 in 3600 s per perPlace"];
        assert_eq!(told, expect);
        assert!(terms(json!({"x-roblox-rate-limits": [1]})).limits.is_empty());
    }

    #[test]
    fn alternatives_are_operations() {
        let terms = terms(json!({"deprecated": true, "x-roblox-recommended-alternatives": [
            {"url": "https://B.x/v2/users/{user_id}", "httpMethod": "GET"},
            {"url": "https://b.x", "httpMethod": "POST"},
            {"url": "https://b.x/no/method"}]}));
        assert!(terms.deprecated);
        let told: Vec<String> = terms.alternatives.iter().map(Operation::to_string).collect();
        assert_eq!(told, ["GET b.x/v2/users/{user_id}", "POST b.x/"]);
    }

    #[test]
    fn page_sizes_are_of_the_operation_before_those_of_the_path() {
        let check = |parameter: Value, name: &str, default, maximum| {
            let expect = PageSize { parameter: name.into(), default, maximum };
            assert_eq!(terms(json!({"parameters": [parameter]})).page_size, Some(expect));
        };
        check(json!({"$ref": "#/components/parameters/Limit"}), "limit", Some(10), Some(100));
        let schema = json!({"type": "integer", "default": 25, "maximum": 50});
        check(
            json!({"name": "Max_Page-Size", "in": "query", "schema": schema}),
            "Max_Page-Size",
            Some(25),
            Some(50),
        );
        check(json!({"name": "perPage", "in": "query", "default": 5}), "perPage", Some(5), None);
        check(json!({"name": "limit", "in": "header"}), "pageSize", None, None);
        check(json!({"name": "limitations", "in": "query"}), "pageSize", None, None);
    }

    #[test]
    fn conditional_requests_are_possible_impossible_or_not_known() {
        let check = |operation: Value, expect| {
            assert_eq!(terms(operation.clone()).conditional, expect, "{operation}")
        };
        let validator = json!([{"name": "If-None-Match", "in": "header"}]);
        check(json!({"parameters": validator}), Some(true));
        check(json!({"responses": {"304": {}}}), Some(true));
        check(json!({"responses": {"200": {}}}), None);
        let usable = json!({"apiKeyWithHttpService": true});
        check(json!({"parameters": validator, "x-roblox-engine-usability": usable}), Some(false));
        check(json!({"x-roblox-engine-usability": {"apiKeyWithHttpService": false}}), None);
    }

    #[test]
    fn operations_are_parsed() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(
                Operation::parse(text).map(|operation| operation.to_string()).as_deref(),
                expect,
                "{text}"
            );
        };
        check("GET https://A.x:443//v1/./a/?b=1", Some("GET a.x/v1/a"));
        check("POST a.x", Some("POST a.x/"));
        check("a.x/v1", None);
        check(" a.x/v1", None);
        check("GET /v1", None);
        check("GE\"T a.x/v1", None);
    }
}
