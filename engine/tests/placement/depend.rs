//! VMs that need another one.

use crate::cluster::{Cluster, conf, vm};
use belay_proto::Code;
use belay_proto::entry::Request;

fn pair(mode: &str) -> Cluster {
    let rm = format!("<vm name='app' depend='vm:db' depend_mode='{mode}'/><vm name='db'/>");
    Cluster::of(conf(3, "", &rm))
}

#[test]
fn a_vm_is_started_after_the_one_it_depends_on() {
    let cluster = pair("hard");
    assert!(cluster.on("app").is_some());
    let position = |part: &str| cluster.said.iter().position(|text| text.contains(part)).unwrap();
    assert!(position("it depends on vm:db") < position("started on"), "{:#?}", cluster.said);
}

#[test]
fn with_a_hard_dependency_it_is_stopped_when_the_other_is_gone_and_comes_back_with_it() {
    let mut cluster = pair("hard");
    cluster.disable("db");
    assert_eq!((cluster.on("app"), cluster.waits("app").as_str()), (None, "it depends on vm:db, which is disabled"));
    assert_eq!(cluster.enable("app", None).0, Code::Depend);
    assert_eq!(cluster.enable("db", None).0, Code::Success);
    assert!(cluster.on("app").is_some());
}

#[test]
fn with_a_soft_dependency_it_runs_on_and_is_only_not_started() {
    let mut cluster = pair("soft");
    let before = cluster.on("app");
    cluster.disable("db");
    assert_eq!(cluster.on("app"), before);
    assert_eq!(cluster.ask(Request::Restart { service: vm("app") }), Code::Depend);
    assert_eq!(cluster.on("app"), before, "nothing is stopped that could not be started");
    cluster.disable("app");
    assert_eq!(cluster.enable("app", None).0, Code::Depend);
    assert_eq!(cluster.enable("db", None).0, Code::Success);
    assert!(cluster.on("app").is_some());
}

#[test]
fn a_dependency_that_moves_or_is_restarted_keeps_its_dependants_running() {
    let mut cluster = pair("hard");
    let (app, db) = (cluster.on("app"), cluster.on("db").unwrap());
    assert_eq!(cluster.ask(Request::Restart { service: vm("db") }), Code::Success);
    assert_eq!(cluster.relocate("db", None).0, Code::Success);
    assert_ne!(cluster.on("db"), Some(db));
    assert_eq!(cluster.on("app"), app);
    let now = cluster.on("db").unwrap();
    if app != Some(now) {
        cluster.fail(&[now]);
        assert_eq!(cluster.on("app"), app, "it was started elsewhere at once");
    }
}

#[test]
fn a_chain_of_dependencies_goes_down_and_up_in_order() {
    let rm = "<vm name='a' depend='vm:b'/><vm name='b' depend='vm:c'/><vm name='c'/>";
    let mut cluster = Cluster::of(conf(3, "", rm));
    assert!(cluster.all_on(["a", "b", "c"]).iter().all(Option::is_some));
    cluster.disable("c");
    assert_eq!(cluster.all_on(["a", "b", "c"]), [None; 3]);
    cluster.enable("c", None);
    assert!(cluster.all_on(["a", "b", "c"]).iter().all(Option::is_some));
}

#[test]
fn a_frozen_dependant_is_left_alone() {
    let mut cluster = pair("hard");
    assert_eq!(cluster.ask(Request::Freeze { service: vm("app") }), Code::Success);
    let before = cluster.on("app");
    cluster.disable("db");
    assert_eq!(cluster.on("app"), before);
}
