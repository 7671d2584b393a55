//! Asks the name servers of the settings, now and then, whether they answer at all.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::host;
use super::node::Node;

/// How often.
const PERIOD: Duration = Duration::from_secs(60);
/// How long an answer may take, twice.
const PATIENCE: Duration = Duration::from_secs(3);
/// A query for the name servers of the root (RFC 1035 section 4.1), whose id is put in front: any
/// answer will do, a refusal too.
const QUERY: [u8; 15] = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// Asks for ever.
pub async fn run(node: Arc<Node>) {
    loop {
        if let Ok(system) = host::settings(&node).await {
            let mut silent = Vec::new();
            for server in &system.dns_servers {
                if !answers(SocketAddr::new(*server, 53)).await {
                    silent.push(*server);
                }
            }
            // One that answers is enough.
            if silent.len() < system.dns_servers.len() {
                silent.clear();
            }
            node.silent_servers.send_replace(silent);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Whether anything answers there.
async fn answers(server: SocketAddr) -> bool {
    for _ in 0..2 {
        match tokio::time::timeout(PATIENCE, query(server)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(%server, %error, "a name server"),
            Err(_) => {}
        }
    }
    false
}

async fn query(server: SocketAddr) -> std::io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id: [u8; 2] = super::node::random();
    let mut message = id.to_vec();
    message.extend(QUERY);
    socket.send(&message).await?;
    let mut answer = [0; 512];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], id) {
            return Ok(());
        }
    }
}

/// Whether a message has the id of the query, and the bit that says it is an answer.
fn is_answer(message: &[u8], id: [u8; 2]) -> bool {
    message.len() >= 12 && message[..2] == id && message[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_an_echo_is_none() {
        let with = |flags: u8| [&[7, 9, flags, 5], &[0; 8][..]].concat();
        assert!(is_answer(&with(0x85), [7, 9]));
        assert!(!is_answer(&with(0x01), [7, 9]));
        assert!(!is_answer(&with(0x85), [7, 8]));
        assert!(!is_answer(&with(0x85)[..11], [7, 9]));
    }

    #[tokio::test]
    async fn a_server_that_answers_is_heard() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            let mut message = [0; 512];
            let (length, from) = server.recv_from(&mut message).await.unwrap();
            message[2] |= 0x80;
            server.send_to(&message[..length], from).await.unwrap();
        });
        query(address).await.unwrap();
    }
}
