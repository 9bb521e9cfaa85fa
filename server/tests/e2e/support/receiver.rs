//! A server on loopback that remembers what is posted to it and answers as it is told.
//!
//! It stands for PagerDuty and for people's webhook receivers: services that cannot be installed. It checks what those
//! check, the form of the request and its signature, so that a delivery they would refuse fails a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wait::within;

/// An answer that never comes.
const SILENCE: u16 = 0;

/// The receiver; ends with the test.
#[derive(Debug)]
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    requests: watch::Sender<Vec<Request>>,
    answer: AtomicU16,
}

/// What was posted.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
    /// Whether the answer was a success.
    pub is_taken: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("expected a header {name}: {:?}", self.headers))
            .to_str()
            .unwrap()
    }

    /// Checks the signature as <https://www.standardwebhooks.com> has it.
    pub fn verify(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.text).as_bytes(),
        );
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), expected);
    }
}

impl Receiver {
    /// Listens on a free port and answers 200.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { requests: watch::channel(Vec::new()).0, answer: AtomicU16::new(200) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(any(take)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.shared.answer.store(status, Ordering::SeqCst);
    }

    /// Takes requests from now on and lets those who sent them wait.
    pub fn be_silent(&self) {
        self.answer(SILENCE);
    }

    /// Everything so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until a request is there.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let mut requests = self.shared.requests.subscribe();
        within(what, requests.wait_for(|requests| wanted(requests))).await.unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let status = shared.answer.load(Ordering::SeqCst);
    let request = Request {
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_str(&text).unwrap(),
        text,
        is_taken: (200..300).contains(&status),
    };
    shared.requests.send_modify(|requests| requests.push(request));
    if status == SILENCE {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(status).unwrap()
}
