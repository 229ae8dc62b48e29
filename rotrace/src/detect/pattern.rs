//! Given: nothing. Gives: the patterns of waste that detectors find, their names, and which of two claims of one call
//! holds. Refuses to know: how any of them is found.

/// A pattern of waste. The order is that of precedence: a call that two patterns claim belongs to the lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Responses that their client does not wait for.
    WastedResponse,
    /// Failed calls that are made again at once.
    RetryStorm,
    /// Calls that the server turns away because there are too many.
    RateLimitPressure,
    /// Calls that fail again and again in a way that will not change.
    ErrorLoop,
    /// Calls that are answered by a redirect.
    RedirectChain,
    /// The same read while its last answer still holds.
    DuplicateRequest,
    /// Reads on a fixed schedule that find nothing new.
    PollUnchanged,
    /// One call for each of many ids.
    NPlusOne,
    /// Pages smaller than they could be.
    TinyPages,
    /// Writes that could be one.
    ChattyWrites,
    /// Endpoints for which there is a better one.
    SuboptimalEndpoint,
    /// Validators that are not sent back.
    MissingConditional,
    /// Bodies that are larger than they need to be.
    OversizedPayload,
    /// Text that is not compressed.
    UncompressedPayload,
    /// A new connection for each request.
    ConnectionChurn,
    /// Independent calls that wait for each other.
    SerialWaterfall,
}

/// What a pattern wastes; claims of different pools may meet in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Whole calls.
    Calls,
    /// Bytes of calls that had to be made.
    Bytes,
    /// Connections, or time.
    Seconds,
}

impl Pattern {
    /// Each of them, in the order of precedence.
    pub const ALL: [Pattern; 16] = [
        Pattern::WastedResponse,
        Pattern::RetryStorm,
        Pattern::RateLimitPressure,
        Pattern::ErrorLoop,
        Pattern::RedirectChain,
        Pattern::DuplicateRequest,
        Pattern::PollUnchanged,
        Pattern::NPlusOne,
        Pattern::TinyPages,
        Pattern::ChattyWrites,
        Pattern::SuboptimalEndpoint,
        Pattern::MissingConditional,
        Pattern::OversizedPayload,
        Pattern::UncompressedPayload,
        Pattern::ConnectionChurn,
        Pattern::SerialWaterfall,
    ];

    /// As in the `pattern` label, the configuration and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::WastedResponse => "wasted_response",
            Pattern::RetryStorm => "retry_storm",
            Pattern::RateLimitPressure => "rate_limit_pressure",
            Pattern::ErrorLoop => "error_loop",
            Pattern::RedirectChain => "redirect_chain",
            Pattern::DuplicateRequest => "duplicate_request",
            Pattern::PollUnchanged => "poll_unchanged",
            Pattern::NPlusOne => "n_plus_one",
            Pattern::TinyPages => "tiny_pages",
            Pattern::ChattyWrites => "chatty_writes",
            Pattern::SuboptimalEndpoint => "suboptimal_endpoint",
            Pattern::MissingConditional => "missing_conditional",
            Pattern::OversizedPayload => "oversized_payload",
            Pattern::UncompressedPayload => "uncompressed_payload",
            Pattern::ConnectionChurn => "connection_churn",
            Pattern::SerialWaterfall => "serial_waterfall",
        }
    }

    /// The pattern of a name.
    pub fn of_name(name: &str) -> Option<Pattern> {
        Pattern::ALL.into_iter().find(|pattern| pattern.name() == name)
    }

    /// What it wastes.
    pub fn pool(self) -> Pool {
        match self {
            Pattern::MissingConditional | Pattern::OversizedPayload | Pattern::UncompressedPayload => {
                Pool::Bytes
            }
            Pattern::ConnectionChurn | Pattern::SerialWaterfall => Pool::Seconds,
            _ => Pool::Calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_the_list_is_in_order() {
        assert!(Pattern::ALL.is_sorted());
        for pattern in Pattern::ALL {
            assert_eq!(Pattern::of_name(pattern.name()), Some(pattern));
        }
        assert_eq!(Pattern::of_name("n+1"), None);
    }
}
