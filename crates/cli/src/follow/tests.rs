use super::*;
use kube::core::Status;
use pointsman_api::rollout::{PhaseName, RolloutStatus};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Output that can be read back.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// The lines without their time.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_at(9).1.to_owned()).collect()
    }
}

fn rollout(version: &str, step: i32) -> Rollout {
    let mut rollout = Rollout::new("chat", Default::default());
    rollout.metadata.resource_version = Some(version.to_owned());
    rollout.status = Some(RolloutStatus {
        phase: Some(PhaseName::Stepping),
        step: Some(format!("{step}/5")),
        message: Some("on its way".to_owned()),
        ..RolloutStatus::default()
    });
    rollout
}

fn picture() -> (Picture, Paper) {
    let paper = Paper::default();
    let family = Family {
        rollout: rollout("7", 1),
        ..Family::default()
    };
    (Picture::new(family, Screen::plain(paper.clone())), paper)
}

fn heard(event: Event<Rollout>) -> Heard {
    Heard::Rollout(Box::new(Ok(event)))
}

fn refused(code: u16) -> kube::Error {
    kube::Error::Api(Box::new(Status::failure("no", "no").with_code(code)))
}

#[test]
fn a_line_is_printed_per_change() {
    let (mut picture, paper) = picture();
    picture.draw().unwrap();
    for (version, step) in [("8", 1), ("9", 2), ("10", 2)] {
        assert!(picture.take(heard(Event::Apply(rollout(version, step)))).unwrap());
        picture.draw().unwrap();
    }
    assert_eq!(
        paper.lines(),
        ["Stepping 1/5  on its way", "Stepping 2/5  on its way"]
    );
}

#[test]
fn an_outage_is_said_once_and_so_is_its_end() {
    let (mut picture, paper) = picture();
    let down = || watcher::Error::WatchStartFailed(kube::Error::Service("connection refused".into()));
    for _ in 0..3 {
        picture.take(Heard::Rollout(Box::new(Err(down())))).unwrap();
    }
    let away = Error::Unreachable {
        server: "https://here".to_owned(),
        why: "no answer".to_owned(),
    };
    picture.take(Heard::Heartbeat(Box::new(Err(away)))).unwrap();
    assert!(
        picture
            .take(Heard::Heartbeat(Box::new(Ok(rollout("8", 2)))))
            .unwrap()
    );
    picture.draw().unwrap();
    assert_eq!(
        paper.lines(),
        [
            "reconnecting: connection refused",
            "connected again",
            "Stepping 2/5  on its way"
        ]
    );
}

#[test]
fn a_watch_that_only_begins_again_is_no_outage() {
    let (mut picture, paper) = picture();
    for error in [
        watcher::Error::WatchError(Box::new(Status::failure("too old", "Expired").with_code(410))),
        watcher::Error::InitialListFailed(refused(403)),
    ] {
        picture.take(Heard::Rollout(Box::new(Err(error)))).unwrap();
    }
    assert!(paper.lines().is_empty());
}

#[test]
fn time_never_turns_back() {
    let (mut picture, _) = picture();
    assert!(!picture.take(heard(Event::Apply(rollout("6", 0)))).unwrap());
    assert!(
        !picture
            .take(Heard::Heartbeat(Box::new(Ok(rollout("6", 0)))))
            .unwrap()
    );
    assert_eq!(version(&picture.family.rollout), 7);
}

#[test]
fn a_deleted_rollout_ends_it() {
    let (mut picture, _) = picture();
    let error = picture.take(heard(Event::Delete(rollout("8", 1)))).unwrap_err();
    assert_eq!(error.line(), "rollout chat was deleted");
}

#[test]
fn a_new_list_replaces_the_old_one_as_a_whole() {
    let pod = |name: &str| {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod
    };
    let mut kept = Kept::new(&[pod("gone"), pod("stays")]);
    assert!(!kept.take(Event::Init));
    assert!(!kept.take(Event::InitApply(pod("stays"))));
    assert_eq!(kept.all().len(), 2, "nothing flickers while a list is read");
    assert!(kept.take(Event::InitDone));
    let names: Vec<String> = kept.all().iter().map(|pod| pod.name_any()).collect();
    assert_eq!(names, ["stays"]);
    assert!(kept.take(Event::Delete(pod("stays"))));
    assert!(kept.all().is_empty());
}
