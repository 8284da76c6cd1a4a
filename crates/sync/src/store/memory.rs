//! Nothing survives the process: for trying, and where other replicas are enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Parts, Store, StoreError, Write};

/// Keeps documents in memory.
#[derive(Debug, Default)]
pub struct Memory {
    documents: Mutex<BTreeMap<String, Parts>>,
    values: Mutex<BTreeMap<&'static str, Bytes>>,
}

/// Whole between statements, so a poisoned lock is still usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Memory {
    fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(lock(&self.documents).keys().cloned().collect())
    }

    fn load(&self, name: &str) -> oneshot::Receiver<Result<Parts, StoreError>> {
        let (answer, loaded) = oneshot::channel();
        let parts = lock(&self.documents).get(name).cloned().unwrap_or_default();
        let _ = answer.send(Ok(parts));
        loaded
    }

    fn write(&self, name: &str, write: Write) -> oneshot::Receiver<Result<(), StoreError>> {
        let mut documents = lock(&self.documents);
        match write {
            Write::Append(deltas) => documents.entry(name.to_owned()).or_default().extend(deltas),
            Write::Snapshot(state) => {
                documents.insert(name.to_owned(), vec![state]);
            }
            Write::Erase => {
                documents.remove(name);
            }
        }
        let (answer, written) = oneshot::channel();
        let _ = answer.send(Ok(()));
        written
    }

    fn get(&self, key: &'static str) -> Result<Option<Bytes>, StoreError> {
        Ok(lock(&self.values).get(key).cloned())
    }

    fn set(&self, key: &'static str, value: &[u8]) -> Result<(), StoreError> {
        lock(&self.values).insert(key, Bytes::copy_from_slice(value));
        Ok(())
    }
}
