//! For the fuzz targets: what an agent's output is taken for.

use super::life::parse;
use super::lines::Lines;
use belay_proto::agent::AgentLine;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The lines of an agent's output, and why there are no more of them, if not because it ended.
#[must_use]
pub fn lines(output: &[u8], limit: usize) -> (Vec<AgentLine>, Option<String>) {
    let mut lines = Lines::new(output, limit);
    let all = async {
        let mut read = Vec::new();
        loop {
            match lines
                .next()
                .await
                .map_err(|error| error.to_string())
                .and_then(|line| line.map(|line| parse(&line)).transpose())
            {
                Ok(Some(line)) => read.push(line),
                Ok(None) => return (read, None),
                Err(why) => return (read, Some(why)),
            }
        }
    };
    // Bytes in memory are always there: the first poll goes through to the end.
    match pin!(all).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => (Vec::new(), Some("its output is pending".to_owned())),
    }
}
