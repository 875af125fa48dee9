//! Who may do what, tried as other users by processes of theirs.

use crate::support::{Server, call, open, submit};
use belayd::control::Settings;
use serde_json::Value;
use std::path::Path;
use tokio::process::Command;

/// `nobody` and its group.
const NOBODY: &str = "65534";

/// Any group that nobody's process is in only if it is put there: `daemon`, which every Debian has.
const GROUP: (&str, &str) = ("daemon", "1");

/// Sends a call from a process of nobody's, in the given supplementary groups, and returns the reply.
async fn as_nobody(socket: &Path, groups: &str, call: &str) -> Value {
    let script = r#"
        $SIG{PIPE} = "IGNORE"; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; connect($s, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
        syswrite($s, "$ARGV[1]\0"); my $reply = ""; while ($reply !~ /\0/) { sysread($s, $reply, 65536, length $reply) or last }
        $reply =~ s/\0.*//s; print $reply;"#;
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, &groups, "perl", "-MSocket", "-e", script])
        .arg(socket)
        .arg(call.trim_end_matches('\0'))
        .current_dir("/")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn settings() -> Settings {
    Settings { group: GROUP.0.to_owned(), ..Settings::default() }
}

#[tokio::test]
async fn everybody_may_look_and_only_operators_may_touch() {
    let server = Server::with(settings());
    let status = as_nobody(&server.socket, "", &call("io.belay.Cluster.Status", "{}")).await;
    assert_eq!(status["parameters"]["cluster"], "alpha");
    // The state holds the passwords of fence devices.
    let kept = as_nobody(&server.socket, "", &call("io.belay.Cluster.Snapshot", "{}")).await;
    assert_eq!(kept["error"], "io.belay.Cluster.PermissionDenied");
    let denied = as_nobody(&server.socket, "", &submit("a")).await;
    assert_eq!(denied["error"], "io.belay.Cluster.PermissionDenied");
    assert!(server.backend.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_member_of_the_group_may_touch() {
    let server = Server::with(settings());
    let done = as_nobody(&server.socket, GROUP.1, &submit("a")).await;
    assert_eq!(done["parameters"]["code"], "success", "{done}");
    // Also with more groups than fit into the first look.
    let many: Vec<String> = (2000..2100).map(|group| group.to_string()).collect();
    let done = as_nobody(&server.socket, &format!("{},{}", many.join(","), GROUP.1), &submit("b")).await;
    assert_eq!(done["parameters"]["code"], "success", "{done}");
    let by: Vec<String> = server.backend.submitted.lock().unwrap().iter().map(|(_, by)| by.clone()).collect();
    assert_eq!(by, ["uid 65534", "uid 65534"]);
}

#[tokio::test]
async fn without_the_group_only_root_may_touch() {
    let server = Server::with(Settings { group: "no-such-group".into(), ..Settings::default() });
    let denied = as_nobody(&server.socket, GROUP.1, &submit("a")).await;
    assert_eq!(denied["error"], "io.belay.Cluster.PermissionDenied");
    let mut root = server.connect().await;
    root.send(submit("a")).await;
    assert_eq!(root.reply().await.unwrap()["parameters"]["code"], "success");
}

#[tokio::test]
async fn others_cannot_take_the_operators_places_nor_send_long_messages() {
    let server = Server::with(Settings { connections_of_others: 0, ..settings() });
    let turned_away = as_nobody(&server.socket, "", &call("io.belay.Cluster.Status", "{}")).await;
    assert!(turned_away["parameters"]["reason"].as_str().unwrap().contains("too many connections"));
    server.serves().await;

    let server = Server::with(Settings { connections_of_operators: 0, message_bytes_of_others: 1000, ..settings() });
    let long = call("io.belay.Cluster.Status", &format!("{{\"x\":\"{}\"}}", "y".repeat(2000)));
    let refused = as_nobody(&server.socket, "", &long).await;
    assert!(refused["parameters"]["reason"].as_str().unwrap().contains("longer than 1000 bytes"), "{refused}");
}

#[tokio::test]
async fn one_user_cannot_take_all_the_others_places() {
    let server = Server::with(Settings { connections_of_one_other: 0, ..settings() });
    open(server.folder.path());
    let turned_away = as_nobody(&server.socket, "", &call("io.belay.Cluster.Status", "{}")).await;
    assert!(turned_away["parameters"]["reason"].as_str().unwrap().contains("too many connections"));
}
