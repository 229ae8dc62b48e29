//! Given: calls, weights and a catalogue. Gives: whether prices are those that a person would compute. Refuses to know: how
//! classes are found.

use proptest::prelude::*;

use super::*;
use crate::call::Process;
use crate::catalogue::Table;
use crate::exchange::{Outcome, Role};
use crate::http::Protocol;

fn call(method: &str, endpoint: &str, status: Option<u16>) -> Call {
    Call {
        exchange: Exchange {
            ordinal: 0,
            role: Role::Client,
            protocol: Protocol::Http11,
            method: method.to_owned().into(),
            target: "/".into(),
            authority: None,
            status,
            request_head_bytes: 1024,
            request_body_bytes: Some(0),
            response_head_bytes: Some(1024),
            response_body_bytes: Some(62 * 1024),
            started_ns: 1_000_000_000,
            first_byte_ns: Some(1_040_000_000),
            ended_ns: Some(1_050_000_000),
            outcome: Outcome::Complete,
            ambiguous_framing: false,
            fields: Vec::new(),
            signals: crate::exchange::Signals::default(),
            grpc: None,
            unnamed: None,
        },
        process: Arc::new(Process { pid: 1, start_ticks: 1, exe: "".into(), game: None }),
        game: None,
        endpoint: endpoint.into(),
        path: "/".into(),
        conn: 1,
        tls: false,
        cost_ucu: None,
        peer: None,
    }
}

const GET: &str = "apis.roblox.com/cloud/v2/universes/{id}/data-stores/{id}/entries/{id}";

fn prices(mode: Mode) -> Prices {
    Prices::new(Weights::default().with_mode(mode), Arc::default()).unwrap()
}

/// The price in units of one call in a mode.
fn check(mode: Mode, call: &Call, expect: Option<f64>) {
    let mut prices = prices(mode);
    let found = prices.price(call);
    assert_eq!(found, expect.map(MicroCu::of_cu), "{mode} {call:?}");
    // The second time it is remembered.
    assert_eq!(prices.price(call), found);
    let of_endpoint = prices.of_endpoint(&call.endpoint, &call.exchange.method).unwrap();
    assert_eq!(of_endpoint.of(&call.exchange), found);
}

#[test]
fn list_is_weight_times_factor_of_the_answer() {
    let status = |status| call("GET", GET, Some(status));
    for (code, factor) in
        [(200, 1.0), (302, 1.0), (304, 0.3), (404, 0.8), (403, 0.3), (429, 0.1), (503, 1.0), (999, 1.0)]
    {
        check(Mode::List, &status(code), Some(factor));
    }
    check(Mode::List, &call("GET", GET, None), Some(1.0));
    check(Mode::List, &call("PATCH", GET, Some(429)), Some(1.0));
    check(Mode::List, &call("POST", "users.roblox.com/v1/users", Some(200)), Some(1.2));
    check(Mode::List, &call("GET", "unknown", Some(200)), Some(1.0));
    let mut aborted = call("GET", GET, Some(404));
    aborted.exchange.outcome = Outcome::Aborted;
    check(Mode::List, &aborted, Some(1.0));
}

#[test]
fn busy_is_time_and_nothing_else() {
    // 40 ms at 50 units a second.
    check(Mode::Busy, &call("GET", GET, Some(200)), Some(2.0));
    check(Mode::Busy, &call("PATCH", GET, Some(429)), Some(2.0));
    let mut unseen = call("GET", GET, Some(200));
    unseen.exchange.first_byte_ns = None;
    check(Mode::Busy, &unseen, None);
    check(Mode::List, &unseen, Some(1.0));
}

#[test]
fn blend_is_shares_of_both_and_bytes() {
    // Half of 10, half of 2, and 64 KiB.
    check(Mode::Blend, &call("PATCH", GET, Some(200)), Some(5.0 + 1.0 + 0.25));
    for take in [
        |exchange: &mut Exchange| exchange.first_byte_ns = None,
        |exchange: &mut Exchange| exchange.request_body_bytes = None,
        |exchange: &mut Exchange| exchange.response_head_bytes = None,
        |exchange: &mut Exchange| exchange.response_body_bytes = None,
    ] {
        let mut unseen = call("PATCH", GET, Some(200));
        take(&mut unseen.exchange);
        check(Mode::Blend, &unseen, None);
    }
}

#[test]
fn handshakes_are_priced_in_one_mode() {
    let of = |mode, handshake| prices(mode).of_handshake(handshake).cu();
    assert_eq!(of(Mode::Blend, Handshake::Full), 0.5);
    assert_eq!(of(Mode::Blend, Handshake::Resumed), 0.2);
    assert_eq!(of(Mode::List, Handshake::Full) + of(Mode::Busy, Handshake::Full), 0.0);
}

#[test]
fn batches_are_priced_by_their_items() {
    let prices = prices(Mode::List);
    let batch = prices.of_endpoint("users.roblox.com/v1/users", "POST").unwrap();
    assert_eq!((batch.list(Some(100)).cu(), batch.list(None).cu()), (21.0, 1.2));
    assert_eq!(&*batch.class().name, "batch_read");
}

#[test]
fn the_catalogue_goes_before_the_rules() {
    let catalogue = |class: &str| {
        let text = format!(
            "[[api]]\nauthority = \"a.x\"\nendpoint = \"/buy/{{id}}\"\nmethod = \"POST\"\nclass = \"{class}\""
        );
        Arc::new(Catalogue::new(&[], vec![Table::parse(&text).unwrap()]))
    };
    let mut prices = Prices::new(Weights::default(), catalogue("transaction")).unwrap();
    let price = |prices: &mut Prices, method| prices.price(&call(method, "a.x/buy/{item}", Some(200)));
    assert_eq!(price(&mut prices, "POST"), Some(MicroCu::of_cu(20.0)));
    assert_eq!(price(&mut prices, "GET"), Some(MicroCu::UNIT));
    let error = Prices::new(Weights::default(), catalogue("nothing")).unwrap_err().to_string();
    assert_eq!(
        error,
        "the catalogue puts POST a.x/buy/{id} into class `nothing`, which the weights do not have"
    );
}

#[test]
fn the_model_is_named_by_mode_version_and_hash() {
    let prices = prices(Mode::Busy);
    let model = prices.model();
    assert_eq!(model.label(), format!("2026-08-{:016x}", model.hash));
    assert_eq!(model.to_string(), format!("busy {}", model.label()));
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_order(mut parts in proptest::collection::vec(any::<u64>(), 0..40), rotate in 0_usize..40) {
        let sum = |parts: &[u64]| parts.iter().copied().map(MicroCu).sum::<MicroCu>();
        let before = sum(&parts);
        if !parts.is_empty() {
            let by = rotate % parts.len();
            parts.rotate_left(by);
        }
        prop_assert_eq!(before, sum(&parts));
    }

    #[test]
    fn any_call_has_a_price_or_none(
        status in proptest::option::of(any::<u16>()),
        bytes in proptest::option::of(any::<u64>()),
        started_ns in any::<u64>(),
        first_byte_ns in proptest::option::of(any::<u64>()),
        endpoint in "(apis\\.roblox\\.com|a\\.x|unknown)(/([a-z]{1,4}|\\{id\\})){0,8}",
    ) {
        let mut call = call("GET", &endpoint, status);
        call.exchange.started_ns = started_ns;
        call.exchange.first_byte_ns = first_byte_ns;
        call.exchange.response_body_bytes = bytes;
        for mode in [Mode::List, Mode::Busy, Mode::Blend] {
            let price = prices(mode).price(&call);
            let known = mode == Mode::List || first_byte_ns.is_some() && (mode == Mode::Busy || bytes.is_some());
            prop_assert_eq!(price.is_some(), known);
        }
    }
}
