//! Given: a dictionary, or the bytes of one. Gives: the other. Refuses to know: files.
//!
//! Two lines of JSON: what it is, with the hash of the second; and the trees by authority, each segment as
//! `[hash, kind, ends, processes, games, crowded, [segments below]]`. There are hashes in it and no words.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::cache::hash;
use super::super::canonical;
use super::tree::{Child, Kind, Node, Segment, Support};
use super::{AUTHORITIES, Dictionary, Known, SEGMENTS, SEGMENTS_PER_AUTHORITY};

/// What the first line calls it.
const FORMAT: &str = "rotrace endpoints";

/// Of this layout, and of the hash of segments: what was learned with another is of no use.
const VERSION: u32 = 1;

/// Why bytes are no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They never were one.
    Format,
    /// Of this version.
    Version(u32),
    /// They are not as they were written.
    Damaged,
    /// There is more in it than a dictionary holds.
    TooLarge,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => write!(formatter, "this is no dictionary of endpoints"),
            Self::Version(version) => {
                write!(formatter, "the dictionary is of version {version}, and {VERSION} is expected")
            }
            Self::Damaged => write!(formatter, "the dictionary is damaged"),
            Self::TooLarge => write!(formatter, "the dictionary holds more than it may"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    hash: u64,
}

/// Tells one dictionary from another; for `rotrace_endpoint_dictionary_info{version,hash}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Of the layout.
    pub version: u32,
    /// Of everything in it.
    pub hash: u64,
}

/// Trees by authority.
type Trees = BTreeMap<Box<str>, Tree>;

#[derive(Serialize, Deserialize)]
struct Tree(bool, Vec<Entry>);

#[derive(Serialize, Deserialize)]
struct Entry(u64, u8, bool, Vec<u32>, Vec<u32>, bool, Vec<Entry>);

/// In the order of their numbers.
const KINDS: [Kind; 4] = [Kind::Parameter, Kind::Fixed, Kind::Code, Kind::Word];

impl Dictionary {
    /// The dictionary as bytes; the same for the same dictionary.
    pub fn save(&self) -> Vec<u8> {
        let trees = self.authorities.iter().map(|(name, known)| (name.clone(), tree(&known.root)));
        let body = serde_json::to_vec(&trees.collect::<Trees>()).unwrap_or_default();
        let head = Head { format: FORMAT.to_owned(), version: VERSION, hash: hash(7, &body) };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        [&head[..], b"\n", &body, b"\n"].concat()
    }

    /// Version and hash of what [`Dictionary::save`] gives.
    pub fn label(&self) -> Label {
        let saved = self.save();
        let body = saved.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        Label { version: VERSION, hash: hash(7, body) }
    }

    /// The dictionary that was saved.
    pub fn load(bytes: &[u8]) -> Result<Self, Fault> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let head = serde_json::from_slice::<Head>(lines.next().unwrap_or_default());
        let head = head.ok().filter(|head| head.format == FORMAT).ok_or(Fault::Format)?;
        if head.version != VERSION {
            return Err(Fault::Version(head.version));
        }
        let body = lines.next().filter(|body| hash(7, body) == head.hash).ok_or(Fault::Damaged)?;
        let trees: Trees = serde_json::from_slice(body).map_err(|_| Fault::Damaged)?;
        let mut dictionary = Self::default();
        for (name, Tree(is_crowded, entries)) in trees {
            let root = node(is_crowded, entries, canonical::SEGMENTS).ok_or(Fault::Damaged)?;
            let segments = root.entries();
            dictionary.segments += segments;
            if canonical::authority(&name).as_deref() != Some(&*name) {
                return Err(Fault::Damaged);
            }
            // Eviction may leave one more than there is room for.
            if segments > 2 * SEGMENTS_PER_AUTHORITY || dictionary.segments > SEGMENTS {
                return Err(Fault::TooLarge);
            }
            let known = Known { root, segments, news: 1, ..Known::default() };
            dictionary.authorities.insert(name, known);
        }
        if dictionary.authorities.len() > AUTHORITIES {
            return Err(Fault::TooLarge);
        }
        dictionary.settle();
        Ok(dictionary)
    }
}

fn tree(node: &Node) -> Tree {
    Tree(node.is_crowded, node.children.iter().map(entry).collect())
}

fn entry(child: &Child) -> Entry {
    let Child { segment: Segment { hash, kind }, ends, support, below } = child;
    let Tree(is_crowded, entries) = tree(below);
    let kind = KINDS.iter().zip(0..).find(|(known, _)| *known == kind).map_or(0, |(_, number)| number);
    Entry(*hash, kind, *ends, support.processes().collect(), support.games().collect(), is_crowded, entries)
}

/// `None` when no tree can look so. The order and the number of children are not believed.
fn node(is_crowded: bool, entries: Vec<Entry>, depth: usize) -> Option<Node> {
    let mut node = Node { is_crowded, ..Node::default() };
    for Entry(hash, kind, ends, processes, games, is_crowded, entries) in entries {
        let segment = Segment { hash, kind: *KINDS.get(usize::from(kind))? };
        let below = self::node(is_crowded, entries, depth.checked_sub(1)?)?;
        node.insert_child(Child { segment, ends, support: Support::new(&processes, &games), below });
    }
    Some(node)
}
