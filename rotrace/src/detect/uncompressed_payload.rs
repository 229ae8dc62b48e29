//! Given: calls. Gives: endpoints that answer with much text that is not compressed. Refuses to know: the text; how much
//! smaller it would be is the setting `ratio` and not measured, because bodies are not captured. So the waste is potential,
//! and given with a range.
//!
//! Who has to change something depends on who is silent: a client that offers no coding gets none (RFC 9110 §12.5.3). It
//! is the same for all processes of a game, so they share one finding, which has the PID of the first.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::excess::{ENDPOINTS, Excess};
use super::finding::{Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply};
use super::pattern::Pattern;
use super::table::Table;
use crate::exchange::signals::Content;

pub(super) const ROW: Row = Row {
    pattern: Pattern::UncompressedPayload,
    thresholds: &[
        Threshold {
            name: "min_bytes",
            default: 1400.0,
            what: "bytes of a body from which compressing it gains anything: it then saves a packet",
        },
        Threshold {
            name: "min_mib_per_hour",
            default: 1.0,
            what: "such bodies of one endpoint of a game, in MiB an hour, from which they are told",
        },
        Threshold { name: "warn_mib_per_hour", default: 10.0, what: "the same from which it is a warning" },
        Threshold {
            name: "ratio",
            default: 0.3,
            what: "size of compressed text over its size before; assumed, not measured",
        },
    ],
    full_bytes: ENDPOINTS * (Table::<Excess>::ENTRY_BYTES + Excess::FULL_BYTES),
    make: |values, budget| Box::new(UncompressedPayload::new(values, budget)),
};

/// A gain below this is not worth the time that compressing takes.
const MIN_GAIN: f64 = 0.1;

/// Text that compresses well, and text that hardly does: what is saved lies between these.
const GAINS: std::ops::RangeInclusive<f64> = 0.4..=0.9;

/// How long after its last call a case is over: two hours.
const IDLE_NS: u64 = 7_200_000_000_000;

const MIB: f64 = 1_048_576.0;

#[derive(Debug)]
struct UncompressedPayload {
    min_bytes: u64,
    told_bytes: u64,
    warned_bytes: u64,
    gain: f64,
    endpoints: Table<Excess>,
}

impl UncompressedPayload {
    fn new(values: &Values, budget: Budget) -> Self {
        UncompressedPayload {
            min_bytes: values.count("min_bytes"),
            told_bytes: (values.of_name("min_mib_per_hour") * MIB) as u64,
            warned_bytes: (values.of_name("warn_mib_per_hour") * MIB) as u64,
            gain: 1.0 - values.of_name("ratio"),
            endpoints: Table::new(budget.entries(ENDPOINTS)),
        }
    }
}

impl Detector for UncompressedPayload {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let response = &call.signals.response;
        let is_text = response.content == Content::Text && !response.is_coded;
        // A part of something has to be the part that was asked for, byte for byte.
        let is_whole = call.reply == Reply::Success && call.status != 206;
        if !is_text || !is_whole || call.response_body_bytes < self.min_bytes || self.gain < MIN_GAIN {
            return;
        }
        let body_bytes = call.response_body_bytes;
        let wasted_bytes = (body_bytes as f64 * self.gain) as u64;
        let excess = self.endpoints.of(call.endpoint, Excess::default);
        let hour_bytes = excess.push(call, body_bytes, wasted_bytes, Class::Potential);
        if hour_bytes < self.told_bytes {
            return;
        }
        let accepts = call.signals.request.accepts_coding;
        let id = CaseId::new(Pattern::UncompressedPayload, call.endpoint);
        let case = desk.case(id, call, call.started_ns, IDLE_NS);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.confidence = Confidence::Strong;
        finding.waste.low_share = GAINS.start().min(self.gain) / self.gain;
        finding.waste.high_share = GAINS.end().max(self.gain) / self.gain;
        finding.evidence.set("bytes_1h", Fact::Bytes(hour_bytes));
        finding.evidence.set("last_body", Fact::Bytes(body_bytes));
        finding.evidence.set("assumed_ratio", Fact::Ratio(1.0 - self.gain));
        let (kind, remedy) = if accepts {
            ("server_no_encoding", "Let the server compress text: the client already offers Accept-Encoding.")
        } else {
            (
                "client_no_accept_encoding",
                "Send Accept-Encoding with the request, and read the compressed answer.",
            )
        };
        if finding.kind != kind {
            finding.kind = kind;
            finding.remedy = remedy.to_owned();
        }
        if hour_bytes >= self.warned_bytes {
            case.allow(Grade::Warned);
            excess.claim(id, desk);
        }
    }

    fn state(&self) -> State {
        State::of([(self.endpoints.len(), self.endpoints.evicted())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Found, Made, found, get};
    use crate::detect::subject::Api;

    const KB: u64 = 1000;

    /// Answers of so many bytes of JSON, half a second apart.
    fn json(count: u64, bytes: u64) -> impl Iterator<Item = Made> {
        (0..count).map(move |n| {
            get("/v1/config").at_ms(n * 500).with(|call| {
                call.exchange.response_body_bytes = Some(bytes);
                call.exchange.signals.response.content = Content::Text;
            })
        })
    }

    fn of(calls: impl Iterator<Item = Made>) -> Found {
        found(calls, |_| Api::default()).only(Pattern::UncompressedPayload)
    }

    #[test]
    fn ten_mebibytes_an_hour_are_a_warning_and_all_of_them_count() {
        let found = of(json(200, 80 * KB));
        assert_eq!(found.lines(), ["uncompressed_payload client_no_accept_encoding warning 0"]);
        assert_eq!(found.findings[0].waste.expected.bytes, 200 * 56 * KB);
        assert_eq!(found.findings[0].waste.low().bytes, 200 * 32 * KB);
        assert_eq!(found.findings[0].waste.high().bytes, 200 * 72 * KB);
        assert_eq!(found.wasted_bytes(Pattern::UncompressedPayload), (0, 200 * 56 * KB));
    }

    #[test]
    fn it_says_who_has_to_change() {
        let offered = json(200, 80 * KB)
            .map(|made| made.with(|call| call.exchange.signals.request.accepts_coding = true));
        assert_eq!(of(offered).lines(), ["uncompressed_payload server_no_encoding warning 0"]);
    }

    #[test]
    fn less_is_good_to_know_and_little_is_nothing() {
        let found = of(json(100, 80 * KB));
        assert_eq!(found.lines(), ["uncompressed_payload client_no_accept_encoding info 0"]);
        assert_eq!(found.wasted_bytes(Pattern::UncompressedPayload), (0, 0));
        assert_eq!(of(json(10, 80 * KB)).lines(), [""; 0]);
    }

    #[test]
    fn near_misses_are_none() {
        type Change = fn(Made) -> Made;
        let small: Change = |made| made.with(|call| call.exchange.response_body_bytes = Some(1399));
        let coded: Change = |made| made.with(|call| call.exchange.signals.response.is_coded = true);
        let asset: Change = |made| made.with(|call| call.exchange.signals.response.content = Content::Binary);
        let stream: Change =
            |made| made.with(|call| call.exchange.signals.response.content = Content::Stream);
        let part: Change = |made| made.status(206);
        let failed: Change = |made| made.status(500);
        for change in [small, coded, asset, stream, part, failed] {
            // Small ones are many, so that it is the size of each that speaks for them.
            assert_eq!(of(json(9000, 80 * KB).map(change)).lines(), [""; 0]);
        }
    }
}
