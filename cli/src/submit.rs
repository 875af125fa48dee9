//! Hands a request to the daemon and stays with it until its outcome is known, also across a restart of the daemon:
//! the request carries an id, so asking again never does anything twice (design S12).

use crate::client::{Client, ClientError};
use crate::console::Console;
use belay_proto::control::{ControlError, SubmitParameters, Verdict};
use belay_proto::entry::Request;
use belay_proto::{Code, RequestId, Span};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a daemon may be away before the command gives up.
pub(crate) const RECONNECT: Span = Span::seconds(60);

/// A connection that held this long had found its daemon: when it breaks, patience begins anew.
const SETTLED: Duration = Duration::from_secs(5);

/// The variable that sets another time.
pub(crate) const RECONNECT_VARIABLE: &str = "BELAY_RECONNECT";

/// How patient the command is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// With a daemon that went away.
    pub(crate) reconnect: Duration,
    /// With the request; `None` waits for as long as it takes.
    pub(crate) wait: Option<Duration>,
}

impl Patience {
    /// As the environment has it.
    pub(crate) fn from_environment() -> Self {
        let set = std::env::var(RECONNECT_VARIABLE).ok().and_then(|text| text.parse::<Span>().ok());
        Self { reconnect: set.unwrap_or(RECONNECT).into(), wait: None }
    }
}

/// How it ended.
pub(crate) enum Ended {
    /// With a verdict.
    Verdict(Verdict),
    /// The patience with the request is over; it stays in force.
    StillWorking(RequestId),
}

/// A new id, never used before.
pub(crate) fn new_id() -> Result<RequestId, ClientError> {
    uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .map_err(|error: belay_proto::ids::IdError| ClientError::Strange(error.to_string()))
}

/// How often whoever waits for an outcome looks how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is done now and then while a request has no outcome; it may end the waiting.
pub(crate) type Watcher<'a> = dyn FnMut(&mut Console) -> ControlFlow<()> + 'a;

/// Submits over `client`, and over new connections when it breaks.
pub(crate) fn submit(
    client: Client,
    path: &Path,
    request: Request,
    patience: Patience,
    console: &mut Console,
) -> Result<Ended, ClientError> {
    submit_and_watch(client, path, request, patience, &mut |_| ControlFlow::Continue(()), console)
}

/// Submits, and lets `watcher` look every second until there is an outcome.
pub(crate) fn submit_and_watch(
    client: Client,
    path: &Path,
    request: Request,
    patience: Patience,
    watcher: &mut Watcher,
    console: &mut Console,
) -> Result<Ended, ClientError> {
    let id = new_id()?;
    let parameters = SubmitParameters { id: id.clone(), request };
    let deadline = patience.wait.map(|wait| Instant::now() + wait);
    let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    let mut connected = Ok(client);
    let mut away: Option<Away> = None;
    loop {
        let asked = Instant::now();
        let tried = connected.and_then(|mut client| {
            client.call_once("Submit", &parameters)?;
            await_verdict(&mut client, deadline, watcher, console)
        });
        let problem = match tried {
            Ok(None) => return Ok(Ended::StillWorking(id)),
            Ok(Some(verdict)) if away.as_ref().is_some_and(|away| away.may_pass(&verdict)) => {
                ClientError::Refused(ControlError::Unavailable { reason: verdict.reason })
            }
            Ok(Some(verdict)) => return Ok(Ended::Verdict(verdict)),
            Err(problem) if passes(&problem) => problem,
            Err(problem) => return Err(problem),
        };
        if asked.elapsed() > SETTLED {
            away = None;
        }
        let away = away.get_or_insert_with(|| {
            console.tell(&format!("{problem}; asking again for up to {}", Span::from(patience.reconnect)));
            Away::new(patience.reconnect)
        });
        let Some(pause) = away.next_pause() else { return Err(problem) };
        if deadline.is_some_and(|deadline| left(deadline) <= pause) {
            return Ok(Ended::StillWorking(id));
        }
        std::thread::sleep(pause);
        connected = Client::connect(path);
    }
}

/// The verdict, or nothing when the patience with it, or the watcher's, is over first.
fn await_verdict(
    client: &mut Client,
    deadline: Option<Instant>,
    watcher: &mut Watcher,
    console: &mut Console,
) -> Result<Option<Verdict>, ClientError> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match client.receive(Some(left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY))) {
            Ok((verdict, _)) => return Ok(Some(verdict)),
            Err(ClientError::TimedOut) if left.is_some_and(|left| left <= LOOK_EVERY) => return Ok(None),
            Err(ClientError::TimedOut) => {
                if watcher(console).is_break() {
                    return Ok(None);
                }
            }
            Err(problem) => return Err(problem),
        }
    }
}

/// Whether a restart of the daemon, or a little time, mends it.
fn passes(problem: &ClientError) -> bool {
    match problem {
        ClientError::Unreachable { .. } | ClientError::Broken(_) | ClientError::TimedOut => true,
        ClientError::Refused(ControlError::Unavailable { .. }) => true,
        ClientError::Refused(_) | ClientError::Strange(_) => false,
    }
}

/// A daemon that is away: when to look again, and when to stop.
#[derive(Debug)]
pub(crate) struct Away {
    until: Instant,
    pause: Duration,
}

impl Away {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, pause: Duration::from_millis(50) }
    }

    /// Whether a verdict says no more than that the daemon which is back has not found the others yet. Of the request,
    /// which the others may have taken in before, it says nothing.
    fn may_pass(&self, verdict: &Verdict) -> bool {
        verdict.code == Code::Quorum && Instant::now() + self.pause <= self.until
    }

    /// How long to wait before the next look, doubling up to a second; `None` when it was long enough.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(Duration::from_secs(1));
        (Instant::now() + pause <= self.until).then_some(pause)
    }
}
