//! Given: the name of a reason. Gives: what it means for the figures of a report, in words. Refuses to know: how often it was
//! so.

/// Why the path of a call is not known.
pub(super) fn unnamed_meaning(reason: &str) -> &str {
    match reason {
        "joined_late" => "it was sent before the connection was watched, and only its number is repeated",
        "block_lost" => "it was sent with fields that were lost, and only its number is repeated",
        "missing" => "the request names none",
        other => other,
    }
}

/// What did not become a call.
pub(super) fn unpaired_meaning(reason: &str) -> &str {
    match reason {
        "response" => "a response whose request was not seen",
        "request" => "a request whose response is not certain",
        "resync" => "a gap where a message began or its length stood",
        "upgraded" => "a connection that became a tunnel or another protocol",
        "not_http" => "a connection that is not HTTP",
        other => other,
    }
}
