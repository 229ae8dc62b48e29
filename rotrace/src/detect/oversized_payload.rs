//! Given: calls. Gives: endpoints whose answers, or requests, are far larger than a game can make use of. Refuses to know:
//! what of them is used.
//!
//! A body is compared with a fixed size, and with what other games on this host get from the same endpoint. Text alone is
//! judged: models, images and archives are as large as they are, and often come without a file name that would tell. What
//! a request carries is not known, so a large one is good to know and claims nothing. What is too large is so for all
//! processes of a game: they share one finding, which has the PID of the first.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::excess::{ENDPOINTS, Excess};
use super::finding::{Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply};
use super::pattern::Pattern;
use super::profile::Sizes;
use super::query::PartKind;
use super::subject::Api;
use super::table::Table;
use crate::exchange::signals::Content;
use crate::keyed::combine;

pub(super) const ROW: Row = Row {
    pattern: Pattern::OversizedPayload,
    thresholds: &[
        Threshold {
            name: "min_bytes",
            default: 300_000.0,
            what: "bytes of a body from which it is told, whatever others get",
        },
        Threshold {
            name: "min_peer_ratio",
            default: 10.0,
            what: "size of a game's large bodies (95 of 100 are smaller) over the median of all games on the host, \
                   from which they are told",
        },
        Threshold {
            name: "warn_mib_per_hour",
            default: 10.0,
            what: "bytes above what is enough, in MiB an hour of one endpoint of a game, from which it is a warning",
        },
    ],
    full_bytes: ENDPOINTS * (Table::<Excess>::ENTRY_BYTES + Excess::FULL_BYTES)
        + PEERS * Table::<Peers>::ENTRY_BYTES,
    make: |values, budget| Box::new(OversizedPayload::new(values, budget)),
};

/// A body of this size is never too large.
const ENOUGH_BYTES: u64 = 65_536;

/// So many times the median of all games is enough as well.
const ENOUGH_MEDIANS: u64 = 3;

/// Games that have to call an endpoint before one of them is compared with all of them.
const GAMES_MIN: usize = 3;

/// Answers to learn from before that, and calls of an endpoint before anything is a warning.
const CALLS_MIN: u32 = 20;

/// Endpoints whose sizes are known over all games; 0.5 MiB.
const PEERS: usize = 2048;

/// How long after its last call a case is over: two hours.
const IDLE_NS: u64 = 7_200_000_000_000;

#[derive(Debug)]
struct OversizedPayload {
    min_bytes: u64,
    min_peer_ratio: f64,
    warned_bytes: u64,
    endpoints: Table<Excess>,
    peers: Table<Peers>,
}

/// What all games get from one endpoint.
#[derive(Debug, Default)]
struct Peers {
    sizes: Sizes,
    /// The first games that were seen.
    games: [Option<u64>; GAMES_MIN],
}

impl OversizedPayload {
    fn new(values: &Values, budget: Budget) -> Self {
        OversizedPayload {
            min_bytes: values.count("min_bytes"),
            min_peer_ratio: values.of_name("min_peer_ratio"),
            warned_bytes: (values.of_name("warn_mib_per_hour") * 1_048_576.0) as u64,
            endpoints: Table::new(budget.entries(ENDPOINTS)),
            peers: Table::new(budget.entries(PEERS)),
        }
    }
}

impl Detector for OversizedPayload {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if call.request_body_bytes >= self.min_bytes {
            uploaded(call, desk);
        }
        let response = &call.signals.response;
        let is_text = response.content == Content::Text && !response.is_attachment;
        // Whoever asks for a part has thought of the size.
        let is_whole = call.reply == Reply::Success && call.status != 206 && !call.signals.request.is_range;
        if !is_text || !is_whole {
            return;
        }
        let peers = self.peers.of(call.endpoint_of_any_game, Peers::default);
        peers.take(call);
        if call.response_body_bytes >= ENOUGH_BYTES.min(self.min_bytes) {
            let median_bytes = peers.median_bytes();
            self.judge(call, median_bytes, desk);
        }
    }

    fn state(&self) -> State {
        let Self { endpoints, peers, .. } = self;
        State::of([(endpoints.len(), endpoints.evicted()), (peers.len(), peers.evicted())])
    }
}

impl OversizedPayload {
    fn judge(&mut self, call: &Observation, median_bytes: Option<u64>, desk: &mut Desk) {
        let Some(subject) = desk.subject(call) else { return };
        let (api, calls) = (&subject.api, subject.calls);
        if api.is_asset {
            return;
        }
        let body_bytes = call.response_body_bytes;
        let is_of_peers =
            |bytes: u64, median_bytes: u64| bytes as f64 >= self.min_peer_ratio * median_bytes as f64;
        let above_peers = median_bytes
            .is_some_and(|of| is_of_peers(body_bytes, of) && is_of_peers(subject.sizes.quantile(0.95), of));
        if body_bytes < self.min_bytes && !above_peers {
            return;
        }
        let enough_bytes = median_bytes.map_or(0, |of| of * ENOUGH_MEDIANS).max(ENOUGH_BYTES);
        let wasted_bytes = body_bytes.saturating_sub(enough_bytes);
        let class = if is_unbounded(call, api) { Class::Avoidable } else { Class::Potential };
        let remedy = remedy(call, api);
        let excess = self.endpoints.of(call.endpoint, Excess::default);
        let hour_bytes = excess.push(call, wasted_bytes, wasted_bytes, class);
        let id = CaseId::new(Pattern::OversizedPayload, call.endpoint);
        let case = desk.case(id, call, call.started_ns, IDLE_NS);
        case.count(Sample::of(call, call.resource));
        let finding = &mut case.finding;
        finding.kind = if above_peers { "larger_than_peers" } else { "oversized_response" };
        finding.confidence =
            if class == Class::Avoidable { Confidence::Strong } else { Confidence::Heuristic };
        finding.remedy = remedy;
        // What others get is known to a few per cent, and may be less: so much is enough for everybody.
        let most_bytes = body_bytes.saturating_sub(ENOUGH_BYTES);
        let most_share = most_bytes as f64 / wasted_bytes.max(1) as f64;
        finding.waste.high_share = finding.waste.high_share.max(most_share);
        finding.evidence.set("last_body", Fact::Bytes(body_bytes));
        finding.evidence.set("enough", Fact::Bytes(enough_bytes));
        finding.evidence.set("excess_1h", Fact::Bytes(hour_bytes));
        if let Some(median_bytes) = median_bytes {
            finding.evidence.set("median_of_all_games", Fact::Bytes(median_bytes));
        }
        if hour_bytes >= self.warned_bytes && calls >= CALLS_MIN.into() {
            case.allow(Grade::Warned);
            excess.claim(id, desk);
        }
    }
}

/// The server can be told how much to send, and was not.
fn is_unbounded(call: &Observation, api: &Api) -> bool {
    api.page_size_key.is_some() && call.parts.first(PartKind::PageSize).is_none()
}

fn remedy(call: &Observation, api: &Api) -> String {
    match &api.page_size_key {
        Some(key) if is_unbounded(call, api) => format!("Say with {key} how many items are needed."),
        _ => "Ask only for what is used: a list of fields or a smaller page, where the service has them."
            .to_owned(),
    }
}

fn uploaded(call: &Observation, desk: &mut Desk) {
    if desk.subject(call).is_some_and(|subject| subject.api.is_asset) {
        return;
    }
    let id = CaseId::new(Pattern::OversizedPayload, combine(call.endpoint, 1));
    let case = desk.case(id, call, call.started_ns, IDLE_NS);
    case.count(Sample::of(call, call.resource));
    let finding = &mut case.finding;
    finding.kind = "oversized_upload";
    finding.class = Class::Potential;
    finding.evidence.set("last_body", Fact::Bytes(call.request_body_bytes));
    if finding.remedy.is_empty() {
        finding.remedy = "Send only what has changed, in smaller pieces or compressed.".to_owned();
    }
}

impl Peers {
    fn take(&mut self, call: &Observation) {
        self.sizes.record(call.response_body_bytes);
        for game in &mut self.games {
            match *game {
                Some(known) if known == call.game => return,
                Some(_) => {}
                None => {
                    *game = Some(call.game);
                    return;
                }
            }
        }
    }

    /// `None` while there is too little to compare with.
    fn median_bytes(&self) -> Option<u64> {
        let is_known = self.games.iter().all(Option::is_some) && self.sizes.count() >= CALLS_MIN;
        is_known.then(|| self.sizes.quantile(0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{Found, Made, found, get, send};
    use crate::detect::subject::Names;

    const KB: u64 = 1000;

    /// An answer of compressed text.
    fn json(made: Made, bytes: u64) -> Made {
        made.with(|call| {
            call.exchange.signals.response.is_coded = true;
            call.exchange.response_body_bytes = Some(bytes);
            call.exchange.signals.response.content = Content::Text;
        })
    }

    fn lists(count: u64, bytes: u64) -> impl Iterator<Item = Made> {
        (0..count).map(move |n| json(get("/v1/items").at_ms(n * 10_000), bytes))
    }

    fn no_api(_: &Names) -> Api {
        Api::default()
    }

    fn of(calls: impl IntoIterator<Item = Made>, api: impl Fn(&Names) -> Api) -> Found {
        found(calls, api).only(Pattern::OversizedPayload)
    }

    #[test]
    fn an_unbounded_list_wastes_what_is_above_enough() {
        let found = of(lists(30, 1200 * KB), no_api);
        assert_eq!(found.lines(), ["oversized_payload oversized_response warning 0"]);
        assert_eq!(found.wasted_bytes(Pattern::OversizedPayload), (0, 30 * (1200 * KB - ENOUGH_BYTES)));
    }

    #[test]
    fn a_list_that_could_have_been_bounded_is_proof() {
        let paged = |_: &Names| Api { page_size_key: Some("limit".into()), ..Api::default() };
        let found = of(lists(30, 1200 * KB), paged);
        assert_eq!(found.wasted_bytes(Pattern::OversizedPayload), (30 * (1200 * KB - ENOUGH_BYTES), 0));
        let bounded = (0..30).map(|n| json(get("/v1/items?limit=100").at_ms(n * 10_000), 1200 * KB));
        assert_eq!(of(bounded, paged).wasted_bytes(Pattern::OversizedPayload).0, 0);
    }

    #[test]
    fn a_few_large_answers_are_good_to_know() {
        for calls in [lists(5, 1200 * KB), lists(19, 1200 * KB), lists(30, 320 * KB)] {
            let found = of(calls, no_api);
            assert_eq!(found.lines(), ["oversized_payload oversized_response info 0"]);
            assert_eq!(found.wasted_bytes(Pattern::OversizedPayload), (0, 0));
        }
    }

    /// Four games get answers of `bytes`, and one of `own`.
    fn games(bytes: u64, own: u64) -> impl Iterator<Item = Made> {
        (0..600).map(move |n| {
            let game = if n % 5 == 4 { "obby".to_owned() } else { format!("game{}", n % 5) };
            let bytes = if n % 5 == 4 { own } else { bytes };
            let made = json(get("/v1/profile").at_ms(n * 1000), bytes);
            made.with(|call| call.game = Some(game.as_str().into())).pid(100 + (n % 5) as u32)
        })
    }

    #[test]
    fn a_game_that_gets_ten_times_what_others_get_stands_out() {
        let found = of(games(10 * KB, 200 * KB), no_api);
        assert_eq!(found.lines(), ["oversized_payload larger_than_peers warning 0"]);
        assert_eq!(&*found.findings[0].game, "obby");
        assert!(of(games(10 * KB, 80 * KB), no_api).findings.is_empty());
        // Three times as heavy is a matter of the genre.
        assert!(of(games(60 * KB, 180 * KB), no_api).findings.is_empty());
    }

    #[test]
    fn what_all_games_get_is_enough() {
        let found = of(games(400 * KB, 400 * KB), no_api);
        assert!(
            found.findings.iter().all(|finding| finding.waste.expected.bytes == 0),
            "{:?}",
            found.lines()
        );
    }

    #[test]
    fn an_upload_is_good_to_know() {
        let uploads = (0..100).map(|n| {
            let made = send("POST", "/v1/saves").at_ms(n * 1000);
            made.with(|call| call.exchange.request_body_bytes = Some(500 * KB))
        });
        assert_eq!(of(uploads, no_api).lines(), ["oversized_payload oversized_upload info 0"]);
    }

    #[test]
    fn near_misses_are_none() {
        type Change = fn(Made) -> Made;
        let small: Change = |made| json(made, 299 * KB);
        let binary: Change =
            |made| made.with(|call| call.exchange.signals.response.content = Content::Binary);
        let unknown: Change =
            |made| made.with(|call| call.exchange.signals.response.content = Content::Unknown);
        let attached: Change = |made| made.with(|call| call.exchange.signals.response.is_attachment = true);
        let range: Change = |made| made.with(|call| call.exchange.signals.request.is_range = true);
        let part: Change = |made| made.status(206);
        for change in [small, binary, unknown, attached, range, part] {
            assert!(of(lists(40, 10_000 * KB).map(change), no_api).findings.is_empty());
        }
        let asset = |_: &Names| Api { is_asset: true, ..Api::default() };
        assert!(of(lists(40, 10_000 * KB), asset).findings.is_empty());
    }
}
