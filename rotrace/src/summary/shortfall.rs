//! Given: counts of other stages. Gives: them, beside the events that were lost: bytes, and names. Refuses to know: what the
//! calls were.

use std::collections::BTreeMap;

/// What is not in the figures as it was, beside lost events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Stream bytes that were seen to move and whose content was lost, or that arrived twice, by stage and reason. What is
    /// left out of bodies on purpose is not among them.
    pub bytes: BTreeMap<(&'static str, &'static str), u64>,
    /// Values of game rules that became the game `other`, because there are too many games.
    pub games_refused: u64,
    /// Values of game rules that were cut, or lost characters that are not visible.
    pub games_altered: u64,
}
