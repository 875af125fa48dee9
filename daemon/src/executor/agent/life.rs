//! One agent process from its start to its end.
//!
//! It ends when it exits, closes its output, does not say a proper hello, writes what is not the protocol or a line
//! beyond the limit, or lets a call's deadline pass without an answer. Then it is killed (it alone: VMs are not its
//! to take along), and every call in flight is answered "unknown".

use super::client::{Order, Status, millis, unreachable};
use super::lines::{LineError, Lines};
use super::supervisor::Supervisor;
use super::{AgentSettings, NoticeKind};
use belay_proto::agent::{AGENT_VERSION, AgentEvent, AgentLine, Answer, Call, Fault, FaultKind, MAX_LINE_BYTES};
use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// The longest line of an agent's stderr that is worth a log entry.
const LOG_LINE: usize = 16 * 1024;
/// How long a process that exited may have left something in its pipe, and how long a killed one may take to go.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a released agent may take to finish what it is inside of.
const GOODBYE: Duration = Duration::from_secs(4);
/// How long a killed process is waited for. One that the kernel cannot end must not keep its successor from starting.
const BURIAL: Duration = Duration::from_secs(5);

/// How a life ended.
pub(super) enum End {
    /// Nobody holds a handle any more.
    Released,
    /// It died or had to be killed.
    Died {
        /// What it did, to follow "the agent".
        reason: String,
    },
}

/// A call that was written and not answered.
struct InFlight {
    overdue: Instant,
    answer: oneshot::Sender<Result<Answer, Fault>>,
}

/// A running agent process.
pub(super) struct Life {
    uri: Arc<str>,
    child: Child,
    output: Lines<ChildStdout>,
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    hello_by: Option<Instant>,
    hang_grace: Duration,
    in_flight: BTreeMap<u64, InFlight>,
    next_id: u64,
}

impl Life {
    /// Starts the program. The process gets a group of its own: an interrupt typed at a terminal is the daemon's to
    /// handle, and must not end the agent while the daemon still needs it to stop VMs.
    pub(super) fn start(uri: &Arc<str>, settings: &AgentSettings) -> io::Result<Self> {
        let mut child = Command::new(&settings.program)
            .arg("--uri")
            .arg(&**uri)
            // Without it, init takes its time to reap a dead emulator, and libvirt restarts none before that.
            .args(is_embedded(uri).then_some("--reap"))
            .args(&settings.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("its pipes are missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (input, lines) = mpsc::unbounded_channel();
        tokio::spawn(write_lines(stdin, lines));
        tokio::spawn(log_lines(Arc::clone(uri), stderr));
        Ok(Self {
            uri: Arc::clone(uri),
            child,
            output: Lines::new(stdout, MAX_LINE_BYTES),
            input: Some(input),
            hello_by: Some(Instant::now() + settings.hello_within),
            hang_grace: settings.hang_grace,
            in_flight: BTreeMap::new(),
            next_id: 1,
        })
    }

    /// Serves calls until the end, and cleans up after it.
    pub(super) async fn run(mut self, of: &mut Supervisor) -> End {
        let end = self.serve(of).await;
        match &end {
            End::Died { reason } => {
                for (_, call) in std::mem::take(&mut self.in_flight) {
                    let _ = call.answer.send(Err(unreachable(&self.uri, reason)));
                }
            }
            End::Released => {
                // Its input ends, which tells it to go.
                self.input = None;
                let _ = timeout(GOODBYE, self.child.wait()).await;
            }
        }
        let _ = self.child.start_kill();
        if timeout(BURIAL, self.child.wait()).await.is_err() {
            tracing::error!(agent = %self.uri, pid = ?self.child.id(), "an agent does not die of SIGKILL; going on without it");
        }
        end
    }

    async fn serve(&mut self, of: &mut Supervisor) -> End {
        loop {
            let overdue = self.overdue();
            tokio::select! {
                // What the agent said before it died or hung counts, so its output comes first.
                biased;
                line = self.output.next() => {
                    if let Err(reason) = self.line(line, of).await {
                        return End::Died { reason };
                    }
                }
                status = self.child.wait() => {
                    let reason = status.map_or_else(|e| format!("cannot be waited for: {e}"), |s| format!("ended with {s}"));
                    let _ = timeout(LAST_WORDS, self.drain(of)).await;
                    return End::Died { reason };
                }
                () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {
                    return End::Died { reason: self.what_is_overdue() };
                }
                order = of.incoming.recv(), if self.hello_by.is_none() => match order {
                    Some(order) => self.send(order),
                    None => return End::Released,
                },
            }
        }
    }

    /// Takes what a process that exited has left in its pipe.
    async fn drain(&mut self, of: &mut Supervisor) {
        loop {
            let line = self.output.next().await;
            if self.line(line, of).await.is_err() {
                return;
            }
        }
    }

    fn overdue(&self) -> Option<Instant> {
        self.in_flight.values().map(|call| call.overdue).chain(self.hello_by).min()
    }

    fn what_is_overdue(&self) -> String {
        match self.hello_by {
            Some(_) => "did not say hello in time".to_owned(),
            None => "hangs: it let a call's deadline pass without an answer".to_owned(),
        }
    }

    fn send(&mut self, order: Order) {
        let id = self.next_id;
        self.next_id += 1;
        let call = Call { id, deadline_ms: millis(order.deadline), what: order.what };
        let line = serde_json::to_vec(&call).unwrap_or_default();
        if line.is_empty() || line.len() >= MAX_LINE_BYTES {
            let message = format!("the call is {} bytes long, the protocol allows {MAX_LINE_BYTES}", line.len());
            let _ = order.answer.send(Err(Fault { kind: FaultKind::BadCall, message }));
            return;
        }
        let overdue = Instant::now() + order.deadline + self.hang_grace;
        self.in_flight.insert(id, InFlight { overdue, answer: order.answer });
        // When the writer is gone the pipe is broken, and the child's end is about to be noticed.
        if let Some(input) = &self.input {
            let _ = input.send([line.as_slice(), b"\n"].concat());
        }
    }

    /// Takes one line in; an error says why this agent must end.
    async fn line(&mut self, line: Result<Option<Vec<u8>>, LineError>, of: &mut Supervisor) -> Result<(), String> {
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return Err(self.closed().await),
            Err(error) => return Err(error.to_string()),
        };
        match (parse(&line)?, self.hello_by) {
            (AgentLine::Hello { version, uri }, Some(_)) => self.hello(version, &uri, of).await,
            (AgentLine::Hello { .. }, None) => Err("said hello twice".to_owned()),
            (_, Some(_)) => Err("did not begin with hello".to_owned()),
            (AgentLine::Answer { id, result }, None) => {
                let call =
                    self.in_flight.remove(&id).ok_or_else(|| format!("answered call {id}, which is not open"))?;
                // The caller may have lost interest.
                let _ = call.answer.send(result);
                Ok(())
            }
            (AgentLine::Event(event), None) => {
                match &event {
                    AgentEvent::Connected => of.connected(),
                    AgentEvent::Disconnected { .. } => drop(of.status.send_replace(Status::Up { connection: None })),
                    _ => {}
                }
                of.tell(NoticeKind::Event(event)).await;
                Ok(())
            }
        }
    }

    async fn hello(&mut self, version: u16, uri: &str, of: &Supervisor) -> Result<(), String> {
        if version != AGENT_VERSION {
            return Err(format!(
                "speaks version {version} of the protocol and the daemon {AGENT_VERSION}; install both from one package"
            ));
        }
        if uri != &*self.uri {
            return Err(format!("serves {uri} instead"));
        }
        self.hello_by = None;
        of.status.send_replace(Status::Up { connection: None });
        of.tell(NoticeKind::Up).await;
        Ok(())
    }

    /// Why the output ended: mostly because the process did.
    async fn closed(&mut self) -> String {
        match timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => format!("ended with {status}"),
            _ => "closed its output".to_owned(),
        }
    }
}

/// Whether the hypervisor's driver runs inside the agent, which makes the emulators the agent's orphans.
fn is_embedded(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    path.ends_with("/embed")
}

/// Reads a line; an error says in what way it is none.
pub(super) fn parse(line: &[u8]) -> Result<AgentLine, String> {
    serde_json::from_slice(line).map_err(|error| nonsense(line, &error))
}

/// What an agent wrote that is not the protocol, short enough for a log.
fn nonsense(line: &[u8], error: &serde_json::Error) -> String {
    let text: String = String::from_utf8_lossy(&line[..line.len().min(200)]).chars().take(80).collect();
    format!("wrote what is not the protocol ({error}): {text:?}")
}

/// Writes calls in a task of its own: an agent that does not read must not keep the daemon from noticing deadlines.
async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Passes what the agent writes to stderr on to the log, line by line.
async fn log_lines(uri: Arc<str>, stderr: ChildStderr) {
    let mut lines = Lines::new(stderr, LOG_LINE);
    loop {
        match lines.next().await {
            Ok(Some(line)) => tracing::info!(agent = %uri, "{}", String::from_utf8_lossy(&line)),
            Ok(None) => return,
            Err(error) => {
                // Its pipe must be kept empty, or it would block; nothing in it is worth reading any more.
                tracing::warn!(agent = %uri, "the agent's log {error}; the rest of it is dropped");
                let _ = tokio::io::copy(&mut lines.into_inner(), &mut tokio::io::sink()).await;
                return;
            }
        }
    }
}
