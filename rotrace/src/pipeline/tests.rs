//! Given: records as the probes write them. Gives: proof that the pipeline makes the calls of them that were made.
