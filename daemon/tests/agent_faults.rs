//! What the daemon makes of an agent that hangs, dies, or talks nonsense. The agents here are shell scripts; the real
//! one is in `vm_executor_qemu.rs`.

#![allow(clippy::unwrap_used)]

use belay_proto::agent::{Answer, CallKind, FaultKind};
use belayd::executor::agent::{Agent, AgentSettings, Agents, Notice, NoticeKind};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const HELLO: &str = r#"echo '{"hello":{"version":1,"uri":"test:///default"}}'"#;
/// Far above what is expected: the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn start(xml: &str) -> CallKind {
    CallKind::Start { name: "web1".into(), xml: xml.into() }
}

/// So long that even on a busy machine no script is taken for one that says nothing.
const HELLO_WITHIN: Duration = Duration::from_secs(30);

struct Bench {
    _dir: TempDir,
    agents: Agents,
    notices: mpsc::Receiver<Notice>,
}

impl Bench {
    /// An agent that is this script. `$dir` is a folder of its own, and `$life` counts its lives from 1.
    fn with(script: &str) -> Self {
        Self::with_hello_within(HELLO_WITHIN, script)
    }

    fn with_hello_within(hello_within: Duration, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\ndir={}\necho >>$dir/lives\nlife=$(wc -l <$dir/lives)\n{script}\n",
            dir.path().display()
        );
        fs::write(dir.path().join("text"), text).unwrap();
        let program = dir.path().join("agent");
        // By another process: what a thread of this one is just starting would inherit a file that is open for writing,
        // and a program that is open for writing anywhere cannot be run.
        let copied = Command::new("install").args(["-m", "755"]).arg(dir.path().join("text")).arg(&program).status();
        assert!(copied.unwrap().success());
        Self::of(dir, &program, hello_within)
    }

    fn of(dir: TempDir, program: &Path, hello_within: Duration) -> Self {
        let settings = AgentSettings {
            hello_within,
            hang_grace: Duration::from_millis(100),
            pause_first: Duration::from_millis(20),
            pause_longest: Duration::from_millis(200),
            ..AgentSettings::new(program)
        };
        let (sender, notices) = mpsc::channel(100);
        Self { _dir: dir, agents: Agents::new(settings, sender), notices }
    }

    fn agent(&mut self) -> Agent {
        self.agents.get("test:///default")
    }

    async fn notice(&mut self) -> NoticeKind {
        timeout(SOON, self.notices.recv()).await.unwrap().unwrap().what
    }

    /// The reason of the next end.
    async fn down(&mut self) -> String {
        loop {
            if let NoticeKind::Down { reason } = self.notice().await {
                return reason;
            }
        }
    }
}

async fn ready(agent: &Agent) {
    assert!(agent.up_within(SOON).await, "{:?}", agent.status());
}

#[tokio::test]
async fn answers_are_matched_by_id_whatever_their_order() {
    let answer = r#"printf '{"answer":{"id":%s,"result":{"Ok":%s}}}\n'"#;
    let script =
        format!("{HELLO}; read a; read b; {answer} 2 '\"migrated\"'; {answer} 1 '\"cancelled\"'; cat >/dev/null");
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    let name = || "web1".to_owned();
    let cancel = agent.call(CallKind::CancelMigration { name: name() }, SOON);
    let migrate = CallKind::Migrate { name: name(), to: "there".into(), live: true, tunnelled: false };
    let (first, second) = tokio::join!(cancel, agent.call(migrate, SOON));
    assert_eq!((first, second), (Ok(Answer::Cancelled), Ok(Answer::Migrated)));
}

#[tokio::test]
async fn when_it_dies_every_call_in_flight_ends_as_unknown_and_another_one_starts() {
    let script = format!("{HELLO}; [ $life = 1 ] && {{ read a; read b; exit 3; }}; cat >/dev/null");
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    let (first, second) = tokio::join!(agent.list(SOON), agent.list(SOON));
    for fault in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(fault.message.contains("exit status: 3") && fault.message.contains("unknown"), "{fault}");
    }
    assert_eq!(bench.notice().await, NoticeKind::Up);
    assert!(matches!(bench.notice().await, NoticeKind::Down { .. }));
    assert_eq!(bench.notice().await, NoticeKind::Up);
}

#[tokio::test]
async fn what_it_said_before_it_died_still_counts() {
    let script = format!(
        "{HELLO}; read a; echo '{{\"answer\":{{\"id\":1,\"result\":{{\"Ok\":{{\"domains\":[]}}}}}}}}'; printf '{{\"ans'; exit 1"
    );
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    assert!(agent.list(SOON).await.unwrap().domains.is_empty());
    assert!(bench.down().await.contains("exit status: 1"));
}

#[tokio::test]
async fn one_that_lets_a_deadline_pass_is_killed_and_replaced() {
    let script = format!("echo $$ >$dir/pid; {HELLO}; [ $life = 1 ] && exec sleep 1000; cat >/dev/null");
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    let pid = fs::read_to_string(bench._dir.path().join("pid")).unwrap();
    let asked = Instant::now();
    let fault = agent.list(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(asked.elapsed() >= Duration::from_millis(300), "not before its grace is over");
    assert!(bench.down().await.contains("hangs"));
    ready(&agent).await;
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the first one is gone before the second works");
}

#[tokio::test]
async fn one_that_is_stopped_before_it_says_hello_is_replaced() {
    let script = format!("[ $life = 1 ] && kill -STOP $$; {HELLO}; cat >/dev/null");
    let mut bench = Bench::with_hello_within(Duration::from_secs(1), &script);
    let agent = bench.agent();
    // Where the machine is busy the next ones may be late as well.
    assert!(bench.down().await.contains("hello"));
    ready(&agent).await;
}

#[tokio::test]
async fn nonsense_of_any_kind_ends_it_and_is_quoted() {
    let late_hello = format!("{HELLO}; {HELLO}");
    let stray_answer = format!(r#"{HELLO}; echo '{{"answer":{{"id":99,"result":{{"Ok":"migrated"}}}}}}'"#);
    let garbage = format!("{HELLO}; echo 'Segmentation fault (not really)'");
    let long = format!("{HELLO}; head -c 9000000 /dev/zero | tr '\\0' x");
    for (script, said) in [
        ("echo oops", "oops"),
        ("echo '{\"event\":\"connected\"}'", "did not begin with hello"),
        (r#"echo '{"hello":{"version":2,"uri":"test:///default"}}'"#, "version 2"),
        (r#"echo '{"hello":{"version":1,"uri":"qemu:///system"}}'"#, "serves qemu:///system"),
        (late_hello.as_str(), "hello twice"),
        (stray_answer.as_str(), "call 99"),
        (garbage.as_str(), "Segmentation"),
        (long.as_str(), "more than 8388608 bytes"),
    ] {
        let mut bench = Bench::with(&format!("{script}; exec sleep 1000"));
        bench.agent();
        let reason = bench.down().await;
        assert!(reason.contains(said), "{script}: {reason}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_tried_again_with_growing_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("agent");
    let mut bench = Bench::of(dir, &program, HELLO_WITHIN);
    let agent = bench.agent();
    let mut times = Vec::new();
    for _ in 0..5 {
        assert!(bench.down().await.contains("No such file"));
        times.push(Instant::now());
    }
    let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_millis(20) && pauses[3] >= Duration::from_millis(160), "{pauses:?}");
    let asked = Instant::now();
    let fault = agent.list(SOON).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(asked.elapsed() < SOON / 2, "who asks meanwhile is told at once");
}

#[tokio::test]
async fn one_that_does_not_read_delays_nobody_else() {
    let script = format!("{HELLO}; exec sleep 1000");
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    let xml = "x".repeat(1024 * 1024);
    let start = agent.call(start(&xml), Duration::from_millis(300));
    assert_eq!(start.await.unwrap_err().kind, FaultKind::Unreachable);
    assert!(bench.down().await.contains("hangs"));
}

#[tokio::test]
async fn a_definition_beyond_the_protocols_limit_is_refused_without_harm() {
    let mut bench = Bench::with(&format!("{HELLO}; cat >/dev/null"));
    let agent = bench.agent();
    ready(&agent).await;
    let fault = agent.call(start(&"x".repeat(9_000_000)), SOON).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::BadCall);
    assert!(agent.up_within(Duration::ZERO).await);
}

#[tokio::test]
async fn a_list_counts_as_complete_only_under_one_connection() {
    let answer = r#"echo '{"answer":{"id":'$n',"result":{"Ok":{"domains":[]}}}}'"#;
    // Answers the first call before, the second just after it says connected, and the third later.
    let script = format!(
        "{HELLO}; n=0; while read line; do n=$((n+1)); [ $n = 2 ] && echo '{{\"event\":\"connected\"}}'; {answer}; done"
    );
    let mut bench = Bench::with(&script);
    let agent = bench.agent();
    ready(&agent).await;
    let mut complete = Vec::new();
    for _ in 0..3 {
        complete.push(agent.list(SOON).await.unwrap().complete);
    }
    assert_eq!(complete, [false, false, true]);
}

#[tokio::test]
async fn it_ends_when_nobody_needs_it_any_more() {
    let mut bench = Bench::with(&format!("echo $$ >$dir/pid; {HELLO}; exec sleep 1000"));
    let agent = bench.agent();
    ready(&agent).await;
    let pid = fs::read_to_string(bench._dir.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop((agent, bench.agents));
    let until = Instant::now() + SOON;
    while process.exists() {
        assert!(Instant::now() < until, "still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
