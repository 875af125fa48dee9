//! `clustat`: every form.

use crate::support::{Script, World, alpha, binary, member, run, said, service};
use belay_proto::ServiceState;
use belay_proto::control::{MemberState, Status};

fn snapshot(name: &str, status: Status, width: usize, line: &str) {
    let world = World::new(Script::new(status));
    insta::assert_snapshot!(name, run(world.socket(), width, line).to_string());
}

/// The sample of the reference, word for word and space for space.
const SAMPLE: &str = "\
Cluster Status for alpha @ Tue Mar  6 10:15:02 2012
Member Status: Quorate

 Member Name                             ID   Status
 ------ ----                             ---- ------
 node1.example.com                           1 Online, Local, rgmanager
 node2.example.com                           2 Online, rgmanager
 node3.example.com                           3 Offline

 Service Name                   Owner (Last)                   State         
 ------- ----                   ----- ------                   -----         
 service:db                     node2.example.com              started    [Z]
 service:mail                   node1.example.com              started    [P]
 service:nfs                    (node2.example.com)            disabled      
 service:web                    node1.example.com              started       
 vm:guest1                      (none)                         stopped       
";

#[test]
fn the_full_report_is_the_references_sample() {
    let world = World::new(Script::new(alpha()));
    let said = run(world.socket(), 80, "clustat");
    assert_eq!(said.out, SAMPLE);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn columns_follow_the_terminals_width() {
    snapshot("clustat_40_columns", alpha(), 40, "clustat");
    snapshot("clustat_200_columns", alpha(), 200, "clustat");
    snapshot("clustat_10_columns", alpha(), 10, "clustat");
}

#[test]
fn the_long_format_is_a_record_for_each_service() {
    snapshot("clustat_long", alpha(), 80, "clustat -l");
}

#[test]
fn xml_has_the_attributes_that_scripts_read() {
    snapshot("clustat_xml", alpha(), 80, "clustat -x");
}

#[test]
fn a_lock_is_shown_only_while_there_is_one() {
    let mut status = alpha();
    status.locked = true;
    snapshot("clustat_locked", status.clone(), 80, "clustat");
    let xml = |status| run(World::new(Script::new(status)).socket(), 80, "clustat -x").out;
    let (locked, unlocked) = (xml(status), xml(alpha()));
    assert_eq!(locked.replace("  <lock locked=\"1\"/>\n", ""), unlocked);
    assert_ne!(locked, unlocked);
}

#[test]
fn one_member_is_told_with_its_exit_status() {
    snapshot("clustat_member_online", alpha(), 80, "clustat -m node1.example.com");
    snapshot("clustat_member_offline", alpha(), 80, "clustat -m node3.example.com");
    snapshot("clustat_member_xml", alpha(), 80, "clustat -x -m node1.example.com");
    snapshot("clustat_member_unknown", alpha(), 80, "clustat -m node9");
}

#[test]
fn one_service_is_told_with_its_exit_status() {
    snapshot("clustat_service", alpha(), 80, "clustat -s web");
    snapshot("clustat_service_long", alpha(), 80, "clustat -l -s service:db");
    snapshot("clustat_service_xml", alpha(), 80, "clustat -x -s vm:guest1");
    snapshot("clustat_service_unknown", alpha(), 80, "clustat -s nosuch");
    snapshot("clustat_service_unknown_xml", alpha(), 80, "clustat -x -s nosuch");
}

#[test]
fn the_exit_status_is_the_number_of_a_state_that_is_not_up() {
    let mut status = alpha();
    status.services = ServiceState::ALL.map(|state| service(&format!("vm:{state}"), state, 1, 2)).to_vec();
    let world = World::new(Script::new(status));
    for state in ServiceState::ALL {
        use ServiceState::{Migrating, Started, Starting, Stopping};
        let up = matches!(state, Starting | Started | Stopping | Migrating);
        let expected = if up { 0 } else { state.number() };
        assert_eq!(run(world.socket(), 80, &format!("clustat -s vm:{state}")).status, expected, "{state}");
    }
}

#[test]
fn owners_are_shown_as_each_state_has_it() {
    let mut status = alpha();
    status.services = ServiceState::ALL.map(|state| service(&format!("vm:{state}"), state, 1, 9)).to_vec();
    snapshot("clustat_owners", status, 80, "clustat");
}

#[test]
fn quorum_and_the_own_id_are_told_to_scripts() {
    let world = World::new(Script::new(alpha()));
    let said = run(world.socket(), 80, "clustat -Q");
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, "", ""));
    assert_eq!(run(world.socket(), 80, "clustat -I").out, "0x00000001\n");
    let mut status = alpha();
    status.quorate = false;
    let world = World::new(Script::new(status));
    assert_eq!(run(world.socket(), 80, "clustat -Q").status, 1);
}

#[test]
fn without_quorum_the_report_is_given_all_the_same() {
    let mut status = alpha();
    status.quorate = false;
    status.services.truncate(1);
    snapshot("clustat_inquorate", status.clone(), 80, "clustat");
    snapshot("clustat_inquorate_xml", status, 80, "clustat -x");
}

#[test]
fn a_member_that_no_configuration_names_is_estranged() {
    let mut status = alpha();
    let mut stranger = member(9, "node 9", true);
    stranger.configured = false;
    stranger.state = MemberState::Online;
    let mut gone = member(10, "node10", false);
    gone.configured = false;
    status.members.extend([stranger, gone]);
    status.services.clear();
    snapshot("clustat_estranged", status.clone(), 80, "clustat -f");
    snapshot("clustat_estranged_xml", status, 80, "clustat -x");
}

#[test]
fn names_with_marks_of_xml_stay_within_their_attributes() {
    let mut status = alpha();
    status.cluster = "a<b>&\"c\"'".to_owned();
    status.members.clear();
    status.services = vec![service("vm:<&>", ServiceState::Started, 1, 0)];
    snapshot("clustat_xml_escaped", status, 80, "clustat -x");
}

#[test]
fn version_help_and_mistakes_need_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    assert_eq!(run(&nowhere, 80, "clustat -v").out, format!("clustat version {}\n", env!("CARGO_PKG_VERSION")));
    insta::assert_snapshot!("clustat_help", run(&nowhere, 80, "clustat -h").to_string());
    insta::assert_snapshot!("clustat_mistake", run(&nowhere, 80, "clustat -k").to_string());
    insta::assert_snapshot!("clustat_interval_xml", run(&nowhere, 80, "clustat -i 2 -x").to_string());
}

#[test]
fn without_a_daemon_there_is_one_sentence_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let hidden = |text: String| text.replace(&*folder.path().to_string_lossy(), "DIR");
    insta::assert_snapshot!("clustat_no_socket", hidden(run(&socket, 80, "clustat").to_string()));
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    insta::assert_snapshot!("clustat_refused", hidden(run(&socket, 80, "clustat -x").to_string()));
}

#[test]
fn the_binary_answers_by_its_name_and_by_subcommand() {
    let world = World::new(Script::new(alpha()));
    let own = said(&binary(world.folder.path(), "clustat").arg("-lx").output().unwrap());
    let sub = said(&binary(world.folder.path(), "belay").args(["clustat", "-lx"]).output().unwrap());
    assert_eq!(own, sub);
    assert!(own.out.contains("last_transition_str=\"Tue Mar  6 09:58:11 2012\""), "{own}");
}

#[test]
fn an_interval_repeats_the_report_and_outlives_a_restart_of_the_daemon() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut daemon = Some(crate::support::Daemon::start(&socket, Script::new(alpha())));
    let mut child =
        binary(folder.path(), "clustat").args(["-i", "1", "-s", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for round in 0..3 {
        assert!(lines.next().unwrap().unwrap().contains("Service Name"), "round {round}");
        let _ = (lines.next(), lines.next());
        if round == 0 {
            drop(daemon.take());
            daemon = Some(crate::support::Daemon::start(&socket, Script::new(alpha())));
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
