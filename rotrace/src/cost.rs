//! Given: a call, weights, and what the catalogue knows of its operation. Gives: what it costs, in cost units. Refuses to
//! know: money, files, metrics, and what is done with a price.
//!
//! One cost unit (CU) is one Get of a standard data store, the one public price at hand. Prices are whole millionths of
//! it, so that a sum does not depend on the order of its parts. Exactly one [`Mode`] is in force:
//!
//! ```text
//! list    weight of the class × factor of the answer
//! busy    seconds until the first byte of the answer
//! blend   shares of both + bytes + TLS handshakes
//! ```

pub mod calibrate;
pub mod players;
pub mod sensitivity;
pub mod weights;

mod memo;

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::call::Call;
use crate::catalogue::Catalogue;
use crate::exchange::Exchange;
use memo::Memo;
use weights::{Blend, Terms};

pub use weights::{Basis, Class, Mode, Weights};

/// Millionths of a cost unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroCu(pub u64);

impl MicroCu {
    /// One cost unit.
    pub const UNIT: Self = Self(1_000_000);

    /// The nearest to so many units; what is below nothing is nothing.
    pub fn of_cu(units: f64) -> Self {
        // A float becomes the nearest integer that there is, and not a number becomes zero.
        Self(millionths(units))
    }

    /// In units.
    pub fn cu(self) -> f64 {
        self.0 as f64 / Self::UNIT.0 as f64
    }

    /// So many times.
    pub fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// That part of it, in millionths of the whole, to the nearest.
    fn part(self, millionths: u64) -> Self {
        self.ratio(millionths, Self::UNIT.0)
    }

    /// `number` of `whole` parts, to the nearest millionth; nothing of no parts.
    pub(crate) fn ratio(self, number: u64, whole: u64) -> Self {
        // Nearly always there is room, and the processor divides such numbers by itself.
        let product = self.0.checked_mul(number).and_then(|product| product.checked_add(whole / 2));
        if let Some(product) = product {
            return Self(product.checked_div(whole).unwrap_or_default());
        }
        let product = u128::from(self.0) * u128::from(number) + u128::from(whole / 2);
        let ratio = product.checked_div(u128::from(whole)).unwrap_or_default();
        Self(u64::try_from(ratio).unwrap_or(u64::MAX))
    }
}

impl Add for MicroCu {
    type Output = Self;

    /// Ends at the largest: at a million units a second that takes half a million years.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroCu {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for MicroCu {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Self::add)
    }
}

/// How a TLS connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// With certificates.
    Full,
    /// From a ticket or a session.
    Resumed,
}

/// What prices are made of; for `rotrace_cost_model_info{mode,version}` and for the head of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// What is priced.
    pub mode: Mode,
    /// What the weights call themselves.
    pub version: &'a str,
    /// Of the bytes of the weights.
    pub hash: u64,
}

impl Model<'_> {
    /// Version and hash, as the `version` label has it: `2026-08-00c0ffee00c0ffee`.
    pub fn label(&self) -> String {
        format!("{}-{:016x}", self.version, self.hash)
    }
}

impl fmt::Display for Model<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.mode, self.label())
    }
}

/// The catalogue names a class that the weights do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownClass {
    /// The operation whose class it is.
    pub operation: Box<str>,
    /// The class.
    pub class: Box<str>,
}

impl fmt::Display for UnknownClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, class } = self;
        write!(
            formatter,
            "the catalogue puts {operation} into class `{class}`, which the weights do not have"
        )
    }
}

impl std::error::Error for UnknownClass {}

/// Prices calls.
#[derive(Debug, Default)]
pub struct Prices {
    weights: Weights,
    catalogue: Arc<Catalogue>,
    memo: Memo,
}

/// What calls of one operation cost.
#[derive(Clone, Copy, Debug)]
pub struct Price<'a> {
    weights: &'a Weights,
    class: &'a Class,
}

impl Prices {
    /// Takes weights, and a catalogue whose classes they have.
    pub fn new(weights: Weights, catalogue: Arc<Catalogue>) -> Result<Self, UnknownClass> {
        for api in catalogue.apis() {
            if let Some(class) = &api.class
                && weights.class(class).is_none()
            {
                return Err(UnknownClass {
                    operation: api.operation.to_string().into(),
                    class: class.clone(),
                });
            }
        }
        Ok(Self { weights, catalogue, memo: Memo::default() })
    }

    /// What a call costs. `None` when the mode asks for what was not seen of it: the first byte of the answer in `busy`
    /// and `blend`, all sizes in `blend`.
    pub fn price(&mut self, call: &Call) -> Option<MicroCu> {
        let Self { weights, catalogue, memo } = self;
        let find = || class_index(weights, catalogue, &call.endpoint, &call.exchange.method);
        let class = weights.classes().get(memo.class(&call.endpoint, &call.exchange.method, find))?;
        Price { weights, class }.of(&call.exchange)
    }

    /// What calls cost that have this `endpoint` label and method; `None` only for weights without a class, which no file
    /// is. This looks through the rules: ask once for each endpoint.
    pub fn of_endpoint(&self, endpoint: &str, method: &str) -> Option<Price<'_>> {
        let index = class_index(&self.weights, &self.catalogue, endpoint, method);
        Some(Price { weights: &self.weights, class: self.weights.classes().get(index)? })
    }

    /// What opening a connection costs: something in `blend` only.
    pub fn of_handshake(&self, handshake: Handshake) -> MicroCu {
        let Terms { tls_full, tls_resumed, .. } = self.weights.terms();
        match (self.weights.mode(), handshake) {
            (Mode::List | Mode::Busy, _) => MicroCu::default(),
            (Mode::Blend, Handshake::Full) => MicroCu::of_cu(tls_full),
            (Mode::Blend, Handshake::Resumed) => MicroCu::of_cu(tls_resumed),
        }
    }

    /// What prices are made of.
    pub fn model(&self) -> Model<'_> {
        let weights = &self.weights;
        Model { mode: weights.mode(), version: weights.version(), hash: weights.hash() }
    }

    /// What the catalogue knows.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The weights, for what a report says of them.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl<'a> Price<'a> {
    /// The class of the cost model.
    pub fn class(&self) -> &'a Class {
        self.class
    }

    /// By the list and before the answer is known: of a call for so many items, or for as many as are assumed.
    pub fn list(&self, items: Option<u64>) -> MicroCu {
        let Class { name: _, weight, per_item, items_assumed, basis: _ } = *self.class;
        weight + per_item.times(items.unwrap_or(items_assumed))
    }

    /// Of a call that was made, in the mode that is in force.
    pub fn of(&self, exchange: &Exchange) -> Option<MicroCu> {
        let list = self.list(None).part(self.weights.factor(exchange));
        let Terms { bytes_64kib, server_second, tls_full: _, tls_resumed: _ } = self.weights.terms();
        let busy = || Some(MicroCu::of_cu(server_second).ratio(server_ns(exchange)?, 1_000_000_000));
        match self.weights.mode() {
            Mode::List => Some(list),
            Mode::Busy => busy(),
            Mode::Blend => {
                let Blend { list: list_share, busy: busy_share } = self.weights.blend();
                let bytes = MicroCu::of_cu(bytes_64kib).ratio(bytes(exchange)?, 64 * 1024);
                let shares = list.part(millionths(list_share)) + busy()?.part(millionths(busy_share));
                Some(shares + bytes)
            }
        }
    }
}

/// A factor in whole millionths.
fn millionths(factor: f64) -> u64 {
    (factor * 1e6).round() as u64
}

/// The class that the catalogue says, or that the rules say.
fn class_index(weights: &Weights, catalogue: &Catalogue, endpoint: &str, method: &str) -> usize {
    let named = catalogue.find(endpoint, method).and_then(|api| weights.index(api.class.as_deref()?));
    named.unwrap_or_else(|| weights.by_rule(endpoint, method))
}

/// Time until the first byte of the answer; an answer that is there before its request has taken none.
fn server_ns(exchange: &Exchange) -> Option<u64> {
    exchange.first_byte_ns.map(|_| exchange.ttfb_ns().unwrap_or(0))
}

/// Heads and bodies of both directions.
fn bytes(exchange: &Exchange) -> Option<u64> {
    let parts = [exchange.request_body_bytes?, exchange.response_head_bytes?, exchange.response_body_bytes?];
    Some(parts.into_iter().fold(exchange.request_head_bytes, u64::saturating_add))
}

#[cfg(test)]
mod tests;
