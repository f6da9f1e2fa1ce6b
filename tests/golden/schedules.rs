//! Multipliers of the papers' learning rate schedules: the same f64 numbers.

use super::Report;
use fairy2i_gpu::train::step::schedule::{PAPERS, Schedule};
use serde_json::Value;

pub fn judge(fixture: &Value) -> Report {
    let mut report = Report::default();
    let all = fixture.as_object().expect("schedules by name");
    for name in PAPERS {
        report.check(all.contains_key(name), || {
            format!("{name} is not in the fixture")
        });
    }
    for (name, case) in all {
        let total = case["total"].as_u64().expect("a number of steps");
        let schedule = Schedule::papers(name, total).expect("a schedule we have");
        report.check(schedule.check().is_ok(), || format!("{name}: refused"));
        for (step, value) in case["values"].as_object().expect("factors by step") {
            let want = value.as_f64().expect("a factor");
            let got = schedule.factor(step.parse().expect("a step"));
            report.check(got == want, || {
                format!("{name}, step {step}: {got}, not {want}")
            });
        }
    }
    report
}
