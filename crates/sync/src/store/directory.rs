//! Documents in one file of a directory (redb). One thread owns it; writes that come while it is busy go to the disk
//! together, so that one flush serves them all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

use super::{Parts, Store, StoreError, Write};

/// Parts by name and number; the first is the snapshot or the first delta, their order is that of writing.
const PARTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("parts-1");
/// Small values of the replica.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values-1");
const FILE: &str = "documents.redb";
/// Writes of one flush.
const TOGETHER_MAX: usize = 1_024;

enum Job {
    Load {
        name: String,
        answer: oneshot::Sender<Result<Parts, StoreError>>,
    },
    Write {
        name: String,
        write: Write,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// Documents in a directory.
#[derive(Debug)]
pub struct Directory {
    database: Arc<Database>,
    /// `None` once it ends.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Directory {
    /// Waits for what is on its way to the disk, so that the directory may be opened again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string().into())
}

impl Directory {
    /// Opens the directory and makes it if need be. Only one process may have it open.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(FILE);
        let refused = |path: PathBuf| move |reason: String| StoreError::Open { path, reason };
        std::fs::create_dir_all(path).map_err(|error| refused(path.to_owned())(error.to_string()))?;
        let database = Database::create(&file).map_err(|error| refused(file.clone())(error.to_string()))?;
        let begin = database.begin_write().map_err(failed)?;
        begin.open_table(PARTS).map_err(failed)?;
        begin.open_table(VALUES).map_err(failed)?;
        begin.commit().map_err(failed)?;
        let database = Arc::new(database);
        let (jobs, work) = channel();
        let owned = Arc::clone(&database);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(&owned, &work))
            .map_err(|error| refused(path.to_owned())(error.to_string()))?;
        Ok(Self {
            database,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // An ended thread drops the job, and with it the answer.
            let _ = jobs.send(job);
        }
    }
}

impl Store for Directory {
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let parts = read.open_table(PARTS).map_err(failed)?;
        let mut names: Vec<String> = Vec::new();
        for part in parts.iter().map_err(failed)? {
            let (key, _) = part.map_err(failed)?;
            let (name, _) = key.value();
            if names.last().map(String::as_str) != Some(name) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn load(&self, name: &str) -> oneshot::Receiver<Result<Parts, StoreError>> {
        let (answer, loaded) = oneshot::channel();
        let name = name.to_owned();
        self.send(Job::Load { name, answer });
        loaded
    }

    fn write(&self, name: &str, write: Write) -> oneshot::Receiver<Result<(), StoreError>> {
        let (answer, written) = oneshot::channel();
        let name = name.to_owned();
        self.send(Job::Write { name, write, answer });
        written
    }

    fn get(&self, key: &'static str) -> Result<Option<Bytes>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let values = read.open_table(VALUES).map_err(failed)?;
        let value = values.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn set(&self, key: &'static str, value: &[u8]) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        write
            .open_table(VALUES)
            .and_then(|mut values| Ok(values.insert(key, value).map(drop)?))
            .map_err(failed)?;
        write.commit().map_err(failed)
    }
}

/// Until nobody has jobs any more.
fn serve(database: &Database, work: &Receiver<Job>) {
    while let Ok(first) = work.recv() {
        let mut loads = Vec::new();
        let mut writes = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                // A load sees what was written before it, so it ends the gathering.
                Job::Load { name, answer } => loads.push((name, answer)),
                Job::Write { name, write, answer } => writes.push((name, write, answer)),
            }
            if loads.is_empty() && writes.len() < TOGETHER_MAX {
                next = work.try_recv().ok();
            }
        }
        if !writes.is_empty() {
            let (orders, answers): (Vec<_>, Vec<_>) = writes
                .into_iter()
                .map(|(name, write, answer)| ((name, write), answer))
                .unzip();
            let written = write_all(database, &orders);
            for answer in answers {
                // Nobody has to wait.
                let _ = answer.send(written.clone());
            }
        }
        for (name, answer) in loads {
            let _ = answer.send(load(database, &name));
        }
    }
}

fn load(database: &Database, name: &str) -> Result<Parts, StoreError> {
    let read = database.begin_read().map_err(failed)?;
    let table = read.open_table(PARTS).map_err(failed)?;
    let mut parts = Vec::new();
    for part in table.range((name, 0)..=(name, u64::MAX)).map_err(failed)? {
        let (_, bytes) = part.map_err(failed)?;
        parts.push(Bytes::copy_from_slice(bytes.value()));
    }
    Ok(parts)
}

fn write_all(database: &Database, writes: &[(String, Write)]) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    for (name, write) in writes {
        write_one(&transaction, name, write).map_err(failed)?;
    }
    // Returns once it is on the disk.
    transaction.commit().map_err(failed)
}

fn write_one(transaction: &WriteTransaction, name: &str, write: &Write) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(PARTS)?;
    let range = (name, 0)..=(name, u64::MAX);
    let (deltas, keep) = match write {
        Write::Append(deltas) => (deltas.as_slice(), true),
        Write::Snapshot(state) => (std::slice::from_ref(state), false),
        Write::Erase => (&[][..], false),
    };
    if !keep {
        table.retain_in(range.clone(), |_, _| false)?;
    }
    let last = table.range(range)?.next_back().transpose()?;
    let mut number = last.map_or(0, |(key, _)| key.value().1.saturating_add(1));
    for delta in deltas {
        table.insert((name, number), delta.as_ref())?;
        number = number.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn what_is_confirmed_is_there_when_the_directory_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Directory::open(directory.path()).unwrap();
        let store = open();
        let written = [
            store.write("a", Write::Append(vec![bytes("1"), bytes("2")])),
            store.write("b", Write::Append(vec![bytes("x")])),
            store.write("a", Write::Append(vec![bytes("3")])),
            store.write("ab", Write::Snapshot(bytes("y"))),
        ];
        for written in written {
            written.await.unwrap().unwrap();
        }
        store.set("replica", b"7").unwrap();
        drop(store);
        let store = open();
        assert_eq!(store.names().unwrap(), ["a", "ab", "b"]);
        assert_eq!(store.load("a").await.unwrap().unwrap(), ["1", "2", "3"]);
        assert_eq!(store.get("replica").unwrap().unwrap(), "7");
        store
            .write("a", Write::Snapshot(bytes("123")))
            .await
            .unwrap()
            .unwrap();
        store
            .write("a", Write::Append(vec![bytes("4")]))
            .await
            .unwrap()
            .unwrap();
        store.write("b", Write::Erase).await.unwrap().unwrap();
        drop(store);
        let store = open();
        assert_eq!(store.load("a").await.unwrap().unwrap(), ["123", "4"]);
        assert_eq!(store.load("b").await.unwrap().unwrap(), Parts::new());
        assert_eq!(store.names().unwrap(), ["a", "ab"]);
    }

    #[tokio::test]
    async fn a_directory_that_another_has_open_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let _store = Directory::open(directory.path()).unwrap();
        let refused = Directory::open(directory.path()).unwrap_err().to_string();
        assert!(refused.starts_with("data: "), "{refused}");
    }
}
