//! From log-likelihoods to accuracies.

use super::forms::{Form, Question};
use crate::evaluate::mean::mean_and_error;
use serde::Serialize;

/// What a model says of one continuation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Likelihood {
    /// Sum of the log-likelihoods of its tokens, in nats.
    pub log_likelihood: f64,
    /// Whether each of its tokens is the most likely one.
    pub greedy: bool,
}

/// What a model answers to the questions of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    form: Form,
    /// One answer for each question.
    pub answers: Vec<Answer>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Log-likelihood of each choice, in nats.
    pub log_likelihoods: Vec<f64>,
    /// Bytes of each choice.
    pub bytes: Vec<usize>,
    /// The right choice.
    pub gold: usize,
    /// Whether each choice is what the model would say by itself.
    pub greedy: Vec<bool>,
    /// The most likely choice, the first among equals.
    pub choice: usize,
    /// The most likely choice for its length in bytes.
    pub choice_norm: usize,
    #[serde(skip)]
    characters: Vec<usize>,
}

/// Scores of a task; null where the task has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskSummary {
    /// Questions.
    pub n: usize,
    /// Share answered rightly by log-likelihood; of last words, share that the model would say by itself.
    pub acc: f64,
    /// Standard error of it, as the harness has it: sample standard deviation over `sqrt(n)`; null for one question.
    pub acc_stderr: Option<f64>,
    /// Share answered rightly by log-likelihood over the bytes of the choice.
    pub acc_norm: Option<f64>,
    /// Standard error of it.
    pub acc_norm_stderr: Option<f64>,
    /// The same over characters, which is what the harness calls `acc_norm` (over bytes it is its `acc_bytes`).
    pub acc_norm_chars: Option<f64>,
    /// Of last words: `exp` of the mean negative log-likelihood of a word.
    pub perplexity: Option<f64>,
    /// Standard error of it, to first order (the harness resamples).
    pub perplexity_stderr: Option<f64>,
}

/// The first of the largest.
fn largest(values: impl Iterator<Item = f64>) -> usize {
    let start = (0, f64::NEG_INFINITY);
    let better = |best: (usize, f64), (i, v): (usize, f64)| if v > best.1 { (i, v) } else { best };
    values.enumerate().fold(start, better).0
}

impl Answer {
    fn new(question: &Question, likelihoods: &[Likelihood]) -> Self {
        let log_likelihoods: Vec<f64> = likelihoods.iter().map(|l| l.log_likelihood).collect();
        let lengths = |f: fn(&String) -> usize| question.choices.iter().map(f).collect::<Vec<_>>();
        let bytes = lengths(String::len);
        Self {
            choice: largest(log_likelihoods.iter().copied()),
            choice_norm: normalized(&log_likelihoods, &bytes),
            characters: lengths(|c| c.chars().count()),
            greedy: likelihoods.iter().map(|l| l.greedy).collect(),
            gold: question.gold,
            log_likelihoods,
            bytes,
        }
    }
}

/// The most likely choice for its length.
fn normalized(log_likelihoods: &[f64], lengths: &[usize]) -> usize {
    let pairs = log_likelihoods.iter().zip(lengths);
    largest(pairs.map(|(l, &n)| l / n as f64))
}

impl Answers {
    /// Answers to `questions` of this form; `likelihoods` are those of all their requests, in order.
    pub fn new(form: Form, questions: &[Question], likelihoods: &[Likelihood]) -> Self {
        let mut rest = likelihoods;
        let answer = |question: &Question| {
            let (own, later) = rest.split_at(question.requests.len().min(rest.len()));
            rest = later;
            Answer::new(question, own)
        };
        Self {
            form,
            answers: questions.iter().map(answer).collect(),
        }
    }

    /// Accuracies and their errors.
    pub fn summary(&self) -> TaskSummary {
        let n = self.answers.len();
        let share = |right: &dyn Fn(&Answer) -> bool| {
            let hits = self.answers.iter().map(|a| f64::from(u8::from(right(a))));
            let (mean, error) = mean_and_error(hits, n);
            (mean, Some(error).filter(|e| e.is_finite()))
        };
        let words = self.form == Form::Lambada;
        let (acc, acc_stderr) = match words {
            true => share(&|a| a.greedy.first() == Some(&true)),
            false => share(&|a| a.choice == a.gold),
        };
        let lengths = self.form.has_lengths();
        let norm = lengths.then(|| share(&|a| a.choice_norm == a.gold));
        let chars = |a: &Answer| normalized(&a.log_likelihoods, &a.characters) == a.gold;
        let likelihoods = self.answers.iter().map(|a| a.log_likelihoods[0]);
        let (mean, error) = mean_and_error(likelihoods, n);
        let perplexity = words.then(|| (-mean).exp());
        TaskSummary {
            n,
            acc,
            acc_stderr,
            acc_norm: norm.map(|n| n.0),
            acc_norm_stderr: norm.and_then(|n| n.1),
            acc_norm_chars: lengths.then(|| share(&chars).0),
            perplexity,
            perplexity_stderr: perplexity.map(|p| p * error).filter(|e| e.is_finite()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::tasks::Request;

    fn question(choices: &[&str], gold: usize) -> Question {
        let request = |c: &&str| Request::new("Q".into(), format!(" {c}"));
        Question {
            requests: choices.iter().map(request).collect(),
            gold,
            choices: choices.iter().map(|c| (*c).to_owned()).collect(),
            example: String::new(),
        }
    }

    fn said(values: &[f64]) -> Vec<Likelihood> {
        let likelihood = |&v: &f64| Likelihood {
            log_likelihood: v,
            greedy: v > -1.5,
        };
        values.iter().map(likelihood).collect()
    }

    #[test]
    fn lengths_in_bytes_and_in_characters_decide_differently() {
        let questions = [question(&["ab", "éé"], 1), question(&["abcd", "ab"], 0)];
        let answers = Answers::new(Form::Arc, &questions, &said(&[-2.0, -3.0, -3.0, -2.0]));
        let s = answers.summary();
        assert_eq!((s.n, s.acc), (2, 0.0)); // the shorter one is more likely each time
        assert_eq!(s.acc_norm, Some(1.0)); // -3 / 4 bytes, -3 / 4
        assert_eq!(s.acc_norm_chars, Some(0.5));
        assert_eq!(s.acc_stderr, Some(0.0));
    }

    #[test]
    fn the_first_of_equals_is_chosen_and_errors_are_those_of_a_sample() {
        let questions = [question(&["a", "b"], 0), question(&["a", "b"], 1)];
        let s = Answers::new(Form::Boolq, &questions, &said(&[-1.0; 4])).summary();
        assert_eq!((s.acc, s.acc_norm), (0.5, None));
        assert!((s.acc_stderr.expect("an error") - 0.5).abs() < 1e-12);
    }

    #[test]
    fn last_words_are_right_where_the_model_would_say_them() {
        let questions = [question(&["a"], 0), question(&["b"], 0)];
        let s = Answers::new(Form::Lambada, &questions, &said(&[-1.0, -3.0])).summary();
        assert_eq!((s.acc, s.acc_norm), (0.5, None));
        assert!((s.perplexity.expect("words") - 2f64.exp()).abs() < 1e-12);
        assert!((s.perplexity_stderr.expect("words") - 2f64.exp()).abs() < 1e-9);
    }
}
