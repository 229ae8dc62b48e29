//! Given: calls. Gives: their prices, and what of them was wasted. Refuses to know: where calls come from, and who reads
//! what was found.

use std::sync::Arc;

use crate::call::Call;
use crate::cost::players::{Estimate, Players};
use crate::cost::{Handshake, MicroCu, Prices};
use crate::detect::finding::Finding;
use crate::detect::subject::Api;
use crate::detect::{self, ConnectionEnd, Detectors, Pattern};
use crate::exchange::Role;
use crate::summary::Summary;

/// Time between two looks at what has gone on without a call.
const TICK_NS: u64 = 1_000_000_000;

/// Prices, and what was found to be wasted.
#[derive(Debug)]
pub struct Accounts {
    prices: Prices,
    detectors: Detectors,
    /// Whether, and from what, players are estimated.
    estimate: Option<Estimate>,
    next_tick_ns: u64,
}

impl Accounts {
    /// Without a call.
    pub fn new(prices: Prices, detect: &detect::Settings) -> Self {
        Accounts { prices, detectors: Detectors::new(detect), estimate: None, next_tick_ns: 0 }
    }

    /// Takes other prices from now on. What was counted stays.
    pub fn replace_prices(&mut self, prices: Prices) {
        self.prices = prices;
    }

    /// Prices a call, and lets the detectors see it. The first call of a TLS connection pays for the handshake. Gives the
    /// number by which detectors know it, if they look at it.
    pub fn record(&mut self, call: &mut Call, handshake: Option<Handshake>) -> Option<u64> {
        let Accounts { prices, detectors, estimate, .. } = self;
        let opened = handshake.map_or(MicroCu::default(), |handshake| prices.of_handshake(handshake));
        call.cost_ucu = prices.price(call).map(|cost| (cost + opened).0);
        let cost_ucu = call.cost_ucu.unwrap_or(0);
        let seq = detectors.observe(call, cost_ucu, &mut |names| Arc::new(Api::of(names, prices)));
        if let (Some(estimate), Some(game), Role::Client) = (estimate, &call.game, call.exchange.role) {
            estimate.observe(game, &call.endpoint, &call.path, call.exchange.started_ns);
        }
        seq
    }

    /// Estimates from now on how many players games have, or does not.
    pub fn estimate_players(&mut self, estimate: Option<Estimate>) {
        self.estimate = estimate;
    }

    /// How many players calls let estimate; of no game when that is not wanted.
    pub fn estimated_players(&mut self, now_ns: u64) -> Players {
        self.estimate.as_mut().map_or_else(Players::default, |estimate| estimate.players(now_ns))
    }

    /// Keeps from now on which calls are counted as waste, until [`Accounts::take_claims`].
    pub fn follow_claims(&mut self) {
        self.detectors.follow_claims();
    }

    /// Calls that were counted as waste for good since the last time, by the number that [`Accounts::record`] gave.
    pub fn take_claims(&mut self) -> Vec<(u64, Pattern)> {
        self.detectors.take_claims()
    }

    /// From now on CLOCK_REALTIME is so far from CLOCK_MONOTONIC.
    pub fn set_realtime_offset_ns(&mut self, offset_ns: i64) {
        self.detectors.set_realtime_offset_ns(offset_ns);
    }

    /// So many more events were lost and seen until now.
    pub fn count_loss(&mut self, now_ns: u64, lost: u64, seen: u64) {
        self.detectors.count_loss(now_ns, lost, seen);
    }

    /// A connection has ended.
    pub fn connection_ended(&mut self, end: &ConnectionEnd) {
        self.detectors.connection_ended(end);
    }

    /// It is now so late: findings that are new, have gone on or are over.
    pub fn advance(&mut self, now_ns: u64) -> Vec<Arc<Finding>> {
        if now_ns < self.next_tick_ns {
            return Vec::new();
        }
        self.next_tick_ns = now_ns + TICK_NS;
        self.detectors.tick(now_ns)
    }

    /// Forgets what has been idle for `idle_ns`, as far as `summary` has its calls.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64, summary: &Summary) {
        self.detectors.expire(now_ns, idle_ns, summary);
    }

    /// Nothing more will come: findings end.
    pub fn finish(&mut self) -> Vec<Arc<Finding>> {
        self.detectors.finish()
    }

    /// What calls cost.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// What was found.
    pub fn detectors(&self) -> &Detectors {
        &self.detectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Mode, Weights};
    use crate::summary::fixture::call;

    fn accounts(mode: Mode) -> Accounts {
        let prices = Prices::new(Weights::default().with_mode(mode), Arc::default()).unwrap();
        Accounts::new(prices, &detect::Settings::default())
    }

    #[test]
    fn the_first_call_of_a_connection_pays_for_the_handshake() {
        let check = |mode: Mode, handshake: Option<Handshake>, expect_cu: f64| {
            let cost_ucu = |handshake| {
                let mut call = call("chess", "api.test/a");
                accounts(mode).record(&mut call, handshake);
                call.cost_ucu.unwrap()
            };
            assert_eq!((cost_ucu(handshake) - cost_ucu(None)) as f64 / 1e6, expect_cu, "{mode}");
        };
        check(Mode::Blend, Some(Handshake::Full), 0.5);
        check(Mode::Blend, Some(Handshake::Resumed), 0.2);
        check(Mode::Blend, None, 0.0);
        check(Mode::List, Some(Handshake::Full), 0.0);
        check(Mode::Busy, Some(Handshake::Full), 0.0);
    }

    #[test]
    fn players_are_estimated_from_calls_made_when_that_is_wanted() {
        let mut accounts = accounts(Mode::List);
        let observe = |accounts: &mut Accounts, role: Role| {
            for user in 0..3 {
                let mut call = call("chess", "api.test/v1/users/{id}");
                call.path = format!("/v1/users/{user}").into();
                call.exchange.role = role;
                accounts.record(&mut call, None);
            }
            accounts.estimated_players(2_000_000_000)
        };
        assert_eq!(observe(&mut accounts, Role::Client), Players::default());
        accounts.estimate_players(Some(Estimate::default()));
        assert_eq!(observe(&mut accounts, Role::Server), Players::default());
        assert_eq!(observe(&mut accounts, Role::Client), Players([("chess".into(), 3)].into()));
        accounts.estimate_players(None);
        assert_eq!(accounts.estimated_players(2_000_000_000), Players::default());
    }
}
