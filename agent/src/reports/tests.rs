//! What the API server hears of problems, on its good and its bad days.

use std::sync::{Arc, Mutex};

use pleopod_model::ObjectName;

use super::*;

const QUICK: Tries = Tries { first: Duration::from_millis(1), longest: Duration::from_millis(4), most: 5 };

/// Hears reports; refuses the first ones, or all of an object.
#[derive(Clone, Default)]
struct Server {
    heard: Arc<Mutex<Vec<String>>>,
    tried: Arc<Mutex<Vec<String>>>,
    away_for: Arc<Mutex<u32>>,
}

fn problem(name: &str) -> Problem {
    Problem::new("Service", ObjectName::new("default", name), "spec", "is odd", "")
}

impl Server {
    async fn hear(self, problem: Problem) -> Result<(), Failed> {
        let name = problem.object.name.name.clone();
        self.tried.lock().unwrap().push(name.clone());
        let away = {
            let mut left = self.away_for.lock().unwrap();
            *left = left.saturating_sub(1);
            *left > 0
        };
        if name == "unwanted" || name == "cursed" || away {
            return Err(Failed { why: "no".into(), again: name != "unwanted" });
        }
        self.heard.lock().unwrap().push(name);
        Ok(())
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        for _ in 0..5000 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("heard {:?}, tried {:?}", self.heard(), self.tried.lock().unwrap());
    }
}

fn start(server: &Server) -> watch::Sender<Vec<Problem>> {
    let (sender, problems) = watch::channel(Vec::new());
    let server = server.clone();
    tokio::spawn(work(problems, QUICK, move |problem| server.clone().hear(problem)));
    sender
}

#[tokio::test]
async fn a_report_that_failed_is_made_again_and_each_only_once() {
    let server = Server::default();
    *server.away_for.lock().unwrap() = 4;
    let problems = start(&server);
    problems.send(vec![problem("a"), problem("b")]).unwrap();
    server.until(|s| s.heard().len() == 2).await;
    problems.send(vec![problem("a"), problem("b"), problem("c")]).unwrap();
    server.until(|s| s.heard().len() == 3).await;
    let mut heard = server.heard();
    heard.sort();
    assert_eq!(heard, ["a", "b", "c"]);
    // Over and back again is news.
    problems.send(vec![problem("b"), problem("c")]).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    problems.send(vec![problem("a"), problem("b"), problem("c")]).unwrap();
    server.until(|s| s.heard().len() == 4).await;
    assert_eq!(server.heard()[3], "a");
}

#[tokio::test]
async fn what_nobody_wants_is_given_up_and_holds_up_nobody() {
    let server = Server::default();
    let problems = start(&server);
    problems.send(vec![problem("cursed"), problem("unwanted"), problem("good")]).unwrap();
    let tries = |s: &Server, of: &str| s.tried.lock().unwrap().iter().filter(|n| *n == of).count();
    server.until(|s| s.heard() == ["good"] && tries(s, "cursed") == 5).await;
    problems.send(vec![problem("cursed"), problem("unwanted"), problem("good"), problem("last")]).unwrap();
    server.until(|s| s.heard() == ["good", "last"]).await;
    assert_eq!((tries(&server, "cursed"), tries(&server, "unwanted")), (5, 1));
}

#[test]
fn pauses_grow_to_a_bound() {
    let pauses: Vec<u64> = [0, 1, 5, 6, 40].map(|n| Tries::STANDARD.pause(n).as_secs()).into();
    assert_eq!(pauses, [1, 2, 32, 60, 60]);
}
