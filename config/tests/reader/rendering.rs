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
