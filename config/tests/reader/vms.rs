use super::{found, model, said, with_rm};
use belay_config::model::{DependMode, GuestShutdown, Migration, Recovery, Vm};
use belay_proto::{ServiceName, Span};

/// A VM with these attributes besides its name and path.
fn vm(attributes: &str) -> String {
    with_rm(&format!("<vm name=\"web\" path=\"/vms\" {attributes}/>"))
}

fn read(attributes: &str) -> Vm {
    named(&vm(attributes), "web")
}

fn named(text: &str, name: &str) -> Vm {
    model(text).vms[&ServiceName::vm(name).unwrap()].clone()
}

#[test]
fn the_line_of_the_guide_is_read_as_the_guide_explains_it() {
    let text = with_rm(
        r#"<vm name="mytestVM" path="/var/lib/libvirt/images/xml_defs/" autostart="0" exclusive="0" recovery="restart" max_restarts="2" restart_expire_time="600"/>"#,
    );
    assert_eq!(found(&text), Vec::<String>::new());
    let vm = named(&text, "mytestVM");
    assert!(!vm.autostart);
    assert_eq!(vm.exclusive, None);
    assert_eq!((vm.recovery, vm.max_restarts), (Recovery::Restart, 2));
    assert_eq!(vm.restart_expire_time, Span::seconds(600));
    assert_eq!(vm.path, ["/var/lib/libvirt/images/xml_defs/"]);
}

#[test]
fn attributes_that_are_not_given_have_the_originals_defaults() {
    let mut expected = Vm::new("web");
    expected.path = vec!["/vms".to_owned()];
    assert_eq!(read(""), expected);
    let empty = "domain='' autostart='' exclusive='' recovery='' max_restarts='' restart_expire_time='' xmlfile='' \
                 migrate='' tunnelled='' migration_mapping='' hypervisor='' hypervisor_uri='' migration_uri='' \
                 no_kill='' use_virsh='' snapshot='' status_program=''";
    assert_eq!(said(&vm(empty)), Vec::<String>::new());
    assert_eq!(read(empty), expected);
}

#[test]
fn every_attribute_that_is_acted_on_reaches_the_model() {
    let text = with_rm(
        "<failoverdomains><failoverdomain name='One'><failoverdomainnode name='n1'/></failoverdomain></failoverdomains>
         <vm name='web' domain='one' autostart='0' exclusive='2' recovery='restart-disable' max_restarts='3'
             restart_expire_time='1h30m' use_virsh='1' path='/a:/b/' migrate='pause' tunnelled='yes'
             migration_mapping='n1:t1, n2:fe80::2' hypervisor='qemu' hypervisor_uri='qemu:///system'
             migration_uri='qemu+tcp://%s/system' no_kill='true'>
           <action name='start' timeout='30'/><action name='stop' timeout='2m'/><action name='migrate' timeout='90s'/>
         </vm>",
    );
    assert_eq!(found(&text), Vec::<String>::new());
    let expected = Vm {
        name: "web".to_owned(),
        domain: Some("one".to_owned()),
        autostart: false,
        exclusive: Some(2),
        recovery: Recovery::RestartDisable,
        max_restarts: 3,
        restart_expire_time: Span::seconds(5400),
        xmlfile: None,
        path: vec!["/a".to_owned(), "/b/".to_owned()],
        migrate: Migration::Pause,
        tunnelled: true,
        migration_uri: Some("qemu+tcp://%s/system".to_owned()),
        migration_mapping: [("n1", "t1"), ("n2", "fe80::2")].map(|(m, t)| (m.to_owned(), t.to_owned())).into(),
        hypervisor_uri: Some("qemu:///system".to_owned()),
        no_kill: true,
        start_timeout: Span::seconds(30),
        stop_timeout: Span::seconds(120),
        migrate_timeout: Span::seconds(90),
        priority: 0,
        depend: None,
        depend_mode: DependMode::Hard,
        guest_shutdown: GuestShutdown::Recover,
        memory_mib: None,
        vcpus: None,
    };
    assert_eq!(named(&text, "web"), expected);
}

#[test]
fn the_model_survives_being_written_as_json() {
    let cluster = model(&vm("domain='x' migration_mapping='n1:t1'"));
    let json = serde_json::to_string(&cluster).unwrap();
    assert_eq!(serde_json::from_str::<belay_config::Cluster>(&json).unwrap(), cluster);
}

#[test]
fn auto_means_the_daemons_own_choice() {
    let vm = read("hypervisor='auto' hypervisor_uri='auto' migration_uri='auto'");
    assert_eq!((vm.hypervisor_uri, vm.migration_uri), (None, None));
}

#[test]
fn recovery_policies_are_named_as_the_original_took_them() {
    for (word, recovery, taken) in [
        ("restart", Recovery::Restart, None),
        ("Relocate", Recovery::Relocate, None),
        ("disable", Recovery::Disable, None),
        ("restart-disable", Recovery::RestartDisable, None),
        ("disabled", Recovery::RestartDisable, Some("restart-disable")),
        ("restart_disable", Recovery::RestartDisable, Some("restart-disable")),
        ("reboot", Recovery::Restart, Some("restart")),
    ] {
        let attributes = format!("recovery='{word}'");
        assert_eq!(read(&attributes).recovery, recovery, "{word}");
        let expected = taken.map(|taken| format!("warning: recovery='{word}' is not known: taken for {taken}"));
        assert_eq!(said(&vm(&attributes)), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn restarts_are_counted_within_a_window() {
    for (attributes, findings) in [
        ("max_restarts='2'", vec!["info: without restart_expire_time, restarts count for ever"]),
        ("restart_expire_time='600'", vec!["info: restart_expire_time has no effect without max_restarts"]),
        ("max_restarts='0' restart_expire_time='0'", vec![]),
        (
            "max_restarts='2' restart_expire_time='0'",
            vec!["warning: restart_expire_time is 0: restarts are never forgotten"],
        ),
        (
            "max_restarts='2' restart_expire_time='0h'",
            vec!["warning: restart_expire_time is 0: restarts are never forgotten"],
        ),
        ("max_restarts='-1'", vec!["info: max_restarts='-1' means no limit, like 0"]),
        (
            "recovery='relocate' max_restarts='2' restart_expire_time='9'",
            vec!["info: max_restarts has no effect: this VM is never restarted in place"],
        ),
        ("max_restarts='two'", vec!["error: max_restarts='two' is not a whole number from 0 to 4294967295"]),
        (
            "max_restarts='2' restart_expire_time='-1'",
            vec![
                "info: without restart_expire_time, restarts count for ever",
                "error: restart_expire_time='-1' is not a length of time",
            ],
        ),
        ("restart_expire_time='10 minutes'", vec!["error: restart_expire_time='10 minutes' is not a length of time"]),
    ] {
        assert_eq!(said(&vm(attributes)), findings, "{attributes}");
    }
}

#[test]
fn switches_are_read_kindly_and_differences_told() {
    for (value, on, finding) in [
        ("0", false, None),
        ("no", false, None),
        ("yes", true, None),
        ("false", false, Some("warning: autostart='false' means off here; RHCS took it for on")),
    ] {
        assert_eq!(read(&format!("autostart='{value}'")).autostart, on);
        assert_eq!(said(&vm(&format!("autostart='{value}'"))), finding.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(said(&vm("autostart='maybe'")), ["error: autostart='maybe' is neither on nor off"]);
}

#[test]
fn exclusive_is_a_word_or_a_priority() {
    for (value, exclusive) in
        [("0", None), ("no", None), ("1", Some(1)), ("7", Some(7)), ("yes", Some(1)), ("99999999999", Some(u32::MAX))]
    {
        assert_eq!(read(&format!("exclusive='{value}'")).exclusive, exclusive, "{value}");
        assert_eq!(said(&vm(&format!("exclusive='{value}'"))), Vec::<String>::new());
    }
    assert_eq!(said(&vm("exclusive='-1'")), ["warning: exclusive='-1' means not exclusive"]);
    assert_eq!(said(&vm("exclusive='true'")), ["warning: exclusive='true' means on here; RHCS took it for off"]);
}

#[test]
fn an_unknown_failover_domain_counts_as_none() {
    let text = vm("domain='prefer'");
    assert_eq!(said(&text), ["warning: there is no failover domain 'prefer': this VM may run everywhere"]);
    assert_eq!(named(&text, "web").domain, None);
}

#[test]
fn a_vm_needs_a_definition() {
    let text = with_rm("<vm name='web'/>");
    assert_eq!(said(&text), ["warning: VM 'web' has neither path nor xmlfile: it cannot be started"]);
    let both = vm("xmlfile='/vms/web.xml'");
    assert_eq!(said(&both), ["warning: path is not searched: xmlfile names the definition"]);
    assert_eq!(named(&both, "web").xmlfile.as_deref(), Some("/vms/web.xml"));
    let relative = with_rm("<vm name='web' path='vms:/b'/>");
    assert_eq!(said(&relative), ["warning: path 'vms' does not begin with '/'"]);
}

#[test]
fn a_vm_has_a_name_that_can_be_a_service_and_a_file() {
    let long = "x".repeat(61);
    for (name, finding) in [
        ("a b", "error: 'a b' cannot be the name of a managed VM".to_owned()),
        ("../web", "error: '../web' cannot be the name of a VM".to_owned()),
        ("..", "error: '..' cannot be the name of a VM".to_owned()),
        (long.as_str(), format!("error: '{}…' cannot be the name of a managed VM", &long[..60])),
        ("", "error: the name of <vm> is empty".to_owned()),
    ] {
        assert_eq!(said(&with_rm(&format!("<vm name='{name}' path='/vms'/>"))), [finding]);
    }
    assert_eq!(said(&with_rm("<vm path='/vms'/>")), ["error: <vm> has no name"]);
}

#[test]
fn a_vm_is_managed_once() {
    let text = with_rm("<vm name='web' path='/vms'/>\n<vm name='web' path='/other'/>");
    assert_eq!(found(&text), ["9:5: error: vm:web exists already"]);
    assert!(belay_config::read("f", &text).cluster.is_none());
}

#[test]
fn what_is_not_acted_on_yet_is_said_for_each_attribute() {
    for attribute in ["migrate_options", "snapshot", "status_program", "__enforce_timeouts"] {
        let text = with_rm(&format!("<vm name='web' path='/vms'\n{attribute}='x'/>"));
        assert_eq!(found(&text), [format!("9:1: warning: {attribute} of <vm> is not used by Belay yet")]);
    }
    assert_eq!(said(&vm("use_virsh='0'")), ["warning: use_virsh='0' is ignored: VMs are run through libvirt only"]);
    assert_eq!(said(&vm("hypervisor='xen'")), ["warning: hypervisor='xen' is not used by Belay yet"]);
    assert_eq!(
        said(&vm("hypervisor_uri='xen:///'")),
        ["warning: hypervisor_uri='xen:///' is not QEMU's: Belay is not tested with it"]
    );
}

#[test]
fn a_vm_by_reference_is_not_managed_and_said_to_be_so() {
    let text = with_rm("<vm ref='web'/>");
    assert_eq!(said(&text), ["warning: 'web' is not managed: ref is not used by Belay yet"]);
    assert!(model(&text).vms.is_empty());
}

#[test]
fn migration_settings_are_checked() {
    for (attributes, finding) in [
        ("migrate='cold'", "warning: migrate='cold' is not known: taken for live"),
        (
            "migration_uri='qemu+tcp://n1/system'",
            "warning: migration_uri has no %s: every migration would go to the same host",
        ),
        ("migration_mapping='n1'", "error: 'n1' in migration_mapping is not member:target"),
        ("migration_mapping='n9:x'", "warning: migration_mapping names 'n9', which is not a node"),
    ] {
        assert_eq!(said(&vm(attributes)), [finding]);
    }
}

#[test]
fn time_limits_are_for_start_stop_and_migrate() {
    let text = |inner: &str| with_rm(&format!("<vm name='web' path='/vms'>{inner}</vm>"));
    let status = text("<action name='status' interval='10' timeout='5'/>");
    assert_eq!(
        said(&status),
        [
            "warning: action 'status' of <vm> is not used by Belay yet",
            "warning: interval of <action> is not used by Belay yet"
        ]
    );
    let zero = text("<action name='stop' timeout='0'/>");
    assert_eq!(said(&zero), ["warning: a time limit of 0 is ignored"]);
    assert_eq!(named(&zero, "web").stop_timeout, Span::seconds(120));
    assert_eq!(said(&text("<action name='stop' timeout='x'/>")), ["error: timeout='x' is not a length of time"]);
}
