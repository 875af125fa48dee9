use super::*;
use belay_config::model::{Device, FenceDevice, Method};
use belay_engine::state::work::Work;
use belay_engine::state::work::{FenceWork, SwitchOnWork, WorkKind};
use belay_proto::Index;
use belay_proto::NodeId;
use belay_proto::entry::FenceOutcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// Far above what is expected: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of agents that this test wrote, and what they leave in it.
struct Agents(TempDir);

impl Agents {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Writes an agent: `body` is shell text, run in this directory, after its input was saved to `NAME.in.N`.
    fn add(&self, name: &str, body: &str) {
        let file = self.0.path().join(name);
        let dir = self.0.path().display();
        // A question for metadata is no run.
        let save = format!(
            "cat > {name}.in.$$; if grep -qx action=metadata {name}.in.$$; then rm {name}.in.$$; \
             cat {name}.metadata 2>/dev/null; exit 0; fi\n\
             echo $(( $(cat {name}.runs 2>/dev/null || echo 0) + 1 )) > {name}.runs\n\
             mv {name}.in.$$ {name}.in.$(cat {name}.runs)"
        );
        self.install(&file, &format!("#!/bin/sh\ncd {dir}\n{save}\n{body}\n"));
    }

    /// Writes a program, by another process: what a thread of this one is just starting would inherit a file that is open
    /// for writing, and a program that is open for writing anywhere cannot be run.
    fn install(&self, file: &Path, text: &str) {
        let source = self.0.path().join("text");
        fs::write(&source, text).unwrap();
        let installed = std::process::Command::new("install").args(["-m", "755"]).arg(source).arg(file).status();
        assert!(installed.unwrap().success());
    }

    /// What the agent's metadata say it does unless told otherwise.
    fn says_default(&self, name: &str, action: &str) {
        let metadata = format!(
            "<?xml version=\"1.0\"?><resource-agent name=\"{name}\"><parameters><parameter name=\"action\">\
             <content type=\"string\" default=\"{action}\"/></parameter></parameters></resource-agent>\n"
        );
        fs::write(self.0.path().join(format!("{name}.metadata")), metadata).unwrap();
    }

    fn left(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.path().join(name)).ok()
    }

    /// Waits for a file that an agent leaves.
    async fn leaves(&self, name: &str) -> String {
        for _ in 0..6000 {
            match self.left(name) {
                Some(text) if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("no agent left {name}");
    }

    fn runs(&self, name: &str) -> u32 {
        self.left(&format!("{name}.runs")).map_or(0, |n| n.trim().parse().unwrap())
    }

    fn settings(&self) -> FenceSettings {
        let mut path = OsString::from(self.0.path());
        path.push(":/usr/sbin:/usr/bin:/bin");
        FenceSettings { path: Some(path), ..FenceSettings::default() }
    }

    /// The executor with these settings, always quorate.
    fn executor(&self, settings: FenceSettings) -> (FenceExecutor, mpsc::Receiver<What>) {
        let (reports, outcomes) = mpsc::channel(100);
        (FenceExecutor::spawn(settings, reports, Arc::new(|| true)), outcomes)
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A first attempt on node2, with these methods, each a list of agents. A device is called as its agent is.
fn work(methods: &[&[&str]]) -> FenceWork {
    let device = |agent: &str| FenceDevice {
        name: agent.to_owned(),
        agent: agent.to_owned(),
        arguments: pairs(&[("ipaddr", "10.0.0.9"), ("login", "admin"), ("passwd", "hunter2")]),
    };
    let used = |agent: &&str| Device { fence_device: (*agent).to_owned(), arguments: pairs(&[("port", "2")]) };
    FenceWork {
        victim: NodeId(2),
        victim_name: "node2".to_owned(),
        attempt: 1,
        methods: (1..)
            .zip(methods)
            .map(|(n, agents)| Method { name: format!("m{n}"), devices: agents.iter().map(used).collect() })
            .collect(),
        devices: methods.iter().flat_map(|agents| agents.iter()).map(|a| ((*a).to_owned(), device(a))).collect(),
    }
}

fn list(works: &[FenceWork]) -> Assignments {
    let work = works.iter().map(|w| Work { decided: Index(1), what: WorkKind::Fence(w.clone()) }).collect();
    Assignments { work, ..Assignments::default() }
}

async fn next(outcomes: &mut mpsc::Receiver<What>) -> (NodeId, u32, FenceOutcome) {
    match tokio::time::timeout(PATIENCE, outcomes.recv()).await {
        Ok(Some(What::FenceOutcome { victim, attempt, outcome })) => (victim, attempt, outcome),
        other => panic!("no outcome: {other:?}"),
    }
}

/// Runs one attempt and returns its outcome.
async fn outcome(agents: &Agents, work: FenceWork) -> FenceOutcome {
    outcome_with(agents, agents.settings(), work).await
}

async fn outcome_with(agents: &Agents, settings: FenceSettings, work: FenceWork) -> FenceOutcome {
    let (executor, mut outcomes) = agents.executor(settings);
    executor.assign(&list(&[work]));
    next(&mut outcomes).await.2
}

fn confirmed(method: &str) -> FenceOutcome {
    confirmed_and_on(method, &[])
}

/// Confirmed, with these devices of the method to switch the victim on again.
fn confirmed_and_on(method: &str, on: &[u32]) -> FenceOutcome {
    FenceOutcome::Confirmed { method: method.to_owned(), switch_on: on.to_vec() }
}

/// Told to switch on again by all devices of the first method.
fn on_again(work: &FenceWork) -> Assignments {
    let FenceWork { victim, victim_name, attempt, mut methods, devices } = work.clone();
    let uses = methods.remove(0).devices;
    let on = SwitchOnWork { victim, victim_name, attempt: attempt + 1, uses, devices };
    Assignments { work: vec![Work { decided: Index(2), what: WorkKind::SwitchOn(on) }], ..Assignments::default() }
}

fn reason(outcome: FenceOutcome) -> String {
    match outcome {
        FenceOutcome::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn dies(pid: &str) {
    let begun = Instant::now();
    while alive(pid) {
        assert!(begun.elapsed() < PATIENCE, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_agent_gets_its_parameters_on_standard_input_and_no_arguments() {
    let agents = Agents::new();
    agents.add("fence_a", "echo $# > args; tr '\\0' '\\n' < /proc/$$/cmdline > cmdline; env > env");
    assert_eq!(outcome(&agents, work(&[&["fence_a"]])).await, confirmed("m1"));
    insta::assert_snapshot!(agents.left("fence_a.in.1").unwrap(), @r"
    port=2
    nodename=node2
    agent=fence_a
    ipaddr=10.0.0.9
    login=admin
    passwd=hunter2
    ");
    assert_eq!(agents.left("args").unwrap(), "0\n");
    for file in ["cmdline", "env"] {
        assert!(!agents.left(file).unwrap().contains("hunter2"), "the password is in its {file}");
    }
}

#[tokio::test]
async fn a_method_succeeds_only_when_all_its_devices_do_in_order() {
    let agents = Agents::new();
    agents.add("fence_psu1", "echo 1 >> order");
    agents.add("fence_psu2", "echo 2 >> order");
    assert_eq!(outcome(&agents, work(&[&["fence_psu1", "fence_psu2"]])).await, confirmed("m1"));
    assert_eq!(agents.left("order").unwrap(), "1\n2\n");
}

#[tokio::test]
async fn a_device_that_fails_ends_its_method_and_the_next_method_is_tried() {
    let agents = Agents::new();
    agents.add("fence_bad", "echo 'Failed: Unable to connect'; exit 1");
    agents.add("fence_never", "");
    agents.add("fence_good", "");
    let methods: &[&[&str]] = &[&["fence_bad", "fence_never"], &["fence_good"]];
    assert_eq!(outcome(&agents, work(methods)).await, confirmed("m2"));
    assert_eq!((agents.runs("fence_never"), agents.runs("fence_good")), (0, 1));
}

#[tokio::test]
async fn when_nothing_works_the_reason_names_each_method_device_and_what_it_said() {
    let agents = Agents::new();
    agents.add("fence_a", "echo connecting; echo 'Failed: Unable to connect/login to fencing device' >&2; exit 1");
    agents.add("fence_b", "kill -SEGV $$");
    let reason = reason(outcome(&agents, work(&[&["fence_a"], &["fence_b"], &["fence_missing"], &[]])).await);
    insta::assert_snapshot!(reason.replace("; ", ";\n"), @r"
    method m1: device fence_a (fence_a): it ended with exit status 1, saying 'connecting / Failed: Unable to connect/login to fencing device';
    method m2: device fence_b (fence_b): it was killed by SIGSEGV, and said nothing;
    method m3: device fence_missing (fence_missing): no program of this name in PATH: install the fence agent (package fence-agents), or correct agent= in cluster.conf;
    method m4: it names no device: add one in cluster.conf
    ");
}

#[tokio::test]
async fn a_device_that_is_not_configured_is_a_failure_that_says_so() {
    let agents = Agents::new();
    let mut work = work(&[&["fence_a"]]);
    work.devices.clear();
    assert!(reason(outcome(&agents, work).await).contains("no fencedevice of this name"));
}

#[tokio::test]
async fn without_any_method_the_admin_is_told_what_to_do() {
    let agents = Agents::new();
    let reason = reason(outcome(&agents, work(&[])).await);
    assert!(reason.contains("make sure that it is off and run 'belay ack-fence node2'"), "{reason}");
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed_at_its_limit_with_all_its_children() {
    let agents = Agents::new();
    // Neither listens to SIGTERM, and the child holds the output open.
    agents.add(
        "fence_hang",
        "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > child; echo $$ > self; echo stuck; wait; sleep 1000",
    );
    // Long enough for it to get stuck, on a busy machine too.
    let settings = FenceSettings {
        time_limit: Duration::from_secs(4),
        kill_grace: Duration::from_millis(300),
        ..agents.settings()
    };
    let begun = Instant::now();
    let reason = reason(outcome_with(&agents, settings, work(&[&["fence_hang"]])).await);
    assert!(begun.elapsed() >= Duration::from_millis(4300), "no time between SIGTERM and SIGKILL");
    assert!(reason.contains("it had not ended after 4 s and was killed, saying 'stuck'"), "{reason}");
    for file in ["self", "child"] {
        dies(&agents.left(file).unwrap()).await;
    }
}

#[tokio::test]
async fn an_agent_may_log_out_of_its_device_when_its_time_is_up() {
    let agents = Agents::new();
    agents.add("fence_slow", "trap 'echo bye > bye; exit 1' TERM; while :; do sleep 0.05; done");
    // Long enough for it to set its trap, and then for what the trap does.
    let settings = FenceSettings {
        time_limit: Duration::from_secs(3),
        kill_grace: Duration::from_secs(1000),
        ..agents.settings()
    };
    // Comes within this test's patience: it is not waited on when it has ended.
    outcome_with(&agents, settings, work(&[&["fence_slow"]])).await;
    assert_eq!(agents.left("bye").as_deref(), Some("bye\n"));
}

#[tokio::test]
async fn a_megabyte_of_output_neither_blocks_the_agent_nor_fills_the_history() {
    let agents = Agents::new();
    agents.add("fence_loud", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1");
    let reason = reason(outcome(&agents, work(&[&["fence_loud"]])).await);
    assert!(reason.ends_with("xxxx / the end'") && reason.len() < 500, "{reason}");
}

#[tokio::test]
async fn an_agent_that_prints_for_ever_is_stopped_at_its_limit() {
    let agents = Agents::new();
    agents.add("fence_endless", "exec yes");
    let settings = FenceSettings { time_limit: Duration::from_millis(300), ..agents.settings() };
    let reason = reason(outcome_with(&agents, settings, work(&[&["fence_endless"]])).await);
    assert!(reason.contains("had not ended"), "{reason}");
}

#[tokio::test]
async fn something_an_agent_left_running_with_its_output_open_does_not_hold_up_the_outcome() {
    let agents = Agents::new();
    agents.add("fence_daemonizes", "setsid sleep 1000 & echo $! > child; echo done");
    assert_eq!(outcome(&agents, work(&[&["fence_daemonizes"]])).await, confirmed("m1"));
    let child = agents.left("child").unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_password_an_agent_prints_does_not_reach_the_history() {
    let agents = Agents::new();
    agents.add("fence_chatty", "cat fence_chatty.in.1; exit 1");
    let reason = reason(outcome(&agents, work(&[&["fence_chatty"]])).await);
    assert!(reason.contains("login=admin") && reason.contains("passwd=********"), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_tells_what_an_agent_said_but_not_its_password() {
    let agents = Agents::new();
    agents.add("fence_chatty", "cat fence_chatty.in.1");
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // For this thread only, which is the one that runs the executor.
    let _guard = tracing::subscriber::set_default(subscriber);
    // A test beside this one may just be the first to come to a place that logs, and note that nobody listens. So all of
    // them are visited once, and who listens is asked anew.
    outcome(&agents, work(&[&["fence_chatty"]])).await;
    tracing::callsite::rebuild_interest_cache();
    agents.add("fence_chatty", "cat fence_chatty.in.2");
    assert_eq!(outcome(&agents, work(&[&["fence_chatty"]])).await, confirmed("m1"));
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("login=admin") && text.contains("fencing node2 confirmed by method m1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn an_agent_that_reads_nothing_is_none_the_worse_for_it() {
    let agents = Agents::new();
    agents.install(&agents.0.path().join("fence_deaf"), "#!/bin/sh\nexec 0<&-\nexit 0\n");
    let mut work = work(&[&["fence_deaf"]]);
    work.methods[0].devices[0].arguments.push(("comment".to_owned(), "x".repeat(500_000)));
    assert_eq!(outcome(&agents, work).await, confirmed("m1"));
}

#[tokio::test]
async fn each_attempt_runs_once_however_often_it_is_assigned() {
    let agents = Agents::new();
    agents.add("fence_third", "[ $(cat fence_third.runs) -ge 4 ]");
    let (executor, mut outcomes) = agents.executor(agents.settings());
    for attempt in 1..=4 {
        let work = FenceWork { attempt, ..work(&[&["fence_third"]]) };
        executor.assign(&list(std::slice::from_ref(&work)));
        let (_, reported, outcome) = next(&mut outcomes).await;
        assert_eq!((reported, outcome == confirmed("m1")), (attempt, attempt == 4));
        executor.assign(&list(std::slice::from_ref(&work)));
        executor.assign(&list(&[work]));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(agents.runs("fence_third"), attempt);
    }
}

#[tokio::test]
async fn an_outcome_is_reported_again_while_its_work_stays_on_the_list() {
    let agents = Agents::new();
    agents.add("fence_a", "");
    let (executor, mut outcomes) =
        agents.executor(FenceSettings { report_again: Duration::from_millis(50), ..agents.settings() });
    executor.assign(&list(&[work(&[&["fence_a"]])]));
    let first = next(&mut outcomes).await;
    assert_eq!(next(&mut outcomes).await, first);
    executor.assign(&list(&[]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    while outcomes.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(outcomes.try_recv().is_err(), "reported although nobody asks any more");
    assert_eq!(agents.runs("fence_a"), 1);
}

#[tokio::test]
async fn a_stuck_device_holds_up_only_its_own_victim() {
    let agents = Agents::new();
    agents.add("fence_stuck", "sleep 1000");
    agents.add("fence_good", "");
    let (executor, mut outcomes) = agents.executor(agents.settings());
    let stuck = work(&[&["fence_stuck"]]);
    executor.assign(&list(std::slice::from_ref(&stuck)));
    agents.leaves("fence_stuck.runs").await;
    let other = FenceWork { victim: NodeId(3), victim_name: "node3".to_owned(), ..work(&[&["fence_good"]]) };
    executor.assign(&list(&[stuck, other]));
    assert_eq!(next(&mut outcomes).await, (NodeId(3), 1, confirmed("m1")));
}

#[tokio::test]
async fn a_victim_that_leaves_the_list_has_its_agent_stopped_and_is_not_reported() {
    let agents = Agents::new();
    agents.add("fence_stuck", "echo $$ > self; sleep 1000");
    agents.add("fence_good", "");
    let (executor, mut outcomes) = agents.executor(agents.settings());
    executor.assign(&list(&[work(&[&["fence_stuck"]])]));
    let pid = agents.leaves("self").await;
    executor.assign(&list(&[]));
    dies(&pid).await;
    // The next thing reported is the next thing asked for, on the same victim.
    executor.assign(&list(&[FenceWork { attempt: 7, ..work(&[&["fence_good"]]) }]));
    assert_eq!(next(&mut outcomes).await, (NodeId(2), 7, confirmed("m1")));
}

#[tokio::test]
async fn two_agents_never_work_on_one_victim_at_a_time() {
    let agents = Agents::new();
    agents.add(
        "fence_slow",
        "trap 'sleep 0.4; echo out > gone; exit 1' TERM; echo $$ > self; while :; do sleep 0.05; done",
    );
    agents.add("fence_next", "cp gone seen");
    let (executor, mut outcomes) =
        agents.executor(FenceSettings { kill_grace: Duration::from_secs(30), ..agents.settings() });
    executor.assign(&list(&[work(&[&["fence_slow"]])]));
    agents.leaves("self").await;
    executor.assign(&list(&[FenceWork { attempt: 2, ..work(&[&["fence_next"]]) }]));
    assert_eq!(next(&mut outcomes).await, (NodeId(2), 2, confirmed("m1")));
    assert!(agents.left("seen").is_some(), "the second began before the first had ended");
}

#[tokio::test]
async fn without_quorum_no_agent_is_started_until_there_is_quorum_again() {
    let agents = Agents::new();
    agents.add("fence_a", "");
    let quorate = Arc::new(AtomicBool::new(false));
    let (reports, mut outcomes) = mpsc::channel(100);
    let probe = Arc::clone(&quorate);
    let executor = FenceExecutor::spawn(agents.settings(), reports, Arc::new(move || probe.load(Ordering::SeqCst)));
    executor.assign(&list(&[work(&[&["fence_a"]])]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(agents.runs("fence_a"), 0);
    quorate.store(true, Ordering::SeqCst);
    assert_eq!(next(&mut outcomes).await.2, confirmed("m1"));
}

#[tokio::test]
async fn quorum_lost_between_two_devices_stops_before_the_second() {
    let agents = Agents::new();
    agents.add("fence_first", "echo > first");
    agents.add("fence_second", "");
    let first = agents.0.path().join("first");
    let (reports, mut outcomes) = mpsc::channel(100);
    let executor = FenceExecutor::spawn(agents.settings(), reports, Arc::new(move || !first.exists()));
    executor.assign(&list(&[work(&[&["fence_first", "fence_second"]])]));
    agents.leaves("first").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(agents.runs("fence_second"), 0);
    assert!(outcomes.try_recv().is_err());
}

#[tokio::test]
async fn dropping_the_executor_stops_its_agents() {
    let agents = Agents::new();
    agents.add("fence_stuck", "sleep 1000 & echo $! > child; wait");
    let (executor, _outcomes) = agents.executor(agents.settings());
    executor.assign(&list(&[work(&[&["fence_stuck"]])]));
    let child = agents.leaves("child").await;
    drop(executor);
    dies(&child).await;
}

#[tokio::test]
async fn a_real_fence_agent_of_the_distribution_is_understood() {
    let agents = Agents::new();
    let status: PathBuf = agents.0.path().join("status");
    let mut work = work(&[&["fence_dummy"]]);
    work.methods[0].devices[0].arguments = pairs(&[("action", "off")]);
    let arguments = pairs(&[("status_file", status.to_str().unwrap()), ("passwd", "hunter2")]);
    work.devices.get_mut("fence_dummy").unwrap().arguments = arguments;
    fs::write(&status, "on").unwrap();
    assert_eq!(outcome(&agents, work.clone()).await, confirmed("m1"));
    assert_eq!(fs::read_to_string(&status).unwrap(), "off");
    // And one that it refuses.
    work.methods[0].devices[0].arguments = pairs(&[("action", "explode")]);
    let reason = reason(outcome(&agents, work).await);
    assert!(reason.contains("fence_dummy") && reason.contains("exit status 1"), "{reason}");
}

#[tokio::test]
async fn of_a_power_cycle_the_off_of_all_devices_is_the_proof_and_the_on_is_work_of_its_own() {
    let agents = Agents::new();
    for psu in ["fence_psu1", "fence_psu2"] {
        agents.add(psu, &format!("echo {psu} $(grep action= {psu}.in.$(cat {psu}.runs)) >> order"));
        agents.says_default(psu, "reboot");
    }
    let (executor, mut outcomes) = agents.executor(agents.settings());
    let work = work(&[&["fence_psu1", "fence_psu2"]]);
    executor.assign(&list(std::slice::from_ref(&work)));
    assert_eq!(next(&mut outcomes).await.2, confirmed_and_on("m1", &[0, 1]));
    assert_eq!(agents.left("order").unwrap(), "fence_psu1 action=off\nfence_psu2 action=off\n");
    executor.assign(&on_again(&work));
    assert_eq!(next(&mut outcomes).await, (NodeId(2), 2, FenceOutcome::SwitchedOn));
    let all = agents.left("order").unwrap();
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines[2..], ["fence_psu1 action=on", "fence_psu2 action=on"], "{all}");
}

#[tokio::test]
async fn an_explicit_reboot_is_split_and_a_default_of_off_is_not() {
    let agents = Agents::new();
    agents.add("fence_told", "exit 0");
    let mut told = work(&[&["fence_told"]]);
    told.methods[0].devices[0].arguments.push(("action".to_owned(), "reboot".to_owned()));
    assert_eq!(outcome(&agents, told).await, confirmed_and_on("m1", &[0]));
    assert!(agents.leaves("fence_told.in.1").await.contains("action=off\n"));

    agents.add("fence_switch", "exit 0");
    agents.says_default("fence_switch", "off");
    assert_eq!(outcome(&agents, work(&[&["fence_switch"]])).await, confirmed("m1"));
    assert!(!agents.leaves("fence_switch.in.1").await.contains("action="), "as it is configured");
    assert_eq!(agents.runs("fence_switch"), 1, "a fabric port stays closed");
}

#[tokio::test]
async fn a_victim_that_cannot_be_switched_on_again_is_told_with_the_devices_own_words() {
    let agents = Agents::new();
    agents.add("fence_stuck", "grep -q action=off fence_stuck.in.$(cat fence_stuck.runs) || { echo jammed; exit 1; }");
    agents.says_default("fence_stuck", "reboot");
    let (executor, mut outcomes) = agents.executor(agents.settings());
    let work = work(&[&["fence_stuck"]]);
    executor.assign(&list(std::slice::from_ref(&work)));
    assert_eq!(next(&mut outcomes).await.2, confirmed_and_on("m1", &[0]));
    executor.assign(&on_again(&work));
    let (_, 2, FenceOutcome::StaysOff { reason }) = next(&mut outcomes).await else { panic!("no outcome") };
    assert_eq!(reason, "device fence_stuck (fence_stuck): it ended with exit status 1, saying 'jammed'");
}
