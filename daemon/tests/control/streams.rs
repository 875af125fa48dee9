//! `Events` with `more`.

use crate::support::{Client, Server, call, event};
use belayd::control::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

async fn follow(server: &Server, parameters: &str) -> Client {
    let mut client = server.connect().await;
    let call = call("io.belay.Cluster.Events", parameters).replace("\"method\"", "\"more\":true,\"method\"");
    client.send(call).await;
    let first = client.reply().await.unwrap();
    assert_eq!(first["continues"], true);
    assert_eq!(first["parameters"]["events"][0]["id"]["index"], 1, "what is there comes first");
    client
}

/// The indices of the events in the next reply.
async fn indices(client: &mut Client) -> Vec<u64> {
    let reply = client.reply().await.unwrap();
    assert_eq!(reply["continues"], true, "{reply}");
    let events = reply["parameters"]["events"].as_array().unwrap();
    events.iter().map(|event| event["id"]["index"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let server = Server::start();
    let mut client = follow(&server, "{}").await;
    for index in [2, 3] {
        server.backend.feed.send(Arc::new(event(index, "vm:web1"))).unwrap();
        assert_eq!(indices(&mut client).await, [index]);
    }
    for index in 4..8 {
        server.backend.feed.send(Arc::new(event(index, "vm:web1"))).unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(indices(&mut client).await);
    }
    assert_eq!(seen, [4, 5, 6, 7]);
}

#[tokio::test]
async fn a_follower_of_one_service_sees_nothing_else() {
    let server = Server::start();
    let mut client = follow(&server, r#"{"service":"vm:web1"}"#).await;
    for (index, service) in [(2, "vm:other"), (3, "vm:web1"), (4, "vm:other"), (5, "vm:web1")] {
        server.backend.feed.send(Arc::new(event(index, service))).unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(indices(&mut client).await);
    }
    assert_eq!(seen, [3, 5]);
}

#[tokio::test]
async fn a_follower_that_leaves_is_forgotten() {
    let server = Server::start();
    let client = follow(&server, "{}").await;
    let mut half = follow(&server, "{}").await;
    half.stream.shutdown().await.unwrap();
    let patient = follow(&server, "{}").await;
    assert_eq!(server.backend.feed.receiver_count(), 3);
    drop((client, half));
    server.until("the end of two streams", |backend| backend.feed.receiver_count() == 1).await;
    drop(patient);
    server.until("the end of the third", |backend| backend.feed.receiver_count() == 0).await;
}

#[tokio::test]
async fn a_follower_that_sends_on_and_on_is_served_and_not_read_without_bound() {
    let server = Server::start();
    let client = follow(&server, "{}").await;
    let (read, mut write) = client.stream.into_split();
    let flood = tokio::spawn(async move {
        let chunk = vec![b'x'; 100_000];
        let mut sent = 0;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), write.write_all(&chunk)).await {
            sent += chunk.len();
            assert!(sent < 10_000_000, "it is read without bound");
        }
        write
    });
    let write = flood.await.unwrap();
    let mut client = Client::of(read.reunite(write).unwrap());
    server.backend.feed.send(Arc::new(event(2, "vm:web1"))).unwrap();
    assert_eq!(indices(&mut client).await, [2]);
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_let_go() {
    let server = Server::with(Settings { write: Duration::from_millis(300), ..Settings::default() });
    let mut client = follow(&server, "{}").await;
    let mut large = event(2, "vm:web1");
    large.text = "x".repeat(1 << 20);
    for _ in 0..20 {
        let _ = server.backend.feed.send(Arc::new(large.clone()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.until("the end of the stream", |backend| backend.feed.receiver_count() == 0).await;
    server.serves().await;
    // What fitted into the socket is still there, and then comes the end in the middle of a message.
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest).await;
    assert_ne!(rest.last(), Some(&0));
}

#[tokio::test(flavor = "current_thread")]
async fn a_follower_that_fell_behind_is_told_so() {
    let server = Server::start();
    let mut client = follow(&server, "{}").await;
    // More than the channel holds, before the server's task gets a turn.
    for index in 2..100 {
        server.backend.feed.send(Arc::new(event(index, "vm:web1"))).unwrap();
    }
    let reply = client.reply().await.unwrap();
    assert_eq!(reply["error"], "io.belay.Cluster.Unavailable");
    assert!(reply["parameters"]["reason"].as_str().unwrap().contains("ask again"), "{reply}");
    assert_eq!(client.reply().await, None);
}
