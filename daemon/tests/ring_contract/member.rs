//! A member process as the tests hold it: gives orders, keeps what it told, kills it, freezes it.

use crate::process::{Order, Role, Told, VARIABLE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far above what is expected: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of what a member told is shown when it never comes to what a test waits for.
const LAST_TOLD: usize = 40;

/// Something told, with its moment in nanoseconds.
pub(crate) type Timed = (u64, Told);

/// All that one process told.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) node: u32,
    pub(crate) told: Vec<Timed>,
}

#[derive(Default)]
struct Log {
    told: Mutex<Vec<Timed>>,
    more: Condvar,
}

/// A running member.
pub(crate) struct Member {
    pub(crate) node: u32,
    child: Child,
    orders: ChildStdin,
    log: Arc<Log>,
    /// Reads what it tells, to the end.
    keeper: Option<JoinHandle<()>>,
}

impl Member {
    /// Starts one. `wrap` puts words before the command, to run it elsewhere.
    pub(crate) fn start(role: &Role, wrap: &[String]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut words = wrap.iter().map(String::as_str).chain(program.to_str());
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["process::member_process", "--exact", "--ignored", "--nocapture", "--quiet"]);
        command.env(VARIABLE, serde_json::to_string(role).expect("plain data"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let orders = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let log = Arc::new(Log::default());
        let keeper = Arc::clone(&log);
        let keeping = std::thread::spawn(move || {
            // The test harness of the copy prints lines of its own.
            for line in output.lines().map_while(Result::ok) {
                if let Ok(timed) = serde_json::from_str::<Timed>(&line) {
                    keeper.told.lock().expect("no panic").push(timed);
                    keeper.more.notify_all();
                }
            }
        });
        Self { node: role.node, child, orders, log, keeper: Some(keeping) }
    }

    pub(crate) fn order(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("plain data");
        writeln!(self.orders, "{line}").expect("the member lives");
    }

    /// Proposes messages `<prefix>.1` and on, a few every millisecond.
    pub(crate) fn burst(&mut self, prefix: &str, count: u64) {
        self.order(&Order::Burst { prefix: prefix.to_owned(), count, size: 100, at_once: 4, every_ms: 1 });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("the member lives");
    }

    /// Kills it, and returns all it told.
    pub(crate) fn kill(mut self) -> Story {
        self.child.kill().expect("the member lives");
        self.child.wait().expect("it ends");
        // The pipe's remainder is still being read.
        if let Some(keeper) = self.keeper.take() {
            keeper.join().expect("it only reads");
        }
        self.story()
    }

    pub(crate) fn story(&self) -> Story {
        Story { node: self.node, told: self.told() }
    }

    pub(crate) fn told(&self) -> Vec<Timed> {
        self.log.told.lock().expect("no panic").clone()
    }

    /// Whether it has delivered a message.
    pub(crate) fn has_told(&self, wanted: &str) -> bool {
        self.told().iter().any(|(_, told)| matches!(told, Told::Message { text, .. } if text == wanted))
    }

    /// Waits until what was told satisfies the condition, and returns what it makes of it.
    pub(crate) fn wait<T>(&self, what: &str, condition: impl Fn(&[Timed]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut told = self.log.told.lock().expect("no panic");
        loop {
            if let Some(found) = condition(&told) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tail: Vec<_> =
                    told.iter().rev().take(LAST_TOLD).rev().map(|told| format!("\n  {told:?}")).collect();
                panic!("member {} never came to: {what}; the last it told: {}", self.node, tail.concat());
            }
            told = self.log.more.wait_timeout(told, left).expect("no panic").0;
        }
    }

    /// Waits for a view with exactly these members as its latest, told after `since`. Returns its moment.
    pub(crate) fn wait_view(&self, members: &[u32], since: u64) -> u64 {
        self.wait(&format!("a view of {members:?}"), |told| {
            let (at, view) =
                told.iter().rev().find(|(_, told)| matches!(told, Told::View { .. } | Told::Down { .. }))?;
            let fits = matches!(view, Told::View { members: latest, .. } if latest == members);
            (*at >= since && fits).then_some(*at)
        })
    }

    /// Waits for a message. Returns its moment.
    pub(crate) fn wait_message(&self, wanted: &str) -> u64 {
        self.wait(&format!("message {wanted}"), |told| {
            told.iter()
                .rev()
                .find(|(_, t)| matches!(t, Told::Message { text, .. } if text == wanted))
                .map(|(at, _)| *at)
        })
    }

    /// Waits until the latest view's ring has been called this by the quorum service.
    pub(crate) fn wait_quorum(&self, wanted: bool) {
        self.wait(&format!("quorate {wanted}"), |told| {
            let mut latest = None;
            for (_, told) in told {
                if let Told::View { ring, .. } = told {
                    latest = Some(*ring);
                }
            }
            let said = told.iter().rev().find_map(|(_, told)| match told {
                Told::Quorum { ring, quorate } if Some(*ring) == latest => Some(*quorate),
                _ => None,
            });
            (said == Some(wanted)).then_some(())
        });
    }

    /// Asks whether the ring is quorate at this moment.
    pub(crate) fn quorate(&mut self) -> bool {
        let before = crate::process::now_ns();
        self.order(&Order::AskQuorate);
        self.wait("an answer", |told| {
            told.iter().rev().take_while(|(at, _)| *at >= before).find_map(|(_, told)| match told {
                Told::Quorate(quorate) => Some(*quorate),
                _ => None,
            })
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
