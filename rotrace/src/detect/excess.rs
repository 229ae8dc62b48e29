//! Given: how many bytes of each response were too many. Gives: how many they are in an hour, and the claims of them once
//! that is much. Refuses to know: why they are too many.

use std::collections::VecDeque;

use super::case::CaseId;
use super::desk::Desk;
use super::finding::{Amount, Class};
use super::observation::Observation;
use super::window::Window;

/// Calls that wait for the hour to be bad enough; another one lets the oldest go unclaimed.
const MOST: usize = 256;

/// Endpoints of games of which one detector follows the bytes; 1.3 MiB.
pub(super) const ENDPOINTS: usize = 160;

type Hour = Window<u64, 600, 6>;

/// Bytes that one endpoint of one game moved in vain in the last hour, whichever process of the game it was.
#[derive(Debug, Default)]
pub(super) struct Excess {
    hour: Hour,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at_ns: u64,
    seq: u64,
    bytes: u64,
    class: Class,
}

impl Excess {
    /// Memory that it takes beside its own size.
    pub(super) const FULL_BYTES: usize = MOST * size_of::<Waiting>();

    /// A call moved `weighed_bytes` of those that the hour is judged by, and `wasted_bytes` of them for nothing. Gives
    /// what the hour adds up to.
    pub(super) fn push(
        &mut self,
        call: &Observation,
        weighed_bytes: u64,
        wasted_bytes: u64,
        class: Class,
    ) -> u64 {
        if let Some(sum) = self.hour.at(call.started_ns) {
            *sum += weighed_bytes;
        }
        let since_ns = call.started_ns.saturating_sub(Hour::LENGTH_NS);
        while self.waiting.pop_front_if(|waiting| waiting.at_ns < since_ns).is_some() {}
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        let at_ns = call.started_ns;
        self.waiting.push_back(Waiting { at_ns, seq: call.seq, bytes: wasted_bytes, class });
        self.hour.recent(call.started_ns).sum()
    }

    /// Claims the bytes of all calls that wait. They have no price of their own: by the list a call costs what it costs
    /// however large it is.
    pub(super) fn claim(&mut self, id: CaseId, desk: &mut Desk) {
        for Waiting { seq, bytes, class, .. } in self.waiting.drain(..) {
            desk.claim(id, seq, Amount { bytes, ..Amount::default() }, class);
        }
    }
}
