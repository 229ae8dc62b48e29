//! Given: what the probes of TLS functions know of threads and objects, and who is a target. Gives: what they know of processes
//! that are gone, forgotten. Refuses to know: what that says.
//!
//! A process may end within a function, as one that is killed while it waits for an answer, or without freeing its objects, as
//! most do. No probe sees that, and what is known of them would fill the maps in the end.

use anyhow::Context;
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use rotrace_ebpf::admit::Connection;

/// Keys that are looked at in one map: several times what it has room for, for one that is removed meanwhile has the kernel
/// begin anew.
const KEYS_MAX: usize = 1 << 18;

/// Maps whose keys begin with a process of the initial namespace.
pub(in crate::probe) struct Left {
    /// By thread, as `bpf_get_current_pid_tgid` has it.
    calls: HashMap<MapData, u64, [u64; 5]>,
    /// By process and address.
    objects: HashMap<MapData, [u64; 2], [u8; size_of::<Connection>() + 8]>,
    /// By process and address.
    go_writes: HashMap<MapData, [u64; 2], [u64; 6]>,
}

impl Left {
    /// Takes them out of `ebpf`, when all programs are loaded.
    pub(in crate::probe) fn take(ebpf: &mut Ebpf) -> anyhow::Result<Left> {
        let mut map = |name| -> anyhow::Result<Map> {
            ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))
        };
        Ok(Left {
            calls: map("TLS_CALLS")?.try_into()?,
            objects: map("TLS_OBJECTS")?.try_into()?,
            go_writes: map("GO_WRITES")?.try_into()?,
        })
    }

    /// Forgets what is known of other processes than those that `is_there` names.
    pub(in crate::probe) fn forget(&mut self, is_there: impl Fn(u32) -> bool) {
        let is_gone = |process: u64| !is_there(process as u32);
        let calls: Vec<u64> = self.calls.keys().take(KEYS_MAX).flatten().collect();
        for thread in calls.into_iter().filter(|thread| is_gone(thread >> 32)) {
            let _ = self.calls.remove(&thread);
        }
        let objects: Vec<_> = self.objects.keys().take(KEYS_MAX).flatten().collect();
        for object in objects.into_iter().filter(|[process, _]| is_gone(*process)) {
            let _ = self.objects.remove(&object);
        }
        let writes: Vec<_> = self.go_writes.keys().take(KEYS_MAX).flatten().collect();
        for write in writes.into_iter().filter(|[process, _]| is_gone(*process)) {
            let _ = self.go_writes.remove(&write);
        }
    }
}
