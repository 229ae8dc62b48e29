//! Given: calls as they end, and the summary. Gives: lines for people and for programs, and the report at the end.
//! Refuses to know: where the lines go, and whether that is a terminal.
//!
//! Whatever traffic says reaches a line only through [`visible`]: no query value that is not allowed, and no byte that a
//! terminal would obey.

pub mod cost;
pub mod finding;
pub mod json;
mod meaning;
pub mod text;
mod units;
pub mod visible;
pub mod wall;
mod websocket;

pub use text::Style;
pub use visible::visible_target;
pub use wall::WallClock;
