//! `clusvcadm`: every form, and requests that outlive a daemon.

use crate::support::{Daemon, Script, World, alpha, binary, run, said, service, verdict};
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId, ServiceState};
use std::time::Duration;

/// Runs a line against a daemon that answers with this code; `owner` 0 is none.
fn snapshot(name: &str, code: Code, owner: u32, line: &str) -> Option<Request> {
    let mut script = Script::new(alpha());
    script.verdict = verdict(code, "", owner);
    let world = World::new(script);
    insta::assert_snapshot!(name, run(world.socket(), 80, line).to_string());
    world.daemon.submitted.lock().unwrap().pop().map(|submitted| submitted.request)
}

#[test]
fn each_action_is_asked_for_and_reported_in_the_references_words() {
    let web = || "service:web".parse().unwrap();
    let guest = || "vm:guest1".parse().unwrap();
    for (name, owner, line, request) in [
        ("clusvcadm_enable", 1, "clusvcadm -e web", Request::Enable { service: web(), target: None, by_domain: false }),
        (
            "clusvcadm_enable_follow",
            1,
            "clusvcadm -e web -F",
            Request::Enable { service: web(), target: None, by_domain: true },
        ),
        (
            "clusvcadm_enable_on",
            2,
            "clusvcadm -e web -n node2.example.com",
            Request::Enable { service: web(), target: Some(NodeId(2)), by_domain: false },
        ),
        ("clusvcadm_disable", 0, "clusvcadm -d web", Request::Disable { service: web() }),
        ("clusvcadm_stop", 0, "clusvcadm -s web", Request::Stop { service: web() }),
        ("clusvcadm_restart", 1, "clusvcadm -R web", Request::Restart { service: web() }),
        ("clusvcadm_relocate", 2, "clusvcadm -r web", Request::Relocate { service: web(), target: None }),
        (
            "clusvcadm_relocate_to",
            2,
            "clusvcadm -r web -m NODE2.example.com",
            Request::Relocate { service: web(), target: Some(NodeId(2)) },
        ),
        (
            "clusvcadm_migrate",
            2,
            "clusvcadm -M vm:guest1 -m node2.example.com",
            Request::Migrate { service: guest(), target: NodeId(2) },
        ),
        ("clusvcadm_freeze", 1, "clusvcadm -Z web", Request::Freeze { service: web() }),
        ("clusvcadm_unfreeze", 1, "clusvcadm -U web", Request::Unfreeze { service: web() }),
        ("clusvcadm_convalesce", 1, "clusvcadm -c web", Request::Convalesce { service: web() }),
        ("clusvcadm_lock", 0, "clusvcadm -l", Request::Lock {}),
        ("clusvcadm_unlock", 0, "clusvcadm -u -e web", Request::Unlock {}),
    ] {
        assert_eq!(snapshot(name, Code::Success, owner, line), Some(request), "{line}");
    }
}

#[test]
fn every_code_has_its_text_and_exit_status() {
    for code in Code::ALL {
        let mut script = Script::new(alpha());
        script.verdict = verdict(code, "", 0);
        let world = World::new(script);
        let said = run(world.socket(), 80, "clusvcadm -R web");
        assert_eq!(said.out, format!("Local machine trying to restart service:web...{}\n", code.text()));
        assert_eq!(said.status, code.exit_status());
    }
}

#[test]
fn another_member_than_the_one_asked_for_is_a_warning() {
    snapshot("clusvcadm_other_member", Code::Success, 1, "clusvcadm -e web -m node2.example.com");
}

#[test]
fn a_name_that_does_not_exist_is_hinted_at() {
    snapshot("clusvcadm_no_service", Code::NoService, 0, "clusvcadm -Z nosuch");
    snapshot("clusvcadm_meant_vm", Code::NoService, 0, "clusvcadm -e guest1");
    assert_eq!(snapshot("clusvcadm_no_name", Code::Success, 0, "clusvcadm -e vm:"), None);
}

#[test]
fn a_target_is_found_by_its_beginning() {
    snapshot("clusvcadm_closest", Code::Success, 2, "clusvcadm -e web -m node2");
    assert_eq!(snapshot("clusvcadm_no_match", Code::Success, 0, "clusvcadm -e web -m other"), None);
    assert_eq!(snapshot("clusvcadm_several", Code::Success, 0, "clusvcadm -e web -m node"), None);
}

#[test]
fn a_migration_needs_a_target_that_is_online() {
    assert_eq!(snapshot("clusvcadm_migrate_nowhere", Code::Success, 0, "clusvcadm -M vm:guest1"), None);
    let offline =
        snapshot("clusvcadm_migrate_offline", Code::Success, 0, "clusvcadm -M vm:guest1 -m node3.example.com");
    assert_eq!(offline, None);
}

#[test]
fn help_and_mistakes() {
    for (name, line) in [
        ("clusvcadm_help", "clusvcadm -h"),
        ("clusvcadm_nothing", "clusvcadm"),
        ("clusvcadm_mistake", "clusvcadm -k"),
        ("clusvcadm_follow_and_member", "clusvcadm -e web -F -m node1.example.com"),
    ] {
        assert_eq!(snapshot(name, Code::Success, 0, line), None, "{line}");
    }
}

#[test]
fn a_vm_has_no_parts_to_convalesce_which_counts_as_success_while_it_runs() {
    snapshot("clusvcadm_convalesce_vm", Code::Running, 0, "clusvcadm -c vm:guest1");
    snapshot("clusvcadm_convalesce_stopped", Code::Invalid, 0, "clusvcadm -c vm:guest1");
}

#[test]
fn the_lock_is_shown_as_the_quorate_state_has_it() {
    for (name, quorate, locked) in [
        ("clusvcadm_show_lock", true, true),
        ("clusvcadm_show_no_lock", true, false),
        ("clusvcadm_show_lock_inquorate", false, true),
    ] {
        let mut status = alpha();
        (status.quorate, status.locked) = (quorate, locked);
        let world = World::new(Script::new(status));
        insta::assert_snapshot!(name, run(world.socket(), 80, "clusvcadm -S").to_string());
        assert!(world.daemon.submitted.lock().unwrap().is_empty());
    }
}

#[test]
fn a_lock_that_fails_says_so_and_why() {
    let mut script = Script::new(alpha());
    script.verdict = verdict(Code::Failure, "this host cannot write its store", 0);
    let world = World::new(script);
    insta::assert_snapshot!("clusvcadm_lock_failed", run(world.socket(), 80, "clusvcadm -l").to_string());
    insta::assert_snapshot!("clusvcadm_unlock_failed", run(world.socket(), 80, "clusvcadm -u").to_string());
}

#[test]
fn quiet_prints_nothing_and_keeps_the_exit_status() {
    let mut script = Script::new(alpha());
    script.verdict = verdict(Code::Quorum, "", 0);
    let world = World::new(script);
    let said = run(world.socket(), 80, "clusvcadm -q -e web");
    assert_eq!((said.out.as_str(), said.status), ("", 247));
}

#[test]
fn without_a_daemon_there_is_one_sentence_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(&folder.path().join("control.sock"), 80, "clusvcadm -e web").to_string();
    insta::assert_snapshot!("clusvcadm_no_socket", said.replace(&*folder.path().to_string_lossy(), "DIR"));
}

#[test]
fn a_request_outlives_the_daemon_that_took_it() {
    outlives(Script::new(alpha()));
}

#[test]
fn a_daemon_that_is_back_but_not_yet_quorate_is_asked_again() {
    let mut script = Script::new(alpha());
    script.joining = 2;
    outlives(script);
}

/// The first daemon dies with the request; the next one is this.
fn outlives(next: Script) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut dying = Script::new(alpha());
    dying.dies = true;
    let first = Daemon::start(&socket, dying);
    let child = {
        let mut command = binary(folder.path(), "clusvcadm");
        command.args(["-e", "web"]).env("BELAY_RECONNECT", "20s");
        std::thread::spawn(move || command.output().unwrap())
    };
    while first.submitted.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked_first = first.submitted.lock().unwrap()[0].clone();
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    let second = Daemon::start(&socket, next);
    let said = said(&child.join().unwrap());
    let line =
        "Local machine trying to enable service:web...Success\nservice:web is now running on node1.example.com\n";
    assert_eq!((said.out.as_str(), said.status), (line, 0), "{said}");
    assert_eq!(second.submitted.lock().unwrap().last(), Some(&asked_first), "the same request with the same id");
}

#[test]
fn a_daemon_that_stays_away_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut dying = Script::new(alpha());
    dying.dies = true;
    let daemon = Daemon::start(&socket, dying);
    let child = {
        let mut command = binary(folder.path(), "clusvcadm");
        command.args(["-e", "web"]).env("BELAY_RECONNECT", "1s");
        std::thread::spawn(move || command.output().unwrap())
    };
    while daemon.submitted.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(daemon);
    let said = said(&child.join().unwrap());
    assert_eq!(said.status, 1);
    assert!(said.err.contains("Could not connect to resource group manager"), "{said}");
}

#[test]
fn a_service_named_twice_is_not_guessed() {
    let mut status = alpha();
    status.services.push(service("other:guest1", ServiceState::Started, 1, 0));
    let mut script = Script::new(status);
    script.verdict = verdict(Code::NoService, "", 0);
    let world = World::new(script);
    assert_eq!(run(world.socket(), 80, "clusvcadm -e guest1").err, "");
}
