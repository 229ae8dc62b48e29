//! Given: endpoint and method of a call. Gives: the index of its class, found before or just now. Refuses to know: how it
//! is found. It changes the time that an answer takes and never the answer.

use std::sync::Arc;

use crate::endpoint::stable_hash;

/// Operations that are remembered at most; there are fewer labels of endpoints than half of it by default.
const PLACES: usize = 4096;

/// Bytes of a method that is remembered at most: methods that exist are shorter.
const METHOD_BYTES: usize = 16;

/// Two places for each hash, the one that was asked for last first: a newcomer takes the other. With one, two operations that
/// meet there and are called in turn would be found anew each time.
#[derive(Debug)]
pub(super) struct Memo {
    places: Box<[Option<Place>]>,
}

#[derive(Debug)]
struct Place {
    endpoint: Arc<str>,
    method: Box<str>,
    class: usize,
}

impl Default for Memo {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| None).collect() }
    }
}

impl Memo {
    pub(super) fn class(&mut self, endpoint: &Arc<str>, method: &str, find: impl FnOnce() -> usize) -> usize {
        let hash = stable_hash(stable_hash(0, endpoint.as_bytes()), method.as_bytes());
        let set = usize::try_from(hash >> 32).unwrap_or_default() % (PLACES / 2) * 2;
        let Some([last, before]) = self.places.get_mut(set..).and_then(<[_]>::first_chunk_mut) else {
            return find();
        };
        if let Some(class) = Place::class(last, endpoint, method) {
            return class;
        }
        std::mem::swap(last, before);
        if let Some(class) = Place::class(last, endpoint, method) {
            return class;
        }
        let class = find();
        if method.len() <= METHOD_BYTES {
            *last = Some(Place { endpoint: Arc::clone(endpoint), method: method.into(), class });
        }
        class
    }
}

impl Place {
    fn class(place: &Option<Place>, endpoint: &str, method: &str) -> Option<usize> {
        place
            .as_ref()
            .filter(|known| *known.endpoint == *endpoint && *known.method == *method)
            .map(|known| known.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_confuses_nothing() {
        let mut memo = Memo::default();
        let long = "M".repeat(METHOD_BYTES + 1);
        let operations = (0..2 * PLACES).flat_map(|number| {
            let endpoint: Arc<str> = format!("a.x/{number}").into();
            ["GET", "POST", &long].map(|method| (endpoint.clone(), method.to_owned()))
        });
        let operations: Vec<(Arc<str>, String)> = operations.collect();
        for (index, (endpoint, method)) in operations.iter().enumerate() {
            assert_eq!(memo.class(endpoint, method, || index), index);
        }
        let mut found = 0;
        for (index, (endpoint, method)) in operations.iter().enumerate() {
            found += usize::from(memo.class(endpoint, method, || usize::MAX) == index);
        }
        // What was not found was found anew, and has taken the place of something.
        assert!(found > 0 && found <= PLACES, "{found}");
        assert!(memo.places.iter().flatten().all(|place| place.method.len() <= METHOD_BYTES));
    }
}
