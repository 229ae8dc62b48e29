//! Given: names, and something for each. Gives: it back by name, and all in the order of names. Refuses to know: what it is.
//!
//! A sorted vector in place of a tree: names come rarely and are looked up with each call, mostly at a place that is
//! remembered from the call before.

use std::sync::Arc;

use crate::cache::{address_hash, is_name};

/// Values by name.
#[derive(Clone, Debug)]
pub(super) struct Names<V> {
    entries: Vec<(Arc<str>, V)>,
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Names { entries: Vec::new() }
    }
}

impl<V> Names<V> {
    /// Where a name is; the place changes when other names come and go.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.search(name).ok()
    }

    /// The value in this place, if that is still the place of the name.
    pub(super) fn at_mut(&mut self, place: usize, name: &str) -> Option<&mut V> {
        let (own, value) = self.entries.get_mut(place)?;
        is_name(own, name).then_some(value)
    }

    /// The value in this place.
    pub(super) fn nth(&self, place: usize) -> Option<&V> {
        self.entries.get(place).map(|(_, value)| value)
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.entries.get(self.place(name)?).map(|(_, value)| value)
    }

    /// The value of a name, which is there from now on.
    pub(super) fn of(&mut self, name: Arc<str>) -> &mut V
    where
        V: Default,
    {
        let place = self.search(&name).unwrap_or_else(|place| {
            self.entries.insert(place, (name, V::default()));
            place
        });
        &mut self.entries[place].1
    }

    /// Keeps those that are to be kept.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&mut V) -> bool) {
        self.entries.retain_mut(|(_, value)| is_kept(value));
    }

    /// In the order of names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// In the order of names.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(own, _)| (**own).cmp(name))
    }
}

/// Where calls with two names were counted before. Whoever asks there has to look at the names, since a place is shared, and
/// changes.
#[derive(Clone, Debug)]
pub(super) struct Hints {
    hints: Box<[Hint]>,
}

/// Where calls were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// The place of their game.
    pub(super) game: u16,
    /// The place of their endpoint in it, or of what has no room.
    pub(super) endpoint: u16,
    /// There was no room for their endpoint.
    pub(super) is_other: bool,
}

/// More than [`super::DEFAULT_MAX_KEYS`] asks for, so that few share one; 48 KiB.
const HINTS: usize = 8192;

impl Default for Hints {
    fn default() -> Self {
        Hints { hints: vec![Hint::default(); HINTS].into() }
    }
}

impl Hints {
    /// The hint for two names that are in the same memory each time, or nearly so.
    pub(super) fn of(&mut self, game: Option<&Arc<str>>, endpoint: &Arc<str>) -> &mut Hint {
        let game = game.map_or(0, |game| game.as_ptr().addr());
        &mut self.hints[(address_hash(endpoint) ^ (game >> 5)) % HINTS]
    }

    /// Forgets all of them: there is room for endpoints again.
    pub(super) fn clear(&mut self) {
        self.hints.fill(Hint::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(ops in prop::collection::vec((0..3u8, "[a-d]{0,2}"), 0..60)) {
            let mut names: Names<usize> = Names::default();
            let mut model: BTreeMap<String, usize> = BTreeMap::new();
            for (n, (op, name)) in ops.into_iter().enumerate() {
                match op {
                    0 => *names.of(name.as_str().into()) = *model.entry(name.clone()).and_modify(|own| *own = n).or_insert(n),
                    1 => {
                        names.retain(|&mut own| own % 3 != n % 3);
                        model.retain(|_, &mut own| own % 3 != n % 3);
                    }
                    _ => {}
                }
                prop_assert_eq!(names.get(&name), model.get(&name));
                let place = names.place(&name);
                prop_assert_eq!(place.and_then(|place| names.at_mut(place, &name).copied()), model.get(&name).copied());
                // Another name has another place.
                prop_assert_eq!(place.and_then(|place| names.at_mut(place + 1, &name)), None);
                prop_assert!(names.iter().map(|(name, &own)| (name.to_owned(), own)).eq(model.clone()));
                prop_assert_eq!((names.len(), names.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
