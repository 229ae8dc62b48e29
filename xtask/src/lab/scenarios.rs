//! Given: nothing. Gives: the table of what is injected: scenarios that waste something, and look-alikes that do not.
//! Refuses to know: where and when they take place.

mod background;
mod benign;
mod benign_rare;
mod failures;
mod reads;
mod transport;
mod writes;

use super::api::Api;
use super::scene::Scene;

pub(crate) use background::background;

/// A scenario or a look-alike.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What it is, in a few words.
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    /// Operations that nothing else injected may call in the same process.
    pub(crate) apis: &'static [Api],
    /// Makes its calls and says what is true of them.
    pub(crate) play: fn(&mut Scene<'_>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something is wasted.
    Scenario,
    /// Nothing is wasted, and no warning is due.
    Benign,
}

const fn scenario(
    name: &'static str,
    what: &'static str,
    apis: &'static [Api],
    play: fn(&mut Scene<'_>),
) -> Row {
    Row { name, what, kind: Kind::Scenario, apis, play }
}

const fn benign(
    name: &'static str,
    what: &'static str,
    apis: &'static [Api],
    play: fn(&mut Scene<'_>),
) -> Row {
    Row { name, what, kind: Kind::Benign, apis, play }
}

/// Everything that is injected. A row's place is its name under the seed: new ones come last in their part.
pub(crate) const ROWS: &[&[Row]] =
    &[reads::ROWS, failures::ROWS, transport::ROWS, writes::ROWS, benign::ROWS, benign_rare::ROWS];

/// Rows that can be hurried, each with the least seconds that a play of it lasts: what its detector measures takes as long as it
/// takes, and something has to go on for a while before it is told of.
pub(crate) const BRISK: [(&str, u64); 31] = [
    ("S1", 5),
    ("S2", 5),
    ("S4", 30),
    ("S5", 5),
    ("S6", 30),
    ("S7", 30),
    ("S8", 300),
    ("S9", 300),
    ("S10", 30),
    ("S11", 5),
    ("S12", 10),
    ("S14", 5),
    ("S15", 5),
    ("S16", 300),
    ("S18", 300),
    ("S19", 300),
    ("S20", 30),
    ("S21", 30),
    ("S24", 5),
    ("S25", 5),
    ("S26", 30),
    ("S27", 5),
    ("S30", 10),
    ("B1", 5),
    ("B2", 5),
    ("B3", 5),
    ("B8", 5),
    ("B13", 5),
    ("B16", 5),
    ("B17", 5),
    ("B26", 5),
];

/// Every row, with its number under the seed.
pub(crate) fn rows() -> impl Iterator<Item = (u64, &'static Row)> {
    ROWS.iter().enumerate().flat_map(|(part, rows)| {
        rows.iter().enumerate().map(move |(index, row)| ((part * 100 + index) as u64, row))
    })
}

/// The row of a name.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    rows().map(|(_, row)| row).find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_the_specification_and_each_is_there_once() {
        let names: BTreeSet<&str> = rows().map(|(_, row)| row.name).collect();
        assert_eq!(names.len(), rows().count());
        let expected: Vec<String> =
            (1..=30).map(|n| format!("S{n}")).chain((1..=26).map(|n| format!("B{n}"))).collect();
        let missing: Vec<_> = expected.iter().filter(|name| !names.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
