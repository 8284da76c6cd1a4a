//! The client: every request is counted by verb and resource, every call has a limit.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use prometheus::IntCounterVec;
use tower::{Layer, Service};

/// The longest that one call may take.
pub const CALL_WITHIN: Duration = Duration::from_secs(10);
/// The API server sends every watch a bookmark a minute, so a connection without a byte for longer is dead.
const IDLE_WITHIN: Duration = Duration::from_secs(130);

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no, or could not be reached.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// No answer within [`CALL_WITHIN`]. The call may have acted all the same.
    #[error("the API server did not answer within {} s", CALL_WITHIN.as_secs())]
    Timeout,
}

impl CallError {
    /// The HTTP status that the API server answered with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            Self::Kube(_) | Self::Timeout => None,
        }
    }
}

/// Runs one call with its limit.
pub async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_WITHIN, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::Timeout),
    }
}

/// Makes a client from the environment: in a pod its service account, outside a kubeconfig.
pub async fn connect(requests: IntCounterVec) -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CALL_WITHIN);
    config.read_timeout = Some(IDLE_WITHIN);
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&Count { requests })
        .build())
}

/// Counts requests by verb and resource.
#[derive(Clone, Debug)]
pub struct Count {
    requests: IntCounterVec,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted {
            inner,
            requests: self.requests.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    requests: IntCounterVec,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        let verb = if watch { "WATCH" } else { request.method().as_str() };
        self.requests
            .with_label_values(&[verb, resource(request.uri().path())])
            .inc();
        self.inner.call(request)
    }
}

/// The plural in a path of the API, such as `deployments`; a bounded set whatever the names of objects are.
fn resource(path: &str) -> &str {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return "other",
    };
    match rest {
        ["namespaces", _, plural, ..] | [plural, ..] => plural,
        [] => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn names_of_objects_are_no_labels() {
        for (path, plural) in [
            ("/apis/apps/v1/namespaces/shop/deployments/chat", "deployments"),
            ("/api/v1/pods", "pods"),
            (
                "/apis/pointsman.dev/v1alpha1/namespaces/shop/rollouts/chat/status",
                "rollouts",
            ),
            ("/readyz", "other"),
        ] {
            assert_eq!(resource(path), plural);
        }
    }
}
