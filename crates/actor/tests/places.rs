//! One suite of promises, run over every place; then what is special to one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "places/clock.rs"]
mod clock;
#[path = "places/delivery.rs"]
mod delivery;
#[path = "places/endings.rs"]
mod endings;
#[path = "places/failures.rs"]
mod failures;
#[path = "places/probe.rs"]
mod probe;
#[path = "places/processes.rs"]
mod processes;

use pointsman_actor::{Registry, Task, ThreadPool, Worker, WorkerSettings, is_worker, serve};

/// A worker is this test program again, with only this test.
#[test]
fn worker() {
    if is_worker() {
        // Probes panic when they are told to, which needs no backtrace.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let registry = Registry::new().with::<probe::Probe>();
        runtime.block_on(serve(&registry)).unwrap();
    }
}

/// This program as a worker, by way of a shell that keeps its reports of tests out of ours.
pub fn worker_settings() -> WorkerSettings {
    let mut settings = WorkerSettings::same_program().unwrap();
    let program = std::mem::replace(&mut settings.program, "sh".into());
    let test = ["worker", "--exact", "--nocapture", "--test-threads=1"];
    settings.arguments = ["-c", "exec \"$0\" \"$@\" > /dev/null"].map(Into::into).to_vec();
    settings.arguments.push(program.into());
    settings.arguments.extend(test.map(Into::into));
    settings.supervision = failures::restart();
    settings
}

macro_rules! at_every_place {
    ($($module:ident::$promise:ident),* $(,)?) => {
        mod task {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                probe::within($module::$promise(Task)).await;
            })*
        }
        mod threads {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let pool = ThreadPool::new("test", 3).unwrap();
                probe::within($module::$promise(&pool)).await;
                pool.shut_down();
            })*
        }
        mod process {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                let worker = Worker::start(worker_settings()).unwrap();
                probe::within($module::$promise(&worker)).await;
                assert!(worker.starts() <= 1, "the worker did not fail");
                probe::within(worker.stop()).await;
            })*
        }
    };
}

at_every_place! {
    delivery::messages_of_one_sender_arrive_in_order,
    delivery::one_message_at_a_time_across_awaits,
    delivery::a_full_mailbox_refuses_or_waits,
    delivery::waiting_senders_are_served_in_turn,
    delivery::an_ask_has_a_deadline,
    delivery::a_dropped_reply_address_is_no_answer,
    delivery::a_reply_address_is_forwarded_to_a_third_actor,
    delivery::a_reply_address_is_kept_and_answered_later,
    delivery::a_message_to_itself_comes_later,
    failures::a_failure_restarts_and_the_mailbox_survives,
    failures::a_panic_is_a_failure,
    failures::a_failure_ends_it_without_supervision,
    failures::too_many_restarts_end_it,
    failures::a_failed_start_counts,
    failures::the_failed_message_is_not_tried_again,
    endings::draining_handles_what_waits,
    endings::stopping_now_drops_what_waits,
    endings::a_stop_ends_at_its_deadline,
    endings::it_ends_with_its_last_reference,
    endings::it_stops_itself,
    endings::a_stop_cuts_the_wait_for_a_restart,
    endings::draining_goes_on_after_a_restart,
    endings::children_end_with_their_parent,
    endings::children_end_before_a_restart,
    endings::settings_are_checked,
}
