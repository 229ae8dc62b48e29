//! Given: nothing; plain values. Gives: how the calls of a burst may follow each other. Refuses to know: how that is seen.

/// How the calls of a burst follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Concurrent,
    Loop,
    Paced,
    /// As players come and go: nobody could ask once for all of them.
    Uneven,
}

impl Shape {
    /// As in findings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Concurrent => "concurrent",
            Shape::Loop => "loop",
            Shape::Paced => "paced",
            Shape::Uneven => "uneven",
        }
    }
}
