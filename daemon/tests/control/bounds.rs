//! Clients that misbehave: each gets an error or is let go, and the others are served all the while.

use crate::support::{Client, Server, call, submit};
use belay_proto::control::MAX_MESSAGE_BYTES;
use belayd::control::Settings;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(300);

async fn is_told_and_let_go(client: &mut Client) -> String {
    let reply = client.reply().await.expect("an error before the close");
    assert_eq!(reply["error"], "io.belay.Cluster.InvalidMessage", "{reply}");
    assert_eq!(client.reply().await, None, "and then it is closed");
    reply["parameters"]["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn garbage_is_answered_with_an_error_and_the_end() {
    let server = Server::start();
    let deep = "[".repeat(10_000);
    for garbage in [
        b"\0".as_slice(),
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"{}\0",
        b"[]\0",
        b"null\0",
        b"{\"method\":7}\0",
        b"{\"method\":\"a\"}{}\0",
        b"\xff\xfe\x80\0",
        b"{\"method\":\"\xff\"}\0",
        deep.as_bytes(),
    ] {
        let mut client = server.connect().await;
        client.send(garbage).await;
        client.send(b"\0").await;
        is_told_and_let_go(&mut client).await;
        server.serves().await;
    }
}

#[tokio::test]
async fn half_a_message_is_waited_for_no_longer_than_allowed() {
    let server = Server::with(Settings { idle: SHORT, ..Settings::default() });
    let mut client = server.connect().await;
    client.send(b"{\"method\":\"io.belay").await;
    server.serves().await;
    assert!(is_told_and_let_go(&mut client).await.contains("half a message"));
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_a_message_open() {
    let server = Server::with(Settings { idle: SHORT, ..Settings::default() });
    let mut client = server.connect().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if client.stream.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "it was kept open");
    server.serves().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let server = Server::with(Settings { idle: SHORT, ..Settings::default() });
    let mut client = server.connect().await;
    assert_eq!(client.reply().await, None);
}

#[tokio::test]
async fn the_end_in_the_middle_of_a_message_is_told_to_who_still_listens() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(b"{\"method\"").await;
    client.stream.shutdown().await.unwrap();
    assert!(is_told_and_let_go(&mut client).await.contains("half a message"));
}

/// The largest amount of memory this process ever had resident.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_and_do_not_fill_the_memory() {
    let server = Server::start();
    server.serves().await;
    let before = peak_memory_kib();
    let mut client = server.connect().await;
    let chunk = vec![b'x'; 100_000];
    let mut sent = 0;
    for _ in 0..1000 {
        // Refused as soon as it is too long: the pipe breaks.
        if client.stream.write_all(&chunk).await.is_err() {
            break;
        }
        sent += chunk.len();
    }
    assert!(sent < 10 * MAX_MESSAGE_BYTES, "{sent} bytes were taken");
    assert!(is_told_and_let_go(&mut client).await.contains("longer than"));
    // This process holds the client and all other tests of this file too, so the allowance is wide.
    assert!(peak_memory_kib() - before < 40 * 1024, "from {before} to {} KiB", peak_memory_kib());
    server.serves().await;
}

#[tokio::test]
async fn the_longest_message_allowed_is_taken() {
    let server = Server::start();
    let mut client = server.connect().await;
    let filler = MAX_MESSAGE_BYTES - call("io.belay.Cluster.Status", "{\"x\":\"\"}").len() + 1;
    let message = call("io.belay.Cluster.Status", &format!("{{\"x\":\"{}\"}}", "y".repeat(filler)));
    assert_eq!(message.len(), MAX_MESSAGE_BYTES + 1, "with its end");
    client.send(message.as_bytes()).await;
    assert_eq!(client.reply().await.unwrap()["parameters"]["cluster"], "alpha");
}

#[tokio::test]
async fn more_clients_than_places_are_turned_away_with_a_reason() {
    let server = Server::with(Settings { connections_of_operators: 3, ..Settings::default() });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.call("io.belay.Cluster.Status", "{}").await;
        clients.push(client);
    }
    let mut one_too_many = server.connect().await;
    let reply = one_too_many.reply().await.unwrap();
    assert!(reply["parameters"]["reason"].as_str().unwrap().contains("too many connections"), "{reply}");
    assert_eq!(one_too_many.reply().await, None);
    clients.pop();
    assert!(server.place_is_given_back().await, "a place that was given back is not given again");
}

#[tokio::test]
async fn many_clients_at_once_are_all_served() {
    let server = Server::start();
    let clients = futures_of(60, || async {
        let mut client = server.connect().await;
        for _ in 0..20 {
            let reply = client.call("io.belay.Cluster.Status", "{}").await;
            assert_eq!(reply["parameters"]["cluster"], "alpha");
        }
    });
    clients.await;
}

/// Runs so many at once on this task.
async fn futures_of<F: Future<Output = ()>>(count: usize, make: impl Fn() -> F) {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_replies_is_let_go() {
    let server = Server::with(Settings { write: SHORT, connections_of_operators: 1, ..Settings::default() });
    let service = server.backend.status.lock().unwrap().services[0].clone();
    server.backend.status.lock().unwrap().services = vec![service; 5000];
    let mut client = server.connect().await;
    client.send(call("io.belay.Cluster.Status", "{}").repeat(20)).await;
    // It had the only place.
    assert!(server.place_is_given_back().await, "it is waited for, for ever");
    let mut replies = 0;
    let mut chunk = vec![0; 1 << 20];
    let mut bytes = 0;
    while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut client.stream, &mut chunk).await {
        bytes += count;
        replies += chunk[..count].iter().filter(|byte| **byte == 0).count();
    }
    assert!(replies < 20, "all {replies} replies, {bytes} bytes, were kept for it");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_verdict_gives_its_place_back() {
    let server = Server::with(Settings { connections_of_operators: 1, ..Settings::default() });
    let mut client = server.connect().await;
    client.send(submit("later")).await;
    server.until("the request", |backend| backend.waiting.lock().unwrap().len() == 1).await;
    drop(client);
    server.until("the server's notice", |backend| backend.waiting.lock().unwrap()[0].is_closed()).await;
    assert!(server.place_is_given_back().await, "its place stays taken");
}

#[tokio::test]
async fn a_client_that_only_ended_its_own_direction_gets_its_verdict() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(submit("later")).await;
    client.stream.shutdown().await.unwrap();
    server.until("the request", |backend| backend.waiting.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let answer = server.backend.waiting.lock().unwrap().pop().unwrap();
    let verdict =
        belay_proto::control::Verdict { code: belay_proto::Code::Success, reason: String::new(), owner: None };
    answer.send(verdict).unwrap();
    assert_eq!(client.reply().await.unwrap()["parameters"]["code"], "success");
    assert_eq!(client.reply().await, None);
}

#[tokio::test]
async fn a_client_that_ended_its_direction_and_then_left_is_noticed() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(submit("later")).await;
    client.stream.shutdown().await.unwrap();
    server.until("the request", |backend| backend.waiting.lock().unwrap().len() == 1).await;
    drop(client);
    server.until("the server's notice", |backend| backend.waiting.lock().unwrap()[0].is_closed()).await;
}
