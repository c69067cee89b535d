//! A disk in memory that forgets what was not synced, and fails when told to.
