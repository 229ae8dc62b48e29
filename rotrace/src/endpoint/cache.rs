//! Given: authority, method and target as sent. Gives: what was found for them before, if it is still there. Refuses
//! to know: how it was found. It changes the time that an answer takes and never the answer.
//!
//! Many paths come once, because they hold a number that does. So an answer is kept when its call comes the second time:
//! what comes once costs no memory, and drives out nothing that comes again.

use super::learned::{Source, Support};
use super::{Resolved, Tier};

/// Sets of two entries each, so 4096 calls that differ are remembered.
const SETS: usize = 2048;

/// Bytes of a key and of a path at most; with them all entries together have less than 6 MiB.
const KEY_BYTES: usize = 512;

/// Calls that came once and are known again when they come a second time, about.
const SEEN_ONCE: usize = 4 * SETS;

/// Authority, method and target without its query, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub(super) authority: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) target: &'a str,
}

#[derive(Debug)]
pub(super) struct Cache {
    sets: Box<[Set]>,
    /// The upper half of the hash of what came last, at the place that its lower half names; two calls that look the
    /// same here are taken for one, which then is remembered too early and does no harm.
    seen: Box<[u32]>,
}

/// The newer entry stands first. What is asked for and not here is told by the hashes alone, so that the entries may lie
/// anywhere; that of no entry means nothing.
#[derive(Debug, Default)]
struct Set {
    hashes: [u64; 2],
    entries: [Option<Box<Entry>>; 2],
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Authority, method and target without anything between them.
    text: Box<str>,
    authority_bytes: Option<usize>,
    method_bytes: usize,
    pub(super) resolved: Resolved,
    /// Who made the call, if that says anything about its path.
    support: Option<Support>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { sets: (0..SETS).map(|_| Set::default()).collect(), seen: vec![0; SEEN_ONCE].into() }
    }
}

impl Cache {
    /// `hash` is that of the key.
    pub(super) fn find(&mut self, key: Key<'_>, hash: u64) -> Option<&mut Entry> {
        let Set { hashes, entries } = self.sets.get_mut(set(hash))?;
        let mut same = hashes.iter().zip(entries).filter(|(known, _)| **known == hash);
        same.find_map(|(_, entry)| entry.as_deref_mut().filter(|entry| entry.is(key)))
    }

    /// Takes note of what was not found here; `hash` is that of the key.
    pub(super) fn remember(
        &mut self,
        key: Key<'_>,
        hash: u64,
        resolved: &Resolved,
        source: &dyn Fn() -> Option<Source>,
    ) {
        if !self.has_come_before(hash) {
            return;
        }
        let Key { authority, method, target } = key;
        let text = [authority.unwrap_or_default(), method, target].concat();
        if text.len() > KEY_BYTES || resolved.path.len() > KEY_BYTES {
            return;
        }
        let Some(Set { hashes, entries }) = self.sets.get_mut(set(hash)) else { return };
        let mut support = matches!(resolved.tier, Tier::Shape | Tier::Learned).then(Support::default);
        if let Some((support, source)) = support.as_mut().zip(source()) {
            support.add(source);
        }
        let entry = Entry {
            text: text.into(),
            support,
            authority_bytes: authority.map(str::len),
            method_bytes: method.len(),
            resolved: resolved.clone(),
        };
        hashes.swap(0, 1);
        entries.swap(0, 1);
        let ([newer_hash, _], [newer, _]) = (hashes, entries);
        *newer_hash = hash;
        *newer = Some(Box::new(entry));
    }

    fn has_come_before(&mut self, hash: u64) -> bool {
        let (place, name) = (hash as u32 as usize % SEEN_ONCE, (hash >> 32) as u32);
        self.seen.get_mut(place).is_some_and(|seen| std::mem::replace(seen, name) == name)
    }
}

fn set(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SETS
}

impl Key<'_> {
    /// The same in each run and on each machine.
    pub(super) fn hash(self) -> u64 {
        let Self { authority, method, target } = self;
        let authority = authority.map_or(1, |authority| mix_bytes(2, authority.as_bytes()));
        hash(mix_bytes(authority, method.as_bytes()), target.as_bytes())
    }
}

impl Entry {
    /// Whether nobody who makes the call says anything new by it.
    pub(super) fn is_learned(&self) -> bool {
        self.support.is_none_or(|support| support.is_shared())
    }

    /// True when the call of this source says something new.
    pub(super) fn learn(&mut self, source: Source) -> bool {
        self.support.as_mut().is_some_and(|support| support.add(source))
    }

    fn is(&self, key: Key<'_>) -> bool {
        let Key { authority, method, target } = key;
        let parts = || {
            let (known_authority, rest) =
                self.text.split_at_checked(self.authority_bytes.unwrap_or_default())?;
            let (known_method, known_target) = rest.split_at_checked(self.method_bytes)?;
            Some((known_authority, known_method, known_target))
        };
        self.authority_bytes.is_some() == authority.is_some()
            && parts() == Some((authority.unwrap_or_default(), method, target))
    }
}

/// Odd, with bits in no pattern: those of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash that is the same in each run and on each machine. Nobody is kept from finding collisions: the two entries of a
/// set bound what they cost.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix_bytes(seed, bytes);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 29
}

/// All of a hash but its end, to be gone on with.
fn mix_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let hash =
        words.iter().fold(mix(seed, bytes.len() as u64), |hash, word| mix(hash, u64::from_le_bytes(*word)));
    if tail.is_empty() {
        return hash;
    }
    // The last eight bytes are one word as well, though some are mixed in twice; only what is shorter goes by bytes.
    let tail = || tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(hash, bytes.last_chunk::<8>().map_or_else(tail, |word| u64::from_le_bytes(*word)))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(path: &str) -> Resolved {
        Resolved { endpoint: path.into(), path: path.into(), tier: Tier::Shape, is_doubtful: false }
    }

    fn find<'a>(cache: &'a mut Cache, key: Key<'_>) -> Option<&'a Resolved> {
        cache.find(key, key.hash()).map(|entry| &entry.resolved)
    }

    /// As the second call does it.
    fn remember(cache: &mut Cache, key: Key<'_>, resolved: &Resolved) {
        cache.remember(key, key.hash(), resolved, &|| None);
        cache.remember(key, key.hash(), resolved, &|| None);
    }

    #[test]
    fn remembers_and_confuses_nothing() {
        let key = Key { authority: Some("a"), method: "GET", target: "/x" };
        let others = [
            Key { authority: None, ..key },
            Key { authority: Some(""), ..key },
            Key { authority: Some("aG"), method: "ET", ..key },
            Key { method: "GET/", target: "x", ..key },
            Key { target: "/y", ..key },
        ];
        let mut cache = Cache::default();
        remember(&mut cache, key, &resolved("/x"));
        assert_eq!(find(&mut cache, key), Some(&resolved("/x")));
        for other in others {
            assert_eq!(find(&mut cache, other), None, "{other:?}");
        }
    }

    #[test]
    fn what_comes_once_is_not_kept() {
        let mut cache = Cache::default();
        let key = Key { authority: Some("a"), method: "GET", target: "/x" };
        cache.remember(key, key.hash(), &resolved("/x"), &|| None);
        assert_eq!(find(&mut cache, key), None);
        cache.remember(key, key.hash(), &resolved("/x"), &|| None);
        assert_eq!(find(&mut cache, key), Some(&resolved("/x")));
    }

    #[test]
    fn bounded() {
        let mut cache = Cache::default();
        let long = "x".repeat(KEY_BYTES);
        remember(&mut cache, Key { authority: Some("a"), method: "GET", target: &long }, &resolved("/x"));
        remember(
            &mut cache,
            Key { authority: Some("a"), method: "GET", target: "/" },
            &resolved(&format!("/{long}")),
        );
        assert_eq!(cache.sets.iter().flat_map(|set| &set.entries).flatten().count(), 0);
        let targets: Vec<String> = (0..20_000).map(|number| format!("/{number}")).collect();
        for target in &targets {
            remember(&mut cache, Key { authority: None, method: "GET", target }, &resolved(target));
        }
        let entries = cache.sets.iter().flat_map(|set| &set.entries).flatten().count();
        assert!(entries > SETS && entries <= 2 * SETS, "{entries}");
        let found = targets.iter().filter(|target| {
            let found = find(&mut cache, Key { authority: None, method: "GET", target });
            found.inspect(|found| assert_eq!(*found.path, **target)).is_some()
        });
        assert_eq!(found.count(), entries);
    }
}
