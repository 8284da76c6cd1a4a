//! Files in a directory. A file is written under a temporary name, synced, and renamed: after a crash it is there whole
//! or not at all, and what was left unfinished is removed at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use super::{Blob, BlobError, BlobLimits, BlobReader, BlobWriter, Blobs, Budget, admit, is_name};

/// No file may have such a name.
const UNFINISHED: &str = ".unfinished-";

/// Files in a directory.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limits: BlobLimits,
    budget: Budget,
    /// Held while a file takes a name, so that the size of the one that it replaces is known.
    naming: Mutex<()>,
}

impl Directory {
    /// Opens the directory, makes it when it is not there, removes what was left unfinished and counts what is there.
    pub async fn open(path: &Path, limits: BlobLimits) -> Result<Self, std::io::Error> {
        tokio::fs::create_dir_all(path).await?;
        let budget = Budget::default();
        let mut entries = tokio::fs::read_dir(path).await?;
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                tokio::fs::remove_file(entry.path()).await?;
            } else {
                // More than the bound is kept, and nothing new is taken.
                let bytes = entry.metadata().await?.len();
                let _ = budget.take(bytes, u64::MAX);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                limits,
                budget,
                naming: Mutex::default(),
            }),
        })
    }
}

impl Blobs for Directory {
    fn create<'a>(
        &'a self,
        name: &'a str,
        size: u64,
    ) -> BoxFuture<'a, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move {
            admit(name, size, self.inner.limits)?;
            self.inner.budget.take(size, self.inner.limits.total_bytes_max)?;
            let unfinished = format!("{UNFINISHED}{:032x}", rand::random::<u128>());
            // Made before the file, so that whatever fails now is taken back by its end.
            let mut writer = Box::new(Writer {
                inner: Arc::clone(&self.inner),
                path: self.inner.path.join(unfinished),
                name: name.to_owned(),
                size,
                got: 0,
                file: None,
                kept: false,
            });
            writer.file = Some(File::create_new(&writer.path).await?);
            let writer: Box<dyn BlobWriter> = writer;
            Ok(writer)
        })
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Blob, BlobError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(BlobError::Name);
            }
            let unknown = |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::NotFound => BlobError::Unknown(name.to_owned()),
                _ => BlobError::Disk(error),
            };
            let file = File::open(self.inner.path.join(name)).await.map_err(unknown)?;
            let about = file.metadata().await?;
            if !about.is_file() {
                return Err(BlobError::Unknown(name.to_owned()));
            }
            Ok(Blob {
                size: about.len(),
                reader: Box::new(Reader(file)),
            })
        })
    }

    fn bytes(&self) -> u64 {
        self.inner.budget.used()
    }
}

struct Writer {
    inner: Arc<Inner>,
    path: PathBuf,
    name: String,
    size: u64,
    got: u64,
    file: Option<File>,
    kept: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.kept {
            // One unlink, which waits for no data; a failure is made good at the next start.
            let _ = std::fs::remove_file(&self.path);
            self.inner.budget.give_back(self.size);
        }
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            let got = self.got.saturating_add(chunk.len() as u64);
            if got > self.size {
                return Err(BlobError::Size {
                    expected: self.size,
                    got,
                });
            }
            let closed = || std::io::Error::other("the file is closed");
            let file = self.file.as_mut().ok_or_else(closed)?;
            file.write_all(&chunk).await?;
            self.got = got;
            Ok(())
        })
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        Box::pin(async move {
            if self.got != self.size {
                return Err(BlobError::Size {
                    expected: self.size,
                    got: self.got,
                });
            }
            let closed = || std::io::Error::other("the file is closed");
            let mut file = self.file.take().ok_or_else(closed)?;
            file.flush().await?;
            file.sync_all().await?;
            let target = self.inner.path.join(&self.name);
            let naming = self.inner.naming.lock().await;
            let replaced = match tokio::fs::symlink_metadata(&target).await {
                Ok(about) => about.len(),
                Err(_) => 0,
            };
            tokio::fs::rename(&self.path, &target).await?;
            drop(naming);
            self.kept = true;
            self.inner.budget.give_back(replaced);
            // The name is on disk once its directory is.
            File::open(&self.inner.path).await?.sync_all().await?;
            Ok(())
        })
    }
}

struct Reader(File);

impl BlobReader for Reader {
    fn read(&mut self, bytes_max: usize) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        Box::pin(async move {
            let mut bytes = BytesMut::with_capacity(bytes_max);
            let mut part = (&mut self.0).take(bytes_max as u64);
            while part.read_buf(&mut bytes).await? > 0 && bytes.len() < bytes_max {}
            Ok(bytes.freeze())
        })
    }
}
