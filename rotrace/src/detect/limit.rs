//! Given: what part of a limit was used up, whenever that is known. Gives: the greatest part of the last minutes, by game,
//! authority and who told of the limit. Refuses to know: how it was found out, and whether it is too much.

use std::sync::Arc;

use super::desk::Desk;
use super::detector::Budget;
use super::observation::Observation;
use super::table::Table;
use super::window::Window;
use crate::keyed::combine;

/// Games, authorities and sources that are followed, one entry for each set of labels; another one takes the place of the
/// longest unused.
const USES: usize = 1024;

/// What is told is the greatest of the minute that goes on and of the one before: the one that goes on has only begun.
const TOLD_MINUTES: usize = 2;

/// Who says what the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Fields of answers say what is left of it: the quota of whoever the server counts, often several processes.
    Answers,
    /// The catalogue has it for one process, whose calls are counted.
    Catalogue,
}

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitUse {
    /// Whose calls use it.
    pub game: Arc<str>,
    /// Where it holds.
    pub authority: Arc<str>,
    /// Which one it is.
    pub limit: Limit,
    /// The greatest part of it that was used, of any process and endpoint. Above 1 when there were more calls than it
    /// allows.
    pub share: f64,
}

/// Uses of limits.
#[derive(Debug)]
pub struct Limits {
    uses: Table<Use>,
}

/// The greatest share of each minute; `None` where none was told.
#[derive(Debug)]
struct Use {
    game: Arc<str>,
    authority: Arc<str>,
    limit: Limit,
    minutes: Window<Option<f32>, 60, 5>,
}

impl Limit {
    /// As in the `limit` label.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Answers => "answers",
            Limit::Catalogue => "catalogue",
        }
    }
}

impl Limits {
    /// Memory that they take when they are full.
    pub const FULL_BYTES: usize = USES * Table::<Use>::ENTRY_BYTES;

    /// None yet; `budget` is the part of [`Limits::FULL_BYTES`] that they may take.
    pub fn new(budget: Budget) -> Self {
        Limits { uses: Table::new(budget.entries(USES)) }
    }

    /// With this call, so much of a limit is used in the minute that goes on. Nothing is kept of a call whose names have
    /// made room.
    pub fn record(&mut self, call: &Observation, limit: Limit, share: f32, desk: &Desk) {
        let Some(subject) = desk.subject(call) else { return };
        let names = &subject.names;
        let key = combine(combine(call.game, call.authority), limit as u64);
        let used = self.uses.of(key, || Use {
            game: Arc::clone(&names.game),
            authority: Arc::clone(&names.authority),
            limit,
            minutes: Window::default(),
        });
        let Some(greatest) = used.minutes.at(call.started_ns) else { return };
        *greatest = Some(greatest.map_or(share, |greatest| greatest.max(share)));
    }

    /// What is known at this time. A limit of which nothing was told lately is not there.
    pub fn at(&self, now_ns: u64) -> Vec<LimitUse> {
        let mut uses: Vec<LimitUse> = self.uses.iter().filter_map(|(_, used)| used.at(now_ns)).collect();
        uses.sort_by(|a, b| (&a.game, &a.authority, a.limit).cmp(&(&b.game, &b.authority, b.limit)));
        uses
    }

    /// How many are held, and how many made room.
    pub fn counts(&self) -> (usize, u64) {
        (self.uses.len(), self.uses.evicted())
    }
}

impl Use {
    fn at(&self, now_ns: u64) -> Option<LimitUse> {
        let Use { game, authority, limit, minutes } = self;
        let minutes: Vec<Option<f32>> = minutes.recent(now_ns).collect();
        let told = minutes.into_iter().rev().take(TOLD_MINUTES).flatten();
        let share = told.reduce(f32::max)?;
        Some(LimitUse {
            game: Arc::clone(game),
            authority: Arc::clone(authority),
            limit: *limit,
            share: f64::from(share),
        })
    }
}
