use super::*;
use serde_json::json;

fn ask(row: Value) -> Result<(Form, Question), String> {
    let Value::Object(row) = row else {
        unreachable!("tests give objects")
    };
    let form = Form::of(&row).ok_or("of no form")?;
    form.question(&row).map(|q| (form, q))
}

fn pairs(question: &Question) -> Vec<(&str, &str)> {
    let requests = question.requests.iter();
    requests
        .map(|r| (r.context.as_str(), r.continuation.as_str()))
        .collect()
}

#[test]
fn arc_in_both_layouts_and_with_any_labels() {
    for choices in [
        json!({"text": ["red", "blue"], "label": ["1", "2"]}),
        json!([{"text": "red", "label": "1"}, {"text": "blue", "label": "2"}]),
    ] {
        let row = json!({"id": "x", "question": "Which?", "choices": choices, "answerKey": "2"});
        let (form, q) = ask(row).expect("a question");
        assert_eq!((form, q.gold), (Form::Arc, 1));
        let prompt = "Question: Which?\nAnswer:";
        assert_eq!(pairs(&q), [(prompt, " red"), (prompt, " blue")]);
        assert_eq!(q.example, "Question: Which?\nAnswer: blue");
    }
    let bad =
        json!({"question": "Which?", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"});
    assert!(ask(bad).is_err());
}

#[test]
fn openbookqa_is_asked_without_words_around_it() {
    let row = json!({"question_stem": "The sun is", "choices": {"text": ["hot", "cold"], "label": ["A", "B"]},
        "answerKey": " A"});
    let (form, q) = ask(row).expect("a question");
    assert_eq!((form, q.gold), (Form::Openbookqa, 0));
    assert_eq!(pairs(&q)[0], ("The sun is", " hot"));
}

#[test]
fn hellaswag_loses_its_marks() {
    let row = json!({"activity_label": "Making tea", "ctx_a": "Boil water.", "ctx_b": "then PUT the bag",
        "endings": ["[step] in  the cup.", " away [title] Done"], "label": "1"});
    let (form, q) = ask(row).expect("a question");
    assert_eq!((form, q.gold), (Form::Hellaswag, 1));
    let prompt = "Making tea: Boil water. Then put the bag";
    // stripping comes before the marks go, so that a blank may lead
    assert_eq!(
        pairs(&q),
        [(prompt, "  in the cup."), (prompt, " away. Done")]
    );
    assert_eq!(without_marks("a [b\nc] d [e"), "a [b\nc] d [e");
    assert_eq!(without_marks(" x [1] [2] y "), "x  y");
}

#[test]
fn piqa_of_the_hub_and_of_a_file() {
    let hub = ask(json!({"goal": "Open it", "sol1": "push", "sol2": "pull ", "label": 1}));
    let file = ask(json!({"goal": "Open it", "choices": ["push", "pull "], "gold": 1}));
    assert_eq!(hub, file);
    let (form, q) = hub.expect("a question");
    assert_eq!(form, Form::Piqa);
    assert_eq!(pairs(&q)[1], ("Question: Open it\nAnswer:", " pull "));
}

#[test]
fn winogrande_scores_what_follows_the_blank() {
    let hub = ask(
        json!({"sentence": "Ann met Sue, but _ left.", "option1": "Ann", "option2": "Sue", "answer": "2"}),
    );
    let file = ask(
        json!({"sentence": "Ann met Sue, but _ left.", "option1": "Ann", "option2": "Sue", "gold": 1}),
    );
    assert_eq!(hub, file);
    let (_, q) = hub.expect("a question");
    assert_eq!(
        pairs(&q),
        [
            ("Ann met Sue, but Ann", " left."),
            ("Ann met Sue, but Sue", " left.")
        ]
    );
    assert_eq!(q.example, "Ann met Sue, but Sue left.");
    for bad in [
        json!({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}),
        json!({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": "0"}),
        json!({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""}),
        json!({"sentence": "a _ b", "option1": "a", "option2": "b", "gold": 2}),
    ] {
        assert!(ask(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn boolq_of_both_sources() {
    let glue = ask(json!({"passage": "P.", "question": "is it so", "label": 1, "idx": 0}));
    let google = ask(json!({"passage": "P.", "question": "is it so", "answer": true}));
    assert_eq!(glue, google);
    let (form, q) = glue.expect("a question");
    assert_eq!((form, q.gold), (Form::Boolq, 1));
    assert_eq!(pairs(&q)[0], ("P.\nQuestion: is it so?\nAnswer:", " no"));
}

#[test]
fn lambada_asks_for_the_last_word() {
    let (form, q) = ask(json!({"text": "he opened the door"})).expect("a question");
    assert_eq!(form, Form::Lambada);
    assert_eq!(pairs(&q), [("he opened the", " door")]);
    assert_eq!(q.example, "he opened the  door");
}

#[test]
fn rows_that_are_no_questions_are_told_with_their_number() {
    let row = |v: Value| v.as_object().cloned().expect("an object");
    let good = row(json!({"query": "Q", "choices": ["a", "b"], "gold": 0}));
    for bad in [
        json!({"query": "Q", "choices": ["a", "b"], "gold": 2}),
        json!({"query": "Q", "choices": ["a", 3], "gold": 0}),
        json!({"query": 7, "choices": ["a"], "gold": 0}),
        json!({"query": "Q", "choices": "a", "gold": 0}),
        json!({"query": "Q", "choices": [], "gold": 0}),
        json!({"query": "Q", "choices": ["a"], "gold": -1}),
        json!({"choices": ["a"], "gold": 0}),
    ] {
        let error = questions("t.jsonl", &[good.clone(), row(bad.clone())]).expect_err("bad");
        assert!(
            error.to_string().contains("t.jsonl, row 2"),
            "{bad}: {error}"
        );
    }
    assert!(questions("t.jsonl", &[]).is_err());
    assert!(questions("t.jsonl", &[row(json!({"a": 1}))]).is_err());
    assert_eq!(
        questions("t.jsonl", &[good]).expect("one").0,
        Form::Prepared
    );
}
