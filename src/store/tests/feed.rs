//! The change feed.

use super::*;

#[tokio::test]
async fn a_subscriber_hears_of_local_and_applied_commits_of_its_tables_only() {
    let (a, b) = pair(&[ITEM, "CREATE TABLE other(id INTEGER PRIMARY KEY)"]);
    let mut items = b.store.subscribe(&["ITEM"]);
    let mut all = b.store.subscribe(&[]);
    run(&b, "INSERT INTO other VALUES (1)");
    run(&b, "INSERT INTO item VALUES (1, 0, 0)");
    run(&a, "INSERT INTO item VALUES (2, 0, 0)");
    pull(&b, &a);
    let item = Some(Event::Changed(vec!["item".into()]));
    assert_eq!(items.next().await, item);
    assert_eq!(items.next().await, item);
    assert_eq!(all.next().await, Some(Event::Changed(vec!["other".into()])));
    drop((a, b));
    assert_eq!(items.next().await, None);
}

#[tokio::test]
async fn a_slow_subscriber_never_holds_the_writer_up_and_is_told_to_read_anew() {
    let (a, _) = pair(&[ITEM]);
    let mut slow = a.store.subscribe(&["item"]);
    for id in 0..300 {
        run(&a, &format!("INSERT INTO item VALUES ({id}, 0, 0)"));
    }
    assert_eq!(slow.next().await, Some(Event::Lagged));
    assert_eq!(slow.next().await, Some(Event::Changed(vec!["item".into()])));
}

#[tokio::test]
async fn rows_that_come_back_are_heard_of_too() {
    let (a, b) = pair(&["CREATE TABLE u(id INTEGER PRIMARY KEY, n UNIQUE)"]);
    run(&a, "INSERT INTO u VALUES (1, 1)");
    run(&b, "INSERT INTO u VALUES (2, 1)");
    exchange(&a, &b);
    let mut feed = a.store.subscribe(&["u"]);
    run(&a, "DELETE FROM u");
    assert_eq!(rows(&a, "SELECT id FROM u"), vec![vec![Integer(1)]]);
    assert_eq!(feed.next().await, Some(Event::Changed(vec!["u".into()])));
}

#[tokio::test]
async fn the_end_of_a_table_is_heard_of_too() {
    let (a, b) = (peer(1), peer(2));
    a.store.declare(ITEM).unwrap();
    pull(&b, &a);
    let (mut here, mut there) = (a.store.subscribe(&["item"]), b.store.subscribe(&["item"]));
    a.store.declare("DROP TABLE item").unwrap();
    pull(&b, &a);
    for feed in [&mut here, &mut there] {
        assert_eq!(feed.next().await, Some(Event::Changed(vec!["item".into()])));
    }
    // Once.
    a.store.declare(ITEM).unwrap();
    a.store
        .declare("CREATE TABLE other(id INTEGER PRIMARY KEY)")
        .unwrap();
    assert_eq!(here.next().await, Some(Event::Changed(vec!["item".into()])));
    drop((a, b));
    assert_eq!(there.next().await, None);
}
