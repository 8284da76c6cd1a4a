//! Following a rollout. Three watches and a slow heartbeat feed one picture; an API server that goes away is said and
//! waited for. The heartbeat finds what watches miss: a connection that died without a word.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, select_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher::watcher};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::goal::{Ended, Goal};
use crate::view::Family;

mod screen;

pub use screen::Screen;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// A picture is not drawn more often than this, and at least as often as the other, for the times in it.
const DRAW_EVERY_MIN: Duration = Duration::from_millis(100);
const DRAW_EVERY_MAX: Duration = Duration::from_secs(1);

/// One thing that was heard.
enum Heard {
    Rollout(Box<Result<Event<Rollout>, watcher::Error>>),
    Deployment(Box<Result<Event<Deployment>, watcher::Error>>),
    Pod(Box<Result<Event<Pod>, watcher::Error>>),
    Heartbeat(Box<Result<Rollout, Error>>),
}

/// Follows a rollout until the goal is met or missed, or time is up.
pub async fn follow(
    cluster: &Cluster,
    name: &str,
    mut goal: Goal,
    timeout: Option<Duration>,
) -> Result<Ended, Error> {
    // The first look is a plain one: it says at once, and in words, when there is nothing to follow.
    let family = cluster.family(name).await?;
    let mut picture = Picture::new(family, Screen::detect());
    picture.draw()?;
    if let Some(ended) = goal.judge(&picture.family.rollout) {
        return Ok(ended);
    }
    let listening = listen(cluster, name, &mut picture, &mut goal);
    let ended = match timeout {
        None => listening.await,
        Some(timeout) => match tokio::time::timeout(timeout, listening).await {
            Ok(ended) => ended,
            Err(_) => Ok(Goal::late(&picture.family.rollout)),
        },
    }?;
    picture.draw()?;
    Ok(ended)
}

async fn listen(
    cluster: &Cluster,
    name: &str,
    picture: &mut Picture,
    goal: &mut Goal,
) -> Result<Ended, Error> {
    let mut heard = sources(cluster, name);
    let mut tick = tokio::time::interval(DRAW_EVERY_MIN);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut drawn = tokio::time::Instant::now();
    let mut stale = false;
    loop {
        tokio::select! {
            one = heard.next() => {
                // Watches never end by themselves; if all did, waiting on would be for ever.
                let Some(one) = one else { return Ok(Goal::late(&picture.family.rollout)) };
                stale = true;
                if picture.take(one)? {
                    // A change of the rollout is never skipped, however fast the next one comes.
                    if !picture.screen.is_terminal() {
                        picture.draw()?;
                    }
                    if let Some(ended) = goal.judge(&picture.family.rollout) {
                        return Ok(ended);
                    }
                }
            }
            _ = tick.tick() => {
                if stale || drawn.elapsed() >= DRAW_EVERY_MAX {
                    picture.draw()?;
                    drawn = tokio::time::Instant::now();
                    stale = false;
                }
            }
        }
    }
}

fn sources(cluster: &Cluster, name: &str) -> futures::stream::SelectAll<BoxStream<'static, Heard>> {
    let rollout = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let ours = watcher::Config::default().labels(&format!("{}={name}", labels::ROLLOUT));
    select_all([
        watched(cluster.rollouts(), rollout, |event| {
            Heard::Rollout(Box::new(event))
        }),
        watched(cluster.deployments(), ours.clone(), |event| {
            Heard::Deployment(Box::new(event))
        }),
        watched(cluster.pods(), ours, |event| Heard::Pod(Box::new(event))),
        heartbeat(cluster.clone(), name.to_owned()),
    ])
}

fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
    heard: fn(Result<Event<K>, watcher::Error>) -> Heard,
) -> BoxStream<'static, Heard>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).default_backoff().map(heard).boxed()
}

fn heartbeat(cluster: Cluster, name: String) -> BoxStream<'static, Heard> {
    futures::stream::unfold((cluster, name), |(cluster, name)| async move {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        let answer = match tokio::time::timeout(HEARTBEAT_EVERY, cluster.rollout(&name)).await {
            Ok(Err(Error::NotFound { .. })) => Err(Error::Deleted(name.clone())),
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                server: cluster.server.clone(),
                why: format!("no answer within {} s", HEARTBEAT_EVERY.as_secs()),
            }),
        };
        Some((Heard::Heartbeat(Box::new(answer)), (cluster, name)))
    })
    .boxed()
}

/// Everything that is known, and where it is shown.
struct Picture {
    family: Family,
    deployments: Kept<Deployment>,
    pods: Kept<Pod>,
    screen: Screen,
}

impl Picture {
    fn new(family: Family, screen: Screen) -> Self {
        Self {
            deployments: Kept::new(&family.deployments),
            pods: Kept::new(&family.pods),
            family,
            screen,
        }
    }

    fn draw(&mut self) -> Result<(), Error> {
        self.screen.show(&self.family, Timestamp::now())?;
        Ok(())
    }

    /// Takes in what was heard; true when it was about the rollout itself.
    fn take(&mut self, heard: Heard) -> Result<bool, Error> {
        match heard {
            Heard::Rollout(event) => match *event {
                Ok(Event::Apply(rollout) | Event::InitApply(rollout)) => {
                    self.screen.connected()?;
                    // A watch that begins again tells once more what a heartbeat has told already.
                    let news = version(&rollout) >= version(&self.family.rollout);
                    if news {
                        self.family.rollout = rollout;
                    }
                    return Ok(news);
                }
                Ok(Event::Delete(rollout)) => return Err(Error::Deleted(rollout.name_any())),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => self.trouble(&error)?,
            },
            Heard::Heartbeat(answer) => match *answer {
                Ok(rollout) => {
                    self.screen.connected()?;
                    let newer = version(&rollout) > version(&self.family.rollout);
                    if newer {
                        self.family.rollout = rollout;
                    }
                    return Ok(newer);
                }
                Err(error) if error.passes() => self.screen.trouble(&error.line())?,
                Err(error) => return Err(error),
            },
            Heard::Deployment(event) => match *event {
                Ok(event) => {
                    if self.deployments.take(event) {
                        self.family.deployments = self.deployments.all();
                    }
                }
                Err(error) => self.trouble(&error)?,
            },
            Heard::Pod(event) => match *event {
                Ok(event) => {
                    if self.pods.take(event) {
                        self.family.pods = self.pods.all();
                    }
                }
                Err(error) => self.trouble(&error)?,
            },
        }
        Ok(false)
    }

    /// A watch ended with an error; it begins again by itself, later and later.
    fn trouble(&mut self, error: &watcher::Error) -> Result<(), Error> {
        let cause = match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => cause,
            // The server ends a watch whose version is too old; the next list mends it.
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return Ok(()),
        };
        // What may not be seen was said at the first look; an outage shows in the heartbeat, too.
        let connection = !matches!(cause, kube::Error::Api(status) if status.code < 500);
        if connection {
            let mut source: &dyn std::error::Error = cause;
            while let Some(inner) = source.source() {
                source = inner;
            }
            let text = source.to_string();
            self.screen.trouble(&text)?;
        }
        Ok(())
    }
}

/// Versions count up within one kind of object since Kubernetes says so; one that is not a number is the newest.
fn version(rollout: &Rollout) -> u64 {
    let version = rollout.metadata.resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(u64::MAX)
}

/// The objects of one watch.
struct Kept<K> {
    now: BTreeMap<String, K>,
    coming: BTreeMap<String, K>,
}

impl<K: kube::Resource + Clone> Kept<K> {
    fn new(items: &[K]) -> Self {
        Self {
            now: items.iter().map(|item| (item.name_any(), item.clone())).collect(),
            coming: BTreeMap::new(),
        }
    }

    fn all(&self) -> Vec<K> {
        self.now.values().cloned().collect()
    }

    /// Takes an event in; true when what is known changed. A new list replaces the old one as a whole.
    fn take(&mut self, event: Event<K>) -> bool {
        match event {
            Event::Init => {
                self.coming.clear();
                false
            }
            Event::InitApply(item) => {
                self.coming.insert(item.name_any(), item);
                false
            }
            Event::InitDone => {
                self.now = std::mem::take(&mut self.coming);
                true
            }
            Event::Apply(item) => {
                self.now.insert(item.name_any(), item);
                true
            }
            Event::Delete(item) => self.now.remove(&item.name_any()).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
