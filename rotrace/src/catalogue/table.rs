//! Given: the text of a table in TOML. Gives: what it says of operations, or its first fault with its place. Refuses to
//! know: what documents say of the same operations.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::{Api, Batch, Compiled, Fault, Limit, Operation, PageSize, Scope, SharedLimit, Tag, read};
use crate::endpoint::Rule;

/// What stands for "there is none" where an operation could be named.
const NONE: &str = "none";

/// What a file says.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) entries: Vec<(Operation, Entry)>,
    pub(super) shared: Vec<SharedLimit>,
}

/// What a row says of an operation; what it does not say is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    limits: Option<Vec<Limit>>,
    deprecated: Option<bool>,
    alternatives: Option<Vec<Operation>>,
    batch: Option<Batch>,
    page_size: Option<PageSize>,
    conditional: Option<bool>,
    tags: Option<BTreeSet<Tag>>,
    push: Option<Box<str>>,
    class: Option<Box<str>>,
}

impl Table {
    /// Reads a file of `[[api]]` and `[[limit]]` rows, as described in docs/configuration.md.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let File { api, limit } = read(text)?;
        let entries = api.into_iter().map(|row| {
            let span = row.span();
            row.into_inner().entry().map_err(|why| Fault::at(text, &span, format!("api: {why}")))
        });
        let shared = limit.into_iter().map(|row| {
            let span = row.span();
            row.into_inner().shared().map_err(|why| Fault::at(text, &span, format!("limit: {why}")))
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()?, shared: shared.collect::<Result<_, _>>()? })
    }
}

impl Entry {
    /// Takes the place of what was known, where it says something.
    pub(super) fn amend(self, api: &mut Api) {
        let Self { limits, deprecated, alternatives, batch, page_size, conditional, tags, push, class } =
            self;
        api.limits = limits.unwrap_or_else(|| std::mem::take(&mut api.limits));
        api.deprecated = deprecated.unwrap_or(api.deprecated);
        api.alternatives = alternatives.unwrap_or_else(|| std::mem::take(&mut api.alternatives));
        api.batch = batch.or_else(|| api.batch.take());
        api.page_size = page_size.or_else(|| api.page_size.take());
        api.conditional = conditional.or(api.conditional);
        api.tags = tags.unwrap_or_else(|| std::mem::take(&mut api.tags));
        api.push = push.or_else(|| api.push.take());
        api.class = class.or_else(|| api.class.take());
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    api: Vec<Spanned<ApiRow>>,
    #[serde(default)]
    limit: Vec<Spanned<SharedRow>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiRow {
    authority: Option<String>,
    endpoint: String,
    method: String,
    batch: Option<String>,
    batch_max: Option<u64>,
    page: Option<PageRow>,
    limits: Option<Vec<LimitRow>>,
    deprecated: Option<bool>,
    alternatives: Option<Vec<String>>,
    conditional: Option<bool>,
    tags: Option<Vec<String>>,
    push: Option<String>,
    class: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageRow {
    parameter: String,
    default: Option<u64>,
    max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitRow {
    calls: u64,
    #[serde(default)]
    calls_per_player: u64,
    window_seconds: u64,
    scope: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedRow {
    name: String,
    host: Option<String>,
    except_host: Option<String>,
    method: Option<String>,
    pattern: String,
    calls: u64,
    #[serde(default)]
    calls_per_player: u64,
    window_seconds: u64,
    scope: String,
}

impl ApiRow {
    fn entry(self) -> Result<(Operation, Entry), String> {
        let Self { authority, endpoint, method, batch, batch_max, .. } = self;
        if !endpoint.starts_with('/') {
            return Err(format!("endpoint `{endpoint}`: a path template begins with `/`"));
        }
        let operation = Operation::new(authority.as_deref(), &endpoint, &method).ok_or_else(|| {
            format!("`{method}` is not a method, or `{}` not an authority", authority.unwrap_or_default())
        })?;
        let batch = match (batch.as_deref(), batch_max) {
            (None, None) => None,
            (None, Some(_)) => return Err("batch_max goes with the batch that it is the most of".into()),
            (Some(_), Some(0)) => return Err("batch_max: a batch of none takes the place of no call".into()),
            (Some(NONE), None) => Some(Batch::None),
            (Some(NONE), Some(_)) => return Err("batch_max: there is no batch".into()),
            (Some(text), items_max) => Some(Batch::By { operation: named(text)?, items_max }),
        };
        let limits = self.limits.map(|rows| rows.into_iter().map(LimitRow::limit).collect());
        let alternatives = self.alternatives.map(|texts| texts.iter().map(|text| named(text)).collect());
        let tags = self.tags.map(|names| names.iter().map(|name| tag(name)).collect());
        let page = |PageRow { parameter, default, max }| PageSize {
            parameter: parameter.into(),
            default,
            maximum: max,
        };
        let entry = Entry {
            limits: limits.transpose()?,
            deprecated: self.deprecated,
            alternatives: alternatives.transpose()?,
            batch,
            page_size: self.page.map(page),
            conditional: self.conditional,
            tags: tags.transpose()?,
            push: self.push.map(Into::into),
            class: self.class.map(Into::into),
        };
        Ok((operation, entry))
    }
}

impl LimitRow {
    fn limit(self) -> Result<Limit, String> {
        let Self { calls, calls_per_player, window_seconds, scope } = self;
        if window_seconds == 0 {
            return Err("window_seconds: a window has a length".into());
        }
        let known = [Scope::ApiKeyOwner, Scope::OauthAuthorization, Scope::Server, Scope::Game];
        let names: Vec<&str> = known.iter().map(Scope::as_str).collect();
        let unknown = format!("scope `{scope}`: known are {}", names.join(", "));
        let scope = known.clone().into_iter().find(|known| known.as_str() == scope).ok_or(unknown)?;
        Ok(Limit { calls, calls_per_player, window_seconds, scope })
    }
}

impl SharedRow {
    fn shared(self) -> Result<SharedLimit, String> {
        let Self { name, host, except_host, method, pattern, calls, calls_per_player, window_seconds, scope } =
            self;
        let except = except_host.map(|host| {
            let rule = Rule { host: Some(host.into()), pattern: "/**".into(), ..Rule::default() };
            Compiled::new(&rule).map_err(|why| why.to_string())
        });
        let rule = Rule {
            host: host.map(Into::into),
            method: method.map(Into::into),
            pattern: pattern.into(),
            ..Rule::default()
        };
        let rule = Compiled::new(&rule).map_err(|why| why.to_string())?;
        let limit = LimitRow { calls, calls_per_player, window_seconds, scope }.limit()?;
        Ok(SharedLimit { name: name.into(), limit, rule, except: except.transpose()? })
    }
}

fn named(text: &str) -> Result<Operation, String> {
    Operation::parse(text).ok_or_else(|| {
        format!("`{text}`: expected an operation, such as \"POST users.example.com/v1/users\"")
    })
}

fn tag(name: &str) -> Result<Tag, String> {
    let known = || Tag::ALL.map(Tag::as_str).join(", ");
    Tag::ALL
        .into_iter()
        .find(|tag| tag.as_str() == name)
        .ok_or_else(|| format!("tag `{name}`: known are {}", known()))
}
