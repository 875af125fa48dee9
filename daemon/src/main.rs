//! The daemon's entry: reads the command line, sets up the log, and runs the shell.

use belayd::settings::Settings;
use belayd::shell;
use clap::Parser;
use std::process::ExitCode;

/// sysexits.h: the unit does not start the daemon again after this one, since only a change of the file helps.
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let settings = Settings::parse();
    shell::journal::set_up(settings.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(shell::run(settings)) {
        Ok(()) => {
            // Threads that wait for a hung storage or hypervisor must not keep the daemon from ending.
            runtime.shutdown_background();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error:#}");
            runtime.shutdown_background();
            if error.is::<shell::BadConfiguration>() { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}
