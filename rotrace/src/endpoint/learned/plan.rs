//! Given: the tree of what an authority was called for. Gives: which literals of its templates are names. Refuses to
//! know: who called, and what came first.
//!
//! A literal that few share is *weak*. Below one node names are
//!
//! ```text
//! many     all weak literals, where there are more than 32
//! alike    weak literals of which 8 and more go on in the same way: /{name}/servers/{id}
//! beside   weak literals that end a path, 8 and more of them, where a parameter does: /{id}
//! codes    what looks like a code, where 8 and more do, whoever shares them: /en, /de, …
//! ```
//!
//! Another path can only make more literals names: none of the rules asks for what is *not* there. Only a literal that
//! comes to be shared is one again. What lies below names is one tree from then on, and judged as such.

use std::borrow::Cow;

use super::tree::{Child, Kind, NAME, Node, Segment};
use crate::keyed::combine;

/// Weak literals below one node that may all be routes.
const WEAK_MOST: usize = 32;

/// Literals that are names if they have more in common.
const ALIKE_LEAST: usize = 8;

/// Weak literals below one node that leave no doubt: they are far from being names.
const DOUBTLESS_MOST: usize = ALIKE_LEAST / 2;

/// What is decided below a node. What is not mentioned here stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By hash: segments that are names, that stay though others are, or below which something is decided.
    steps: Vec<(u64, Step)>,
    /// All other literals are names.
    is_collapsed: bool,
    /// Other literals may yet turn out to be names.
    is_doubtful: bool,
    /// Below `{name}` and all that it stands for.
    name: Option<Box<Plan>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stays { plan: Plan, is_doubtful: bool },
    IsName,
}

/// What a plan did to a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::endpoint) struct Applied {
    /// There were names in it.
    pub(in crate::endpoint) is_changed: bool,
    /// More of its literals may turn out to be names.
    pub(in crate::endpoint) is_doubtful: bool,
}

impl Plan {
    pub(super) fn of(node: &Node) -> Self {
        if node.children.is_empty() {
            return Self::default();
        }
        let names = names(node);
        let weak = node.children.iter().filter(|child| is_weak(child)).count();
        let is_collapsed = node.is_crowded || weak > WEAK_MOST;
        let in_doubt = !is_collapsed && weak > DOUBTLESS_MOST;
        let name = Segment::of(NAME);
        let is_name = |child: &Child| (is_collapsed && is_weak(child)) || names.contains(&child.segment.hash);
        let mut below =
            node.child(name.hash).map_or(Cow::Owned(Node::default()), |child| Cow::Borrowed(&child.below));
        let mut steps = Vec::new();
        for child in node.children.iter().filter(|child| child.segment != name) {
            if is_name(child) {
                below.to_mut().merge(child.below.clone());
                steps.push((child.segment.hash, Step::IsName));
                continue;
            }
            let plan = Self::of(&child.below);
            let is_literal = child.segment.kind.is_literal();
            if !plan.is_trivial() || (is_literal && (is_collapsed || in_doubt)) {
                let is_doubtful = in_doubt && is_weak(child);
                steps.push((child.segment.hash, Step::Stays { plan, is_doubtful }));
            }
        }
        if is_collapsed {
            // Those that are not mentioned are names anyway.
            steps.retain(|(_, step)| *step != Step::IsName);
        }
        let below = Self::of(&below);
        let name = (!below.is_trivial()).then(|| Box::new(below));
        Self { steps, is_collapsed, is_doubtful: in_doubt, name }
    }

    /// Whether it changes nothing and doubts nothing.
    pub(super) fn is_trivial(&self) -> bool {
        *self == Self::default()
    }

    /// Replaces the names in the template that stands behind `start` in `label`.
    pub(super) fn apply(&self, start: usize, label: &mut String) -> Applied {
        let mut applied = Applied::default();
        if self.is_trivial() || label.get(start..start + 1) != Some("/") {
            return applied;
        }
        let mut plan = Some(self);
        let mut at = start + 1;
        while let Some(here) = plan.filter(|_| at <= label.len()) {
            let rest = label.get(at..).unwrap_or_default();
            let length = rest.find('/').unwrap_or(rest.len());
            let text = rest.get(..length).unwrap_or_default();
            let segment = Segment::of(text);
            let step = here.steps.binary_search_by_key(&segment.hash, |(hash, _)| *hash).ok();
            let step = step.and_then(|at| here.steps.get(at)).map(|(_, step)| step);
            let mut end = at + length;
            plan = match step {
                Some(Step::Stays { plan, is_doubtful }) => {
                    applied.is_doubtful |= is_doubtful;
                    Some(plan)
                }
                None if text == NAME => here.name.as_deref(),
                None if !segment.kind.is_literal() => None,
                None if !here.is_collapsed => {
                    applied.is_doubtful |= here.is_doubtful;
                    None
                }
                Some(Step::IsName) | None => {
                    applied.is_changed = true;
                    label.replace_range(at..end, NAME);
                    end = at + NAME.len();
                    here.name.as_deref()
                }
            };
            at = end + 1;
        }
        applied
    }
}

fn is_weak(child: &Child) -> bool {
    child.segment.kind.is_literal() && !child.support.is_shared()
}

/// The hashes of what has enough in common to be names.
fn names(node: &Node) -> Vec<u64> {
    let codes = node.children.iter().filter(|child| child.segment.kind == Kind::Code);
    let mut names: Vec<u64> = codes.map(|child| child.segment.hash).collect();
    if names.len() < ALIKE_LEAST {
        names.clear();
    }
    let weak: Vec<&Child> = node.children.iter().filter(|child| is_weak(child)).collect();
    if weak.len() < ALIKE_LEAST {
        return names;
    }
    let hash = |child: &&Child| child.segment.hash;
    let is_beside = node.children.iter().any(|child| child.segment.kind == Kind::Parameter && child.ends);
    let ends = weak.iter().filter(|child| child.ends);
    if is_beside && ends.clone().count() >= ALIKE_LEAST {
        names.extend(ends.map(hash));
    }
    let mut ways = Vec::new();
    for child in &weak {
        push_ways(&child.below, 0, false, &mut |way| ways.push((way, hash(child))));
    }
    ways.sort_unstable();
    let alike = ways.chunk_by(|(one, _), (other, _)| one == other).filter(|alike| alike.len() >= ALIKE_LEAST);
    names.extend(alike.flatten().map(|(_, hash)| *hash));
    names
}

/// The ways in which paths go on to their ends, but those on which there is no word: `/{id}` follows on anything.
fn push_ways(node: &Node, before: u64, has_word: bool, push: &mut dyn FnMut(u64)) {
    for child in &node.children {
        let way = combine(before, child.segment.hash);
        let has_word = has_word || child.segment.kind == Kind::Word;
        if child.ends && has_word {
            push(way);
        }
        push_ways(&child.below, way, has_word, push);
    }
}
