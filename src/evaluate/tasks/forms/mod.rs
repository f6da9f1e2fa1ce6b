//! From a row of a file to a question: which columns mean what, and the prompt that the harness makes of them.

use super::encode::Request;
use crate::error::{Error, Result};
use crate::files::corpus::objects::Object;
use serde_json::Value;

/// What the rows of a file are, told by their columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `query`, `choices`, `gold`: prompts that are made already.
    Prepared,
    /// `goal` with `choices` and `gold`, or with `sol1`, `sol2` and `label`.
    Piqa,
    /// `sentence` with a blank `_`, `option1`, `option2`, and `gold` (0, 1) or `answer` ("1", "2").
    Winogrande,
    /// `question`, `choices` (`text` and `label`), `answerKey`.
    Arc,
    /// `question_stem`, `choices`, `answerKey`.
    Openbookqa,
    /// `ctx_a`, `ctx_b`, `activity_label`, `endings`, `label`.
    Hellaswag,
    /// `passage`, `question`, and `label` (0, 1) or `answer` (a truth value).
    Boolq,
    /// `text`, whose last word is to be said.
    Lambada,
}

/// One question, with everything that its score needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// One for each choice.
    pub requests: Vec<Request>,
    /// The right choice; of a last word, 0.
    pub gold: usize,
    /// The choices as their lengths are counted: without the blank before them.
    pub choices: Vec<String>,
    /// How the question stands as an example before another one, its answer included.
    pub example: String,
}

const FORMS: [(Form, &[&str]); 8] = [
    (Form::Prepared, &["query", "choices", "gold"]),
    (Form::Piqa, &["goal"]),
    (Form::Winogrande, &["sentence", "option1", "option2"]),
    (
        Form::Hellaswag,
        &["ctx_a", "ctx_b", "activity_label", "endings"],
    ),
    (Form::Openbookqa, &["question_stem", "choices", "answerKey"]),
    (Form::Arc, &["question", "choices", "answerKey"]),
    (Form::Boolq, &["passage", "question"]),
    (Form::Lambada, &["text"]),
];

impl Form {
    /// The form of rows with these columns.
    pub fn of(row: &Object) -> Option<Self> {
        let has = |columns: &[&str]| columns.iter().all(|c| row.contains_key(*c));
        FORMS.iter().find(|(_, columns)| has(columns)).map(|f| f.0)
    }

    /// Whether scores are also taken by the length of choices. The harness has none where choices stand in the prompt,
    /// or are single words.
    pub fn has_lengths(self) -> bool {
        !matches!(self, Self::Winogrande | Self::Boolq | Self::Lambada)
    }

    /// Whether the harness draws one example more than it needs, because it cannot know that a question is not among
    /// them: of tasks whose test questions have no answers, so that others are asked.
    pub fn draws_one_more(self) -> bool {
        use Form::{Boolq, Hellaswag, Piqa, Winogrande};
        matches!(self, Hellaswag | Piqa | Winogrande | Boolq)
    }

    /// The question in `row`.
    ///
    /// # Errors
    /// What is missing or not as it must be.
    pub fn question(self, row: &Object) -> Result<Question, String> {
        let row = Row(row);
        match self {
            Self::Prepared => row.common(row.text("query")?, row.texts("choices")?, "gold"),
            Self::Piqa => {
                let prompt = format!("Question: {}\nAnswer:", row.text("goal")?);
                match row.0.contains_key("sol1") {
                    true => {
                        let choices = vec![row.text("sol1")?, row.text("sol2")?];
                        row.common(prompt, choices, "label")
                    }
                    false => row.common(prompt, row.texts("choices")?, "gold"),
                }
            }
            Self::Winogrande => row.winogrande(),
            Self::Arc => {
                let prompt = format!("Question: {}\nAnswer:", row.text("question")?);
                row.labelled(prompt)
            }
            Self::Openbookqa => row.labelled(row.text("question_stem")?),
            Self::Hellaswag => row.hellaswag(),
            Self::Boolq => row.boolq(),
            Self::Lambada => row.lambada(),
        }
    }
}

struct Row<'a>(&'a Object);

impl Row<'_> {
    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0
            .get(name)
            .ok_or_else(|| format!("there is no `{name}`"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let text = self.get(name)?.as_str();
        text.map(str::to_owned)
            .ok_or_else(|| format!("`{name}` is no text"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        strings(self.get(name)?).ok_or_else(|| format!("`{name}` is no list of texts"))
    }

    /// A whole number, also where it is written as text.
    fn number(&self, name: &str) -> Result<usize, String> {
        let value = self.get(name)?;
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(yes) => Some(usize::from(*yes)),
            other => other.as_u64().and_then(|n| usize::try_from(n).ok()),
        };
        number.ok_or_else(|| format!("`{name}` names no choice"))
    }

    fn common(&self, prompt: String, choices: Vec<String>, gold: &str) -> Result<Question, String> {
        question(prompt, choices, self.number(gold)?, gold)
    }

    /// Choices with labels; `answerKey` is the label of the right one: one struct of two lists, or a list of structs.
    fn labelled(&self, prompt: String) -> Result<Question, String> {
        let choices = self.get("choices")?;
        let column = |name: &str| match choices {
            Value::Array(all) => all
                .iter()
                .map(|c| Some(c.get(name)?.as_str()?.to_owned()))
                .collect(),
            other => strings(other.get(name)?),
        };
        let bad = || "`choices` has no texts with labels".to_owned();
        let (texts, labels): (Vec<String>, Vec<String>) = (
            column("text").ok_or_else(bad)?,
            column("label").ok_or_else(bad)?,
        );
        let key = self.text("answerKey")?;
        let gold = labels.iter().position(|label| label == key.trim_start());
        let gold = gold.ok_or_else(|| "`answerKey` is none of the labels".to_owned())?;
        question(prompt, texts, gold, "answerKey")
    }

    /// "Partial evaluation": the options stand in the prompt, and what follows the blank is scored after each of them.
    fn winogrande(&self) -> Result<Question, String> {
        let sentence = self.text("sentence")?;
        let (before, after) = sentence.split_once('_').ok_or("`sentence` has no `_`")?;
        let gold = match self.0.contains_key("gold") {
            true => self.number("gold")?,
            false => self
                .number("answer")?
                .checked_sub(1)
                .ok_or("`answer` is neither 1 nor 2")?,
        };
        let choices = vec![self.text("option1")?, self.text("option2")?];
        let rest = format!(" {}", after.trim());
        let request = |option: &String| Request::new(format!("{before}{option}"), rest.clone());
        let requests: Vec<_> = choices.iter().map(request).collect();
        let right = requests
            .get(gold)
            .ok_or("the right option is neither 1 nor 2")?;
        Ok(Question {
            example: format!("{}{}", right.context, right.continuation),
            requests,
            gold,
            choices,
        })
    }

    fn hellaswag(&self) -> Result<Question, String> {
        let context = format!(
            "{} {}",
            self.text("ctx_a")?,
            capitalized(&self.text("ctx_b")?)
        );
        let prompt = without_marks(&format!("{}: {context}", self.text("activity_label")?));
        let endings = self.texts("endings")?;
        let choices = endings.iter().map(|e| without_marks(e)).collect();
        self.common(prompt, choices, "label")
    }

    fn boolq(&self) -> Result<Question, String> {
        let (passage, question) = (self.text("passage")?, self.text("question")?);
        let prompt = format!("{passage}\nQuestion: {question}?\nAnswer:");
        let gold = if self.0.contains_key("label") {
            "label"
        } else {
            "answer"
        };
        self.common(prompt, vec!["no".to_owned(), "yes".to_owned()], gold)
    }

    fn lambada(&self) -> Result<Question, String> {
        let text = self.text("text")?;
        let (context, word) = text.rsplit_once(' ').unwrap_or(("", &text));
        let continuation = format!(" {word}");
        Ok(Question {
            // The harness puts its own blank before a target that has one already.
            example: format!("{context} {continuation}"),
            choices: vec![word.to_owned()],
            requests: vec![Request::new(context.to_owned(), continuation)],
            gold: 0,
        })
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let all = value.as_array()?.iter();
    all.map(|v| v.as_str().map(str::to_owned)).collect()
}

/// A prompt with choices that follow it after a blank.
fn question(
    prompt: String,
    choices: Vec<String>,
    gold: usize,
    place: &str,
) -> Result<Question, String> {
    let right = choices.get(gold);
    let right =
        right.ok_or_else(|| format!("`{place}` names none of {} choices", choices.len()))?;
    let request = |choice: &String| Request::new(prompt.clone(), format!(" {choice}"));
    Ok(Question {
        example: format!("{prompt} {right}"),
        requests: choices.iter().map(request).collect(),
        gold,
        choices,
    })
}

/// The first letter large and all others small, as Python's `str.capitalize` does.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + &letters.as_str().to_lowercase()
}

/// Without the marks of WikiHow in brackets (`preprocess` of the harness's hellaswag/utils.py).
fn without_marks(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        let (before, mark) = rest.split_at(open);
        // A mark ends with the first bracket behind it, on the same line.
        let line = mark.split('\n').next().unwrap_or_default();
        let length = line.find(']').map_or(1, |close| close + 1);
        plain.push_str(before);
        plain.push_str(if length == 1 { "[" } else { "" });
        rest = &mark[length..];
    }
    plain.push_str(rest);
    plain.replace("  ", " ")
}

/// The questions of all `rows` and what they are.
///
/// # Errors
/// [`Error::File`] with the number of the row, from 1, for rows of no known form or with something missing.
pub fn questions(file: &str, rows: &[Object]) -> Result<(Form, Vec<Question>)> {
    let known = "columns of ARC, HellaSwag, PIQA, WinoGrande, BoolQ, OpenBookQA or LAMBADA, or query, choices and gold";
    let bad = |i: usize, what: String| {
        let place = format!("{file}, row {}", i + 1);
        Error::file(place, what, format!("give rows with the {known}"))
    };
    let Some(first) = rows.first() else {
        return Err(Error::file(
            file,
            "has no row",
            format!("give rows with the {known}"),
        ));
    };
    let form = Form::of(first).ok_or_else(|| bad(0, "is of no known form".to_owned()))?;
    let question = |(i, row): (usize, &Object)| form.question(row).map_err(|what| bad(i, what));
    let all = rows.iter().enumerate().map(question);
    Ok((form, all.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests;
