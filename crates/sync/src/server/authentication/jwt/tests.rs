use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token that never ends within any test, signed by whatever `sign` does.
fn token(head: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let claims = json!({"sub": "ann", "exp": 4_000_000_000_u64});
    let message = format!(
        "{}.{}",
        base64(head.to_string().as_bytes()),
        base64(claims.to_string().as_bytes())
    );
    let signed = sign(message.as_bytes());
    format!("{message}.{}", base64(&signed))
}

struct File(PathBuf);

impl File {
    fn new(bytes: impl AsRef<[u8]>) -> Self {
        let name = format!("pointsman-key-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ed() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

fn ec() -> EcdsaKeyPair {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

fn sign_ec(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn refused(keys: &JsonWebTokens, token: &str) -> bool {
    matches!(keys.check(token), Err(AuthenticationError::Refused(_)))
}

#[tokio::test]
async fn keys_of_a_set_are_found_by_their_ids() {
    let (one, two) = (ed(), ec());
    let (x, y) = two.public_key().as_ref()[1..].split_at(32);
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": base64(one.public_key().as_ref())},
        {"kty": "EC", "crv": "P-256", "kid": "two", "alg": "ES256", "x": base64(x), "y": base64(y)},
    ]});
    let file = File::new(set.to_string());
    let keys = JsonWebTokens::from_jwks_file(&file.0).await.unwrap();
    let by_one = |head: Value| token(&head, |message| one.sign(message).as_ref().to_vec());
    let by_two = |head: Value| token(&head, |message| sign_ec(&two, message));
    for good in [
        by_one(json!({"alg": "EdDSA", "kid": "one"})),
        by_one(json!({"alg": "EdDSA"})),
        by_two(json!({"alg": "ES256", "kid": "two"})),
    ] {
        assert_eq!(keys.check(&good).unwrap().subject, "ann");
    }
    for bad in [
        by_one(json!({"alg": "EdDSA", "kid": "two"})),
        by_one(json!({"alg": "EdDSA", "kid": "three"})),
        by_two(json!({"alg": "EdDSA", "kid": "one"})),
        by_two(json!({"alg": "ES384"})),
        by_two(json!({"alg": "HS256"})),
    ] {
        assert!(refused(&keys, &bad), "{bad}");
    }
    let good = by_one(json!({"alg": "EdDSA", "kid": "one"}));
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signed) = rest.split_once('.').unwrap();
    let changed = base64(
        json!({"sub": "root", "exp": 4_000_000_000_u64})
            .to_string()
            .as_bytes(),
    );
    assert!(refused(&keys, &format!("{head}.{changed}.{signed}")));
}

/// The oldest trick: a public key, which everybody has, is taken for a shared secret.
#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let key = ec();
    let mut der = vec![
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    der.extend_from_slice(key.public_key().as_ref());
    let body = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let file = File::new(&pem);
    let keys = JsonWebTokens::from_key_file(&file.0).await.unwrap();
    let good = token(&json!({"alg": "ES256"}), |message| sign_ec(&key, message));
    assert!(keys.check(&good).is_ok());
    for secret in [pem.as_bytes(), key.public_key().as_ref()] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let forged = token(&json!({"alg": "HS256"}), |message| {
            ring::hmac::sign(&key, message).as_ref().to_vec()
        });
        assert!(refused(&keys, &forged));
    }
}

#[tokio::test]
async fn rsa_keys_check_what_they_signed() {
    let file = File::new(include_bytes!("rsa.pem"));
    let keys = JsonWebTokens::from_key_file(&file.0).await.unwrap();
    let good = include_str!("rsa.token").trim();
    assert_eq!(keys.check(good).unwrap().subject, "ann");
    let (message, _) = good.rsplit_once('.').unwrap();
    assert!(refused(&keys, &format!("{message}.{}", base64(&[7; 256]))));
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = JsonWebTokens::new(vec![secret(&[1; 32]).unwrap()]);
    for bad in ["", ".", "..", "a.b.c", "e30.e30.", "e30.e30.e30", "\u{fffd}.x.y"] {
        assert!(refused(&keys, bad), "{bad:?}");
    }
    assert!(secret(&[1; 31]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_counts_once_it_is_in_the_file_and_an_old_one_until_it_is_not() {
    let (old, new) = ([1; 32], [2; 32]);
    let by = |secret: &[u8]| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        token(&json!({"alg": "HS256"}), |message| {
            ring::hmac::sign(&key, message).as_ref().to_vec()
        })
    };
    let file = File::new(old);
    let keys = JsonWebTokens::from_key_file(&file.0).await.unwrap();
    assert!(keys.authenticate(&by(&new)).await.is_err());
    std::fs::write(&file.0, new).unwrap();
    // Read a moment ago: somebody who tries tokens must not make us read a file for each.
    assert!(keys.authenticate(&by(&new)).await.is_err());
    assert!(keys.authenticate(&by(&old)).await.is_ok());
    tokio::time::advance(UNKNOWN_EVERY).await;
    assert!(keys.authenticate(&by(&new)).await.is_ok());
    assert!(keys.authenticate(&by(&old)).await.is_err());

    std::fs::write(&file.0, "short").unwrap();
    tokio::time::advance(READ_EVERY).await;
    assert!(
        keys.authenticate(&by(&new)).await.is_ok(),
        "a broken file changes nothing"
    );
    std::fs::write(&file.0, old).unwrap();
    tokio::time::advance(READ_EVERY).await;
    assert!(keys.authenticate(&by(&new)).await.is_err(), "taken away");
}
