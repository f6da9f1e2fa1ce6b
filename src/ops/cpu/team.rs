//! A team of threads for pieces of work that are shorter than it takes to wake a thread.
//!
//! Products of a small model take some ten microseconds, and the next one follows at once. Helpers therefore look for work
//! for a while ([`SPIN`]) before they sleep. Nobody waits for a helper that has not begun: whoever gives work to the team
//! works too, until nothing is left to begin, and then waits only for those that are in the middle of something. A helper
//! whose processor the system gave to another program is missed, but stops nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long helpers look for work before they sleep: somewhat longer than what lies between two products.
const SPIN: Duration = Duration::from_micros(50);

/// Looks at the team's state between two looks at the clock.
const LOOKS: usize = 64;

/// Work that helpers call, each once at most.
type Work<'w> = dyn Fn() + Sync + 'w;

/// In the state: helpers may begin. Below it are those that have begun, above it the number of the work.
const OPEN: u64 = 1 << 31;
/// In the state: the unit of the number of the work.
const NUMBER: u64 = 1 << 32;

struct Shared {
    /// Number of the work, whether it is [`OPEN`], and how many helpers are at it.
    state: AtomicU64,
    /// The work, while the state is open or helpers are at it.
    work: Mutex<Option<&'static Work<'static>>>,
    /// Whether a helper was stopped by a panic since the last work began.
    panicked: AtomicBool,
}

struct Helper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

/// The helpers of this process, and the thread that may give them work.
pub(super) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<Helper>,
    /// Held by whoever gives work.
    giver: Mutex<()>,
}

impl Team {
    /// The team of this process, which has one thread less than `threads`: the caller is one too.
    pub(super) fn of(threads: usize) -> &'static Self {
        static TEAM: OnceLock<Team> = OnceLock::new();
        TEAM.get_or_init(|| Self::new(threads.saturating_sub(1)))
    }

    /// As many helpers as the system grants.
    fn new(helpers: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            work: Mutex::new(None),
            panicked: AtomicBool::new(false),
        });
        let helper = |i| {
            let asleep = Arc::new(AtomicBool::new(false));
            let (shared, flag) = (shared.clone(), asleep.clone());
            let thread = thread::Builder::new().name(format!("helper {i}"));
            let thread = thread.spawn(move || help(&shared, &flag)).ok()?;
            Some(Helper {
                thread: thread.thread().clone(),
                asleep,
            })
        };
        let helpers = (0..helpers).map_while(helper).collect();
        Self {
            shared,
            helpers,
            giver: Mutex::new(()),
        }
    }

    /// Calls `work` on this thread and on up to `helpers` others at the same time. Others may begin late or not at all, so
    /// `work` takes what is to be done from a common place until nothing is left there. Where the team is busy, this thread
    /// does all of it.
    pub(super) fn run(&self, helpers: usize, work: &Work<'_>) {
        let giver = match self.giver.try_lock() {
            Ok(giver) => giver,
            Err(std::sync::TryLockError::Poisoned(giver)) => giver.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return work(),
        };
        let open = self.open(giver, work);
        for helper in self.helpers.iter().take(helpers) {
            if helper.asleep.swap(false, SeqCst) {
                helper.thread.unpark();
            }
        }
        work();
        drop(open);
        if self.shared.panicked.swap(false, SeqCst) {
            resume_unwind(Box::new("a thread of the CPU backend panicked"));
        }
    }

    /// Lets helpers begin with `work`, until the result is dropped.
    fn open<'t>(&'t self, giver: MutexGuard<'t, ()>, work: &Work<'_>) -> Open<'t> {
        // SAFETY: the reference is used as one with the lifetime of `work` only. It lies in `shared.work` from here until
        // `Open` is dropped, which `Team::run` does before it returns, even by a panic. Helpers take it only after they
        // have counted themselves in the state while that was open, and dropping `Open` closes the state, then waits
        // until no helper is counted, and those have dropped their copies before.
        #[allow(unsafe_code)]
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        *lock(&self.shared.work) = Some(work);
        let number = self.shared.state.load(SeqCst) / NUMBER;
        let next = number.wrapping_add(1) % (u64::MAX / NUMBER);
        self.shared.state.store((next * NUMBER) | OPEN, SeqCst);
        Open {
            shared: &self.shared,
            _giver: giver,
        }
    }
}

/// Work that helpers may begin with.
struct Open<'t> {
    shared: &'t Shared,
    _giver: MutexGuard<'t, ()>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let state = &self.shared.state;
        let mut at_work = state.fetch_and(!OPEN, SeqCst) & (OPEN - 1);
        let mut looks = 0;
        while at_work > 0 {
            // whoever is at work needs a processor, perhaps this one
            looks += 1;
            match looks % LOOKS {
                0 => thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
            at_work = state.load(SeqCst) & (OPEN - 1);
        }
        *lock(&self.shared.work) = None;
    }
}

/// The life of a helper.
fn help(shared: &Shared, asleep: &AtomicBool) {
    let (mut done, mut since, mut looks) = (0, Instant::now(), 0);
    loop {
        let state = shared.state.load(SeqCst);
        if state & OPEN != 0 && state / NUMBER != done {
            if begin(shared, state) {
                done = state / NUMBER;
                since = Instant::now();
            }
            continue;
        }
        std::hint::spin_loop();
        looks += 1;
        if looks % LOOKS == 0 && since.elapsed() > SPIN {
            sleep(shared, asleep, state);
            since = Instant::now();
        }
    }
}

/// Does what there is to do in `state`, unless that has changed.
fn begin(shared: &Shared, state: u64) -> bool {
    let counted = shared
        .state
        .compare_exchange(state, state + 1, SeqCst, SeqCst);
    if counted.is_err() {
        return false;
    }
    let work = *lock(&shared.work);
    let done = catch_unwind(AssertUnwindSafe(|| {
        if let Some(work) = work {
            work();
        }
    }));
    if done.is_err() {
        shared.panicked.store(true, SeqCst);
    }
    shared.state.fetch_sub(1, SeqCst);
    true
}

/// Sleeps until somebody gives work. `state` is one without any.
fn sleep(shared: &Shared, asleep: &AtomicBool, state: u64) {
    asleep.store(true, SeqCst);
    // whoever opened work before that has not seen it
    if shared.state.load(SeqCst) != state {
        asleep.store(false, SeqCst);
        return;
    }
    while asleep.load(SeqCst) {
        thread::park();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Takes numbers below `count` until none is left, and adds them up.
    fn adds_up(team: &Team, count: usize) -> usize {
        let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
        team.run(team.helpers.len(), &|| {
            loop {
                let i = next.fetch_add(1, SeqCst);
                if i >= count {
                    break;
                }
                sum.fetch_add(i, SeqCst);
            }
        });
        sum.into_inner()
    }

    #[test]
    fn everything_is_done_once_however_often() {
        let team = Team::new(3);
        for round in 0..3000 {
            let count = round % 50;
            assert_eq!(adds_up(&team, count), count * count.saturating_sub(1) / 2);
            if round % 500 == 0 {
                thread::sleep(4 * SPIN); // helpers sleep, and are woken
            }
        }
    }

    #[test]
    fn helpers_help_and_are_waited_for() {
        let team = Team::new(2);
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        team.run(2, &|| {
            begun.fetch_add(1, SeqCst);
            // all three have to be there at the same time
            let start = Instant::now();
            while begun.load(SeqCst) < 3 && start.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            ended.fetch_add(1, SeqCst);
        });
        assert_eq!(ended.into_inner(), 3);
    }

    #[test]
    fn work_within_work_is_done_by_its_thread() {
        let team = Team::new(2);
        let sum = AtomicUsize::new(0);
        team.run(2, &|| {
            sum.fetch_add(adds_up(&team, 10), SeqCst);
        });
        let sum = sum.into_inner();
        assert!(sum.is_multiple_of(45) && sum >= 45, "{sum}");
    }

    #[test]
    fn a_panic_reaches_the_giver_and_the_team_goes_on() {
        let team = Team::new(2);
        for on_helper in [false, true] {
            let giver = thread::current().id();
            let panicked = AtomicBool::new(false);
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(2, &|| {
                    let here = thread::current().id() == giver;
                    if here == on_helper {
                        // the giver gives helpers the time to begin
                        let start = Instant::now();
                        while !panicked.load(SeqCst) && start.elapsed() < Duration::from_secs(20) {
                            thread::yield_now();
                        }
                        return;
                    }
                    panicked.store(true, SeqCst);
                    panic!("on purpose");
                });
            }));
            assert!(result.is_err());
            assert_eq!(adds_up(&team, 10), 45);
        }
    }
}
