//! Given: arguments. Gives: an exit status: 0 done, 1 failed, 2 wrong usage; a broken pipe is a success. Refuses to know:
//! what the commands do.

use std::process::ExitCode;

fn main() -> ExitCode {
    rotrace::shell::cli::main()
}
