//! Given: rules, what is known of a process, and the fields of a request. Gives: whether the process is a target, and
//! which game it, or one call of it, belongs to. Refuses to know: where facts come from, and what a call did.
//!
//! **Targets.** A [`TargetRule`] is a list of conditions that must all hold; a process is a target when one rule holds.
//! Conditions are globs over the whole value: `*` matches anything, spaces and slashes included, `?` one byte, `[a-z]`
//! one of a class, `{a,b}` one of a list.
//!
//! **Order of questions.** Looking is an intrusion, so the cheapest and least intrusive question comes first: exe, user,
//! cgroup, then the command line, then the environment. Of a process whose cheaper facts do not match a rule, the
//! command line and the environment are not read for it. Rules are tried from the least intrusive to the most, so a
//! process that one rule selects by its exe never has its environment read for another.
//!
//! **Games.** A [`GameRule`] names the game. Rules are tried in the order of the file and the first that yields a name
//! wins. Rules over exe, cgroup, cmdline and env speak of a process; a header rule speaks of a call. A call takes the
//! game of the first header rule that stands before the rule that named its process and whose field is present, else
//! the game of its process:
//!
//! ```text
//! 1 cmdline = '--game=(?P<game>\d+)'      process with --game=7         → 7, whatever its calls carry
//! 2 header  = "x-game-id"                 process without, call with 9  → 9
//! 3 exe     = 'lobby', name = "lobby"     lobby, call without the field → lobby
//! ```
//!
//! A rule that matches and yields nothing visible (an empty variable, an optional group that took no part) has not
//! matched, and the next one is tried.

mod game;
mod pattern;

pub use game::{GAME_BYTES, GAMES_MAX, Games};
pub use pattern::{BadPattern, Glob, Pattern};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::exchange::Wanted;

/// What rules ask of a process. `None`, or an empty list, is *not known*, and matches nothing.
///
/// An implementation reads each fact when it is asked for it and not before: rules rely on it for the order above.
pub trait Facts {
    /// Path of the executable.
    fn exe(&self) -> Option<&str>;
    /// Effective user ID.
    fn uid(&self) -> Option<u32>;
    /// Name of that user.
    fn user(&self) -> Option<&str>;
    /// Paths of its control groups, version 1 and 2.
    fn cgroups(&self) -> &[String];
    /// Its arguments.
    fn cmdline(&self) -> &[String];
    /// The value of one variable of its environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// What is known of a process, without its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// In the PID namespace of the user.
    pub pid: u32,
    /// Start time since boot in clock ticks: with the PID it names one process for ever.
    pub start_ticks: u64,
    /// Path of the executable; a kernel thread has none.
    pub exe: Option<String>,
    /// Arguments; empty for a kernel thread.
    pub cmdline: Vec<String>,
    /// The kernel's name of the main thread, at most 15 bytes.
    pub comm: String,
    /// Paths of its control groups, version 1 and 2.
    pub cgroup: Vec<String>,
    /// The 64 hexadecimal digits of its container.
    pub container_id: Option<String>,
    /// Effective user ID.
    pub uid: Option<u32>,
    /// Name of that user on this host.
    pub user: Option<String>,
}

impl Facts for ProcessFacts {
    fn exe(&self) -> Option<&str> {
        self.exe.as_deref()
    }

    fn uid(&self) -> Option<u32> {
        self.uid
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn cgroups(&self) -> &[String] {
        &self.cgroup
    }

    fn cmdline(&self) -> &[String] {
        &self.cmdline
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// One condition on a process. The variants stand from the least intrusive to the most; see the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The path of the executable.
    Exe(Glob),
    /// The name or the number of the effective user.
    User(Glob),
    /// One of the paths of its control groups.
    Cgroup(Glob),
    /// The arguments, joined by one space.
    Cmdline(Glob),
    /// The variable of this name.
    Variable(Box<str>, Glob),
}

impl Condition {
    /// A condition on a variable of the environment.
    pub fn variable(name: &str, value: Glob) -> Result<Condition, BadPattern> {
        Ok(Condition::Variable(variable_name(name)?, value))
    }

    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Condition::Exe(glob) => facts.exe().is_some_and(|exe| glob.matches(exe)),
            Condition::User(glob) => {
                facts.user().is_some_and(|name| glob.matches(name))
                    || facts.uid().is_some_and(|uid| glob.matches(&uid.to_string()))
            }
            Condition::Cgroup(glob) => facts.cgroups().iter().any(|path| glob.matches(path)),
            Condition::Cmdline(glob) => joined(facts).is_some_and(|cmdline| glob.matches(&cmdline)),
            Condition::Variable(name, glob) => facts.variable(name).is_some_and(|value| glob.matches(&value)),
        }
    }

    fn intrusion(&self) -> u8 {
        match self {
            Condition::Exe(_) => 0,
            Condition::User(_) => 1,
            Condition::Cgroup(_) => 2,
            Condition::Cmdline(_) => 3,
            Condition::Variable(..) => 4,
        }
    }
}

/// Conditions that select a process when all of them hold. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetRule {
    /// From the least intrusive to the most.
    conditions: Vec<Condition>,
}

impl TargetRule {
    /// `None` without a condition: such a rule would select every process of the host.
    pub fn new(mut conditions: Vec<Condition>) -> Option<TargetRule> {
        conditions.sort_by_key(Condition::intrusion);
        (!conditions.is_empty()).then_some(TargetRule { conditions })
    }

    fn matches(&self, facts: &dyn Facts) -> bool {
        self.conditions.iter().all(|condition| condition.holds(facts))
    }

    fn intrusion(&self) -> Option<u8> {
        self.conditions.last().map(Condition::intrusion)
    }
}

/// One way to learn the name of a game.
#[derive(Clone, Debug, PartialEq)]
pub enum GameRule {
    /// From the path of the executable.
    Exe(Pattern),
    /// From the first path of a control group that matches.
    Cgroup(Pattern),
    /// From the arguments, joined by one space.
    Cmdline(Pattern),
    /// The value of this variable of the environment.
    Variable(Box<str>),
    /// The value of this field of the request, by its lower-case name.
    Header(Box<str>),
}

impl GameRule {
    /// The game is the value of a variable of the environment.
    pub fn variable(name: &str) -> Result<GameRule, BadPattern> {
        let name = variable_name(name)?;
        if is_secretive(&name) {
            return Err(BadPattern::Secretive);
        }
        Ok(GameRule::Variable(name))
    }

    /// The game is the value of a field of the request.
    pub fn header(name: &str) -> Result<GameRule, BadPattern> {
        // RFC 9110 §5.6.2: a field name is a token.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(BadPattern::FieldName);
        }
        let name = name.to_ascii_lowercase();
        if is_secretive(&name) {
            return Err(BadPattern::Secretive);
        }
        Ok(GameRule::Header(name.into()))
    }

    /// The name as found, not yet cleaned.
    fn of_process(&self, facts: &dyn Facts) -> Option<String> {
        match self {
            GameRule::Exe(pattern) => pattern.game(facts.exe()?),
            GameRule::Cgroup(pattern) => facts.cgroups().iter().find_map(|path| pattern.game(path)),
            GameRule::Cmdline(pattern) => pattern.game(&joined(facts)?),
            GameRule::Variable(name) => facts.variable(name),
            GameRule::Header(_) => None,
        }
    }
}

/// What the rules say of a process, and how far a call of it may still change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GameByProcess {
    /// The game of the first rule over processes that yields one.
    pub game: Option<Arc<str>>,
    /// So many header rules stand before that rule, and come first for a call.
    headers_before: usize,
}

impl GameByProcess {
    /// What a capture says of a process: its game, and how many header rules come before it.
    pub fn recorded(game: Option<Arc<str>>, headers_before: usize) -> GameByProcess {
        GameByProcess { game, headers_before }
    }

    /// So many header rules come before the game of the process.
    pub fn headers_before(&self) -> usize {
        self.headers_before
    }
}

/// All rules, as one value that a reload replaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    targets: Vec<TargetRule>,
    games: Vec<GameRule>,
}

impl Rules {
    /// `games` in the order of the file.
    pub fn new(mut targets: Vec<TargetRule>, mut games: Vec<GameRule>) -> Rules {
        targets.sort_by_key(TargetRule::intrusion);
        // What a field did not yield the first time it does not yield again, and readers want each field once.
        let mut fields = BTreeSet::new();
        games.retain(|rule| match rule {
            GameRule::Header(name) => fields.insert(name.clone()),
            _ => true,
        });
        Rules { targets, games }
    }

    /// Whether any rule selects a process.
    pub fn matches_target(&self, facts: &dyn Facts) -> bool {
        self.targets.iter().any(|rule| rule.matches(facts))
    }

    /// The game of a process.
    pub fn game_of_process(&self, facts: &dyn Facts, games: &mut Games) -> GameByProcess {
        let mut headers_before = 0;
        for rule in &self.games {
            if let GameRule::Header(_) = rule {
                headers_before += 1;
                continue;
            }
            let Some(value) = rule.of_process(facts) else { continue };
            if let Some(game) = games.name(&value) {
                return GameByProcess { game: Some(game), headers_before };
            }
        }
        GameByProcess { game: None, headers_before }
    }

    /// The game of a call. `fields` are those of [`crate::exchange::Exchange::fields`], by the index of
    /// [`Rules::wanted_fields`].
    pub fn game_of_call(
        &self,
        by_process: &GameByProcess,
        fields: &[(usize, Box<str>)],
        games: &mut Games,
    ) -> Option<Arc<str>> {
        let value = |index| fields.iter().find(|field| field.0 == index).map(|field| &*field.1);
        (0..by_process.headers_before)
            .find_map(|index| games.name(value(index)?))
            .or_else(|| by_process.game.clone())
    }

    /// The request fields that header rules need, in the order of the rules.
    pub fn wanted_fields(&self) -> Wanted {
        let name = |rule: &GameRule| match rule {
            GameRule::Header(name) => Some(name.clone()),
            _ => None,
        };
        Wanted(self.games.iter().filter_map(name).collect())
    }
}

fn joined(facts: &dyn Facts) -> Option<String> {
    let arguments = facts.cmdline();
    (!arguments.is_empty()).then(|| arguments.join(" "))
}

/// POSIX.1-2017 §8.1: a name holds neither `=` nor NUL.
fn variable_name(name: &str) -> Result<Box<str>, BadPattern> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(BadPattern::VariableName);
    }
    Ok(name.into())
}

/// A game is a label that everyone reads, so what is named like a secret cannot be one.
fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests;
