//! A run from end to end. Many more seeds: `mq-sim many`.

use mq_sim::plan::Plan;
use mq_sim::run::run;

#[test]
fn without_faults_everything_holds_and_every_invariant_examines_something() {
    let report = run(&Plan::calm(1), None);
    assert!(report.holds(), "{:?} {:?}", report.broken(), report.complaints);
    assert!(report.operations >= 1_000 && report.acknowledged >= 500);
    assert!(report.simulated_ms >= 30_000);
}
