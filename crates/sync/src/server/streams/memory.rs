//! Files in memory: for trying and testing. They end with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;

use super::{Blob, BlobError, BlobLimits, BlobReader, BlobWriter, Blobs, Budget, admit, is_name};
use crate::server::hub::lock;

/// Files in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: BlobLimits,
    budget: Budget,
    files: Mutex<BTreeMap<String, Bytes>>,
}

impl Memory {
    /// No files yet.
    #[must_use]
    pub fn new(limits: BlobLimits) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                budget: Budget::default(),
                files: Mutex::default(),
            }),
        }
    }
}

impl Blobs for Memory {
    fn create<'a>(
        &'a self,
        name: &'a str,
        size: u64,
    ) -> BoxFuture<'a, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move {
            admit(name, size, self.inner.limits)?;
            self.inner.budget.take(size, self.inner.limits.total_bytes_max)?;
            let writer: Box<dyn BlobWriter> = Box::new(Writer {
                inner: Arc::clone(&self.inner),
                name: name.to_owned(),
                size,
                bytes: BytesMut::new(),
                kept: false,
            });
            Ok(writer)
        })
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Blob, BlobError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(BlobError::Name);
            }
            let found = lock(&self.inner.files).get(name).cloned();
            let bytes = found.ok_or_else(|| BlobError::Unknown(name.to_owned()))?;
            Ok(Blob {
                size: bytes.len() as u64,
                reader: Box::new(Reader(bytes)),
            })
        })
    }

    fn bytes(&self) -> u64 {
        self.inner.budget.used()
    }
}

struct Writer {
    inner: Arc<Inner>,
    name: String,
    size: u64,
    bytes: BytesMut,
    kept: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.kept {
            self.inner.budget.give_back(self.size);
        }
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            let got = (self.bytes.len() as u64).saturating_add(chunk.len() as u64);
            if got > self.size {
                return Err(BlobError::Size {
                    expected: self.size,
                    got,
                });
            }
            self.bytes.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        Box::pin(async move {
            let got = self.bytes.len() as u64;
            if got != self.size {
                return Err(BlobError::Size {
                    expected: self.size,
                    got,
                });
            }
            let bytes = std::mem::take(&mut self.bytes).freeze();
            let name = std::mem::take(&mut self.name);
            let replaced = lock(&self.inner.files).insert(name, bytes);
            self.kept = true;
            if let Some(replaced) = replaced {
                self.inner.budget.give_back(replaced.len() as u64);
            }
            Ok(())
        })
    }
}

struct Reader(Bytes);

impl BlobReader for Reader {
    fn read(&mut self, bytes_max: usize) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        let bytes = self.0.split_to(bytes_max.min(self.0.len()));
        Box::pin(async move { Ok(bytes) })
    }
}
