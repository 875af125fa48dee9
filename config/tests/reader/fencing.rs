use super::{found, model, said, with};
use belay_proto::{NodeId, Span};

/// The sound cluster with another fence method for its first node.
fn method(devices: &str) -> String {
    with("").replace(r#"<method name="1"><device name="bmc" port="1"/>"#, &format!("<method name=\"1\">{devices}"))
}

#[test]
fn methods_devices_and_arguments_keep_their_order() {
    let text = with("").replace(
        r#"<device name="bmc" port="1"/></method>"#,
        r#"<device name="bmc" port="1" action="off" zone="b"/><device name="bmc" port="9"/></method>
           <method name="human"><device name="bmc"/></method>"#,
    );
    let cluster = model(&text);
    let methods = &cluster.nodes[&NodeId(1)].methods;
    assert_eq!(methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>(), ["1", "human"]);
    let first = &methods[0].devices[0];
    let pair = |(key, value): &(String, String)| format!("{key}={value}");
    assert_eq!(first.arguments.iter().map(pair).collect::<Vec<_>>(), ["port=1", "action=off", "zone=b"]);
    let device = &cluster.fence_devices["bmc"];
    assert_eq!(device.agent, "fence_ipmilan");
    assert_eq!(device.arguments.iter().map(pair).collect::<Vec<_>>(), ["ipaddr=10.0.0.1", "passwd=s3cret"]);
}

#[test]
fn a_device_that_does_not_exist_is_an_error_with_the_nearest_name() {
    let text = method(r#"<device name="bcm"/>"#);
    assert_eq!(found(&text), ["3:67: error: there is no fence device 'bcm'"]);
    let reading = belay_config::read("f", &text);
    assert_eq!(reading.diagnostics[0].help.as_deref(), Some("did you mean 'bmc'?"));
}

#[test]
fn a_device_without_a_name_is_an_error() {
    assert_eq!(said(&method("<device port='1'/>")), ["error: <device> has no name"]);
}

#[test]
fn a_method_without_devices_always_fails() {
    assert_eq!(said(&method("")), ["warning: this fence method has no device: it always fails"]);
}

#[test]
fn a_node_without_a_method_can_only_be_confirmed_by_hand() {
    let fence = r#"<fence><method name="1"><device name="bmc" port="1"/></method></fence>"#;
    for empty in ["", "<fence/>", "<fence></fence>"] {
        assert_eq!(said(&with("").replace(fence, empty)), ["warning: 'n1' has no fence method"], "{empty}");
    }
}

#[test]
fn a_method_that_never_switches_the_node_off_is_refused() {
    for action in ["on", "status", "MONITOR", "list", "metadata", "enable"] {
        let text = method(&format!("<device name='bmc' action='{action}'/>"));
        assert_eq!(said(&text), ["error: this fence method never switches the node off"], "{action}");
    }
    let old = method("<device name='bmc' option='status'/>");
    assert_eq!(said(&old), ["error: this fence method never switches the node off"]);
    for good in [
        "<device name='bmc'/>",
        "<device name='bmc' action='reboot'/>",
        "<device name='bmc' action='off'/><device name='bmc' action='on'/>",
    ] {
        assert_eq!(said(&method(good)), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn the_fence_devices_own_action_comes_last_and_so_decides() {
    let test = with("").replace("agent=\"fence_ipmilan\"", "agent=\"fence_ipmilan\" action=\"status\"");
    assert_eq!(said(&test), vec!["error: this fence method never switches the node off"; 3]);
}

#[test]
fn an_agent_is_a_programs_name() {
    for bad in ["/usr/sbin/fence_x", "../fence_x", "fence x", "fence;reboot", "-v", ".", "fence$(id)"] {
        let text = with("").replace("fence_ipmilan", bad);
        assert_eq!(said(&text), [format!("error: '{bad}' is not a fence agent's name")]);
    }
    assert_eq!(
        model(&with("").replace("fence_ipmilan", "fence_belay_demo")).fence_devices["bmc"].agent,
        "fence_belay_demo"
    );
}

#[test]
fn a_device_without_an_agent_matters_once_a_method_uses_it() {
    let idle = with("<fencedevices><fencedevice name='x'/></fencedevices>");
    assert_eq!(
        said(&idle),
        [
            "info: another <fencedevices>; read together with the one in line 7",
            "warning: fence device 'x' has no agent and cannot fence",
            "info: no fence method uses fence device 'x'",
        ]
    );
    let used = with("").replace("agent=\"fence_ipmilan\" ", "");
    let error = "error: fence device 'bmc' has no agent, so this method cannot fence";
    assert_eq!(said(&used), [error, error, error, "warning: fence device 'bmc' has no agent and cannot fence"]);
}

#[test]
fn devices_have_names_of_their_own() {
    let text = with("")
        .replace("</fencedevices>", "<fencedevice name='bmc' agent='a'/><fencedevice agent='b'/></fencedevices>");
    assert_eq!(said(&text), ["error: fence device 'bmc' exists already", "error: <fencedevice> has no name"]);
}

#[test]
fn a_line_break_in_a_value_would_smuggle_in_another_key() {
    let text = method("<device name='bmc' port='1&#10;action=status'/>");
    assert_eq!(said(&text), ["error: the value of 'port' contains a line break"]);
}

#[test]
fn method_names_are_for_messages() {
    let unnamed = with("").replacen("<method name=\"1\">", "<method>", 1);
    assert_eq!(said(&unnamed), ["warning: a fence method of 'n1' has no name"]);
    assert_eq!(model(&unnamed).nodes[&NodeId(1)].methods[0].name, "1");
    let twice = with("").replacen("</method>", "</method><method name='1'><device name='bmc'/></method>", 1);
    assert_eq!(said(&twice), ["warning: 'n1' has two fence methods named '1'"]);
}

#[test]
fn delays_are_read_with_units_and_negative_ones_ignored() {
    let text = with("<fence_daemon post_join_delay='3' post_fail_delay='1m' clean_start='1'/>");
    let daemon = model(&text).fence_daemon;
    assert_eq!((daemon.post_join_delay, daemon.post_fail_delay), (Span::seconds(3), Span::seconds(60)));
    assert!(daemon.clean_start);
    let text = with("<fence_daemon post_join_delay='-1'/>");
    assert_eq!(said(&text), ["warning: post_join_delay='-1' is ignored, as RHCS ignored it"]);
    assert_eq!(model(&text).fence_daemon.post_join_delay, Span::seconds(6));
    let text = with("<fence_daemon post_fail_delay='soon'/>");
    assert_eq!(said(&text), ["error: post_fail_delay='soon' is not a length of time"]);
}

#[test]
fn no_debug_output_shows_a_password() {
    let text = with("").replace("port=\"1\"", "port=\"1\" snmp_priv_passwd=\"hidden\" passwd_script=\"/bin/ask\"");
    let reading = belay_config::read("f", &text);
    let debug = format!("{reading:?}");
    assert!(!debug.contains("s3cret") && !debug.contains("hidden"), "{debug}");
    assert!(debug.contains("/bin/ask") && debug.contains("***"));
}
