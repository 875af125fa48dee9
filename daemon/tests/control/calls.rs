//! What each method answers.

use crate::support::{Client, Server, call, submit};
use belay_proto::control::{INTERFACE, Status};
use belayd::control::{Settings, bind, serve_with};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn the_status_is_what_the_main_loop_says() {
    let server = Server::start();
    let reply = server.connect().await.call("io.belay.Cluster.Status", "{}").await;
    assert_eq!(serde_json::from_value::<Status>(reply["parameters"].clone()).unwrap(), crate::support::status());
}

#[tokio::test]
async fn a_request_reaches_the_main_loop_with_its_asker() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(submit("one")).await;
    assert_eq!(client.reply().await.unwrap(), json!({"parameters": {"code": "success", "reason": "", "owner": 1}}));
    let submitted = server.backend.submitted.lock().unwrap().pop().unwrap();
    assert_eq!((submitted.0.id.as_str(), submitted.1.as_str()), ("one", "root"));
}

#[tokio::test]
async fn the_reasons_of_a_service_are_told_and_an_unknown_one_is_an_error() {
    let server = Server::start();
    let mut client = server.connect().await;
    let known = client.call("io.belay.Cluster.Why", r#"{"service":"vm:web1"}"#).await;
    assert_eq!(known["parameters"]["chain"][0]["text"], "vm:web1 did something");
    let unknown = client.call("io.belay.Cluster.Why", r#"{"service":"vm:no"}"#).await;
    assert_eq!(unknown, json!({"error": "io.belay.Cluster.NoSuchService", "parameters": {"name": "vm:no"}}));
}

#[tokio::test]
async fn events_without_more_are_one_reply() {
    let server = Server::start();
    for parameters in ["{}", "null", r#"{"last":5,"service":null}"#] {
        let reply = server.connect().await.call("io.belay.Cluster.Events", parameters).await;
        assert_eq!(reply["parameters"]["events"][0]["id"]["index"], 1, "{parameters}");
        assert!(reply.get("continues").is_none());
    }
}

#[tokio::test]
async fn the_service_tells_of_itself() {
    let server = Server::start();
    let mut client = server.connect().await;
    let info = client.call("org.varlink.service.GetInfo", "{}").await;
    assert_eq!(info["parameters"]["interfaces"], json!(["org.varlink.service", "io.belay.Cluster"]));
    for (interface, begin) in [("io.belay.Cluster", INTERFACE), ("org.varlink.service", "# What every Varlink")] {
        let parameters = json!({ "interface": interface }).to_string();
        let told = client.call("org.varlink.service.GetInterfaceDescription", &parameters).await;
        assert!(told["parameters"]["description"].as_str().unwrap().starts_with(begin));
    }
}

#[tokio::test]
async fn what_is_not_there_is_named_and_the_connection_goes_on() {
    let server = Server::start();
    let mut client = server.connect().await;
    for (method, parameters, error, about) in [
        ("io.belay.Cluster.Explode", "{}", "MethodNotFound", json!({"method": "io.belay.Cluster.Explode"})),
        ("io.belay.Other.Status", "{}", "InterfaceNotFound", json!({"interface": "io.belay.Other"})),
        ("Status", "{}", "InterfaceNotFound", json!({"interface": "Status"})),
        ("", "{}", "InterfaceNotFound", json!({"interface": ""})),
        (
            "org.varlink.service.GetInterfaceDescription",
            r#"{"interface":"io.x"}"#,
            "InterfaceNotFound",
            json!({"interface": "io.x"}),
        ),
        ("io.belay.Cluster.Why", "{}", "InvalidParameter", json!({"parameter": "service"})),
        ("io.belay.Cluster.Why", r#"{"service":"a b"}"#, "InvalidParameter", json!({"parameter": "service"})),
        ("io.belay.Cluster.Events", r#"{"last":-1}"#, "InvalidParameter", json!({"parameter": "last"})),
        ("io.belay.Cluster.Events", r#"{"service":7}"#, "InvalidParameter", json!({"parameter": "service"})),
        ("io.belay.Cluster.Submit", r#"{"request":{}}"#, "InvalidParameter", json!({"parameter": "id"})),
        ("io.belay.Cluster.Submit", r#"{"id":"1","request":{}}"#, "InvalidParameter", json!({"parameter": "request"})),
        ("io.belay.Cluster.Submit", "[]", "InvalidParameter", json!({"parameter": "id"})),
    ] {
        let reply = client.call(method, parameters).await;
        assert_eq!(reply, json!({"error": format!("org.varlink.service.{error}"), "parameters": about}));
    }
    assert!(server.backend.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn calls_sent_together_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect().await;
    let three = [call("io.belay.Cluster.Status", "{}"), submit("a"), call("org.varlink.service.GetInfo", "{}")];
    client.send(three.concat()).await;
    assert_eq!(client.reply().await.unwrap()["parameters"]["cluster"], "alpha");
    assert_eq!(client.reply().await.unwrap()["parameters"]["code"], "success");
    assert_eq!(client.reply().await.unwrap()["parameters"]["product"], "belayd");
}

#[tokio::test]
async fn a_oneway_call_is_carried_out_without_a_reply() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(submit("a").replace("\"method\"", "\"oneway\":true,\"method\"")).await;
    let next = client.call("org.varlink.service.GetInfo", "{}").await;
    assert_eq!(next["parameters"]["product"], "belayd");
    assert_eq!(server.backend.submitted.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_takes_long_holds_up_nobody() {
    let server = Server::start();
    let mut slow = server.connect().await;
    slow.send(submit("later")).await;
    server.until("the request", |backend| backend.waiting.lock().unwrap().len() == 1).await;
    for _ in 0..20 {
        server.serves().await;
    }
    let answer = server.backend.waiting.lock().unwrap().pop().unwrap();
    let verdict = belay_proto::control::Verdict { code: belay_proto::Code::Failure, reason: "no".into(), owner: None };
    answer.send(verdict).unwrap();
    assert_eq!(slow.reply().await.unwrap()["parameters"]["code"], "failure");
}

#[tokio::test]
async fn a_request_whose_verdict_is_lost_is_told_to_ask_again() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(submit("later")).await;
    server.until("the request", |backend| backend.waiting.lock().unwrap().len() == 1).await;
    server.backend.waiting.lock().unwrap().clear();
    let reply = client.reply().await.unwrap();
    assert_eq!(reply["error"], "io.belay.Cluster.Unavailable");
    assert!(reply["parameters"]["reason"].as_str().unwrap().contains("same id"), "{reply}");
}

#[tokio::test]
async fn a_main_loop_that_hangs_makes_no_client_hang() {
    let settings = Settings { answer: Duration::from_millis(100), ..Settings::default() };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    // Nobody ever takes a query out: the second does not even fit in.
    let (queries, _asked) = tokio::sync::mpsc::channel(1);
    let serving = tokio::spawn(serve_with(bind(&socket).unwrap(), queries, settings));
    for method in ["Status", "Events", "Why", "Submit"] {
        let mut client = Client::connect(&socket).await;
        let parameters = r#"{"service":"vm:web1","id":"1","request":{"stop":{"service":"vm:web1"}}}"#;
        let reply = client.call(&format!("io.belay.Cluster.{method}"), parameters).await;
        assert_eq!(reply["error"], "io.belay.Cluster.Unavailable", "{reply}");
        assert!(reply["parameters"]["reason"].as_str().unwrap().contains("did not answer within 100ms"));
    }
    serving.abort();
}

#[tokio::test]
async fn serving_ends_with_the_main_loop() {
    let server = Server::start();
    server.serves().await;
    server.main_loop.abort();
    tokio::time::timeout(Duration::from_secs(10), server.serving).await.expect("it serves on").unwrap();
    assert!(!server.socket.exists(), "a stopped daemon leaves no socket behind");
}
