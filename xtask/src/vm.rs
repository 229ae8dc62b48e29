//! Given: kernels of Debian, and a command. Gives: that command, run as root in a virtual machine with each kernel, on the
//! files of this machine, and how it ended. Refuses to know: what the command does.
//!
//! The processor is emulated: it works wherever QEMU does, and a kernel is up in some six seconds. The machine sees the
//! files of this one read-only and writes to its own memory, so the tests run there as they were built here.

mod archive;
mod foreign;
mod initramfs;
mod kernel;
mod machine;
mod matrix;
mod package;
mod selection;

use anyhow::{Context, bail};

use kernel::FOREIGN;
pub(crate) use kernel::{KERNELS, Kernel};
pub(crate) use matrix::{FOREIGN_TARGET, run as matrix};
pub(crate) use selection::Extent;

use machine::Machine;

/// Runs a command on one kernel, or on each.
pub(crate) fn run(name: Option<&str>, command: &[String]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for kernel in named(name)? {
        let machine = Machine::new(kernel)?;
        println!("── {} ({})", kernel.name, machine.release());
        for ended in machine.run(&[command.to_vec()], None, &mut |line| println!("{line}"))?.ended {
            if ended.status != 0 {
                failed.push(format!("{} with status {}", kernel.name, ended.status));
            }
        }
    }
    if !failed.is_empty() {
        bail!("`{}` failed on {}", command.join(" "), failed.join(", "));
    }
    Ok(())
}

/// The kernel of this name, or all of this architecture.
pub(crate) fn named(name: Option<&str>) -> anyhow::Result<Vec<&'static Kernel>> {
    let Some(name) = name else { return Ok(KERNELS.iter().collect()) };
    let all = || KERNELS.iter().chain(&FOREIGN);
    let known = || all().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ");
    Ok(vec![
        all()
            .find(|kernel| kernel.name == name)
            .with_context(|| format!("no kernel {name}; there are {}", known()))?,
    ])
}
