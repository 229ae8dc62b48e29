//! Given: endpoint and method of a call. Gives: the index of its class, found before or just now. Refuses to know: how it
//! is found. It changes the time that an answer takes and never the answer.

use std::sync::Arc;

use crate::cache::{Cache, Word, address_hash};

/// Operations that are remembered at most; there are fewer labels of endpoints than half of it by default.
const PLACES: usize = 4096;

/// The classes of the last operations.
#[derive(Debug)]
pub(super) struct Memo {
    places: Cache<Place>,
}

#[derive(Debug)]
struct Place {
    endpoint: Arc<str>,
    method: Word,
    class: usize,
}

impl Default for Memo {
    fn default() -> Self {
        Self { places: Cache::new(PLACES) }
    }
}

impl Memo {
    pub(super) fn class(&mut self, endpoint: &Arc<str>, method: &str, find: impl FnOnce() -> usize) -> usize {
        let Some(word) = Word::new(method) else { return find() };
        // A name is kept together with its memory, so another one cannot have the same address.
        let is_it = |known: &Place| Arc::ptr_eq(&known.endpoint, endpoint) && known.method.is(method);
        let make = || Place { endpoint: Arc::clone(endpoint), method: word, class: find() };
        let letter = method.as_bytes().first().map_or(0, |&letter| letter.into());
        self.places.of(address_hash(endpoint) ^ letter, is_it, make).class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_confuses_nothing() {
        let mut memo = Memo::default();
        let long = "M".repeat(Word::BYTES_MAX + 1);
        let operations = (0..2 * PLACES).flat_map(|number| {
            let endpoint: Arc<str> = format!("a.x/{number}").into();
            ["GET", "POST", &long].map(|method| (endpoint.clone(), method.to_owned()))
        });
        let operations: Vec<(Arc<str>, String)> = operations.collect();
        for (index, (endpoint, method)) in operations.iter().enumerate() {
            assert_eq!(memo.class(endpoint, method, || index), index);
        }
        let mut found = 0;
        // Those that came last are still there.
        for (index, (endpoint, method)) in operations.iter().enumerate().rev() {
            found += usize::from(memo.class(endpoint, method, || usize::MAX) == index);
        }
        // What was not found was found anew, and has taken the place of something.
        assert!(found > 0 && found <= PLACES, "{found}");
        assert!(memo.places.iter().all(|place| !place.method.is(&long)));
    }
}
