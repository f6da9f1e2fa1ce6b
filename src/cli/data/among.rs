//! Chunks that other ranks tokenize: each rank reads everything, makes every so manieth chunk, and the first one writes.

use super::pipeline::{Place, Tokenized};
use crate::error::{Error, Result};
use crate::ranks::Ranks;

/// Numbers before the words of a chunk: of ids, of records, of bytes about bad lines, of bytes of text, and where it ends.
const HEAD: usize = 6;

/// Sends a chunk to the rank that writes.
pub(super) fn send(ranks: &dyn Ranks, made: &Tokenized) -> Result<()> {
    let bad = serde_json::to_vec(&made.bad).map_err(|e| damaged(ranks.rank(), &e.to_string()))?;
    let head = [
        made.ids.len() as u64,
        made.records.len() as u64,
        bad.len() as u64,
        made.text_bytes,
        made.after.source as u64,
        made.after.taken,
    ];
    ranks.send(0, &words(&head))?;
    let records = made.records.iter();
    let records = records.flat_map(|&(end, ends)| [end as u64, u64::from(ends)]);
    let mut body = made.ids.clone();
    body.extend(words(&records.collect::<Vec<_>>()));
    let padded = bad.chunks(4).map(|bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(word)
    });
    body.extend(padded);
    ranks.send(0, &body)
}

/// The next chunk of another rank.
pub(super) fn receive(ranks: &dyn Ranks, of: usize) -> Result<Tokenized> {
    let mut head = [0; 2 * HEAD];
    ranks.receive(of, &mut head)?;
    let head = numbers(&head);
    let [n_ids, n_records, n_bad] = [head[0], head[1], head[2]].map(|n| n as usize);
    let mut body = vec![0; n_ids + 4 * n_records + n_bad.div_ceil(4)];
    ranks.receive(of, &mut body)?;
    let (ids, rest) = body.split_at(n_ids);
    let (records, bad) = rest.split_at(4 * n_records);
    let records = numbers(records);
    let bad: Vec<u8> = bad.iter().flat_map(|word| word.to_le_bytes()).collect();
    let bad = serde_json::from_slice(&bad[..n_bad]).map_err(|e| damaged(of, &e.to_string()))?;
    Ok(Tokenized {
        ids: ids.to_vec(),
        records: records
            .chunks_exact(2)
            .map(|record| (record[0] as usize, record[1] != 0))
            .collect(),
        bad,
        text_bytes: head[3],
        after: Place {
            source: head[4] as usize,
            taken: head[5],
        },
        bytes: 0, // it is not read here
    })
}

/// The place at which the rank that writes goes on, known to all.
pub(super) fn start(ranks: &dyn Ranks, place: Place) -> Result<Place> {
    let mut told = words(&[place.source as u64, place.taken]);
    ranks.broadcast(0, &mut told)?;
    let told = numbers(&told);
    Ok(Place {
        source: told[0] as usize,
        taken: told[1],
    })
}

/// Two words a number, the low one first.
fn words(numbers: &[u64]) -> Vec<u32> {
    let apart = |&n: &u64| [n as u32, (n >> 32) as u32];
    numbers.iter().flat_map(apart).collect()
}

fn numbers(words: &[u32]) -> Vec<u64> {
    let joined = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
    words.chunks_exact(2).map(joined).collect()
}

fn damaged(rank: usize, what: &str) -> Error {
    Error::usage(
        format!("a message of rank {rank} about its text: {what}"),
        "please report this as a bug",
    )
}
