//! Users who each start many connections at once, as Ansible does without multiplexing, beside users who type.
//!
//! The queue is fair between users: who has one login there waits for a turn, not for everybody else's forks. What is
//! left is the login itself, which takes as long as those that are under way beside it make it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::geteuid;
use weir_tests::load::{Clients, Report, cheap_clients};
use weir_tests::{Job, World, eventually};

const TYPING: usize = 5;
/// From the start of `ssh` to the end of `true`.
const LIMIT: Duration = Duration::from_secs(1);

#[test]
fn ten_users_with_eight_forks_leave_room_for_those_who_type() {
    let crowd = Crowd {
        users: 10,
        forks: 8,
        tasks: 6,
    };
    crowd.leaves_room_for_those_who_type();
}

#[test]
#[ignore = "takes minutes: `make pacing`"]
fn twenty_users_with_fifty_forks_leave_room_for_those_who_type() {
    let crowd = Crowd {
        users: 20,
        forks: 50,
        tasks: 1,
    };
    crowd.leaves_room_for_those_who_type();
}

/// Each user has so many forks at a time, each of which logs in once for each task.
#[derive(Clone, Copy)]
struct Crowd {
    users: usize,
    forks: usize,
    tasks: usize,
}

impl Crowd {
    fn leaves_room_for_those_who_type(self) {
        let world = World::builder()
            .sshd("MaxStartups 10:30:100")
            .config(&format!(
                "[pacing]\nwait_limit = \"{}s\"",
                self.patience().as_secs()
            ))
            .start();
        let took = self.times_of_those_who_type(&world);
        let part = |percent: usize| took[(took.len() - 1) * percent / 100];
        eprintln!(
            "{} logins of {TYPING} who type, beside {}: half within {:.2?}, 90 % within {:.2?}, all within {:.2?}",
            took.len(),
            self.users * self.forks * self.tasks,
            part(50),
            part(90),
            part(100)
        );
        assert!(took.len() >= 2 * TYPING, "the forks were over too soon");
        assert!(part(100) < LIMIT, "{took:.2?}");
    }

    /// Several times what the logins of all take on two cores.
    fn patience(self) -> Duration {
        let logins = u32::try_from(self.users * self.forks * self.tasks).expect("few");
        Duration::from_secs(30) + Duration::from_millis(100) * logins
    }

    /// While the forks last, each types a command after the other; in order of their length.
    fn times_of_those_who_type(self, world: &World) -> Vec<Duration> {
        let names = |kind: &str, count| -> Vec<String> { (0..count).map(|n| format!("{kind}{n}")).collect() };
        let (forking, typing) = (names("ansible", self.users), names("typist", TYPING));
        for name in forking.iter().chain(&typing) {
            world.new_user(name, world.login());
        }
        let left = &AtomicUsize::new(self.users);
        let mut took = thread::scope(|scope| {
            for name in &forking {
                scope.spawn(move || {
                    self.playbook(world, name);
                    left.fetch_sub(1, Ordering::Relaxed);
                });
            }
            eventually("the forks are under way", || {
                (world.sshd().log_lines("Accepted publickey").len() >= self.users).then_some(())
            });
            let typing: Vec<_> = typing
                .iter()
                .map(|name| scope.spawn(move || type_while(world, name, left)))
                .collect();
            let times = typing
                .into_iter()
                .map(|typist| typist.join().expect("it says what it saw"));
            times.collect::<Vec<_>>().concat()
        });
        took.sort();
        took
    }

    fn playbook(self, world: &World, name: &str) {
        let clients = Clients {
            count: self.forks * self.tasks,
            concurrency: self.forks,
        };
        let job = cheap_clients(world, name, &world.user(), clients, self.patience());
        let report = Report::of(job.run());
        eprintln!(
            "{clients:?} in {:.2?}: half within {:.2?}, all within {:.2?}",
            report.wall(),
            report.time("whole session", "p50"),
            report.time("whole session", "max")
        );
        let _ = report.all_succeeded(clients.count);
    }
}

/// How long each of the commands took that a user typed while there were others `left`.
fn type_while(world: &World, name: &str, left: &AtomicUsize) -> Vec<Duration> {
    let mut took = Vec::new();
    while left.load(Ordering::Relaxed) > 0 {
        took.push(typed(world, name).succeed().took);
        // As long as a user takes to type the next.
        thread::sleep(Duration::from_secs(1));
    }
    took
}

/// `ssh target true` as from a machine of the user's own: it gets a core as soon as it has something to do. Among the crowd's
/// clients and the target's own processes it would wait for one longer than for the target: 1.4 s, of which the pacer has 0.05
/// and the login 0.15.
pub(crate) fn typed(world: &World, name: &str) -> Job {
    let config = world.path_text(&format!("config-{name}"));
    let ssh = ["ssh", "-F", &config, "target", "true"];
    if geteuid().is_root() {
        world.job("chrt").args(["--rr", "1"]).args(ssh)
    } else {
        world.job(ssh[0]).args(&ssh[1..])
    }
}
