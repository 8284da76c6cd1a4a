//! The session contract from the operator's side: counts live sessions, and orders pods to shed some.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// A pod that does not answer within this time has an unknown count.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Pods asked at once.
const ASKED_AT_ONCE: usize = 64;

/// What a pod says at `GET /sessions`. Unknown fields are fine: any workload may implement the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Sessions open now.
    pub open: u32,
    /// Sessions told to move since it started.
    #[serde(default)]
    pub drained: u64,
    /// Sessions that the order in force keeps; absent when there is none.
    #[serde(default)]
    pub keep: Option<u32>,
    /// How many new sessions it can take.
    #[serde(default)]
    pub handshakes: Handshakes,
}

/// New sessions that a pod can take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshakes {
    /// Per second; absent when it sets no limit.
    #[serde(default)]
    pub capacity_per_second: Option<u32>,
}

/// What a pod is told at `POST /sessions/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Sessions that stay; `None` ends an earlier order.
    pub keep: Option<u32>,
    /// Time between two sessions told to move.
    pub interval_ms: u32,
    /// Revision that they move to.
    pub to: String,
}

/// Why a pod could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// No connection, or it broke.
    #[error("not reached: {0}")]
    Unreached(String),
    /// No answer in time.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Timeout,
    /// It answered something else.
    #[error("answered {status}{hint}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What to look at.
        hint: &'static str,
    },
    /// The answer is not what the contract says.
    #[error("answer does not fit the session contract: {0}")]
    Malformed(String),
}

/// Where a pod's control port is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// IP address of the pod.
    pub ip: String,
    /// Its control port.
    pub port: u16,
}

/// Talks to pods' control ports over connections that are kept.
#[derive(Debug)]
pub struct Pods {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Tokens by UID of the Rollout, with the resource version of the Secret that they were read from.
    tokens: Mutex<BTreeMap<String, (String, Vec<String>)>>,
}

impl Default for Pods {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(1)
            .build(connector);
        Self {
            client,
            tokens: Mutex::default(),
        }
    }
}

impl Pods {
    /// Tokens read earlier from this very version of the Secret.
    pub fn known_tokens(&self, uid: &str, version: &str) -> Option<Vec<String>> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .get(uid)
            .filter(|(known, _)| known == version)
            .map(|(_, tokens)| tokens.clone())
    }

    /// Remembers tokens.
    pub fn remember_tokens(&self, uid: &str, version: &str, list: &[String]) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(uid.to_owned(), (version.to_owned(), list.to_vec()));
    }

    /// Forgets Rollouts that are gone.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| exists(uid));
    }

    /// Asks many pods at once; a pod whose answer is missing is unknown.
    pub async fn reports(
        &self,
        pods: Vec<(String, Address)>,
        token: &str,
    ) -> BTreeMap<String, Result<Report, PodError>> {
        futures::stream::iter(pods)
            .map(|(name, address)| async move {
                let answer = self.report(&address, token).await;
                (name, answer)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await
    }

    async fn report(&self, address: &Address, token: &str) -> Result<Report, PodError> {
        let body = self
            .ask(Method::GET, address, "/sessions", token, Bytes::new())
            .await?;
        serde_json::from_slice(&body).map_err(|error| PodError::Malformed(error.to_string()))
    }

    /// Orders many pods at once; returns how each went.
    pub async fn order(
        &self,
        orders: Vec<(String, Address, Order)>,
        token: &str,
    ) -> Vec<(String, Result<(), PodError>)> {
        futures::stream::iter(orders)
            .map(|(name, address, order)| async move {
                let body = serde_json::to_vec(&order).map_err(|error| PodError::Malformed(error.to_string()));
                let sent = match body {
                    Ok(body) => self
                        .ask(Method::POST, &address, "/sessions/drain", token, body.into())
                        .await
                        .map(drop),
                    Err(error) => Err(error),
                };
                (name, sent)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await
    }

    async fn ask(
        &self,
        method: Method,
        address: &Address,
        path: &str,
        token: &str,
        body: Bytes,
    ) -> Result<Bytes, PodError> {
        let host = if address.ip.contains(':') {
            format!("[{}]", address.ip)
        } else {
            address.ip.clone()
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{host}:{}{path}", address.port))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| PodError::Unreached(error.to_string()))?;
        let answer = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| PodError::Unreached(root(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body
                .map_err(|error| PodError::Malformed(error.to_string()))?
                .to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let hint = match status.as_u16() {
                401 | 403 => "; does the container read the file in POINTSMAN_CONTROL_TOKEN_FILE?",
                404 => "; is this the control port (spec.sessions.controlPort)?",
                _ => "",
            };
            Err(PodError::Status {
                status: status.as_u16(),
                hint,
            })
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .map_err(|_| PodError::Timeout)?
    }
}

/// The last cause of an error: "client error" alone tells nobody anything.
fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
