//! Given: the text of a weights file in TOML. Gives: what each class of calls costs, which class an endpoint is of, and a
//! hash that names the file in every report. Refuses to know: calls, the catalogue, files.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{MicroCu, millionths};
use crate::catalogue::{Fault, read};
use crate::endpoint::Rule;
use crate::endpoint::rules::Compiled;
use crate::exchange::{Exchange, Outcome};

/// The weights that hold without a file.
pub const BUILT_IN: &str = include_str!("weights.toml");

/// A number of a weights file at most: what costs more than a million Gets is a slip of the hand.
const NUMBER_MAX: f64 = 1e6;

/// What is priced. Exactly one is in force, so that nothing is priced twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The weight of the class, times the factor of the answer.
    List,
    /// The time until the first byte of the answer.
    Busy,
    /// Shares of both, with bytes and handshakes.
    Blend,
}

/// Where a weight comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// A public price.
    Price,
    /// A guess.
    Assumption,
    /// Measurements.
    Calibrated,
}

/// What the calls of a class cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// As the catalogue and the rules name it.
    pub name: Box<str>,
    /// Of each call.
    pub weight: MicroCu,
    /// Of each item that a call asks for.
    pub per_item: MicroCu,
    /// Items of a call where nobody knows them.
    pub items_assumed: u64,
    /// Where the weight comes from.
    pub basis: Basis,
}

/// A weights file.
#[derive(Debug)]
pub struct Weights {
    /// Sorted by name.
    classes: Box<[Class]>,
    /// Rules in order, each with the index of its class.
    rules: Box<[(Compiled, usize)]>,
    default: usize,
    file: File,
    hash: u64,
}

impl Default for Weights {
    fn default() -> Self {
        Self::parse(BUILT_IN).expect("the built-in weights are valid: a test reads them")
    }
}

impl Weights {
    /// Reads a file; all of it has to be right.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let file: File = read(text)?;
        let start = 0..0;
        file.check_numbers().map_err(|why| Fault::at(text, &start, why))?;
        let class = |(name, row): (&String, &ClassRow)| Class {
            name: name.as_str().into(),
            weight: MicroCu::of_cu(row.weight),
            per_item: MicroCu::of_cu(row.per_item),
            items_assumed: row.items,
            basis: row.basis,
        };
        let classes: Box<[Class]> = file.class.iter().map(class).collect();
        let index = |name: &str| {
            let found = classes.binary_search_by(|class| (*class.name).cmp(name));
            found.map_err(|_| {
                let names = classes.iter().map(|class| &*class.name);
                let near = names.min_by_key(|known| strsim::damerau_levenshtein(known, name));
                format!("there is no class `{name}`; the nearest is `{}`", near.unwrap_or_default())
            })
        };
        let default =
            index(&file.default).map_err(|why| Fault::at(text, &start, format!("default: {why}")))?;
        let rule = |row: &Spanned<RuleRow>| {
            let RuleRow { class, host, method, pattern } = row.get_ref();
            let rule = Rule {
                host: host.as_deref().map(Into::into),
                method: method.as_deref().map(Into::into),
                pattern: pattern.as_str().into(),
                ..Rule::default()
            };
            let compiled = Compiled::new(&rule).map_err(|why| why.to_string());
            let rule = compiled.and_then(|compiled| Ok((compiled, index(class)?)));
            rule.map_err(|why| Fault::at(text, &row.span(), format!("rule: {why}")))
        };
        let rules = file.rule.iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Self { classes, rules, default, file, hash: fnv_1a(text.as_bytes()) })
    }

    /// The same with another mode.
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.file.mode = mode;
        self
    }

    /// The file with other weights of classes and bytes, in cost units, and another version; comments are left out.
    pub(super) fn recalibrated(
        &self,
        version: &str,
        weights: &BTreeMap<&str, f64>,
        bytes_64kib: Option<f64>,
    ) -> String {
        let mut file = self.file.clone();
        file.version = version.to_owned();
        for (name, weight) in weights {
            if let Some(class) = file.class.get_mut(*name) {
                // What was fitted is the cost of a call with all of its items.
                *class = ClassRow { weight: *weight, per_item: 0.0, items: 1, basis: Basis::Calibrated };
            }
        }
        file.terms.bytes_64kib = bytes_64kib.unwrap_or(file.terms.bytes_64kib);
        toml::to_string(&file).unwrap_or_default()
    }

    /// What the file calls itself.
    pub fn version(&self) -> &str {
        &self.file.version
    }

    /// What is priced.
    pub fn mode(&self) -> Mode {
        self.file.mode
    }

    /// FNV-1a of the bytes of the file, of 64 bits.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Each class, by name.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.index(name).and_then(|index| self.classes.get(index))
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.classes.binary_search_by(|class| (*class.name).cmp(name)).ok()
    }

    /// The index of the class that the rules say, or of the default.
    pub(super) fn by_rule(&self, endpoint: &str, method: &str) -> usize {
        let rule = self.rules.iter().find(|(rule, _)| rule.fits_endpoint(endpoint, method));
        rule.map_or(self.default, |(_, index)| *index)
    }

    /// Which part of its weight a call costs, in millionths.
    pub(super) fn factor(&self, exchange: &Exchange) -> u64 {
        let Factors {
            success,
            redirect,
            not_modified,
            not_found,
            too_many_requests,
            client_error,
            server_error,
            aborted,
            unknown,
        } = self.file.status;
        let factor = match (exchange.outcome, exchange.status) {
            (Outcome::Aborted, _) => aborted,
            (Outcome::Lost, _) | (_, None) => unknown,
            (_, Some(304)) => not_modified,
            (_, Some(404)) => not_found,
            (_, Some(429)) => too_many_requests,
            (_, Some(100..=299)) => success,
            (_, Some(300..=399)) => redirect,
            (_, Some(400..=499)) => client_error,
            (_, Some(500..=599)) => server_error,
            (_, Some(_)) => unknown,
        };
        millionths(factor)
    }

    pub(super) fn terms(&self) -> Terms {
        self.file.terms
    }

    pub(super) fn blend(&self) -> Blend {
        self.file.blend
    }
}

impl Mode {
    /// As files and labels have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Busy => "busy",
            Self::Blend => "blend",
        }
    }

    /// Of its name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::List, Self::Busy, Self::Blend].into_iter().find(|mode| mode.as_str() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    mode: Mode,
    default: String,
    class: BTreeMap<String, ClassRow>,
    status: Factors,
    terms: Terms,
    blend: Blend,
    #[serde(default)]
    rule: Vec<Spanned<RuleRow>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRow {
    #[serde(default)]
    weight: f64,
    #[serde(default)]
    per_item: f64,
    #[serde(default = "one")]
    items: u64,
    basis: Basis,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Factors {
    success: f64,
    redirect: f64,
    not_modified: f64,
    not_found: f64,
    too_many_requests: f64,
    client_error: f64,
    server_error: f64,
    aborted: f64,
    unknown: f64,
}

/// What is priced besides the class.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    pub(super) bytes_64kib: f64,
    pub(super) tls_full: f64,
    pub(super) tls_resumed: f64,
    pub(super) server_second: f64,
}

/// Shares of two ways to price the same work, together 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Blend {
    pub(super) list: f64,
    pub(super) busy: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    pattern: String,
}

fn one() -> u64 {
    1
}

impl File {
    /// serde takes any number; one that cannot be a weight is told with its key.
    fn check_numbers(&self) -> Result<(), String> {
        let Factors {
            success,
            redirect,
            not_modified,
            not_found,
            too_many_requests,
            client_error,
            server_error,
            aborted,
            unknown,
        } = self.status;
        let Terms { bytes_64kib, tls_full, tls_resumed, server_second } = self.terms;
        let Blend { list, busy } = self.blend;
        let classes = self.class.iter().flat_map(|(name, class)| {
            [
                (format!("class.{name}.weight"), class.weight),
                (format!("class.{name}.per_item"), class.per_item),
            ]
        });
        let others = [
            ("status.success", success),
            ("status.redirect", redirect),
            ("status.not_modified", not_modified),
            ("status.not_found", not_found),
            ("status.too_many_requests", too_many_requests),
            ("status.client_error", client_error),
            ("status.server_error", server_error),
            ("status.aborted", aborted),
            ("status.unknown", unknown),
            ("terms.bytes_64kib", bytes_64kib),
            ("terms.tls_full", tls_full),
            ("terms.tls_resumed", tls_resumed),
            ("terms.server_second", server_second),
            ("blend.list", list),
            ("blend.busy", busy),
        ];
        let mut all = classes.chain(others.map(|(key, number)| (key.to_owned(), number)));
        if let Some((key, number)) = all.find(|(_, number)| !(0.0..=NUMBER_MAX).contains(number)) {
            return Err(format!("{key}: {number} is not a number from 0 to {NUMBER_MAX}"));
        }
        if (list + busy - 1.0).abs() > 1e-6 {
            return Err(format!(
                "blend: list and busy are shares of one whole, and {list} + {busy} is not 1"
            ));
        }
        Ok(())
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv): short, the same everywhere, and easy to compute elsewhere.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_weights_are_those_of_public_prices() {
        let weights = Weights::default();
        let check = |name: &str, expect: u64| {
            let class = weights.class(name).unwrap();
            assert_eq!((class.weight, class.basis), (MicroCu(expect), Basis::Price), "{name}");
        };
        // One Get is 0.08 $ per million.
        check("data_store_get", 1_000_000);
        check("data_store_set", 10_000_000);
        check("data_store_list", 7_500_000);
        check("ordered_data_store_set", 3_125_000);
        check("ordered_data_store_list", 4_000_000);
        check("memory_store", 37_500);
        check("speech_to_text", 12_500_000);
        check("text_to_speech", 62_500_000);
        assert_eq!(weights.class("thumbnails").unwrap().per_item, MicroCu(100_000));
        assert_eq!((weights.mode(), weights.version()), (Mode::List, "2026-08"));
        assert!(weights.class("nothing").is_none());
    }

    #[test]
    fn rules_class_endpoints_by_label_and_method() {
        let weights = Weights::default();
        let check = |method: &str, endpoint: &str, expect: &str| {
            let class = &weights.classes[weights.by_rule(endpoint, method)];
            assert_eq!(&*class.name, expect, "{method} {endpoint}");
        };
        let store = "apis.roblox.com/cloud/v2/universes/{id}/data-stores/{data_store_id}";
        let entry = format!("{store}/entries/{{entry_id}}");
        check("GET", &entry, "data_store_get");
        check("GET", &format!("{store}/scopes/{{scope_id}}/entries/{{entry_id}}"), "data_store_get");
        check("PATCH", &entry, "data_store_set");
        check("DELETE", &entry, "data_store_set");
        check("POST", &format!("{entry}:increment"), "data_store_set");
        check("GET", &format!("{entry}:listRevisions"), "data_store_list");
        check("GET", &format!("{store}/entries"), "data_store_list");
        check("POST", &format!("{store}/entries"), "data_store_set");
        // What a shape leaves of names of stores and keys.
        check(
            "GET",
            "apis.roblox.com/cloud/v2/universes/{id}/data-stores/Saves/entries/{id}",
            "data_store_get",
        );
        let ordered =
            "apis.roblox.com/cloud/v2/universes/{id}/ordered-data-stores/{id}/scopes/global/entries";
        check("GET", ordered, "ordered_data_store_list");
        check("GET", &format!("{ordered}/{{entry_id}}"), "ordered_data_store_get");
        check("PATCH", &format!("{ordered}/{{entry_id}}"), "ordered_data_store_set");
        let old =
            "apis.roblox.com/datastores/v1/universes/{universeId}/standard-datastores/datastore/entries";
        check("GET", old, "data_store_list");
        check("GET", &format!("{old}/entry"), "data_store_get");
        check("POST", &format!("{old}/entry"), "data_store_set");
        check("POST", &format!("{old}/entry/increment"), "data_store_set");
        check("GET", &format!("{old}/entry/versions"), "data_store_list");
        let memory = "apis.roblox.com/cloud/v2/universes/{id}/memory-store";
        check("GET", &format!("{memory}/queues/{{queue_id}}/items:read"), "memory_store_read");
        check("POST", &format!("{memory}/queues/{{queue_id}}/items:discard"), "memory_store");
        check("POST", "apis.roblox.com/cloud/v2/universes/{universe_id}:publishMessage", "message");
        check("GET", "users.roblox.com/v1/users/{id}", "profile_read");
        check("POST", "users.roblox.com/v1/users", "batch_read");
        check("GET", "friends.roblox.com/v1/users/{id}/friends", "list_page");
        check("GET", "thumbnails.roblox.com/v1/users/avatar-headshot", "thumbnails");
        check("POST", "discord.com/api/webhooks/{id}/{token}", "external");
        check("GET", "api.platform.example/v1/users/{id}", "other");
        check("GET", "unknown", "other");
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published values of the function.
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let weights = Weights::default();
        let text = weights.recalibrated("mine", &BTreeMap::from([("thumbnails", 0.25)]), Some(0.5));
        let again = Weights::parse(&text).unwrap();
        assert_eq!(again.version(), "mine");
        assert_ne!(again.hash(), weights.hash());
        for (before, after) in weights.classes().iter().zip(again.classes()) {
            if &*before.name == "thumbnails" {
                assert_eq!((after.weight, after.per_item), (MicroCu(250_000), MicroCu(0)));
                assert_eq!(after.basis, Basis::Calibrated);
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(again.rules.len(), weights.rules.len());
        assert_eq!(again.file.terms.bytes_64kib, 0.5);
    }

    #[test]
    fn faults_name_the_place() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(BUILT_IN.contains(from), "{from}");
            let fault = Weights::parse(&BUILT_IN.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check(
            "default = \"other\"",
            "default = \"othr\"",
            "default: there is no class `othr`; the nearest is `other`",
        );
        check(
            "class = \"message\"",
            "class = \"massage\"",
            "rule: there is no class `massage`; the nearest is `message`",
        );
        check("weight = 62.5", "weight = -1", "class.text_to_speech.weight: -1 is not a number from 0");
        check("weight = 62.5", "weight = nan", "class.text_to_speech.weight: NaN is not");
        check("weight = 62.5", "wieght = 62.5", "unknown field `wieght`, expected one of `weight`");
        check(
            "mode = \"list\"",
            "mode = \"lists\"",
            "unknown variant `lists`, expected one of `list`, `busy`, `blend`",
        );
        check("busy = 0.5", "busy = 0.6", "blend: list and busy are shares");
        check("pattern = \"/v2/groups\"", "pattern = \"v2\"", "rule: pattern `v2`: it does not begin");
        check("aborted = 1\n", "", "missing field `aborted`");
    }
}
