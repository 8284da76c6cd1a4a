//! JSON Web Tokens: signatures by `ring`, forms and claims by `jsonwebtoken`.

mod signatures;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{AuthenticationError, Authenticator, Identity};
use crate::server::hub::lock;

/// A file of keys has at most this many bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const KEYS_MAX: usize = 64;
/// A shared secret that is shorter can be guessed from one token.
const SECRET_BYTES_MIN: usize = 32;
/// Keys are read again this often, so that one that was taken away counts no longer.
const READ_EVERY: Duration = Duration::from_secs(60);
/// For a token whose key is not known, at most this often.
const UNKNOWN_EVERY: Duration = Duration::from_secs(10);
/// Clocks of two machines differ by so much at most.
const LEEWAY_S: u64 = 30;

/// Why keys cannot be used. None of these changes by itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no key.
    #[error("{} holds no usable key: {fix}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What to give instead.
        fix: String,
    },
}

/// One key, and what it may sign.
struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// Where keys come from.
#[derive(Clone)]
struct Source {
    file: PathBuf,
    /// A JSON Web Key Set, and not one key.
    set: bool,
}

/// Keys as they were read.
#[derive(Clone)]
struct Known {
    keys: Arc<[Key]>,
    read_at: Instant,
}

/// Checks JSON Web Tokens by the keys of a file, which is read again while it is used.
pub struct JsonWebTokens {
    known: Mutex<Known>,
    source: Option<Source>,
    audience: Option<String>,
    issuer: Option<String>,
}

impl std::fmt::Debug for JsonWebTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.known();
        let ids: Vec<_> = known.keys.iter().map(|key| &key.id).collect();
        formatter
            .debug_struct("JsonWebTokens")
            .field("ids", &ids)
            .finish()
    }
}

impl JsonWebTokens {
    /// Reads a file with one key: a public key in PEM (RSA, P-256, P-384 or Ed25519), or a shared secret of at least
    /// 32 bytes.
    pub async fn from_key_file(file: &Path) -> Result<Self, KeyError> {
        Self::from_file(file, false).await
    }

    /// Reads a file with a JSON Web Key Set. Keys of kinds that are not known are passed over.
    pub async fn from_jwks_file(file: &Path) -> Result<Self, KeyError> {
        Self::from_file(file, true).await
    }

    async fn from_file(file: &Path, set: bool) -> Result<Self, KeyError> {
        let source = Source {
            file: file.to_owned(),
            set,
        };
        let keys = source.read().await?;
        Ok(Self {
            source: Some(source),
            ..Self::new(keys)
        })
    }

    fn new(keys: Vec<Key>) -> Self {
        signatures::install();
        Self {
            known: Mutex::new(Known {
                keys: keys.into(),
                read_at: Instant::now(),
            }),
            source: None,
            audience: None,
            issuer: None,
        }
    }

    fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// Reads the file again when the last time is so long ago. What cannot be read now leaves the keys as they are: a file
    /// is missing for a moment while it is rotated.
    async fn read_again(&self, after: Duration) {
        let Some(source) = &self.source else { return };
        {
            let mut known = lock(&self.known);
            if known.read_at.elapsed() < after {
                return;
            }
            // Set first, so that many tokens at once read it once.
            known.read_at = Instant::now();
        }
        match source.read().await {
            Ok(keys) => lock(&self.known).keys = keys.into(),
            Err(error) => tracing::warn!(%error, "keys of tokens stay as they were"),
        }
    }

    /// Only tokens for that audience are good.
    #[must_use]
    pub fn audience(self, audience: Option<String>) -> Self {
        Self { audience, ..self }
    }

    /// Only tokens by that issuer are good.
    #[must_use]
    pub fn issuer(self, issuer: Option<String>) -> Self {
        Self { issuer, ..self }
    }

    fn check(&self, token: &str) -> Result<Identity, AuthenticationError> {
        let refused = |text: &str| AuthenticationError::Refused(text.to_owned());
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused("is no JSON Web Token"))?;
        let named = |key: &&Key| match (&header.kid, &key.id) {
            (Some(asked), Some(id)) => asked == id,
            _ => true,
        };
        let mut why = refused("is signed by nobody that is known here");
        let known = self.known();
        for key in known.keys.iter().filter(named) {
            if !key.algorithms.contains(&header.alg) {
                continue;
            }
            let validation = self.validation(key);
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(token) => return Ok(identity(token.claims)),
                Err(error) => why = refused(&format!("is refused: {error}")),
            }
        }
        Err(why)
    }

    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::default();
        validation.algorithms.clone_from(&key.algorithms);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        // A token that nobody is the audience of is for everybody only when no audience is asked for.
        validation.validate_aud = self.audience.is_some();
        validation.aud = self.audience.clone().map(|audience| [audience].into());
        validation.iss = self.issuer.clone().map(|issuer| [issuer].into());
        validation
            .required_spec_claims
            .extend(self.audience.iter().map(|_| "aud".to_owned()));
        validation
            .required_spec_claims
            .extend(self.issuer.iter().map(|_| "iss".to_owned()));
        validation
    }
}

impl Authenticator for JsonWebTokens {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, AuthenticationError>> {
        Box::pin(async move {
            self.read_again(READ_EVERY).await;
            let checked = self.check(token);
            if checked.is_ok() {
                return checked;
            }
            // It may be signed by a key that is new.
            self.read_again(UNKNOWN_EVERY).await;
            self.check(token)
        })
    }
}

fn identity(claims: Map<String, Value>) -> Identity {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    Identity {
        subject: subject.to_owned(),
        expires_s: claims
            .get("exp")
            .and_then(Value::as_u64)
            .map(|end| end.saturating_add(LEEWAY_S)),
        claims,
    }
}

impl Source {
    async fn read(&self) -> Result<Vec<Key>, KeyError> {
        let bytes = read(&self.file).await?;
        let keys = if self.set {
            key_set(&bytes)
        } else if bytes.starts_with(b"-----BEGIN") {
            pem(&bytes).map(|key| vec![key])
        } else {
            secret(bytes.trim_ascii_end()).map(|key| vec![key])
        };
        keys.map_err(|fix| KeyError::Key {
            file: self.file.clone(),
            fix,
        })
    }
}

fn key_set(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(bytes)
        .map_err(|error| format!("give a JSON Web Key Set, {{\"keys\": […]}}: {error}"))?;
    let keys = set.keys.iter().take(KEYS_MAX).filter_map(|jwk| {
        let key = DecodingKey::from_jwk(jwk).ok()?;
        if key.family() == AlgorithmFamily::Hmac && key.try_get_as_bytes().ok()?.len() < SECRET_BYTES_MIN {
            return None;
        }
        let named = jwk.common.key_algorithm;
        let algorithms = match named.map(|named| named.to_string().parse()) {
            Some(algorithm) => vec![algorithm.ok()?],
            None => algorithms(&key)?,
        };
        let id = jwk.common.key_id.clone();
        Some(Key { id, key, algorithms })
    });
    let keys: Vec<Key> = keys.collect();
    if keys.is_empty() {
        return Err("give RSA, P-256, P-384 or Ed25519 keys".to_owned());
    }
    Ok(keys)
}

async fn read(file: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::Read {
        file: file.to_owned(),
        source,
    };
    let bytes = tokio::fs::metadata(file).await.map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let text = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(failed(std::io::Error::other(text)));
    }
    tokio::fs::read(file).await.map_err(failed)
}

fn pem(bytes: &[u8]) -> Result<Key, String> {
    let parsed = DecodingKey::from_ec_pem(bytes)
        .or_else(|_| DecodingKey::from_ed_pem(bytes))
        .or_else(|_| DecodingKey::from_rsa_pem(bytes));
    let key = parsed.map_err(|_| "give a public key in PEM: RSA, P-256, P-384 or Ed25519".to_owned())?;
    let algorithms = algorithms(&key).ok_or_else(|| "this curve is not supported".to_owned())?;
    Ok(Key {
        id: None,
        key,
        algorithms,
    })
}

fn secret(bytes: &[u8]) -> Result<Key, String> {
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "give a public key in PEM, or a secret of at least {SECRET_BYTES_MIN} bytes"
        ));
    }
    Ok(Key {
        id: None,
        key: DecodingKey::from_secret(bytes),
        algorithms: vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
    })
}

/// What a key of its kind may sign. Never mixed between kinds: a public key must not be taken for a shared secret.
fn algorithms(key: &DecodingKey) -> Option<Vec<Algorithm>> {
    Some(match key.family() {
        AlgorithmFamily::Hmac => vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        AlgorithmFamily::Rsa => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        // A point without compression: one byte and twice the size of the field.
        AlgorithmFamily::Ec => match key.try_get_as_bytes().ok()?.len() {
            65 => vec![Algorithm::ES256],
            97 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmFamily::Ed => vec![Algorithm::EdDSA],
    })
}

#[cfg(test)]
mod tests;
