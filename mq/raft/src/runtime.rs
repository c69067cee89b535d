//! The runtime openraft sees: tokio, but tasks and randomness come through `mq_base::env`, so that the simulator's
//! world follows into openraft's own tasks and election time-outs have a seed.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use mq_base::env;
use openraft::AsyncRuntime;
use openraft::TokioRuntime;
use rand_openraft::SeedableRng;
use rand_openraft::rngs::SmallRng;

/// See the module.
#[derive(Debug)]
pub struct EnvRuntime(TokioRuntime);

type Inner = TokioRuntime;

impl AsyncRuntime for EnvRuntime {
    type JoinError = env::task::Aborted;
    type JoinHandle<T: Send + 'static> = env::task::TaskHandle<T>;
    type Sleep = <Inner as AsyncRuntime>::Sleep;
    type Instant = <Inner as AsyncRuntime>::Instant;
    type TimeoutError = <Inner as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <Inner as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <Inner as AsyncRuntime>::Mpsc;
    type Watch = <Inner as AsyncRuntime>::Watch;
    type Oneshot = <Inner as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <Inner as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        env::task::spawn("openraft", future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Inner::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Inner::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Inner::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Inner::timeout_at(deadline, future)
    }

    fn is_panic(_: &Self::JoinError) -> bool {
        false // A panic ends the process (`mq_base::env::task`); what is left is an abort.
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SmallRng::seed_from_u64(env::random::u64())
    }

    fn new(threads: usize) -> Self {
        EnvRuntime(Inner::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
