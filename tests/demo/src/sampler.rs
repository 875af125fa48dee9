//! The witness: a thread that reads the process table all the time and notes every QEMU of the run, when it came and
//! when it went. What the demo says about a VM's death, its return and its number of copies is read off here, not
//! taken from the daemons.

use crate::layout::Run;
use crate::process;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(15);

/// For this long after its first sight a process is looked at anew each time: a child is its parent until it `exec`s.
const SETTLING: Duration = Duration::from_secs(2);

/// Later only this often: on a busy machine a child may be its parent for longer.
const LATER: Duration = Duration::from_secs(1);

/// One QEMU process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its process.
    pub pid: i32,
    /// The host's number.
    pub host: u32,
    /// When it was first seen.
    pub came: Instant,
    /// When it was first seen missing or dead.
    pub went: Option<Instant>,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every copy of every VM, by its name, in the order of appearance.
    pub copies: BTreeMap<String, Vec<Copy>>,
    /// The most copies of one VM that ran at the same time.
    pub max_copies: usize,
    /// How often the table was read.
    pub samples: u64,
    /// The longest time between two readings.
    pub longest_gap: Duration,
    /// How often each VM's guest has said on its console that it is up, with the moments.
    pub guest_up: BTreeMap<String, Vec<Instant>>,
}

impl Seen {
    /// The copies of a VM that run.
    #[must_use]
    pub fn running(&self, vm: &str) -> Vec<Copy> {
        let copies = self.copies.get(vm).map_or(&[][..], Vec::as_slice);
        copies.iter().filter(|copy| copy.went.is_none()).cloned().collect()
    }

    /// The VMs that run on a host, with their processes.
    #[must_use]
    pub fn on_host(&self, host: u32) -> Vec<(String, Copy)> {
        let all = self.copies.iter().flat_map(|(vm, copies)| copies.iter().map(move |copy| (vm.clone(), copy.clone())));
        all.filter(|(_, copy)| copy.host == host && copy.went.is_none()).collect()
    }
}

/// The witness thread.
pub struct Sampler {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts to watch a run's VMs.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(run: &Run, vms: &[&str]) -> std::io::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut table = Table {
            run: run.clone(),
            vms: vms.iter().map(|vm| (*vm).to_owned()).collect(),
            known: HashMap::new(),
            last: Instant::now(),
        };
        let (shared, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("sampler".into()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                table.look(&shared);
                std::thread::sleep(PERIOD);
            }
        })?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A witness that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that was looked at before.
struct Known {
    started: u64,
    first_seen: Instant,
    looked_at: Instant,
    /// The VM's name and the host's number, if it is a QEMU of this run.
    guest: Option<(String, u32)>,
}

struct Table {
    run: Run,
    vms: Vec<String>,
    known: HashMap<i32, Known>,
    last: Instant,
}

impl Table {
    fn look(&mut self, shared: &Mutex<Seen>) {
        let now = Instant::now();
        let pids = process::all();
        let there: std::collections::HashSet<i32> = pids.iter().copied().collect();
        self.known.retain(|pid, _| there.contains(pid));
        let mut alive: Vec<(i32, String, u32)> = Vec::new();
        for pid in pids {
            if let Some((vm, host)) = self.guest_of(pid, now) {
                alive.push((pid, vm, host));
            }
        }
        let mut seen = lock(shared);
        seen.samples += 1;
        seen.longest_gap = seen.longest_gap.max(now.duration_since(self.last));
        self.last = now;
        note(&mut seen, &alive, now);
        for vm in &self.vms {
            let said =
                std::fs::metadata(self.run.console(vm)).map_or(0, |file| file.len() / crate::world::GREETING_BYTES);
            let times = seen.guest_up.entry(vm.clone()).or_default();
            times.resize(usize::try_from(said).unwrap_or(0).max(times.len()), now);
        }
    }

    /// Which VM a process runs, if it runs one and is alive.
    fn guest_of(&mut self, pid: i32, now: Instant) -> Option<(String, u32)> {
        match self.known.get(&pid) {
            // Not a QEMU, and hardly one that is to become one.
            Some(known)
                if known.guest.is_none()
                    && now.duration_since(known.first_seen) > SETTLING
                    && now.duration_since(known.looked_at) < LATER =>
            {
                None
            }
            Some(known) if known.guest.is_some() => {
                let stat = process::stat(pid)?;
                (stat.alive() && stat.started == known.started).then(|| known.guest.clone()).flatten()
            }
            other => {
                let first_seen = other.map_or(now, |known| known.first_seen);
                let stat = process::stat(pid)?;
                let guest = guest_named_by(&process::arguments(pid), &self.run);
                let known = Known { started: stat.started, first_seen, looked_at: now, guest: guest.clone() };
                self.known.insert(pid, known);
                guest.filter(|_| stat.alive())
            }
        }
    }
}

fn note(seen: &mut Seen, alive: &[(i32, String, u32)], now: Instant) {
    for copies in seen.copies.values_mut() {
        for copy in copies.iter_mut().filter(|copy| copy.went.is_none()) {
            if !alive.iter().any(|(pid, ..)| *pid == copy.pid) {
                copy.went = Some(now);
            }
        }
    }
    for (pid, vm, host) in alive {
        let copies = seen.copies.entry(vm.clone()).or_default();
        if !copies.iter().any(|copy| copy.pid == *pid && copy.went.is_none()) {
            copies.push(Copy { pid: *pid, host: *host, came: now, went: None });
        }
        let running = copies.iter().filter(|copy| copy.went.is_none()).count();
        seen.max_copies = seen.max_copies.max(running);
    }
}

/// The VM and the host that a QEMU's arguments name: `-name guest=web1,…`, and a path below the host's folder.
fn guest_named_by(arguments: &[Vec<u8>], run: &Run) -> Option<(String, u32)> {
    if !process::is_qemu(arguments) {
        return None;
    }
    let name = arguments.iter().skip_while(|argument| *argument != b"-name").nth(1)?;
    let name = std::str::from_utf8(name).ok()?.strip_prefix("guest=")?.split(',').next()?;
    let host = run.hosts().into_iter().find(|host| {
        let mut folder = host.dir.as_os_str().as_bytes().to_vec();
        folder.push(b'/');
        arguments.iter().any(|argument| argument.windows(folder.len()).any(|part| part == folder))
    })?;
    Some((name.to_owned(), host.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_counted_while_both_run_and_not_after_one_went() {
        let mut seen = Seen::default();
        let (web, now) = ("web1".to_owned(), Instant::now());
        note(&mut seen, &[(7, web.clone(), 1)], now);
        note(&mut seen, &[(9, web.clone(), 2)], now);
        assert_eq!(seen.max_copies, 1, "one went as the other came");
        note(&mut seen, &[(9, web.clone(), 2), (11, web.clone(), 3)], now);
        assert_eq!(seen.max_copies, 2);
        assert_eq!(seen.on_host(1), []);
        assert_eq!(seen.running("web1").len(), 2);
    }
}
