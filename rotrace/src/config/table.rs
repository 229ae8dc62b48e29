//! Given: a TOML table and the keys it may have. Gives: what the keys set, and every fault with its place in the text.
//! Refuses to know: what any key means.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Value;

/// One key that a `T` may be given.
pub(super) struct Key<T: 'static> {
    /// Below the table, with dots where it stands in tables of its own.
    pub(super) name: &'static str,
    /// Behind "expected".
    pub(super) takes: &'static str,
    /// As it would be written; empty where nothing written has another meaning than any value.
    pub(super) default: &'static str,
    /// As it would be written, and not the default.
    pub(super) example: &'static str,
    /// For the reference.
    pub(super) meaning: &'static str,
    /// Sets it.
    pub(super) set: fn(&mut T, &Value<'_>) -> Result<(), Faults>,
}

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

/// All that is wrong with a table.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl Faults {
    pub(super) fn take(&mut self, result: Result<(), Faults>) {
        if let Err(Faults(more)) = result {
            self.0.extend(more);
        }
    }

    pub(super) fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl Fault {
    pub(super) fn of_syntax(error: &toml::de::Error) -> Fault {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Fault { at: error.span().map_or(0, |span| span.start), message }
    }

    pub(super) fn place(self, text: &str) -> super::Fault {
        let before = text.get(..text.floor_char_boundary(self.at)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        super::Fault {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            message: self.message,
        }
    }
}

/// Sets in `into` what `table` has. `path` is what stands before its keys: empty, or with a dot at the end.
pub(super) fn read<T>(
    into: &mut T,
    keys: &'static [Key<T>],
    path: &str,
    table: &DeTable<'_>,
) -> Result<(), Faults> {
    read_below(into, keys, path, "", table)
}

/// The table that is called `below` under the one that `keys` speak of.
fn read_below<T>(
    into: &mut T,
    keys: &'static [Key<T>],
    path: &str,
    below: &str,
    table: &DeTable<'_>,
) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for (written, value) in table {
        let name = format!("{below}{}", written.get_ref());
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            let value = Value::new(format!("{path}{name}"), value, key.takes, key.example);
            faults.take((key.set)(into, &value));
            continue;
        }
        let inner = format!("{name}.");
        if !keys.iter().any(|key| key.name.starts_with(&inner)) {
            let message = unknown(keys, path, below, &name);
            faults.0.push(Fault { at: written.span().start, message });
        } else if let DeValue::Table(table) = value.get_ref() {
            faults.take(read_below(into, keys, path, &inner, table));
        } else {
            let value = Value::new(format!("{path}{name}"), value, "a table", "");
            faults.0.push(value.unexpected());
        }
    }
    faults.or(())
}

/// The rows of an array of tables, each made of its keys by `finish`, which is given the place of the row.
pub(super) fn rows<R: Default, T>(
    value: &Value<'_>,
    keys: &'static [Key<R>],
    finish: fn(R, usize) -> Result<T, Faults>,
) -> Result<Vec<T>, Faults> {
    let mut faults = Faults::default();
    let mut rows = Vec::new();
    for row in value.array()? {
        let DeValue::Table(table) = row.get_ref() else {
            faults.0.push(value.element(row).unexpected());
            continue;
        };
        let mut draft = R::default();
        let read = read(&mut draft, keys, &format!("{}.", value.key), table);
        match read.and_then(|()| finish(draft, row.span().start)) {
            Ok(row) => rows.push(row),
            Err(Faults(more)) => faults.0.extend(more),
        }
    }
    faults.or(rows)
}

/// The entries of a table whose keys are names of the user's.
pub(super) fn entries<'a>(value: &Value<'a>) -> Result<impl Iterator<Item = (&'a str, Value<'a>)>, Faults> {
    let DeValue::Table(table) = value.spanned.get_ref() else { return Err(value.unexpected().into()) };
    let (path, takes) = (value.key.clone(), value.takes);
    Ok(table.iter().map(move |(name, inner): (&'a Spanned<_>, _)| {
        let name: &'a str = name.get_ref();
        (name, Value::new(format!("{path}.{name}"), inner, takes, ""))
    }))
}

/// The keys as rows of a Markdown table.
pub(super) fn reference<T>(keys: &[Key<T>]) -> String {
    let mut page = String::from("| key | takes | default | example | |\n|---|---|---|---|---|\n");
    for Key { name, takes, default, example, meaning, set: _ } in keys {
        let default = if default.is_empty() { "none".into() } else { format!("`{default}`") };
        page.push_str(&format!("| `{name}` | {takes} | {default} | `{example}` | {meaning} |\n"));
    }
    page
}

fn unknown<T>(keys: &[Key<T>], path: &str, below: &str, name: &str) -> String {
    let last = name.strip_prefix(below).unwrap_or(name);
    let mut here: Vec<&str> = Vec::new();
    for key in keys.iter().filter_map(|key| key.name.strip_prefix(below)) {
        let key = key.split('.').next().unwrap_or(key);
        if !here.contains(&key) {
            here.push(key);
        }
    }
    let elsewhere = keys.iter().map(|key| key.name).find(|key| key.rsplit('.').next() == Some(last));
    let nearest = here
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key, last), *key))
        .min()
        // Further away it is another word and not a slip of the hand.
        .filter(|&(distance, key)| distance <= 1 + key.chars().count() / 4)
        .map(|(_, key)| format!("{below}{key}"));
    match nearest.or(elsewhere.map(str::to_owned)) {
        Some(key) => format!("unknown key `{path}{name}`; did you mean `{path}{key}`?"),
        None => format!("unknown key `{path}{name}`; known here: {}", here.join(", ")),
    }
}
