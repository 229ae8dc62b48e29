//! Given: the table of metrics. Gives: the recording rules and alerts for Prometheus. Refuses to know: who is told.

use super::query::{RULE, family};

/// Names a recording rule: level, metric and operations, as Prometheus advises.
struct Recording {
    record: &'static str,
    expression: String,
}

/// What somebody must look at.
struct Alert {
    name: &'static str,
    expression: String,
    /// So long must it be true.
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// The text of the rule file.
pub(super) fn generate() -> String {
    let mut text = String::from(
        "# Recording rules and alerts for rotrace. `cargo xtask dashboards` writes this file from the metric table.\n\
         # The alert RotraceDown takes the scrape job of rotrace to be called rotrace.\n\
         groups:\n",
    );
    text.push_str("  - name: rotrace\n    rules:\n");
    for Recording { record, expression } in recordings() {
        text.push_str(&format!("      - record: {record}\n        expr: {}\n", quoted(&expression)));
    }
    text.push_str("  - name: rotrace-alerts\n    rules:\n");
    for Alert { name, expression, lasting, severity, summary, description } in alerts() {
        text.push_str(&format!(
            "      - alert: {name}\n        expr: {}\n        for: {lasting}\n        labels:\n          \
             severity: {severity}\n        annotations:\n          summary: {}\n          description: {}\n",
            quoted(&expression),
            quoted(summary),
            quoted(description),
        ));
    }
    text
}

fn recordings() -> Vec<Recording> {
    const REQUESTS: &str = "rotrace_http_client_requests_total";
    const DURATION: &str = "rotrace_http_client_request_duration_seconds";
    vec![
        Recording {
            record: "game:rotrace_http_client_requests:rate5m",
            expression: RULE.rate(REQUESTS, "game"),
        },
        Recording {
            record: "game:rotrace_http_client_requests:error_ratio_rate5m",
            expression: RULE.error_ratio(REQUESTS, "game"),
        },
        Recording {
            record: "game:rotrace_http_client_request_duration_seconds:p99_rate5m",
            expression: RULE.quantile(0.99, DURATION, "game"),
        },
        Recording {
            record: "instance:rotrace_events_lost:ratio_rate5m",
            expression: RULE.lost_ratio("job, instance"),
        },
    ]
}

fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            name: "RotraceDown",
            expression: "up{job=\"rotrace\"} == 0".to_owned(),
            lasting: "5m",
            severity: "critical",
            summary: "rotrace on {{ $labels.instance }} does not answer",
            description: "Nothing is known of the calls of this host. Its game servers are not affected.",
        },
        Alert {
            name: "RotraceEventsLost",
            expression: "instance:rotrace_events_lost:ratio_rate5m > 0.01".to_owned(),
            lasting: "10m",
            severity: "warning",
            summary: "rotrace on {{ $labels.instance }} loses {{ $value | humanizePercentage }} of what it sees",
            description: "Counts of calls of this host are too low. The label reason of rotrace_events_lost_total says \
                          why; for ring_full, raise ring_bytes under [limits].",
        },
        Alert {
            name: "RotraceEndpointOverflow",
            expression: format!(
                "sum by (instance, authority) (increase({}[15m])) > 0",
                family("rotrace_endpoint_overflow_total").name()
            ),
            lasting: "0m",
            severity: "warning",
            summary: "{{ $labels.authority }} has more paths than rotrace keeps apart",
            description: "New endpoints of this authority are counted together. A rule under [endpoints] or its OpenAPI \
                          document names them.",
        },
        Alert {
            name: "RotraceSeriesOverflow",
            expression: format!(
                "sum by (instance) (increase({}[15m])) > 0",
                family("rotrace_series_overflow_total").name()
            ),
            lasting: "0m",
            severity: "warning",
            summary: "rotrace on {{ $labels.instance }} has more endpoints than it keeps apart",
            description: "Calls to new endpoints are counted under the endpoint other of their game.",
        },
        Alert {
            name: "RotraceTlsOpaque",
            expression: format!(
                "sum by (instance, game) (increase({}[15m])) > 0",
                family("rotrace_tls_opaque_connections_total").name()
            ),
            lasting: "15m",
            severity: "warning",
            summary: "Calls of {{ $labels.game }} on {{ $labels.instance }} are hidden by TLS",
            description: "The TLS library of a process is none that rotrace reads: its calls are in no other metric. \
                          `rotrace check PID` names the library.",
        },
    ]
}

/// As a YAML string in single quotes, in which nothing but the quote is special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
