//! Given: a ring buffer that is too small, a tracer that stands still or is killed, ten thousand connections, hundreds of
//! programs. Gives: proof that every record is either there or counted as lost, that no call is invented or paired with
//! another's answer, and that no probe stays behind. Refuses to know: how traffic looks; the mover makes it.

use std::io::Write;

use tempfile::NamedTempFile;

use crate::call::Seen;
use crate::compare::slower;
use crate::moved::{Moved, assert_moved, assert_none_invented, log, mover, traced};
use crate::process::until;
use crate::stopping::{all_links, links};
use crate::tracer::Tracer;

/// So many, or fewer on a machine that is emulated: more would only take longer.
fn many(count: usize) -> usize {
    if slower() > 1 { count / 5 } else { count }
}

/// Exchanges whose records fill the smallest ring many times.
fn exchanges() -> String {
    many(2000).to_string()
}

/// Traces a mover through the smallest ring that there is, while the tracer stands still or not.
fn through_a_small_ring(tracer_stands_still: Stillness) -> (Seen, Vec<Moved>) {
    let mut config = NamedTempFile::with_prefix("rotrace-live-").unwrap();
    config.write_all(b"[limits]\nring_bytes = \"64KiB\"\n").unwrap();
    let mut mover = mover(&["many", &exchanges()]);
    let tracer = Tracer::attach_with(&[mover.pid()], &["--config", config.path().to_str().unwrap()]);
    if tracer_stands_still == Stillness::Stopped {
        tracer.signal(libc::SIGSTOP);
    }
    mover.next_step();
    let log = log(&mover.succeeded());
    if tracer_stands_still == Stillness::Stopped {
        tracer.signal(libc::SIGCONT);
    }
    (tracer.finish_with_losses(), log)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stillness {
    Running,
    Stopped,
}

/// The mover makes the same system calls each time, so the probes write the same records.
#[test]
fn every_record_is_there_or_counted_as_lost() {
    let (whole, moved) = traced(&["many", &exchanges()]);
    assert_moved(&whole, &moved);
    for stillness in [Stillness::Running, Stillness::Stopped] {
        let (seen, moved) = through_a_small_ring(stillness);
        assert_none_invented(&seen, &moved);
        let lost = seen.summary.lost("ring_full").unwrap_or_default();
        assert_eq!(seen.summary.records + lost, whole.summary.records, "{lost} of them lost");
        if stillness == Stillness::Stopped {
            assert!(lost > whole.summary.records / 2, "a ring of 64 KiB cannot have held the others: {lost}");
            assert!(!seen.calls.is_empty(), "what fits is seen");
        }
    }
}

/// The kernel takes the probes of a process back when it is gone, however it went.
#[test]
fn a_tracer_that_is_killed_leaves_no_probe() {
    let mover = mover(&["many", "1"]);
    let tracer = Tracer::attach(&[mover.pid()]);
    let held = links(tracer.pid(), "");
    assert!(!held.is_empty(), "probes are links");
    tracer.kill();
    until("the probes to be gone", || all_links().is_disjoint(&held).then_some(()));
    let log = log(&mover.run());
    assert_eq!(log.len(), 1, "the target does not care");
}

#[test]
fn ten_thousand_connections_at_one_time() {
    let count = many(10_000);
    let (seen, log) = traced(&["crowd", &count.to_string()]);
    assert_eq!(log.len(), count);
    assert_moved(&seen, &log);
}

#[test]
fn a_storm_of_programs() {
    let count = many(500);
    let (seen, log) = traced(&["storm", &count.to_string()]);
    assert_eq!(log.len(), count);
    assert_moved(&seen, &log);
}
