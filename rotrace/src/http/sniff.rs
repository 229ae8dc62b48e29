//! Given: the first bytes of a stream. Gives: what it speaks. Refuses to know: the rest.
