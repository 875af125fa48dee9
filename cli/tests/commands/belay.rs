//! `belay`'s own commands.

use crate::support::{Daemon, Script, World, alpha, binary, event, run, run_answering, said, verdict};
use belay_proto::control::{HostVerdict, Phase, Status};
use belay_proto::entry::Request;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use belay_proto::{Code, NodeId};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

fn snapshot(name: &str, script: Script, line: &str) {
    let world = World::new(script);
    insta::assert_snapshot!(name, run(world.socket(), 80, line).to_string());
}

fn history() -> Vec<HistoryEvent> {
    vec![
        event(10, "died on node1.example.com: its process died", None, Severity::Warning),
        event(11, "restarting on node1.example.com (restart 1 of 2 within 10m)", Some(10), Severity::Notice),
        event(12, "cannot be started: node3.example.com must be fenced first", Some(11), Severity::Error),
    ]
}

#[test]
fn the_status_is_one_screen_with_alarms_first() {
    snapshot("belay_status", Script::new(alpha()), "belay status");
}

#[test]
fn a_status_that_is_old_or_without_quorum_says_so() {
    let mut status = alpha();
    status.quorate = false;
    status.phase = Phase::Joining;
    status.age_ms = 125_000;
    status.alarms.clear();
    status.services.clear();
    snapshot("belay_status_alone", Script::new(status), "belay status");
}

#[test]
fn the_status_as_json_is_what_the_daemon_gave() {
    let world = World::new(Script::new(alpha()));
    let said = run(world.socket(), 80, "belay status --json");
    assert_eq!(serde_json::from_str::<Status>(&said.out).unwrap(), alpha());
}

#[test]
fn the_history_is_listed_oldest_first() {
    let mut script = Script::new(alpha());
    script.events = history();
    snapshot("belay_events", script.clone(), "belay events --service guest1");
    snapshot("belay_events_causes", script.clone(), "belay events --causes");
    snapshot("belay_events_json", script.clone(), "belay events --json");
    script.events = fencing();
    snapshot("belay_events_node", script.clone(), "belay events --node node3 --since 10m");
    snapshot("belay_events_no_node", script, "belay events --node node9");
}

/// What becomes of a lost host, and something about the cluster and about a host that nobody configured.
fn fencing() -> Vec<HistoryEvent> {
    let about = |index, kind, severity, node: Option<u32>, text, cause| HistoryEvent {
        kind,
        node: node.map(NodeId),
        service: None,
        ..event(index, text, cause, severity)
    };
    vec![
        about(20, EventKind::Quorum, Severity::Notice, None, "quorate with node1, node2 (ring 1.8, term 3)", None),
        about(21, EventKind::Member, Severity::Warning, Some(3), "node3 is lost; its VMs may still run", Some(20)),
        about(22, EventKind::Fence, Severity::Notice, Some(3), "node1 fences node3 (attempt 1)", Some(21)),
        about(23, EventKind::Fence, Severity::Error, Some(3), "fencing of node3 failed: no answer", Some(22)),
        about(24, EventKind::Member, Severity::Notice, Some(9), "a member that no one knows joined", None),
    ]
}

#[test]
fn a_host_is_explained_by_what_happened_to_it() {
    let mut script = Script::new(alpha());
    script.events = fencing();
    snapshot("belay_why_host", script.clone(), "belay why node3");
    let world = World::new(script.clone());
    let said = run(world.socket(), 80, "belay why node3 --json");
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((value["member"]["id"].as_u64(), value["events"].as_array().map(Vec::len)), (Some(3), Some(3)));
    script.events.clear();
    snapshot("belay_why_host_new", script, "belay why node1");
}

#[test]
fn a_chain_of_causes_is_indented() {
    let mut script = Script::new(alpha());
    script.events = history();
    let verdict = |id, obstacle: &str| HostVerdict { node: NodeId(id), obstacle: obstacle.into() };
    script.hosts = vec![verdict(1, ""), verdict(2, ""), verdict(3, "node3.example.com is not online")];
    snapshot("belay_why", script.clone(), "belay why vm:guest1");
    snapshot("belay_why_unknown", script, "belay why nosuch");
}

#[test]
fn a_follower_sees_what_happens_also_across_a_restart_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut script = Script::new(alpha());
    script.events = history();
    let first = Daemon::start(&socket, script.clone());
    let mut child = binary(folder.path(), "belay")
        .args(["events", "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<HistoryEvent>(&lines.next().unwrap().unwrap()).unwrap().id.index.0;
    assert_eq!([next(), next(), next()], [10, 11, 12]);
    let live = event(13, "vm:guest1 is started", Some(12), Severity::Notice);
    first.feed.send(Arc::new(live.clone())).unwrap();
    assert_eq!(next(), 13);
    drop(first);
    std::thread::sleep(Duration::from_millis(200));
    script.events.push(live);
    script.events.push(event(14, "while the daemon was away", None, Severity::Info));
    let _second = Daemon::start(&socket, script);
    assert_eq!(next(), 14, "nothing twice, nothing lost");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_request_is_reported_in_one_line() {
    for (name, code, reason, line) in [
        ("belay_enable", Code::Success, "", "belay enable guest1 --to node2"),
        ("belay_running", Code::Running, "", "belay enable vm:guest1"),
        ("belay_no_quorum", Code::Quorum, "", "belay disable web"),
        ("belay_failure", Code::Failure, "the definition is not XML", "belay restart vm:guest1"),
        ("belay_locked", Code::Again, "the services are locked; unlock them with: belay unlock", "belay enable guest1"),
        ("belay_lock", Code::Success, "", "belay lock"),
        ("belay_no_service", Code::Success, "", "belay stop nosuch"),
        ("belay_wrong_kind", Code::Success, "", "belay stop service:guest1"),
        ("belay_no_member", Code::Success, "", "belay migrate vm:guest1 --to node9"),
    ] {
        let mut script = Script::new(alpha());
        script.verdict = verdict(code, reason, if code == Code::Success { 2 } else { 0 });
        snapshot(name, script, line);
    }
}

#[test]
fn each_verb_asks_for_what_it_says() {
    let world = World::new(Script::new(alpha()));
    let guest = || "vm:guest1".parse().unwrap();
    for (line, request) in [
        ("belay enable guest1", Request::Enable { service: guest(), target: None, by_domain: true }),
        ("belay enable guest1 --to 2", Request::Enable { service: guest(), target: Some(NodeId(2)), by_domain: false }),
        ("belay disable guest1", Request::Disable { service: guest() }),
        ("belay stop guest1", Request::Stop { service: guest() }),
        ("belay restart guest1", Request::Restart { service: guest() }),
        ("belay relocate guest1 --to node2", Request::Relocate { service: guest(), target: Some(NodeId(2)) }),
        ("belay migrate guest1 --to node2", Request::Migrate { service: guest(), target: NodeId(2) }),
        ("belay freeze guest1", Request::Freeze { service: guest() }),
        ("belay unfreeze guest1", Request::Unfreeze { service: guest() }),
        ("belay lock", Request::Lock {}),
        ("belay unlock", Request::Unlock {}),
    ] {
        assert_eq!(run(world.socket(), 80, line).status, 0, "{line}");
        assert_eq!(world.daemon.submitted.lock().unwrap().pop().unwrap().request, request, "{line}");
    }
}

#[test]
fn a_limited_wait_ends_and_leaves_the_request_in_force() {
    let folder = tempfile::tempdir().unwrap();
    // Takes the request and never answers, as a stop that waits for its guest.
    let socket = folder.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut call = Vec::new();
        reader.read_until(0, &mut call).unwrap();
        let status = serde_json::json!({ "parameters": alpha() }).to_string() + "\0";
        std::io::Write::write_all(&mut stream, status.as_bytes()).unwrap();
        // Until the command goes away.
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    let said = run(&socket, 80, "belay stop guest1 --wait 1s");
    assert_eq!(said.status, 124);
    assert!(said.err.contains("no outcome after 1s") && said.err.contains("stays in force"), "{said}");
    daemon.join().unwrap();
}

#[test]
fn only_the_whole_word_overrides_fencing() {
    let world = World::new(Script::new(alpha()));
    for typed in ["", "\n", "yes\n", "Absolutely\n", "absolutely not\n"] {
        let said = run_answering(world.socket(), 80, "belay ack-fence node3", typed);
        assert_eq!(said.status, 1, "{typed:?}");
        assert!(said.out.ends_with("Continue [NO/absolutely]? Aborted.\n"), "{said}");
    }
    assert!(world.daemon.submitted.lock().unwrap().is_empty());
    let said = run_answering(world.socket(), 80, "belay ack-fence node3", "absolutely\n");
    insta::assert_snapshot!("belay_ack_fence", said.to_string());
    assert_eq!(run(world.socket(), 80, "belay ack-fence 3 --yes-i-am-sure").status, 0);
    let asked: Vec<_> = world.daemon.submitted.lock().unwrap().iter().map(|asked| asked.request.clone()).collect();
    assert_eq!(asked, [Request::AcknowledgeFence { node: NodeId(3) }, Request::AcknowledgeFence { node: NodeId(3) }]);
    insta::assert_snapshot!("belay_ack_fence_online", run(world.socket(), 80, "belay ack-fence node2").to_string());
}

#[test]
fn help_teaches_with_examples_and_mistakes_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    insta::assert_snapshot!("belay_help", run(&nowhere, 80, "belay --help").to_string());
    insta::assert_snapshot!("belay_help_migrate", run(&nowhere, 80, "belay migrate --help").to_string());
    insta::assert_snapshot!("belay_mistake", run(&nowhere, 80, "belay migrate vm:a").to_string());
}

#[test]
fn without_a_daemon_there_is_one_sentence_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(&folder.path().join("control.sock"), 80, "belay status").to_string();
    insta::assert_snapshot!("belay_no_socket", said.replace(&*folder.path().to_string_lossy(), "DIR"));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let mut script = Script::new(alpha());
    script.events = (0..20_000).map(|n| event(n, "again", None, Severity::Info)).collect();
    let world = World::new(script);
    let mut child = binary(world.folder.path(), "belay")
        .arg("events")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = said(&child.wait_with_output().unwrap());
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn a_configuration_is_checked_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let check = |text: &str| {
        let file = folder.path().join("cluster.conf");
        std::fs::write(&file, text).unwrap();
        run(&nowhere, 80, &format!("belay check {}", file.display()))
    };
    let good = r#"<cluster name="alpha" config_version="7"><clusternodes><clusternode name="node1" nodeid="1"/></clusternodes><rm><vm name="web1"/></rm></cluster>"#;
    let said = check(good);
    assert_eq!(said.status, 0, "{said}");
    assert!(said.out.contains("can be used: cluster alpha, version 7, members: 1, VMs: 1"), "{said}");
    let said = check("<cluster name=\"alpha\"\n  <oops");
    assert_eq!(said.status, 1, "{said}");
    assert!(said.out.contains("cluster.conf:2:") && said.out.contains("cannot be used"), "{said}");
    let said = run(&nowhere, 80, "belay check /nonexistent/cluster.conf");
    assert_eq!(said.err, "belay: cannot read /nonexistent/cluster.conf: No such file or directory\n");
}
