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

/// Rows that can be hurried: what their detectors measure takes as long as it takes, and fits into a minute all the same.
pub(crate) const BRISK: [&str; 31] = [
    "S1", "S2", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S14", "S15", "S16", "S18", "S19",
    "S20", "S21", "S24", "S25", "S26", "S27", "S30", "B1", "B2", "B3", "B8", "B13", "B16", "B17", "B26",
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
