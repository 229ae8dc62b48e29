//! Given: the chunks of one direction of an HTTP/1 connection. Gives: heads and bodies. Refuses to know: the other direction.
