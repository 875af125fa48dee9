use super::with_rm;
use belay_config::read;

#[test]
fn findings_are_shown_in_their_place_with_help_and_without_passwords() {
    let text = r#"<?xml version="1.0"?>
<cluster name="alpha" config_version="7">
  <clusternodes>
    <clusternode name="node1" nodeid="1">
      <fence><method name="1"><device name="ipmi2"/></method></fence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="ipmi1" agent="bin/fence" ipaddr="10.0.0.11" login="admin" passwd="s3cret"/>
  </fencedevices>
  <rm>
    <vm name="web" path="/vms" autostrat="0" max_restarts="2"/>
  </rm>
</cluster>
"#;
    insta::assert_snapshot!(read("cluster.conf", text).render(false));
}

#[test]
fn contradictions_are_shown_in_their_place_with_everything_that_takes_part() {
    let text = r#"<cluster name="alpha" config_version="7">
  <clusternodes>
    <clusternode name="node1" nodeid="1" memory="4G"><fence><method name="1"><device name="bmc"/></method></fence></clusternode>
  </clusternodes>
  <fencedevices><fencedevice name="bmc" agent="fence_ipmilan" passwd="s3cret"/></fencedevices>
  <rm>
    <placement>
      <affinity name="shop" vms="web db" required="1"/>
      <affinity name="logs" vms="db log" required="1"/>
      <anti-affinity name="apart" vms="web log" required="1"/>
    </placement>
    <vm name="web" path="/vms" depend="vm:db"/>
    <vm name="db" path="/vms" depend="vm:log" memory="5G"/>
    <vm name="log" path="/vms" depend="vm:web"/>
  </rm>
</cluster>
"#;
    insta::assert_snapshot!(read("cluster.conf", text).render(false));
}

#[test]
fn broken_xml_is_shown_in_its_place() {
    insta::assert_snapshot!(
        read("cluster.conf", "<cluster name=\"a\">\n  <rm>\n    <vm name=\"web>\n  </rm>\n</cluster>\n").render(false)
    );
}

#[test]
fn a_file_without_findings_renders_to_nothing() {
    assert_eq!(read("f", &with_rm("")).render(false), "");
}

#[test]
fn colours_are_used_only_when_asked_for() {
    let text = with_rm("<nonsense/>");
    assert!(read("f", &text).render(true).contains('\u{1b}'));
    assert!(!read("f", &text).render(false).contains('\u{1b}'));
}
