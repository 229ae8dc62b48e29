//! Given: signals. Gives: whether somebody wants the end of what runs. Refuses to know: what must be ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

/// How long a wait is deaf.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Status of a program that Ctrl-C ended, as shells tell it.
const INTERRUPTED: i32 = 130;

/// Set by Ctrl-C or SIGTERM. A second one ends this program at once, and its processes with it.
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    pub(crate) fn on_signals() -> anyhow::Result<Stop> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag not set, and sets it.
            register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked)).context("take signals")?;
            register(signal, Arc::clone(&asked)).context("take signals")?;
        }
        Ok(Stop { asked })
    }

    #[cfg(test)]
    pub(crate) fn never() -> Stop {
        Stop { asked: Arc::default() }
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// An error once somebody wants the end.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.is_asked() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for a moment, or until somebody wants the end.
    pub(crate) fn wait_until(&self, moment: Instant) {
        while !self.is_asked() {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(PAUSE));
        }
    }
}
