use super::{found, model, said, with, with_rm};
use belay_config::model::{FenceDaemon, GuestShutdown};
use belay_proto::{NodeId, ServiceName, Span};

fn vm(attributes: &str) -> String {
    with_rm(&format!("<vm name='web' path='/vms' {attributes}/>"))
}

/// The sound cluster with these attributes at its first node.
fn node(attributes: &str) -> String {
    with("").replace("name=\"n1\" nodeid", &format!("name=\"n1\" {attributes} nodeid"))
}

#[test]
fn sizes_of_vms_and_hosts_are_read_and_missing_ones_stay_open() {
    let cluster = model(&vm("memory='2G' vcpus='4'"));
    let web = &cluster.vms[&ServiceName::vm("web").unwrap()];
    assert_eq!((web.memory_mib, web.vcpus), (Some(2048), Some(4)));
    assert_eq!((cluster.nodes[&NodeId(1)].memory_mib, cluster.nodes[&NodeId(1)].cpus), (None, None));
    let cluster = model(&node("memory='512' cpus='64'"));
    assert_eq!((cluster.nodes[&NodeId(1)].memory_mib, cluster.nodes[&NodeId(1)].cpus), (Some(512), Some(64)));
    let web = &model(&vm("memory='' vcpus=''")).vms[&ServiceName::vm("web").unwrap()].clone();
    assert_eq!((web.memory_mib, web.vcpus), (None, None), "an empty attribute is none");
}

#[test]
fn a_size_that_is_none_is_an_error_in_its_place() {
    assert_eq!(found(&vm("memory='lots'")), ["8:32: error: memory='lots' is not an amount of memory"]);
    assert_eq!(found(&node("memory='0'")), ["3:24: error: memory='0' is not an amount of memory"]);
    for (attributes, finding) in [
        ("memory='99999999999T'", "error: memory='99999999999T' is not an amount of memory"),
        ("memory='2097152T'", "error: memory='2097152T' is not an amount of memory"),
        ("vcpus='0'", "error: vcpus='0' is not a whole number from 1 to 65536"),
        ("vcpus='-1'", "error: vcpus='-1' is not a whole number from 1 to 65536"),
    ] {
        assert_eq!(said(&vm(attributes)), [finding]);
    }
    assert_eq!(said(&node("cpus='x'")), ["error: cpus='x' is not a whole number from 1 to 65536"]);
}

#[test]
fn a_vms_priority_is_any_whole_number() {
    let priority = |text: &str| model(&vm(text)).vms[&ServiceName::vm("web").unwrap()].priority;
    assert_eq!((priority(""), priority("priority='0'"), priority("priority='101'")), (0, 0, 101));
    assert_eq!(said(&vm("priority='first'")), ["error: priority='first' is not a whole number from 0 to 4294967295"]);
}

#[test]
fn what_a_guests_own_shutdown_means_is_recover_or_stop() {
    let read = |text: &str| model(&vm(text)).vms[&ServiceName::vm("web").unwrap()].guest_shutdown;
    assert_eq!(read(""), GuestShutdown::Recover);
    assert_eq!(read("guest_shutdown='recover'"), GuestShutdown::Recover);
    assert_eq!(read("guest_shutdown='Stop'"), GuestShutdown::Stop);
    assert_eq!(said(&vm("guest_shutdown='accept'")), ["error: guest_shutdown='accept' is not known"]);
}

#[test]
fn a_daemons_grace_is_a_length_of_time_and_not_too_short() {
    let grace = |text: &str| with(&format!("<fence_daemon daemon_grace='{text}'/>"));
    assert_eq!(model(&grace("2m")).fence_daemon.daemon_grace, Span::seconds(120));
    assert_eq!(model(&grace("")).fence_daemon, FenceDaemon::default());
    assert_eq!(said(&grace("2m")), Vec::<String>::new());
    assert_eq!(
        found(&grace("0")),
        ["8:15: warning: a daemon_grace of 0s is shorter than a restart of belayd may take"]
    );
    assert_eq!(model(&grace("0")).fence_daemon.daemon_grace, Span::ZERO, "it is what was asked for");
    assert_eq!(said(&grace("soon")), ["error: daemon_grace='soon' is not a length of time"]);
}
