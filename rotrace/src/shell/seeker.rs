//! Given: the rules in force. Gives: the PIDs of processes that a rule selects, as they appear. Refuses to know: what becomes
//! of them.
//!
//! It reads procfs on a thread of its own: whoever looks at a process may have to wait for a lock that the process holds,
//! and for a processor that others have, and records must be drained meanwhile.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing::error;

use super::clock::monotonic_ns;
use crate::attribute::Rules;
use crate::process::{Procfs, Unreadable};

const SECOND_NS: u64 = 1_000_000_000;
/// So often new processes are looked for. Processes do not say when they are born, but a new one has a new number.
const SWEEP: Duration = Duration::from_secs(1);
/// A process that was seen younger than this may still execute the program that a rule waits for.
const YOUNG_NS: u64 = 10 * SECOND_NS;
/// So often all processes are compared with the rules again.
const SWEEP_ALL_NS: u64 = 30 * SECOND_NS;

/// A thread that looks for processes; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Seeker {
    rules: Sender<Rules>,
    found: Receiver<u32>,
}

/// What is known of processes from one look to the next.
#[derive(Debug)]
struct Sweep {
    procfs: Procfs,
    rules: Rules,
    /// When each process was first seen, by PID.
    seen: BTreeMap<u32, u64>,
    /// When all of them were last compared with the rules.
    swept_ns: u64,
}

impl Seeker {
    /// Looks once before it returns: what is there is found by then. The error says why processes cannot be listed.
    pub(super) fn start(procfs: Procfs, rules: Rules) -> anyhow::Result<Seeker> {
        let (rules_sender, new_rules) = mpsc::channel();
        let (sender, found) = mpsc::channel();
        let mut sweep = Sweep { procfs, rules, seen: BTreeMap::new(), swept_ns: 0 };
        // When nobody listens any more, the thread is about to end.
        let mut tell = move |pid| _ = sender.send(pid);
        sweep.look(monotonic_ns(), &mut tell).context("list the processes of /proc")?;
        let seek = move || {
            loop {
                match new_rules.recv_timeout(SWEEP) {
                    Ok(rules) => {
                        sweep.rules = rules;
                        sweep.swept_ns = 0;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if let Err(why) = sweep.look(monotonic_ns(), &mut tell) {
                    error!("no new processes are found: cannot list those of /proc: {why}");
                }
            }
        };
        thread::Builder::new().name("rotrace-seek".to_owned()).spawn(seek).context("start a thread")?;
        Ok(Seeker { rules: rules_sender, found })
    }

    /// Takes other rules from now on.
    pub(super) fn follow(&self, rules: Rules) {
        // The thread only ends with this value.
        let _ = self.rules.send(rules);
    }

    /// PIDs of processes that a rule selects; the same one may come again while it is young.
    pub(super) fn found(&self) -> impl Iterator<Item = u32> {
        self.found.try_iter()
    }
}

impl Sweep {
    /// What a process executes is asked again while it is young, and from time to time.
    fn look(&mut self, now_ns: u64, found: &mut dyn FnMut(u32)) -> Result<(), Unreadable> {
        let pids = self.procfs.list()?;
        let all = now_ns.saturating_sub(self.swept_ns) >= SWEEP_ALL_NS;
        if all {
            self.swept_ns = now_ns;
        }
        self.seen.retain(|pid, _| pids.binary_search(pid).is_ok());
        for pid in pids {
            let since_ns = *self.seen.entry(pid).or_insert(now_ns);
            let is_young = now_ns.saturating_sub(since_ns) <= YOUNG_NS;
            if (all || is_young)
                && pid != std::process::id()
                && let Ok(process) = self.procfs.process(pid)
                && self.rules.matches_target(&process)
            {
                found(pid);
            }
        }
        Ok(())
    }
}
