//! Given: a kernel, the live tests that there are, and how much is wanted. Gives: those that run there with each family of
//! probes. Refuses to know: how they are run.

use anyhow::bail;

use super::kernel::{FOREIGN, KERNELS, Kernel};

/// The families of probes.
const FAMILIES: [&str; 2] = ["socket", "syscall"];

/// Those that a kernel can load. On arm64, 6.1 attaches no programs to functions (`ENOTSUPP`).
pub(super) fn families(kernel: &Kernel) -> &'static [&'static str] {
    if kernel.name == "arm64-6.1" { &["syscall"] } else { &FAMILIES }
}

/// How many of the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Extent {
    /// Each on some kernel, and on every kernel what each does in its own way
    Some,
    /// Each that there is, on every kernel of this architecture, with both families; that takes hours
    All,
}

/// With which family a test runs on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Neither,
    Socket,
    Syscall,
    Both,
}

use With::{Both, Neither, Socket, Syscall};

impl With {
    fn has(self, family: &str) -> bool {
        match self {
            Neither => false,
            Socket => family == "socket",
            Syscall => family == "syscall",
            Both => true,
        }
    }
}

/// A live test, and where it runs when not all run everywhere: on each of some kernels, oldest first.
type Row<const KERNELS: usize> = (&'static str, [With; KERNELS]);

/// Of each way to move bytes, to share a socket, to come late and to speak TLS, one test or more.
#[rustfmt::skip]
const TESTS: [Row<4>; 38] = [
    // All ways to move bytes, by which the families differ: the heart of it.
    ("matrix::every_way_to_send_with_every_way_to_receive", [Both, Both, Both, Both]),
    // Targets come and go by tracepoints, whose arguments and locks are each kernel's own.
    ("lifetime::forks_and_executed_programs_are_followed", [Syscall, Socket, Syscall, Socket]),
    // User code is probed by perf events up to 6.9, by links from 6.10 on.
    ("tls::curl_over_tls", [Socket, Syscall, Socket, Syscall]),
    ("go::client_without_symbols", [Syscall, Neither, Neither, Socket]),
    ("go::server_with_symbols", [Neither, Socket, Syscall, Neither]),
    ("rustls::ureq", [Syscall, Neither, Socket, Neither]),
    ("rustls::hyper_over_tokio_with_http2", [Neither, Socket, Neither, Syscall]),
    ("nss::a_connection_that_is_older_than_the_tracer_is_counted", [Neither, Socket, Neither, Neither]),
    // `sendfile` and `splice` have functions of their own up to 6.4, and send messages from 6.5 on.
    ("shapes::sendfile_and_recv_that_waits_for_all", [Socket, Neither, Socket, Neither]),
    ("shapes::splice_to_and_from_pipes", [Neither, Socket, Neither, Socket]),
    // What a message keeps of its buffers has moved in 5.14, 6.0 and 6.4.
    ("shapes::writev_and_readv", [Socket, Socket, Neither, Neither]),
    ("shapes::sendmmsg_and_recvmmsg", [Neither, Neither, Syscall, Neither]),
    // Requests of io_uring that send came with 6.0, kTLS with Debian's 6.1.
    ("matrix::io_uring_of_old_kernels_is_seen_or_counted", [Both, Neither, Neither, Neither]),
    ("matrix::io_uring_is_seen_or_counted", [Neither, Syscall, Neither, Socket]),
    ("matrix::ktls_is_plaintext", [Neither, Socket, Syscall, Neither]),
    // What moves unseen is found by TCP's own numbers; a connection's end has one, too.
    ("mixed::the_middle_of_bodies", [Syscall, Both, Syscall, Both]),
    ("mixed::a_whole_exchange", [Syscall, Neither, Syscall, Neither]),
    ("mixed::the_last_response", [Neither, Syscall, Neither, Syscall]),
    // Functions by which MPTCP accepts and splices have come and gone.
    ("paths::multipath_tcp", [Neither, Both, Neither, Both]),
    ("paths::a_server_of_go_that_multipath_tcp_comes_to", [Neither, Neither, Socket, Neither]),
    ("paths::requests_that_go_with_the_syn", [Socket, Syscall, Neither, Socket]),
    ("paths::urgent_data_that_nobody_asks_for", [Socket, Neither, Syscall, Socket]),
    ("paths::pages_that_are_received_without_a_copy", [Neither, Socket, Neither, Syscall]),
    // A pidfd is another thing from 6.9 on.
    ("namespaces::a_tracer_in_a_pid_namespace_takes_and_shows_its_pids", [Neither, Syscall, Neither, Socket]),
    // From 7.0 on the kernel is preempted within programs, and those run for others meanwhile are not run.
    ("faults::a_storm_of_programs", [Neither, Neither, Neither, Both]),
    ("faults::ten_thousand_connections_at_one_time", [Neither, Neither, Socket, Syscall]),
    // What remains depends on the probes and hardly on the kernel.
    ("matrix::every_way_joined_in_the_middle_of_a_response", [Syscall, Neither, Socket, Neither]),
    ("faults::every_record_is_there_or_counted_as_lost", [Neither, Syscall, Neither, Neither]),
    ("faults::a_tracer_that_is_killed_leaves_no_probe", [Socket, Neither, Neither, Syscall]),
    ("identity::a_descriptor_that_is_used_again_is_another_connection", [Syscall, Neither, Socket, Neither]),
    ("identity::a_read_that_was_blocked_when_the_tracer_came", [Neither, Syscall, Neither, Neither]),
    ("identity::connections_older_than_the_tracer", [Neither, Neither, Neither, Syscall]),
    ("clients::curl_with_many_urls_on_one_connection", [Neither, Neither, Neither, Socket]),
    ("compat::int_0x80_of_a_64_bit_program_invents_nothing", [Syscall, Neither, Neither, Neither]),
    ("http2::curl_with_prior_knowledge", [Neither, Socket, Neither, Neither]),
    ("http2::grpc_calls_made", [Neither, Neither, Syscall, Neither]),
    ("websocket::a_client", [Neither, Neither, Socket, Syscall]),
    ("websocket::a_client_that_is_flooded", [Syscall, Socket, Neither, Neither]),
];

/// The same of [`FOREIGN`]: what needs no program of the host but those that are built here, which is whatever the mover moves.
#[rustfmt::skip]
const FOREIGN_TESTS: [Row<2>; 11] = [
    ("matrix::every_way_to_send_with_every_way_to_receive", [Syscall, Both]),
    ("matrix::every_way_joined_in_the_middle_of_a_response", [Syscall, Socket]),
    ("matrix::io_uring_is_seen_or_counted", [Syscall, Socket]),
    ("matrix::ktls_is_plaintext", [Neither, Socket]),
    ("mixed::the_middle_of_bodies", [Syscall, Syscall]),
    ("mixed::a_whole_exchange", [Syscall, Neither]),
    ("mixed::the_last_response", [Neither, Syscall]),
    ("faults::a_storm_of_programs", [Neither, Both]),
    ("faults::ten_thousand_connections_at_one_time", [Syscall, Neither]),
    ("faults::every_record_is_there_or_counted_as_lost", [Syscall, Neither]),
    ("faults::a_tracer_that_is_killed_leaves_no_probe", [Syscall, Neither]),
];

/// What is left out even where all tests run: the test, and the kernel or all of them.
const LEFT_OUT: [(&str, Option<&str>); 5] = [
    // It runs where the machines are made, for the tests in them.
    ("go::the_program_compiles", None),
    // It keeps to a plan by the clock.
    ("lab::a_plan_of_a_few_seconds_is_seen_call_by_call_and_its_waste_is_found", None),
    // 5.10 has not all of these requests; those that it has are another test's.
    ("matrix::io_uring_is_seen_or_counted", Some("5.10")),
    // Debian's 5.10 has no MPTCP.
    ("paths::multipath_tcp", Some("5.10")),
    ("paths::a_server_of_go_that_multipath_tcp_comes_to", Some("5.10")),
];

/// The live tests of a kernel with a family, of those that are `listed`, which are all that there are.
pub(super) fn tests<'a>(kernel: &Kernel, family: &str, extent: Extent, listed: &'a [String]) -> Vec<&'a str> {
    if !families(kernel).contains(&family) {
        return Vec::new();
    }
    let is_wanted = |test: &str| match (kernel.is_foreign(), extent) {
        (true, _) => is_in(&FOREIGN_TESTS, &FOREIGN, test, kernel, family, extent),
        (false, Extent::Some) => is_in(&TESTS, &KERNELS, test, kernel, family, extent),
        (false, Extent::All) => {
            !LEFT_OUT.iter().any(|&(name, on)| name == test && on.is_none_or(|on| on == kernel.name))
        }
    };
    listed.iter().map(String::as_str).filter(|test| is_wanted(test)).collect()
}

/// Whether a table has a test for a kernel and family, or for any where all is wanted.
fn is_in<const COUNT: usize>(
    tests: &[Row<COUNT>],
    kernels: &[Kernel; COUNT],
    test: &str,
    kernel: &Kernel,
    family: &str,
    extent: Extent,
) -> bool {
    let row = tests.iter().find(|(name, _)| *name == test);
    let at = kernels.iter().position(|known| known.name == kernel.name);
    match extent {
        Extent::All => row.is_some(),
        Extent::Some => row.zip(at).is_some_and(|((_, places), at)| places[at].has(family)),
    }
}

/// The tests that are named here, once or more.
fn named() -> impl Iterator<Item = &'static str> {
    let rows = TESTS.iter().map(|&(test, _)| test).chain(FOREIGN_TESTS.iter().map(|&(test, _)| test));
    rows.chain(LEFT_OUT.iter().map(|&(test, _)| test))
}

/// Fails where a test that is named here is none of those that are `listed`: it would be left out of what runs, unnoticed.
pub(super) fn check(listed: &[String]) -> anyhow::Result<()> {
    match named().find(|name| !listed.iter().any(|test| test == name)) {
        Some(gone) => bail!("selection.rs names a live test that there is not: {gone}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::root;

    /// Tests as the live binary lists them: those that are named here, and one that is not.
    fn listed() -> Vec<String> {
        let mut tests: Vec<String> = named().chain(["clients::another"]).map(str::to_owned).collect();
        tests.sort_unstable();
        tests.dedup();
        tests
    }

    /// The table says the same as what is run.
    fn assert_table<const COUNT: usize>(rows: &[Row<COUNT>], kernels: &[Kernel; COUNT]) {
        for (test, places) in rows {
            for (kernel, with) in kernels.iter().zip(places) {
                for family in FAMILIES {
                    let runs = tests(kernel, family, Extent::Some, &listed()).contains(test);
                    assert_eq!(runs, with.has(family), "{test} on {} with {family}", kernel.name);
                }
            }
            assert!(places.iter().any(|&with| with != Neither), "{test}");
        }
    }

    #[test]
    fn each_test_runs_on_some_kernel_that_has_what_it_needs() {
        assert_table(&TESTS, &KERNELS);
        assert_table(&FOREIGN_TESTS, &FOREIGN);
    }

    #[test]
    fn some_is_what_the_table_has() {
        for kernel in KERNELS.iter().chain(&FOREIGN) {
            for family in FAMILIES {
                assert!(!tests(kernel, family, Extent::Some, &listed()).contains(&"clients::another"));
            }
        }
    }

    #[test]
    fn all_is_each_test_on_every_kernel_but_what_is_left_out() {
        let listed = listed();
        let all = |kernel: &Kernel| FAMILIES.map(|family| tests(kernel, family, Extent::All, &listed).len());
        let left_out = |wanted| LEFT_OUT.iter().filter(|(_, on)| *on == wanted).count();
        let [own, foreign] = [listed.len() - left_out(None), FOREIGN_TESTS.len()];
        let oldest = own - left_out(Some("5.10"));
        assert_eq!(KERNELS.each_ref().map(all), [[oldest; 2], [own; 2], [own; 2], [own; 2]]);
        assert_eq!(FOREIGN.each_ref().map(all), [[0, foreign], [foreign; 2]]);
    }

    #[test]
    fn a_test_that_is_gone_is_told() {
        let mut listed = listed();
        check(&listed).expect("all are there");
        listed.retain(|test| test != "tls::curl_over_tls");
        let told = check(&listed).expect_err("one is gone").to_string();
        assert!(told.ends_with(": tls::curl_over_tls"), "{told}");
    }

    /// Known without a machine, and without building the tests.
    #[test]
    fn each_test_that_is_named_is_in_its_file() {
        for name in named() {
            let (module, function) = name.split_once("::").expect("a test of a module");
            let file = root().join(format!("tests/live/{module}.rs"));
            let source = std::fs::read_to_string(&file).expect("a module of the live tests");
            assert!(source.contains(&format!("#[test]\nfn {function}()")), "{name}");
        }
    }
}
