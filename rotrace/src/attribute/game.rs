//! Given: values that rules found, from command lines, variables and request fields. Gives: names that are safe as
//! labels, a bounded number of them. Refuses to know: which rule found a value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest name of a game in bytes; the rest of a longer value is cut off.
pub const GAME_BYTES: usize = 64;

/// Games that one node tells apart at one time. A header rule takes names from traffic, which could bring any number.
pub const GAMES_MAX: usize = 1000;

/// The game of values that came when [`GAMES_MAX`] games were in use.
const OTHER: &str = "other";

/// The games of a node. It outlives a reload of the rules.
///
/// A name is free again when nobody holds it any more, so a node on which games come and go does not end with all of
/// them in `other`.
#[derive(Debug)]
pub struct Games {
    known: BTreeSet<Arc<str>>,
    other: Arc<str>,
    /// Refusals until the names are searched again for free ones: one search costs as much as so many refusals.
    search_in: usize,
    refused: u64,
    altered: u64,
}

impl Default for Games {
    fn default() -> Games {
        Games { known: BTreeSet::new(), other: OTHER.into(), search_in: 0, refused: 0, altered: 0 }
    }
}

impl Games {
    /// The game that `value` names: its visible characters, others as `_`, at most [`GAME_BYTES`]. `None` when it is
    /// blank; `other` when there are too many games.
    pub fn name(&mut self, value: &str) -> Option<Arc<str>> {
        let name = visible(value.trim());
        if name.is_empty() {
            return None;
        }
        if let Cow::Owned(_) = name {
            self.altered += 1;
        }
        if let Some(known) = self.known.get(&*name) {
            return Some(known.clone());
        }
        if self.known.len() >= GAMES_MAX && !self.make_room() {
            self.refused += 1;
            return Some(self.other.clone());
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        Some(name)
    }

    /// Games that are told apart.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Values that became `other`.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Values that were cut, or lost characters that are not visible.
    pub fn altered(&self) -> u64 {
        self.altered
    }

    fn make_room(&mut self) -> bool {
        if self.search_in > 0 {
            self.search_in -= 1;
            return false;
        }
        self.known.retain(|name| Arc::strong_count(name) > 1);
        self.search_in = GAMES_MAX;
        self.known.len() < GAMES_MAX
    }
}

fn visible(value: &str) -> Cow<'_, str> {
    let is_visible = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    let end = value.floor_char_boundary(GAME_BYTES);
    let (kept, cut) = value.split_at(end);
    if cut.is_empty() && kept.chars().all(is_visible) {
        return Cow::Borrowed(kept);
    }
    // `_` is the shortest character, so replacing cannot make the name longer.
    Cow::Owned(kept.chars().map(|c| if is_visible(c) { c } else { '_' }).collect())
}
