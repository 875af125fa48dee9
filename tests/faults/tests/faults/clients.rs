//! Clients of the control socket that misbehave: they cost the daemon next to nothing and others no time.

use anyhow::{Context, Result, ensure};
use belay_faults::{Cluster, Configuration};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How much more memory the daemon may have used at its worst moment. One message of the allowed size and the copy that
/// is made when its buffer grows are 3 MiB.
const ALLOWED_KIB: u64 = 6 * 1024;

/// The most memory a process ever had.
fn peak_kib(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}

fn connect(cluster: &Cluster) -> Result<UnixStream> {
    let stream = UnixStream::connect(cluster.run.host(1).socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// What the daemon says before it hangs up.
fn answer(mut stream: UnixStream) -> Result<String> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // It hung up while there was more to read.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Garbage in several kinds, and 100 MB without an end.
fn misbehave(cluster: &Cluster) -> Result<()> {
    for garbage in [&b"\xff\xfe\x00"[..], b"GET / HTTP/1.1\r\n\r\n\0", b"\0", b"[[[[[[[[\0", b"{\"method\":7}\0"] {
        let mut stream = connect(cluster)?;
        stream.write_all(garbage)?;
        let said = answer(stream)?;
        ensure!(said.contains("InvalidMessage"), "to {garbage:?} it says {said:?}");
    }
    // No NUL, so no end of the message.
    let chunk = vec![b'x'; 1024 * 1024];
    let mut stream = connect(cluster)?;
    let sent = (0..100).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    ensure!(sent < 100, "all of it was taken");
    Ok(())
}

#[test]
fn clients_that_send_garbage_half_a_message_or_100_mb_disturb_nobody() -> Result<()> {
    let cluster = Arc::new(Cluster::start(&Configuration::of(&["one"]))?);
    let daemon = cluster.program(1, "belayd")?;
    let before = peak_kib(daemon)?;

    // Somebody who behaves, all the while.
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let honest = {
        let (cluster, stop, answers) = (Arc::clone(&cluster), Arc::clone(&stop), Arc::clone(&answers));
        std::thread::spawn(move || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                cluster.status(1)?;
                answers.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    };

    let mut half = connect(&cluster)?;
    half.write_all(b"{\"method\":\"io.belay.Cluster.Sta")?;
    let mut rounds = 0;
    while rounds < 3 || answers.load(Ordering::Relaxed) < 50 && !honest.is_finished() {
        misbehave(&cluster)?;
        rounds += 1;
    }

    stop.store(true, Ordering::Relaxed);
    honest.join().unwrap().context("the honest client")?;
    let grown = peak_kib(daemon)?.saturating_sub(before);
    ensure!(grown <= ALLOWED_KIB, "the daemon needed {grown} KiB more");
    ensure!(cluster.program(1, "belayd")? == daemon, "the daemon ended");
    cluster.succeeds(1, &["clusvcadm", "-R", "vm:one"])?;
    drop(half);
    Arc::into_inner(cluster).context("somebody still has it")?.end()
}
