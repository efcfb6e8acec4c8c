use super::*;

fn lost(count: u64) -> Entry {
    Entry::Lost(Lost { time: 0, count })
}

fn count(read: Read) -> u64 {
    match read {
        Read::Entry(Entry::Lost(lost)) => lost.count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keeps_the_last_ones() {
    let ring = Ring::new(4);
    assert!(ring.is_empty());
    assert!(matches!(ring.read(0), Read::Later));
    for n in 0..10 {
        ring.push(lost(n));
    }
    assert_eq!((ring.len(), ring.oldest(), ring.next()), (4, 6, 10));
    assert!(matches!(ring.read(5), Read::Gone(6)));
    for n in 6..10 {
        assert_eq!(count(ring.read(n)), n);
    }
    assert!(matches!(ring.read(10), Read::Later));
}

#[test]
fn a_ring_of_nothing_keeps_one() {
    let ring = Ring::new(0);
    ring.push(lost(1));
    assert_eq!(count(ring.read(0)), 1);
}

#[tokio::test]
async fn followers_hear_of_news() {
    let ring = Ring::new(4);
    let mut news = ring.news();
    ring.push(lost(1));
    ring.publish();
    news.changed().await.unwrap();
    ring.publish();
    assert!(!news.has_changed().unwrap(), "nothing new was written");
}

#[test]
fn a_reader_beside_the_writer_sees_each_once_or_hears_of_the_loss() {
    const EVENTS: u64 = 200_000;
    let ring = Ring::new(64);
    let (mut seen, mut gone) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..EVENTS).for_each(|n| ring.push(lost(n))));
        let mut at = 0;
        while at < EVENTS {
            match ring.read(at) {
                Read::Entry(Entry::Lost(lost)) => {
                    assert_eq!(lost.count, at);
                    (at, seen) = (at + 1, seen + 1);
                }
                Read::Entry(Entry::Event(_)) => unreachable!(),
                Read::Later => std::thread::yield_now(),
                Read::Gone(oldest) => {
                    let skip = oldest.saturating_sub(at).max(1);
                    (at, gone) = (at + skip, gone + skip);
                }
            }
        }
    });
    assert_eq!(seen + gone, EVENTS);
}
