//! Given: templates as shapes make them, and who called each. Gives: the same templates with `{name}` for the segments
//! that are names which somebody chose. Refuses to know: time, rules, documents, and the words themselves: only their
//! hashes are kept.
//!
//! A route is called by every game; a slug, or the name of a data store, by the one that chose it. Only who watches many
//! processes can see that. What is learned is a function of the set of what came, and two dictionaries become one in any
//! order, so restarts, reloads and other hosts may add to it.

mod plan;
mod snapshot;
mod tree;

use std::collections::BTreeMap;

use super::cache::hash;
pub(super) use plan::Applied;
use plan::Plan;
pub use snapshot::{Fault, Label};
pub use tree::Source;
pub(super) use tree::Support;
use tree::{Node, Segment};

/// Authorities that are learned of; of more, those that were called last.
const AUTHORITIES: usize = 64;

/// Segments that are kept of one authority.
const SEGMENTS_PER_AUTHORITY: usize = 4096;

/// Segments that are kept of all authorities. With 72 bytes each, a quarter more for growth, and a step of the plan they
/// stay below 12 MiB.
const SEGMENTS: usize = 65_536;

/// News of an authority after which its plan is made anew at once, and the part of what is known already that they must
/// be beside that: what comes at first is judged soon, and later plans are made rarely.
const NEWS_LEAST: usize = 4;
const NEWS_PART: usize = 8;

/// Templates of which is known who taught them, so that most calls need not be looked at segment by segment.
const TAUGHT: usize = 2048;

/// What was learned of the paths of authorities.
#[derive(Debug, Default)]
pub struct Dictionary {
    /// By canonical name, at most [`AUTHORITIES`].
    authorities: BTreeMap<Box<str>, Known>,
    /// In all trees.
    segments: usize,
    /// So many templates came; the clock by which authorities grow old.
    lessons: u64,
    refused: u64,
    /// By the hash of authority and template, the last with it; empty before the first.
    taught: Vec<(u64, Support)>,
    /// A template in pieces; kept for its memory alone.
    pieces: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Known {
    root: Node,
    plan: Plan,
    segments: usize,
    /// Since the plan was made.
    news: usize,
    last_lesson: u64,
}

impl Dictionary {
    /// Takes a template that `source` called. True when other templates of the authority may have others now.
    pub(super) fn learn(&mut self, authority: &str, template: &str, source: Source) -> bool {
        let Some(path) = template.strip_prefix('/').filter(|path| !path.is_empty()) else { return false };
        self.lessons += 1;
        let hash = hash(hash(8, authority.as_bytes()), path.as_bytes());
        if self.is_taught(hash, source) {
            return false;
        }
        let is_forgetful = self.make_known(authority);
        let Self { authorities, segments, lessons, refused, taught, pieces } = self;
        let Some(known) = authorities.get_mut(authority) else { return is_forgetful };
        known.last_lesson = *lessons;
        pieces.clear();
        pieces.extend(path.split('/').map(Segment::of));
        let room = (SEGMENTS - (*segments).min(SEGMENTS))
            .min(SEGMENTS_PER_AUTHORITY - known.segments.min(SEGMENTS_PER_AUTHORITY));
        match known.root.insert(pieces, source, room) {
            Some(false) => return is_forgetful,
            Some(true) => {}
            None => {
                *refused += 1;
                // It has to be taught again.
                taught.clear();
            }
        }
        *segments -= known.segments;
        known.segments = known.root.entries();
        *segments += known.segments;
        known.news += 1;
        let is_due = known.news >= NEWS_LEAST.max(known.segments / NEWS_PART);
        (is_due && known.settle()) || is_forgetful
    }

    /// Takes everything that has come into account, and names the authorities whose templates may have others now.
    pub(super) fn settle(&mut self) -> Vec<Box<str>> {
        let due = self.authorities.iter_mut().filter(|(_, known)| known.news > 0);
        due.filter_map(|(name, known)| known.settle().then(|| name.clone())).collect()
    }

    /// Replaces names in the template that stands behind the authority in `label`.
    pub(super) fn apply(&mut self, authority: &str, label: &mut String) -> Applied {
        let Some(known) = self.authorities.get_mut(authority) else { return Applied::default() };
        known.last_lesson = self.lessons;
        known.plan.apply(authority.len(), label)
    }

    /// Takes all that the other has learned, as far as there is room.
    pub fn merge(&mut self, other: Self) {
        for (authority, known) in other.authorities {
            self.make_known(&authority);
            let Some(own) = self.authorities.get_mut(&authority) else { continue };
            let Known { root, .. } = known;
            let segments = root.entries();
            if self.segments + segments > SEGMENTS || own.segments + segments > 2 * SEGMENTS_PER_AUTHORITY {
                self.refused += 1;
                continue;
            }
            own.root.merge(root);
            self.segments -= own.segments;
            own.segments = own.root.entries();
            self.segments += own.segments;
            own.news += 1;
        }
        self.settle();
    }

    /// Templates that were not learned in full, because there was no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether the source says nothing new by calling the template with this hash; it has said it from now on.
    fn is_taught(&mut self, hash: u64, source: Source) -> bool {
        if self.taught.is_empty() {
            self.taught.resize(TAUGHT, (0, Support::default()));
        }
        let at = hash as usize % TAUGHT;
        let Some((known, support)) = self.taught.get_mut(at) else { return false };
        if *known != hash {
            (*known, *support) = (hash, Support::default());
        }
        !support.add(source)
    }

    /// Makes sure that an authority is known. True when another was forgotten for it.
    fn make_known(&mut self, authority: &str) -> bool {
        if self.authorities.contains_key(authority) {
            return false;
        }
        let mut is_forgetful = false;
        if self.authorities.len() >= AUTHORITIES
            && let Some(oldest) = self.authorities.iter().min_by_key(|(_, known)| known.last_lesson)
        {
            let oldest = oldest.0.clone();
            let forgotten = self.authorities.remove(&oldest).unwrap_or_default();
            self.segments -= forgotten.segments;
            self.taught.clear();
            is_forgetful = !forgotten.plan.is_trivial();
        }
        self.authorities.insert(authority.into(), Known::default());
        is_forgetful
    }
}

impl Known {
    /// Makes the plan anew; true when it is another.
    fn settle(&mut self) -> bool {
        self.news = 0;
        let plan = Plan::of(&self.root);
        let is_other = plan != self.plan;
        self.plan = plan;
        is_other
    }
}

/// Equal when they have learned the same, whatever they make of it.
impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        let others = other.authorities.iter().map(|(name, known)| (name, &known.root));
        self.authorities.iter().map(|(name, known)| (name, &known.root)).eq(others)
    }
}

#[cfg(test)]
mod tests;
