//! Shapes of the bench's results; no speeds, which belong to machines.

use super::{good, json};

const SHORT: [&str; 7] = ["bench", "-p", "8", "-n", "4", "-r", "3"];

#[test]
fn models_in_json() {
    let rows = json(&[&SHORT[..], &["-o", "json"]].concat());
    let rows = rows.as_array().expect("a list");
    let tests: Vec<_> = rows.iter().map(|r| r["test"].as_str()).collect();
    assert_eq!(tests, [Some("pp8"), Some("tg4")]);
    for row in rows {
        assert!(
            row["tokens_per_second"].as_f64().is_some_and(|v| v > 0.0),
            "{row}"
        );
        assert!(row["spread"].as_f64().is_some_and(|v| v >= 0.0), "{row}");
        assert!(
            row["device"].as_str().is_some_and(|d| d.contains("CPU")),
            "{row}"
        );
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(3));
        assert_eq!(row["model"], "builtin");
    }
}

#[test]
fn other_formats_hold_the_same_rows() {
    let lines = good(&[&SHORT[..], &["-o", "jsonl"]].concat());
    assert_eq!(lines.lines().count(), 2);
    let csv = good(&[&SHORT[..], &["-o", "csv"]].concat());
    assert!(
        csv.starts_with("model,method,activations,device,test,tokens_per_second,spread,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 3);
    let table = good(&SHORT);
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn synthetic_weights_need_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    let config = super::small::config_json().to_string();
    std::fs::write(&path, config).expect("written");
    let path = path.to_string_lossy();
    let args = ["--shape", &path, "-o", "json"];
    let rows = json(&[&SHORT[..], &args].concat());
    assert_eq!(rows[0]["synthetic"], true);
}

#[test]
fn ops_against_the_copy() {
    let rows = json(&["bench", "ops", "--op", "act_round", "-o", "json"]);
    assert_eq!(rows[0]["op"], "copy");
    assert_eq!(rows[1]["op"], "act_round");
    for field in ["microseconds", "gigabytes_per_second", "percent_of_copy"] {
        assert!(rows[1][field].as_f64().is_some_and(|v| v > 0.0), "{field}");
    }
}
