use super::*;
use std::collections::BTreeSet;

fn bus() -> Arc<Bus> {
    Bus::new(Arc::default())
}

fn event(name: &str) -> Event {
    Event { name: name.into(), ..Event::default() }
}

fn these(names: &[&str]) -> Names {
    Names::These(names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>())
}

#[tokio::test]
async fn names_match_exactly_and_numbers_grow() {
    let bus = bus();
    let (one, all) = (bus.listen(these(&["user.created"])), bus.listen(Names::All));
    assert_eq!(bus.publish(event("User.Created")).await, Ok(Published::To(1)));
    assert_eq!(bus.publish(event("user.created")).await, Ok(Published::To(2)));
    assert_eq!((one.next().await.sequence, all.next().await.sequence, all.next().await.sequence), (2, 1, 2));
}

#[test]
fn what_is_said_of_events_counts_even_with_a_wrong_address() {
    let (bus, event_overflow) = (bus(), EventOverflow::DropOldest);
    let backends = Backends { events: Some("redis://x".into()), event_overflow, ..Backends::default() };
    bus.apply(&backends, "shop/storefront").unwrap_err();
    assert_eq!(bus.overflow(), EventOverflow::DropOldest);
    bus.apply(&Backends::default(), "shop/storefront").unwrap();
    assert_eq!(bus.overflow(), EventOverflow::DropNewest);
}

#[tokio::test]
async fn nobody_is_left_behind_in_the_list() {
    let bus = bus();
    drop(bus.listen(Names::All));
    assert_eq!(bus.publish(event("x")).await, Ok(Published::To(0)));
    assert!(bus.ears.lock().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    assert_eq!(bus().publish(event("")).await, Err(PublishError::NoName));
    let large = Event { data: vec![0; MAX_EVENT].into(), ..event("x") };
    let error = bus().publish(large).await.unwrap_err();
    assert_eq!(error.to_string(), "event 'x' has 256001 bytes, more than the 256000 that an event may have");
}
