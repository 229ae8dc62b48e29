//! Given: what this machine has. Gives: what is missing, installed with apt, cargo, rustup and pip, or said where that is
//! not possible. Refuses to know: how it is used.
//!
//! Every step says what it does and why, and does nothing where there is nothing to do.

mod debian;
mod linker;
mod machine;
mod venv;

pub(crate) use linker::{RUSTC, llvm_directory, llvm_major};

use anyhow::{Context, bail};

use crate::repository::{cargo, output, program, run};

/// What a machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The BPF object
    Build,
    /// The tests and the demo
    Test,
    /// Tests on other kernels, in virtual machines; not a part of all
    Vm,
}

/// A Debian package, and how to see whether what it brings is there.
struct Need<'a> {
    package: &'a str,
    found: Found,
    why: &'a str,
}

/// How to see whether something is there.
enum Found {
    /// A program of this name: wherever it comes from, it will do.
    Program(&'static str),
    /// The package itself: it brings libraries or headers, or just this build of a program is wanted.
    Package,
}

/// What the BPF object is compiled with. What depends on the version of LLVM is in [`linker`].
const BUILD: [Need<'_>; 5] = [
    Need {
        package: "rustc-web",
        found: Found::Package,
        why: "a compiler whose `core` for BPF is a package, so that stable cargo will do",
    },
    Need { package: "libstd-rust-web-dev-bpf", found: Found::Package, why: "`core` for bpfel-unknown-none" },
    Need { package: "g++", found: Found::Program("c++"), why: "LLVM is C++" },
    Need { package: "zlib1g-dev", found: Found::Package, why: "LLVM is linked with it" },
    Need { package: "libzstd-dev", found: Found::Package, why: "LLVM is linked with it" },
];

/// Clients and servers that the live tests and the demo run.
const TEST: [Need<'_>; 24] = [
    Need {
        package: "python3",
        found: Found::Program("/usr/bin/python3"),
        why: "the demo's games are Python",
    },
    Need {
        package: "python3-venv",
        found: Found::Package,
        why: "requests, httpx and aiohttp in target/venv",
    },
    Need { package: "nginx-light", found: Found::Program("nginx"), why: "a server in live tests" },
    Need { package: "lighttpd", found: Found::Program("lighttpd"), why: "a server in live tests" },
    Need { package: "lighttpd-mod-mbedtls", found: Found::Package, why: "a server with Mbed TLS" },
    Need { package: "lighttpd-mod-wolfssl", found: Found::Package, why: "a server with wolfSSL" },
    Need { package: "curl", found: Found::Program("curl"), why: "a client in live tests" },
    Need { package: "wget", found: Found::Program("wget"), why: "a client in live tests, with GnuTLS" },
    Need { package: "apache2-utils", found: Found::Program("ab"), why: "a client in live tests" },
    Need { package: "wrk", found: Found::Program("wrk"), why: "load in live tests" },
    Need { package: "nodejs", found: Found::Program("node"), why: "a client in live tests" },
    Need { package: "golang-go", found: Found::Program("go"), why: "clients and servers in live tests" },
    Need { package: "prometheus", found: Found::Program("promtool"), why: "reads what /metrics serves" },
    Need { package: "openssl", found: Found::Program("openssl"), why: "certificates of tests and demo" },
    Need { package: "iproute2", found: Found::Program("ip"), why: "network namespaces of live tests" },
    Need { package: "binutils", found: Found::Program("as"), why: "32-bit programs of live tests" },
    Need { package: "gcc", found: Found::Program("gcc"), why: "clients of live tests in C" },
    Need { package: "libc6-dev", found: Found::Package, why: "clients of live tests in C" },
    Need { package: "libssl-dev", found: Found::Package, why: "OpenSSL to be linked into clients" },
    Need { package: "libcurl3-nss", found: Found::Package, why: "a client in live tests, with NSS" },
    Need { package: "nss-plugin-pem", found: Found::Package, why: "NSS reads certificates by it" },
    Need { package: "libcap2-bin", found: Found::Program("capsh"), why: "tests with few capabilities" },
    Need {
        package: "valgrind",
        found: Found::Program("valgrind"),
        why: "counts the pipeline's instructions",
    },
    Need { package: "ca-certificates", found: Found::Package, why: "pip and cargo speak TLS" },
];

/// Sets this machine up for one part, or for all that need no virtual machine.
pub(crate) fn set_up(part: Option<Part>) -> anyhow::Result<()> {
    if part == Some(Part::Vm) {
        return machine::set_up();
    }
    let build = part != Some(Part::Test);
    let test = part != Some(Part::Build);
    let mut needs: Vec<&Need<'_>> = Vec::new();
    if build {
        needs.extend(&BUILD);
    }
    if test {
        needs.extend(&TEST);
    }
    if program("apt-get").is_none() {
        return elsewhere(&needs, build);
    }
    let missing: Vec<&Need<'_>> = needs.iter().copied().filter(|need| !need.is_there()).collect();
    let mut apt = debian::Apt::default();
    apt.install(&missing)?;
    if build {
        linker::set_up(&mut apt)?;
    }
    if test {
        components()?;
        venv::set_up()?;
    }
    println!("set-up: nothing is missing");
    Ok(())
}

impl Need<'_> {
    fn is_there(&self) -> bool {
        match self.found {
            Found::Program(name) => program(name).is_some(),
            Found::Package => debian::is_installed(self.package),
        }
    }
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components() -> anyhow::Result<()> {
    for (component, program) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if output(cargo().args([program, "--version"])).is_ok() {
            continue;
        }
        println!("set-up: rustup component add {component} (it checks the sources)");
        run(crate::repository::command("rustup").args(["component", "add", component]))
            .with_context(|| format!("add {component}; without rustup, install it as cargo was installed"))?;
    }
    Ok(())
}

/// Not Debian: says what to install, or that nothing is missing.
fn elsewhere(needs: &[&Need<'_>], build: bool) -> anyhow::Result<()> {
    let programs = needs.iter().filter_map(|need| match need.found {
        Found::Program(name) if program(name).is_none() => Some((need, name)),
        Found::Program(_) | Found::Package => None,
    });
    println!("This machine has no apt-get, so nothing was installed.");
    for (need, name) in programs {
        println!("  install {name} (Debian's package {}): {}", need.package, need.why);
    }
    if build {
        println!(
            "For the BPF object, which is in the repository and needs building only when rotrace-ebpf changes, one of\n\
             \x20 docker run --rm -v \"$PWD\":/rotrace -w /rotrace -e CARGO_TARGET_DIR=/tmp/target rust:1-bookworm \\\n\
             \x20     sh -c 'cargo xtask setup --for build && cargo xtask build-ebpf'\n\
             \x20 rustup toolchain install nightly --component rust-src, cargo install bpf-linker@{}, and\n\
             \x20     cargo +nightly build -Z build-std=core with the flags that `cargo xtask build-ebpf` prints",
            linker::VERSION
        );
    }
    bail!("set-up knows Debian only; what it would install is above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_named_twice() {
        let mut packages: Vec<_> = BUILD.iter().chain(&TEST).map(|need| need.package).collect();
        let all = packages.len();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), all);
    }
}
