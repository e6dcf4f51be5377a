//! Rules that need no adapter; the supervisor itself is tested with one, in `tests/host`.

use super::flights::{Due, Ended, Flights};
use crate::loader::host::Completed;
use im_bridge_plugin_api::abi::Status;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn completed(id: u64) -> Completed {
    Completed::by_host(id, Status::OK, false, "")
}

#[tokio::test(start_paused = true)]
async fn a_command_is_cancelled_and_then_unknown() {
    let mut flights = Flights::default();
    flights.add(7, 70, 10 * SECOND);
    tokio::time::advance(14 * SECOND).await;
    assert_eq!(flights.next_due(), None);
    tokio::time::advance(SECOND).await;
    assert_eq!(flights.next_due(), Some(Due::Cancel(7)));
    assert_eq!((flights.next_due(), flights.waiting()), (None, 1));
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(flights.next_due(), Some(Due::Unknown(70)));
    assert_eq!((flights.next_due(), flights.waiting()), (None, 0));
    assert!(matches!(
        flights.completed(completed(7)),
        Ok((70, Ended::Late(_)))
    ));
    assert!(flights.completed(completed(7)).is_err());
}

#[tokio::test(start_paused = true)]
async fn three_commands_in_a_row_without_an_end_are_hopeless() {
    let mut flights = Flights::default();
    for id in 1..=4 {
        flights.add(id, id, Duration::ZERO);
        if id == 2 {
            assert!(matches!(
                flights.completed(completed(2)),
                Ok((2, Ended::Completed(_)))
            ));
            continue;
        }
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(flights.next_due(), Some(Due::Cancel(id)));
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(flights.next_due(), Some(Due::Unknown(id)));
        assert!(!flights.is_hopeless(), "after {id}");
    }
    flights.add(5, 5, Duration::ZERO);
    tokio::time::advance(5 * SECOND).await;
    flights.next_due();
    tokio::time::advance(2 * SECOND).await;
    flights.next_due();
    assert!(flights.is_hopeless());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_end_when_the_instance_ends_is_lost() {
    let mut flights = Flights::default();
    flights.add(1, 10, SECOND);
    flights.add(2, 20, SECOND);
    assert!(flights.completed(completed(1)).is_ok());
    assert_eq!(flights.lost(), [20]);
    assert_eq!((flights.waiting(), flights.due_at()), (0, None));
}
