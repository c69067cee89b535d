//! mq-base: the only door between Forebay and the outside world, and a few things every program needs.
//!
//! [`mod@env`] names threads, clocks, randomness, files, sockets and tasks. In production each of its functions is a thin
//! call into tokio or std; in the simulator (feature `sim`) the same functions reach a simulated world that is chosen
//! at run time, so that the code under test is the code that ships.
//!
//! It is not a framework and knows nothing of messages. Start with [`mod@env`].

pub mod env;
pub mod logging;
pub mod stop;
pub mod units;
