//! Given: TLS connections, and TLS objects that show plaintext. Gives: which connections are decoded, and what stays dark.
//! Refuses to know: plaintext.

use std::collections::BTreeMap;

use super::{Speaks, State};
use crate::summary::Summary;

/// Whether the plaintext of a TLS connection is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is too early to say.
    Open,
    /// It is.
    Decoded,
    /// It is not, and has been counted.
    Opaque,
}

/// Decides whether a TLS connection is decoded; what was decided to be dark has its new bytes counted.
pub(super) fn judge(state: &mut State, unbound: &mut BTreeMap<u32, u64>, summary: &mut Summary, now_ns: u64) {
    let Speaks::Tls { bytes, verdict, authority, .. } = &mut state.speaks else { return };
    let (game, authority) = (state.process.by_process.game.as_ref(), authority.as_deref());
    if *verdict == Verdict::Open {
        match unbound.get_mut(&state.pid).filter(|objects| **objects > 0) {
            Some(objects) => {
                *objects -= 1;
                *verdict = Verdict::Decoded;
            }
            None => {
                *verdict = Verdict::Opaque;
                summary.coverage_mut(game, now_ns).tls_opaque.of_mut(authority).connections += 1;
            }
        }
    }
    if *verdict == Verdict::Opaque {
        let opaque = summary.coverage_mut(game, now_ns).tls_opaque.of_mut(authority);
        opaque.bytes += std::mem::take(bytes);
    }
}
