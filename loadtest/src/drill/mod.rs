//! Faults under load, and whether the books balance afterwards.

pub mod books;
