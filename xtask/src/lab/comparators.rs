//! Given: planned calls. Gives: what others would say of them: published criteria of other tools, and the endpoints that are
//! called most. Refuses to know: what is true, and what the product says.

mod sentinel;
mod sentry;
mod volume;

use std::collections::BTreeMap;

use super::plan::{Planned, SECOND};
use super::score::matching::Statement;
use super::world::World;

pub(crate) use sentinel::{MISSING, is_installed, speed};

/// Statements of the same in this time are one: who is told of them sees one problem.
const ONE_PROBLEM_NS: u64 = 600 * SECOND;

/// Somebody who sees planned calls in the order in which they begin.
pub(crate) trait Comparator {
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    fn take(&mut self, call: &Planned);

    /// Everything that it has to say. `truths` is how many problems there are.
    fn finish(&mut self, world: &World, truths: usize) -> anyhow::Result<Vec<Statement>>;
}

/// All of them that can be had here.
pub(crate) fn all() -> Vec<Box<dyn Comparator>> {
    let mut all: Vec<Box<dyn Comparator>> = vec![
        Box::new(sentry::Sentry::n_plus_one_api()),
        Box::new(sentry::Sentry::consecutive_http()),
        Box::new(volume::Volume::default()),
    ];
    if is_installed() {
        all.push(Box::new(sentinel::Sentinel::new(sentinel::Mapping::Best)));
        all.push(Box::new(sentinel::Sentinel::new(sentinel::Mapping::Oracle)));
    }
    all
}

/// Puts statements of the same pattern, process and endpoint together that follow each other.
fn merged(mut statements: Vec<Statement>) -> Vec<Statement> {
    statements.sort_by_key(|statement| statement.start_ns);
    let mut last: BTreeMap<(Option<rotrace::detect::Pattern>, u32, String), usize> = BTreeMap::new();
    let mut merged: Vec<Statement> = Vec::new();
    for statement in statements {
        let key = (statement.pattern, statement.process, statement.endpoint.clone());
        if let Some(known) = last.get(&key).and_then(|&index| merged.get_mut(index))
            && statement.start_ns <= known.end_ns.saturating_add(ONE_PROBLEM_NS)
        {
            known.end_ns = known.end_ns.max(statement.end_ns);
            continue;
        }
        last.insert(key, merged.len());
        merged.push(statement);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_the_same_are_one_problem() {
        let at = |start_s: u64| Statement {
            pattern: None,
            process: 1,
            game: 0,
            endpoint: "a/b".to_owned(),
            start_ns: start_s * SECOND,
            end_ns: (start_s + 5) * SECOND,
            said_ns: start_s * SECOND,
        };
        let starts: Vec<u64> = merged(vec![at(2000), at(0), at(500), at(1000)])
            .iter()
            .map(|statement| statement.start_ns / SECOND)
            .collect();
        assert_eq!(starts, [0, 2000]);
    }
}
