//! Given: lines of `rotrace attach --format json`. Gives: the calls and the summary in them. Refuses to know: any field
//! that is not in the contract of the command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::needs;

/// One call as rotrace printed it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) time: String,
    pub(crate) pid: u32,
    pub(crate) connection: String,
    pub(crate) role: Role,
    pub(crate) method: String,
    pub(crate) authority: Option<String>,
    /// Empty when it is not known.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) path: String,
    pub(crate) path_unknown: Option<String>,
    pub(crate) endpoint: String,
    pub(crate) status: Option<u16>,
    pub(crate) protocol: String,
    pub(crate) tls: bool,
    pub(crate) request_head_bytes: u64,
    pub(crate) request_body_bytes: Option<u64>,
    pub(crate) response_head_bytes: Option<u64>,
    pub(crate) response_body_bytes: Option<u64>,
    pub(crate) ttfb_ns: Option<u64>,
    pub(crate) duration_ns: Option<u64>,
    pub(crate) complete: bool,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) grpc_request_messages: Option<u64>,
    pub(crate) grpc_response_messages: Option<u64>,
}

fn or_empty<'de, D: serde::Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(value).map(Option::unwrap_or_default)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Client,
    Server,
}

/// The last line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) calls: u64,
    /// Without what [`Seen::read`] takes out.
    pub(crate) lost: BTreeMap<String, BTreeMap<String, u64>>,
    pub(crate) lost_bytes: BTreeMap<String, BTreeMap<String, u64>>,
    pub(crate) captured_bytes: Option<u64>,
    /// Those that arrived.
    pub(crate) records: u64,
}

impl Summary {
    /// What is lost for a reason, at whichever stage.
    pub(crate) fn lost(&self, reason: &str) -> Option<u64> {
        self.lost.values().find_map(|reasons| reasons.get(reason).copied())
    }

    /// Bytes that TCP has sent and received and no call has shown.
    pub(crate) fn unseen_bytes(&self) -> [u64; 2] {
        let of = |reason| self.lost_bytes.get("kernel").and_then(|reasons| reasons.get(reason)).copied();
        ["unseen_sent", "unseen_received"].map(|reason| of(reason).unwrap_or(0))
    }

    /// Takes a reason out, and a stage that has no other.
    fn take(&mut self, reason: &str) {
        self.lost.retain(|_, reasons| {
            reasons.remove(reason);
            !reasons.is_empty()
        });
    }
}

/// What one run of `attach` printed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Call>,
    pub(crate) summary: Summary,
    /// As printed.
    pub(crate) lines: Vec<String>,
}

impl Seen {
    /// Reads all lines; one that is none of the contract's is a failure.
    ///
    /// Where the kernel can be preempted within a probe, `not_run` is no more than how often events may have been missed, of
    /// whatever process. So it is no failure there, and what is seen must be equal all the same.
    pub(crate) fn read(lines: &[String]) -> Seen {
        let mut calls = Vec::new();
        let mut summary = None;
        for line in lines {
            assert!(summary.is_none(), "a line behind the summary: {line}");
            match kind(line).as_str() {
                "call" => {
                    calls.push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
                }
                "summary" => {
                    summary =
                        Some(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
                }
                "finding" => {}
                other => panic!("a line of type {other}: {line}"),
            }
        }
        let mut summary: Summary =
            summary.unwrap_or_else(|| panic!("no summary behind {} calls", calls.len()));
        if needs::is_preempted_within_probes() {
            summary.take("not_run");
        }
        assert_eq!(summary.calls, calls.len() as u64, "the summary counts other calls than were printed");
        Seen { calls, summary, lines: lines.to_vec() }
    }

    /// Connections that were not decoded, by the name that their client asked for; of a single game.
    pub(crate) fn opaque(&self) -> BTreeMap<String, u64> {
        let summary: serde_json::Value = serde_json::from_str(self.lines.last().unwrap()).unwrap();
        let named = summary["games"][0]["coverage"]["tls_opaque_by_authority"].as_object().unwrap();
        named.iter().map(|(name, opaque)| (name.clone(), opaque["connections"].as_u64().unwrap())).collect()
    }

    /// The calls of one role.
    pub(crate) fn of(&self, role: Role) -> Vec<Call> {
        self.calls.iter().filter(|call| call.role == role).cloned().collect()
    }
}

impl Call {
    /// Start of the call in microseconds since 1970.
    pub(crate) fn started_us(&self) -> i64 {
        microseconds(&self.time).unwrap_or_else(|| panic!("not RFC 3339 in UTC: {}", self.time))
    }

    /// End of the call, when it is known.
    pub(crate) fn ended_us(&self) -> Option<i64> {
        Some(self.started_us() + (self.duration_ns? / 1000) as i64)
    }
}

/// The `type` of a line.
pub(crate) fn kind(line: &str) -> String {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    serde_json::from_str::<Kind>(line).unwrap_or_else(|error| panic!("{error}: {line}")).r#type
}

/// `2026-08-23T12:34:56.789012345Z` in microseconds since 1970.
fn microseconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let (second, fraction) = time.next()?.split_once('.')?;
    let second: i64 = second.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    // Years begin in March: then the leap day is the last of a year, and months have a regular length.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

#[test]
fn times_are_read_to_the_microsecond() {
    assert_eq!(microseconds("1970-01-01T00:00:00.000001999Z"), Some(1));
    assert_eq!(microseconds("2024-02-29T23:59:59.5Z"), Some(1_709_251_199_500_000));
    assert_eq!(microseconds("2024-03-01T00:00:00.000000000Z"), Some(1_709_251_200_000_000));
    assert_eq!(microseconds("2024-03-01 00:00:00"), None);
}
