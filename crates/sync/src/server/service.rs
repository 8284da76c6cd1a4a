//! What faces clients, in one place: units, files, who may do what, and the bounds of all that.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::authentication::{Authenticator, ClaimedDocuments, Everybody, JsonWebTokens, Permissions};
use super::session::Ledger;
use super::streams::{BlobLimits, Blobs, Directory, Memory};
use super::units::{Events, Registry, Unit, bundled};
use super::{Options, StartError};

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationOptions {
    /// File with the key of JSON Web Tokens: a public key in PEM, or a shared secret.
    pub jwt_key_file: Option<PathBuf>,
    /// File with a JSON Web Key Set, instead.
    pub jwks_file: Option<PathBuf>,
    /// The audience that tokens must be for.
    pub audience: Option<String>,
    /// Who must have issued them.
    pub issuer: Option<String>,
    /// Only public methods work for whoever has not signed in.
    pub required: bool,
    /// What is done with documents follows the claim `documents`; otherwise everybody may change everything.
    pub claimed_documents: bool,
}

/// What a client may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls of one session that wait for their turn; more are answered with 503.
    pub calls_waiting_max: usize,
    /// A call that takes longer is answered with 408.
    pub call_within: Duration,
    /// Where one has to sign in: time for that.
    pub unauthenticated_within: Duration,
    /// Where one has to sign in: bytes until then.
    pub unauthenticated_bytes_max: usize,
    /// Where one has to sign in: sessions that have not; more are closed with 1013.
    pub unauthenticated_sessions_max: usize,
    /// Body of a request over HTTP.
    pub body_bytes_max: usize,
    /// A body that takes longer to come is answered with 408.
    pub body_within: Duration,
    /// One file.
    pub file_bytes_max: u64,
    /// All files together.
    pub files_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_waiting_max: 256,
            call_within: Duration::from_secs(30),
            unauthenticated_within: Duration::from_secs(10),
            unauthenticated_bytes_max: 64 * 1024,
            unauthenticated_sessions_max: 1_000,
            body_bytes_max: 256 * 1024,
            body_within: Duration::from_secs(5),
            file_bytes_max: 64 * 1024 * 1024,
            files_bytes_max: 1024 * 1024 * 1024,
        }
    }
}

/// Files in memory together; with a directory it is [`Limits::files_bytes_max`].
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an application brings.
pub struct Application {
    /// Its units. Those of the service itself and the examples are there too, unless one of the same name is here.
    pub units: Vec<Arc<dyn Unit>>,
    /// Tells who shows a token. Without one the keys of [`AuthenticationOptions`] do; without those nobody can sign in.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Tells who may do what with which document; as [`AuthenticationOptions`] says when absent.
    pub permissions: Option<Arc<dyn Permissions>>,
    /// Where files are kept; in [`Options::data`], or in memory, when absent.
    pub blobs: Option<Arc<dyn Blobs>>,
}

impl Application {
    /// Nothing but units.
    #[must_use]
    pub fn of(units: Vec<Arc<dyn Unit>>) -> Self {
        Self {
            units,
            authenticator: None,
            permissions: None,
            blobs: None,
        }
    }
}

/// What the sessions of a replica share beside its documents.
pub(super) struct Service {
    pub(super) registry: Registry,
    pub(super) events: Events,
    pub(super) ledger: Arc<Ledger>,
    pub(super) authenticator: Option<Arc<dyn Authenticator>>,
    pub(super) permissions: Arc<dyn Permissions>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) counts: ServiceCounts,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Service")
            .field("units", &self.registry)
            .finish()
    }
}

#[derive(Debug, Default)]
pub(super) struct ServiceCounts {
    pub(super) calls_late: AtomicU64,
    pub(super) calls_refused: AtomicU64,
    pub(super) calls_repeated: AtomicU64,
    pub(super) packets_refused: AtomicU64,
    pub(super) events_missed: AtomicU64,
    /// Sessions that have to sign in and have not.
    pub(super) strangers: AtomicU64,
    pub(super) strangers_closed: AtomicU64,
    pub(super) tokens_refused: AtomicU64,
    pub(super) http_requests: AtomicU64,
    pub(super) http_refused: AtomicU64,
    pub(super) streams_aborted: AtomicU64,
    pub(super) stream_bytes_in: AtomicU64,
    pub(super) stream_bytes_out: AtomicU64,
    pub(super) files_kept: AtomicU64,
    pub(super) files_sent: AtomicU64,
}

impl Service {
    /// Everything in memory, nobody asked who he is.
    pub(super) fn plain(limits: &Limits) -> Self {
        let total_bytes_max = MEMORY_BYTES_MAX.min(limits.files_bytes_max);
        Self {
            registry: Registry::new(bundled()),
            events: Events::default(),
            ledger: Arc::default(),
            authenticator: None,
            permissions: Arc::new(Everybody),
            blobs: Arc::new(Memory::new(BlobLimits {
                file_bytes_max: limits.file_bytes_max,
                total_bytes_max,
            })),
            counts: ServiceCounts::default(),
        }
    }

    /// As the options and the application say.
    pub(super) async fn new(options: &Options, application: Application) -> Result<Self, StartError> {
        check(options)?;
        let mut service = Self::plain(&options.limits);
        let units = bundled().into_iter().chain(application.units);
        service.registry = Registry::new(units);
        service.authenticator = match application.authenticator {
            Some(authenticator) => Some(authenticator),
            None => keys(&options.authentication).await?,
        };
        if options.authentication.required && service.authenticator.is_none() {
            return Err(StartError::Option {
                field: "require-authentication",
                fix: "give --jwt-key-file or --jwks-file too",
            });
        }
        if let Some(permissions) = application.permissions {
            service.permissions = permissions;
        } else if options.authentication.claimed_documents {
            service.permissions = Arc::new(ClaimedDocuments);
        }
        if let Some(blobs) = application.blobs {
            service.blobs = blobs;
        } else if let Some(data) = &options.data {
            let limits = BlobLimits {
                file_bytes_max: options.limits.file_bytes_max,
                total_bytes_max: options.limits.files_bytes_max,
            };
            let path = data.join("files");
            let directory = Directory::open(&path, limits).await;
            service.blobs = Arc::new(directory.map_err(|source| StartError::Data { path, source })?);
        }
        Ok(service)
    }

    /// Metrics in the text format of Prometheus.
    pub(super) fn metrics(&self, text: &mut String, revision: &str) {
        let counts = &self.counts;
        for (name, help, count) in [
            (
                "calls_late_total",
                "Calls that took too long.",
                &counts.calls_late,
            ),
            (
                "calls_refused_total",
                "Calls refused because too many waited.",
                &counts.calls_refused,
            ),
            (
                "calls_repeated_total",
                "Calls answered from the record.",
                &counts.calls_repeated,
            ),
            (
                "packets_refused_total",
                "Packets malformed or out of bounds.",
                &counts.packets_refused,
            ),
            (
                "events_missed_total",
                "Events that slow sessions missed.",
                &counts.events_missed,
            ),
            (
                "unauthenticated_closed_total",
                "Sessions closed because nobody signed in.",
                &counts.strangers_closed,
            ),
            (
                "tokens_refused_total",
                "Requests with a token that is not good.",
                &counts.tokens_refused,
            ),
            ("http_requests_total", "Requests to /api.", &counts.http_requests),
            (
                "http_refused_total",
                "Requests to /api refused before a call.",
                &counts.http_refused,
            ),
            (
                "streams_aborted_total",
                "Streams that this replica gave up.",
                &counts.streams_aborted,
            ),
            (
                "stream_bytes_in_total",
                "Bytes of uploads.",
                &counts.stream_bytes_in,
            ),
            (
                "stream_bytes_out_total",
                "Bytes of downloads.",
                &counts.stream_bytes_out,
            ),
            ("files_kept_total", "Uploads that were kept.", &counts.files_kept),
            (
                "files_sent_total",
                "Downloads that were begun.",
                &counts.files_sent,
            ),
        ] {
            metric(
                text,
                revision,
                name,
                "counter",
                help,
                count.load(Ordering::Relaxed),
            );
        }
        let help = "Sessions open that have to sign in and have not.";
        let strangers = counts.strangers.load(Ordering::Relaxed);
        metric(
            text,
            revision,
            "unauthenticated_sessions",
            "gauge",
            help,
            strangers,
        );
        let help = "Bytes of all files, unfinished ones included.";
        metric(text, revision, "files_bytes", "gauge", help, self.blobs.bytes());
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    let wrong = |field, fix| Err(StartError::Option { field, fix });
    if options.limits.calls_waiting_max == 0 {
        return wrong("calls-waiting-max", "give at least 1");
    }
    if options.limits.call_within.is_zero() {
        return wrong("call-within-ms", "give at least 1");
    }
    let is_origin = |text: &String| text == "*" || text.contains("://") && !text.ends_with('/');
    if !options.allow_origins.iter().all(is_origin) {
        return wrong("allow-origin", "give an origin such as https://app.example, or *");
    }
    Ok(())
}

fn metric(text: &mut String, revision: &str, name: &str, kind: &str, help: &str, value: u64) {
    let _ = writeln!(
        text,
        "# HELP pointsman_sync_{name} {help}\n# TYPE pointsman_sync_{name} {kind}"
    );
    let _ = writeln!(text, "pointsman_sync_{name}{{revision=\"{revision}\"}} {value}");
}

async fn keys(options: &AuthenticationOptions) -> Result<Option<Arc<dyn Authenticator>>, StartError> {
    let failed = |field| move |source| StartError::Keys { field, source };
    let tokens = match (&options.jwt_key_file, &options.jwks_file) {
        (None, None) => return Ok(None),
        (Some(file), None) => {
            let tokens = JsonWebTokens::from_key_file(file).await;
            tokens.map_err(failed("jwt-key-file"))?
        }
        (None, Some(file)) => {
            let tokens = JsonWebTokens::from_jwks_file(file).await;
            tokens.map_err(failed("jwks-file"))?
        }
        (Some(_), Some(_)) => {
            return Err(StartError::Option {
                field: "jwks-file",
                fix: "give one of --jwt-key-file and --jwks-file",
            });
        }
    };
    let tokens = tokens
        .audience(options.audience.clone())
        .issuer(options.issuer.clone());
    Ok(Some(Arc::new(tokens)))
}
