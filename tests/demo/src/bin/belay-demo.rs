//! Three hosts on this machine, real VMs, and a failover to watch: `make demo`.

use anyhow::{Context, Result, bail};
use belay_demo::layout::{Host, Run};
use belay_demo::power::PowerSupply;
use belay_demo::reaper::Reaper;
use belay_demo::report::Report;
use belay_demo::sampler::Sampler;
use belay_demo::screen::{Screen, say};
use belay_demo::story::{self, Stage};
use belay_demo::{process, world};
use clap::Parser;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Starts three hosts on this machine, each a real belayd with real QEMU VMs, breaks them, and shows what happens.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// End after the story; succeed only if every step really happened.
    #[arg(long)]
    once: bool,
    /// Where the report and the daemons' logs go.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match play(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbelay-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<()> {
    // Before any thread: all of them are to leave these to the one that waits for them.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    fs::create_dir_all(&arguments.out).with_context(|| format!("cannot create {}", arguments.out.display()))?;
    let out = arguments.out.canonicalize()?;
    let _only_one = only_one(&out)?;
    clear_leftovers(&out)?;

    let folder = tempfile::Builder::new().prefix("belay-demo-").rand_bytes(6).tempdir()?.keep();
    let run = Run::at(&folder)?;
    std::os::unix::fs::symlink(&run.dir, out.join("run"))?;
    let programs = std::env::current_exe()?.parent().context("no folder")?.to_owned();
    introduce(&run);
    let reaper = Reaper::start()?;
    world::build(&run, &programs, &out.join("libvirt-cache"), &reaper)?;
    let supply = PowerSupply::new(&run, &programs, &reaper)?;
    let sampler = Sampler::start(&run, &world::VMS)?;
    let ending = Arc::new(Ending { out, run: run.clone(), supply: supply.clone(), done: Mutex::new(false) });
    end_on_signal(&ending, signals)?;

    let mut stage =
        Stage { run: run.clone(), screen: Screen::new(), reaper, supply, sampler, report: Report::default() };
    let told = story::tell(&mut stage);
    fs::write(ending.out.join("report.json"), serde_json::to_vec_pretty(&stage.report)?)?;
    if told.is_err() {
        last_words(&run);
    } else {
        conclude(&stage, &ending.out);
        if !arguments.once {
            wait_for_the_end(&run);
        }
    }
    drop(stage);
    let cleared = ending.clear_up();
    told.and(cleared)
}

/// Everything that has to go in the end.
struct Ending {
    out: PathBuf,
    run: Run,
    supply: PowerSupply,
    done: Mutex<bool>,
}

impl Ending {
    /// Switches the hosts off, keeps their logs and removes the rest. Whoever comes second waits for the first.
    fn clear_up(&self) -> Result<()> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done {
            return Ok(());
        }
        self.supply.shut_down()?;
        for host in self.run.hosts() {
            // A host that never came up has none.
            let _ = fs::copy(host.log(), self.out.join(format!("{}.log", host.name)));
        }
        fs::remove_dir_all(&self.run.dir)?;
        fs::remove_file(self.out.join("run"))?;
        *done = true;
        Ok(())
    }
}

fn end_on_signal(ending: &Arc<Ending>, signals: SigSet) -> Result<()> {
    let ending = Arc::clone(ending);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let signal = signals.wait();
        say("\nSwitching the three hosts off and cleaning up.");
        let cleared = ending.clear_up();
        if let Err(error) = &cleared {
            eprintln!("belay-demo: {error:#}");
        }
        // Ctrl-C is how the demo is meant to end; anything else is somebody else's wish.
        let code = i32::from(cleared.is_err() || signal != Ok(Signal::SIGINT));
        std::process::exit(code);
    })?;
    Ok(())
}

/// Two demos of one checkout would take each other for leftovers.
fn only_one(out: &Path) -> Result<Flock<File>> {
    let lock = File::create(out.join("lock"))?;
    Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, _)| {
        anyhow::anyhow!("a demo of this checkout is running already ({}): end it with Ctrl-C first", out.display())
    })
}

/// Ends and removes what a demo left behind that was killed in the middle.
fn clear_leftovers(out: &Path) -> Result<()> {
    let link = out.join("run");
    let Ok(old) = fs::read_link(&link) else { return Ok(()) };
    let name = old.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !old.is_absolute() || !name.starts_with("belay-demo-") {
        bail!("{} does not point to a demo's folder: remove it", link.display());
    }
    let killed = process::kill_below(&old, Duration::from_secs(10))?;
    match fs::remove_dir_all(&old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", old.display()));
        }
        _ => {}
    }
    fs::remove_file(&link)?;
    say(&format!("An earlier demo did not end properly: its files were removed, and {killed} processes ended.\n"));
    Ok(())
}

fn introduce(run: &Run) {
    say("Belay keeps virtual machines running on a cluster of hosts. Here are three hosts on one");
    say("machine: each runs a real belayd and real QEMU virtual machines, and has a power switch");
    say("that the others can throw. Watch what happens when things break.");
    say(&format!("\nEverything of this run lies in {}.", run.dir.display()));
}

fn conclude(stage: &Stage, out: &Path) {
    say(&format!("\n{}. What was measured on this machine\n", stage.report.steps.len() + 1));
    for line in stage.report.table().lines() {
        say(&format!("   {line}"));
    }
    let looks = stage.report.samples;
    say(&format!("\n   All of it read off the process table ({looks} looks) and the cluster's own status;"));
    say(&format!("   the numbers are in {}.", out.join("report.json").display()));
}

fn wait_for_the_end(run: &Run) {
    let (bin, socket, hung) = (run.bin(), run.host(1).socket(), run.host(3).socket());
    say("\nThe cluster keeps running until you press Ctrl-C. To try it yourself, in another terminal:\n");
    say(&format!("   export PATH={}:$PATH BELAY_SOCKET={}\n", bin.display(), socket.display()));
    say("   clustat -i 1                                who is there, what runs where, every second");
    say("   belay events --follow                       everything that happens, and why");
    say("   pkill -9 -f guest=web1,                     kill a VM: it is back at once");
    say("   clusvcadm -r vm:web2 -m node3               move a VM");
    say("   clusvcadm -d vm:db1; clusvcadm -e vm:db1    stop a VM for good, and start it again");
    say(&format!("   pkill -STOP -f {}", hung.display()));
    say("                                               a host hangs: the others fence it, it comes back");
    loop {
        std::thread::park();
    }
}

/// The ends of the daemons' logs, for whoever has to find out what went wrong.
fn last_words(run: &Run) {
    for host in run.hosts() {
        eprintln!("\n---- the end of {} ----", host.log().display());
        for line in tail(&host, 25) {
            eprintln!("{line}");
        }
    }
}

fn tail(host: &Host, lines: usize) -> Vec<String> {
    let text = fs::read(host.log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}
