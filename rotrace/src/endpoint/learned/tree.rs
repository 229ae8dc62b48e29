//! Given: templates as shapes make them, with the process and game that called each. Gives: a tree of their segments that
//! is a function of the set of what came, not of its order, and that two of may become one. Refuses to know: which of the
//! segments are names that somebody chose.
//!
//! Of each node the children with the smallest hashes are kept (a KMV sketch: Bar-Yossef et al., RANDOM 2002, §3.1).
//! What is among the smallest of all was among the smallest of any part, so each child that is kept is known from its
//! first call on, and the smallest of two trees are the smallest of both. What lies below the others goes to `{name}`.

use super::super::cache::hash;

/// Literal children of a node that are kept.
pub(super) const LITERALS: usize = 64;

/// Parameters, versions and the like below one node that are kept.
const OTHERS: usize = 16;

/// Processes that must have called a literal, for it to be a route.
const PROCESSES: usize = 3;

/// Games that these must be of.
const GAMES: usize = 2;

/// The segment that names become.
pub(super) const NAME: &str = "{name}";

/// What a segment of a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Has a parameter in it.
    Parameter,
    /// A literal that is no name: a version, a custom verb, what stands for a tail that was cut off.
    Fixed,
    /// Looks like the code of a language, a country or a currency.
    Code,
    /// Any other literal.
    Word,
}

impl Kind {
    /// Where it may be a name that somebody chose.
    pub(super) fn is_literal(self) -> bool {
        matches!(self, Self::Code | Self::Word)
    }
}

/// A segment as the tree knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) hash: u64,
    pub(super) kind: Kind,
}

impl Segment {
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let of_letters =
            |least, most, is: fn(&u8) -> bool| (least..=most).contains(&bytes.len()) && bytes.iter().all(is);
        let kind = if text.contains('{') {
            Kind::Parameter
        } else if !bytes.first().is_some_and(u8::is_ascii_alphabetic)
            || text.contains([':', '(', '*'])
            || super::super::shape::is_version(text)
        {
            Kind::Fixed
        } else if of_letters(2, 2, u8::is_ascii_lowercase) || of_letters(2, 3, u8::is_ascii_uppercase) {
            Kind::Code
        } else {
            Kind::Word
        };
        Self { hash: hash(4, bytes), kind }
    }
}

/// Who called: hashes of a process and of its game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    process: u32,
    /// `None` when no rule names it.
    game: Option<u32>,
}

impl Source {
    /// A process by anything that tells it from all others, and the name of its game.
    pub fn new(process: u64, game: Option<&str>) -> Self {
        let short = |hash: u64| (hash >> 32) as u32;
        Self {
            process: short(hash(5, &process.to_le_bytes())),
            game: game.map(|game| short(hash(6, game.as_bytes()))),
        }
    }
}

/// From how many processes and games something was called, as far as it matters: the smallest hashes of each, and none
/// any more once it is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::endpoint) struct Support {
    processes: Smallest<PROCESSES>,
    games: Smallest<GAMES>,
}

impl Support {
    const SHARED: Self = Self { processes: Smallest([0; PROCESSES]), games: Smallest([0; GAMES]) };

    /// What a snapshot says of it.
    pub(super) fn new(processes: &[u32], games: &[u32]) -> Self {
        if processes == Self::SHARED.processes.0 && games == Self::SHARED.games.0 {
            return Self::SHARED;
        }
        let mut support = Self::default();
        processes.iter().for_each(|process| _ = support.processes.add(*process));
        games.iter().for_each(|game| _ = support.games.add(*game));
        support.forget();
        support
    }

    /// True when it says more than before. What says nothing new of a path says nothing new of its segments.
    pub(in crate::endpoint) fn add(&mut self, source: Source) -> bool {
        if self.is_shared() {
            return false;
        }
        let is_new_process = self.processes.add(source.process);
        let is_new_game = source.game.is_some_and(|game| self.games.add(game));
        self.forget();
        is_new_process || is_new_game
    }

    fn merge(&mut self, other: &Self) {
        if other.is_shared() {
            *self = Self::SHARED;
        }
        if !self.is_shared() {
            other.processes().for_each(|process| _ = self.processes.add(process));
            other.games().for_each(|game| _ = self.games.add(game));
            self.forget();
        }
    }

    /// Routes are shared by everybody; names that somebody chose belong to one game.
    pub(in crate::endpoint) fn is_shared(&self) -> bool {
        self.processes.is_full() && self.games.is_full()
    }

    /// By whom it is shared is no part of what is known, or it would depend on who came before it was.
    fn forget(&mut self) {
        if self.is_shared() {
            *self = Self::SHARED;
        }
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = u32> {
        self.processes.iter()
    }

    pub(super) fn games(&self) -> impl Iterator<Item = u32> {
        self.games.iter()
    }
}

/// The smallest numbers of a set, in their order; [`u32::MAX`] where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Smallest<const N: usize>([u32; N]);

impl<const N: usize> Default for Smallest<N> {
    fn default() -> Self {
        Self([u32::MAX; N])
    }
}

impl<const N: usize> Smallest<N> {
    /// True when it is now one of them and was not before.
    fn add(&mut self, number: u32) -> bool {
        let number = number.min(u32::MAX - 1);
        if self.0.contains(&number) {
            return false;
        }
        let mut carried = number;
        for place in self.0.iter_mut().filter(|place| number < **place) {
            std::mem::swap(place, &mut carried);
        }
        carried != number
    }

    fn is_full(&self) -> bool {
        self.0.iter().all(|number| *number != u32::MAX)
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.into_iter().filter(|number| *number != u32::MAX)
    }
}

/// What may follow the segments that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// By hash, at most [`LITERALS`], [`OTHERS`] and `{name}`: less than 6 KiB.
    pub(super) children: Vec<Child>,
    /// There were literals that are not kept.
    pub(super) is_crowded: bool,
}

/// A segment that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) segment: Segment,
    /// Paths end with it.
    pub(super) ends: bool,
    /// Of literals; nobody asks for that of others.
    pub(super) support: Support,
    pub(super) below: Node,
}

impl Child {
    fn new(segment: Segment) -> Self {
        Self { segment, ends: false, support: Support::default(), below: Node::default() }
    }

    fn merge(&mut self, other: Self) {
        let Self { segment: _, ends, support, below } = other;
        self.ends |= ends;
        self.support.merge(&support);
        self.below.merge(below);
    }
}

impl Node {
    /// Takes a template that `source` called, of which at most `room` segments may be new. True when the tree says more
    /// than before; `None` where room was missing.
    pub(super) fn insert(&mut self, segments: &[Segment], source: Source, room: usize) -> Option<bool> {
        let Some((&segment, rest)) = segments.split_first() else { return Some(false) };
        let (at, is_new) = match self.find(segment.hash) {
            Ok(at) => (at, false),
            Err(_) if self.drives_out(segment) => self.name(segment, room)?,
            Err(_) if room == 0 => return None,
            Err(_) => {
                self.insert_child(Child::new(segment));
                (self.find(segment.hash).ok()?, true)
            }
        };
        let child = self.children.get_mut(at)?;
        let mut is_news = is_new;
        if segment.kind.is_literal() && child.segment == segment {
            is_news |= child.support.add(source);
        }
        if rest.is_empty() {
            is_news |= !std::mem::replace(&mut child.ends, true);
        }
        let is_news_below = child.below.insert(rest, source, room - usize::from(is_new))?;
        Some(is_news | is_news_below)
    }

    /// Takes all that the other knows.
    pub(super) fn merge(&mut self, other: Self) {
        let Self { children, is_crowded } = other;
        self.is_crowded |= is_crowded;
        children.into_iter().for_each(|child| self.insert_child(child));
    }

    /// Adds a child, or what is known of it.
    pub(super) fn insert_child(&mut self, child: Child) {
        let segment = child.segment;
        match self.find(segment.hash) {
            Ok(at) => {
                if let Some(known) = self.children.get_mut(at) {
                    known.merge(child);
                }
            }
            Err(at) => self.insert_at(at, child),
        }
        while let Some(at) = self.surplus(segment) {
            let Child { segment, ends, support: _, below } = self.children.remove(at);
            self.is_crowded |= segment.kind.is_literal();
            let name = Segment::of(NAME);
            self.insert_child(Child { ends, below, ..Child::new(name) });
        }
    }

    /// Children, theirs, and so on.
    pub(super) fn entries(&self) -> usize {
        self.children.iter().map(|child| 1 + child.below.entries()).sum()
    }

    pub(super) fn child(&self, hash: u64) -> Option<&Child> {
        self.find(hash).ok().and_then(|at| self.children.get(at))
    }

    fn find(&self, hash: u64) -> Result<usize, usize> {
        self.children.binary_search_by_key(&hash, |child| child.segment.hash)
    }

    /// Most nodes have one child: doubling would keep room for four.
    fn insert_at(&mut self, at: usize, child: Child) {
        if self.children.len() == self.children.capacity() {
            self.children.reserve_exact(1 + self.children.len() / 4);
        }
        self.children.insert(at, child);
    }

    /// The place of `{name}`, for a segment that finds none, and whether that is new.
    fn name(&mut self, segment: Segment, room: usize) -> Option<(usize, bool)> {
        let name = Segment::of(NAME);
        let is_first = segment.kind.is_literal() && !std::mem::replace(&mut self.is_crowded, true);
        match self.find(name.hash) {
            Ok(at) => Some((at, is_first)),
            Err(_) if room == 0 => None,
            Err(at) => {
                self.insert_at(at, Child::new(name));
                Some((at, true))
            }
        }
    }

    /// Whether a segment that is not here would be driven out at once.
    fn drives_out(&self, segment: Segment) -> bool {
        let (most, competes) = competition(segment);
        let mut last = self.children.iter().rev().filter(|child| competes(child.segment));
        self.children.len() >= most
            && last.next().is_some_and(|last| last.segment.hash < segment.hash)
            && last.count() + 1 >= most
    }

    /// The child with the largest hash of those that compete with it for places, if they are too many.
    fn surplus(&self, segment: Segment) -> Option<usize> {
        let (most, competes) = competition(segment);
        if self.children.len() <= most {
            return None;
        }
        let competing = self.children.iter().filter(|child| competes(child.segment)).count();
        let last = self.children.iter().rposition(|child| competes(child.segment));
        last.filter(|_| competing > most)
    }
}

/// How many places there are for segments like this one, and which those are.
fn competition(segment: Segment) -> (usize, fn(Segment) -> bool) {
    if segment.kind.is_literal() {
        (LITERALS, |other| other.kind.is_literal())
    } else {
        (OTHERS, |other| !other.kind.is_literal() && other != Segment::of(NAME))
    }
}
