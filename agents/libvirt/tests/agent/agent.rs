//! Drives one agent process.

use belay_proto::agent::{AgentEvent, AgentLine, Answer, Call, CallKind, Domain, Fault};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes this long on a healthy machine, however busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Agent {
    pub(crate) process: Child,
    stdin: Option<ChildStdin>,
    received: Arc<(Mutex<Received>, Condvar)>,
    next_id: u64,
    read: usize,
}

#[derive(Default)]
struct Received {
    lines: Vec<(Instant, AgentLine)>,
    ended: bool,
}

impl Agent {
    pub(crate) fn start(uri: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_belay-agent-libvirt"));
        command.args(["--uri", uri]).args(more);
        Self::spawn(command)
    }

    /// `command` ends in the agent's own command line.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the agent's binary starts");
        let stdout = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
        let received = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let writer = Arc::clone(&received);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let parsed =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("not a line of the protocol: {line}: {e}"));
                writer.0.lock().expect("no panic").lines.push((Instant::now(), parsed));
                writer.1.notify_all();
            }
            writer.0.lock().expect("no panic").ended = true;
            writer.1.notify_all();
        });
        let stdin = process.stdin.take();
        Self { process, stdin, received, next_id: 0, read: 0 }
    }

    pub(crate) fn connected(uri: &str, more: &[&str]) -> Self {
        let mut agent = Self::start(uri, more);
        agent.expect("connected", |event| matches!(event, AgentEvent::Connected).then_some(()));
        agent
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("stdin is open").write_all(bytes).expect("the agent reads");
    }

    pub(crate) fn send(&mut self, what: CallKind, deadline: Duration) -> u64 {
        self.next_id += 1;
        let deadline_ms = u64::try_from(deadline.as_millis()).expect("a short deadline");
        let mut line = serde_json::to_vec(&Call { id: self.next_id, deadline_ms, what }).expect("calls are JSON");
        line.push(b'\n');
        self.write(&line);
        self.next_id
    }

    /// Waits for the first line, of all that came, for which `pick` gives something.
    pub(crate) fn wait<T>(
        &self,
        from: usize,
        what: &str,
        mut pick: impl FnMut(&AgentLine) -> Option<T>,
    ) -> (usize, T, Instant) {
        let until = Instant::now() + PATIENCE;
        let mut received = self.received.0.lock().expect("no panic");
        let mut seen = from;
        loop {
            while let Some((at, line)) = received.lines.get(seen) {
                seen += 1;
                if let Some(found) = pick(line) {
                    return (seen, found, *at);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !received.ended, "no {what}, but: {:#?}", &received.lines[from.min(seen)..]);
            received = self.received.1.wait_timeout(received, left).expect("no panic").0;
        }
    }

    pub(crate) fn answer(&self, id: u64) -> Result<Answer, Fault> {
        let mine = |line: &AgentLine| match line {
            AgentLine::Answer { id: answered, result } if *answered == id => Some(result.clone()),
            _ => None,
        };
        self.wait(0, "answer", mine).1
    }

    pub(crate) fn call(&mut self, what: CallKind) -> Result<Answer, Fault> {
        let id = self.send(what, PATIENCE);
        self.answer(id)
    }

    /// Waits for an event that came after those that were expected before; gives what `pick` made of it, and when.
    pub(crate) fn expect_at<T>(&mut self, what: &str, mut pick: impl FnMut(&AgentEvent) -> Option<T>) -> (T, Instant) {
        let (read, found, at) = self.wait(self.read, what, |line| match line {
            AgentLine::Event(event) => pick(event),
            _ => None,
        });
        self.read = read;
        (found, at)
    }

    pub(crate) fn expect<T>(&mut self, what: &str, pick: impl FnMut(&AgentEvent) -> Option<T>) -> T {
        self.expect_at(what, pick).0
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<AgentLine> {
        self.received.0.lock().expect("no panic").lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<AgentEvent> {
        let event = |line: AgentLine| if let AgentLine::Event(event) = line { Some(event) } else { None };
        self.lines().into_iter().filter_map(event).collect()
    }

    pub(crate) fn list(&mut self) -> Vec<Domain> {
        match self.call(CallKind::List) {
            Ok(Answer::Domains(domains)) => domains,
            other => panic!("a list gave {other:?}"),
        }
    }

    pub(crate) fn start_domain(&mut self, name: &str, xml: &str) -> u32 {
        match self.call(CallKind::Start { name: name.into(), xml: xml.into() }) {
            Ok(Answer::Started { pid: Some(pid), already: false }) => pid,
            other => panic!("a start gave {other:?}"),
        }
    }

    /// Closes stdin, as a daemon that ends does.
    pub(crate) fn hang_up(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.process.wait().expect("it can be waited for")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it can be waited for");
    }

    /// Waits until nobody holds the agent's stdout any more.
    pub(crate) fn wait_end(&self) {
        let until = Instant::now() + PATIENCE;
        let mut received = self.received.0.lock().expect("no panic");
        while !received.ended {
            assert!(Instant::now() < until, "somebody keeps the agent's stdout open");
            received = self.received.1.wait_timeout(received, Duration::from_millis(100)).expect("no panic").0;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn stop(name: &str, grace_ms: u64, destroy: bool) -> CallKind {
    CallKind::Stop { name: name.into(), grace_ms, destroy }
}

pub(crate) fn gone(event: &AgentEvent) -> Option<AgentEvent> {
    matches!(event, AgentEvent::Gone { .. }).then(|| event.clone())
}
