//! Given: what an exchange says of itself. Gives: the few values that may stand in a label. Refuses to know: what is
//! counted under them.

use super::OTHER;
use crate::exchange::{Exchange, Outcome};

/// A method as a label: those of RFC 9110 §9.3 and RFC 5789; all others are one, because a client can send any word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
    Other,
}

/// A status as a label: its class, and apart from it those that mean something else for cost and pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// 1xx as final response: 101.
    Informational,
    /// 2xx.
    Success,
    /// 3xx but 304.
    Redirect,
    /// 304.
    NotModified,
    /// 4xx but 404 and 429.
    ClientError,
    /// 404.
    NotFound,
    /// 429.
    TooManyRequests,
    /// 5xx.
    ServerError,
    /// No whole response was seen, or its status is in no class.
    None,
}

impl Method {
    pub(super) fn of(method: &str) -> Self {
        match method {
            "CONNECT" => Method::Connect,
            "DELETE" => Method::Delete,
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "TRACE" => Method::Trace,
            _ => Method::Other,
        }
    }

    /// As in the `method` label.
    pub fn name(self) -> &'static str {
        match self {
            Method::Connect => "CONNECT",
            Method::Delete => "DELETE",
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Trace => "TRACE",
            Method::Other => OTHER,
        }
    }
}

impl Code {
    pub(super) fn of(exchange: &Exchange) -> Self {
        match (exchange.outcome, exchange.status_of_call()) {
            (Outcome::Aborted | Outcome::Lost, _) | (_, None) => Code::None,
            (_, Some(304)) => Code::NotModified,
            (_, Some(404)) => Code::NotFound,
            (_, Some(429)) => Code::TooManyRequests,
            (_, Some(100..=199)) => Code::Informational,
            (_, Some(200..=299)) => Code::Success,
            (_, Some(300..=399)) => Code::Redirect,
            (_, Some(400..=499)) => Code::ClientError,
            (_, Some(500..=599)) => Code::ServerError,
            (_, Some(_)) => Code::None,
        }
    }

    /// As in the `code` label.
    pub fn name(self) -> &'static str {
        match self {
            Code::Informational => "1xx",
            Code::Success => "2xx",
            Code::Redirect => "3xx",
            Code::NotModified => "304",
            Code::ClientError => "4xx",
            Code::NotFound => "404",
            Code::TooManyRequests => "429",
            Code::ServerError => "5xx",
            Code::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::fixture::call;

    #[test]
    fn only_known_methods_are_labels() {
        for method in ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"] {
            assert_eq!(Method::of(method).name(), method);
        }
        for method in ["", "get", "PROPFIND", "GET "] {
            assert_eq!(Method::of(method).name(), OTHER);
        }
    }

    #[test]
    fn codes_are_classes_with_those_apart_that_mean_something_else() {
        let check = |status, expect: &str| {
            let mut call = call("chess", "api/a");
            call.exchange.status = status;
            assert_eq!(Code::of(&call.exchange).name(), expect, "{status:?}");
        };
        for (status, expect) in [
            (101, "1xx"),
            (204, "2xx"),
            (302, "3xx"),
            (304, "304"),
            (400, "4xx"),
            (404, "404"),
            (429, "429"),
            (503, "5xx"),
            (99, "none"),
            (600, "none"),
        ] {
            check(Some(status), expect);
        }
        check(None, "none");
    }
}
