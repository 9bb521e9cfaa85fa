//! Stands between a sink and an HTTP server on loopback and misbehaves on demand: refuses connections, answers with an
//! error of its own, resets, or breaks off in the middle of an answer. One request a connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to one request instead of reaching the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An answer with this status; 429 and 503 ask to wait for zero seconds.
    Status(u16),
    /// The connection is reset before any answer.
    Reset,
    /// The answer ends in the middle of its first line.
    HalfAnswer,
    /// The request reaches the server, but its answer is lost.
    LostAnswer,
}

/// A gate before a server.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    upstream: SocketAddr,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Gate {
    /// A gate on a free loopback port, open.
    pub async fn before(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let gate = Self { address, upstream, faults: Arc::default(), accepting: Mutex::default() };
        gate.accept(listener);
        Ok(gate)
    }

    /// Where the sink is to connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests meet these faults, one each.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().extend(faults);
    }

    /// Whether all faults were met.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.faults.lock().is_empty()
    }

    /// From now on connections are refused.
    pub async fn close(&self) {
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The listener is gone once the task is.
            let _ = accepting.await;
        }
    }

    /// Connections are accepted again.
    pub async fn open(&self) -> std::io::Result<()> {
        self.accept(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn accept(&self, listener: TcpListener) {
        let (upstream, faults) = (self.upstream, Arc::clone(&self.faults));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = Arc::clone(&faults);
                // A connection that breaks is what this is for.
                tokio::spawn(async move { drop(serve(client, upstream, &faults).await) });
            }
        });
        *self.accepting.lock() = Some(task);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, faults: &Mutex<VecDeque<Fault>>) -> std::io::Result<()> {
    let Some(request) = read_request(&mut client).await? else { return Ok(()) };
    let fault = faults.lock().pop_front();
    match fault {
        Some(Fault::Status(status)) => {
            let wait = if matches!(status, 429 | 503) { "Retry-After: 0\r\n" } else { "" };
            let body = "out of order";
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} Fault\r\n{wait}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            client.write_all(answer.as_bytes()).await?;
        }
        Some(Fault::Reset) => return client.set_zero_linger(),
        Some(Fault::HalfAnswer) => client.write_all(b"HTTP/1.1 20").await?,
        Some(Fault::LostAnswer) => {
            forward(&request, upstream).await?;
            return client.set_zero_linger();
        }
        None => client.write_all(&forward(&request, upstream).await?).await?,
    }
    client.shutdown().await
}

async fn forward(request: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let line_end = request.windows(2).position(|bytes| bytes == b"\r\n").map_or(request.len(), |at| at + 2);
    server.write_all(&request[..line_end]).await?;
    server.write_all(b"Connection: close\r\n").await?;
    server.write_all(&request[line_end..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// A whole request with its body; `None` where the client sent none.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    loop {
        if let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4) {
            let length = content_length(&request[..head]);
            if request.len() >= head + length {
                return Ok(Some(request));
            }
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
