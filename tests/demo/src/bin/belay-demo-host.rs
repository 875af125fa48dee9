//! One host of the demo, started by `belay-demo`; see the library's `host` module.

use belay_demo::layout::Run;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Plays one host of the Belay demo: its hardware and its init. belay-demo starts it; ending its standard input is a
/// power cut.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The run's folder.
    #[arg(long)]
    run: PathBuf,
    /// Where belayd and its agent are.
    #[arg(long)]
    programs: PathBuf,
    /// Which host to play.
    #[arg(long)]
    host: u32,
    /// How long it takes to boot.
    #[arg(long, default_value_t = 0)]
    boot_seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let run = Run::at(&arguments.run)?;
    let host = run.host(arguments.host);
    belay_demo::host::run(&run, &host, &arguments.programs, Duration::from_secs(arguments.boot_seconds))
}
