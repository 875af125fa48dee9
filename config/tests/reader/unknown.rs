use super::{found, said, with, with_rm};

fn help(text: &str) -> Option<String> {
    belay_config::read("f", text).diagnostics.first().and_then(|finding| finding.help.clone())
}

#[test]
fn an_unknown_attribute_is_named_with_the_one_it_was_meant_to_be() {
    let text = with_rm("\n  <vm name='web' path='/vms' autostrat='0'/>");
    assert_eq!(found(&text), ["9:30: warning: unknown attribute 'autostrat' of <vm>"]);
    assert_eq!(help(&text).as_deref(), Some("did you mean 'autostart'?"));
    assert_eq!(help(&with_rm("<vm name='web' path='/vms' colour='red'/>")), None);
}

#[test]
fn an_unknown_element_is_named_with_the_one_it_was_meant_to_be() {
    let text = with("<clusternode name='x' nodeid='9'/>");
    assert_eq!(found(&text), ["8:1: warning: unknown element <clusternode> in <cluster>"]);
    assert_eq!(help(&text).as_deref(), Some("<clusternode> belongs into <clusternodes>"));
    let text = with("<fencedevice name='x' agent='y'/>");
    assert_eq!(help(&text).as_deref(), Some("<fencedevice> belongs into <fencedevices>"));
    let text = with_rm("<failoverdomian/>");
    assert_eq!(found(&text), ["8:5: warning: unknown element <failoverdomian> in <rm>"]);
    assert_eq!(help(&text).as_deref(), Some("did you mean <failoverdomains>?"));
}

#[test]
fn what_rhcs_acted_on_and_belay_does_not_is_one_warning_an_element() {
    for name in ["totem", "quorumd", "logging", "dlm", "gfs_controld", "uidgid"] {
        let text = with(&format!("<{name} a='1'><inner b='2'/><inner/></{name}>"));
        assert_eq!(found(&text), [format!("8:1: warning: <{name}> is not used by Belay yet")]);
        assert_eq!(found(&with(&format!("<{name}/>"))), Vec::<String>::new(), "nothing is lost");
    }
    for name in ["service", "resources", "events", "resource-defaults", "ip"] {
        let text = with_rm(&format!("<{name} a='1'><inner b='2'/></{name}>"));
        assert_eq!(found(&text), [format!("8:5: warning: <{name}> is not used by Belay yet")]);
    }
    assert_eq!(said(&with("<cman port='5405'/>")), ["warning: port of <cman> is not used by Belay yet"]);
    assert_eq!(
        said(&with("<rm status_poll_interval='5'/>")),
        ["warning: status_poll_interval of <rm> is not used by Belay yet"]
    );
}

#[test]
fn text_and_instructions_are_not_passed_over_in_silence() {
    assert_eq!(found(&with("  hello")), ["8:3: warning: text inside <cluster> has no meaning"]);
    assert_eq!(found(&with("<?php x?>")), ["8:1: warning: processing instructions have no meaning here"]);
    assert_eq!(found(&with("<!-- a comment -->")), Vec::<String>::new());
}

#[test]
fn a_name_from_another_namespace_is_another_name() {
    let text = with("<rm><vm xmlns='urn:x' name='web'/></rm>");
    assert_eq!(found(&text), ["8:5: warning: unknown element <vm> in <rm>"]);
    let whole = with("").replace("<cluster ", "<cluster xmlns='urn:cluster' ");
    assert_eq!(found(&whole), Vec::<String>::new(), "a file all in one namespace is as good as in none");
}

#[test]
fn another_kind_of_file_is_refused() {
    assert_eq!(found("<domain type='kvm'/>"), ["1:1: error: the file describes <domain>, not a <cluster>"]);
}
