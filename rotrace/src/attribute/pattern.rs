//! Given: globs and patterns as written in a rule. Gives: matchers, or what is wrong with them in one line. Refuses to
//! know: which fact of a process they are held against.

use std::fmt;

use regex::{Captures, Regex, RegexBuilder};

/// Longest glob or pattern in bytes. No rule a person writes is near it, and it keeps the compiled form far below the
/// bounds at which the matchers give up.
const PATTERN_BYTES: usize = 1024;

/// Compiled size of one pattern in bytes; `\w{1000}` is refused, what people write is not.
const COMPILED_BYTES: usize = 1 << 20;

/// What is wrong with a glob, a pattern, or a name in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// Longer than 1024 bytes.
    TooLong,
    /// Not a glob, and why.
    Glob(String),
    /// Not a regular expression, and why.
    Regex(String),
    /// The pattern has no group called `game`, and no `name` says what to make of it.
    NoGame,
    /// `name` speaks of a group that the pattern does not have.
    NoGroup(String),
    /// `name` has a `$` that no group name follows.
    Dollar,
    /// `name` is empty.
    NoName,
    /// Not the name of a request field.
    FieldName,
    /// Not the name of a variable.
    VariableName,
    /// The field or variable is named like a secret, and games are shown to everyone.
    Secretive,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPattern::TooLong => write!(f, "longer than {PATTERN_BYTES} bytes"),
            BadPattern::Glob(why) => write!(f, "bad glob: {why}"),
            BadPattern::Regex(why) => write!(f, "bad pattern: {why}"),
            BadPattern::NoGame => f.write_str("no group called game: write (?P<game>…), or give a name"),
            BadPattern::NoGroup(group) => write!(f, "no group called {group} in the pattern"),
            BadPattern::Dollar => {
                f.write_str("$ is not followed by a group: write $name, ${name}, or $$ for a dollar")
            }
            BadPattern::NoName => f.write_str("an empty name names no game"),
            BadPattern::FieldName => f.write_str("not the name of a request field"),
            BadPattern::VariableName => f.write_str("not the name of an environment variable"),
            BadPattern::Secretive => f.write_str("named like a secret, and a game is shown to everyone"),
        }
    }
}

impl std::error::Error for BadPattern {}

/// A glob over a whole value. `*` crosses slashes.
#[derive(Clone, Debug)]
pub struct Glob(globset::GlobMatcher);

impl Glob {
    /// Reads a glob.
    pub fn new(glob: &str) -> Result<Glob, BadPattern> {
        if glob.len() > PATTERN_BYTES {
            return Err(BadPattern::TooLong);
        }
        match globset::Glob::new(glob) {
            Ok(glob) => Ok(Glob(glob.compile_matcher())),
            Err(error) => Err(BadPattern::Glob(error.kind().to_string())),
        }
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.0.is_match(value)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Glob) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A regular expression, searched anywhere in a value, and the game that its groups make.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    name: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Group(String),
}

impl Pattern {
    /// Reads a pattern in the syntax of the `regex` crate: linear time, no look-around. Without `name` the game is what
    /// the group `game` took; with it, `$group` and `${group}` in it stand for what that group took, `$$` for a dollar.
    pub fn new(pattern: &str, name: Option<&str>) -> Result<Pattern, BadPattern> {
        if pattern.len() > PATTERN_BYTES || name.is_some_and(|name| name.len() > PATTERN_BYTES) {
            return Err(BadPattern::TooLong);
        }
        let regex = match RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build() {
            Ok(regex) => regex,
            Err(regex::Error::CompiledTooBig(_)) => {
                return Err(BadPattern::Regex("it repeats too much".into()));
            }
            Err(error) => return Err(BadPattern::Regex(last_line(&error.to_string()))),
        };
        let name = name.map_or_else(|| Ok(vec![Part::Group("game".into())]), parts)?;
        for part in &name {
            let Part::Group(group) = part else { continue };
            if !regex.capture_names().flatten().any(|known| known == group) {
                let no_game = group == "game" && name.len() == 1;
                return Err(if no_game { BadPattern::NoGame } else { BadPattern::NoGroup(group.clone()) });
            }
        }
        Ok(Pattern { regex, name })
    }

    /// The game that `value` names; `None` where the pattern does not match, or a group that the name needs took no part.
    pub(super) fn game(&self, value: &str) -> Option<String> {
        let captures = self.regex.captures(value)?;
        self.name.iter().map(|part| part.text(&captures)).collect()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.name == other.name
    }
}

impl Part {
    fn text<'a>(&'a self, captures: &'a Captures<'_>) -> Option<&'a str> {
        match self {
            Part::Literal(text) => Some(text),
            Part::Group(group) => captures.name(group).map(|group| group.as_str()),
        }
    }
}

fn parts(name: &str) -> Result<Vec<Part>, BadPattern> {
    if name.is_empty() {
        return Err(BadPattern::NoName);
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let (group, behind) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or(BadPattern::Dollar)?,
            None => {
                let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
                after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
            }
        };
        if group.is_empty() {
            return Err(BadPattern::Dollar);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(Part::Group(group.into()));
        rest = behind;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// The errors of `regex` draw a picture over several lines; the last says what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).into()
}
