//! Given: a process. Gives: the least that a tracer can do to it: the probe of `xtask/floor`, and somebody who takes its
//! records and throws them away. Refuses to know: rotrace, but for how often it drains and which calls it records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use rotrace::probe::abi::{registers, shapes};
use rotrace::shell::DRAIN;

use super::stage::thread_cpu;
use crate::ebpf;

const PROGRAM: &str = "floor";
const EVENT: &str = "sys_exit";

/// The object, built once.
pub(super) struct Floor(Vec<u8>);

/// The probe, attached, and the thread that takes its records.
pub(super) struct Attached {
    /// Its programs live as long as it does.
    _ebpf: Ebpf,
    lost: PerCpuArray<MapData, u64>,
    over: Arc<AtomicBool>,
    consumer: JoinHandle<(u64, Duration)>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) records: u64,
    pub(super) lost: u64,
    /// Of the thread that took them.
    pub(super) cpu: Duration,
}

impl Floor {
    pub(super) fn build() -> anyhow::Result<Floor> {
        Ok(Floor(ebpf::floor().context("build the probe that tracing is measured against")?))
    }

    /// Attached from here to [`Attached::end`]. `pid` is of the initial PID namespace.
    pub(super) fn attach(&self, pid: u32) -> anyhow::Result<Attached> {
        let (registers, shapes) = (registers()?, shapes());
        let types = Btf::from_sys_fs().context("read the kernel's BTF")?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&types))
            .override_global("REGISTERS", &registers[..], true)
            .override_global("SHAPES", &shapes[..], true)
            .override_global("TARGET", &pid, true)
            .load(&self.0)
            .context("load the floor")?;
        let mut map = |name| ebpf.take_map(name).with_context(|| format!("the floor has no map {name}"));
        let records = RingBuf::try_from(map("RECORDS")?)?;
        let lost = PerCpuArray::try_from(map("LOST")?)?;
        let program: &mut BtfTracePoint =
            ebpf.program_mut(PROGRAM).context("the floor has no program")?.try_into()?;
        program.load(EVENT, &types).context("load the floor's program")?;
        let over = Arc::new(AtomicBool::new(false));
        let consumer = thread::spawn({
            let over = Arc::clone(&over);
            move || discard(records, &over)
        });
        program.attach().context("attach the floor")?;
        Ok(Attached { _ebpf: ebpf, lost, over, consumer })
    }
}

impl Attached {
    pub(super) fn end(self) -> anyhow::Result<Taken> {
        self.over.store(true, Ordering::Relaxed);
        let (records, cpu) = self.consumer.join().ok().context("take the floor's records")?;
        let lost = self.lost.get(&0, 0).context("read what the floor lost")?.iter().sum();
        Ok(Taken { records, lost, cpu })
    }
}

/// Takes records as often as the daemon does; says how many there were and what that took.
fn discard(mut records: RingBuf<MapData>, over: &AtomicBool) -> (u64, Duration) {
    let mut taken = 0;
    loop {
        // What is written before the end is said is taken in the last round.
        let is_last = over.load(Ordering::Relaxed);
        while records.next().is_some() {
            taken += 1;
        }
        if is_last {
            return (taken, thread_cpu());
        }
        thread::sleep(DRAIN);
    }
}
