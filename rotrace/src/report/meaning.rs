//! Given: the name of a reason. Gives: what it means for the figures of a report, in words. Refuses to know: how often it was
//! so.

use crate::capture::NOT_RUN;

/// What a loss means for the figures above it, for the counters of the probes.
pub(super) fn loss_meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "ring_full" => "records found no room in the ring buffer; calls in them are missing or not complete",
        "fault" => "payload could not be read from the process; calls in it are missing",
        "sockets_full" => "the socket table was full; calls on these connections are missing",
        "file_gone" => "the file was closed before the call on it ended; its bytes are missing",
        "tls_calls_full" => "the thread table was full; the plaintext of these TLS calls is missing",
        "tls_objects_full" => "the table of TLS objects was full; calls on these connections are missing",
        "compat_syscall" => "system calls of 32-bit processes, which these probes do not read",
        "io_uring" => "calls to io_uring, which these probes do not read; `--probes socket` do",
        "tls_socket_mismatch" => "a TLS object used a second socket; its calls stay with the first",
        "go_entry_missed" => "TLS calls of Go began before the probes came; their plaintext is missing",
        "rustls_unread" => {
            "rustls passed plaintext in a form that is not known, or before the probes knew its connections; it is missing"
        }
        "nspr_vectors" => "connections of NSS were written to by PR_Writev; what follows on them is missing",
        NOT_RUN => {
            "the kernel ran no probe, as it was interrupted there; calls are missing, if a target made them"
        }
        "targets_full" => "the target table was full; calls of these new processes are missing",
        _ => return None,
    })
}

/// The same of bytes that are lost.
pub(super) fn lost_bytes_meaning(reason: &str) -> &str {
    match reason {
        "ring_full" => "in the records that found no room",
        "segments_beyond" => "behind the segments of one call that are looked at; they are counted, not read",
        "unseen_sent" | "unseen_received" => "went by in no call that the probes saw; TCP has counted them",
        "overlap" => "arrived twice, and were read once",
        other => other,
    }
}

/// Why the path of a call is not known.
pub(super) fn unnamed_meaning(reason: &str) -> &str {
    match reason {
        "joined_late" => "it was sent before the connection was watched, and only its number is repeated",
        "block_lost" => "it was sent with fields that were lost, and only its number is repeated",
        "missing" => "the request names none",
        other => other,
    }
}

/// What did not become a call.
pub(super) fn unpaired_meaning(reason: &str) -> &str {
    match reason {
        "response" => "a response whose request was not seen",
        "request" => "a request whose response is not certain",
        "resync" => "a gap where a message began or its length stood",
        "upgraded" => "a connection that became a tunnel or another protocol",
        "not_http" => "a connection that is not HTTP",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_of_the_probes_has_a_meaning() {
        for reason in rotrace_ebpf::stats::LOSSES.map(|(_, reason)| reason).into_iter().chain([NOT_RUN]) {
            assert!(loss_meaning(reason).is_some(), "{reason}");
        }
    }
}
